"""Extended attributes of a file system that is read: from the inode, its block, and inodes of one value each.

What Linux shows is read: user, trusted and security attributes, and POSIX ACLs, which become the form that
getxattr gives. Others (Lustre's, the key of an encrypted file) Linux keeps to itself, and so are left out.

Spec: kernel Documentation/filesystems/ext4/attributes.rst; fs/ext4/xattr.c.
"""

from __future__ import annotations

import struct
from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping

from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.device import Device, damaged
from imgwriter.ext4.inode_reader import InodeRecord
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.ext4.xattr import (
    ACL_NAMES,
    EXT4_XATTR_MAGIC,
    PREFIXES,
    XATTR_ENTRY,
    XATTR_HEADER,
    XATTR_IBODY_HEADER,
    acl_from_disk,
)
from imgwriter.tree.inventory import NO_XATTRS

_PREFIX_OF = {index: prefix for prefix, index in PREFIXES}
_ACL_OF = {index: name for name, index in ACL_NAMES.items()}
_SYSTEM = 7
"""e_name_index of "system."; its "data" is the rest of inline data."""
_END = 4
"""Bytes of the zero that ends the entries."""
_CHECKSUM_AT = 16
"""Offset of h_checksum in the header."""

ValueReader = Callable[[int, int, InodeRecord], bytes]
"""Called with the inode that holds a value, the value's size, and the inode that has the attribute."""


class XattrReader:
    """Reads the attributes of the inodes of one file system, each block of them once.

    Args:
        read_value: Reads a value that has an inode of its own.
        claim: Called with each block that is read, and its inode.
        verify: Check the blocks' checksums.
    """

    def __init__(
        self,
        device: Device,
        superblock: SuperblockValues,
        read_value: ValueReader,
        claim: Callable[[int, int, str], None],
        verify: bool,
    ) -> None:
        self._device = device
        self._superblock = superblock
        self._read_value = read_value
        self._claim = claim
        self._seed = superblock.seed if verify and superblock.metadata_csum else None
        self._blocks: dict[int, MutableMapping[bytes, bytes]] = {}

    def read(self, inode: InodeRecord) -> tuple[Mapping[bytes, bytes], bytes | None]:
        """Return an inode's attributes, and what stands in it beyond i_block as inline data, or None.

        Raises:
            FormatError: They are damaged.
        """
        inside: MutableMapping[bytes, bytes] = {}
        inline_data = None
        if len(inode.tail) >= XATTR_IBODY_HEADER.size + _END:
            magic = XATTR_IBODY_HEADER.unpack_from(inode.tail)[0]
            if magic == EXT4_XATTR_MAGIC:
                where = f"ext4 inode {inode.number}, extended attributes"
                area = inode.tail[XATTR_IBODY_HEADER.size :]
                inside, inline_data = self._entries(area, 0, inode, where, inode.offset)
        if not inode.file_acl:
            return inside or NO_XATTRS, inline_data
        block = self._blocks.get(inode.file_acl)
        if block is None:
            block = self._blocks[inode.file_acl] = self._block(inode)
        # Both as they are: thousands of inodes may share a block.
        return (ChainMap(inside, block) if inside else block), inline_data

    def _block(self, inode: InodeRecord) -> MutableMapping[bytes, bytes]:
        number = inode.file_acl
        where = f"ext4 extended attribute block {number}"
        if not self._superblock.is_block(number):
            message = f"inode {inode.number:,} has its attributes in block {number:,}"
            message += f", of {self._superblock.blocks:,}"
            raise damaged(message, f"ext4 inode {inode.number}, i_file_acl", inode.offset)
        self._claim(number, inode.number, where)
        content = self._device.block(number)
        offset = self._device.block_offset(number)
        magic, _, blocks, _, checksum = XATTR_HEADER.unpack_from(content)
        if magic != EXT4_XATTR_MAGIC or blocks != 1:
            message = f"block {number:,}, the attributes of inode {inode.number:,}, has h_magic {magic:#x}"
            raise damaged(f"{message} and h_blocks {blocks:,}", where, offset)
        if self._seed is not None:
            zeroed = content[:_CHECKSUM_AT] + bytes(4) + content[_CHECKSUM_AT + 4 :]
            found = crc32c(zeroed, crc32c(struct.pack("<Q", number), self._seed))
            if found != checksum:
                message = f"h_checksum of block {number:,} is {checksum:#010x}, its bytes give {found:#010x}"
                raise damaged(message, where, offset)
        return self._entries(content, XATTR_HEADER.size, inode, where, offset)[0]

    def _entries(
        self, area: bytes, at: int, inode: InodeRecord, where: str, offset: int
    ) -> tuple[MutableMapping[bytes, bytes], bytes | None]:
        """Return the attributes whose entries begin at ``at``, and inline data; values count from 0."""
        found: dict[bytes, bytes] = {}
        inline_data = None
        while area[at : at + _END] != bytes(_END):
            head = at + XATTR_ENTRY.size
            if head > len(area):
                raise _damaged("the entries have no end", inode, where, offset)
            name_len, index, value_at, value_inode, size, _ = XATTR_ENTRY.unpack_from(area, at)
            name = area[head : head + name_len]
            at = head + (name_len + 3 & ~3)
            if at + _END > len(area):
                raise _damaged("the entries have no end", inode, where, offset)
            if value_inode:
                value = self._read_value(value_inode, size, inode)
            elif value_at + size > len(area):
                message = f"a value of {size:,} bytes would stand at {value_at:,}, of {len(area):,}"
                raise _damaged(message, inode, where, offset)
            else:
                value = area[value_at : value_at + size]
            if index == _SYSTEM and name == b"data":
                inline_data = value
            elif index in _PREFIX_OF:
                if not name or b"\0" in name:
                    raise _damaged(f"an attribute has the name {name!r}", inode, where, offset)
                found[_PREFIX_OF[index] + name] = value
            elif index in _ACL_OF and not name:
                acl = acl_from_disk(value)
                if acl is None:
                    raise _damaged("an access control list has another form", inode, where, offset)
                found[_ACL_OF[index]] = acl
        return found, inline_data


def _damaged(what: str, inode: InodeRecord, where: str, offset: int) -> Exception:
    return damaged(f"in the extended attributes of inode {inode.number:,} {what}", where, offset)
