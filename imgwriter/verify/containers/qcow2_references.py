"""How often each cluster of a file is referred to, and what its refcounts say of that.

::

    references   ├ 1 ┼ 1 ┼ 1 ─ 1 ┼ 0 ┼ 3 ┼ 1 ┤     runs, counted by sorting their starts and stops
    refcounts    ├ 1 ┼ 1 ┼ 0 ─ 0 ┼ 1 ┼ 3 ┼ ? ┤     decoded block by block
                           └ error └ leak  └ of a block that cannot be read: not compared

Spec: docs/interop/qcow2.txt, "Host cluster management".
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from imgwriter.readers.hostfile import HostFile

Counts: TypeAlias = "bytes | array[int]"

_KEPT = 128 << 20
"""Bytes of decoded refcounts that are kept."""


class Stretch(NamedTuple):
    """Clusters [low, high) with the same number of references, not 0."""

    low: int
    high: int
    times: int


class References:
    """Runs of clusters that something refers to."""

    def __init__(self) -> None:
        # 16 bytes a run: compressed clusters are one each, by the million.
        self._starts = array("Q")
        self._stops = array("Q")

    def add(self, low: int, high: int) -> None:
        """Count the clusters [low, high) once more."""
        if self._stops and self._stops[-1] == low:
            self._stops[-1] = high
        elif low < high:
            self._starts.append(low)
            self._stops.append(high)

    def stretches(self) -> Iterator[Stretch]:
        """Yield what is referred to, in the file's order."""
        starts, stops = array("Q", sorted(self._starts)), array("Q", sorted(self._stops))
        low = depth = begun = 0
        for stop in stops:
            while begun < len(starts) and starts[begun] < stop:
                if depth and low < starts[begun]:
                    yield Stretch(low, starts[begun], depth)
                low = starts[begun]
                depth += 1
                begun += 1
            if low < stop:
                yield Stretch(low, stop, depth)
            low = stop
            depth -= 1


class Refcounts:
    """The refcounts of a file, as its blocks have them.

    Args:
        file: The image.
        blocks: Offset of each block in the file, 0 where there is none.
        unread: Not 0 for each block that there is, and that cannot be read: its refcounts are not known.
        bits: Of a refcount: 1 to 64.
        cluster_size: Bytes, of a block.
    """

    def __init__(
        self, file: HostFile, blocks: Sequence[int], unread: Sequence[int], bits: int, cluster_size: int
    ) -> None:
        self.file = file
        self.blocks = blocks
        self.unread = unread
        self.bits = bits
        self.cluster_size = cluster_size
        self.per_block = cluster_size * 8 // bits
        self._decoded: dict[int, Counts] = {}
        self._most = max(_KEPT // (self.per_block * max(bits // 8, 1)), 1)

    def block(self, number: int) -> Counts | None:
        """Return a block's refcounts; None where there is no block, or it is a hole: all are 0."""
        if number >= len(self.blocks) or not self.blocks[number]:
            return None
        found = self._decoded.get(number)
        if found is None:
            offset = self.blocks[number]
            if self.file.is_hole(offset, self.cluster_size):
                return None
            if len(self._decoded) >= self._most:
                del self._decoded[next(iter(self._decoded))]
            content = self.file.read(offset, self.cluster_size, "qcow2 refcount block")
            found = self._decoded[number] = decoded(content, self.bits)
        return found

    def is_known(self, number: int) -> bool:
        """Return whether a block's refcounts are known: where there is no block, all are 0."""
        return number >= len(self.unread) or not self.unread[number]

    def at(self, cluster: int) -> int | None:
        """Return the refcount of a cluster; None where it is not known."""
        number, index = divmod(cluster, self.per_block)
        if not self.is_known(number):
            return None
        block = self.block(number)
        return block[index] if block is not None else 0

    def unknown(self) -> Iterator[tuple[int, int]]:
        """Yield the runs [low, high) of blocks whose refcounts are not known."""
        for run in re.finditer(rb"[^\0]+", bytes(self.unread)):
            yield run.span()

    def ones(self, low: int, high: int) -> int:
        """Return how many of the clusters [low, high) have a refcount of exactly one."""
        count = 0
        while low < high:
            number, index = divmod(low, self.per_block)
            stop = min(high - low + index, self.per_block)
            block = self.block(number)
            if block is not None:
                count += block[index:stop].count(1)
            low += stop - index
        return count


_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}


def decoded(block: bytes, bits: int) -> Counts:
    """Return the refcounts of a block. Those of less than 8 bits begin in the lowest bits of a byte."""
    if bits < 8:
        each = 8 // bits
        mask = (1 << bits) - 1
        result = bytearray(len(block) * each)
        for index in range(each):
            shifted = bytes(byte >> index * bits & mask for byte in range(256))
            result[index::each] = block.translate(shifted)
        return bytes(result)
    if bits == 8:
        return block
    counts = array(_CODES[bits], block)
    if sys.byteorder == "little":
        counts.byteswap()
    return counts


class Difference(NamedTuple):
    """Clusters [low, high) whose refcount is not the number of references to them."""

    low: int
    high: int
    refcount: int
    references: int


def differences(references: References, refcounts: Refcounts) -> Iterator[Difference]:
    """Yield where refcounts and references differ, in the file's order, as far as refcounts are known."""
    last: Difference | None = None
    for each in _differences(references, refcounts):
        if last is not None and last.high == each.low and last[2:] == each[2:]:
            last = last._replace(high=each.high)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last


def _differences(references: References, refcounts: Refcounts) -> Iterator[Difference]:
    per_block = refcounts.per_block
    pending: list[Stretch] = []
    stretches = references.stretches()
    following = next(stretches, None)
    number = 0
    while True:
        low, high = number * per_block, (number + 1) * per_block
        while following is not None and following.low < high:
            pending.append(following)
            following = next(stretches, None)
        block = refcounts.block(number)
        here = [Stretch(max(s.low, low), min(s.high, high), s.times) for s in pending]
        if not refcounts.is_known(number):
            pass
        elif block is None:
            yield from (Difference(s.low, s.high, 0, s.times) for s in here)
        else:
            yield from _in_block(block, here, low)
        pending = [s for s in pending if s.high > high]
        number += 1
        if not pending and number >= len(refcounts.blocks):
            if following is None:
                return
            number = following.low // per_block


def _in_block(block: Counts, here: list[Stretch], first: int) -> Iterator[Difference]:
    """Yield the differences of one block, which begins with the cluster ``first``."""
    at = 0
    for stretch in here:
        yield from _same(block, at, stretch.low - first, 0, first)
        yield from _same(block, stretch.low - first, stretch.high - first, stretch.times, first)
        at = stretch.high - first
    yield from _same(block, at, len(block), 0, first)


def _same(block: Counts, low: int, high: int, references: int, first: int) -> Iterator[Difference]:
    """Yield where the refcounts [low, high) of a block are not ``references``."""
    part = block[low:high]
    if references < 1 << 64 and _count(part, references) == high - low:
        return
    for index, refcount in enumerate(part):
        if refcount != references:
            cluster = first + low + index
            yield Difference(cluster, cluster + 1, refcount, references)


def _count(part: Counts, value: int) -> int:
    if isinstance(part, bytes):
        return part.count(value) if value < 256 else 0
    return part.count(value)
