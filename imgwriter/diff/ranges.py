"""Which bytes of two disks differ: found in chunks, holes passed over.

Memory is two chunks, whatever the disks' size.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from imgwriter.extent import Volume
from imgwriter.units import KiB, MiB, align_down
from imgwriter.window import Window

STEP = 1 * MiB
"""Bytes that are compared at a time."""
GRAIN = 4 * KiB
"""To this many bytes a chunk that differs is narrowed down."""

_NOT_ZERO = re.compile(rb"[^\0]+")


class Side:
    """One of two disks, read in place; the last chunk is kept, since records are read one after the other."""

    __slots__ = ("_cached", "_cached_at", "_starts", "size", "window")

    def __init__(self, volume: Volume) -> None:
        self.window = Window(volume)
        self.size = volume.size
        self._starts = [e.start for e in volume.extents]
        self._cached = b""
        self._cached_at = 0

    def read(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes at ``start``; zeros beyond the disk's end.

        Raises:
            FormatError: The image is damaged there.
            SourceError: It cannot be read, or changed meanwhile.
        """
        at = start - self._cached_at
        if at < 0 or at + length > len(self._cached):
            begin = align_down(start, GRAIN)
            self._cached = self._load(begin, max(start + length - begin, 16 * GRAIN))
            self._cached_at = begin
            at = start - begin
        return self._cached[at : at + length]

    def _load(self, start: int, length: int) -> bytes:
        inside = max(min(length, self.size - start), 0)
        content = self.window.read(start, inside, "disk") if inside else b""
        return content if inside == length else content.ljust(length, b"\0")

    def chunk(self, start: int, length: int) -> bytes:
        """Return bytes that will not be asked for again."""
        return self._load(start, length)

    def next_data(self, offset: int) -> int | None:
        """Return the first offset from ``offset`` on that is in an extent; None where all else is zeros."""
        extents = self.window.extents
        index = max(bisect_right(self._starts, offset) - 1, 0)
        while index < len(extents):
            if extents[index].end > offset:
                return max(extents[index].start, offset)
            index += 1
        return None


def differing(a: Side, b: Side, start_a: int, start_b: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield the half-open intervals of [0, length), in whole grains, in which the two sides differ.

    Args:
        a, b: The disks.
        start_a, start_b: Where the interval begins on each.
        length: Bytes.
    """
    position = 0
    while position < length:
        found = [
            data - start
            for side, start in ((a, start_a), (b, start_b))
            if (data := side.next_data(start + position)) is not None
        ]
        if not found or min(found) >= length:
            return
        position = max(align_down(min(found), GRAIN), position)
        end = min(align_down(position, STEP) + STEP, length)
        one, two = a.chunk(start_a + position, end - position), b.chunk(start_b + position, end - position)
        if one != two:
            yield from _narrowed(one, two, position)
        position = end


def _narrowed(one: bytes, two: bytes, base: int) -> Iterator[tuple[int, int]]:
    pending: tuple[int, int] | None = None
    for at in range(0, len(one), GRAIN):
        end = min(at + GRAIN, len(one))
        if one[at:end] == two[at:end]:
            continue
        if pending is not None and pending[1] == base + at:
            pending = pending[0], base + end
        else:
            if pending is not None:
                yield pending
            pending = base + at, base + end
    if pending is not None:
        yield pending


def xor(one: bytes, two: bytes) -> bytes:
    """Return the bytes in which two strings of one length differ, zero where they are equal."""
    return (int.from_bytes(one, "little") ^ int.from_bytes(two, "little")).to_bytes(len(one), "little")


def runs(difference: bytes) -> Iterator[tuple[int, int]]:
    """Yield the half-open runs of bytes that are not zero."""
    for match in _NOT_ZERO.finditer(difference):
        yield match.span()
