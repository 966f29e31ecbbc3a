# No inputs: everything is a function of the caller's pkgs, so nothing is fetched and nothing is locked.
{
  description = "A tree of files becomes a bootable disk image, without root, loop devices or a virtual machine";

  outputs = { self }: {
    lib = {
      # pkgs -> the parameters of nix/make-disk-image.nix, less pkgs and lib -> derivation
      makeDiskImage = pkgs: parameters:
        import ./nix/make-disk-image.nix ({ inherit pkgs; inherit (pkgs) lib; } // parameters);

      # pkgs -> { imgwriter, default }
      packages = pkgs: rec {
        imgwriter = import ./nix { inherit pkgs; };
        default = imgwriter;
      };
    };

    overlays.default = final: prev: { imgwriter = import ./nix { pkgs = final; }; };
  };
}
