"""Whose the bytes are that an ext4's geometry gives away: superblocks, descriptors, bitmaps, inode tables.

Spec: kernel Documentation/filesystems/ext4/blockgroup.rst, group_descr.rst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from imgwriter.errors import FormatError
from imgwriter.examine.owners.regions import Kind, Region
from imgwriter.ext4 import features as f
from imgwriter.ext4.device import damaged
from imgwriter.ext4.format import GROUP_DESC_32, GROUP_DESC_64, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE
from imgwriter.ext4.inode_reader import GroupReader
from imgwriter.ext4.reader import FileSystem
from imgwriter.units import div_ceil

MOST_GROUPS = 1 << 20
"""Groups that are looked at: 128 TiB of them, with blocks of 4 KiB."""


class Placement(NamedTuple):
    """Where a group's structures are, in blocks, and its flags."""

    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    flags: int


class GroupOwners:
    """The regions of the groups' own structures.

    Args:
        start: Where the file system begins, in bytes of the disk.
        layer: What it is called.
        area: Its partition's number.
    """

    def __init__(self, file_system: FileSystem, start: int, layer: str, area: int) -> None:
        self._sb = file_system.superblock
        self._device = file_system.device
        self._start = start
        self._layer = layer
        self._area = area
        self._groups = GroupReader(self._device, self._sb, verify=False)
        self.count = min(self._sb.groups, MOST_GROUPS)

    def problem(self) -> FormatError | None:
        """Return what is said where there are more groups than are looked at."""
        if self._sb.groups <= MOST_GROUPS:
            return None
        message = f"the file system has {self._sb.groups:,} groups, of which {MOST_GROUPS:,} are looked at"
        return FormatError(message, "ext4 superblock, s_blocks_per_group", self._start)

    def region(self, start_block: int, blocks: int, kind: Kind, **values: Any) -> Region:
        """Return the region of ``blocks`` from ``start_block`` on."""
        size = self._sb.block_size
        start = self._start + start_block * size
        end = start + blocks * size
        return Region(start, end, kind, self._layer, self._area, block=size)._replace(**values)

    def superblocks(self) -> Iterator[Region]:
        """Yield the boot block, the superblock and its copies."""
        base = self._start
        yield Region(base, base + SUPERBLOCK_OFFSET, Kind.BOOT_BLOCK, self._layer, self._area)
        primary = base + SUPERBLOCK_OFFSET
        yield Region(primary, primary + SUPERBLOCK_SIZE, Kind.SUPERBLOCK, self._layer, self._area)
        for group in range(1, self.count):
            if self._groups.has_super(group):
                at = self._start + self._group_start(group) * self._sb.block_size
                note = f"backup in group {group}"
                yield Region(
                    at, at + SUPERBLOCK_SIZE, Kind.SUPERBLOCK, self._layer, self._area, group, note=note
                )

    def _group_start(self, group: int) -> int:
        return self._sb.first_data_block + group * self._sb.blocks_per_group

    def descriptors(self) -> Iterator[Region]:
        """Yield the tables of group descriptors, with or without meta_bg."""
        sb = self._sb
        per_block = sb.block_size // sb.desc_size
        groups = self.count
        count = div_ceil(groups, per_block)
        meta = min(sb.fields["s_first_meta_bg"], count) if sb.features.has(f.Incompat.META_BG) else count
        copies = [g for g in range(groups) if self._groups.has_super(g)] if meta else []
        for group in copies:
            first = self._groups.descriptor_block(0) if group == 0 else self._group_start(group) + 1
            note = f"backup in group {group}" if group else ""
            yield self.region(first, meta, Kind.DESCRIPTORS, unit=sb.desc_size, note=note)
        for nth in range(meta, count):
            for group in (nth * per_block, nth * per_block + 1, nth * per_block + per_block - 1):
                if group >= groups:
                    continue
                primary = group == nth * per_block
                block = self._groups.descriptor_block(nth)
                if not primary:
                    block = self._group_start(group) + self._groups.has_super(group)
                note = "" if primary else f"backup in group {group}"
                number = nth * per_block
                yield self.region(block, 1, Kind.DESCRIPTORS, unit=sb.desc_size, number=number, note=note)

    def placements(self) -> dict[int, Placement]:
        """Return where the groups' structures are, of those whose descriptors are not a hole in the image."""
        sb = self._sb
        per_block = sb.block_size // sb.desc_size
        found: dict[int, Placement] = {}
        for nth in range(div_ceil(self.count, per_block)):
            block = self._groups.descriptor_block(nth)
            if not self._device.pieces(block * sb.block_size, sb.block_size):
                continue
            content = self._device.block(block)
            first = nth * per_block
            for group in range(first, min(first + per_block, self.count)):
                found[group] = self._placement(content, (group - first) * sb.desc_size)
        return found

    def misplaced(self, placements: Mapping[int, Placement]) -> FormatError | None:
        """Return what is said where bitmaps or tables cannot be where their descriptors say."""
        wrong = [g for g in range(self.count) if not self._is_placed(placements.get(g))]
        if not wrong:
            return None
        message = (
            f"the descriptor of group {wrong[0]:,} has a bitmap or an inode table outside the file system"
        )
        if len(wrong) > 1:
            message += f", and so have {len(wrong) - 1:,} more of {self.count:,}"
        return damaged(message, f"ext4 group descriptor {wrong[0]}", self._start)

    def _is_placed(self, placed: Placement | None) -> bool:
        return placed is not None and all(self._sb.is_block(block) for block in placed[:3])

    def _placement(self, content: bytes, at: int) -> Placement:
        if self._sb.desc_size >= GROUP_DESC_64.size:
            wide = GROUP_DESC_64.unpack_from(content, at)
            low, high = wide[:3], wide[12:15]
            blocks = [lo | hi << 32 for lo, hi in zip(low, high, strict=True)]
            return Placement(blocks[0], blocks[1], blocks[2], wide[6])
        narrow = GROUP_DESC_32.unpack_from(content, at)
        return Placement(narrow[0], narrow[1], narrow[2], narrow[6])

    def of_groups(self, placements: Mapping[int, Placement], paths: Mapping[int, bytes]) -> Iterator[Region]:
        """Yield bitmaps and inode tables; ``paths`` are those of the inodes."""
        sb = self._sb
        table_blocks = div_ceil(sb.inodes_per_group * sb.inode_size, sb.block_size)
        for group, placed in placements.items():
            note = f"group {group}"
            # A bit of a block bitmap is a cluster, which is a block without bigalloc.
            cluster = self._group_start(group) * sb.block_size // sb.cluster_size
            inode = group * sb.inodes_per_group + 1
            yield self.region(placed.block_bitmap, 1, Kind.BLOCK_BITMAP, number=cluster, note=note)
            yield self.region(placed.inode_bitmap, 1, Kind.INODE_BITMAP, number=inode, note=note)
            yield self.region(
                placed.inode_table,
                table_blocks,
                Kind.INODE_TABLE,
                number=inode,
                unit=sb.inode_size,
                note=note,
                names=paths,
            )
