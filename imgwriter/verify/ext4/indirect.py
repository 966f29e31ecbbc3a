"""Block maps of ext2 and ext3: every pointer, direct and indirect.

Unlike a reader this goes through all of a map, also through what is beyond i_size: those blocks are in use.

Spec: kernel Documentation/filesystems/ext4/ifork.rst, Direct/Indirect Block Addressing.
"""

from __future__ import annotations

import sys
from array import array

from imgwriter.ext4.block_map import LEVELS
from imgwriter.ext4.format import EXT4_NDIR_BLOCKS
from imgwriter.ext4.map_reader import run_length
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
        self._pointers = subject.superblock.block_size // 4
        pointers = little_endian(inode.fields.block)
        self._direct(pointers[:EXT4_NDIR_BLOCKS], 0, inode.offset)
        base = EXT4_NDIR_BLOCKS
        for level in LEVELS:
            self._indirect(pointers[EXT4_NDIR_BLOCKS + level - 1], level, base, inode.offset)
            base += self._pointers**level

    def _indirect(self, block: int, level: int, base: int, parent: int) -> None:
        """Add what is below a pointer to an indirect block; recursion goes three deep."""
        subject = self._subject
        if not block:
            return
        if not subject.is_run(block, 1):
            self._outside(block, 1, parent)
            return
        self.mapping.runs.append((block, block + 1))
        if not subject.has_block(block):
            self.mapping.whole = False
            return
        if not subject.first_read(block):
            self._find(parent, "a block with one use", f"block {block:,}, which has another")
            self.mapping.whole = False
            return
        pointers = little_endian(subject.device.block(block))
        offset = subject.device.block_offset(block)
        if level == 1:
            self._direct(pointers, base, offset)
            return
        below = self._pointers ** (level - 1)
        for index, pointer in enumerate(pointers):
            if pointer:
                self._indirect(pointer, level - 1, base + index * below, offset)

    def _direct(self, pointers: array[int], base: int, offset: int) -> None:
        index, count = 0, len(pointers)
        while index < count:
            start = pointers[index]
            length = run_length(pointers, index, count, 1 if start else 0)
            if start:
                if self._subject.is_run(start, length):
                    self.mapping.add(base + index, start, length)
                else:
                    self._outside(start, length, offset)
            index += length

    def _outside(self, start: int, length: int, offset: int) -> None:
        self.mapping.whole = False
        expected = f"blocks below {self._subject.superblock.blocks:,}"
        self._find(offset, expected, f"{length:,} blocks at {start:,}")

    def _find(self, offset: int, expected: str, found: str) -> None:
        self._subject.remarks.find(self._where, "i_block", offset, expected, found, sections.IFORK)


def little_endian(content: bytes) -> array[int]:
    """Return the le32 words of some bytes."""
    values = array("I", content)
    if sys.byteorder == "big":
        values.byteswap()
    return values
