# A call of nix/make-disk-image.nix, with what it needs of nixpkgs: a few lines each, and no more.
{ busybox # a directory that holds the program busybox
, nixpkgs # a directory
, imgwriter # the prefix that has bin/imgwriter, on the host
, parameters ? { } # of make-disk-image.nix
}:
let
  closure = import ../oracles/nix_closure.nix { inherit busybox; };

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

  config = {
    system.build.toplevel = closure.toplevel;
    system.nixos = { version = "24.05.123abc"; versionSuffix = ".123abc"; };
    nix.package.out = closure.library;
  };
in
import ../../nix/make-disk-image.nix ({ inherit pkgs config imgwriter; installBootLoader = false; } // parameters)
