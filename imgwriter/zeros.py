"""Leave out what is zero: blocks that were written as zeros become holes, or clusters without a place.

::

    before   ├──────── extent ────────────────┤        reads: data | 0 | 0 | data | data
    after    ├ data ┤         ├─── data ──────┤        the same Data, two parts of it

All of the volume is read once, a chunk at a time; when it is written the bytes come from the page cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imgwriter.extent import CHUNK, Buffer, Data, Extent, Volume
from imgwriter.units import KiB, align_up

BLOCK = 64 * KiB
"""The usual cluster of a qcow2, and a step that does not cut files into pieces too small to move."""


def drop_zeros(
    volume: Volume, block: int = BLOCK, progress: Callable[[int], None] = lambda count: None
) -> Volume:
    """Return a volume of the same bytes whose extents have no block that is all zero.

    Args:
        volume: All of its extents are read.
        block: Bytes of a block, counted from the start of the volume: best the target's cluster. What an
            extent has of a block at its own start and end counts as a block.
        progress: Called after each chunk that is read, with its bytes.

    Raises:
        SourceError: A source cannot be read, or is not what was scanned.
        FormatError: A compressed cluster is damaged.
    """
    # A bytearray on the left compares by memcmp; a memoryview on the left goes item by item.
    zeros = bytearray(align_up(CHUNK, block))
    zero_block = zeros[:block]
    extents = []
    for e in volume.extents:
        for start, stop in _joined(_runs(e, block, zeros, zero_block, progress)):
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
