"""Inodes: the records of the inode tables.

Inode numbers are given out without gaps from the first, so a group's table is written up to its last
used inode, and the rest, in no extent, is zero.

Spec: kernel Documentation/filesystems/ext4/inodes.rst, ifork.rst.
"""

from __future__ import annotations

import stat
import struct
from typing import NamedTuple

from imgwriter.errors import PlanInvariantError
from imgwriter.ext4 import block_map, extent_tree
from imgwriter.ext4 import features as f
from imgwriter.ext4.allocation import Allocation, Mapped
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.demand import Demand, number_at
from imgwriter.ext4.extent_tree import Blocks, Piece
from imgwriter.ext4.format import (
    EXT4_BAD_INO,
    EXT4_EXTENTS_FL,
    EXT4_FIRST_INO,
    EXT4_INDEX_FL,
    EXT4_JOURNAL_INO,
    EXT4_RESIZE_INO,
    EXT4_ROOT_INO,
    EXTENT_MAGIC,
    EXTENT_MAX_LEN,
    INODE,
    INODE_CHECKSUM_HI_OFFSET,
    INODE_CHECKSUM_LO_OFFSET,
    INODE_EXTRA_ISIZE,
    INODE_SIZE,
    INODE_XATTR_OFFSET,
)
from imgwriter.ext4.geometry import Geometry
from imgwriter.tree.inventory import Inode
from imgwriter.units import SECTOR

_ONE_EXTENT = struct.Struct("<12sIHHI36x")
_ONE_ENTRY = struct.pack("<HHHHI", EXTENT_MAGIC, 1, extent_tree.ROOT_ENTRIES, 0, 0)
_NO_EXTENTS = struct.pack("<HHHHI48x", EXTENT_MAGIC, 0, extent_tree.ROOT_ENTRIES, 0, 0)
_OWNER = struct.Struct("<II")
_U16 = struct.Struct("<H")
_SECOND = 10**9


class SpecialInode(NamedTuple):
    """An inode that is no file of the tree: resize, journal, orphan file.

    Attributes:
        size: i_size in bytes.
        blocks: Blocks it owns, of data and mapping.
        flags: i_flags.
        i_block: 60 bytes.
    """

    size: int
    blocks: int
    flags: int
    i_block: bytes


class InodeEncoder:
    """Encodes the inodes of one file system; a pure function of the plan, inode by inode."""

    def __init__(
        self,
        demand: Demand,
        geometry: Geometry,
        allocation: Allocation,
        specials: dict[int, SpecialInode],
        fs_seed: int | None,
    ) -> None:
        self.demand = demand
        self.geometry = geometry
        self.allocation = allocation
        self.specials = specials
        self.fs_seed = fs_seed
        self.extents = geometry.features.has(f.Incompat.EXTENTS)
        self.sectors_per_block = geometry.block_size // SECTOR
        self.indexed = {
            p for p, plan in zip(demand.directories, demand.directory_plans, strict=True) if plan.indexed
        }

    def table(self, group: int, start: int, stop: int) -> bytearray:
        """Return the bytes [start, stop) of a group's inode table; both multiples of an inode."""
        first = group * self.geometry.inodes_per_group + start // INODE_SIZE + 1
        end = min(first + (stop - start) // INODE_SIZE, self.demand.last_inode + 1)
        table = bytearray(stop - start)
        for number in range(first, min(end, EXT4_FIRST_INO)):
            at = (number - first) * INODE_SIZE
            if number == EXT4_ROOT_INO:
                self._put_files(table, at, number, 0, 1)
            else:
                self._put_special(table, at, number)
        low = max(first, EXT4_FIRST_INO)
        high = min(end, number_at(len(self.demand.inodes)))
        if low < high:
            position = low - number_at(1) + 1
            self._put_files(table, (low - first) * INODE_SIZE, low, position, high - low)
        if high < end and high >= first:
            self._put_special(table, (high - first) * INODE_SIZE, high)
        return table

    def _put_files(self, table: bytearray, at: int, number: int, position: int, count: int) -> None:
        """Encode ``count`` inodes of the tree from ``position`` on, at ``at``.

        One turn of the loop is one file, so what it needs is bound outside.
        """
        demand = self.demand
        block_size, sectors_per_block = self.geometry.block_size, self.sectors_per_block
        data_blocks, links, starts = demand.blocks, demand.links, self.allocation.starts
        pack_into, pack_extent, seal = INODE.pack_into, _ONE_EXTENT.pack, self._seal
        extents, indexed = self.extents, self.indexed
        time = None
        for inode in demand.inodes[position : position + count]:
            mode = inode.mode
            start, blocks = starts[position], data_blocks[position]
            if start and extents and blocks <= EXTENT_MAX_LEN:
                i_block = pack_extent(_ONE_ENTRY, 0, blocks, start >> 32, start & 0xFFFFFFFF)
                flags = EXT4_EXTENTS_FL | EXT4_INDEX_FL if position in indexed else EXT4_EXTENTS_FL
            else:
                i_block, flags, blocks = self._i_block(position, inode, number)
            file_acl = 0
            if inode.xattrs:
                file_acl = self._put_xattrs(table, at, position)
                if file_acl:
                    blocks += 1
            size = inode.size
            kind = mode & 0o170000
            if kind != 0o100000:
                size = data_blocks[position] * block_size if kind == 0o040000 else len(inode.target)
            if inode.mtime_ns != time:  # neighbours often have the same
                time = inode.mtime_ns
                low, extra = _time(time)
            uid, gid = inode.uid, inode.gid
            sectors = blocks * sectors_per_block
            pack_into(
                table, at,
                mode, uid & 0xFFFF, size & 0xFFFFFFFF,
                low, low, low, 0,  # i_dtime: not deleted
                gid & 0xFFFF, links[position], sectors & 0xFFFFFFFF, flags,
                0,  # l_i_version: counts changes, none yet
                i_block,
                0,  # i_generation: a number that NFS wants to change when an inode is used again
                file_acl & 0xFFFFFFFF, size >> 32, 0,
                sectors >> 32, file_acl >> 32, uid >> 16, gid >> 16,
                0, 0,  # the checksum follows
                INODE_EXTRA_ISIZE, 0,
                extra, extra, extra, low, extra,
                0, 0,  # i_projid: the default project
            )  # fmt: skip
            seal(table, at, number)
            at += INODE_SIZE
            number += 1
            position += 1

    def _put_xattrs(self, table: bytearray, at: int, position: int) -> int:
        """Put the extended attributes that fit behind an inode there; return the others' block, or 0."""
        area = self.demand.xattr_inline.get(position)
        if area is not None:
            table[at + INODE_XATTR_OFFSET : at + INODE_XATTR_OFFSET + len(area)] = area
        shared = self.demand.xattr_block_of.get(position)
        return 0 if shared is None else self.allocation.xattr_blocks[shared]

    def _seal(self, table: bytearray, at: int, number: int, halves: int = 2) -> None:
        """Put the checksum into an inode; its high half only where i_extra_isize covers it."""
        if self.fs_seed is None:
            return
        # In one piece: the call costs as much as the bytes of an inode.
        checksum = crc32c(_OWNER.pack(number, 0) + table[at : at + INODE_SIZE], self.fs_seed)
        _U16.pack_into(table, at + INODE_CHECKSUM_LO_OFFSET, checksum & 0xFFFF)
        if halves == 2:
            _U16.pack_into(table, at + INODE_CHECKSUM_HI_OFFSET, checksum >> 16)

    def _i_block(self, position: int, inode: Inode, number: int) -> tuple[bytes, int, int]:
        """Return i_block, i_flags and the blocks that the file owns, of data and mapping.

        Of a file that is not one extent.
        """
        blocks = self.demand.blocks[position]
        start = self.allocation.starts[position]
        if not blocks:
            return (*self._without_blocks(inode), 0)
        mapped = self.allocation.mapped.get(position) or Mapped([Piece(0, start, blocks)])
        flags = EXT4_EXTENTS_FL if self.extents else 0
        if position in self.indexed:
            flags |= EXT4_INDEX_FL
        i_block = self.map_file(mapped.pieces, mapped.map_blocks, number)[0]
        return i_block, flags, blocks + len(mapped.map_blocks)

    def _without_blocks(self, inode: Inode) -> tuple[bytes, int]:
        """Return i_block and i_flags of a file that owns no block."""
        kind = inode.mode & 0o170000
        if kind == stat.S_IFLNK:
            return inode.target, 0
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            return _device(*inode.rdev), 0
        if kind == stat.S_IFREG and self.extents:
            return _NO_EXTENTS, EXT4_EXTENTS_FL
        return b"", 0

    def map_file(self, pieces: list[Piece], map_blocks: list[int], number: int) -> tuple[bytes, Blocks]:
        """Return (i_block, mapping blocks) of a file."""
        if not self.extents:
            return block_map.encode(pieces, map_blocks, self.geometry.block_size)
        seed = None if self.fs_seed is None else crc32c(_OWNER.pack(number, 0), self.fs_seed)
        return extent_tree.encode(pieces, map_blocks, self.geometry.block_size, seed)

    def map_blocks(self) -> Blocks:
        """Return the content of every block that maps a file of the tree."""
        blocks: Blocks = []
        for position, mapped in self.allocation.mapped.items():
            if mapped.map_blocks:
                blocks += self.map_file(mapped.pieces, mapped.map_blocks, number_at(position))[1]
        return blocks

    def _put_special(self, table: bytearray, at: int, number: int) -> None:
        """Encode a reserved inode: resize, journal, orphan file, or one that is not in use."""
        special = self.specials.get(number)
        if special is None and number >= EXT4_FIRST_INO:
            raise PlanInvariantError(f"inode {number} is neither of the tree nor special")
        time = self.demand.parameters.time
        low, extra = _time(time * _SECOND)
        if special is None:
            # As mke2fs: the bad blocks inode has times and half a checksum, the other unused ones are zero.
            if number == EXT4_BAD_INO:
                INODE.pack_into(table, at, 0, 0, 0, low, low, low, 0, 0, 0, 0, 0, 0, b"", *([0] * 19))
                self._seal(table, at, number, halves=1)
            return
        sectors = special.blocks * self.sectors_per_block
        size = special.size
        INODE.pack_into(
            table,
            at,
            *(stat.S_IFREG | 0o600, 0, size & 0xFFFFFFFF, low, low, low, 0, 0, 1),
            *(sectors & 0xFFFFFFFF, special.flags, 0, special.i_block, 0, 0, size >> 32, 0),
            *(sectors >> 32, 0, 0, 0, 0, 0, INODE_EXTRA_ISIZE, 0, extra, extra, extra, low),
            *(extra, 0, 0),
        )
        self._seal(table, at, number)


def special_inodes(
    demand: Demand,
    geometry: Geometry,
    allocation: Allocation,
    resize: SpecialInode | None,
    fs_seed: int | None,
) -> tuple[dict[int, SpecialInode], Blocks]:
    """Return the special inodes by number, and the blocks that map them."""
    encoder = InodeEncoder(demand, geometry, allocation, {}, fs_seed)
    specials: dict[int, SpecialInode] = {}
    blocks: Blocks = []

    def add(number: int, mapped: Mapped | None) -> None:
        if mapped is None:
            return
        i_block, map_blocks = encoder.map_file(mapped.pieces, mapped.map_blocks, number)
        count = sum(p.length for p in mapped.pieces)
        flags = EXT4_EXTENTS_FL if encoder.extents else 0
        owned = count + len(mapped.map_blocks)
        specials[number] = SpecialInode(count * geometry.block_size, owned, flags, i_block)
        blocks.extend(map_blocks)

    add(EXT4_JOURNAL_INO, allocation.journal)
    add(demand.last_inode, allocation.orphan)
    if resize is not None:
        specials[EXT4_RESIZE_INO] = resize
    return specials, blocks


def _time(nanoseconds: int) -> tuple[int, int]:
    """Return a time's 32 bits of seconds, and the extra ones: two bits of epoch, then the nanoseconds."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    low = seconds & 0xFFFFFFFF
    # The epoch counts from a signed 32-bit second.
    return low, ((seconds - (low ^ 0x80000000) + 0x80000000) >> 32) & 3 | rest << 2


def _device(major: int, minor: int) -> bytes:
    """Return i_block of a device: the old form where it fits, else the new one.

    Spec: include/linux/kdev_t.h, old_encode_dev and new_encode_dev.
    """
    if major < 256 and minor < 256:
        return struct.pack("<I56x", major << 8 | minor)
    return struct.pack("<II52x", 0, (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12)
