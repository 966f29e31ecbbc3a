"""What an installer wrote outside of files: boot code, as patches of the disk that is made anew.

::

    0     440 512        1 MiB               the first file system's           the last partition's end
    ├ code ┼───┼─ GPT ─ gap ┼─ BIOS boot ──┬── boot sectors ── files ── ... ──────┼─ gap ─ backup GPT ─┤
       ^    table    ^            ^               ^                                   ^
       └─────────────┴────────────┴───────────────┴── compared, sector by sector ──────┘

The tables themselves must be what they were: partitions that an installer moved are not moved back. In the
boot sectors of file systems only what is code is taken over: ext4's first 1,024 bytes, and of FAT's reserved
sectors what neither the BIOS parameter block nor FSInfo has.

Spec: UEFI 2.10, 5.2.1; kernel Documentation/filesystems/ext4/super.rst ("padding"); Microsoft, FAT
specification 1.03, sections 3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.bootloader.outcome import MBR_CODE_SIZE
from imgwriter.disk import Layout, Partition
from imgwriter.errors import SourceError
from imgwriter.extent import Patch, Volume
from imgwriter.fat.reader import FileSystem as FatFileSystem
from imgwriter.tables_reader import Table
from imgwriter.window import Window

SECTOR = 512
EXT4_BOOT_SIZE = 1024
_STEP = 1 << 20
_MBR_SIZE = 512
_FAT_SIGNATURE = 510
_FAT_CODE = {12: (62, _FAT_SIGNATURE), 16: (62, _FAT_SIGNATURE), 32: (90, _FAT_SIGNATURE)}
"""Where a FAT boot sector's code is, behind its jump (0 to 2) and the BIOS parameter block."""


class Region(NamedTuple):
    """Where boot code may be.

    Attributes:
        start, stop: Bytes of the disk.
        label: What it is, for reports.
        partition: The number of the partition that it lies in, or None.
    """

    start: int
    stop: int
    label: str
    partition: int | None = None


def regions(layout: Layout, fats: dict[int, FatFileSystem]) -> Iterator[Region]:
    """Yield the places for boot code, in the order of the disk.

    Args:
        layout: The disk, as it was given to the guest.
        fats: The FAT file systems on it, by partition.
    """
    if layout.scheme == "none":
        position = 0
    else:
        yield Region(0, MBR_CODE_SIZE, "boot code, MBR")
        position = _table_end(layout)
    for partition in sorted(layout.partitions, key=lambda p: p.start):
        if position < partition.start:
            yield Region(position, partition.start, "boot code, outside of partitions")
        yield from _in_partition(partition, fats.get(partition.number))
        position = max(position, partition.end)
    end = layout.disk_size - (_table_end(layout) - layout.sector_size if layout.scheme == "gpt" else 0)
    if position < end:
        yield Region(position, end, "boot code, behind the partitions")


def _table_end(layout: Layout) -> int:
    """Return where the table at the disk's start ends: of a GPT, the header and 128 entries."""
    if layout.scheme == "mbr":
        return _MBR_SIZE
    return 2 * layout.sector_size + 128 * 128


def _in_partition(partition: Partition, fat: FatFileSystem | None) -> Iterator[Region]:
    start, number = partition.start, partition.number
    name = f"boot code, partition {number}" if number else "boot code, the file system's first sectors"
    if partition.role == "bios":
        yield Region(start, partition.end, f"boot code, BIOS boot partition {number}", number)
    elif fat is None:
        yield Region(start, start + EXT4_BOOT_SIZE, name, number)
    else:
        low, high = _FAT_CODE[fat.layout.bits]
        yield Region(start, start + 3, name, number)
        yield Region(start + low, start + high, name, number)
        size = fat.layout.sector_size
        backup = fat.boot.number("BPB_BkBootSec") if fat.layout.bits == 32 else 0
        described = {0, 1, *range(backup, backup + 3)} if fat.layout.bits == 32 else {0}
        for nth in range(1, fat.layout.fat_start // size):
            if nth not in described:
                yield Region(start + nth * size, start + (nth + 1) * size, name, number)


def compare(before: Volume, after: Volume, places: Iterator[Region]) -> list[Patch]:
    """Return what ``after`` has otherwise than ``before``, in whole sectors where the region has them.

    Raises:
        SourceError: The scratch disk cannot be read.
    """
    patches: list[Patch] = []
    first, second = Window(before), Window(after)
    for place in places:
        found = [Patch(start, content, place.label) for start, content in _differing(first, second, place)]
        patches += _joined(found)
    return patches


def _differing(before: Window, after: Window, place: Region) -> Iterator[tuple[int, bytes]]:
    for low in range(place.start, place.stop, _STEP):
        high = min(low + _STEP, place.stop)
        if not before.has_data(low, high) and not after.has_data(low, high):
            continue
        old = before.read(low, high - low, place.label)
        new = after.read(low, high - low, place.label)
        if old == new:
            continue
        for at in range(0, high - low, SECTOR):
            if old[at : at + SECTOR] != new[at : at + SECTOR]:
                yield low + at, new[at : at + SECTOR]


def _joined(patches: list[Patch]) -> list[Patch]:
    """Return the patches with neighbours made one."""
    joined: list[Patch] = []
    for patch in patches:
        if joined and joined[-1].end == patch.start:
            joined[-1] = joined[-1]._replace(content=joined[-1].content + patch.content)
        else:
            joined.append(patch)
    return joined


def check_table(before: Table, after: Table) -> None:
    """Refuse a partition table that an installer changed.

    Raises:
        SourceError: It is another.
    """
    if (before.kind, before.identifier, before.partitions, before.hybrid) != (
        after.kind,
        after.identifier,
        after.partitions,
        after.hybrid,
    ):
        raise SourceError(
            "the installer changed the partition table, which imgwriter writes; let it leave that alone, or"
            " keep the disk that it wrote to with --keep-guest-image"
        )
