"""Extended attributes: in the inode first, then in one block that inodes with the same ones share.

Both places hold a list of entries that grows from the front and the values, which grow from the end::

    inode tail  | magic | entry | entry | 0 |   free   | value | value |    offsets count from the first entry
    block       | ext4_xattr_header | entry | 0 | free | value | value |    offsets count from the block

A prefix of the name is kept as a number (``user.`` = 1); POSIX ACLs are a number with no name at all, and
have a form of their own on disk: version 1, in which entries without an id are short.

Thousands of files bear the same attributes. So a plan is a pure function of the attributes, kept by
them, and equal blocks are equal bytes: whoever numbers blocks needs one for each 1,024 inodes.

Invariants: entries are sorted by (name index, name length, name), which the kernel's search of a block
needs; values are padded with zeros to 4 bytes; ``e_hash`` is zero in the inode, as the kernel leaves it,
and in a block a hash of name and value, whose combination ``h_hash`` is how the kernel finds blocks to share.
The hash takes the name's bytes as unsigned: kernels before 6.2 took them as signed, which differs for names
that are not ASCII; either is accepted by e2fsck 1.47, and a kernel that finds the other only shares less.

Spec: kernel Documentation/filesystems/ext4/attributes.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from imgwriter.errors import UnrepresentableError, show
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.format import EXT4_GOOD_OLD_INODE_SIZE

EXT4_XATTR_MAGIC = 0xEA020000

EXT4_XATTR_REFCOUNT_MAX = 1024
"""Inodes that may share a block."""

XATTR_HEADER = struct.Struct("<IIIII12x")
"""struct ext4_xattr_header: h_magic, h_refcount, h_blocks, h_hash, h_checksum, h_reserved."""

XATTR_IBODY_HEADER = struct.Struct("<I")
"""struct ext4_xattr_ibody_header: h_magic."""

XATTR_ENTRY = struct.Struct("<BBHIII")
"""struct ext4_xattr_entry without its name: e_name_len, e_name_index, e_value_offs, e_value_inum,
e_value_size, e_hash."""

XATTR_NAME_MAX = 255
"""The longest full name, in bytes (kernel include/uapi/linux/limits.h)."""

PREFIXES = ((b"user.", 1), (b"trusted.", 4), (b"security.", 6))
"""Prefixes of names, and the e_name_index that stands for each."""
ACL_NAMES = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
"""Names that are an e_name_index alone."""
_END = 4
"""Bytes of the zero that ends the entries."""

ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_ACL_TAGS = (ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER)

_ACL_XATTR_ENTRY = struct.Struct("<HHI")
"""struct posix_acl_xattr_entry, after a le32 version 2, and ext4_acl_entry: e_tag, e_perm, e_id."""

_ACL_ENTRY_SHORT = struct.Struct("<HH")
"""ext4_acl_entry_short: e_tag, e_perm; after a le32 version 1 (ext4_acl_header)."""

_NOBODY = 0xFFFFFFFF
"""-1: no user or group has this number."""

_ACL_XATTR_VERSION = struct.pack("<I", 2)
_ACL_DISK_VERSION = struct.pack("<I", 1)


class XattrPlan(NamedTuple):
    """Where the attributes of an inode go.

    Attributes:
        inline: What stands in the inode from ``128 + i_extra_isize`` to its end; b"" for nothing.
        block: The inode's attribute block, its reference count and checksum zero, or None; inodes with
            equal blocks may share one (:func:`finish_block`).
    """

    inline: bytes
    block: bytes | None


class _Attribute(NamedTuple):
    """An attribute in its form on disk; sorts as the kernel wants it."""

    name_index: int
    name_len: int
    name: bytes
    value: bytes
    full_name: bytes

    @property
    def size(self) -> int:
        """Bytes of the entry and the value, each rounded up to 4."""
        return XATTR_ENTRY.size + _round(len(self.name)) + _round(len(self.value))


class XattrPlanner:
    """Plans the attributes of the inodes of one file system, each set of them once.

    Args:
        block_size: Bytes in a block.
        inode_size: Bytes in an inode on disk.
        extra_isize: ``i_extra_isize``, 0 with 128-byte inodes.
    """

    def __init__(self, *, block_size: int, inode_size: int = 256, extra_isize: int = 32) -> None:
        self._inline_size = max(inode_size - EXT4_GOOD_OLD_INODE_SIZE - extra_isize, 0)
        self._inline_room = max(self._inline_size - XATTR_IBODY_HEADER.size - _END, 0)
        self._block_size = block_size
        self._block_room = block_size - XATTR_HEADER.size - _END
        self._plans: dict[tuple[tuple[bytes, bytes], ...], XattrPlan] = {}

    def plan(self, xattrs: Mapping[bytes, bytes], path: bytes = b"") -> XattrPlan:
        """Return where the attributes go.

        Args:
            xattrs: Values by full name; POSIX ACLs in the kernel's form (version 2).
            path: The inode's path, for messages.

        Raises:
            UnrepresentableError: ext4 has no form for a name, an ACL is damaged, or they do not fit.
        """
        key = tuple(sorted(xattrs.items()))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._plan(
                [_attribute(name, xattrs[name], path) for name, _ in key], path
            )
        return plan

    def _plan(self, attributes: list[_Attribute], path: bytes) -> XattrPlan:
        attributes.sort()
        inline, rest = _divide(attributes, attributes, self._inline_room)
        if _size(rest) > self._block_room:
            largest_first = sorted(attributes, key=lambda attribute: -attribute.size)
            inline, rest = _divide(attributes, largest_first, self._inline_room)
        if _size(rest) > self._block_room:
            raise self._too_large(attributes, path)
        return XattrPlan(
            _encode_inline(inline, self._inline_size) if inline else b"",
            _encode_block(rest, self._block_size) if rest else None,
        )

    def _too_large(self, attributes: Sequence[_Attribute], path: bytes) -> UnrepresentableError:
        sizes = ", ".join(f"{show(a.full_name)}: {a.size:,}" for a in attributes)
        inline, block = self._inline_room, self._block_room
        return UnrepresentableError(
            f"{show(path) or '/'}: its extended attributes need {_size(attributes):,} bytes ({sizes}), but"
            f" the inode has {inline:,} and one block {block:,};"
            " leave some out with --xattrs or take larger blocks",
            path,
        )


def finish_block(content: bytes, refcount: int, block_number: int, fs_seed: int | None) -> bytes:
    """Return an attribute block as it is written.

    Args:
        content: ``XattrPlan.block``.
        refcount: Inodes that share it, 1 to EXT4_XATTR_REFCOUNT_MAX.
        block_number: Where it is written; its checksum depends on it.
        fs_seed: ``checksum.fs_seed`` of the file system; None: no metadata_csum.
    """
    magic, _, blocks, block_hash, _ = XATTR_HEADER.unpack_from(content)
    entries = content[XATTR_HEADER.size :]
    header = XATTR_HEADER.pack(magic, refcount, blocks, block_hash, 0)
    if fs_seed is None:
        return header + entries
    checksum = crc32c(entries, crc32c(header, crc32c(struct.pack("<Q", block_number), fs_seed)))
    return XATTR_HEADER.pack(magic, refcount, blocks, block_hash, checksum) + entries


def acl_to_disk(value: bytes) -> bytes | None:
    """Return a POSIX ACL in ext4's form, or None when it is not a valid one.

    Valid means what posix_acl_valid() in fs/posix_acl.c asks: the owner, named users, the group, named
    groups, a mask (which named ones need) and the others, in this order.

    Args:
        value: As getxattr gives it: le32 version 2, then (le16 tag, le16 permissions, le32 id).
    """
    if value[:4] != _ACL_XATTR_VERSION or (len(value) - 4) % _ACL_XATTR_ENTRY.size:
        return None
    pieces = [_ACL_DISK_VERSION]
    tags = []
    for entry in _ACL_XATTR_ENTRY.iter_unpack(value[4:]):
        tag, permissions, owner = entry
        named = tag in (ACL_USER, ACL_GROUP)
        if permissions > 7 or (named and owner == _NOBODY):
            return None
        pieces.append(_ACL_XATTR_ENTRY.pack(*entry) if named else _ACL_ENTRY_SHORT.pack(*entry[:2]))
        tags.append(tag)
    return b"".join(pieces) if _valid_tags(tags) else None


def acl_from_disk(value: bytes) -> bytes | None:
    """Return a POSIX ACL in the kernel's form from ext4's, or None when it is none.

    Tags are taken as they are, in their order, as fs/ext4/acl.c does.

    Args:
        value: le32 version 1, then (le16 tag, le16 permissions), and a le32 id after those of named ones.
    """
    if value[:4] != _ACL_DISK_VERSION:
        return None
    pieces = [_ACL_XATTR_VERSION]
    at = 4
    while at < len(value):
        named = value[at] in (ACL_USER, ACL_GROUP)
        layout = _ACL_XATTR_ENTRY if named else _ACL_ENTRY_SHORT
        if at + layout.size > len(value):
            return None
        tag, permissions, *owner = layout.unpack_from(value, at)
        if tag not in _ACL_TAGS:
            return None
        pieces.append(_ACL_XATTR_ENTRY.pack(tag, permissions, owner[0] if named else _NOBODY))
        at += layout.size
    return b"".join(pieces)


def _valid_tags(tags: Sequence[int]) -> bool:
    named = tags.count(ACL_USER) + tags.count(ACL_GROUP)
    masks = tags.count(ACL_MASK)
    single = [tags.count(tag) for tag in (ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_OTHER)]
    return (
        single == [1, 1, 1]
        and masks in ((1,) if named else (0, 1))
        and len(tags) == named + masks + 3
        and all(a <= b for a, b in pairwise(tags))
    )


def _attribute(full_name: bytes, value: bytes, path: bytes) -> _Attribute:
    """Bring one attribute into its form on disk."""
    if full_name in ACL_NAMES:
        acl = acl_to_disk(value)
        if acl is None:
            raise _refuse(
                full_name, path, "is not a valid POSIX ACL; set it anew or leave it out with --xattrs"
            )
        return _Attribute(ACL_NAMES[full_name], 0, b"", acl, full_name)
    for prefix, index in PREFIXES:
        name = full_name.removeprefix(prefix)
        if name != full_name:
            if not name or len(full_name) > XATTR_NAME_MAX or b"\0" in name:
                raise _refuse(
                    full_name,
                    path,
                    f"needs a name of 1 to {XATTR_NAME_MAX - len(prefix)} bytes after its prefix"
                    ", without a zero byte; rename it or leave it out with --xattrs",
                )
            return _Attribute(index, len(name), name, value, full_name)
    raise _refuse(
        full_name,
        path,
        "is none that Linux keeps on ext4 (user, trusted, security, POSIX ACLs); leave it out with --xattrs",
    )


def _refuse(full_name: bytes, path: bytes, what: str) -> UnrepresentableError:
    return UnrepresentableError(f"{show(path) or '/'}: extended attribute {show(full_name)} {what}", path)


def _round(size: int) -> int:
    return (size + 3) & ~3


def _size(attributes: Sequence[_Attribute]) -> int:
    return sum(attribute.size for attribute in attributes)


def _divide(
    attributes: Sequence[_Attribute], priority: Sequence[_Attribute], room: int
) -> tuple[list[_Attribute], list[_Attribute]]:
    """Choose by ``priority`` what fits into ``room``; return these and the rest, both in the order given."""
    chosen = set()
    for attribute in priority:
        if attribute.size <= room:
            room -= attribute.size
            chosen.add(attribute.full_name)
    return (
        [attribute for attribute in attributes if attribute.full_name in chosen],
        [attribute for attribute in attributes if attribute.full_name not in chosen],
    )


def _encode_inline(attributes: Sequence[_Attribute], size: int) -> bytes:
    room = size - XATTR_IBODY_HEADER.size
    entries, values = _encode_entries(attributes, room, [0] * len(attributes))
    return (
        XATTR_IBODY_HEADER.pack(EXT4_XATTR_MAGIC)
        + entries
        + bytes(room - len(entries) - len(values))
        + values
    )


def _encode_block(attributes: Sequence[_Attribute], block_size: int) -> bytes:
    hashes = [entry_hash(a.name, a.value) for a in attributes]
    entries, values = _encode_entries(attributes, block_size, hashes)
    header = XATTR_HEADER.pack(EXT4_XATTR_MAGIC, 0, 1, block_hash(hashes), 0)
    return header + entries + bytes(block_size - len(header) - len(entries) - len(values)) + values


def _encode_entries(attributes: Sequence[_Attribute], end: int, hashes: Sequence[int]) -> tuple[bytes, bytes]:
    """Return the entries, and the values, whose last byte stands before offset ``end``."""
    entries = []
    values: list[bytes] = []
    for (index, name_len, name, value, _), entry_hash in zip(attributes, hashes, strict=True):
        end -= _round(len(value))
        offset = end if value else 0
        entries += [XATTR_ENTRY.pack(name_len, index, offset, 0, len(value), entry_hash), _padded(name)]
        values.append(_padded(value))
    return b"".join(entries), b"".join(reversed(values))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) & 3)


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def entry_hash(name: bytes, value: bytes, *, signed: bool = False) -> int:
    """Return ``e_hash``: bytes of the name, then le32 words of the padded value.

    Args:
        signed: Take the name's bytes as signed, as kernels before 6.2 do.
    """
    result = 0
    for byte in name:
        result = _rotate(result, 5) ^ (byte | 0xFFFFFF00 if signed and byte & 0x80 else byte)
    for (word,) in struct.iter_unpack("<I", _padded(value)):
        result = _rotate(result, 16) ^ word
    return result


def block_hash(hashes: Sequence[int]) -> int:
    """Return ``h_hash``; zero, "not to be shared", when an entry's hash is zero."""
    if 0 in hashes:
        return 0
    result = 0
    for entry_hash in hashes:
        result = _rotate(result, 16) ^ entry_hash
    return result
