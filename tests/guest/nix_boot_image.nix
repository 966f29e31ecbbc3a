# nix/make-disk-image.nix called for a system that boots, with a few lines in nixpkgs' place.
{ tree, nixpkgs, imgwriter, parameters ? { } }:
let
  system = import ../oracles/nix_boot.nix { inherit tree; };
  standIn = import ../compat/nix_stand_in.nix { inherit nixpkgs; };
  config = {
    system.build.toplevel = system.toplevel;
    system.nixos = { version = "24.05.123abc"; versionSuffix = ".123abc"; };
    nix.enable = false;
  };
in
import ../../nix/make-disk-image.nix ({
  inherit config imgwriter;
  pkgs = standIn;
  # Strings: as paths they would be copied into the store.
  qemu = "/usr";
  busybox = "/usr";
  efiFirmware = "/usr/share/OVMF/OVMF_CODE_4M.fd";
  efiVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd";
  copyChannel = false;
} // parameters)
