"""The records of each layer as fields: see :mod:`imgwriter.diff.fields`.

Names of the struct formats are those that stand with their declarations.
"""

from __future__ import annotations

from functools import cache

from pyfatfs.BootSectorHeader import FAT12BootSectorHeader, FAT32BootSectorHeader
from pyfatfs.FATDirectoryEntry import FATDirectoryEntry, FATLongDirectoryEntry
from pyfatfs.FSInfo import FSInfo

from imgwriter import gpt, mbr
from imgwriter.diff.fields import Field, complete, hexadecimal, moved, of_construct, of_struct, raw
from imgwriter.ext4.format import (
    EXTENT,
    EXTENT_HEADER,
    EXTENT_IDX,
    GROUP_DESC_32,
    GROUP_DESC_64,
    INODE,
    JournalSuperblock,
    Superblock,
)
from imgwriter.fat.boot_reader import BOOT_SIZE
from imgwriter.fat.structures import ATTR_LONG_NAME, ATTR_LONG_NAME_MASK, ENTRY_SIZE

_INODE_NAMES = (
    "i_mode", "i_uid", "i_size_lo", "i_atime", "i_ctime", "i_mtime", "i_dtime", "i_gid", "i_links_count",
    "i_blocks_lo", "i_flags", "l_i_version", "i_block", "i_generation", "i_file_acl_lo", "i_size_high",
    "i_obso_faddr", "l_i_blocks_high", "l_i_file_acl_high", "l_i_uid_high", "l_i_gid_high",
    "l_i_checksum_lo", "l_i_reserved", "i_extra_isize", "i_checksum_hi", "i_ctime_extra", "i_mtime_extra",
    "i_atime_extra", "i_crtime", "i_crtime_extra", "i_version_hi", "i_projid",
)  # fmt: skip
_GROUP_NAMES = (
    "bg_block_bitmap_lo", "bg_inode_bitmap_lo", "bg_inode_table_lo", "bg_free_blocks_count_lo",
    "bg_free_inodes_count_lo", "bg_used_dirs_count_lo", "bg_flags", "bg_exclude_bitmap_lo",
    "bg_block_bitmap_csum_lo", "bg_inode_bitmap_csum_lo", "bg_itable_unused_lo", "bg_checksum",
    "bg_block_bitmap_hi", "bg_inode_bitmap_hi", "bg_inode_table_hi", "bg_free_blocks_count_hi",
    "bg_free_inodes_count_hi", "bg_used_dirs_count_hi", "bg_itable_unused_hi", "bg_exclude_bitmap_hi",
    "bg_block_bitmap_csum_hi", "bg_inode_bitmap_csum_hi", "bg_reserved",
)  # fmt: skip
_EXTENT_HEADER_NAMES = (
    "eh_magic", "eh_entries", "eh_max", "eh_depth", "eh_generation",
)  # fmt: skip
_EXTENT_NAMES = (
    "ee_block", "ee_len", "ee_start_hi", "ee_start_lo",
)  # fmt: skip
_INDEX_NAMES = (
    "ei_block", "ei_leaf_lo", "ei_leaf_hi", "ei_unused",
)  # fmt: skip

_SIGNATURE_AT = 510


@cache
def mbr_sector() -> tuple[Field, ...]:
    """Return the fields of an MBR or EBR."""
    fields: list[Field] = []
    record = of_construct(mbr.PARTITION_RECORD)
    size = mbr.PARTITION_RECORD.sizeof()
    for field in of_construct(mbr.MBR):
        if field.name != "partition_record":
            fields.append(field)
            continue
        for number in range(mbr.RECORDS):
            fields += moved(record, field.at + number * size, f"partition record {number + 1}, ")
    return tuple(fields)


@cache
def gpt_header(size: int) -> tuple[Field, ...]:
    """Return the fields of a GPT header's sector."""
    return complete(of_construct(gpt.HEADER), size)


@cache
def gpt_entry(size: int) -> tuple[Field, ...]:
    """Return the fields of an entry."""
    return complete(of_construct(gpt.ENTRY), size)


@cache
def superblock() -> tuple[Field, ...]:
    """Return the fields of ext4's superblock."""
    return of_construct(Superblock)


@cache
def group_descriptor(size: int) -> tuple[Field, ...]:
    """Return the fields of a group descriptor."""
    record = GROUP_DESC_64 if size >= GROUP_DESC_64.size else GROUP_DESC_32
    return complete(of_struct(record, _GROUP_NAMES), size)


@cache
def inode(size: int) -> tuple[Field, ...]:
    """Return the fields of an inode; what follows them is not one."""
    return tuple(field for field in of_struct(INODE, _INODE_NAMES) if field.end <= size)


@cache
def journal_superblock(size: int) -> tuple[Field, ...]:
    """Return the fields of the journal's first block."""
    return complete(of_construct(JournalSuperblock, big=True), size)


@cache
def extent_block(size: int, depth: int) -> tuple[Field, ...]:
    """Return the fields of a block of an extent tree of that depth."""
    entry = of_struct(EXTENT_IDX, _INDEX_NAMES) if depth else of_struct(EXTENT, _EXTENT_NAMES)
    fields = list(of_struct(EXTENT_HEADER, _EXTENT_HEADER_NAMES))
    count = (size - EXTENT_HEADER.size) // EXTENT.size
    for number in range(count):
        fields += moved(entry, EXTENT_HEADER.size + number * EXTENT.size, f"entry {number}, ")
    at = EXTENT_HEADER.size + count * EXTENT.size
    if at + 4 <= size:
        fields.append(Field("et_checksum", at, 4, hexadecimal))
    return complete(fields, size)


@cache
def boot_sector(wide: bool) -> tuple[Field, ...]:
    """Return the fields of a FAT boot sector, FAT32's or the others'."""
    header = FAT32BootSectorHeader if wide else FAT12BootSectorHeader
    fields = of_struct(header.HEADER_LAYOUT, header.HEADER_VARS)
    code = fields[-1].end
    return (
        *fields,
        Field("boot code", code, _SIGNATURE_AT - code, raw),
        Field("signature", _SIGNATURE_AT, BOOT_SIZE - _SIGNATURE_AT, raw),
    )


@cache
def fsinfo() -> tuple[Field, ...]:
    """Return the fields of FAT32's FSInfo."""
    return complete(of_struct(FSInfo.HEADER_LAYOUT, FSInfo.HEADER_VARS), BOOT_SIZE)


@cache
def directory_entry(long: bool) -> tuple[Field, ...]:
    """Return the fields of a FAT directory's entry, a long name's or another."""
    if long:
        names = FATLongDirectoryEntry.FAT_LONG_DIRECTORY_VARS
        return of_struct(FATLongDirectoryEntry.FAT_LONG_DIRECTORY_LAYOUT, names)
    return of_struct(FATDirectoryEntry.FAT_DIRECTORY_LAYOUT, FATDirectoryEntry.FAT_DIRECTORY_VARS)


def is_long(entry: bytes) -> bool:
    """Return whether a directory entry is part of a long name."""
    return len(entry) == ENTRY_SIZE and entry[11] & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME
