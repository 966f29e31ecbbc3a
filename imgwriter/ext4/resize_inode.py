"""The resize inode: it owns the blocks kept behind every group descriptor table for growth.

::

    inode 7 ── double indirect block ──> reserved block n in group 0 ──> the same block in each backup group

Each reserved block of group 0 lists its copies in the groups with backups, so that the kernel finds
them when it turns them into descriptor blocks.

Spec: fs/ext4/resize.c, reserve_backup_gdb and verify_reserved_gdb; layout as mke2fs 1.47.0 writes it.
"""

from __future__ import annotations

import sys
from array import array

from imgwriter.ext4.block_map import max_blocks
from imgwriter.ext4.extent_tree import Blocks
from imgwriter.ext4.geometry import Geometry
from imgwriter.ext4.inodes import SpecialInode

_DIND = 13
"""Index of the double indirect pointer in i_block."""


def plan_resize_inode(geometry: Geometry, double_indirect: int) -> tuple[SpecialInode, Blocks]:
    """Return inode 7 and the blocks that it maps with.

    Args:
        geometry: The geometry, with resize_inode.
        double_indirect: The block given to it.
    """
    pointers = geometry.pointers
    first = geometry.first_data_block + 1 + geometry.desc_blocks
    backups = sorted(geometry.backup_groups)
    top = array("I", bytes(4 * pointers))
    blocks: Blocks = []
    for index in range(geometry.reserved_gdt_blocks):
        block = first + index
        top[(geometry.desc_blocks + index) % pointers] = block
        copies = array("I", (block + g * geometry.blocks_per_group for g in backups))
        if copies:
            blocks.append((block, _block(copies, geometry)))
    blocks.append((double_indirect, _block(top, geometry)))
    i_block = array("I", [0] * 15)
    i_block[_DIND] = double_indirect
    owned = 1 + geometry.reserved_gdt_blocks * (1 + len(backups))
    size = (max_blocks(geometry.block_size) - pointers**3) * geometry.block_size
    return SpecialInode(size, owned, 0, _little_endian(i_block)), blocks


def _block(values: array[int], geometry: Geometry) -> bytes:
    return _little_endian(values).ljust(geometry.block_size, b"\0")


def _little_endian(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = array("I", values)
        values.byteswap()
    return values.tobytes()
