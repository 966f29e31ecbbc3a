"""Inodes of a file system that is read: found by number through the group descriptors, as records.

::

    number ── group ──> descriptor ── bg_inode_table ──> 64 KiB of the table at a time ──> InodeRecord

Descriptors and tables are read where an inode is asked for, so a large file system with few files is read as
fast as a small one.

Spec: kernel Documentation/filesystems/ext4/group_descr.rst, inodes.rst, checksums.rst.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from imgwriter.ext4 import features as f
from imgwriter.ext4.checksum import crc32c, inode_seed
from imgwriter.ext4.device import Device, damaged
from imgwriter.ext4.format import (
    EXT4_GOOD_OLD_INODE_SIZE,
    GROUP_DESC_CHECKSUM_OFFSET,
    INODE,
    INODE_CHECKSUM_HI_OFFSET,
    INODE_CHECKSUM_LO_OFFSET,
)
from imgwriter.ext4.group_layout import (
    descriptor_block,
    descriptor_checksum,
    descriptors_per_block,
    has_super,
    inode_table_blocks,
    unpack_descriptor,
)
from imgwriter.ext4.superblock_reader import SuperblockValues

TABLE_CHUNK = 64 << 10
"""Bytes of an inode table that are read at a time."""
_CHUNKS_KEPT = 512
_SECOND = 10**9
_U16 = struct.Struct("<H")


class InodeRecord(NamedTuple):
    """What stands in an inode.

    Attributes:
        number: Its number.
        offset: Of the record, in the Volume.
        mode, uid, gid, links, flags, generation: As in the record; uid and gid have 32 bits.
        size: i_size in bytes.
        mtime_ns, ctime_ns: Nanoseconds since the epoch.
        sectors: i_blocks: 512 bytes each.
        file_acl: The block of its extended attributes, or 0.
        i_block: 60 bytes.
        tail: What follows the fields: its extended attributes, or b"".
    """

    number: int
    offset: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    links: int
    sectors: int
    flags: int
    generation: int
    file_acl: int
    i_block: bytes
    tail: bytes


class GroupReader:
    """Finds the inode table of each group.

    Args:
        verify: Check the descriptors' checksums.
    """

    def __init__(self, device: Device, superblock: SuperblockValues, verify: bool) -> None:
        self._device = device
        self._superblock = superblock
        self._verify = verify
        self._per_block = descriptors_per_block(superblock)
        self._blocks: dict[int, bytes] = {}
        self._table_blocks = inode_table_blocks(superblock)

    def inode_table(self, group: int) -> int:
        """Return the first block of a group's inode table.

        Raises:
            FormatError: The descriptor is damaged.
        """
        sb = self._superblock
        nth, index = divmod(group, self._per_block)
        number = self.descriptor_block(nth)
        offset = self._device.block_offset(number) + index * sb.desc_size
        where = f"ext4 group descriptor {group}"
        if not sb.first_data_block <= number < sb.blocks:
            raise damaged(
                f"group descriptor {group} would be in block {number:,}, of {sb.blocks:,}", where, offset
            )
        content = self._blocks.get(nth)
        if content is None:
            content = self._blocks[nth] = self._device.block(number)
        at = index * sb.desc_size
        if self._verify:
            self._check(group, content[at : at + sb.desc_size], where, offset)
        table = unpack_descriptor(content, at, sb.desc_size).inode_table
        if not sb.first_data_block < table <= sb.blocks - self._table_blocks:
            message = f"the inode table of group {group} would be {self._table_blocks:,} blocks at {table:,},"
            raise damaged(f"{message} of {sb.blocks:,}", f"{where}, bg_inode_table", offset)
        return table

    def descriptor_block(self, nth: int) -> int:
        """Return the ``nth`` block of descriptors. Spec: blockgroup.rst, "Meta Block Groups"."""
        return descriptor_block(self._superblock, nth)

    def has_super(self, group: int) -> bool:
        """Return whether a group begins with a copy of the superblock."""
        return has_super(self._superblock, group)

    def _check(self, group: int, descriptor: bytes, where: str, offset: int) -> None:
        stored = _U16.unpack_from(descriptor, GROUP_DESC_CHECKSUM_OFFSET)[0]
        found = descriptor_checksum(self._superblock, group, descriptor)
        if found is not None and stored != found:
            message = f"bg_checksum of group {group} is {stored:#06x}, its bytes give {found:#06x}"
            raise damaged(message, f"{where}, bg_checksum", offset)


class InodeReader:
    """Reads inodes by number; keeps some of the tables, since neighbours are asked for together."""

    def __init__(self, device: Device, superblock: SuperblockValues, verify: bool) -> None:
        self._device = device
        self._superblock = superblock
        self._groups = GroupReader(device, superblock, verify)
        self._seed = superblock.seed if verify and superblock.metadata_csum else None
        self._wide = superblock.features.has(f.Incompat.BIT64)
        self._large_directories = superblock.features.has(f.Incompat.LARGEDIR)
        self._tables: dict[int, int] = {}
        self._chunks: dict[tuple[int, int], tuple[int, bytes]] = {}

    def read(self, number: int) -> InodeRecord:
        """Return an inode, used or not.

        Args:
            number: 1 to s_inodes_count.

        Raises:
            FormatError: Its fields cannot be.
        """
        sb = self._superblock
        size = sb.inode_size
        group, index = divmod(number - 1, sb.inodes_per_group)
        nth, at = divmod(index * size, TABLE_CHUNK)
        chunk = self._chunks.get((group, nth))
        if chunk is None:
            chunk = self._load(group, nth)
        record = chunk[1][at : at + size]
        offset = chunk[0] + at
        if size == EXT4_GOOD_OLD_INODE_SIZE:
            record = record.ljust(INODE.size, b"\0")
        return self._decode(number, record, offset)

    def _load(self, group: int, nth: int) -> tuple[int, bytes]:
        sb = self._superblock
        table = self._tables.get(group)
        if table is None:
            table = self._tables[group] = self._groups.inode_table(group)
        start = table * sb.block_size + nth * TABLE_CHUNK
        length = min(TABLE_CHUNK, sb.inodes_per_group * sb.inode_size - nth * TABLE_CHUNK)
        if len(self._chunks) >= _CHUNKS_KEPT:
            self._chunks.clear()
        chunk = self._device.offset + start, self._device.read(start, length)
        self._chunks[group, nth] = chunk
        return chunk

    def _decode(self, number: int, record: bytes, offset: int) -> InodeRecord:
        (
            mode, uid, size, _, ctime, mtime, _, gid, links, sectors, flags, _, i_block, generation, file_acl,
            size_high, _, sectors_high, file_acl_high, uid_high, gid_high, checksum_lo, _, extra_isize,
            checksum_hi, ctime_extra, mtime_extra, *_,
        ) = INODE.unpack_from(record)  # fmt: skip
        tail = b""
        if len(record) > INODE.size or self._superblock.inode_size > EXT4_GOOD_OLD_INODE_SIZE:
            end = EXT4_GOOD_OLD_INODE_SIZE + extra_isize
            if extra_isize & 3 or end > len(record):
                message = (
                    f"i_extra_isize of inode {number:,} is {extra_isize}, with inodes of {len(record)} bytes"
                )
                raise damaged(message, f"ext4 inode {number}, i_extra_isize", offset)
            if extra_isize < EXTRA_CTIME:
                ctime_extra = 0
            if extra_isize < EXTRA_MTIME:
                mtime_extra = 0
            tail = record[end:] if extra_isize else b""
        if self._seed is not None:
            stored = checksum_lo | checksum_hi << 16 if extra_isize >= EXTRA_CHECKSUM else checksum_lo
            self._check(number, record, offset, stored, generation, extra_isize)
        return InodeRecord(
            number,
            offset,
            mode,
            uid | uid_high << 16,
            gid | gid_high << 16,
            size | size_high << 32 if self._large_directories or mode & 0o170000 == 0o100000 else size,
            _moment(mtime, mtime_extra),
            _moment(ctime, ctime_extra),
            links,
            sectors | sectors_high << 32,
            flags,
            generation,
            file_acl | file_acl_high << 32 if self._wide else file_acl,
            i_block,
            tail,
        )

    def _check(
        self, number: int, record: bytes, offset: int, stored: int, generation: int, extra_isize: int
    ) -> None:
        assert self._seed is not None
        content = record[: self._superblock.inode_size]
        found = inode_checksum(content, number, generation, extra_isize, self._seed)
        if stored != found:
            message = f"the checksum of inode {number:,} is {stored:#x}, its bytes give {found:#x}"
            raise damaged(message, f"ext4 inode {number}, i_checksum", offset)


def _moment(low: int, extra: int) -> int:
    """Return nanoseconds: a signed 32-bit second, two bits of epoch above it, then the nanoseconds."""
    return ((low ^ 0x80000000) - 0x80000000 + ((extra & 3) << 32)) * _SECOND + (extra >> 2)


def inode_checksum(record: bytes, number: int, generation: int, extra_isize: int, seed: int) -> int:
    """Return the i_checksum that an inode's bytes give: 16 bits of it where i_checksum_hi has no room.

    Args:
        record: The inode, all of it.
        seed: The file system's.

    Spec: checksums.rst.
    """
    content = bytearray(record)
    _U16.pack_into(content, INODE_CHECKSUM_LO_OFFSET, 0)
    mask = 0xFFFF
    if extra_isize >= EXTRA_CHECKSUM:
        _U16.pack_into(content, INODE_CHECKSUM_HI_OFFSET, 0)
        mask = 0xFFFFFFFF
    return crc32c(bytes(content), inode_seed(seed, number, generation)) & mask


EXTRA_CHECKSUM = 4
"""i_extra_isize from which on i_checksum_hi is there."""
EXTRA_CTIME = 8
"""i_extra_isize from which on i_ctime_extra is there."""
EXTRA_MTIME = 12
"""i_extra_isize from which on i_mtime_extra is there."""
