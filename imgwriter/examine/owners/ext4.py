"""Whose the bytes of an ext4 (ext3, ext2) are: groups' structures, then every inode's blocks by path.

::

    descriptors ──> bitmaps, inode tables ──> inodes in use ──> maps ──> runs of blocks
                                                   └── directories ──> names ──> paths

Inodes count that their bitmap has in use, also those without a name: the journal, the resize inode, orphans.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from imgwriter.errors import FormatError
from imgwriter.examine.owners.ext4_groups import GroupOwners, Placement
from imgwriter.examine.owners.ext4_names import Paths, is_whole
from imgwriter.examine.owners.regions import Kind, Region, tile
from imgwriter.ext4 import features as f
from imgwriter.ext4.device import damaged
from imgwriter.ext4.extent_tree import Piece
from imgwriter.ext4.format import (
    EXT4_BAD_INO,
    EXT4_BG_INODE_UNINIT,
    EXT4_EXTENTS_FL,
    EXT4_INLINE_DATA_FL,
    EXT4_JOURNAL_INO,
    EXT4_RESIZE_INO,
    EXT4_ROOT_INO,
)
from imgwriter.ext4.inode_reader import InodeReader, InodeRecord
from imgwriter.ext4.map_reader import Claims, MapReader
from imgwriter.ext4.reader import FileSystem
from imgwriter.units import SECTOR, counted, div_ceil

_FAST_SYMLINK_SIZE = 60
_NOT_ZERO = re.compile(rb"[^\0]")
_MAPPED = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


class _File(NamedTuple):
    """The blocks of one inode: those that map, those that are written, and all runs."""

    record: InodeRecord
    mapping: list[int]
    pieces: list[Piece]
    runs: list[tuple[int, int]]


class _Recorder(Claims):
    """Keeps what a map is made of."""

    mapping: list[int]
    runs: list[tuple[int, int]]

    def begin(self) -> None:
        self.mapping, self.runs = [], []

    def structure(self, block: int, number: int, where: str) -> None:
        super().structure(block, number, where)
        self.mapping.append(block)

    def run(self, start: int, stop: int, number: int) -> None:
        self.runs.append((start, stop))


class Ext4Owners:
    """The regions of one ext4 file system.

    Args:
        start, end: Of its area, in bytes of the disk.
        layer: What it is called.
        area: Its partition's number.
    """

    def __init__(self, file_system: FileSystem, start: int, end: int, layer: str, area: int) -> None:
        self._sb = file_system.superblock
        self._device = file_system.device
        self._start = start
        self._end = end
        self._inodes = InodeReader(self._device, self._sb, verify=False)
        self._recorder = _Recorder(self._device)
        self._maps = MapReader(self._device, self._sb, self._recorder, verify=False)
        self._groups = GroupOwners(file_system, start, layer, area)
        self._region = self._groups.region
        problem = self._groups.problem()
        self.problems: list[FormatError] = [problem] if problem is not None else []
        orphans = self._sb.fields["s_orphan_file_inum"] if self._sb.features.has(f.Compat.ORPHAN_FILE) else 0
        self._special: dict[int, bytes] = {
            EXT4_BAD_INO: b"<bad blocks>",
            EXT4_RESIZE_INO: b"<resize inode>",
            EXT4_JOURNAL_INO: b"<journal>",
            **{
                int(self._sb.fields[name]): title
                for name, title in _SYSTEM_INODES.items()
                if self._sb.fields[name]
            },
            **({int(orphans): b"<orphan file>"} if orphans else {}),
        }

    def regions(self) -> list[Region]:
        """Return regions that cover the area."""
        nothing = self._region(0, 0, Kind.UNUSED)
        placements = self._groups.placements()
        found = [file for number in self._used(placements) if (file := self._file(number)) is not None]
        misplaced = self._groups.misplaced(placements) or self._lost_root(found)
        if misplaced is not None:
            self.problems.append(misplaced)
        paths = self._paths(found)
        groups = self._groups
        fixed = [*groups.superblocks(), *groups.descriptors(), *groups.of_groups(placements, paths)]
        structures: list[Region] = []
        contents: list[Region] = []
        unwritten: list[Region] = []
        for file in found:
            path = paths.get(file.record.number, b"<%d>" % file.record.number)
            structures += self._structures(file, path)
            contents += self._contents(file, path)
            unwritten += self._unwritten(file, path)
        return tile(self._start, self._end, nothing, fixed, structures, contents, unwritten)

    def _used(self, placements: Mapping[int, Placement]) -> Iterator[int]:
        """Yield the numbers of the inodes that their bitmap has in use, where the table is stored at all.

        A bitmap or table that two groups claim is the first's: so no more inodes are read than are stored.
        """
        sb = self._sb
        checked = sb.metadata_csum or sb.features.has(f.RoCompat.GDT_CSUM)
        taken: set[int] = set()
        for group, placed in placements.items():
            if not sb.is_block(placed.inode_bitmap) or (checked and placed.flags & EXT4_BG_INODE_UNINIT):
                continue
            if placed.inode_bitmap in taken or placed.inode_table in taken:
                continue
            taken |= {placed.inode_bitmap, placed.inode_table}
            content = self._device.block(placed.inode_bitmap)[: div_ceil(sb.inodes_per_group, 8)]
            for match in _NOT_ZERO.finditer(content):
                index, bits = match.start(), content[match.start()]
                at = placed.inode_table * sb.block_size + 8 * index * sb.inode_size
                if self._device.pieces(at, 8 * sb.inode_size):
                    yield from self._in_byte(group, index, bits)

    def _in_byte(self, group: int, index: int, bits: int) -> Iterator[int]:
        per_group = self._sb.inodes_per_group
        for nth in range(8 * index, min(8 * index + 8, per_group)):
            if bits >> nth % 8 & 1:
                yield group * per_group + nth + 1

    def _file(self, number: int) -> _File | None:
        """Return what an inode has blocks for; None where it cannot be read."""
        try:
            record = self._inodes.read(number)
        except FormatError as error:
            self.problems.append(error)
            return None
        recorder = self._recorder
        recorder.begin()
        pieces: list[Piece] = []
        if self._is_mapped(record):
            try:
                pieces = self._maps.pieces(record)
            except FormatError as error:
                self.problems.append(error)
        return _File(record, recorder.mapping, pieces, recorder.runs)

    def _is_mapped(self, record: InodeRecord) -> bool:
        if stat.S_IFMT(record.mode) not in _MAPPED or record.flags & EXT4_INLINE_DATA_FL:
            return record.number == EXT4_BAD_INO and any(record.i_block)
        attributes = self._sb.cluster_size // SECTOR if record.file_acl else 0
        is_fast = record.sectors == attributes and record.size < _FAST_SYMLINK_SIZE
        return not (stat.S_ISLNK(record.mode) and is_fast)

    def _lost_root(self, found: list[_File]) -> FormatError | None:
        """Return what is said where nothing can have a path."""
        for file in found:
            if file.record.number == EXT4_ROOT_INO and stat.S_ISDIR(file.record.mode):
                return None
        where = f"ext4 inode {EXT4_ROOT_INO}"
        return damaged(f"inode {EXT4_ROOT_INO}, the root, is no directory", where, self._start)

    def _paths(self, found: list[_File]) -> Mapping[int, bytes]:
        paths = Paths(self._special)
        read: set[int] = set()
        for record, _, pieces, _ in found:
            if not stat.S_ISDIR(record.mode) or record.flags & EXT4_INLINE_DATA_FL:
                continue
            whole = 0
            for block in self._stored(record, pieces):
                if block not in read:  # a block of two directories is damage, and the first's
                    read.add(block)
                    content = self._device.block(block)
                    paths.add(record.number, content)
                    whole += is_whole(content)
            self._note_lost(record, whole)
        return paths.resolve()

    def _note_lost(self, record: InodeRecord, whole: int) -> None:
        """Note a directory of which so many blocks alone have names that can be followed."""
        count = div_ceil(record.size, self._sb.block_size)
        if whole < count:
            lost = f"in {count - whole:,} of {counted(count, 'block')}"
            message = f"the directory inode {record.number:,} has entries that cannot be followed, {lost}"
            self.problems.append(damaged(message, f"ext4 directory, inode {record.number}", record.offset))

    def _stored(self, record: InodeRecord, pieces: list[Piece]) -> Iterator[int]:
        """Yield the blocks of a directory that are in the image: what is a hole there has no names."""
        size = self._sb.block_size
        blocks = div_ceil(record.size, size)
        for logical, start, length in pieces:
            count = min(length, max(blocks - logical, 0))
            for at, data in self._device.pieces(start * size, count * size):
                yield from range(start + at // size, start + div_ceil(at + len(data), size))

    def _structures(self, file: _File, path: bytes) -> Iterator[Region]:
        number = file.record.number
        kind = Kind.EXTENT_TREE if file.record.flags & EXT4_EXTENTS_FL else Kind.BLOCK_MAP
        if number == EXT4_RESIZE_INO:
            kind = Kind.RESIZE
        for block in file.mapping:
            yield self._region(block, 1, kind, path=path, number=number)
        if file.record.file_acl and self._sb.is_block(file.record.file_acl):
            yield self._region(file.record.file_acl, 1, Kind.XATTR, path=path, number=number)

    def _contents(self, file: _File, path: bytes) -> Iterator[Region]:
        kind = self._kind(file.record)
        for logical, start, length in file.pieces:
            at = logical * self._sb.block_size
            yield self._region(start, length, kind, path=path, number=file.record.number, logical=at)

    def _unwritten(self, file: _File, path: bytes) -> Iterator[Region]:
        for start, stop in file.runs:
            yield self._region(start, stop - start, Kind.UNWRITTEN, path=path, number=file.record.number)

    def _kind(self, record: InodeRecord) -> Kind:
        if record.number == EXT4_JOURNAL_INO:
            return Kind.JOURNAL
        if record.number == EXT4_RESIZE_INO:
            return Kind.RESIZE
        if record.number in self._special or (record.number < self._sb.first_inode and record.number != 2):
            return Kind.SYSTEM_FILE
        if stat.S_ISDIR(record.mode):
            return Kind.DIRECTORY
        return Kind.SYMLINK if stat.S_ISLNK(record.mode) else Kind.FILE


_SYSTEM_INODES = {
    "s_usr_quota_inum": b"<user quota>",
    "s_grp_quota_inum": b"<group quota>",
    "s_prj_quota_inum": b"<project quota>",
}
