"""Whose the bytes of a FAT file system are: reserved sectors, FATs, directories, files by path.

What is damaged is left out, and its clusters are nobody's: an owner is named where a whole chain says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imgwriter.errors import FormatError
from imgwriter.examine.owners.regions import Kind, Region, tile
from imgwriter.fat.boot_reader import BOOT_SIZE
from imgwriter.fat.chains import Claims
from imgwriter.fat.reader import FileSystem, Node
from imgwriter.fat.structures import ENTRY_SIZE
from imgwriter.tree.inventory import Inode

_NO_SECTOR = 0xFFFF


class FatOwners:
    """The regions of one FAT file system.

    Args:
        start, end: Of its area, in bytes of the disk.
        layer: What it is called.
        area: Its partition's number.
    """

    def __init__(self, file_system: FileSystem, start: int, end: int, layer: str, area: int) -> None:
        self._fs = file_system
        self._start = start
        self._end = end
        self._layer = layer
        self._area = area
        self.problems: list[FormatError] = []
        self._names: dict[int, bytes] = {}
        self._claims = Claims()

    def regions(self) -> list[Region]:
        """Return regions that cover the area."""
        nothing = self._region(0, 0, Kind.UNUSED)
        reserved = self._region(0, self._fs.layout.fat_start, Kind.UNUSED, note="reserved sectors")
        return tile(self._start, self._end, nothing, self._fixed(), [reserved], self._chained())

    def _region(self, start: int, end: int, kind: Kind, **values: Any) -> Region:
        """Return a region whose bounds count from the file system's start."""
        base = self._start
        return Region(base + start, base + end, kind, self._layer, self._area)._replace(**values)

    def _fixed(self) -> Iterator[Region]:
        layout, boot = self._fs.layout, self._fs.boot
        yield self._region(0, BOOT_SIZE, Kind.BOOT_SECTOR)
        info = self._fs.fsinfo
        if info is not None:
            yield self._region(info.offset, info.offset + BOOT_SIZE, Kind.FSINFO)
        backup = boot.number("BPB_BkBootSec") * layout.sector_size
        if boot.wide and backup > 0 and backup + BOOT_SIZE <= layout.fat_start:
            yield self._region(backup, backup + BOOT_SIZE, Kind.BOOT_SECTOR, note="backup")
            behind = backup + layout.sector_size
            if info is not None and behind + BOOT_SIZE <= layout.fat_start:
                yield self._region(behind, behind + BOOT_SIZE, Kind.FSINFO, note="backup")
        for copy in range(layout.fats):
            first = layout.fat_start + copy * layout.fat_size
            # Two entries of 12 bits share three bytes.
            unit = 3 if layout.bits == 12 else layout.bits // 8
            yield self._region(first, first + layout.fat_size, Kind.FAT, unit=unit, note=f"FAT {copy + 1}")
        if layout.root_size:
            end = layout.root_start + layout.root_size
            yield self._directory(layout.root_start, end, b"", 0)

    def _directory(self, start: int, end: int, path: bytes, logical: int) -> Region:
        return self._region(
            start, end, Kind.FAT_DIRECTORY, unit=ENTRY_SIZE, logical=logical, path=path, names=self._names
        )

    def _chained(self) -> Iterator[Region]:
        try:
            root = self._fs.tree(self.problems.append)
        except FormatError as error:
            self.problems.append(error)
            return
        if self._fs.layout.bits == 32:
            yield from self._runs(root, b"")
        pending: list[tuple[Inode, bytes]] = [(root, b"")]
        while pending:
            directory, prefix = pending.pop()
            for name, child in (directory.entries or {}).items():
                assert isinstance(child, Node)
                path = prefix + name
                self._names[child.details.offset] = path
                yield from self._runs(child, path)
                if child.entries is not None:
                    pending.append((child, path + b"/"))

    def _runs(self, node: Node, path: bytes) -> Iterator[Region]:
        first = node.details.first_cluster
        if not first:
            return
        try:
            runs = self._fs.table.chain(first, self._claims, path, node.details.offset)
        except FormatError:
            return  # the walk has told of it
        layout = self._fs.layout
        logical = 0
        for low, high in runs:
            start, end = layout.cluster_offset(low), layout.cluster_offset(high)
            if node.entries is not None:
                yield self._directory(start, end, path, logical)
            else:
                yield self._region(start, end, Kind.FILE, logical=logical, path=path, number=first)
            logical += end - start
