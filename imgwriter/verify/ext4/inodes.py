"""Inodes: each one's checksum and fields, its map against its size and i_blocks, and what it owns.

::

    inode table │ unused │ used ── fields ──> a finding each
                             ├── attributes ──> inline data
                             └── map ──> blocks ──> usage, i_blocks, i_size

Every inode is looked at that its group says is initialised, used or not; tables that the image has nothing
for are passed over.

Spec: kernel Documentation/filesystems/ext4/inodes.rst, ifork.rst; fs/ext4/inode.c, ext4_iget().
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from imgwriter.ext4.block_map_walk import little_endian
from imgwriter.ext4.extent_tree import I_BLOCK_SIZE
from imgwriter.ext4.format import (
    EXT4_BAD_INO,
    EXT4_BG_INODE_UNINIT,
    EXT4_EA_INODE_FL,
    EXT4_INDEX_FL,
    EXT4_RESIZE_INO,
    EXT4_VERITY_FL,
)
from imgwriter.ext4.inode_reader import EXTRA_CHECKSUM, inode_checksum
from imgwriter.units import counted, div_ceil
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.extents import ExtentWalk
from imgwriter.verify.ext4.indirect import BlockMapWalk
from imgwriter.verify.ext4.inode_rules import (
    KINDS,
    Rule,
    bad_blocks_rules,
    field_rules,
    largest_size,
    late_times,
    removed_rules,
)
from imgwriter.verify.ext4.mapping import Mapping
from imgwriter.verify.ext4.record import Record, decode
from imgwriter.verify.ext4.reserved import has_attributes, is_unused, unused_rules
from imgwriter.verify.ext4.subject import Subject
from imgwriter.verify.ext4.symlinks import fast_rules, inline_rules, slow_rules
from imgwriter.verify.ext4.xattrs import EXT4_XATTR_SIZE_MAX, Attributes

_CHUNK_INODES = 256
_WITH_CONTENT = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}


class Directory(NamedTuple):
    """A directory whose entries are to be read.

    Attributes:
        inode: Its inode.
        mapping: Where its blocks are; None where it is inline.
        inline_data: What stands behind i_block.
    """

    inode: Record
    mapping: Mapping | None
    inline_data: bytes


class InodePass:
    """Checks every inode of one file system.

    Args:
        special: Inodes whose blocks other checks see to: the number, and what gets the inode.

    Attributes:
        directories: What was found to be one.
    """

    def __init__(self, subject: Subject, special: dict[int, Callable[[Record, Mapping], None]]) -> None:
        self._subject = subject
        self._special = special
        self._attributes = Attributes(subject)
        self.directories: list[Directory] = []

    def run(self, progress: Callable[[int], None]) -> None:
        """Check all of them; ``progress`` is called with each group that is done."""
        for group in sorted(self._subject.groups):
            for number, offset, content in self._initialised(group):
                self._inode(number, offset, content)
            progress(group)
        if self._subject.cut is None:
            self._attributes.verify_counts()

    def _initialised(self, group: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (number, offset, bytes) of a group's inodes that are not all zeros."""
        subject, sb = self._subject, self._subject.superblock
        descriptor = subject.groups[group]
        if not descriptor.inode_table or (subject.lazy and descriptor.flags & EXT4_BG_INODE_UNINIT):
            return
        count = sb.inodes_per_group
        if subject.lazy:
            count = max(count - descriptor.itable_unused, 0)
        size = sb.inode_size
        base = descriptor.inode_table * sb.block_size
        done = 0
        for low, high in subject.device.allocated(base, count * size):
            for first in range(max((low - base) // size, done), div_ceil(high - base, size), _CHUNK_INODES):
                stop = min(first + _CHUNK_INODES, count, div_ceil(high - base, size))
                chunk = subject.device.read(base + first * size, (stop - first) * size)
                done = stop
                if chunk.count(0) == len(chunk):
                    continue
                for at in range(0, len(chunk), size):
                    content = chunk[at : at + size]
                    if content.count(0) != size:
                        index = first + at // size
                        number = group * sb.inodes_per_group + index + 1
                        yield number, subject.device.offset + base + index * size, content

    def _inode(self, number: int, offset: int, content: bytes) -> None:
        subject, sb = self._subject, self._subject.superblock
        inode = decode(content, number, offset, sb)
        self._checksum(inode)
        fields = inode.fields
        if number == EXT4_BAD_INO:
            self._apply(inode, bad_blocks_rules(inode))
            self._blocks(inode, 0)
            return
        if is_unused(number, sb):
            self._unused(inode)
            if fields.links_count and not fields.mode:
                return
        if not fields.links_count and number not in subject.orphans:
            self._apply(inode, removed_rules(inode, sb))
            return
        if number < sb.first_inode and not fields.mode:
            self._blocks(inode, 0)
            return
        subject.inodes[number] = fields.mode | fields.links_count << 16
        self._apply(inode, field_rules(inode, sb, number in subject.orphans))
        for name in late_times(inode):
            found = "2310 or later, or by an old kernel before 1970"
            subject.remarks.note(inode.where, name, offset, "a time before 2310", found, sections.INODES)
        inline_data, elsewhere = self._attributes.check(inode)
        self._content(inode, inline_data, elsewhere)

    def _unused(self, inode: Record) -> None:
        """Check a reserved inode that is not used; the boot loader's may be."""
        self._apply(inode, unused_rules(inode, self._subject.superblock.block_size))
        if has_attributes(inode.number) and not inode.fields.mode:
            _, elsewhere = self._attributes.check(inode)
            self._i_blocks(inode, 0, elsewhere)

    def _apply(self, inode: Record, rules: Iterator[Rule], section: str = sections.INODES) -> None:
        """Make a finding of each rule that is broken."""
        for rule in rules:
            self._find(inode, rule.field, rule.expected, rule.found, section)

    def _checksum(self, inode: Record) -> None:
        seed = self._subject.seed
        if seed is None:
            return
        fields = inode.fields
        stored = fields.checksum_lo
        if fields.extra_isize >= EXTRA_CHECKSUM:
            stored |= fields.checksum_hi << 16
        computed = inode_checksum(inode.content, inode.number, fields.generation, fields.extra_isize, seed)
        if stored != computed:
            expected = f"{computed:#x}, as its bytes give"
            self._find(inode, "i_checksum", expected, f"{stored:#x}", sections.CHECKSUMS)

    # --- what an inode has: blocks, inline data, a target, a device ---

    def _content(self, inode: Record, inline_data: bytes | None, elsewhere: int) -> None:
        if inode.inline:
            self._inline(inode, inline_data, elsewhere)
        elif inode.kind not in _WITH_CONTENT:
            self._special_file(inode, elsewhere)
        elif inode.kind == stat.S_IFLNK and self._is_fast(inode, elsewhere):
            self._apply(inode, fast_rules(inode), sections.IFORK)
            self._i_blocks(inode, 0, elsewhere)
        else:
            mapping = self._blocks(inode, elsewhere)
            self._mapped(inode, mapping)

    def _is_fast(self, inode: Record, elsewhere: int) -> bool:
        """Return whether a symlink's target is in the inode: it has no blocks but its attributes'."""
        attributes = self._subject.superblock.cluster_size if inode.file_acl else 0
        return inode.size < I_BLOCK_SIZE and inode.allocated == attributes + elsewhere

    def _mapped(self, inode: Record, mapping: Mapping) -> None:
        """Check what is in blocks."""
        special = self._special.get(inode.number)
        if special is not None:
            special(inode, mapping)
        if inode.kind == stat.S_IFDIR:
            self.directories.append(Directory(inode, mapping, b""))
            self._directory_size(inode, mapping)
        elif not self._subject.has_runs(mapping.runs):
            self._file_size(inode, mapping)
        elif inode.kind == stat.S_IFLNK:
            content = b"".join(self._read(mapping, 1))
            self._apply(inode, slow_rules(inode, mapping, content), sections.IFORK)
        else:
            self._file_size(inode, mapping)
            if inode.has(EXT4_EA_INODE_FL):
                size = min(inode.size, EXT4_XATTR_SIZE_MAX)
                blocks = self._read(mapping, div_ceil(size, self._subject.superblock.block_size))
                self._attributes.add_value(inode, b"".join(blocks))

    def _read(self, mapping: Mapping, count: int) -> list[bytes]:
        """Return the first blocks of a file, as many of ``count`` as follow each other; each is read once."""
        blocks: list[bytes] = []
        for logical, start, length in mapping.pieces:
            if logical != len(blocks) or logical >= count:
                break
            for block in range(start, start + min(length, count - logical)):
                if not self._subject.first_read(block):
                    return blocks
                blocks.append(self._subject.device.block(block))
        return blocks

    def _blocks(self, inode: Record, elsewhere: int) -> Mapping:
        """Walk an inode's map, note its blocks, and compare i_blocks with them."""
        mapping = (
            ExtentWalk(self._subject, inode).mapping
            if inode.extents
            else BlockMapWalk(self._subject, inode).mapping
        )
        self._missing(inode, mapping)
        if inode.number == EXT4_BAD_INO:
            if mapping.runs:
                found = counted(sum(p.length for p in mapping.pieces), "bad block")
                self._subject.remarks.note(
                    inode.where, "i_block", inode.offset, "none", found, sections.SPECIAL
                )
            self._subject.usage.add(inode.number, mapping.runs)
            return mapping
        if inode.number == EXT4_RESIZE_INO and inode.number in self._special:
            return mapping  # most of its blocks are the file system's own
        clusters = self._subject.usage.add(inode.number, mapping.runs)
        if mapping.whole:
            self._i_blocks(inode, clusters, elsewhere)
        return mapping

    def _missing(self, inode: Record, mapping: Mapping) -> None:
        """Note an inode that has blocks behind the end of a cut off image."""
        if cut := self._subject.cut:
            runs = [*mapping.runs, (inode.file_acl, inode.file_acl + 1)]
            lacking = [run for run in runs if cut.miss(*run, f"inode {inode.number:,}")]
            cut.inodes += bool(lacking)

    def _i_blocks(self, inode: Record, clusters: int, elsewhere: int) -> None:
        sb = self._subject.superblock
        if inode.file_acl and not self._subject.has_block(inode.file_acl):
            return
        expected = (clusters + bool(inode.file_acl)) * sb.cluster_size + elsewhere
        if inode.allocated != expected and inode.number not in self._subject.orphans:
            found = f"{inode.allocated // 512:,}"
            self._find(inode, "i_blocks", f"{expected // 512:,}, as it has blocks", found)

    def _directory_size(self, inode: Record, mapping: Mapping) -> None:
        block_size = self._subject.superblock.block_size
        if mapping.unwritten:
            self._find(inode, "ee_len", "written blocks in a directory", "unwritten ones", sections.IFORK)
        if not mapping.whole:
            return
        if not inode.size or inode.size % block_size or inode.size != mapping.end * block_size:
            self._find(inode, "i_size", f"{mapping.end * block_size:,}, as it has blocks", f"{inode.size:,}")

    def _file_size(self, inode: Record, mapping: Mapping) -> None:
        block_size = self._subject.superblock.block_size
        most = largest_size(block_size, extents=inode.extents)
        if inode.size > most:
            self._find(inode, "i_size", f"{most:,} at most", f"{inode.size:,}")
        least = mapping.last_written * block_size
        if inode.size < least and inode.number not in self._subject.orphans and not inode.has(EXT4_VERITY_FL):
            expected = f"more than {least:,}, as a block is written there"
            self._find(inode, "i_size", expected, f"{inode.size:,}")

    def _special_file(self, inode: Record, elsewhere: int) -> None:
        """Check a device, a pipe or a socket: no content, and a number in two words at most."""
        if inode.kind not in KINDS:
            return
        if inode.size:
            self._find(inode, "i_size", "0, as it has no content", f"{inode.size:,}")
        words = little_endian(inode.fields.block)
        if inode.extents or inode.has(EXT4_INDEX_FL):
            found = f"{inode.fields.flags:#x}"
            self._find(inode, "i_flags", "no EXTENTS, no INDEX, as it has no content", found)
        elif any(words[4:]):
            self._find(inode, "i_block", "no blocks, as it has no content", "something", sections.IFORK)
        self._i_blocks(inode, 0, elsewhere)

    def _inline(self, inode: Record, inline_data: bytes | None, elsewhere: int) -> None:
        if inline_data is None:
            self._find(inode, "system.data", "an attribute, for inline data", "none", sections.INLINE_DATA)
            inline_data = b""
        room = I_BLOCK_SIZE + len(inline_data)
        if inode.kind == stat.S_IFDIR:
            self.directories.append(Directory(inode, None, inline_data))
            if inode.size != room:
                self._find(
                    inode, "i_size", f"{room:,}, as it has inline", f"{inode.size:,}", sections.INLINE_DATA
                )
        elif inode.kind == stat.S_IFLNK:
            self._apply(inode, inline_rules(inode, inode.fields.block + inline_data), sections.IFORK)
        elif inode.size > largest_size(self._subject.superblock.block_size, extents=False):
            self._find(
                inode, "i_size", f"{room:,}, as it has inline", f"{inode.size:,}", sections.INLINE_DATA
            )
        elif inode.size != room and (inline_data or inode.size > room):
            # mke2fs makes such of files that end in a hole.
            self._subject.remarks.note(
                inode.where,
                "i_size",
                inode.offset,
                f"{room:,}, as it has inline",
                f"{inode.size:,}",
                sections.INLINE_DATA,
            )
        self._i_blocks(inode, 0, elsewhere)

    def _find(
        self, inode: Record, field: str, expected: str, found: str, section: str = sections.INODES
    ) -> None:
        self._subject.remarks.find(inode.where, field, inode.offset, expected, found, section)
