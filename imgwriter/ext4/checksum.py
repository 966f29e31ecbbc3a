"""Checksums of ext4 metadata: raw crc32c, and the seeds that bind a block to its owner.

With metadata_csum every structure ends in, or contains, ``crc32c(seed, structure)``, where the seed says
whose it is, so that a block written to the wrong place does not pass. (The superblock, which holds the
UUID, starts at ~0.) ::

    fs seed     crc32c(~0, s_uuid)                                      groups, bitmaps, xattr blocks
    inode seed  crc32c(fs seed, le32 inode number, le32 i_generation)   inodes, directory and extent blocks

The crc is raw: neither inverted at the end nor restarted between the parts, so parts may be chained.

Spec: kernel Documentation/filesystems/ext4/checksums.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import cast

import crcmod

_CASTAGNOLI = 0x11EDC6F41
_INODE_OWNER = struct.Struct("<II")

crc32c = cast("Callable[..., int]", crcmod.mkCrcFun(_CASTAGNOLI, initCrc=0xFFFFFFFF, rev=True, xorOut=0))
"""``crc32c(data)`` starts at ~0, ``crc32c(data, seed)`` goes on from ``seed``; raw, as ext4 stores it."""


def fs_seed(uuid: bytes) -> int:
    """Return the seed of the whole file system, ``s_checksum_seed``, from its 16-byte ``s_uuid``."""
    return crc32c(uuid)


def inode_seed(seed: int, inode_number: int, generation: int = 0) -> int:
    """Return the seed of one inode's structures from the file system's ``seed``."""
    return crc32c(_INODE_OWNER.pack(inode_number, generation), seed)
