"""Leave out what is zero: blocks that were written as zeros become holes, or clusters without a place.

::

    before   ├──────── extent ────────────────┤        reads: data | 0 | 0 | data | data
    after    ├ data ┤         ├─── data ──────┤        the same Data, two parts of it

Most blocks of a file tell by their first bytes that they are not zero: the others are read whole. Other data,
which may have to be decompressed, is produced a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imgwriter.extent import CHUNK, Buffer, Data, Extent, Volume
from imgwriter.filedata import HandleSlice
from imgwriter.units import KiB, align_up

BLOCK = 64 * KiB
"""The usual cluster of a qcow2, and a step that does not cut files into pieces too small to move."""

_HEAD = 4 * KiB
"""Bytes of a block that are looked at first: a page, which the kernel has to find for less, too."""


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
        if isinstance(e.data, HandleSlice) and block >= BLOCK:
            runs = _runs_of_file(e, e.data, block, zeros, progress)
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


def _runs_of_file(
    e: Extent, data: HandleSlice, block: int, zeros: bytearray, progress: Callable[[int], None]
) -> Iterator[tuple[int, int]]:
    """Yield what :func:`_runs` yields, having read little more than the first bytes of each block."""
    shift = e.data_start - e.start
    head, zero_head = memoryview(bytearray(_HEAD)), zeros[:_HEAD]
    low = expected = e.start
    while low < e.end:
        high = min((low // block + 1) * block, e.end)
        if low >= expected:
            expected = min(max(low + CHUNK, high), e.end)
            data.expect(low + shift, expected + shift)
        known = high - low >= _HEAD
        if known:
            data.peek(head, low + shift)
        if (known and zero_head != head) or _any(data, low + shift, high + shift, zeros):
            yield low, high
        progress(high - low)
        low = high
    data.verify()


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
