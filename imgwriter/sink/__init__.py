"""Write a Volume to a file: the only package that writes the output.

::

    write ── replace.replacing   an unnamed file in the target's directory ... becomes the target
       ├──── pool.write_extents  jobs ─┬─ computed: chunks ── pwritev ─┬─> the file
       │                               ├─ packed: read_into ── pwrite ─┤   (writer, and target.Target,
       │                               └─ file-backed: clone, copy ────┘    one a process)
       ├──── placing.write_deferred    jobs ── made side by side, placed in order ──> the file
       └──── stream.write_stream       extents in order, zeros between ──> a pipe

Invariants:

- The target's name is the old file or the finished new one at every moment, and after any error,
  signal or loss of power nothing else is left behind (see :mod:`imgwriter.sink.replace` for the
  two cases in which SIGKILL can leave a temporary name).
- Each byte of an extent is written at its own offset, once: neither the number of workers nor the
  order of their work can change the result. Bytes in no extent are never written.
- An error of a source is raised as it is, one of the output as OutputError.
"""

from __future__ import annotations

import os

from imgwriter.deferred import Deferred
from imgwriter.extent import Volume
from imgwriter.filedata import HostPath
from imgwriter.sink.placing import write_deferred
from imgwriter.sink.pool import WORKERS, write_extents
from imgwriter.sink.replace import refuse_unwritable, replacing, replacing_all
from imgwriter.sink.stream import send_file, unnamed, write_stream
from imgwriter.sink.tally import Progress
from imgwriter.sink.target import Target, Written, set_size

__all__ = [
    "WORKERS",
    "Progress",
    "Written",
    "refuse_unwritable",
    "replacing_all",
    "stream",
    "write",
    "write_bytes",
    "write_bytes_to",
    "write_to",
]


def write(
    content: Volume | Deferred,
    path: HostPath,
    *,
    sync: bool = False,
    progress: Progress | None = None,
    workers: int = WORKERS,
) -> Written:
    """Make ``path`` a file that holds ``content``, replacing one that is there, or change nothing.

    Args:
        content: What to write.
        path: The file. A symlink is replaced itself, as mv does, and what it points to stays.
        sync: Also flush the file and its directory to the disk before returning.
        progress: Called in the calling thread, a few times a second and once at the end, with how
            much of ``content`` is written. An exception from it cancels the write.
        workers: Processes that read and write side by side, this one among them (of a Deferred: that
            make jobs, beside this one); in a process with threads it is always one.

    Returns:
        The size of the file, and the bytes that were written.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    with replacing(path, sync=sync) as fd:
        return write_to(fd, content, name=os.fsdecode(path), progress=progress, workers=workers)


def write_to(
    fd: int,
    content: Volume | Deferred,
    *,
    name: str = "the output",
    progress: Progress | None = None,
    workers: int = WORKERS,
) -> Written:
    """Write ``content`` into an open, empty, regular file and set its size; no name is changed.

    Args:
        fd: A descriptor open for writing; it stays open. What the file holds where ``content`` has
            no extent stays there, so it should be empty.
        content: What to write.
        name: What to call the file in messages.
        progress: As for :func:`write`.
        workers: As for :func:`write`.

    Returns:
        As :func:`write`.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    if not isinstance(content, Volume):
        return write_deferred(fd, content, name, progress, workers)
    set_size(fd, content.size, name)
    write_extents(fd, content, name, progress, workers)
    return Written(content.size, content.allocated)


def stream(
    content: Volume | Deferred,
    fd: int,
    *,
    name: str = "standard output",
    directory: bytes | None = None,
    progress: Progress | None = None,
    workers: int = WORKERS,
) -> Written:
    """Write ``content`` from its first byte to its last into a pipe, or whatever ``fd`` is.

    Args:
        content: What to write; a Deferred goes by way of an unnamed file, as its header comes last.
        fd: A descriptor open for writing; it stays open.
        name: What to call it in messages.
        directory: Where the unnamed file is; None for the system's place for such files.
        progress: As for :func:`write`.
        workers: As for :func:`write`; a Volume is streamed by this process alone.

    Returns:
        As :func:`write`.

    Raises:
        BrokenPipeError: Nobody reads the pipe any more.
        OutputError: It cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    if isinstance(content, Volume):
        write_stream(fd, content, name, progress)
        return Written(content.size, content.allocated)
    with unnamed(directory) as (spool, spool_name):
        written = write_deferred(spool, content, spool_name, progress, workers)
        send_file(spool, fd, written.size, name)
    return written


def write_bytes(path: HostPath, content: bytes, *, sync: bool = False) -> None:
    """Make ``path`` a file that holds ``content``, as atomically as :func:`write`.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path, sync=sync) as fd:
        write_bytes_to(fd, content, name=os.fsdecode(path))


def write_bytes_to(fd: int, content: bytes, *, name: str) -> None:
    """Write ``content`` into an open, empty, regular file, called ``name`` in messages.

    Raises:
        OutputError: The file cannot be written.
    """
    Target(fd, name).write([content], 0)
