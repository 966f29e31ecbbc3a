"""Images with a boot loader, judged by the tools that judge all others: they are as sound as without one.

That they boot, tests/guest/test_boot_without_guest.py proves.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.building import build
from tests.oracles import debugfs, e2fsck, fsck_fat, grub, mtools, parted
from tests.oracles.tools import CACHE, attempt, require_file, run

pytestmark = pytest.mark.compat

MiB = 1 << 20
BOOT_CODE = 440
OPTIONS = ("--owner", "0:0", "--additional-space", "16M", "--kernel-parameters", "console=ttyS0,115200")
CASES = [
    *(("grub-bios", table) for table in ("legacy", "legacy+boot", "legacy+gpt", "hybrid")),
    *(("grub-efi", table) for table in ("efi", "efixbootldr")),
    *(("systemd-boot", table) for table in ("hybrid", "efixbootldr")),
]


@pytest.fixture(scope="module")
def tree() -> Path:
    return require_file(CACHE / "boot-tree" / ".ready").parent / "root"


def _build(tree: Path, output: Path, loader: str, table: str) -> Path:
    return build(tree, output, "--boot-loader", loader, "--partition-table", table, *OPTIONS)


@pytest.mark.parametrize(("loader", "table"), CASES)
def test_tables_and_file_systems(tree: Path, tmp_path: Path, loader: str, table: str) -> None:
    image = _build(tree, tmp_path, loader, table)
    verified = attempt("sfdisk", "--verify", image)
    assert verified.status == 0 and "No errors detected" in verified.out, verified.text
    partitions = parted.table(image).partitions
    for each in partitions:
        if each.filesystem.startswith("fat"):
            size = 512 * (each.last_lba + 1 - each.first_lba)
            fsck_fat.check(fsck_fat.slice_of(image, 512 * each.first_lba, size, tmp_path / "fat"))
        elif each.filesystem:
            e2fsck.check(image, 512 * each.first_lba)
    assert "ext4" in [each.filesystem for each in partitions]


def test_the_disk_keeps_its_signature_and_partitions(tree: Path, tmp_path: Path) -> None:
    """As sfdisk tells them, of a disk that differs in its loader alone."""
    one = _build(tree, tmp_path / "one", "grub-bios", "legacy")
    size = f"{one.stat().st_size // MiB}M"
    other = build(tree, tmp_path / "other", "--owner", "0:0", "--disk-size", size)
    dumps = [run("sfdisk", "--dump", image).replace(str(image), "disk") for image in (one, other)]
    assert dumps[0] == dumps[1]
    first = [image.read_bytes()[:512] for image in (one, other)]
    assert first[0][BOOT_CODE:] == first[1][BOOT_CODE:] and not any(first[1][:BOOT_CODE])


def test_grub_s_files_in_the_root(tree: Path, tmp_path: Path) -> None:
    image = _build(tree, tmp_path, "grub-bios", "legacy")
    menu = tmp_path / "grub.cfg"
    menu.write_bytes(debugfs.cat(image, "/boot/grub/grub.cfg", MiB))
    grub.script_check(menu)
    platform = grub.directory("i386-pc")
    for name in ("normal.mod", "moddep.lst", "boot.img"):
        assert debugfs.cat(image, f"/boot/grub/i386-pc/{name}", MiB) == (platform / name).read_bytes()
    found = debugfs.stat(image, "/boot/grub", MiB)
    assert (found.uid, found.gid, found.mtime_ns) == (0, 0, 1_700_000_000 * 10**9)
    # What is embedded is core.img but for where it stands.
    core = debugfs.cat(image, "/boot/grub/i386-pc/core.img", MiB)
    with image.open("rb") as file:
        file.seek(512)
        assert file.read(len(core)) == core


def test_systemd_boot_s_files_on_fat(tree: Path, tmp_path: Path) -> None:
    image = _build(tree, tmp_path, "systemd-boot", "efixbootldr")
    esp, boot, root = (512 * each.first_lba for each in parted.table(image).partitions)
    program = (tree / "usr/lib/systemd/boot/efi/systemd-bootx64.efi").read_bytes()
    for path in ("EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"):
        assert mtools.read(image, path, esp) == program
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    version = kernel.name.removeprefix("vmlinuz-")
    entry = mtools.read(image, f"loader/entries/boottest-{version}.conf", boot).decode()
    fields = dict(line.split(" ", 1) for line in entry.splitlines())
    assert mtools.read(image, fields["linux"].lstrip("/"), boot) == kernel.read_bytes()
    uuid = run("blkid", "-p", "-O", str(root), "-o", "value", "-s", "UUID", image).strip()
    assert fields["options"] == f"root=UUID={uuid} ro console=ttyS0,115200"
