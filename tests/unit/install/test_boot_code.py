"""What lies outside of files is compared; boot code that would break is refused."""

from __future__ import annotations

import struct

import pytest

from imgwriter import disk
from imgwriter.disk import DiskIdentifiers, Layout
from imgwriter.errors import SourceError
from imgwriter.extent import Bytes, Patch, Volume, extent, overlay
from imgwriter.install.block_lists import check_block_lists
from imgwriter.install.boot_code import Region, check_table, compare, regions
from imgwriter.spec import TableKind
from imgwriter.tables_reader import read_table
from imgwriter.units import MiB

SIZE = 600 * MiB

# GRUB 2.06, grub-core/boot/i386/pc/boot.S: the words at the end of its code, "kernel_sector" at 0x5c.
GRUB_WORDS = b"GRUB \0Geom\0Hard Disk\0Read\0 Error\r\n\0"


def layout(kind: TableKind) -> Layout:
    return disk.plan(kind, SIZE, identifiers=DiskIdentifiers.derive("x"))


def places(kind: TableKind) -> list[tuple[int, int]]:
    return [(r.start, r.stop) for r in regions(layout(kind), {})]


def test_the_places_of_an_mbr_disk() -> None:
    # partition 1 from 1 MiB, to 1 MiB before the end
    assert places("legacy") == [
        (0, 440), (512, MiB), (MiB, MiB + 1024), (SIZE - MiB, SIZE),
    ]  # fmt: skip


def test_the_places_of_a_gpt_disk_have_neither_table() -> None:
    # header and 128 entries end at LBA 34; the backup's 33 sectors are the disk's last
    assert places("legacy+gpt") == [
        (0, 440), (34 * 512, MiB), (MiB, 2 * MiB), (2 * MiB, 2 * MiB + 1024), (SIZE - MiB, SIZE - 33 * 512),
    ]  # fmt: skip


def test_the_place_of_a_disk_without_a_table() -> None:
    assert places("none") == [(0, 1024)]


def test_whole_sectors_that_differ_become_patches() -> None:
    before = Volume(SIZE, [extent(0, Bytes(b"a" * 512), "MBR"), extent(4096, Bytes(b"b" * 512), "x")])
    code = [Patch(10, b"code", ""), Patch(600, b"core", ""), Patch(1100, b"core", ""), Patch(4096, b"b", "")]
    found = compare(before, overlay(before, code), iter([Region(0, 440, "MBR"), Region(512, MiB, "gap")]))
    assert [(p.start, len(p.content), p.label) for p in found] == [(0, 440, "MBR"), (512, 1024, "gap")]
    assert found[0].content == b"a" * 10 + b"code" + b"a" * 426
    assert compare(before, before, regions(layout("legacy"), {})) == []


def test_zeros_take_the_place_of_code() -> None:
    before = Volume(SIZE, [extent(512, Bytes(b"b" * 512), "old loader")])
    (patch,) = compare(before, Volume(SIZE, []), iter([Region(512, MiB, "gap")]))
    assert patch == Patch(512, bytes(512), "gap")


def test_a_table_that_was_changed_is_refused() -> None:
    ours = layout("legacy").table_volume()
    check_table(read_table(ours), read_table(ours))
    # OSType of record 1. Spec: UEFI 2.10, 5.2.1
    other = overlay(ours, [Patch(446 + 4, b"\x0b", "")])
    with pytest.raises(SourceError, match="changed the partition table"):
        check_table(read_table(ours), read_table(other))


def grub(kernel: int) -> bytes:
    """A boot sector with what GRUB's has."""
    sector = bytearray(440)
    sector[0x5C:0x64] = kernel.to_bytes(8, "little")
    sector[0x180 : 0x180 + len(GRUB_WORDS)] = GRUB_WORDS
    return bytes(sector)


def core(start: int, count: int) -> bytes:
    """diskboot.img: its list of blocks at 0x1f4. Spec: include/grub/i386/pc/boot.h, grub_boot_blocklist."""
    return bytes(0x1F4) + struct.pack("<QHH", start, count, 0x820)


@pytest.mark.parametrize(
    ("kind", "kernel", "rest", "kept"),
    [
        ("legacy", 1, (2, 2046), True),  # the gap's last sector is 2047
        ("legacy", 1, (2, 2047), False),
        ("legacy", 2048, (2049, 10), False),
        ("legacy+gpt", 2048, (2049, 2047), True),  # all of the BIOS boot partition
        ("legacy+gpt", 2048, (2049, 2048), False),
        ("legacy+gpt", 4096, (4097, 1), False),
    ],
)
def test_grub_may_not_keep_sectors_of_files(
    kind: TableKind, kernel: int, rest: tuple[int, int], kept: bool
) -> None:
    code = [Patch(0, grub(kernel), ""), Patch(kernel * 512, core(*rest), "")]
    after = overlay(Volume(SIZE, []), code)
    if kept:
        check_block_lists(after, layout(kind), code)
        return
    with pytest.raises(SourceError, match=r"GRUB in sector 0 finds its core image in sector .* partition"):
        check_block_lists(after, layout(kind), code)


@pytest.mark.parametrize(
    ("content", "loader"), [(b"\xeb\x58\x90EXTLINUX", "EXTLINUX"), (b"\xeb\x3c\x90SYSLINUX", "SYSLINUX")]
)
def test_loaders_that_always_do_are_known_by_name(content: bytes, loader: str) -> None:
    code = [Patch(MiB, content, "")]
    with pytest.raises(
        SourceError, match=f"{loader} in the boot sector at LBA 2,048 finds its files by lists"
    ):
        check_block_lists(overlay(Volume(SIZE, []), code), layout("legacy"), code)


def test_what_was_not_written_is_not_looked_at() -> None:
    after = Volume(SIZE, [extent(0, Bytes(grub(2048)), "MBR")])
    check_block_lists(after, layout("legacy"), [Patch(512, b"1", "")])


def test_a_core_image_beyond_the_disk_is_no_error() -> None:
    code = [Patch(0, grub((1 << 64) - 1), "")]
    check_block_lists(overlay(Volume(SIZE, []), code), layout("legacy"), code)
