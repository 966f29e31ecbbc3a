# A closure in the shape of a small NixOS, from local derivations: the builder is busybox, nothing is fetched.
# References come from Nix's scan of the outputs; `echo $out` into a file makes a self-reference.
{ busybox }: # a directory that holds the program busybox
let
  sh = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "${busybox}/busybox";
    args = [ "sh" "-eu" "-c" ''
      for applet in cat chmod cp ln mkdir printf sed; do
        eval "$applet() { ${busybox}/busybox $applet \"\$@\"; }"
      done
      ${script}
    '' ];
  };
in rec {
  bash = sh "bash-5.1" ''
    mkdir -p $out/bin
    cp ${busybox}/busybox $out/bin/bash
    chmod 755 $out/bin/bash
    ln -s bash $out/bin/sh
  '';

  library = sh "library-1.0" ''
    mkdir -p $out/lib
    echo "found at $out" > $out/lib/self
    printf '%070000d' 7 > $out/lib/large
    echo -n > $out/lib/empty
  '';

  tool = sh "tool-2.0" ''
    mkdir -p $out/bin $out/share
    printf '#!${bash}/bin/sh\nexec ${library}/lib/program\n' > $out/bin/tool
    chmod 755 $out/bin/tool
    ln -s ${library}/lib/self $out/share/link
    ln -s ../bin $out/share/bin
  '';

  # A store path may be a single file, or a symlink.
  kernel = sh "bzImage" "echo kernel > $out";
  initrd = sh "initrd" "ln -s ${kernel} $out";

  systemPath = sh "system-path" ''
    mkdir -p $out/bin
    ln -s ${bash}/bin/sh $out/bin/sh
    ln -s ${tool}/bin/tool $out/bin/tool
  '';

  etc = sh "etc" ''
    mkdir -p $out/etc
    echo "root:x:0:0::/root:${bash}/bin/bash" > $out/etc/passwd
    echo test > $out/etc/hostname
  '';

  toplevel = sh "nixos-system-test-1.0" ''
    mkdir -p $out/bin
    printf '#!${bash}/bin/sh\necho switch %s $out\n' '$1' > $out/bin/switch-to-configuration
    printf '#!${bash}/bin/sh\nexec ${bash}/bin/sh\n' > $out/init
    chmod 755 $out/bin/switch-to-configuration $out/init
    ln -s ${kernel} $out/kernel
    ln -s ${initrd} $out/initrd
    ln -s ${etc}/etc $out/etc
    ln -s ${systemPath} $out/sw
    echo -n 1.0 > $out/nixos-version
    echo -n x86_64-linux > $out/system
  '';

  channel = sh "nixos-1.0" ''
    mkdir -p $out/nixos
    echo '{ }: { }' > $out/nixos/default.nix
    ln -s . $out/nixos/nixpkgs
    echo -n .123abc > $out/nixos/.version-suffix
  '';

  # What Nix gives to a builder that asks for the closure of toplevel and channel: classic, and as JSON.
  graph = derivation {
    name = "graph";
    system = builtins.currentSystem;
    builder = "${busybox}/busybox";
    args = [ "sh" "-eu" "-c" "${busybox}/busybox mkdir $out; ${busybox}/busybox cp closure closure-2 $out" ];
    exportReferencesGraph = [ "closure" toplevel "closure-2" channel ];
  };

  structuredGraph = derivation {
    name = "structured-graph";
    system = builtins.currentSystem;
    builder = "${busybox}/busybox";
    __structuredAttrs = true;
    args = [ "sh" "-eu" "-c" ''
      out=$(${busybox}/busybox sed -n 's/.*"outputs":{"out":"\([^"]*\)".*/\1/p' .attrs.json)
      ${busybox}/busybox cp .attrs.json $out
    '' ];
    exportReferencesGraph.closure = [ toplevel channel ];
  };
}
