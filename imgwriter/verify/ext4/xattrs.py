"""Extended attributes: entries, values, hashes and checksums, in inodes, in blocks, in inodes of one value.

::

    inode tail │magic│entry│entry│0 │ ... │value│value│
    block      │header│entry│entry│0 │ ... │value│value│ <── i_file_acl of h_refcount inodes
                            └ e_value_inum ──> an inode whose content is the value

A block is read once, and its uses are counted against h_refcount at the end; so are those of inodes that are
values, whose count is in i_ctime and i_version.

Spec: kernel Documentation/filesystems/ext4/attributes.rst, eainode.rst; fs/ext4/xattr.c.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import NamedTuple

from imgwriter.ext4 import features as f
from imgwriter.ext4.checksum import crc32c, fs_seed
from imgwriter.ext4.format import EXT4_EA_INODE_FL
from imgwriter.ext4.xattr import (
    ACL_NAMES,
    EXT4_XATTR_MAGIC,
    XATTR_ENTRY,
    XATTR_HEADER,
    XATTR_IBODY_HEADER,
    acl_from_disk,
    block_hash,
    entry_hash,
)
from imgwriter.units import counted
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.record import Record
from imgwriter.verify.ext4.subject import Subject

EXT4_XATTR_SIZE_MAX = 1 << 24
"""Bytes of the largest value."""
_END = 4
_CHECKSUM_AT = 16
_KNOWN = range(1, 10)
"""e_name_index: user, two ACLs, trusted, lustre, security, system, richacl, encryption."""
_SYSTEM = 7
_ACLS = frozenset(ACL_NAMES.values())


class Attribute(NamedTuple):
    """An entry, and its value where it is beside it."""

    name_index: int
    name: bytes
    value: bytes
    value_inode: int
    value_size: int
    stored_hash: int


class Area(NamedTuple):
    """Where entries and values are.

    Attributes:
        where: What a finding calls it.
        offset: Of the inode or block, in the Volume.
        content: Its bytes; places of values count from its start.
        start: Where the entries begin.
        sealed: Entries are sorted and have hashes: so it is in a block.
    """

    where: str
    offset: int
    content: bytes
    start: int
    sealed: bool


class Attributes:
    """Checks the attributes of all inodes of one file system."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._uses: Counter[int] = Counter()
        self._values: Counter[int] = Counter()
        self._blocks: dict[int, list[Attribute]] = {}
        self._value_owners: dict[int, tuple[int, int]] = {}
        self._found_values: dict[int, tuple[int, int, int]] = {}

    def check(self, inode: Record) -> tuple[bytes | None, int]:
        """Check an inode's attributes.

        Returns:
            (what is behind i_block as inline data or None, bytes that its values have in other inodes).
        """
        inside: list[Attribute] = []
        if len(inode.tail) >= XATTR_IBODY_HEADER.size + _END:
            magic = XATTR_IBODY_HEADER.unpack_from(inode.tail)[0]
            where = f"{inode.where}, extended attributes"
            if magic == EXT4_XATTR_MAGIC:
                inside = self._entries(
                    Area(where, inode.offset, inode.tail[XATTR_IBODY_HEADER.size :], 0, False)
                )
            elif magic:
                # Kernels and e2fsck take it that there are none, and leave what is there.
                expected = f"{EXT4_XATTR_MAGIC:#x} or 0"
                self._subject.remarks.note(
                    where, "h_magic", inode.offset, expected, f"{magic:#x}", sections.ATTRIBUTES
                )
        outside = self._of_block(inode) if inode.file_acl else []
        inline = next((a.value for a in inside if a.name_index == _SYSTEM and a.name == b"data"), None)
        self._unique(inode, inside + outside)
        elsewhere = sum(self._rounded(a.value_size) for a in inside + outside if a.value_inode)
        return inline, elsewhere

    def _rounded(self, size: int) -> int:
        cluster = self._subject.superblock.cluster_size
        return -(-size // cluster) * cluster

    def _unique(self, inode: Record, attributes: list[Attribute]) -> None:
        names = [(a.name_index, a.name) for a in attributes]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            where = f"{inode.where}, extended attributes"
            self._find(
                where, "e_name", inode.offset, "each name once", f"{twice[1]!r} (index {twice[0]}) twice"
            )

    def _of_block(self, inode: Record) -> list[Attribute]:
        subject, number = self._subject, inode.file_acl
        if not subject.superblock.is_block(number):
            expected = f"a block below {subject.superblock.blocks:,}, or 0"
            subject.remarks.find(
                inode.where, "i_file_acl", inode.offset, expected, f"{number:,}", sections.INODES
            )
            return []
        self._uses[number] += 1
        if number not in self._blocks:
            # Its owner is the first inode that was seen with it; the others share it.
            subject.usage.add(inode.number, [(number, number + 1)])
            self._blocks[number] = self._block(number) if subject.first_read(number) else []
        return self._blocks[number]

    def _block(self, number: int) -> list[Attribute]:
        subject = self._subject
        where = f"ext4 extended attribute block {number}"
        content, offset = subject.device.block(number), subject.device.block_offset(number)
        magic, _, blocks, stored_hash, stored = XATTR_HEADER.unpack_from(content)
        if magic != EXT4_XATTR_MAGIC:
            self._find(where, "h_magic", offset, f"{EXT4_XATTR_MAGIC:#x}", f"{magic:#x}")
            return []
        if blocks != 1:
            self._find(where, "h_blocks", offset, "1", f"{blocks:,}")
        if subject.seed is not None:
            zeroed = content[:_CHECKSUM_AT] + bytes(4) + content[_CHECKSUM_AT + 4 :]
            computed = crc32c(zeroed, crc32c(struct.pack("<Q", number), subject.seed))
            if computed != stored:
                expected = f"{computed:#010x}, as its bytes give"
                self._find(where, "h_checksum", offset, expected, f"{stored:#010x}", sections.CHECKSUMS)
        found = self._entries(Area(where, offset, content, XATTR_HEADER.size, True))
        computed_hash = block_hash([a.stored_hash for a in found])
        if stored_hash not in (0, computed_hash):
            self._find(where, "h_hash", offset, f"{computed_hash:#010x} or 0", f"{stored_hash:#010x}")
        return found

    def _entries(self, area: Area) -> list[Attribute]:
        """Return the entries of an area, those before the first that has no end."""
        found: list[Attribute] = []
        values: list[tuple[int, int]] = []
        content, at = area.content, area.start
        while content[at : at + _END] != bytes(_END):
            head = at + XATTR_ENTRY.size
            name_len = content[at] if at < len(content) else 0
            after = head + (name_len + 3 & ~3)
            if after + _END > len(content):
                self._find(area.where, "e_name_len", area.offset, "entries that end in zeros", "no end")
                break
            _, index, value_at, value_inode, size, stored = XATTR_ENTRY.unpack_from(content, at)
            at = after
            value = b""
            if not value_inode:
                if value_at + (size + 3 & ~3) > len(content):
                    expected = f"a value within {len(content):,} bytes"
                    self._find(area.where, "e_value_offs", area.offset, expected, f"{size:,} at {value_at:,}")
                    continue
                value = content[value_at : value_at + size]
                if size:
                    values.append((value_at, value_at + (size + 3 & ~3)))
            name = content[head : head + name_len]
            found.append(Attribute(index, name, value, value_inode, size, stored))
        self._disjoint(area, values, at + _END)
        for attribute in found:
            self._attribute(area, attribute)
        if area.sealed:
            keys = [(a.name_index, len(a.name), a.name) for a in found]
            if keys != sorted(keys):
                self._find(
                    area.where,
                    "e_name",
                    area.offset,
                    "entries sorted by index, length, name",
                    "another order",
                )
        return found

    def _disjoint(self, area: Area, values: list[tuple[int, int]], entries_end: int) -> None:
        end = entries_end
        for low, high in sorted(values):
            if low < end:
                self._find(
                    area.where,
                    "e_value_offs",
                    area.offset,
                    f"{end:,} at least, behind what is before",
                    f"{low:,}",
                )
            end = max(end, high)

    def _attribute(self, area: Area, attribute: Attribute) -> None:
        index, name = attribute.name_index, attribute.name
        if index not in _KNOWN:
            self._subject.remarks.note(
                area.where, "e_name_index", area.offset, f"1 to {_KNOWN[-1]}", f"{index}", sections.ATTRIBUTES
            )
        if b"\0" in name or (not name and index not in _ACLS):
            self._find(
                area.where, "e_name", area.offset, "a name without zeros", f"{name!r} with index {index}"
            )
        if attribute.value_inode:
            self._value_inode(area, attribute)
            return
        stored = attribute.stored_hash
        if stored or area.sealed:
            hashes = [entry_hash(name, attribute.value, signed=signed) for signed in (False, True)]
            if stored not in hashes:
                self._find(area.where, "e_hash", area.offset, f"{hashes[0]:#010x}", f"{stored:#010x}")
        if index in _ACLS and acl_from_disk(attribute.value) is None:
            self._find(area.where, "e_value", area.offset, "an access control list", "something else")

    def _value_inode(self, area: Area, attribute: Attribute) -> None:
        subject, number = self._subject, attribute.value_inode
        if not subject.superblock.features.has(f.Incompat.EA_INODE):
            self._find(area.where, "e_value_inum", area.offset, "0 without ea_inode", f"{number:,}")
            return
        if not subject.superblock.first_inode <= number <= subject.superblock.inodes:
            expected = f"an inode up to {subject.superblock.inodes:,}"
            self._find(area.where, "e_value_inum", area.offset, expected, f"{number:,}")
            return
        self._values[number] += 1
        self._value_owners.setdefault(number, (area.offset, attribute.value_size))
        content = subject.inode_bytes(number)
        if content is None:
            return
        value_hash = int.from_bytes(content[8:12], "little")  # i_atime
        hashes = _hashes_with_inode(attribute.name, value_hash)
        if attribute.stored_hash not in hashes:
            self._find(
                area.where, "e_hash", area.offset, f"{hashes[0]:#010x}", f"{attribute.stored_hash:#010x}"
            )

    def add_value(self, inode: Record, content: bytes) -> None:
        """Check the hash of an inode that is a value, and keep it until its uses are counted.

        Args:
            inode: One with EXT4_EA_INODE_FL.
            content: Its bytes.
        """
        superblock = self._subject.superblock
        seed = superblock.seed if superblock.seed is not None else fs_seed(superblock.uuid)
        if inode.size > EXT4_XATTR_SIZE_MAX:
            expected = f"{EXT4_XATTR_SIZE_MAX:,} at most"
            self._find(inode.where, "i_size", inode.offset, expected, f"{inode.size:,}", sections.EA_INODE)
        computed = crc32c(content[: inode.size], seed)
        if computed != inode.fields.atime:
            expected = f"{computed:#010x}, the value's crc32c"
            self._find(
                inode.where,
                "i_atime",
                inode.offset,
                expected,
                f"{inode.fields.atime:#010x}",
                sections.EA_INODE,
            )
        # The count's low half is in i_version, its high half in i_ctime.
        count = inode.fields.ctime << 32 | inode.fields.version
        self._found_values[inode.number] = inode.offset, inode.size, count

    def verify_counts(self) -> None:
        """Compare the uses that were counted with what blocks and values say of them."""
        device = self._subject.device
        for number, uses in self._uses.items():
            refcount = XATTR_HEADER.unpack_from(device.block(number))[1]
            if refcount != uses:
                where = f"ext4 extended attribute block {number}"
                expected = f"{uses:,}, as inodes have it"
                self._find(where, "h_refcount", device.block_offset(number), expected, f"{refcount:,}")
        for number, (offset, size, count) in self._found_values.items():
            self._verify_value(number, offset, size, count)
        for number in sorted(self._values.keys() - self._found_values.keys()):
            offset, _ = self._value_owners[number]
            found = f"inode {number:,}, which is none (EXT4_EA_INODE_FL is {EXT4_EA_INODE_FL:#x})"
            expected = "an inode that holds a value"
            self._find("ext4 extended attributes", "e_value_inum", offset, expected, found, sections.EA_INODE)

    def _verify_value(self, number: int, offset: int, size: int, count: int) -> None:
        """Compare an inode that is a value with the entries that lead to it."""
        where = f"ext4 inode {number}"
        uses = self._values[number]
        if count != uses:
            expected = f"{counted(uses, 'use')}, as entries have it"
            self._find(where, "l_i_version", offset, expected, f"{count:,}", sections.EA_INODE)
        entry_offset, entry_size = self._value_owners.get(number, (offset, size))
        if entry_size != size:
            expected = f"{entry_size:,}, the e_value_size at {entry_offset:,}"
            self._find(where, "i_size", offset, expected, f"{size:,}", sections.EA_INODE)

    def _find(
        self,
        where: str,
        field: str,
        offset: int,
        expected: str,
        found: str,
        section: str = sections.ATTRIBUTES,
    ) -> None:
        self._subject.remarks.find(where, field, offset, expected, found, section)


def _hashes_with_inode(name: bytes, value_hash: int) -> list[int]:
    """Return the e_hash of an entry whose value is in an inode: the value's hash stands for the value."""
    return [entry_hash(name, struct.pack("<I", value_hash), signed=signed) for signed in (False, True)]
