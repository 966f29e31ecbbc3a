"""Checksums of ext4 metadata: raw crc32c, and the seeds that bind a block to its owner.

With metadata_csum every structure ends in, or contains, ``crc32c(seed, structure)`` where the seed says
whose it is, so that a block written to the wrong place does not pass::

    fs seed     crc32c(~0, s_uuid)                                superblock, groups, bitmaps, xattr blocks
    inode seed  crc32c(fs seed, le32 inode number, le32 i_generation)   inode, its directory and extent blocks

The crc is raw: neither inverted at the end nor restarted between the parts, so parts may be chained.

Spec: kernel Documentation/filesystems/ext4/checksums.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import cast

import crcmod

_CASTAGNOLI = 0x11EDC6F41
_ANSI_16 = 0x18005
_INODE_OWNER = struct.Struct("<II")
_GROUP_NUMBER = struct.Struct("<I")

Buffer = bytes | bytearray | memoryview

crc32c = cast("Callable[..., int]", crcmod.mkCrcFun(_CASTAGNOLI, initCrc=0xFFFFFFFF, rev=True, xorOut=0))
"""``crc32c(data)`` starts at ~0, ``crc32c(data, seed)`` goes on from ``seed``; raw, as ext4 stores it."""

_crc16 = cast("Callable[..., int]", crcmod.mkCrcFun(_ANSI_16, initCrc=0xFFFF, rev=True, xorOut=0))


def fs_seed(uuid: bytes) -> int:
    """Return the seed of the whole file system, ``s_checksum_seed``, from its 16-byte ``s_uuid``."""
    return crc32c(uuid)


def inode_seed(seed: int, inode_number: int, generation: int = 0) -> int:
    """Return the seed of one inode's structures from the file system's ``seed``."""
    return crc32c(_INODE_OWNER.pack(inode_number, generation), seed)


def group_descriptor_crc16(uuid: bytes, group: int, descriptor: Buffer) -> int:
    """Return ``bg_checksum`` for a file system with uninit_bg and without metadata_csum.

    Args:
        uuid: ``s_uuid``, 16 bytes.
        group: Number of the block group.
        descriptor: The whole group descriptor; the two bytes of ``bg_checksum`` (0x1E) are left out.

    Spec: kernel Documentation/filesystems/ext4/group_descr.rst.
    """
    crc = _crc16(_GROUP_NUMBER.pack(group), _crc16(uuid))
    return _crc16(bytes(descriptor[0x20:]), _crc16(bytes(descriptor[:0x1E]), crc))
