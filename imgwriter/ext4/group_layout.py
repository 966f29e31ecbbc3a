"""Where the groups of a file system that is read have their superblocks and descriptors, and their checksums.

::

    group        0                1                  2 ...
    plain        │S│GDT│reserved│ │S│GDT│reserved│               in groups with a superblock: every descriptor
    meta_bg      │S│D0│           │S│D0│  ...        │D0│        in a metagroup's first, second, last group:
                                             last of it          the one block of its own descriptors

Pure arithmetic on what the superblock says; geometry.py plans the same for the writer.

Spec: kernel Documentation/filesystems/ext4/blockgroup.rst, group_descr.rst, checksums.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import crcmod

from imgwriter.ext4 import features as f
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.format import (
    GROUP_DESC_32,
    GROUP_DESC_64,
    GROUP_DESC_CHECKSUM_OFFSET,
    SUPERBLOCK_OFFSET,
)
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.units import div_ceil

crc16 = cast("Callable[..., int]", crcmod.mkCrcFun(0x18005, initCrc=0xFFFF, rev=True, xorOut=0))
"""The checksum of uninit_bg: ``crc16(data)`` starts at ~0, ``crc16(data, seed)`` goes on from ``seed``."""


class Descriptor(NamedTuple):
    """What a group descriptor says, its halves put together; bg_ is left off the names."""

    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    free_blocks_count: int
    free_inodes_count: int
    used_dirs_count: int
    flags: int
    block_bitmap_csum: int
    inode_bitmap_csum: int
    itable_unused: int
    checksum: int


def unpack_descriptor(content: bytes, at: int, desc_size: int) -> Descriptor:
    """Return the descriptor at ``at`` of some bytes; one of less than 64 has low halves alone."""
    low = GROUP_DESC_32.unpack_from(content, at)
    high = (0,) * 11
    if desc_size >= GROUP_DESC_64.size:
        high = GROUP_DESC_64.unpack_from(content, at)[len(low) :]
    return Descriptor(
        low[0] | high[0] << 32,
        low[1] | high[1] << 32,
        low[2] | high[2] << 32,
        low[3] | high[3] << 16,
        low[4] | high[4] << 16,
        low[5] | high[5] << 16,
        low[6],
        low[8] | high[8] << 16,
        low[9] | high[9] << 16,
        low[10] | high[6] << 16,
        low[11],
    )


def group_start(sb: SuperblockValues, group: int) -> int:
    """Return the first block of a group."""
    return sb.first_data_block + group * sb.blocks_per_group


def group_end(sb: SuperblockValues, group: int) -> int:
    """Return the block after the last of a group."""
    return min(group_start(sb, group + 1), sb.blocks)


def inode_table_blocks(sb: SuperblockValues) -> int:
    """Return the blocks of a group's inode table."""
    return div_ceil(sb.inodes_per_group * sb.inode_size, sb.block_size)


def descriptors_per_block(sb: SuperblockValues) -> int:
    """Return how many group descriptors a block holds."""
    return sb.block_size // sb.desc_size


def descriptor_blocks(sb: SuperblockValues) -> int:
    """Return how many blocks hold the descriptors of all groups once."""
    return div_ceil(sb.groups, descriptors_per_block(sb))


def has_super(sb: SuperblockValues, group: int) -> bool:
    """Return whether a group begins with a superblock, the primary or a backup."""
    if group == 0:
        return True
    if sb.features.has(f.Compat.SPARSE_SUPER2):
        return group in sb.fields["s_backup_bgs"]
    if group == 1 or not sb.features.has(f.RoCompat.SPARSE_SUPER):
        return True
    return any(_is_power(group, base) for base in (3, 5, 7))


def groups_with_super(sb: SuperblockValues) -> Iterator[int]:
    """Yield the groups that begin with a superblock, rising."""
    if sb.features.has(f.Compat.SPARSE_SUPER2):
        yield from sorted({0, *(g for g in sb.fields["s_backup_bgs"] if g < sb.groups)})
    elif sb.features.has(f.RoCompat.SPARSE_SUPER):
        powers = {0, 1}
        for base in (3, 5, 7):
            power = base
            while power < sb.groups:
                powers.add(power)
                power *= base
        yield from sorted(power for power in powers if power < sb.groups)
    else:
        yield from range(sb.groups)


def _is_power(number: int, base: int) -> bool:
    power = base
    while power < number:
        power *= base
    return power == number


def old_descriptor_blocks(sb: SuperblockValues) -> int:
    """Return the blocks that follow every superblock: descriptors before meta_bg's, and reserved ones."""
    if sb.features.has(f.Incompat.META_BG):
        return min(int(sb.fields["s_first_meta_bg"]), descriptor_blocks(sb))
    return descriptor_blocks(sb) + int(sb.fields["s_reserved_gdt_blocks"])


def descriptor_block(sb: SuperblockValues, nth: int) -> int:
    """Return where the ``nth`` block of descriptors is: the primary one."""
    if nth == 0 or not _of_metagroup(sb, nth):
        return SUPERBLOCK_OFFSET // sb.block_size + 1 + nth
    group = nth * descriptors_per_block(sb)
    return group_start(sb, group) + has_super(sb, group)


def descriptor_backups(sb: SuperblockValues, nth: int) -> Iterator[tuple[int, int]]:
    """Yield (group, block) of every backup of the ``nth`` block of descriptors."""
    if not _of_metagroup(sb, nth):
        for group in groups_with_super(sb):
            if group:
                yield group, group_start(sb, group) + 1 + nth
        return
    per_block = descriptors_per_block(sb)
    first = nth * per_block
    for group in sorted({first + 1, first + per_block - 1} - {first}):
        if group < sb.groups:
            yield group, group_start(sb, group) + has_super(sb, group)


def own_range(sb: SuperblockValues, group: int) -> tuple[int, int]:
    """Return the blocks [start, stop) that a group begins with: superblock, descriptors, reserved ones.

    Group 0 has the boot block besides, where that is a block of its own and part of the group.
    """
    start = group_start(sb, group)
    stop = start if group else SUPERBLOCK_OFFSET // sb.block_size
    if has_super(sb, group):
        stop += 1 + old_descriptor_blocks(sb)
    per_block = descriptors_per_block(sb)
    nth, place = divmod(group, per_block)
    if _of_metagroup(sb, nth) and place in (0, 1, per_block - 1):
        stop += 1
    return start, stop


def _of_metagroup(sb: SuperblockValues, nth: int) -> bool:
    return sb.features.has(f.Incompat.META_BG) and nth >= int(sb.fields["s_first_meta_bg"])


def descriptor_checksum(sb: SuperblockValues, group: int, descriptor: bytes) -> int | None:
    """Return the bg_checksum that a descriptor's bytes give; None where descriptors have none."""
    at = GROUP_DESC_CHECKSUM_OFFSET
    before, after = descriptor[:at], descriptor[at + 2 :]
    number = group.to_bytes(4, "little")
    if sb.metadata_csum and sb.seed is not None:
        return crc32c(number + before + b"\0\0" + after, sb.seed) & 0xFFFF
    if sb.features.has(f.RoCompat.GDT_CSUM):
        return crc16(sb.uuid + number + before + after)
    return None
