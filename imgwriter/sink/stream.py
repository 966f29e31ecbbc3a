"""Write where there is no going back: a pipe, a socket, standard output.

Every offset of a Volume is known before the first byte is written, so its bytes can be sent in order: the
extents, and zeros between them. What has its header made last is written to an unnamed file, and then sent.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager

from imgwriter.errors import OutputError, show
from imgwriter.extent import CHUNK, Buffer, Volume
from imgwriter.filedata import files_ended
from imgwriter.sink.replace import output_error
from imgwriter.sink.tally import Progress, Tally

_ZEROS = memoryview(bytes(1 << 20))


def write_stream(fd: int, volume: Volume, name: str, progress: Progress | None = None) -> None:
    """Send all ``volume.size`` bytes of a volume to a descriptor, in order.

    Args:
        fd: A descriptor open for writing; it stays open.
        volume: What to send.
        name: What to call the receiver in messages.
        progress: Called a few times a second and once at the end, with what is sent, less the zeros
            between extents (as for :func:`imgwriter.sink.write`).

    Raises:
        OutputError: The receiver takes no more.
        BrokenPipeError: The receiver is gone: the caller knows whether that is an error.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    tally = Tally(progress)
    position = 0
    for e in volume.extents:
        _send_all(fd, _zeros(e.start - position), name)
        # A pack is read at once, so a piece is never longer than its buffer.
        for piece in e.data.chunks(e.data_start, e.data_start + e.length):
            _send(fd, piece, name)
            tally.add(len(piece), 0)
        tally.add(0, files_ended(e))
        position = e.end
    _send_all(fd, _zeros(volume.size - position), name)
    tally.report()


@contextmanager
def unnamed(directory: bytes | None) -> Iterator[tuple[int, str]]:
    """Make a file without a name, which is gone after the block.

    Yields:
        Its descriptor, and what to call it in messages.

    Raises:
        OutputError: It cannot be made.
    """
    import tempfile

    name = "the temporary file, for which TMPDIR names no place"
    try:
        place = os.fsencode(tempfile.gettempdir()) if directory is None else directory
        name = f"the temporary file in {show(place)}" + (" (see TMPDIR)" if directory is None else "")
        # Closed by the block below: what fails inside that is no failure to make it.
        made = tempfile.TemporaryFile(dir=place, buffering=0)  # noqa: SIM115
    except OSError as error:
        raise output_error(name, error) from error
    with made:
        yield made.fileno(), name


def send_file(source: int, fd: int, size: int, name: str) -> None:
    """Send the first ``size`` bytes of an open file.

    Raises:
        OutputError, BrokenPipeError: As :func:`write_stream`.
    """
    buffer = memoryview(bytearray(CHUNK))
    position = 0
    while position < size:
        count = os.preadv(source, (buffer[: size - position],), position)
        if count == 0:
            raise OutputError(f"{name}: the temporary file became shorter; build again", name)
        _send(fd, buffer[:count], name)
        position += count


def _zeros(count: int) -> Iterator[Buffer]:
    for _ in range(count // len(_ZEROS)):
        yield _ZEROS
    if count % len(_ZEROS):
        yield _ZEROS[: count % len(_ZEROS)]


def _send_all(fd: int, pieces: Iterator[Buffer], name: str) -> None:
    for piece in pieces:
        _send(fd, piece, name)


def _send(fd: int, piece: Buffer, name: str) -> None:
    view = memoryview(piece)
    while view:
        try:
            view = view[os.write(fd, view[:CHUNK]) :]
        except BrokenPipeError:
            raise
        except BlockingIOError:  # whoever shares the pipe with us made it so
            waiting = select.poll()
            waiting.register(fd, select.POLLOUT)
            waiting.poll()
        except OSError as error:
            raise OutputError(
                f"{name} takes no more bytes: {error.strerror}; look at what reads it", name
            ) from error
