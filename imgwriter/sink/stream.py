"""Write where there is no going back: a pipe, a socket, standard output.

Every offset of a Volume is known before the first byte is written, so its bytes can be sent in order:
the extents, and zeros between them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from imgwriter.errors import OutputError
from imgwriter.extent import CHUNK, Buffer, Volume

_ZEROS = memoryview(bytes(1 << 20))
_INTERVAL = 0.2
"""Seconds between two calls of ``progress``."""


def write_stream(fd: int, volume: Volume, name: str, progress: Callable[[int], None] | None = None) -> None:
    """Send all ``volume.size`` bytes of a volume to a descriptor, in order.

    Args:
        fd: A descriptor open for writing; it stays open.
        volume: What to send.
        name: What to call the receiver in messages.
        progress: Called a few times a second and once at the end, with the bytes sent that are not zeros
            between extents (as for :func:`imgwriter.sink.write`).

    Raises:
        OutputError: The receiver takes no more.
        BrokenPipeError: The receiver is gone: the caller knows whether that is an error.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    done = 0
    told = time.monotonic()
    for piece, counts in _in_order(volume):
        _send(fd, piece, name)
        done += len(piece) if counts else 0
        if progress and time.monotonic() - told >= _INTERVAL:
            told = time.monotonic()
            progress(done)
    if progress:
        progress(done)


def _in_order(volume: Volume) -> Iterator[tuple[Buffer, bool]]:
    """Yield (bytes, whether an extent holds them)."""
    position = 0
    for e in volume.extents:
        yield from _zeros(e.start - position)
        # A pack is read at once, so a piece is never longer than its buffer.
        for piece in e.data.chunks(e.data_start, e.data_start + e.length):
            yield piece, True
        position = e.end
    yield from _zeros(volume.size - position)


def _zeros(count: int) -> Iterator[tuple[Buffer, bool]]:
    for _ in range(count // len(_ZEROS)):
        yield _ZEROS, False
    if count % len(_ZEROS):
        yield _ZEROS[: count % len(_ZEROS)], False


def _send(fd: int, piece: Buffer, name: str) -> None:
    view = memoryview(piece)
    while view:
        try:
            view = view[os.write(fd, view[:CHUNK]) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"{name} takes no more bytes: {error.strerror}; look at what reads it", name
            ) from error
