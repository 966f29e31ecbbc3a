# A disk image of a NixOS configuration: what nixpkgs' nixos/lib/make-disk-image.nix makes, by its parameters, but
# in a plain derivation that any builder can build. Neither a virtual machine nor KVM, root or fakeroot is needed.
#
#   import ./make-disk-image.nix { inherit pkgs lib config; diskSize = 4096; installBootLoader = false; }
#
# docs/nix.md says which parameters do what they do there, and which differ.
{ pkgs
, lib ? pkgs.lib

, # The NixOS configuration to be installed onto the disk image.
  config

, # Size of the disk in MiB, or "auto": what the content needs, and additionalSpace.
  diskSize ? "auto"

, # Room left for files where diskSize is "auto", as numfmt --from=iec reads it. null: 512M.
  additionalSpace ? null

, # Where the boot partition ends, from the disk's start, where there is one; as numfmt reads it. null: 256M.
  bootSize ? null

, # Files and directories to be placed in the target file system: a list of
  # { source, target, mode ? null, user ? null, group ? null }. A source with `*` is a pattern.
  contents ? []

, # "legacy", "legacy+boot", "legacy+gpt", "efi", "efixbootldr", "hybrid" or "none".
  partitionTableType ? "legacy"

, # Whether to invoke switch-to-configuration boot, in a guest: QEMU emulates a machine for that alone. No builder
  # with KVM is asked for; `spec.accel = "auto"` uses it where it works.
  installBootLoader ? true

, # Whether to keep the EFI variables that it sets, in $out/efi-vars.fd.
  touchEFIVars ? false

, # The guest's firmware where EFI variables are kept, and the template of its variables.
  OVMF ? pkgs.OVMF.fd or pkgs.OVMF
, efiFirmware ? OVMF.firmware
, efiVariables ? OVMF.variables

, # The root file system type; others than ext4 without a partition table only.
  fsType ? "ext4"

, # Its label; null: "nixos", or "nix-store" with onlyNixStore.
  label ? null

, # What /etc/nixos/configuration.nix is, or null.
  configFile ? null

, # Shell code executed after the image is final, with $diskImage and $out set.
  postVM ? ""

, # Memory of the guest, in MiB.
  memSize ? 1024

, # Whether the image's root is the contents of the Nix store, and nothing else.
  onlyNixStore ? false

, name ? "nixos-disk-image"

, # The image's name without its suffix.
  baseName ? "nixos"

, # "raw", "qcow2", "qcow2-compressed", "vpc" or "vdi".
  format ? "raw"

, # imgwriter's images always are.
  deterministic ? true

, # GUID of the root partition of a GPT, and UUID of the root file system; null: derived from the spec's seed.
  rootGPUID ? null
, rootFSUID ? if fsType == "ext4" then rootGPUID else null

, # Whether a channel of the nixpkgs in use goes into the image.
  copyChannel ? true

, # Additional store paths to copy to the image's store.
  additionalPaths ? []

  # What nixpkgs' script does not have:

, # Further settings, as keys of imgwriter's spec file: { compat = "nixpkgs"; seed = "a"; vhdSubformat = "fixed"; }
  spec ? {}

, # Whether the output is not scanned for the store paths in it (Nix 2.18 or later). Without it, an uncompressed
  # image refers to its whole closure.
  discardReferences ? false

, # QEMU for the guest, and a busybox without shared libraries for its initramfs.
  qemu ? pkgs.qemu
, busybox ? pkgs.pkgsStatic.busybox

, # The package that has bin/imgwriter.
  imgwriter ? import ./. { inherit pkgs; }
}:

let
  inherit (builtins) concatStringsSep elem elemAt genList length toJSON;

  # The assertions of nixpkgs' script. imgwriter has them too, but says so only when the system is built.
  refuse = condition: message: if condition then throw "make-disk-image.nix: ${message}" else x: x;

  checked = result:
    refuse (installBootLoader && onlyNixStore || onlyNixStore && (contents != [] || configFile != null))
      "in an image of the Nix store alone the contents must be empty, no configuration must be provided and no boot loader installed"
    (refuse (partitionTableType != "none" && fsType != "ext4")
      "file system type ${fsType} needs partition table none, not ${partitionTableType}"
    (refuse (builtins.any (c: (c.user or null) == null && (c.group or null) != null
                           || (c.user or null) != null && (c.group or null) == null) contents)
      "contents should set none of user and group, or both"
    (refuse (! suffixes ? ${format})
      "format ${format} is unknown; use one of ${concatStringsSep ", " (builtins.attrNames suffixes)}"
    result)));

  suffixes = { raw = "img"; qcow2 = "qcow2"; qcow2-compressed = "qcow2"; vpc = "vhd"; vdi = "vdi"; };

  filename = "${baseName}.${suffixes.${format}}";

  hasGPT = elem partitionTableType [ "legacy+gpt" "efi" "efixbootldr" "hybrid" ];

  hasBootPartition = elem partitionTableType [ "legacy+boot" "efi" "efixbootldr" "hybrid" ];

  nixosVersion = config.system.nixos.version or config.system.nixosVersion;

  versionSuffix = config.system.nixos.versionSuffix or config.system.nixosVersionSuffix;

  nixpkgs = lib.cleanSource pkgs.path;

  channelSources = pkgs.runCommand "nixos-${nixosVersion}" {} ''
    mkdir -p $out
    cp -prd ${nixpkgs} $out/nixos
    chmod -R u+w $out/nixos
    if [ ! -e $out/nixos/nixpkgs ]; then
      ln -s . $out/nixos/nixpkgs
    fi
    rm -rf $out/nixos/.git
    echo -n ${versionSuffix} > $out/nixos/.version-suffix
  '';

  toplevel = "${config.system.build.toplevel}";

  additional = map (path: "${path}") additionalPaths;

  # Whose closures go in.
  roots = [ toplevel ]
    ++ (if config.nix.enable or true then [ "${config.nix.package.out}" ] else [])
    ++ (if copyChannel then [ "${channelSources}" ] else [])
    ++ additional;

  # The guest is of the system's kind: x86_64-linux or aarch64-linux.
  machine = builtins.head (builtins.split "-" (pkgs.stdenv.hostPlatform.system or builtins.currentSystem));

  orNull = condition: value: if condition then value else null;

  # null stands for "not given".
  specFile = pkgs.writeText "${name}-spec.json" (toJSON ({
    inherit toplevel partitionTableType diskSize fsType label format baseName name;
    inherit installBootLoader touchEFIVars memSize onlyNixStore deterministic configFile rootFSUID;
    additionalSpace = orNull (diskSize == "auto") additionalSpace;
    bootSize = orNull hasBootPartition bootSize;
    rootGPUID = orNull hasGPT rootGPUID;
    channel = orNull copyChannel "${channelSources}";
    additionalPaths = builtins.tail roots; # those that the system does not refer to
    vmQemu = orNull installBootLoader "${qemu}/bin/qemu-system-${machine}";
    vmBusybox = orNull installBootLoader "${busybox}/bin/busybox";
    efiFirmware = orNull touchEFIVars "${efiFirmware}";
    efiVariables = orNull touchEFIVars "${efiVariables}";
    contents = map (content: {
      inherit (content) target;
      source = "${content.source}";
      mode = content.mode or null;
      user = content.user or null;
      group = content.group or null;
    }) contents;
  } // spec));

  # What Nix knows of the closures: one file for each, or all in the builder's own attributes.
  closures =
    if discardReferences then {
      exportReferencesGraph.closure = roots;
      __structuredAttrs = true;
      unsafeDiscardReferences.out = true;
    } else {
      exportReferencesGraph = builtins.concatLists
        (genList (n: [ "closure-${toString n}" (elemAt roots n) ]) (length roots));
    };

  closureFiles =
    if discardReferences then [ ''"$NIX_BUILD_TOP/.attrs.json"'' ]
    else genList (n: "closure-${toString n}") (length roots);
in
checked (pkgs.runCommand name closures ''
  imgwriter=${imgwriter}/bin/imgwriter
  TERM=dumb $imgwriter build ${specFile} --output "$out" \
    ${concatStringsSep " " (map (file: "--closure ${file}") closureFiles)}

  diskImage="$out/${filename}"
  mkdir -p "$out/nix-support"
  echo "file ${if format == "qcow2-compressed" then "qcow2" else format}-image $diskImage" \
    > "$out/nix-support/hydra-build-products"

  ${postVM}
'')
