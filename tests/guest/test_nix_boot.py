"""A NixOS-shaped system whose own installer puts GRUB in place, through nix/make-disk-image.nix: it boots.

Real Nix builds it, in its sandbox; QEMU runs inside the builder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.oracles import boot, efi_variables
from tests.oracles.nix import Nix
from tests.oracles.tools import CACHE, ROOT, Result, require, require_file

pytestmark = [pytest.mark.guest, pytest.mark.slow]

EXPRESSION = Path(__file__).with_name("nix_boot_image.nix")


class Images:
    """A store of Nix's own, and the expression in it."""

    def __init__(self, folder: Path) -> None:
        for tool in ("qemu-system-x86_64", "busybox"):
            require(tool)
        machine = ("/bin", "/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix, str(ROOT))
        paths = " ".join(path for path in dict.fromkeys(machine) if Path(path).exists())
        self.nix = Nix(folder, settings=f"sandbox-paths = {paths}")
        self.nixpkgs = folder / "nixpkgs"
        self.nixpkgs.mkdir()
        (self.nixpkgs / "default.nix").write_text("{ }: { }\n")

    def attempt(self, parameters: str, *more: str) -> Result:
        tree = require_file(CACHE / "boot-tree" / ".ready").parent / "root"
        return self.nix.attempt(
            "nix-build", "--no-out-link", *more, EXPRESSION,
            *("--arg", "tree", tree, "--arg", "nixpkgs", self.nixpkgs),
            *("--argstr", "imgwriter", sys.prefix, "--arg", "parameters", f"{{ {parameters} }}"),
        )  # fmt: skip

    def build(self, parameters: str, *more: str) -> Path:
        result = self.attempt(parameters, *more)
        assert result.status == 0, result.text
        return self.nix.real(result.out.strip())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("nix-boot"))


@pytest.mark.parametrize(
    ("image_format", "suffix"),
    [("raw", "img"), ("qcow2-compressed", "qcow2")],
    ids=["raw", "qcow2-compressed"],
)
def test_it_boots_and_builds_twice_the_same(image_format: str, suffix: str, images: Images) -> None:
    """``--check`` builds again and compares; postVM sees the final image."""
    said = 'postVM = "sha256sum < $diskImage > $out/sum";'
    parameters = f'format = "{image_format}"; additionalSpace = "32M"; {said}'
    out = images.build(parameters)
    assert images.build(parameters, "--check") == out
    text = boot.check(out / f"nixos.{suffix}", image_format.removesuffix("-compressed"))
    assert "Linux version" in text and "nix-boot login:" in text
    assert (out / "sum").read_text().split()


def test_an_installer_that_fails_fails_the_build(images: Images) -> None:
    """There is no /dev/vda1 to speak of where the whole disk is the file system, and no gap."""
    result = images.attempt('partitionTableType = "none"; additionalSpace = "32M";')
    assert result.status != 0
    assert "a command failed in the guest" in result.err or "finds its core image" in result.err, result.text


def test_efi_variables_are_beside_the_image(images: Images) -> None:
    """The installer's GRUB is for a BIOS, whose code goes into hybrid's BIOS boot partition."""
    out = images.build('partitionTableType = "hybrid"; touchEFIVars = true; additionalSpace = "32M";')
    assert "BootOrder" in efi_variables.read(out / "efi-vars.fd")
    assert (out / "nixos.img").exists()
