"""Whose each byte of a disk is: regions that touch and never overlap, found by bisection.

::

    disk   ├ MBR ┼ GPT header ┼ GPT entries ┼ gap ┼ superblock ┼ ... ┼ usr/bin/x ┼ unused ┼ ... ┤

Readers offer what they know in ranks: what a file system's geometry fixes before what its inodes say. Where
two claim a byte, which only damage brings about, the higher rank has it, then the one that begins first. What
nobody claims belongs to a filler. So every byte of a disk has exactly one owner, whatever stands on it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from imgwriter.errors import show

_NO_NAMES: Mapping[int, bytes] = {}


class Kind(StrEnum):
    """What a region holds."""

    MBR = "MBR"
    EBR = "EBR"
    GPT_HEADER = "GPT header"
    GPT_ENTRIES = "GPT entries"
    BOOT_BLOCK = "boot block"
    SUPERBLOCK = "superblock"
    DESCRIPTORS = "group descriptors"
    BLOCK_BITMAP = "block bitmap"
    INODE_BITMAP = "inode bitmap"
    INODE_TABLE = "inode table"
    EXTENT_TREE = "extent tree"
    BLOCK_MAP = "block map"
    XATTR = "extended attributes"
    RESIZE = "resize inode"
    JOURNAL = "journal"
    SYSTEM_FILE = "system file"
    BOOT_SECTOR = "boot sector"
    FSINFO = "FSInfo"
    FAT = "FAT"
    FAT_DIRECTORY = "FAT directory"
    DIRECTORY = "directory"
    FILE = "file"
    SYMLINK = "symlink"
    UNWRITTEN = "preallocated"
    UNUSED = "unused"
    GAP = "gap"
    OPAQUE = "not read"


class Region(NamedTuple):
    """A half-open run of bytes of a disk, all of which belong to one structure or file.

    Attributes:
        start, end: Bytes of the disk.
        kind: What it holds.
        layer: Where it belongs to: "disk", "MBR", "GPT", "partition 2 (ext4)".
        area: The partition's number; None outside of partitions.
        number: Of its first record: the inode of a table, the group of a descriptor, the entry of a GPT;
            the inode, block or cluster of a bitmap's first bit; the inode of a file.
        unit: Bytes of a record, where the region is a run of them; 0 otherwise.
        logical: Where the region begins in its file, in bytes; -1 where that has no meaning.
        path: Of the file or directory, without a leading slash; "<journal>" and the like where there is none.
        note: What tells it from others of its kind: "backup", "group 3", "FAT 2".
        block: Bytes of a block of its file system; a directory's blocks are structures of their own.
        names: Paths of records: by the inode's number, or by the offset of a FAT directory's entry.
    """

    start: int
    end: int
    kind: Kind
    layer: str
    area: int | None = None
    number: int = 0
    unit: int = 0
    logical: int = -1
    path: bytes | None = None
    note: str = ""
    block: int = 0
    names: Mapping[int, bytes] = _NO_NAMES

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    @property
    def title(self) -> str:
        """What to call it, without the layer: "usr/bin/x", "inode table, group 3"."""
        if self.path is not None and self.kind in _OF_FILES:
            path = show(self.path) or "/"
            return path if self.kind in (Kind.FILE, Kind.SYSTEM_FILE) else f"{self.kind} {path}"
        if self.path is not None:
            return f"{self.kind}, {show(self.path) or '/'}"
        return f"{self.kind}, {self.note}" if self.note else str(self.kind)


_OF_FILES = frozenset({Kind.FILE, Kind.SYMLINK, Kind.DIRECTORY, Kind.FAT_DIRECTORY, Kind.SYSTEM_FILE})
_START = attrgetter("start")


def tile(start: int, end: int, filler: Region, *ranks: Iterable[Region]) -> list[Region]:
    """Return regions that cover [start, end) without gap or overlap.

    Args:
        start, end: Bytes of the disk.
        filler: What lies between; its bounds do not matter.
        ranks: Regions in any order; those of an earlier rank keep their bytes.
    """
    taken: list[Region] = []
    for rank in ranks:
        taken = _merged(taken, rank, start, end)
    return list(_filled(taken, start, end, filler))


def _merged(taken: list[Region], offered: Iterable[Region], start: int, end: int) -> list[Region]:
    """Return ``taken`` and what it leaves of ``offered``, by start."""
    result: list[Region] = []
    position, index = start, 0
    for region in sorted(offered, key=_START):
        low, high = max(region.start, position), min(region.end, end)
        while low < high:
            while index < len(taken) and taken[index].end <= low:
                result.append(taken[index])
                index += 1
            free_to = taken[index].start if index < len(taken) else high
            if free_to > low:
                stop = min(high, free_to)
                result.append(clipped(region, low, stop))
                low = stop
            else:
                low = taken[index].end
        position = max(position, high)
    result += taken[index:]
    return result


def _filled(regions: list[Region], start: int, end: int, filler: Region) -> Iterator[Region]:
    position = start
    for region in regions:
        if region.start > position:
            yield filler._replace(start=position, end=region.start)
        yield region
        position = region.end
    if position < end:
        yield filler._replace(start=position, end=end)


def clipped(region: Region, start: int, end: int) -> Region:
    """Return the part [start, end) of a region, its number and its place in a file adjusted."""
    if (start, end) == (region.start, region.end):
        return region
    ahead = start - region.start
    logical = region.logical + ahead if region.logical >= 0 else -1
    if region.unit and ahead % region.unit:
        # A record of which the beginning is somebody else's cannot be read.
        return region._replace(start=start, end=end, unit=0, logical=logical)
    number = region.number + ahead // region.unit if region.unit else region.number
    return region._replace(start=start, end=end, number=number, logical=logical)


class RegionMap:
    """The regions of a disk, all of its bytes.

    Args:
        regions: Sorted, without gap or overlap.
    """

    __slots__ = ("_starts", "regions")

    def __init__(self, regions: Sequence[Region]) -> None:
        self.regions = regions
        self._starts = [region.start for region in regions]

    def at(self, offset: int) -> Region:
        """Return the region of a byte of the disk."""
        return self.regions[bisect_right(self._starts, offset) - 1]

    def between(self, start: int, end: int) -> Iterator[Region]:
        """Yield the regions that have bytes of [start, end), whole."""
        for index in range(max(bisect_right(self._starts, start) - 1, 0), len(self.regions)):
            region = self.regions[index]
            if region.start >= end:
                return
            yield region
