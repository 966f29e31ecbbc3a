"""Two ways to read an archive from its start to its end, and to refer to contents on the way.

==================  =======================================  ====================================
                    TarFile: an uncompressed regular file    TarStream: compressed, or a pipe
==================  =======================================  ====================================
headers             pread where they are                     read in order
contents            stay where they are: a slice of the tar  are copied into a spool
skipping            costs nothing                            reads
==================  =======================================  ====================================

Both count their position in bytes of the uncompressed archive, and know nothing of tar but that
everything is padded to blocks of 512 bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from imgwriter.errors import FormatError, SourceChangedError, SourceError, show
from imgwriter.filedata import HandleSlice, Identity, SharedFile
from imgwriter.tree import compression
from imgwriter.tree.spool import Spool
from imgwriter.units import MiB

BLOCK = 512
"""Bytes in a tar's blocks. Spec: POSIX.1-2017, pax, ustar Interchange Format."""

STANDARD_INPUT = b"-"
"""The path that means standard input; a file of that name is ``./-``."""

_MAX_TRAILER = 64 * MiB
_PIECE = 1 << 20


class CutOffError(ValueError):
    """The archive ends inside a member's contents; ``str()`` of it says how much is there."""


class TarSource(Protocol):
    """An archive, read once, in order."""

    position: int

    def read(self, length: int) -> bytes:
        """Return the next bytes; fewer only at the end."""
        ...

    def content(self, length: int) -> HandleSlice:
        """Return the next ``length`` bytes (not 0) as Data, and move past them and their padding.

        Raises:
            CutOffError: The archive has fewer.
        """
        ...

    def skip(self, length: int) -> None:
        """Move past ``length`` bytes and their padding."""
        ...

    def finish(self) -> None:
        """Check what follows the archive's end, and make the contents ready to be read."""
        ...


class TarFile:
    """An uncompressed archive in a regular file.

    Args:
        fd: The open file; closed when the last slice of it is gone.
        path: Its path.
        status: What fstat said of it.
    """

    __slots__ = ("_file", "_size", "position")

    def __init__(self, fd: int, path: bytes, status: os.stat_result) -> None:
        self._file = SharedFile(fd, path, Identity.of(status))
        self._size = status.st_size
        self.position = 0

    def read(self, length: int) -> bytes:
        try:
            result = os.pread(self._file.fd, length, self.position)
            while len(result) < length and (
                piece := os.pread(self._file.fd, length - len(result), self.position + len(result))
            ):
                result += piece
        except OSError as error:
            raise SourceError(
                f"{show(self._file.path)} cannot be read ({error.strerror}); make it readable",
                self._file.path,
            ) from error
        self.position += len(result)
        return result

    def content(self, length: int) -> HandleSlice:
        here = self.position
        if length > self._size - here:
            raise CutOffError(f"{max(self._size - here, 0):,} of {length:,} bytes")
        self.position = here + length + -length % BLOCK
        return HandleSlice(self._file, here, length)

    def skip(self, length: int) -> None:
        self.position += length + -length % BLOCK

    def finish(self) -> None:
        if Identity.of(os.fstat(self._file.fd)) != self._file.identity:
            raise SourceChangedError(
                f"{show(self._file.path)} changed while it was read; build again when nothing writes to it",
                self._file.path,
            )


class TarStream:
    """An archive that can be read only once; the contents go to a spool as they pass.

    Args:
        stream: The uncompressed bytes.
        spool_directory: Where the spool is made, once there is something to put in it.
    """

    __slots__ = ("_directory", "_spool", "_stream", "position")

    def __init__(self, stream: compression.Stream, spool_directory: bytes | None) -> None:
        self._stream = stream
        self._directory = spool_directory
        self._spool: Spool | None = None
        self.position = 0

    def read(self, length: int) -> bytes:
        result = self._stream.read(length)
        self.position += len(result)
        return result

    def content(self, length: int) -> HandleSlice:
        spool = self._spool
        if spool is None:
            spool = self._spool = Spool(self._directory, self._stream.origin)
        offset = spool.begin(length)
        left = length
        while left > 0:
            piece = self.read(min(left + -left % BLOCK, _PIECE))
            if len(piece) < left and len(piece) < _PIECE:
                raise CutOffError(f"{length - left + len(piece):,} of {length:,} bytes")
            spool.append(piece[:left])
            left -= len(piece)
        return HandleSlice(spool.file, offset, length)

    def skip(self, length: int) -> None:
        left = length + -length % BLOCK
        while left > 0 and (piece := self.read(min(left, _PIECE))):
            left -= len(piece)

    def finish(self) -> None:
        """Read to the end, as tar does: a checksum may be there, and a pipe's writer waits."""
        left = _MAX_TRAILER
        while piece := self.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise FormatError(
                    f"{self._stream.origin}: more than 64 MiB follow the archive's end; cut them off",
                    "end of archive",
                    self.position,
                )
        if self._spool is not None:
            self._spool.finish()


@contextmanager
def open_source(source: bytes | BinaryIO, origin: str, spool_directory: bytes | None) -> Iterator[TarSource]:
    """Open the archive that ``source`` is, for as long as it is scanned.

    Args:
        source: A path, ``-`` for standard input, or a binary stream at its start.
        origin: What to call it in messages.
        spool_directory: Where contents that cannot be read twice are kept; None: where temporary files go.

    Raises:
        SourceError: It cannot be opened, or is in no form that is read here.
    """
    if not isinstance(source, bytes):
        yield TarStream(compression.opened(source, origin), spool_directory)
        return
    try:
        with open(
            0 if source == STANDARD_INPUT else source, "rb", 0, closefd=source != STANDARD_INPUT
        ) as file:
            status = os.fstat(file.fileno())
            archive: TarSource
            in_place = stat.S_ISREG(status.st_mode) and file.tell() == 0
            if in_place and compression.is_tar_header(os.pread(file.fileno(), BLOCK, 0)):
                archive = TarFile(os.dup(file.fileno()), source, status)
            else:
                archive = TarStream(compression.opened(file, origin), spool_directory)
            yield archive
    except OSError as error:
        raise SourceError(
            f"{origin} cannot be read ({error.strerror}); name a readable file", source
        ) from error
