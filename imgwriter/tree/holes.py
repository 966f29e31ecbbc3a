"""Which parts of a file are holes.

Three ways to say it (``--holes``):

* ``keep``: the holes the source has, as SEEK_HOLE or the tar's sparse map shows them. The hole map is
  part of the input: a file written with zeros and its copy by cp may differ in it.
* ``fill``: none. Every byte of a file gets a place in the image.
* ``detect``: every block of zeros is a hole. A function of the content alone, for the price of reading
  all of it once more.

::

    bytes     0       4096      8192      12288   13000
    content   │  data  │  zeros  │  data    │ zeros │
    detect    [0, 4096)          [8192, 12288)           (the short last block counts as a block)

Runs are half-open intervals of bytes that hold data, sorted, disjoint, not empty.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from enum import StrEnum

from imgwriter.extent import Data
from imgwriter.tree.inventory import Run
from imgwriter.units import align_up

BLOCK = 4096
"""Bytes in the blocks that ``detect`` looks at: the usual block of ext4, whatever the image's is."""

_ZEROS = bytes(BLOCK)


class Holes(StrEnum):
    """What becomes of the holes of a source."""

    KEEP = "keep"
    FILL = "fill"
    DETECT = "detect"


def detect(data: Data, known: Sequence[Run] | None = None) -> Sequence[Run] | None:
    """Return the runs of ``data`` outside which every BLOCK is zero.

    Args:
        data: What to look at; all of it is read, a chunk at a time.
        known: Runs outside which ``data`` is known to be zero, so that a sparse file of terabytes is
            not read; the answer does not depend on them. None: nothing is known.

    Returns:
        The runs, which begin and end at multiples of BLOCK or at the end of the data; None when that
        is all of it.
    """
    size = len(data)
    places = ((0, size),) if known is None else tuple(_whole_blocks(known, size))
    runs = tuple(join(run for low, high in places for run in _data_blocks(data, low, high)))
    return None if runs == ((0, size),) else runs


def join(runs: Iterator[Run]) -> Iterator[Run]:
    """Yield ``runs``, sorted by their start, with those that touch or overlap made one."""
    low = high = -1
    for start, stop in runs:
        if start > high:
            if high > low:
                yield low, high
            low, high = start, stop
        else:
            high = max(high, stop)
    if high > low:
        yield low, high


def seek_map(fd: int, size: int) -> Sequence[Run] | None:
    """Return the runs that SEEK_DATA and SEEK_HOLE show of an open file of ``size`` bytes.

    Returns:
        The runs; None when there is no hole, or the file system cannot tell.
    """
    runs = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here on
                break
            return None  # EINVAL: this file system cannot tell
        if start >= size:
            break
        stop = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        runs.append((start, stop))
        position = stop
    return None if runs == [(0, size)] else tuple(runs)


def _whole_blocks(runs: Sequence[Run], size: int) -> Iterator[Run]:
    return join((low // BLOCK * BLOCK, min(align_up(high, BLOCK), size)) for low, high in runs)


def _data_blocks(data: Data, start: int, stop: int) -> Iterator[Run]:
    """Yield the blocks of [start, stop) that are not zero; ``start`` is a multiple of BLOCK."""
    position = start
    pending = b""
    for piece in data.chunks(start, stop):
        content = pending + bytes(piece) if pending else bytes(piece)
        whole = len(content) if position + len(content) == stop else len(content) // BLOCK * BLOCK
        for offset in range(0, whole, BLOCK):
            # startswith compares in place: no slice is made of a block that is not the last.
            if offset + BLOCK <= whole:
                if content.startswith(_ZEROS, offset):
                    continue
            elif not content[offset:].strip(b"\0"):
                continue
            yield position + offset, position + min(offset + BLOCK, whole)
        position += whole
        pending = content[whole:]
