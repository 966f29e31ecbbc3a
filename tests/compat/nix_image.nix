# A call of nix/make-disk-image.nix, with what it needs of nixpkgs: a few lines each, and no more.
{ busybox # a directory that holds the program busybox
, nixpkgs # a directory
, imgwriter # the prefix that has bin/imgwriter, on the host
, parameters ? { } # of make-disk-image.nix
}:
let
  closure = import ../oracles/nix_closure.nix { inherit busybox; };

  pkgs = import ./nix_stand_in.nix { inherit nixpkgs; };

  config = {
    system.build.toplevel = closure.toplevel;
    system.nixos = { version = "24.05.123abc"; versionSuffix = ".123abc"; };
    nix.package.out = closure.library;
  };
in
import ../../nix/make-disk-image.nix ({ inherit pkgs config imgwriter; installBootLoader = false; } // parameters)
