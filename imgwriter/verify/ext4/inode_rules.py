"""The fields of an inode, each against its range, the others and the features: pure functions of one record.

Spec: kernel Documentation/filesystems/ext4/inodes.rst; fs/ext4/inode.c, ext4_iget().
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.ext4 import features as f
from imgwriter.ext4.block_map import max_blocks
from imgwriter.ext4.format import (
    EXT4_CASEFOLD_FL,
    EXT4_EA_INODE_FL,
    EXT4_ENCRYPT_FL,
    EXT4_EXTENTS_FL,
    EXT4_GOOD_OLD_INODE_SIZE,
    EXT4_HUGE_FILE_FL,
    EXT4_IMAGIC_FL,
    EXT4_INDEX_FL,
    EXT4_INLINE_DATA_FL,
    EXT4_VERITY_FL,
)
from imgwriter.ext4.map_reader import LOGICAL_END
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.verify.ext4.record import Record, possible_extra

KINDS = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}
_NANOSECONDS = 10**9

_FLAG_NEEDS: tuple[tuple[int, str, f.Flag], ...] = (
    (EXT4_EXTENTS_FL, "EXTENTS", f.Incompat.EXTENTS),
    (EXT4_INDEX_FL, "INDEX", f.Compat.DIR_INDEX),
    (EXT4_INLINE_DATA_FL, "INLINE_DATA", f.Incompat.INLINE_DATA),
    (EXT4_HUGE_FILE_FL, "HUGE_FILE", f.RoCompat.HUGE_FILE),
    (EXT4_EA_INODE_FL, "EA_INODE", f.Incompat.EA_INODE),
    (EXT4_IMAGIC_FL, "IMAGIC", f.Compat.IMAGIC_INODES),
    (EXT4_ENCRYPT_FL, "ENCRYPT", f.Incompat.ENCRYPT),
    (EXT4_CASEFOLD_FL, "CASEFOLD", f.Incompat.CASEFOLD),
    (EXT4_VERITY_FL, "VERITY", f.RoCompat.VERITY),
)


class Rule(NamedTuple):
    """A field that is not what it has to be."""

    field: str
    expected: str
    found: str


def largest_size(block_size: int, *, extents: bool) -> int:
    """Return the largest i_size in bytes, with an extent tree or with a block map."""
    return LOGICAL_END * block_size - 1 if extents else max_blocks(block_size) * block_size


def removed_rules(inode: Record, sb: SuperblockValues) -> Iterator[Rule]:
    """Yield what is wrong with an inode without links that is no orphan.

    i_dtime says when it was removed; a number there that is an inode's is of a list of orphans, unless the
    file system was made when times were as small.
    """
    dtime = inode.fields.dtime
    if inode.fields.mode and not dtime and inode.number >= sb.first_inode:
        yield Rule("i_dtime", "the time of its removal, as it has no links", "0")
    times = (sb.fields["s_wtime"], sb.fields["s_mkfs_time"], sb.fields["s_mtime"] or sb.inodes + 1)
    if 0 < dtime < sb.inodes < min(times):
        yield Rule("i_dtime", "a time, as it is in no list of orphans", f"{dtime:,}")


def bad_blocks_rules(inode: Record) -> Iterator[Rule]:
    """Yield what is wrong with the inode of bad blocks: it is no file, and has nothing but a map."""
    fields = inode.fields
    for name, value in (
        ("i_mode", fields.mode),
        ("i_uid", fields.uid),
        ("i_gid", fields.gid),
        ("i_links_count", fields.links_count),
        ("i_file_acl", inode.file_acl),
    ):
        if value:
            yield Rule(name, "0 in the inode of bad blocks", f"{value:,}")


def field_rules(inode: Record, sb: SuperblockValues, orphan: bool) -> Iterator[Rule]:
    """Yield what is wrong with the fields of an inode in use."""
    fields = inode.fields
    if inode.kind not in KINDS:
        yield Rule("i_mode", "a type of file", f"{fields.mode:#o}")
    if fields.links_count and fields.dtime and not orphan:
        yield Rule("i_dtime", f"0 with {fields.links_count} links", f"{fields.dtime:,}")
    room = sb.inode_size - EXT4_GOOD_OLD_INODE_SIZE
    if room and not possible_extra(fields.extra_isize, sb.inode_size):
        yield Rule("i_extra_isize", f"a multiple of 4 up to {room}", f"{fields.extra_isize}")
    yield from _flags(inode, sb)
    for name, value, unused in (
        ("i_obso_faddr", fields.obso_faddr, True),
        ("l_i_blocks_high", fields.blocks_high, not sb.features.has(f.RoCompat.HUGE_FILE)),
        ("l_i_file_acl_high", fields.file_acl_high, not sb.features.has(f.Incompat.BIT64)),
        ("i_size_high", fields.size_high, inode.kind != stat.S_IFREG and inode.size >> 32 == 0),
    ):
        if value and unused:
            yield Rule(name, "0, as it is not used", f"{value:,}")
    if not inode.has(EXT4_EA_INODE_FL):
        for name, _, extra in _times(inode):
            if extra >> 2 >= _NANOSECONDS:
                yield Rule(name, f"{_NANOSECONDS - 1:,} nanoseconds at most", f"{extra >> 2:,}")


def _flags(inode: Record, sb: SuperblockValues) -> Iterator[Rule]:
    found = f"{inode.fields.flags:#x}"
    for flag, name, feature in _FLAG_NEEDS:
        if inode.has(flag) and not sb.features.has(feature):
            yield Rule("i_flags", f"no {name} without {f.name_of(feature)}", found)
    if inode.has(EXT4_INDEX_FL) and inode.kind != stat.S_IFDIR:
        yield Rule("i_flags", "no INDEX but in a directory", found)
    if inode.inline and inode.extents:
        yield Rule("i_flags", "EXTENTS or INLINE_DATA, not both", found)


def late_times(inode: Record) -> Iterator[str]:
    """Yield the times that are from 2310 on: kernels before 3.14 wrote those before 1970 so."""
    for name, low, extra in _times(inode):
        if extra & 3 == 3 and low >> 31:
            yield name


def _times(inode: Record) -> tuple[tuple[str, int, int], ...]:
    fields = inode.fields
    return (
        ("i_ctime_extra", fields.ctime, fields.ctime_extra),
        ("i_mtime_extra", fields.mtime, fields.mtime_extra),
        ("i_atime_extra", fields.atime, fields.atime_extra),
        ("i_crtime_extra", fields.crtime, fields.crtime_extra),
    )
