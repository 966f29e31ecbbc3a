# nix/default.nix, with what it needs of nixpkgs: each package becomes what was asked of it. `attribute` of imgwriter
# is evaluated, or of a dependency.
let
  named = name: { inherit name; };
  pkgs = {
    cmake = named "cmake";
    python3.pkgs = {
      buildPythonPackage = attributes: attributes;
      fetchPypi = { pname, version, hash }: "pypi:${pname}-${version}:${hash}";
    } // builtins.listToAttrs (map (name: { inherit name; value = { pname = name; }; }) [
      "cffi" "construct" "fs" "hatchling" "packaging" "rich" "setuptools" "setuptools-scm" "wheel"
    ]);
  };
  imgwriter = import ../../nix { inherit pkgs; };
in {
  inherit (imgwriter) pname version;
  files = imgwriter.src;
  dependencies = map (each: { inherit (each) pname; version = each.version or null; src = each.src or null; }) imgwriter.dependencies;
}
