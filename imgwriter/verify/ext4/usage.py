"""Which blocks are in use, and by whom: runs, sorted once all are known.

::

    added    (first, end, owner) (first, end, owner) ...        as inodes have them
    settled  ├──── 2 ────┤├─ 7 ─┤       ├──── 9 ────┤           sorted: what overlaps has two owners
    bits     0111111111111111111000000000111111111111           of any group, to compare with its bitmap

What is counted are clusters: with bigalloc several blocks, otherwise one. Memory is 60 bytes for each run
while they are gathered, however large the file system says it is.

Spec: kernel Documentation/filesystems/ext4/bitmaps.rst, bigalloc.rst.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from imgwriter.verify.remarks import MOST_ALIKE

OF_THE_FILE_SYSTEM = 0
"""The owner of superblocks, descriptors, bitmaps and inode tables; inodes own by their number."""

Runs = list[tuple[int, int]]
"""Half-open, in blocks of the file system."""

_WIDTH = 64
_MASK = (1 << _WIDTH) - 1


class Conflict(NamedTuple):
    """A block with two owners, or with two uses by one."""

    block: int
    owner: int
    other: int


class Usage:
    """Who owns which blocks.

    Args:
        first: The first block that is counted.
        ratio: Blocks that are allocated at once.

    Attributes:
        conflicts: The first of the blocks with two owners; complete when it is settled.
    """

    def __init__(self, first: int, ratio: int) -> None:
        self._first = first
        self._ratio = ratio
        self._added: list[int] = []
        self._lows = array("q")
        self._highs = array("q")
        self.conflicts: list[Conflict] = []

    def add(self, owner: int, runs: Runs) -> int:
        """Note all blocks of an owner at once; return how many clusters they are in.

        A cluster may hold several runs of one owner, but a block only one.
        """
        first, ratio = self._first, self._ratio
        total, end, stop_before = 0, 0, 0
        for start, stop in sorted(runs):
            if start < stop_before:
                self._conflict(Conflict(start, owner, owner))
            stop_before = max(stop_before, stop)
            low, high = max((start - first) // ratio, end), -((first - stop) // ratio)
            if low < high:
                # One integer takes less than half of a tuple's memory, and sorts by its highest part.
                self._added.append((low << _WIDTH | high) << _WIDTH | owner)
                total += high - low
                end = high
        return total

    def settle(self) -> None:
        """Find what has two owners; nothing is added after it."""
        end, end_owner = 0, OF_THE_FILE_SYSTEM
        lows, highs = self._lows, self._highs
        self._added.sort()
        for packed in self._added:
            low, high, owner = packed >> 2 * _WIDTH, packed >> _WIDTH & _MASK, packed & _MASK
            if low < end and lows:
                self._conflict(Conflict(low * self._ratio + self._first, owner, end_owner))
            if lows and low <= end:
                highs[-1] = max(end, high)
            else:
                lows.append(low)
                highs.append(high)
            if high > end:
                end, end_owner = high, owner
        self._added.clear()

    def used(self, low: int, high: int) -> int:
        """Return the integer whose bit n says whether cluster ``low + n`` is in use, for [low, high)."""
        runs = []
        for index in range(max(bisect_right(self._lows, low) - 1, 0), len(self._lows)):
            if self._lows[index] >= high:
                break
            runs.append((max(self._lows[index], low) - low, min(self._highs[index], high) - low))
        return ones(runs)

    def _conflict(self, conflict: Conflict) -> None:
        if len(self.conflicts) <= MOST_ALIKE:
            self.conflicts.append(conflict)


def ones(runs: Iterable[tuple[int, int]]) -> int:
    """Return the integer whose bits of [low, high) are set, for each run."""
    result = 0
    for low, high in runs:
        if low < high:
            result |= ((1 << (high - low)) - 1) << low
    return result
