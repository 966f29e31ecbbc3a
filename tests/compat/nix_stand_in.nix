# What nix/make-disk-image.nix uses of nixpkgs: a few lines each, and no more.
{ nixpkgs # a directory
}:
let
  pkgs = {
    path = nixpkgs;
    lib.cleanSource = builtins.filterSource (path: type: baseNameOf path != ".git");

    # stdenv's manners: the script ends at the first command that fails; $out is set, also with structured attributes.
    runCommand = name: attributes: script: derivation ({
      inherit name;
      system = builtins.currentSystem;
      builder = "/bin/bash";
      args = [ "-c" ''
        set -eu
        export PATH=/usr/bin:/bin
        if [ -e .attrs.sh ]; then
          . ./.attrs.sh
          out=''${outputs[out]}
        fi
        ${script}
        # Were the last command a program, bash would become it; and when that closes its output, Nix kills it.
        exit 0
      '' ];
    } // attributes);

    writeText = name: text:
      pkgs.runCommand name { inherit text; passAsFile = [ "text" ]; } ''cp "$textPath" "$out"'';
  };
in
pkgs
