"""Boot code that finds its next part by sectors of a file system: it breaks when files are laid out anew.

::

    boot sector ── sector number ──> in the gap, or a BIOS boot partition: stays where it is
                                └──> in a file system: a file, which imgwriter puts somewhere else

GRUB's ``boot.img`` has the sector of ``core.img`` at 0x5c, and core.img's first sector has a list of the
others, from 0x1f4 downwards, 12 bytes each (start, length, segment), up to a length of 0. SYSLINUX, EXTLINUX
and LILO always keep sectors of files; they are known by their names.

Spec: GRUB 2.06, grub-core/boot/i386/pc/boot.S and diskboot.S, include/grub/i386/pc/boot.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from imgwriter.disk import Layout, Partition
from imgwriter.errors import SourceError
from imgwriter.extent import Patch, Volume

SECTOR = 512
GRUB_KERNEL_SECTOR = 0x5C
GRUB_NAME = b"GRUB \0Geom\0Hard Disk\0Read\0 Error"
GRUB_FIRST_LIST = 0x1F4
_LIST = struct.Struct("<QHH")
_BY_NAME = {3: (b"SYSLINUX", b"EXTLINUX"), 6: (b"LILO",)}
"""What a boot sector has at an offset when its loader keeps sectors of files."""


def check_block_lists(after: Volume, layout: Layout, patches: Iterable[Patch]) -> None:
    """Refuse boot code that depends on where files lie.

    Args:
        after: The disk after the installer ran.
        layout: Its partitions.
        patches: What the installer wrote outside of files.

    Raises:
        SourceError: It does; the message names the loader and the remedies.
    """
    written = [patch.start for patch in patches]
    starts = {0, *(p.start for p in layout.partitions)}
    for start in sorted(s for s in starts if any(s <= each < s + SECTOR for each in written)):
        sector = after.read(start, SECTOR)
        for loader, why in _complaints(after, layout, sector):
            place = "sector 0" if not start else f"the boot sector at LBA {start // SECTOR:,}"
            raise SourceError(
                f"{loader} in {place} {why}, where another file may stand when imgwriter lays the file system"
                " out; give it a gap (partition table legacy) or a BIOS boot partition (legacy+gpt, hybrid),"
                " use another loader, or keep the disk that it wrote to with --keep-guest-image"
            )


def _complaints(after: Volume, layout: Layout, sector: bytes) -> Iterator[tuple[str, str]]:
    for offset, names in _BY_NAME.items():
        for name in names:
            if sector.startswith(name, offset):
                yield name.decode(), "finds its files by lists of sectors"
    if GRUB_NAME not in sector:
        return
    kernel = int.from_bytes(sector[GRUB_KERNEL_SECTOR : GRUB_KERNEL_SECTOR + 8], "little")
    for first, count in [(kernel, 1), *_grub_lists(after, kernel)]:
        partition = _file_system_at(layout, first * SECTOR, count * SECTOR)
        if partition is not None:
            where = f"partition {partition.number}" if partition.number else "the file system"
            yield "GRUB", f"finds its core image in sector {first:,}, in {where}"
            return


def _grub_lists(after: Volume, kernel: int) -> Iterator[tuple[int, int]]:
    """Yield (first sector, how many) of the block lists in core.img's first sector."""
    if (kernel + 1) * SECTOR > after.size:
        return
    sector = after.read(kernel * SECTOR, SECTOR)
    for offset in range(GRUB_FIRST_LIST, -1, -_LIST.size):
        start, count, _ = _LIST.unpack_from(sector, offset)
        if not count:
            return
        yield start, count


def _file_system_at(layout: Layout, start: int, length: int) -> Partition | None:
    for partition in layout.partitions:
        if partition.role != "bios" and start < partition.end and start + length > partition.start:
            return partition
    return None
