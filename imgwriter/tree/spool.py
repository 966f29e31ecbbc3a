"""One temporary file without a name, for file contents that cannot be read twice.

A compressed or streamed tar is read once, while it is scanned; its file contents are kept here until
the image is written. Names and headers are not.

::

    0                4096              12288            16384
    ├ small ┬ small ─┬ (a hole: zeros) ─┬ file of 64 KiB or more, on a block boundary ─ ...

Blocks of zeros are never written: they stay holes of the spool, so that terabytes of zeros cost no
disk. The file has no name, and is gone when its last slice is, however the process ends.
"""

from __future__ import annotations

import os
import tempfile

from imgwriter.errors import OutputError, show
from imgwriter.filedata import SharedFile

BLOCK = 4096
"""Bytes in the blocks that are left out when they are zero."""

_BUFFER = 1 << 20
_ALIGNED_FROM = 64 << 10
_ZEROS = bytes(BLOCK)


class Spool:
    """An append-only file without a name. Call :meth:`finish` before the first slice is read.

    Args:
        directory: Where it is made; None means the system's directory for temporary files.
        origin: Whose contents it holds, for messages.

    Raises:
        OutputError: The file cannot be made.
    """

    __slots__ = ("_buffer", "_directory", "_start", "file", "origin")

    def __init__(self, directory: bytes | None, origin: str) -> None:
        self.origin = origin
        self._directory = os.fsencode(tempfile.gettempdir()) if directory is None else directory
        self._start = 0  # where the buffer begins: a multiple of BLOCK
        self._buffer = bytearray()
        try:
            with tempfile.TemporaryFile(dir=os.fsdecode(self._directory), buffering=0) as made:
                self.file = SharedFile(os.dup(made.fileno()), os.fsencode(f"the spool of {origin}"), None)
        except OSError as error:
            raise self._failed(error) from error

    @property
    def end(self) -> int:
        """Bytes appended so far, gaps included."""
        return self._start + len(self._buffer)

    def begin(self, length: int) -> int:
        """Return the offset at which the next ``length`` bytes will be appended.

        Large contents begin on a block boundary, so that they can be cloned into the image.
        """
        if length >= _ALIGNED_FROM:
            self._buffer += bytes(-len(self._buffer) % BLOCK)
        return self.end

    def append(self, content: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            OutputError: They cannot be written.
        """
        self._buffer += content
        if len(self._buffer) >= _BUFFER:
            self._flush(len(self._buffer) // BLOCK * BLOCK)

    def finish(self) -> None:
        """Write what is buffered and give the file its size, which may end in a hole."""
        end = self.end
        self._buffer += bytes(-len(self._buffer) % BLOCK)
        self._flush(len(self._buffer))
        try:
            os.ftruncate(self.file.fd, end)
        except OSError as error:
            raise self._failed(error) from error

    def _flush(self, length: int) -> None:
        """Write the first ``length`` bytes of the buffer (whole blocks), without the blocks of zeros."""
        content = bytes(memoryview(self._buffer)[:length])
        low = 0
        for offset in range(0, length, BLOCK):
            if content.startswith(_ZEROS, offset):
                self._write(content, low, offset)
                low = offset + BLOCK
        self._write(content, low, length)
        del self._buffer[:length]
        self._start += length

    def _write(self, content: bytes, low: int, high: int) -> None:
        view = memoryview(content)
        try:
            while low < high:
                low += os.pwrite(self.file.fd, view[low:high], self._start + low)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.origin}: its contents cannot be kept in {show(self._directory)} ({error.strerror}); "
            "name a directory with more space, or decompress it to a file first",
            os.fsdecode(self._directory),
        )
