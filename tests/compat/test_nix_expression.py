"""nix/make-disk-image.nix, nix/default.nix and flake.nix: evaluated and built by real Nix, without a network.

Of nixpkgs there are the few lines that nix_image.nix stands in for; the closure is that of the other tests.
imgwriter runs in Nix's sandbox as it would for a user, from the environment that runs the tests.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import imgwriter
from tests.oracles import debugfs, qemu_img
from tests.oracles.nix import Nix
from tests.oracles.tools import ROOT, Result

pytestmark = pytest.mark.compat

EXPRESSION = Path(__file__).with_name("nix_image.nix")
PACKAGE = Path(__file__).with_name("nix_package.nix")
TABLES = ("legacy", "efi", "none")
SUFFIXES = {"raw": "img", "qcow2": "qcow2", "qcow2-compressed": "qcow2", "vpc": "vhd", "vdi": "vdi"}
SIZE = "diskSize = 315;"  # 640 cylinders, 16 heads, 63 sectors: a VHD need not round it up


class Images:
    """A store of Nix's own, and the expression in it."""

    def __init__(self, folder: Path) -> None:
        # Of the machine the sandbox has the shell, and the Python that runs the tests.
        machine = ("/bin", "/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix, str(ROOT))
        paths = " ".join(path for path in dict.fromkeys(machine) if Path(path).exists())
        self.nix = Nix(folder, settings=f"sandbox-paths = {paths}")
        self.nixpkgs = folder / "nixpkgs"
        (self.nixpkgs / ".git").mkdir(parents=True)
        (self.nixpkgs / "default.nix").write_text("{ }: { }\n")

    def words(self, parameters: str) -> list[str | Path]:
        return [
            EXPRESSION,
            *("--arg", "busybox", self.nix.busybox, "--arg", "nixpkgs", self.nixpkgs),
            *("--argstr", "imgwriter", sys.prefix, "--arg", "parameters", f"{{ {parameters} }}"),
        ]

    def attempt(self, parameters: str, *more: str) -> Result:
        return self.nix.attempt("nix-build", "--no-out-link", *more, *self.words(parameters))

    def build(self, parameters: str, *more: str) -> Path:
        """Build, and return the output on the host."""
        result = self.attempt(parameters, *more)
        assert result.status == 0, result.text
        return self.nix.real(result.out.strip())

    def refused(self, parameters: str) -> str:
        """Evaluate what must not evaluate, and return what Nix says."""
        result = self.nix.attempt("nix-instantiate", *self.words(parameters))
        assert result.status != 0 and result.out == "", result.text
        return result.err

    def derivation(self, parameters: str) -> dict[str, Any]:
        """Return the derivation, as ``nix show-derivation`` has it."""
        path = self.nix.run("nix-instantiate", *self.words(parameters)).strip()
        made: dict[str, dict[str, Any]] = json.loads(self.nix.run("nix", "show-derivation", path))
        return next(iter(made.values()))

    def spec(self, parameters: str) -> dict[str, Any]:
        """Build the spec file alone and return what it says."""
        script = " ".join(self.derivation(parameters)["args"])
        found = re.search(r"/nix/store/\S+-spec\.json", script)
        assert found
        path = self.nix.real(found[0])
        if not path.exists():
            self.build(parameters)
        said: dict[str, Any] = json.loads(path.read_text())
        return said


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("nix"))


# Building


@pytest.mark.parametrize("image_format", SUFFIXES)
@pytest.mark.parametrize("table", TABLES)
def test_builds_twice_the_same(table: str, image_format: str, images: Images) -> None:
    """``--check`` builds again and compares."""
    parameters = f'{SIZE} partitionTableType = "{table}"; format = "{image_format}";'
    out = images.build(parameters)
    assert images.build(parameters, "--check") == out
    image = out / f"nixos.{SUFFIXES[image_format]}"
    assert sorted(path.name for path in out.iterdir()) == ["nix-support", image.name]
    known = {"raw": "raw", "vpc": "vpc", "vdi": "vdi"}.get(image_format, "qcow2")
    product = (out / "nix-support" / "hydra-build-products").read_text()
    store_path = f"/nix/store/{out.name}"
    assert product == f"file {known}-image {store_path}/{image.name}\n"
    if image_format != "raw":
        raw = images.build(f'{SIZE} partitionTableType = "{table}";') / "nixos.img"
        qemu_img.compare(image, known, raw)


def test_a_build_that_differs_is_noticed(images: Images) -> None:
    """The judge objects."""
    parameters = f'{SIZE} postVM = "cat /proc/sys/kernel/random/uuid > $out/chance";'
    images.build(parameters)
    result = images.attempt(parameters, "--check")
    assert result.status != 0 and "may not be deterministic" in result.err, result.text


def test_it_is_what_the_command_line_makes(images: Images, tmp_path: Path) -> None:
    """The same closure, outside of Nix, from its store on the host: another user, folder and environment."""
    parameters = f'{SIZE} partitionTableType = "efi"; postVM = "cp closure-* $out";'
    out = images.build(parameters)
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(images.spec(parameters)))
    closures = [word for path in sorted(out.glob("closure-*")) for word in ("--closure", str(path))]
    assert len(closures) == 6  # of toplevel, Nix and the channel
    words = ["build", str(spec), *closures, "--store-root", str(images.nix.root), "--output", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "imgwriter", *words, "--quiet"], check=True)
    assert (tmp_path / "nixos.img").read_bytes() == (out / "nixos.img").read_bytes()


def test_what_goes_in(images: Images) -> None:
    out = images.build(
        f'{SIZE} partitionTableType = "none"; configFile = {ROOT}/flake.nix;'
        f' contents = [ {{ source = {ROOT}/examples/tree/home; target = "/srv"; mode = "u+w"; }}'
        f' {{ source = "${{{ROOT}/examples/tree}}/etc/*"; target = "/etc"; user = "7"; group = "root"; }} ];'
    )
    image = out / "nixos.img"
    assert debugfs.cat(image, "/etc/nixos/configuration.nix") == (ROOT / "flake.nix").read_bytes()
    assert debugfs.cat(image, "/etc/hostname") == (ROOT / "examples/tree/etc/hostname").read_bytes()
    assert debugfs.cat(image, "/srv/guest/.profile")
    spec = images.spec(SIZE)
    channel = spec["channel"]
    assert debugfs.cat(image, f"{channel}/nixos/.version-suffix") == b".123abc"
    assert debugfs.cat(image, f"{channel}/nixos/default.nix") == b"{ }: { }\n"
    paths = images.nix.requisites(spec["toplevel"], *spec["additionalPaths"])
    database = debugfs.cat(image, "/nix/var/nix/db/db.sqlite")
    assert paths and all(path.encode() in database for path in paths)


def test_without_a_channel(images: Images) -> None:
    spec = images.spec(f"{SIZE} copyChannel = false;")
    assert spec["channel"] is None and not any("nixos-24.05" in path for path in spec["additionalPaths"])


def test_only_the_store(images: Images) -> None:
    out = images.build(f'{SIZE} onlyNixStore = true; partitionTableType = "none"; baseName = "store";')
    spec = images.spec(SIZE)
    assert debugfs.cat(out / "store.img", f"/{Path(spec['toplevel']).name}/nixos-version") == b"1.0"
    assert qemu_img.info(out / "store.img")["virtual-size"] == 315 << 20


def test_post_vm_runs_on_the_final_image(images: Images) -> None:
    script = (
        'test "$diskImage" = "$out/nixos.qcow2"; test -s "$out/nix-support/hydra-build-products";'
        ' mv "$diskImage" "$out/renamed"'
    )
    out = images.build(f"{SIZE} format = \"qcow2\"; postVM = ''{script}'';")
    qemu_img.check(out / "renamed")


def test_post_vm_that_fails_fails_the_build(images: Images) -> None:
    result = images.attempt(f'{SIZE} postVM = "echo before; false; echo after";')
    assert result.status != 0 and "before" in result.err and "after" not in result.err, result.text


def test_what_imgwriter_refuses_fails_the_build(images: Images) -> None:
    result = images.attempt("diskSize = 1;")
    assert result.status != 0 and "imgwriter: " in result.err, result.text


# References


def test_an_uncompressed_image_refers_to_its_closure(images: Images) -> None:
    """Nix finds the store paths in it; in a compressed one it does not."""
    out = images.build(f'{SIZE} partitionTableType = "none";')
    toplevel = images.spec(SIZE)["toplevel"]
    assert toplevel in images.nix.requisites(f"/nix/store/{out.name}")
    parameters = f'{SIZE} format = "qcow2-compressed"; spec.compression = "zstd";'
    out = images.build(parameters)
    assert toplevel not in images.nix.requisites(f"/nix/store/{out.name}")


def test_a_raw_image_may_be_compressed_by_post_vm(images: Images) -> None:
    """As docs/nix.md has it, but for where zstd is from."""
    script = (
        'zstd -q --rm -T"$NIX_BUILD_CORES" "$diskImage";'
        ' echo "file raw-image $diskImage.zst" > "$out/nix-support/hydra-build-products"'
    )
    out = images.build(f"{SIZE} postVM = ''{script}'';")
    assert sorted(path.name for path in out.iterdir()) == ["nix-support", "nixos.img.zst"]
    assert images.spec(SIZE)["toplevel"] not in images.nix.requisites(f"/nix/store/{out.name}")


def test_structured_attributes_give_the_same_image(images: Images) -> None:
    """Nix 2.8 does not know unsafeDiscardReferences, and reads over it; the closure comes in another form."""
    plain = images.build(SIZE) / "nixos.img"
    discarding = images.build(f"{SIZE} discardReferences = true;") / "nixos.img"
    assert plain != discarding and plain.read_bytes() == discarding.read_bytes()
    environment = images.derivation(f"{SIZE} discardReferences = true;")["env"]
    assert json.loads(environment["__json"])["unsafeDiscardReferences"] == {"out": True}


# Evaluating


def test_it_is_a_derivation_like_any_other(images: Images) -> None:
    made = images.derivation(SIZE)
    assert "requiredSystemFeatures" not in made["env"] and "preferLocalBuild" not in made["env"]
    graph = made["env"]["exportReferencesGraph"].split()
    assert graph[::2] == ["closure-0", "closure-1", "closure-2"]
    assert graph[1].endswith("-nixos-system-test-1.0") and graph[5].endswith("-nixos-24.05.123abc")


def test_what_does_not_apply_is_not_said(images: Images) -> None:
    """As nixpkgs reads over bootSize without a boot partition, and additionalSpace with a fixed size."""
    guid = "F222513B-DED1-49FA-B591-20CE86A2FE7F"
    given = f'bootSize = "300M"; additionalSpace = "1G"; rootGPUID = "{guid}";'
    legacy = images.spec(f"{SIZE} {given}")
    assert (legacy["bootSize"], legacy["additionalSpace"], legacy["rootGPUID"]) == (None, None, None)
    efi = images.spec(f'partitionTableType = "efi"; {given}')
    assert (efi["bootSize"], efi["additionalSpace"], efi["rootGPUID"]) == ("300M", "1G", guid)
    assert efi["rootFSUID"] == guid == legacy["rootFSUID"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ('fsType = "xfs";', "file system type xfs needs partition table none, not legacy"),
        ('contents = [ { source = "/a"; target = "/b"; user = "c"; } ];', "none of user and group, or both"),
        ("onlyNixStore = true; configFile = ./x;", "no configuration must be provided"),
        ("onlyNixStore = true; installBootLoader = true;", "no boot loader installed"),
        ('format = "vmdk";', "format vmdk is unknown; use one of qcow2, qcow2-compressed, raw, vdi, vpc"),
        ("diskSizes = 5;", "called with unexpected argument 'diskSizes'"),
    ],
    ids=str,
)
def test_refuses(parameters: str, words: str, images: Images) -> None:
    assert words in images.refused(parameters)


def test_every_parameter_of_nixpkgs_is_taken(images: Images) -> None:
    """Source: current nixpkgs' make-disk-image.nix, late 2025."""
    parameters = (
        "pkgs lib config diskSize additionalSpace bootSize contents partitionTableType installBootLoader"
        " touchEFIVars OVMF efiFirmware efiVariables fsType label configFile postVM memSize onlyNixStore name"
        " format baseName deterministic rootGPUID rootFSUID copyChannel additionalPaths"
    )
    taken = images.nix.run(
        "nix-instantiate", "--eval", "--strict", "--json", "--expr",
        f"builtins.functionArgs (import {ROOT}/nix/make-disk-image.nix)",
    )  # fmt: skip
    assert set(parameters.split()) <= set(json.loads(taken))


# The package and the flake


def test_the_package_has_the_dependencies_of_pyproject(images: Images) -> None:
    answer = images.nix.run("nix-instantiate", "--eval", "--strict", "--json", PACKAGE, "--read-write-mode")
    made = json.loads(answer)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = dict(re.findall(r"^([a-z.-]+)(.*)$", "\n".join(project["dependencies"]), re.MULTILINE))
    found = {each["pname"]: each for each in made["dependencies"]}
    assert found.keys() == wanted.keys()
    for name, range_ in wanted.items():
        if range_.startswith("=="):
            assert found[name]["version"] == range_[2:], name
            assert f"-{range_[2:]}:sha256-" in found[name]["src"]
    assert (made["pname"], made["version"]) == ("imgwriter", imgwriter.__version__)


def test_the_package_is_made_of_tracked_files(images: Images) -> None:
    files = json.loads(
        images.nix.run("nix-instantiate", "--eval", "--strict", "--json", PACKAGE, "-A", "files")
    )
    source = images.nix.real(files)
    assert sorted(path.name for path in source.iterdir()) == [
        "LICENSE", "README.md", "imgwriter", "pyproject.toml",
    ]  # fmt: skip
    assert not list(source.rglob("__pycache__")) and (source / "imgwriter" / "nix" / "nar.py").exists()


@pytest.fixture
def flake(images: Images, tmp_path: Path) -> str:
    """A reference to the flake, in a folder that holds no more than it needs."""
    place = tmp_path / "flake"
    shutil.copytree(ROOT / "nix", place / "nix")
    shutil.copy(ROOT / "flake.nix", place)
    return f"path:{place}"


def test_the_flake_has_no_inputs_and_evaluates_offline(flake: str, images: Images) -> None:
    metadata = json.loads(images.nix.run("nix", "flake", "metadata", "--json", flake))
    assert metadata["locks"]["nodes"] == {"root": {}}
    for attribute in ("lib.makeDiskImage", "lib.packages", "overlays.default"):
        kind = images.nix.run("nix", "eval", "--raw", f"{flake}#{attribute}", "--apply", "builtins.typeOf")
        assert kind == "lambda"
    apply = 'make: (builtins.tryEval (make { lib = { }; } { config = { }; format = "vmdk"; })).success'
    assert images.nix.run("nix", "eval", f"{flake}#lib.makeDiskImage", "--apply", apply).strip() == "false"


def test_the_flake_passes_its_check(flake: str, images: Images) -> None:
    images.nix.run("nix", "flake", "check", flake)
