"""Reserved inodes that the file system does not use: they have nothing; pure functions of one record.

::

    1 bad blocks │ 2 root │ 3, 4 quotas │ 5 boot loader │ 6 undelete │ 7 resize │ 8 journal │ 9, 10 │ 11 ...

Which of 3, 4, 7 and 8 are in use is said by features; the others never are, but for the boot loader's.

Spec: kernel Documentation/filesystems/ext4/special_inodes.rst; e2fsprogs e2fsck/pass1.c, e2fsck_pass1().
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from imgwriter.ext4 import features as f
from imgwriter.ext4.format import (
    EXT4_BOOT_LOADER_INO,
    EXT4_GRP_QUOTA_INO,
    EXT4_JOURNAL_INO,
    EXT4_RESIZE_INO,
    EXT4_ROOT_INO,
    EXT4_USR_QUOTA_INO,
)
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.verify.ext4.inode_rules import Rule, largest_size
from imgwriter.verify.ext4.record import Record

_CLEARED = {EXT4_USR_QUOTA_INO, EXT4_GRP_QUOTA_INO, EXT4_JOURNAL_INO}
"""Those of which e2fsck looks at links and blocks alone."""

_MAY_BE_FILES = {EXT4_BOOT_LOADER_INO, EXT4_RESIZE_INO}
"""A kernel makes the first one when a boot loader is put there; the other may be left from a resize."""


def is_unused(number: int, sb: SuperblockValues) -> bool:
    """Return whether an inode is reserved, and for nothing that this file system has."""
    if number >= sb.first_inode:
        return False
    if number in (EXT4_USR_QUOTA_INO, EXT4_GRP_QUOTA_INO):
        return not sb.features.has(f.RoCompat.QUOTA)
    if number == EXT4_JOURNAL_INO:
        return bool(sb.fields["s_journal_inum"] != EXT4_JOURNAL_INO)
    if number == EXT4_RESIZE_INO:
        return not sb.features.has(f.Compat.RESIZE_INODE)
    return number != EXT4_ROOT_INO


def has_attributes(number: int) -> bool:
    """Return whether attributes and i_blocks of an unused inode are looked at besides."""
    return number not in _CLEARED


def unused_rules(inode: Record, block_size: int) -> Iterator[Rule]:
    """Yield what is wrong with a reserved inode that is not used."""
    fields = inode.fields
    if inode.number in _CLEARED:
        for name, value in (
            ("i_links_count", fields.links_count),
            ("i_blocks", inode.allocated // 512),
            ("i_block", int.from_bytes(fields.block[:4], "little")),
        ):
            if value:
                yield Rule(name, "0, as the inode is reserved and not used", f"{value:,}")
        return
    if fields.mode and (inode.number not in _MAY_BE_FILES or inode.kind == stat.S_IFDIR):
        yield Rule("i_mode", "0, as the inode is reserved and not used", f"{fields.mode:#o}")
    size = fields.size_lo | fields.size_high << 32
    most = largest_size(block_size, extents=inode.extents)
    if size > most:
        yield Rule("i_size", f"0, as the inode is reserved and not used, or {most:,} at most", f"{size:,}")
