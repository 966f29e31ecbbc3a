"""Boot loaders that were installed without running anything boot to a login prompt, in every container."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.building import build
from tests.oracles import boot, debugfs, e2fsck, grub
from tests.oracles.boot import Firmware
from tests.oracles.tools import CACHE, require_file

pytestmark = [pytest.mark.guest, pytest.mark.slow]

OPTIONS = ("--owner", "0:0", "--boot-timeout", "0", "--kernel-parameters", "console=ttyS0,115200 panic=-1")


class Case(NamedTuple):
    """A loader on a table, in a container."""

    loader: str
    table: str
    format: str
    firmware: Firmware

    @property
    def options(self) -> tuple[str, ...]:
        """The command line."""
        space = ("--additional-space", "32M", "--format", self.format)
        return ("--boot-loader", self.loader, "--partition-table", self.table, *space, *OPTIONS)


# Each loader in each container, and on each table that has a place for it.
CASES = [
    Case("grub-bios", "legacy", "raw", "bios"),
    Case("grub-bios", "legacy+gpt", "qcow2", "bios"),
    Case("grub-bios", "hybrid", "qcow2-compressed", "bios"),
    Case("grub-bios", "legacy+boot", "vpc", "bios"),
    Case("grub-efi", "efi", "raw", "efi"),
    Case("grub-efi", "efixbootldr", "qcow2", "efi"),
    Case("grub-efi", "hybrid", "qcow2-compressed", "efi"),
    Case("grub-efi", "efi", "vpc", "efi"),
    Case("systemd-boot", "efixbootldr", "raw", "efi"),
    Case("systemd-boot", "efi", "qcow2", "efi"),
    Case("systemd-boot", "hybrid", "qcow2-compressed", "efi"),
    Case("systemd-boot", "efi", "vpc", "efi"),
]


@pytest.fixture(scope="module")
def tree() -> Path:
    return require_file(CACHE / "boot-tree" / ".ready").parent / "root"


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case[:3]))
def test_to_the_login_prompt(case: Case, tree: Path, tmp_path: Path) -> None:
    """Two builds have the same bytes, and boot."""
    first, second = (build(tree, tmp_path / name, *case.options) for name in ("first", "second"))
    assert _sha256(first) == _sha256(second)
    text = boot.check(first, case.format.removesuffix("-compressed"), case.firmware)
    assert "Linux version" in text and "boot-test login:" in text


def test_a_hybrid_disk_boots_both_ways(tree: Path, tmp_path: Path) -> None:
    image = build(tree, tmp_path, *Case("grub", "hybrid", "raw", "bios").options)
    boot.check(image, firmware="bios")
    boot.check(image, firmware="efi")


def test_current_nixpkgs_bios_boot_partition(tree: Path, tmp_path: Path) -> None:
    """Its hybrid table has one from sector 34 on, and no sector of it is aligned."""
    case = Case("grub-bios", "hybrid", "raw", "bios")
    boot.check(build(tree, tmp_path, *case.options, "--compat", "nixpkgs"))


def test_what_was_installed_is_whole(tree: Path, tmp_path: Path) -> None:
    """The file systems with a loader's files are as sound as any."""
    image = build(tree, tmp_path, *Case("grub-bios", "legacy", "raw", "bios").options)
    root = tmp_path / "root.img"
    with image.open("rb") as source, root.open("wb") as target:
        source.seek(1 << 20)
        target.write(source.read())
    e2fsck.check(root)


def test_as_grub_install_leaves_it(tree: Path, tmp_path: Path) -> None:
    """Run in a guest: the same boot code, the same core image but for its packing, the same files."""
    case = Case("grub-bios", "legacy", "raw", "bios")
    ours = build(tree, tmp_path / "ours", *case.options)
    command = ("--boot-command", "grub-install --target=i386-pc --no-floppy /dev/vda")
    space = ("--owner", "0:0", "--additional-space", "32M")
    theirs = build(tree, tmp_path / "theirs", *command, *space)
    assert ours.read_bytes()[:512] == theirs.read_bytes()[:512]
    cores = [debugfs.cat(image, "/boot/grub/i386-pc/core.img", 1 << 20) for image in (ours, theirs)]
    assert grub.unpack(cores[0]) == grub.unpack(cores[1])
    names = [set(debugfs.listing(image, "/boot/grub/i386-pc", 1 << 20)) for image in (ours, theirs)]
    assert names[0] == names[1]
    # docs/boot.md says what is left out: fonts, translations, and a grubenv.
    top = [set(debugfs.listing(image, "/boot/grub", 1 << 20)) for image in (ours, theirs)]
    assert (top[0] - top[1], top[1] - top[0]) == ({"grub.cfg"}, {"fonts", "grubenv", "locale"})


# --- The judge objects ---


def test_a_disk_that_no_bios_boots(tree: Path, tmp_path: Path) -> None:
    image = build(tree, tmp_path, *Case("grub-bios", "legacy", "raw", "bios").options)
    _overwrite(image, 0, b"\xcd\x18")  # int 18h: "I have nothing to boot"
    with pytest.raises(AssertionError, match="the machine ended"):
        boot.check(image)


def test_a_disk_that_no_uefi_boots(tree: Path, tmp_path: Path) -> None:
    image = build(tree, tmp_path, *Case("grub-efi", "efi", "raw", "efi").options)
    content = image.read_bytes()
    _overwrite(image, content.index(b"MZ\x90\0", 8 << 20), b"no")
    with pytest.raises(AssertionError, match="the firmware gave up"):
        boot.check(image, firmware="efi")


def test_a_core_image_with_one_wrong_byte(tree: Path, tmp_path: Path) -> None:
    """GRUB's decompressor makes something else of it, and no kernel is reached."""
    image = build(tree, tmp_path, *Case("grub-bios", "legacy", "raw", "bios").options)
    _overwrite(image, 512 + 508, b"\x01\0")  # diskboot.img loads one sector of them all
    with pytest.raises(AssertionError, match="the machine ended"):
        boot.check(image)


def _overwrite(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
