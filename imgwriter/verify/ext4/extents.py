"""Extent trees: every node's header, checksum, order, and what its entries point to.

::

    i_block | header | idx 0 ... | idx 700 ... |      an index entry says where its child begins;
                          │            └──> 700 ..     the child's first entry says the same, and its
                          └──> 0 .. 699                last one ends before the next index entry begins

A block of the tree is read once: a second way to it is a finding, and not followed.

Spec: kernel Documentation/filesystems/ext4/ifork.rst, Extent Tree; bigalloc.rst.
"""

from __future__ import annotations

from imgwriter.ext4.checksum import crc32c, inode_seed
from imgwriter.ext4.extent_tree import ROOT_ENTRIES, entries_per_block
from imgwriter.ext4.format import (
    EXTENT,
    EXTENT_HEADER,
    EXTENT_IDX,
    EXTENT_MAGIC,
    EXTENT_MAX_LEN,
    EXTENT_TAIL,
)
from imgwriter.ext4.map_reader import LOGICAL_END, MAX_DEPTH
from imgwriter.units import counted
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.mapping import Mapping
from imgwriter.verify.ext4.record import Record
from imgwriter.verify.ext4.subject import Subject


class ExtentWalk:
    """Goes through the tree of one inode.

    Attributes:
        mapping: What was found.
    """

    def __init__(self, subject: Subject, inode: Record) -> None:
        self.mapping = Mapping()
        self._subject = subject
        self._inode = inode
        self._where = f"{inode.where}, extent tree"
        self._next = 0
        self._cluster_of: dict[int, int] = {}
        depth = EXTENT_HEADER.unpack_from(inode.fields.block)[3]
        if depth > MAX_DEPTH:
            self._find("eh_depth", inode.offset, f"{MAX_DEPTH} at most", f"{depth}")
            self.mapping.whole = False
            return
        self._node(inode.fields.block, inode.offset, depth, ROOT_ENTRIES, LOGICAL_END)

    def _node(self, content: bytes, offset: int, depth: int, room: int, stop: int) -> None:
        """Check a node and what is below; it has the logical blocks before ``stop``."""
        magic, entries, most, found_depth, _ = EXTENT_HEADER.unpack_from(content)
        for field, right, expected, found in (
            ("eh_magic", magic == EXTENT_MAGIC, f"{EXTENT_MAGIC:#06x}", f"{magic:#06x}"),
            ("eh_depth", found_depth == depth, f"{depth}", f"{found_depth}"),
            ("eh_max", most == room, f"{room}", f"{most}"),
            ("eh_entries", entries <= room, f"{room} at most", f"{entries}"),
        ):
            if not right:
                self._find(field, offset, expected, found)
                if field != "eh_max":
                    self.mapping.whole = False
                    return
        if not entries and (depth or room != ROOT_ENTRIES):
            self._find("eh_entries", offset, "1 at least", "0")
            return
        body = content[EXTENT_HEADER.size : EXTENT_HEADER.size + entries * EXTENT.size]
        if not depth:
            for logical, length, high, low in EXTENT.iter_unpack(body):
                self._extent(logical, length, low | high << 32, offset, stop)
            return
        index = list(EXTENT_IDX.iter_unpack(body))
        stops = [*(entry[0] for entry in index[1:]), stop]
        for (logical, low, high, _), child_stop in zip(index, stops, strict=True):
            self._child(logical, low | high << 32, depth - 1, offset, child_stop)

    def _child(self, logical: int, block: int, depth: int, offset: int, stop: int) -> None:
        subject = self._subject
        if logical < self._next or stop <= logical:
            self._find("ei_block", offset, f"rising, {self._next:,} at least", f"{logical:,}")
        if not subject.is_run(block, 1):
            self._find("ei_leaf", offset, f"a block below {subject.superblock.blocks:,}", f"{block:,}")
            self.mapping.whole = False
            return
        self.mapping.runs.append((block, block + 1))
        if not subject.has_block(block):
            self.mapping.whole = False
            return
        if not subject.first_read(block):
            self._find("ei_leaf", offset, "a block with one use", f"block {block:,}, which has another")
            self.mapping.whole = False
            return
        content = subject.device.block(block)
        at = subject.device.block_offset(block)
        self._check_tail(content, at)
        first = EXTENT.unpack_from(content, EXTENT_HEADER.size)[0]
        magic, entries, *_ = EXTENT_HEADER.unpack_from(content)
        if magic == EXTENT_MAGIC and entries and first != logical:
            self._find("ei_block", offset, f"{first:,}, with which the node at {at:,} begins", f"{logical:,}")
        self._node(content, at, depth, entries_per_block(len(content)), stop)

    def _check_tail(self, content: bytes, offset: int) -> None:
        seed = self._subject.seed
        if seed is None:
            return
        at = EXTENT_HEADER.size + entries_per_block(len(content)) * EXTENT.size
        stored = EXTENT_TAIL.unpack_from(content, at)[0]
        fields = self._inode.fields
        computed = crc32c(content[:at], inode_seed(seed, self._inode.number, fields.generation))
        if stored != computed:
            expected = f"{computed:#010x}, as its bytes give"
            self._find("et_checksum", offset, expected, f"{stored:#010x}", sections.CHECKSUMS)

    def _extent(self, logical: int, length: int, start: int, offset: int, stop: int) -> None:
        written = length <= EXTENT_MAX_LEN
        count = length if written else length - EXTENT_MAX_LEN
        if not count:
            self._find("ee_len", offset, "1 at least", "0")
            return
        if logical < self._next or logical + count > stop:
            expected = f"blocks from {self._next:,} to {stop - 1:,}"
            self._find("ee_block", offset, expected, f"{count:,} from {logical:,} on")
        self._next = max(logical + count, self._next)
        if not self._subject.is_run(start, count):
            expected = f"blocks below {self._subject.superblock.blocks:,}"
            self._find("ee_start", offset, expected, f"{counted(count, 'block')} at {start:,}")
            self.mapping.whole = False
            return
        if self._subject.ratio > 1:
            self._clusters(logical, start, count, offset)
        self.mapping.add(logical, start, count, written)

    def _clusters(self, logical: int, start: int, count: int, offset: int) -> None:
        """Check that a cluster of the file is one of the file system, and only one."""
        ratio = self._subject.ratio
        if logical % ratio != start % ratio:
            expected = f"a place like logical block {logical:,} in its cluster of {ratio}"
            self._find("ee_start", offset, expected, f"block {start:,}", sections.BIGALLOC)
            return
        for block in (0, count - 1):
            mine, theirs = (logical + block) // ratio, (start + block) // ratio
            before = self._cluster_of.setdefault(theirs, mine)
            if before != mine:
                expected = f"cluster {theirs:,} for cluster {before:,} of the file alone"
                self._find("ee_start", offset, expected, f"for cluster {mine:,} too", sections.BIGALLOC)

    def _find(
        self, field: str, offset: int, expected: str, found: str, section: str = sections.IFORK
    ) -> None:
        self._subject.remarks.find(self._where, field, offset, expected, found, section)
