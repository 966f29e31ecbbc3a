"""Block maps of ext2 and ext3: every pointer, direct and indirect.

Unlike a reader this goes through all of a map, also through what is beyond i_size: those blocks are in use.

Spec: kernel Documentation/filesystems/ext4/ifork.rst, Direct/Indirect Block Addressing.
"""

from __future__ import annotations

from imgwriter.ext4.block_map import max_blocks
from imgwriter.ext4.block_map_walk import Indirect, walk_block_map
from imgwriter.units import counted
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.mapping import Mapping
from imgwriter.verify.ext4.record import Record
from imgwriter.verify.ext4.subject import Subject


class BlockMapWalk:
    """Goes through the block map of one inode.

    Attributes:
        mapping: What was found.
    """

    def __init__(self, subject: Subject, inode: Record) -> None:
        self.mapping = Mapping()
        self._subject = subject
        self._where = f"{inode.where}, block map"
        block_size = subject.superblock.block_size
        walk_block_map(inode.fields.block, inode.offset, max_blocks(block_size), block_size, self)

    def indirect(self, block: int, parent: int) -> Indirect | None:
        """Return an indirect block, None where it cannot be one."""
        subject = self._subject
        if not subject.is_run(block, 1):
            self._outside(block, 1, parent)
            return None
        self.mapping.runs.append((block, block + 1))
        if not subject.has_block(block):
            self.mapping.whole = False
            return None
        if not subject.first_read(block):
            self._find(parent, "a block with one use", f"block {block:,}, which has another")
            self.mapping.whole = False
            return None
        return Indirect(subject.device.block(block), subject.device.block_offset(block))

    def run(self, logical: int, start: int, length: int, offset: int) -> None:
        """Add blocks of content, if they are in the file system."""
        if self._subject.is_run(start, length):
            self.mapping.add(logical, start, length)
        else:
            self._outside(start, length, offset)

    def _outside(self, start: int, length: int, offset: int) -> None:
        self.mapping.whole = False
        expected = f"blocks below {self._subject.superblock.blocks:,}"
        self._find(offset, expected, f"{counted(length, 'block')} at {start:,}")

    def _find(self, offset: int, expected: str, found: str) -> None:
        self._subject.remarks.find(self._where, "i_block", offset, expected, found, sections.IFORK)
