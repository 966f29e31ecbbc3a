"""Which blocks are in use, and by whom: one bit each, and the runs they came from.

::

    page 0  32,768 bits  |111111..011100|      what is allocated at once has a bit: a block, or a cluster
    page 7               |0011..        |      pages with nothing in use are not there
    runs    (first, end, owner) (first, end, owner) ...

A bit that is set twice is a block with two owners. Who the other one is takes a look through the runs, at the
end, for those that are reported.

Memory is a bit for each block of the pages in use, and 24 bytes for each run.

Spec: kernel Documentation/filesystems/ext4/bitmaps.rst, bigalloc.rst.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

PAGE = 1 << 15
"""Bits of a page: as many as a group of 4 KiB blocks has, and an extent at most."""
_REPORTED = 200
"""Conflicts that are kept; the others are counted."""

OF_THE_FILE_SYSTEM = 0
"""The owner of superblocks, descriptors, bitmaps and inode tables; inodes own by their number."""

Runs = list[tuple[int, int]]
"""Half-open, in blocks of the file system."""


class Bits:
    """A set of small numbers, kept as pages of bits."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}

    def set(self, low: int, high: int) -> int | None:
        """Add [low, high); return the first number that was in it already, if any."""
        pages = self._pages
        twice = None
        while low < high:
            page, at = divmod(low, PAGE)
            count = min(high - low, PAGE - at)
            mask = ((1 << count) - 1) << at
            before = pages.get(page, 0)
            both = before & mask
            if both and twice is None:
                twice = page * PAGE + _lowest(both)
            pages[page] = before | mask
            low += count
        return twice

    def has(self, number: int) -> bool:
        """Return whether a number is in it."""
        page, at = divmod(number, PAGE)
        return bool(self._pages.get(page, 0) >> at & 1)

    def slice(self, low: int, high: int) -> int:
        """Return the integer whose bit n says whether ``low + n`` is in it, for [low, high)."""
        result = 0
        start = low
        while low < high:
            page, at = divmod(low, PAGE)
            count = min(high - low, PAGE - at)
            part = self._pages.get(page, 0) >> at & ((1 << count) - 1)
            result |= part << (low - start)
            low += count
        return result


class Conflict(NamedTuple):
    """A block with two owners, the later one first."""

    block: int
    owner: int
    other: int


class Usage:
    """Who owns which blocks.

    Args:
        first: The first block that has a bit.
        ratio: Blocks that are allocated at once.
    """

    def __init__(self, first: int, ratio: int) -> None:
        self._first = first
        self._ratio = ratio
        self._bits = Bits()
        self._runs = array("q")
        self._conflicts: list[tuple[int, int]] = []
        self.conflicts = 0

    def add(self, owner: int, runs: Runs) -> int:
        """Note all blocks of an owner at once; return how many clusters they are in.

        Clusters may hold several runs of one owner, but a block only one.
        """
        first, ratio = self._first, self._ratio
        total, end, stop_before = 0, 0, 0
        for start, stop in sorted(runs):
            if start < stop_before:
                self._conflict(start, owner)
            stop_before = max(stop_before, stop)
            low, high = max((start - first) // ratio, end), -((first - stop) // ratio)
            if low < high:
                twice = self._bits.set(low, high)
                if twice is not None:
                    self._conflict(twice * ratio + first, owner)
                self._runs.extend((low, high, owner))
                total += high - low
                end = high
        return total

    def used(self, low: int, high: int) -> int:
        """Return the bits of clusters [low, high), counted from the first block."""
        return self._bits.slice(low, high)

    def found_conflicts(self) -> Iterator[Conflict]:
        """Yield blocks with two owners: each case once, as far as they are kept."""
        for block, owner in self._conflicts:
            yield Conflict(block, owner, self._other(block, owner))

    def _other(self, block: int, owner: int) -> int:
        cluster = (block - self._first) // self._ratio
        runs = self._runs
        for at in range(0, len(runs), 3):
            if runs[at] <= cluster < runs[at + 1] and runs[at + 2] != owner:
                return runs[at + 2]
        return owner

    def _conflict(self, block: int, owner: int) -> None:
        self.conflicts += 1
        if len(self._conflicts) < _REPORTED:
            self._conflicts.append((block, owner))


def ones(runs: Iterable[tuple[int, int]]) -> int:
    """Return the integer whose bits of [low, high) are set, for each run."""
    result = 0
    for low, high in runs:
        result |= ((1 << max(high - low, 0)) - 1) << low
    return result


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
