"""Goes through a block map that is read: every run of pointers, direct and indirect, in the file's order.

::

    i_block  | 12 direct | indirect | double | triple |
                   │          └──> visitor.indirect(): its bytes, or nothing to pass it over
                   └── runs of blocks that follow each other ──> visitor.run()

What a pointer that cannot be means is the visitor's: a reader raises, a checker makes a finding and goes on.

Spec: kernel Documentation/filesystems/ext4/ifork.rst, "Direct/Indirect Block Addressing".
"""

from __future__ import annotations

import sys
from array import array
from typing import NamedTuple, Protocol

from imgwriter.ext4.block_map import LEVELS
from imgwriter.ext4.format import EXT4_NDIR_BLOCKS

_NUMBERS = 1 << 32


class Indirect(NamedTuple):
    """A block of pointers: its bytes, and its offset in the Volume."""

    content: bytes
    offset: int


class Visitor(Protocol):
    """Gets what a walk meets. ``parent`` and ``offset`` are where the pointers stand, in the Volume."""

    def indirect(self, block: int, parent: int) -> Indirect | None:
        """Return an indirect block; None: what is below is passed over."""

    def run(self, logical: int, start: int, length: int, offset: int) -> None:
        """Take blocks of content that follow each other, in the file and in the file system."""


def walk_block_map(i_block: bytes, offset: int, end: int, block_size: int, visitor: Visitor) -> None:
    """Go through a map.

    Args:
        i_block: Its 60 bytes.
        offset: Where the inode is, in the Volume.
        end: The logical block before which to stop.
        block_size: Bytes in a block.
        visitor: Gets all that is there; what it raises ends the walk.
    """
    _Walk(end, block_size // 4, visitor).root(little_endian(i_block), offset)


class _Walk(NamedTuple):
    end: int
    pointers: int
    visitor: Visitor

    def root(self, words: array[int], offset: int) -> None:
        self._direct(words[:EXT4_NDIR_BLOCKS], 0, offset)
        base = EXT4_NDIR_BLOCKS
        for level in LEVELS:
            self._indirect(words[EXT4_NDIR_BLOCKS + level - 1], level, base, offset)
            base += self.pointers**level

    def _indirect(self, block: int, level: int, base: int, parent: int) -> None:
        """Go through what is below a pointer to an indirect block; recursion goes three deep."""
        if not block or base >= self.end:
            return
        found = self.visitor.indirect(block, parent)
        if found is None:
            return
        words = little_endian(found.content)
        if level == 1:
            self._direct(words, base, found.offset)
            return
        below = self.pointers ** (level - 1)
        for index, pointer in enumerate(words):
            if pointer:
                self._indirect(pointer, level - 1, base + index * below, found.offset)

    def _direct(self, words: array[int], base: int, offset: int) -> None:
        count = min(len(words), max(self.end - base, 0))
        index = 0
        while index < count:
            start = words[index]
            length = run_length(words, index, count, 1 if start else 0)
            if start:
                self.visitor.run(base + index, start, length, offset)
            index += length


def run_length(pointers: array[int], first: int, stop: int, step: int) -> int:
    """Return how many pointers of [first, stop) follow each other at ``step``: compared many at a time."""
    end, size = first + 1, 1
    while size:
        size = min(size, stop - end)
        expected = pointers[first] + (end - first) * step
        run = range(expected, expected + size * step, step) if step else (expected,) * size
        if size and expected + size * step <= _NUMBERS and pointers[end : end + size] == array("I", run):
            end += size
            size *= 2
        else:
            size //= 2
    return end - first


def little_endian(content: bytes) -> array[int]:
    """Return the le32 words of some bytes."""
    values = array("I", content)
    if sys.byteorder == "big":
        values.byteswap()
    return values
