"""Which blocks of a file stand where, read from its extent tree or its block map.

::

    i_block  | header | extent | ... |         | 12 direct | indirect | double | triple |
                 └── depth > 0: blocks of entries                └── blocks of pointers

Nothing is believed before it is checked: a tree has five levels at most and its entries rise, every block is
in the file system, and no block is used twice. So a file system of so many blocks is read with work in
proportion to them, whatever it says.

Spec: kernel Documentation/filesystems/ext4/ifork.rst.
"""

from __future__ import annotations

from itertools import pairwise

from imgwriter.ext4.block_map_walk import Indirect, walk_block_map
from imgwriter.ext4.checksum import crc32c, inode_seed
from imgwriter.ext4.device import Device, damaged
from imgwriter.ext4.extent_tree import Piece, entries_per_block
from imgwriter.ext4.format import (
    EXT4_EXTENTS_FL,
    EXTENT,
    EXTENT_HEADER,
    EXTENT_IDX,
    EXTENT_MAGIC,
    EXTENT_MAX_LEN,
    EXTENT_TAIL,
)
from imgwriter.ext4.inode_reader import InodeRecord
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.units import counted, div_ceil

MAX_DEPTH = 5
"""Levels of blocks below i_block (EXT4_MAX_EXTENT_DEPTH)."""
LOGICAL_END = 1 << 32
"""Blocks that a file can have: their numbers have 32 bits."""


class Claims:
    """Which blocks are somebody's: none may be two inodes', or twice one's.

    Two uses of a block are damage, and would let a small file system describe files of any size.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._read_blocks: set[int] = set()
        self._runs: list[tuple[int, int, int]] = []

    def structure(self, block: int, number: int, where: str) -> None:
        """Note a block that is read to find others: a second use would be a loop.

        Args:
            block: The block.
            number: The inode it belongs to.
            where: What it is, for the message.

        Raises:
            FormatError: It is noted already.
        """
        if block in self._read_blocks:
            raise self._twice(block, number, where)
        self._read_blocks.add(block)
        self._runs.append((block, block + 1, number))

    def read(self, block: int, number: int, where: str) -> None:
        """Note that a block of content, which :meth:`run` has noted, is read now: a directory's, or a value.

        Raises:
            FormatError: It was read already, or maps a file.
        """
        if block in self._read_blocks:
            raise self._twice(block, number, where)
        self._read_blocks.add(block)

    def run(self, start: int, stop: int, number: int) -> None:
        """Note the blocks [start, stop) of an inode's content."""
        self._runs.append((start, stop, number))

    def refuse_shared(self) -> None:
        """Check all that was noted.

        Raises:
            FormatError: A block is noted twice.
        """
        self._runs.sort()
        for (_, end, _), (start, _, number) in pairwise(self._runs):
            if start < end:
                raise self._twice(start, number, f"ext4 inode {number}")

    def _twice(self, block: int, number: int, where: str) -> Exception:
        message = f"block {block:,}, of inode {number:,}, is in use for something else too"
        return damaged(message, where, self._device.block_offset(block))


class MapReader:
    """Reads the maps of the inodes of one file system.

    Args:
        verify: Check the checksums of extent blocks.
    """

    def __init__(self, device: Device, superblock: SuperblockValues, claims: Claims, verify: bool) -> None:
        self.device = device
        self.superblock = superblock
        self._claims = claims
        self.seed = superblock.seed if verify and superblock.metadata_csum else None

    def pieces(self, inode: InodeRecord) -> list[Piece]:
        """Return where a file's blocks are, sorted by logical block; what is not there reads as zeros.

        Unwritten extents read as zeros too, and are left out. Blocks beyond i_size may be among them.

        Raises:
            FormatError: The map is damaged.
        """
        if inode.flags & EXT4_EXTENTS_FL:
            return _ExtentTree(self, inode).pieces
        return _BlockMap(self, inode).pieces

    def structure(self, block: int, inode: InodeRecord, where: str, offset: int) -> bytes:
        """Return a block that maps others, and note it."""
        if not self.superblock.is_block(block):
            raise self.outside(block, 1, inode, where, offset)
        self._claims.structure(block, inode.number, where)
        return self.device.block(block)

    def content(self, start: int, length: int, inode: InodeRecord, where: str, offset: int) -> None:
        """Note blocks of content, if they are in the file system."""
        if not (self.superblock.is_block(start) and start + length <= self.superblock.blocks):
            raise self.outside(start, length, inode, where, offset)
        self._claims.run(start, start + length, inode.number)

    def outside(self, start: int, length: int, inode: InodeRecord, where: str, offset: int) -> Exception:
        """Return the error for blocks that the file system has not."""
        blocks = counted(length, "block")
        message = f"inode {inode.number:,} has {blocks} at {start:,}, of {self.superblock.blocks:,}"
        return damaged(message, where, offset)


class _ExtentTree:
    """The extents of one file, read from the root down."""

    def __init__(self, reader: MapReader, inode: InodeRecord) -> None:
        self._reader = reader
        self._inode = inode
        self._where = f"ext4 inode {inode.number}, extent tree"
        self._next = 0  # the first logical block that the next extent may have
        self.pieces: list[Piece] = []
        _, _, _, depth, _ = EXTENT_HEADER.unpack_from(inode.i_block)
        if depth > MAX_DEPTH:
            raise self._damaged(f"eh_depth is {depth}, more than {MAX_DEPTH}", inode.offset)
        self._node(inode.i_block, depth, inode.offset, 4)

    def _node(self, content: bytes, depth: int, offset: int, capacity: int) -> None:
        """Add what is below a node; recursion goes MAX_DEPTH deep at most."""
        magic, entries, most, found_depth, _ = EXTENT_HEADER.unpack_from(content)
        if magic != EXTENT_MAGIC:
            raise self._damaged(f"eh_magic is {magic:#06x}, not {EXTENT_MAGIC:#06x}", offset)
        if found_depth != depth:
            raise self._damaged(f"eh_depth is {found_depth}, not {depth}", offset)
        if not entries <= most <= capacity or (depth and not entries):
            message = f"eh_entries is {entries} and eh_max {most}, with room for {capacity}"
            raise self._damaged(message, offset)
        body = content[EXTENT_HEADER.size : EXTENT_HEADER.size + entries * EXTENT.size]
        if depth:
            for logical, low, high, _ in EXTENT_IDX.iter_unpack(body):
                self._child(low | high << 32, logical, depth - 1, offset)
        else:
            for logical, length, high, low in EXTENT.iter_unpack(body):
                self._extent(logical, length, low | high << 32, offset)

    def _child(self, block: int, logical: int, depth: int, parent: int) -> None:
        reader = self._reader
        if logical < self._next:
            raise self._damaged(
                f"ei_block {logical:,} is before {self._next:,}, where the last ended", parent
            )
        self._next = logical
        content = reader.structure(block, self._inode, self._where, parent)
        offset = reader.device.block_offset(block)
        if reader.seed is not None:
            self._verify(content, offset, reader.seed)
        self._node(content, depth, offset, entries_per_block(len(content)))

    def _extent(self, logical: int, length: int, start: int, offset: int) -> None:
        written = length <= EXTENT_MAX_LEN
        count = length if written else length - EXTENT_MAX_LEN
        if not count or logical < self._next or logical + count > LOGICAL_END:
            message = f"an extent has {counted(count, 'block')} from {logical:,} on, after {self._next:,}"
            raise self._damaged(message, offset)
        self._next = logical + count
        self._reader.content(start, count, self._inode, self._where, offset)
        if written:
            add_piece(self.pieces, logical, start, count)

    def _verify(self, content: bytes, offset: int, seed: int) -> None:
        most = EXTENT_HEADER.unpack_from(content)[2]
        at = EXTENT_HEADER.size + most * EXTENT.size
        if at + EXTENT_TAIL.size > len(content):
            raise self._damaged(f"eh_max is {most}, for which the block has no room", offset)
        stored = EXTENT_TAIL.unpack_from(content, at)[0]
        found = crc32c(content[:at], inode_seed(seed, self._inode.number, self._inode.generation))
        if stored != found:
            message = f"et_checksum is {stored:#010x}, its bytes give {found:#010x}"
            raise self._damaged(message, offset)

    def _damaged(self, what: str, offset: int) -> Exception:
        return damaged(f"in the extent tree of inode {self._inode.number:,} {what}", self._where, offset)


class _BlockMap:
    """The blocks of one file, as its direct and indirect pointers say, up to i_size."""

    def __init__(self, reader: MapReader, inode: InodeRecord) -> None:
        self._reader = reader
        self._inode = inode
        self._where = f"ext4 inode {inode.number}, block map"
        self.pieces: list[Piece] = []
        block_size = reader.superblock.block_size
        end = min(div_ceil(inode.size, block_size), LOGICAL_END)
        walk_block_map(inode.i_block, inode.offset, end, block_size, self)

    def indirect(self, block: int, parent: int) -> Indirect:
        content = self._reader.structure(block, self._inode, self._where, parent)
        return Indirect(content, self._reader.device.block_offset(block))

    def run(self, logical: int, start: int, length: int, offset: int) -> None:
        self._reader.content(start, length, self._inode, self._where, offset)
        add_piece(self.pieces, logical, start, length)


def add_piece(pieces: list[Piece], logical: int, start: int, length: int) -> None:
    """Append blocks to a file's, as part of the last piece where they follow it in both."""
    if pieces:
        before = pieces[-1]
        if before.logical + before.length == logical and before.start + before.length == start:
            pieces[-1] = Piece(before.logical, before.start, before.length + length)
            return
    pieces.append(Piece(logical, start, length))
