"""An inode as it stands in its table, with its split fields put together.

Spec: kernel Documentation/filesystems/ext4/inodes.rst.
"""

from __future__ import annotations

import stat
from typing import NamedTuple

from imgwriter.ext4 import features as f
from imgwriter.ext4.format import (
    EXT4_EXTENTS_FL,
    EXT4_GOOD_OLD_INODE_SIZE,
    EXT4_HUGE_FILE_FL,
    EXT4_INLINE_DATA_FL,
    INODE,
    InodeFields,
)
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.units import SECTOR


class Record(NamedTuple):
    """An inode.

    Attributes:
        number: Its number.
        offset: Where it is, in the Volume.
        content: Its bytes.
        fields: What they say; what is beyond i_extra_isize is 0.
        size: i_size in bytes.
        allocated: i_blocks in bytes.
        file_acl: The block of its attributes, or 0.
        tail: What follows the fields: attributes; b"" where there is no room, or i_extra_isize cannot be.
    """

    number: int
    offset: int
    content: bytes
    fields: InodeFields
    size: int
    allocated: int
    file_acl: int
    tail: bytes

    @property
    def where(self) -> str:
        """What a finding calls it."""
        return f"ext4 inode {self.number}"

    @property
    def kind(self) -> int:
        """The type in i_mode."""
        return stat.S_IFMT(self.fields.mode)

    def has(self, flag: int) -> bool:
        """Return whether a bit of i_flags is set."""
        return bool(self.fields.flags & flag)

    @property
    def inline(self) -> bool:
        """Whether its content is in the inode."""
        return self.has(EXT4_INLINE_DATA_FL)

    @property
    def extents(self) -> bool:
        """Whether its blocks are mapped by an extent tree."""
        return self.has(EXT4_EXTENTS_FL)


def possible_extra(extra_isize: int, inode_size: int) -> bool:
    """Return whether i_extra_isize is a size that the fields beyond the first 128 bytes can have."""
    room = inode_size - EXT4_GOOD_OLD_INODE_SIZE
    return extra_isize == 0 or (4 <= extra_isize <= room and extra_isize % 4 == 0)


# i_extra_isize and i_checksum_hi have 2 bytes, the rest 4.
_OPTIONAL_ENDS = (2, 4, 8, 12, 16, 20, 24, 28, 32)


def decode(content: bytes, number: int, offset: int, sb: SuperblockValues) -> Record:
    """Return an inode from its bytes, whatever they are."""
    size = sb.inode_size
    padded = content if size > EXT4_GOOD_OLD_INODE_SIZE else content.ljust(INODE.size, b"\0")
    fields = InodeFields(*INODE.unpack_from(padded))
    tail = b""
    extra = fields.extra_isize
    if size > EXT4_GOOD_OLD_INODE_SIZE:
        if extra < _OPTIONAL_ENDS[-1]:
            fields = _without(fields, extra)
        if extra and possible_extra(extra, size):
            tail = content[EXT4_GOOD_OLD_INODE_SIZE + extra :]
    wide_size = sb.features.has(f.Incompat.LARGEDIR) or stat.S_ISREG(fields.mode)
    sectors = fields.blocks_lo
    unit = SECTOR
    if sb.features.has(f.RoCompat.HUGE_FILE):
        sectors |= fields.blocks_high << 32
        if fields.flags & EXT4_HUGE_FILE_FL:
            unit = sb.block_size
    return Record(
        number,
        offset,
        content,
        fields,
        fields.size_lo | fields.size_high << 32 if wide_size else fields.size_lo,
        sectors * unit,
        fields.file_acl_lo | (fields.file_acl_high << 32 if sb.features.has(f.Incompat.BIT64) else 0),
        tail,
    )


def _without(fields: InodeFields, extra: int) -> InodeFields:
    """Return the fields, those that end beyond i_extra_isize as 0; it itself stays."""
    missing = [end > max(extra, 2) for end in _OPTIONAL_ENDS]
    kept, optional = fields[: -len(missing)], fields[-len(missing) :]
    values = [0 if gone else value for value, gone in zip(optional, missing, strict=True)]
    return InodeFields._make((*kept, *values))
