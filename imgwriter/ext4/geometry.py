"""Block groups: the arithmetic of where an ext4 file system's own structures stand.

::

    group 0                              group 1            ...  group 16 (next flex group)
    ┌──┬───┬────────┬────┬────┬────────┬──────┬─┬───┬──────┬──   ┌────┬────┬────────┬──────
    │SB│GDT│reserved│BB*n│IB*n│tables*n│ data │S│GDT│ data │     │BB*n│IB*n│tables*n│ data
    └──┴───┴────────┴────┴────┴────────┴──────┴─┴───┴──────┴──   └────┴────┴────────┴──────
                     └ of all n groups of the flex group ┘

Everything here is a pure function of the number of blocks, the block size, the features and the
number of inodes; nothing is allocated yet. The numbers are mke2fs 1.47.0's for the same request, so
that an image looks like one that mke2fs made; the tests compare them with the real tool.

Block ranges are half-open (start, end), in blocks of the file system.

Spec: kernel Documentation/filesystems/ext4/blockgroup.rst, group_descr.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from imgwriter.errors import PlanInvariantError, SpecError
from imgwriter.ext4 import features as f
from imgwriter.ext4.format import EXT4_FIRST_INO, INODE_SIZE
from imgwriter.ext4.params import Parameters
from imgwriter.units import div_ceil, format_size

BlockRange = tuple[int, int]
"""Half-open, in blocks of the file system."""

LOG_GROUPS_PER_FLEX = 4
LAST_GROUP_SPARE = 50
"""A last group with fewer blocks than its own structures and these is left off, as mke2fs does."""
MIN_BLOCKS_PER_GROUP = 256
"""As mke2fs."""


class TooSmallError(SpecError):
    """A file system of that few blocks cannot hold its own structures."""


@dataclass(frozen=True)
class Geometry:
    """The shape of one file system.

    Attributes:
        block_size: Bytes in a block.
        blocks: Blocks of the file system (a last group too small for its structures is cut off).
        blocks_per_group, inodes_per_group: As the superblock says.
        groups: Block groups, the last perhaps shorter.
        desc_size: Bytes in a group descriptor: 32, or 64 with 64bit.
        desc_blocks: Blocks of the group descriptor table.
        reserved_gdt_blocks: Blocks kept behind it for online growth.
        inode_table_blocks: Blocks of one group's inode table.
        flex_groups: Groups whose bitmaps and tables stand together; 1 without flex_bg.
        sparse_super: Backups only in groups 0, 1 and powers of 3, 5 and 7.
        features: With resize_inode dropped where nothing could be reserved beyond 2^32 blocks.
        reserved_blocks: Blocks that only root may fill.
    """

    block_size: int
    blocks: int
    blocks_per_group: int
    inodes_per_group: int
    groups: int
    desc_size: int
    desc_blocks: int
    reserved_gdt_blocks: int
    inode_table_blocks: int
    flex_groups: int
    sparse_super: bool
    features: f.Features
    reserved_blocks: int = field(compare=False)

    @property
    def first_data_block(self) -> int:
        """s_first_data_block: 1 KiB blocks leave block 0 to the boot loader."""
        return 1 if self.block_size == 1024 else 0

    @property
    def inodes(self) -> int:
        """s_inodes_count."""
        return self.inodes_per_group * self.groups

    @property
    def pointers(self) -> int:
        """Block numbers in an indirect block."""
        return self.block_size // 4

    def group_start(self, group: int) -> int:
        """Return the group's first block."""
        return self.first_data_block + group * self.blocks_per_group

    def group_end(self, group: int) -> int:
        """Return the block after the group's last."""
        return min(self.group_start(group + 1), self.blocks)

    def has_super(self, group: int) -> bool:
        """Return whether the group holds a superblock and a group descriptor table."""
        return group in self.backup_groups if group else True

    @cached_property
    def backup_groups(self) -> frozenset[int]:
        """The groups with backups, group 0 not counted."""
        if not self.sparse_super:
            return frozenset(range(1, self.groups))
        powers = {1} if self.groups > 1 else set()
        for base in (3, 5, 7):
            power = base
            while power < self.groups:
                powers.add(power)
                power *= base
        return frozenset(powers)

    @property
    def super_blocks(self) -> int:
        """Blocks that a superblock, its descriptor table and the reserved blocks take."""
        return 1 + self.desc_blocks + self.reserved_gdt_blocks

    def super_range(self, group: int) -> BlockRange:
        """Return the blocks of the group's superblock, descriptors and reserved blocks, perhaps empty."""
        start = self.group_start(group)
        return (start, start + self.super_blocks) if self.has_super(group) else (start, start)

    @cached_property
    def tables(self) -> Tables:
        """Where every group's bitmaps and inode table stand."""
        return _place_tables(self)


@dataclass(frozen=True)
class Tables:
    """The first block of every group's bitmaps and inode table, by group.

    Attributes:
        block_bitmaps, inode_bitmaps, inode_tables: Block numbers, one a group.
        ranges: All of these blocks, sorted and merged, within each flex group.
    """

    block_bitmaps: list[int]
    inode_bitmaps: list[int]
    inode_tables: list[int]
    ranges: list[BlockRange]


def plan_geometry(parameters: Parameters, size: int, needed_inodes: int) -> Geometry:
    """Return the geometry of a file system of ``size`` bytes with room for ``needed_inodes``.

    Raises:
        TooSmallError: Its own structures do not fit.
        SpecError: The size or the number of inodes is beyond what the format or its type holds.
    """
    wanted = size // parameters.block_size
    _check_limits(parameters, wanted)
    inodes = parameters.inode_count(wanted, needed_inodes)
    least = max(needed_inodes, parameters.inodes or 0)
    per_group = 8 * parameters.block_size
    blocks = kept = wanted
    while True:
        fewer = _blocks_per_group_for(parameters, wanted, blocks, per_group, inodes)
        if fewer != per_group:
            per_group, blocks = fewer, wanted
            continue
        geometry = _shape(parameters, blocks, per_group, inodes, least)
        cut = _cut_of_last_group(geometry)
        if not cut:
            break
        blocks = kept = blocks - cut
    # mke2fs keeps the share of what was left after the last cut, also where it then took smaller groups
    # and all blocks again.
    reserved = wanted * parameters.reserved_percent // 100 * kept // wanted
    geometry = replace(geometry, reserved_blocks=reserved)
    if geometry.inodes < needed_inodes:
        raise SpecError(
            f"{needed_inodes:,} inodes do not fit into {format_size(size)}, which has room for"
            f" {geometry.inodes:,} at most; make it larger"
        )
    return geometry


def _blocks_per_group_for(
    parameters: Parameters, wanted: int, blocks: int, per_group: int, inodes: int
) -> int:
    """Return ``per_group``, or less, a multiple of 8, where ``inodes`` need more groups.

    One bitmap block holds a group's inodes, so many inodes take many, smaller groups.
    """
    first_data_block = 1 if parameters.block_size == 1024 else 0
    most = 8 * parameters.block_size
    if div_ceil(inodes, div_ceil(blocks - first_data_block, per_group)) <= most:
        return per_group
    groups = div_ceil(inodes, most)
    smaller = per_group if groups == 1 else (wanted - first_data_block - 1) // (groups - 1)
    smaller = min(smaller, per_group - 8) & ~7
    if smaller < MIN_BLOCKS_PER_GROUP:
        raise TooSmallError(
            f"{format_size(wanted * parameters.block_size)} cannot hold {inodes:,} inodes;"
            " make it larger or ask for fewer"
        )
    return smaller


def _cut_of_last_group(geometry: Geometry) -> int:
    """Return the blocks of a last group that is too small for its own structures, else 0."""
    own = 2 + geometry.inode_table_blocks
    if own + geometry.super_blocks > geometry.blocks_per_group:
        raise TooSmallError(
            f"{format_size(geometry.blocks * geometry.block_size)} cannot hold {geometry.inodes:,} inodes;"
            " make it larger or ask for fewer"
        )
    if geometry.has_super(geometry.groups - 1):
        own += geometry.super_blocks
    remainder = (geometry.blocks - geometry.first_data_block) % geometry.blocks_per_group
    if geometry.groups == 1 and 0 < remainder < own:
        raise TooSmallError(
            f"{format_size(geometry.blocks * geometry.block_size)} cannot hold the structures of an ext4"
            f" file system, which take {format_size(own * geometry.block_size)}; make it larger"
        )
    return remainder if geometry.groups > 1 and 0 < remainder < own + LAST_GROUP_SPARE else 0


def _check_limits(parameters: Parameters, blocks: int) -> None:
    if blocks < 2 * parameters.block_size // 1024:
        raise TooSmallError(
            f"{format_size(blocks * parameters.block_size)} cannot hold an ext4 file system; make it larger"
        )
    if blocks >= 1 << 32 and not parameters.feature_set.has(f.Incompat.BIT64):
        raise SpecError(
            f"{parameters.fs_type} without 64bit holds at most"
            f" {format_size(((1 << 32) - 1) * parameters.block_size)}; make it smaller or turn 64bit on"
        )
    groups = div_ceil(blocks, 8 * parameters.block_size)
    desc_blocks = groups * 64 // parameters.block_size
    if desc_blocks > 6 * parameters.block_size:
        raise SpecError(
            f"{format_size(blocks * parameters.block_size)} of {parameters.block_size}-byte blocks needs"
            " the feature meta_bg, which is not written; use --block-size 4096 or make it smaller"
        )


def _shape(parameters: Parameters, blocks: int, blocks_per_group: int, inodes: int, least: int) -> Geometry:
    block_size, features = parameters.block_size, parameters.feature_set
    first_data_block = 1 if block_size == 1024 else 0
    groups = div_ceil(blocks - first_data_block, blocks_per_group)
    per_group = min(div_ceil(inodes, groups), 8 * block_size)
    per_group = _round_inodes(per_group, block_size)
    while per_group * groups > 0xFFFFFFFF:
        per_group = _round_inodes(per_group - INODE_SIZE, block_size)
    # mke2fs rounds down to a multiple of 8; what the tree needs has to fit nevertheless.
    while per_group * groups < max(least, EXT4_FIRST_INO + 1) and per_group < 8 * block_size:
        per_group = _round_inodes(per_group + 8, block_size)
    desc_size = 64 if features.has(f.Incompat.BIT64) else 32
    desc_blocks = div_ceil(groups * desc_size, block_size)
    if features.has(f.Compat.RESIZE_INODE) and blocks >= 1 << 32:
        features = features.without("resize_inode")
    reserved = 0
    if features.has(f.Compat.RESIZE_INODE):
        most = _growth_limit(blocks) - first_data_block
        groups_then = div_ceil(most, blocks_per_group)
        reserved = min(div_ceil(groups_then, block_size // desc_size) - desc_blocks, block_size // 4)
    return Geometry(
        block_size=block_size,
        blocks=blocks,
        blocks_per_group=blocks_per_group,
        inodes_per_group=per_group,
        groups=groups,
        desc_size=desc_size,
        desc_blocks=desc_blocks,
        reserved_gdt_blocks=reserved,
        inode_table_blocks=div_ceil(per_group * INODE_SIZE, block_size),
        flex_groups=1 << LOG_GROUPS_PER_FLEX if features.has(f.Incompat.FLEX_BG) else 1,
        sparse_super=features.has(f.RoCompat.SPARSE_SUPER),
        features=features,
        reserved_blocks=0,  # known when the shape is final
    )


def _round_inodes(count: int, block_size: int) -> int:
    """Return ``count`` rounded up to whole blocks of the inode table, a multiple of 8."""
    per_block = block_size // INODE_SIZE
    return max(div_ceil(count, per_block) * per_block, 8) & ~7


def _growth_limit(blocks: int) -> int:
    """Return the blocks to which online growth is prepared: 1,024 times as many, at most 2^32 - 1."""
    return blocks * 1024 if blocks < 0xFFFFFFFF // 1024 else 0xFFFFFFFF


def check_tables(geometry: Geometry) -> None:
    """Raise TooSmallError when an inode table does not fit between the backups."""
    if len(geometry.tables.inode_tables) != geometry.groups:
        raise PlanInvariantError(f"{geometry.groups} groups have {len(geometry.tables.inode_tables)} tables")


def _place_tables(geometry: Geometry) -> Tables:
    tables = Tables([], [], [], [])
    for first in range(0, geometry.groups, geometry.flex_groups):
        count = min(geometry.flex_groups, geometry.groups - first)
        _place_flex_group(geometry, tables, first, count)
    return tables


def _place_flex_group(geometry: Geometry, tables: Tables, first: int, count: int) -> None:
    """Place the tables of groups first .. first + count, as mke2fs does: bitmaps, bitmaps, tables."""
    # In the last flex group the bitmaps stand close, unless it is one group: mke2fs's own arithmetic.
    last = first + count == geometry.groups
    step = count if last and count > 1 else geometry.flex_groups
    start = geometry.super_range(first)[1]
    size = geometry.inode_table_blocks
    inode_bitmaps, inode_tables = start + step, start + 2 * step
    end = inode_tables + count * size
    if end <= _next_obstacle(geometry, first, count):
        tables.block_bitmaps.extend(range(start, start + count))
        tables.inode_bitmaps.extend(range(inode_bitmaps, inode_bitmaps + count))
        tables.inode_tables.extend(range(inode_tables, end, size))
        if step == count:
            tables.ranges.append((start, end))
        else:
            tables.ranges.extend(((start, start + count), (inode_bitmaps, inode_bitmaps + count)))
            tables.ranges.append((inode_tables, end))
        return
    free = _Gaps(geometry, first, count)
    block_bitmaps = [free.take(1) for _ in range(count)]
    inode_bitmap_blocks = [free.take(1) for _ in range(count)]
    table_blocks = [free.take(size) for _ in range(count)]
    tables.block_bitmaps.extend(block_bitmaps)
    tables.inode_bitmaps.extend(inode_bitmap_blocks)
    tables.inode_tables.extend(table_blocks)
    taken = [(b, b + 1) for b in block_bitmaps + inode_bitmap_blocks]
    taken += [(b, b + size) for b in table_blocks]
    tables.ranges.extend(merge(sorted(taken)))


def _next_obstacle(geometry: Geometry, first: int, count: int) -> int:
    """Return the first block after group ``first``'s own backup that tables may not cross."""
    for group in range(first + 1, first + count):
        if geometry.has_super(group):
            return geometry.group_start(group)
    return geometry.group_end(first + count - 1)


class _Gaps:
    """The blocks of a flex group between its backups, taken first fit."""

    def __init__(self, geometry: Geometry, first: int, count: int) -> None:
        self.gaps: list[list[int]] = []
        for group in range(first, first + count):
            start, end = geometry.super_range(group)[1], geometry.group_end(group)
            if self.gaps and self.gaps[-1][1] == start:
                self.gaps[-1][1] = end
            else:
                self.gaps.append([start, end])

    def take(self, blocks: int) -> int:
        for gap in self.gaps:
            if gap[1] - gap[0] >= blocks:
                gap[0] += blocks
                return gap[0] - blocks
        raise TooSmallError(
            f"an inode table of {blocks:,} blocks does not fit between the backup superblocks;"
            " ask for fewer inodes or larger blocks"
        )


def merge(ranges: list[BlockRange]) -> Iterator[BlockRange]:
    """Yield sorted ``ranges`` with neighbours joined."""
    start, end = 0, 0
    for low, high in ranges:
        if low == end and end:
            end = high
            continue
        if start < end:
            yield start, end
        start, end = low, high
    if start < end:
        yield start, end


def free_ranges(geometry: Geometry) -> Iterator[BlockRange]:
    """Yield, in order, the maximal runs of blocks that hold neither backups nor tables.

    Lazily, since a file system of 16 TiB has 131,072 groups and a small tree needs the first.
    """
    position = geometry.first_data_block
    for start, end in _occupied(geometry):
        if start > position:
            yield position, start
        position = max(position, end)
    if position < geometry.blocks:
        yield position, geometry.blocks


def _occupied(geometry: Geometry) -> Iterator[BlockRange]:
    """Yield the blocks of backups and tables, sorted by start."""
    tables = geometry.tables.ranges
    supers = (geometry.super_range(g) for g in sorted(geometry.backup_groups | {0}))
    index = 0
    for backup in supers:
        while index < len(tables) and tables[index] < backup:
            yield tables[index]
            index += 1
        yield backup
    yield from tables[index:]
