"""Bitmaps, free counts and group descriptors: all derived from the allocation, here and only here.

What is in use is: the backups and tables of the geometry, every block before ``Allocation.end``, and
the inodes from 1 to the demand's last. A group in which nothing but its own backup is in use keeps no
block bitmap (BLOCK_UNINIT), one without inodes no inode bitmap (INODE_UNINIT): the kernel makes them.

Spec: kernel Documentation/filesystems/ext4/group_descr.rst, bitmaps.rst, checksums.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imgwriter.ext4 import features as f
from imgwriter.ext4.allocation import Allocation
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.demand import Demand
from imgwriter.ext4.format import (
    EXT4_BG_BLOCK_UNINIT,
    EXT4_BG_INODE_UNINIT,
    EXT4_BG_INODE_ZEROED,
    EXT4_FIRST_INO,
    EXT4_ROOT_INO,
    GROUP_DESC_32,
    GROUP_DESC_64,
    GROUP_DESC_CHECKSUM_OFFSET,
)
from imgwriter.ext4.geometry import BlockRange, Geometry


@dataclass(frozen=True)
class Groups:
    """The group descriptor table and the bitmaps.

    Attributes:
        descriptors: The whole table, padded to blocks.
        bitmaps: (block number, content) of every bitmap that is kept, in no order.
        free_blocks: s_free_blocks_count.
        free_inodes: s_free_inodes_count.
    """

    descriptors: bytes
    bitmaps: list[tuple[int, bytes]]
    free_blocks: int
    free_inodes: int


def plan_groups(demand: Demand, geometry: Geometry, allocation: Allocation, fs_seed: int | None) -> Groups:
    """Derive the descriptors and bitmaps.

    Args:
        fs_seed: The checksum seed, or None without metadata_csum.
    """
    bitmaps: list[tuple[int, bytes]] = []
    occupied = _occupied_by_group(geometry, allocation.end)
    directories = _directories_by_group(demand, geometry)
    table = bytearray()
    tables = geometry.tables
    free_blocks = 0
    maker = _BitmapMaker(geometry, fs_seed)
    encode = _Descriptor(geometry, fs_seed).encode
    last = geometry.groups - 1
    lazy = fs_seed is not None
    per_group, last_inode = geometry.inodes_per_group, demand.last_inode
    for group in range(geometry.groups):
        ranges = occupied.get(group, ())
        size = geometry.group_end(group) - geometry.group_start(group)
        used_blocks = sum(end - start for start, end in ranges)
        free_blocks += size - used_blocks
        used_inodes = min(max(last_inode - group * per_group, 0), per_group)
        flags = 0
        block_csum = inode_csum = 0
        if lazy and group != last and used_blocks == _own_blocks(geometry, group):
            flags |= EXT4_BG_BLOCK_UNINIT
        else:
            content, block_csum = maker.block_bitmap(ranges, size)
            bitmaps.append((tables.block_bitmaps[group], content))
        if lazy and not used_inodes:
            flags |= EXT4_BG_INODE_UNINIT
        else:
            content, inode_csum = maker.inode_bitmap(used_inodes)
            bitmaps.append((tables.inode_bitmaps[group], content))
        if lazy:
            flags |= EXT4_BG_INODE_ZEROED  # unused tables are in no extent, so they are zero
        table += encode(
            group,
            tables.block_bitmaps[group],
            tables.inode_bitmaps[group],
            tables.inode_tables[group],
            size - used_blocks,
            per_group - used_inodes,
            directories.get(group, 0),
            flags,
            block_csum,
            inode_csum,
        )
    table += bytes(geometry.desc_blocks * geometry.block_size - len(table))
    return Groups(bytes(table), bitmaps, free_blocks, geometry.inodes - last_inode)


def _own_blocks(geometry: Geometry, group: int) -> int:
    return geometry.super_blocks if geometry.has_super(group) else 0


def _occupied_by_group(geometry: Geometry, end: int) -> dict[int, list[BlockRange]]:
    """Return the used blocks of each group that has any, as ranges relative to the group, sorted."""
    result: dict[int, list[BlockRange]] = {}

    def add(start: int, stop: int) -> None:
        while start < stop:
            group = (start - geometry.first_data_block) // geometry.blocks_per_group
            base = geometry.group_start(group)
            high = min(stop, geometry.group_end(group))
            result.setdefault(group, []).append((start - base, high - base))
            start = high

    first = geometry.first_data_block
    add(first, end)
    for start, stop in [geometry.super_range(g) for g in (0, *geometry.backup_groups)]:
        add(max(start, end), stop)
    for start, stop in geometry.tables.ranges:
        add(max(start, end), stop)
    for ranges in result.values():
        ranges.sort()
    return result


def _directories_by_group(demand: Demand, geometry: Geometry) -> dict[int, int]:
    counts: dict[int, int] = {}
    for position in demand.directories:
        number = EXT4_FIRST_INO - 1 + position if position else EXT4_ROOT_INO
        group = (number - 1) // geometry.inodes_per_group
        counts[group] = counts.get(group, 0) + 1
    return counts


class _BitmapMaker:
    """Makes bitmap blocks; equal ones, of which a large file system has thousands, once."""

    def __init__(self, geometry: Geometry, fs_seed: int | None) -> None:
        self.geometry = geometry
        self.fs_seed = fs_seed
        self.made: dict[tuple[object, ...], tuple[bytes, int]] = {}

    def block_bitmap(self, ranges: list[BlockRange] | tuple[()], size: int) -> tuple[bytes, int]:
        """Return a block bitmap with ``ranges`` and all beyond ``size`` set, and its checksum."""
        return self._make(tuple(ranges), size, self.geometry.blocks_per_group // 8)

    def inode_bitmap(self, used: int) -> tuple[bytes, int]:
        """Return an inode bitmap whose first ``used`` inodes are set, and its checksum."""
        per_group = self.geometry.inodes_per_group
        return self._make(((0, used),), per_group, per_group // 8)

    def _make(self, ranges: tuple[BlockRange, ...], size: int, checked: int) -> tuple[bytes, int]:
        key = (ranges, size, checked)
        if key not in self.made:
            bits = self.geometry.block_size * 8
            value = _ones(size, bits)
            for start, end in ranges:
                value |= _ones(start, end)
            content = value.to_bytes(self.geometry.block_size, "little")
            csum = 0 if self.fs_seed is None else crc32c(content[:checked], self.fs_seed)
            self.made[key] = content, csum
        return self.made[key]


def _ones(start: int, end: int) -> int:
    """Return the integer whose bits [start, end) are set."""
    return ((1 << (end - start)) - 1) << start


class _Descriptor:
    """Encodes group descriptors of 32 or 64 bytes."""

    def __init__(self, geometry: Geometry, fs_seed: int | None) -> None:
        self.fs_seed = fs_seed
        self.wide = geometry.features.has(f.Incompat.BIT64)

    def encode(
        self,
        group: int,
        block_bitmap: int,
        inode_bitmap: int,
        inode_table: int,
        free_blocks: int,
        free_inodes: int,
        used_dirs: int,
        flags: int,
        block_csum: int,
        inode_csum: int,
    ) -> bytes:
        # bg_itable_unused counts from the end of the table; inodes are given out from its start.
        unused = free_inodes if self.fs_seed is not None else 0
        low = (
            block_bitmap & 0xFFFFFFFF,
            inode_bitmap & 0xFFFFFFFF,
            inode_table & 0xFFFFFFFF,
            free_blocks & 0xFFFF,
            free_inodes & 0xFFFF,
            used_dirs & 0xFFFF,
            flags,
            0,  # bg_exclude_bitmap: snapshots, which no kernel has
            block_csum & 0xFFFF,
            inode_csum & 0xFFFF,
            unused & 0xFFFF,
            0,
        )
        if not self.wide:
            return self._sealed(group, GROUP_DESC_32.pack(*low))
        high = (
            block_bitmap >> 32,
            inode_bitmap >> 32,
            inode_table >> 32,
            free_blocks >> 16,
            free_inodes >> 16,
            used_dirs >> 16,
            unused >> 16,
            0,
            block_csum >> 16,
            inode_csum >> 16,
            0,
        )
        return self._sealed(group, GROUP_DESC_64.pack(*low, *high))

    def _sealed(self, group: int, descriptor: bytes) -> bytes:
        if self.fs_seed is None:
            return descriptor
        checksum = crc32c(group.to_bytes(4, "little") + descriptor, self.fs_seed) & 0xFFFF
        at = GROUP_DESC_CHECKSUM_OFFSET
        return descriptor[:at] + checksum.to_bytes(2, "little") + descriptor[at + 2 :]


def runs_of(blocks: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield (first block, content) of blocks joined where they are neighbours, sorted."""
    pieces: list[bytes] = []
    first = following = -1
    for number, content in sorted(blocks, key=lambda b: b[0]):
        if number != following:
            if pieces:
                yield first, b"".join(pieces)
            first, pieces = number, []
        pieces.append(content)
        following = number + 1
    if pieces:
        yield first, b"".join(pieces)
