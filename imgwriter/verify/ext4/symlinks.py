"""Symlinks: where the target is, and that i_size is its length; pure functions of what was read.

::

    i_size < 60, no blocks      i_block │target│0 ...          fast: no EXTENTS
    i_size >= 60                one block │target│0 ...        slow: below a block's size
    INLINE_DATA                 i_block │target, 60 bytes│ + system.data │its rest│

A target ends before the first zero, which has to be there unless it is inline.

Spec: kernel Documentation/filesystems/ext4/ifork.rst, Symbolic Links; e2fsprogs e2fsck/pass1.c,
e2fsck_pass1_check_symlink().
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.ext4.extent_tree import I_BLOCK_SIZE
from imgwriter.ext4.format import EXT4_ENCRYPT_FL
from imgwriter.verify.ext4.inode_rules import Rule
from imgwriter.verify.ext4.mapping import Mapping
from imgwriter.verify.ext4.record import Record


def fast_rules(inode: Record) -> Iterator[Rule]:
    """Yield what is wrong with a symlink that has its target in i_block."""
    if inode.extents:
        found = f"{inode.fields.flags:#x}"
        yield Rule("i_flags", "no EXTENTS, as the target is in the inode", found)
    else:
        yield from _target_rules(inode, 1, inode.fields.block)


def slow_rules(inode: Record, mapping: Mapping, content: bytes) -> Iterator[Rule]:
    """Yield what is wrong with a symlink that has its target in a block.

    Args:
        inode: The symlink.
        mapping: Its blocks; what could not be read of them was found already.
        content: Its first block; b"" where that was read for something else, which was found already.
    """
    if mapping.whole and [run[1] - run[0] for run in mapping.runs] != [1]:
        found = f"{sum(stop - start for start, stop in mapping.runs):,}"
        yield Rule("i_block", "one block in a symlink", found)
    elif mapping.whole and mapping.pieces[0].logical:
        yield Rule("ee_block", "0 in a symlink", f"{mapping.pieces[0].logical:,}")
    if content:
        yield from _target_rules(inode, I_BLOCK_SIZE, content)


def inline_rules(inode: Record, content: bytes) -> Iterator[Rule]:
    """Yield what is wrong with a symlink that has its target in i_block and an attribute, ``content``."""
    if inode.size != len(content):
        yield Rule("i_size", f"{len(content):,}, as it has inline", f"{inode.size:,}")
    elif b"\0" in content and not inode.has(EXT4_ENCRYPT_FL):
        yield Rule("i_size", f"{content.index(0):,}, where the target ends", f"{inode.size:,}")


def _target_rules(inode: Record, least: int, room: bytes) -> Iterator[Rule]:
    """Yield what is wrong with i_size; an encrypted target is not looked at."""
    if not least <= inode.size < len(room):
        yield Rule("i_size", f"{least:,} to {len(room) - 1:,} in a symlink", f"{inode.size:,}")
    elif not inode.has(EXT4_ENCRYPT_FL):
        end = (room + b"\0").index(0)
        if end != inode.size:
            yield Rule("i_size", f"{end:,}, where the target ends", f"{inode.size:,}")
