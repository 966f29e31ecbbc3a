"""Leave out what is zero: blocks that were written as zeros become holes, or clusters without a place.

::

    before   ├──────── extent ────────────────┤        reads: data | 0 | 0 | data | data
    after    ├ data ┤         ├─── data ──────┤        the same Data, two parts of it

Most blocks of a file tell by their first bytes that they are not zero, and most compressed ones by their
length: the others are read whole. Other data is produced a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias, runtime_checkable

from imgwriter.extent import CHUNK, Buffer, Data, Extent, Volume
from imgwriter.filedata import HandleSlice
from imgwriter.units import KiB, align_up

BLOCK = 64 * KiB
"""The usual cluster of a qcow2, and a step that does not cut files into pieces too small to move."""

_HEAD = 4 * KiB
"""Bytes of a block that are looked at first: a page, which the kernel has to find for less, too."""


Told: TypeAlias = Callable[[int, int], bool]
"""Called with (start, stop), bytes of a Data: whether they are known not to be all zero."""


@runtime_checkable
class Sure(Protocol):
    """A Data that knows of some of its parts, without reading them, that they are not zero."""

    def surely_not_zero(self, start: int, stop: int) -> bool:
        """Return whether [start, stop) holds a byte that is not zero; False where that is not known."""
        ...


def drop_zeros(
    volume: Volume, block: int = BLOCK, progress: Callable[[int], None] = lambda count: None
) -> Volume:
    """Return a volume of the same bytes whose extents have no block that is all zero.

    Args:
        volume: All of its extents are looked at.
        block: Bytes of a block, counted from the start of the volume: best the target's cluster. What an
            extent has of a block at its own start and end counts as a block.
        progress: Called after each chunk or block, with its bytes.

    Raises:
        SourceError: A source cannot be read, or is not what was scanned.
        FormatError: A compressed cluster is damaged.
    """
    # A bytearray on the left compares by memcmp; a memoryview on the left goes item by item.
    zeros = bytearray(align_up(CHUNK, block))
    zero_block = zeros[:block]
    extents = []
    for e in volume.extents:
        told = _teller(e.data, zeros) if block >= BLOCK else None
        if told:
            runs = _runs_told(e, told, block, zeros, progress)
        else:
            runs = _runs(e, block, zeros, zero_block, progress)
        for start, stop in _joined(runs):
            extents.append(Extent(start, stop - start, e.data, e.data_start + start - e.start, e.label))
    return Volume(volume.size, extents)


def _runs(
    e: Extent, block: int, zeros: bytearray, zero_block: bytearray, progress: Callable[[int], None]
) -> Iterator[tuple[int, int]]:
    """Yield the blocks of an extent that are not zero, as intervals of the volume."""
    shift = e.data_start - e.start
    low = e.start
    while low < e.end:
        high = min((low // len(zeros) + 1) * len(zeros), e.end)
        content = _content(e.data, low + shift, high + shift)
        # Most chunks are found all zero, or not, by their first bytes: the blocks are looked at only then.
        if (zeros if high - low == len(zeros) else zeros[: high - low]) != content:
            yield from _blocks(content, low, block, zero_block)
        progress(high - low)
        low = high


def _runs_told(
    e: Extent, told: Told, block: int, zeros: bytearray, progress: Callable[[int], None]
) -> Iterator[tuple[int, int]]:
    """Yield what :func:`_runs` yields, having read only the blocks that are not told to hold something."""
    shift = e.data_start - e.start
    file = e.data if isinstance(e.data, HandleSlice) else None
    low = expected = e.start
    while low < e.end:
        high = min((low // block + 1) * block, e.end)
        if file and low >= expected:
            expected = min(max(low + CHUNK, high), e.end)
            file.expect(low + shift, expected + shift)
        if told(low + shift, high + shift) or _any(e.data, low + shift, high + shift, zeros):
            yield low, high
        progress(high - low)
        low = high
    if file:
        file.verify()


def _teller(data: Data, zeros: bytearray) -> Told | None:
    """Return what tells cheaply that an interval of ``data`` is not zero, where there is such a thing."""
    if isinstance(data, Sure):
        return data.surely_not_zero
    if not isinstance(data, HandleSlice):
        return None
    head, zero_head = memoryview(bytearray(_HEAD)), zeros[:_HEAD]

    def told_by_its_start(start: int, stop: int) -> bool:
        if stop - start < _HEAD:
            return False
        data.peek(head, start)
        return zero_head != head

    return told_by_its_start


def _any(data: Data, start: int, stop: int, zeros: bytearray) -> bool:
    """Return whether some byte of [start, stop) is not zero."""
    return any(zeros[: len(piece)] != piece for piece in data.chunks(start, stop))


def _blocks(content: memoryview, start: int, block: int, zero_block: bytearray) -> Iterator[tuple[int, int]]:
    stop = start + len(content)
    low = start
    while low < stop:
        high = min((low // block + 1) * block, stop)
        zero = zero_block if high - low == block else zero_block[: high - low]
        if zero != content[low - start : high - start]:
            yield low, high
        low = high


def _content(data: Data, start: int, stop: int) -> memoryview:
    pieces: list[Buffer] = []
    for piece in data.chunks(start, stop):
        if len(piece) == stop - start:
            return memoryview(piece)
        pieces.append(bytes(piece))  # a piece is valid until the next one is asked for
    return memoryview(b"".join(pieces))


def _joined(runs: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield runs with those that touch made one."""
    start = stop = -1
    for low, high in runs:
        if low != stop:
            if stop > start:
                yield start, stop
            start = low
        stop = high
    if stop > start:
        yield start, stop
