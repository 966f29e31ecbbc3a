# imgwriter as a package, with those of its dependencies that nixpkgs lacks, or has in other versions.
#
# The codecs are pinned to a version, as in pyproject.toml: another version compresses to other bytes. They are built
# with the libraries in their own source, for the same reason.
{ pkgs ? import <nixpkgs> {}
, python ? pkgs.python3
}:

let
  inherit (python.pkgs) buildPythonPackage fetchPypi;

  crcmod-plus = buildPythonPackage rec {
    pname = "crcmod-plus";
    version = "2.3.6";
    pyproject = true;
    src = fetchPypi {
      pname = "crcmod_plus";
      inherit version;
      hash = "sha256-0Y3k2PAKHbl0ehBNqhOxFk74LlvWhN7dnQPsvKUsWvA=";
    };
    build-system = with python.pkgs; [ setuptools wheel ];
    pythonImportsCheck = [ "crcmod" ];
  };

  pyfatfs = buildPythonPackage rec {
    pname = "pyfatfs";
    version = "1.1.0";
    pyproject = true;
    src = fetchPypi {
      inherit pname version;
      hash = "sha256-lyXM0KTaHAnCc1irvxDwjAQ6yEIQr1doA+CH9RorMOA=";
    };
    # It asks for the setuptools of one year.
    postPatch = ''
      sed -i 's/^requires = .*/requires = ["setuptools", "setuptools_scm"]/' pyproject.toml
    '';
    build-system = with python.pkgs; [ setuptools setuptools-scm ];
    dependencies = [ python.pkgs.fs ];
    pythonImportsCheck = [ "pyfatfs" ];
  };

  qemu-qmp = buildPythonPackage rec {
    pname = "qemu.qmp";
    version = "0.0.6";
    pyproject = true;
    src = fetchPypi {
      pname = "qemu_qmp";
      inherit version;
      hash = "sha256-o8Jdhx+rVJEisjQIEN4fmUgQAslCohMkdrBiqs2/bpI=";
    };
    build-system = with python.pkgs; [ setuptools setuptools-scm wheel ];
    pythonImportsCheck = [ "qemu.qmp" ];
  };

  zlib-ng = buildPythonPackage rec {
    pname = "zlib-ng";
    version = "1.1.0";
    pyproject = true;
    src = fetchPypi {
      pname = "zlib_ng";
      inherit version;
      hash = "sha256-CKOoRo1PEw49yA0o7EL8x6h4pX3+1hYjPnkQZjJ9eKM=";
    };
    # Its CMake fetches googletest unless told that nothing is tested.
    postPatch = ''
      sed -i 's/"cmake", build_dir/"cmake", "-DBUILD_TESTING=OFF", build_dir/' setup.py
    '';
    build-system = with python.pkgs; [ setuptools setuptools-scm ];
    nativeBuildInputs = [ pkgs.cmake ];
    dontUseCmakeConfigure = true; # setup.py calls it
    pythonImportsCheck = [ "zlib_ng.zlib_ng" ];
  };

  zstandard = buildPythonPackage rec {
    pname = "zstandard";
    version = "0.25.0";
    pyproject = true;
    src = fetchPypi {
      inherit pname version;
      hash = "sha256-dxPhF50WLPXHkG2oduwsy5w6ncvf/vDMf3DDZnogXws=";
    };
    build-system = with python.pkgs; [ cffi packaging setuptools ];
    pythonImportsCheck = [ "zstandard" ];
  };
in
buildPythonPackage {
  pname = "imgwriter";
  version = builtins.head
    (builtins.match ".*\n__version__ = \"([^\"]*)\".*" (builtins.readFile ../imgwriter/__init__.py));
  pyproject = true;

  src = builtins.path {
    name = "imgwriter-source";
    path = ../.;
    filter = path: type:
      let
        inside = builtins.substring (builtins.stringLength (toString ../.) + 1) (-1) path;
        top = builtins.head (builtins.match "([^/]*).*" inside);
      in
      builtins.elem top [ "LICENSE" "README.md" "imgwriter" "pyproject.toml" ]
      && baseNameOf path != "__pycache__";
  };

  build-system = [ python.pkgs.hatchling ];
  dependencies = [
    crcmod-plus
    pyfatfs
    qemu-qmp
    zlib-ng
    zstandard
    python.pkgs.construct
    python.pkgs.rich
  ];

  # Its tests want e2fsprogs, QEMU and others, and a folder that is not in `src`.
  doCheck = false;
  pythonImportsCheck = [ "imgwriter.cli" "imgwriter.build" ];

  meta = {
    description = "A tree of files becomes a bootable disk image, without root";
    license = { spdxId = "MIT"; free = true; };
    mainProgram = "imgwriter";
  };
}
