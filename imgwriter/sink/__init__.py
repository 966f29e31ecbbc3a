"""Write a Volume to a file: the only package that writes the output.

::

    write ── replace.replacing   an unnamed file in the target's directory ... becomes the target
       └──── pool.write_extents  jobs ─┬─ computed: chunks ── pwritev ─┬─> the file
                                       ├─ packed: read_into ── pwrite ─┤   (target.Target, one
                                       └─ file-backed: clone, copy ────┘    a process)

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
from pathlib import Path

from imgwriter.extent import Volume
from imgwriter.sink.pool import WORKERS, Progress, write_extents
from imgwriter.sink.replace import replacing
from imgwriter.sink.target import Target, set_size

__all__ = ["WORKERS", "Progress", "write", "write_bytes", "write_to"]


def write(
    volume: Volume,
    path: Path | str | bytes,
    *,
    sync: bool = False,
    progress: Progress | None = None,
    workers: int = WORKERS,
) -> None:
    """Make ``path`` a file that holds ``volume``, replacing one that is there, or change nothing.

    Args:
        volume: What to write.
        path: The file. A symlink is replaced itself, as mv does, and what it points to stays.
        sync: Also flush the file and its directory to the disk before returning.
        progress: Called in the calling thread, a few times a second and once at the end, with the
            bytes of ``volume.allocated`` that are written. An exception from it cancels the write.
        workers: Processes that read and write side by side, this one among them; in a process with
            threads it is always one.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    with replacing(path, sync=sync) as fd:
        write_to(fd, volume, name=os.fsdecode(path), progress=progress, workers=workers)


def write_to(
    fd: int,
    volume: Volume,
    *,
    name: str = "the output",
    progress: Progress | None = None,
    workers: int = WORKERS,
) -> None:
    """Write ``volume`` into an open, empty, regular file and set its size; no name is changed.

    Args:
        fd: A descriptor open for writing; it stays open. What the file holds where ``volume`` has
            no extent stays there, so it should be empty.
        volume: What to write.
        name: What to call the file in messages.
        progress: As for :func:`write`.
        workers: As for :func:`write`.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    set_size(fd, volume.size, name)
    write_extents(fd, volume, name, progress, workers)


def write_bytes(path: Path | str | bytes, content: bytes, *, sync: bool = False) -> None:
    """Make ``path`` a file that holds ``content``, as atomically as :func:`write`.

    Raises:
        OutputError: The file cannot be written.
    """
    name = os.fsdecode(path)
    with replacing(path, sync=sync) as fd:
        Target(fd, name).write([content], 0)
