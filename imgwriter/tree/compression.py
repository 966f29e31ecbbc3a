"""Read a stream that may be compressed; what it is, its first bytes say, not its name.

::

    1f 8b                gzip      zlib's gzip, several members one after the other
    fd 37 7a 58 5a 00    xz        lzma
    28 b5 2f fd          zstd      zstandard, several frames; windows up to 128 MiB
    "BZh"                bzip2     bz2
    a valid tar header   none      looked at first: a member may be named "BZh"

Output is made as it is asked for, so that memory stays bounded whatever the input promises to become.
Damage is a FormatError; what libraries raise for it does not get out of this module.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, cast

from imgwriter.errors import FormatError, ImgwriterError, SourceError

HEAD = 512
"""Bytes that decide what a stream is: a tar header."""

_DAMAGE: tuple[type[Exception], ...] = (EOFError, zlib.error, lzma.LZMAError)

_UNSUPPORTED = (
    (b"\x1f\x9d", "compress"),
    (b"LZIP", "lzip"),
    (b"\x89LZO", "lzop"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"!<arch>\n", "ar"),
)


class Stream:
    """Bytes of a stream in order, decompressed.

    Args:
        raw: Where they come from.
        origin: What to call it in messages.
        damage: Exceptions that mean that the compressed bytes are damaged.
    """

    __slots__ = ("_damage", "_raw", "origin")

    def __init__(self, raw: BinaryIO, origin: str, damage: tuple[type[Exception], ...] = ()) -> None:
        self._raw = raw
        self._damage = damage
        self.origin = origin

    def read(self, length: int) -> bytes:
        """Return the next ``length`` bytes; fewer only at the end.

        Raises:
            FormatError: The compressed bytes are damaged or cut off.
            SourceError: The source cannot be read, or needs too much memory.
        """
        try:
            return _read_all(self._raw, length)
        except self._damage as error:
            raise self._damaged(error) from None
        except OSError as error:
            if error.errno is None:  # gzip and bz2 report damage so
                raise self._damaged(error) from None
            raise SourceError(f"{self.origin} cannot be read ({error.strerror}); make it readable") from error

    def _damaged(self, error: Exception) -> ImgwriterError:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        if isinstance(error, MemoryError) or "too much memory" in reason:
            return SourceError(
                f"{self.origin} needs too much memory to be decompressed; give it uncompressed"
            )
        return FormatError(
            f"{self.origin}: the compressed data is damaged or cut off ({reason}); get a whole copy of it",
            "compressed data",
        )


def opened(raw: BinaryIO, origin: str) -> Stream:
    """Return what ``raw`` holds, decompressed when its first bytes say that it is compressed.

    Args:
        raw: A binary stream, at its start; it need not be seekable.
        origin: What to call it in messages.

    Raises:
        SourceError: It is in a form that is known but not read here.
    """
    plain = Stream(raw, origin)
    head = plain.read(HEAD)
    rejoined = cast(BinaryIO, io.BufferedReader(_Rejoined(head, raw), 1 << 18))
    if is_tar_header(head):
        return Stream(rejoined, origin)
    if head.startswith(b"\x1f\x8b"):
        return Stream(cast(BinaryIO, gzip.GzipFile(fileobj=rejoined)), origin, _DAMAGE)
    if head.startswith(b"\xfd7zXZ\0"):
        return Stream(cast(BinaryIO, lzma.LZMAFile(rejoined)), origin, (*_DAMAGE, MemoryError))
    if head.startswith(b"BZh"):
        return Stream(cast(BinaryIO, bz2.BZ2File(rejoined)), origin, _DAMAGE)
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return _zstd(rejoined, origin)
    for magic, name in _UNSUPPORTED:
        if head.startswith(magic):
            raise SourceError(
                f"{origin} is in {name} form; give a tar, plain or compressed by gzip, xz, zstd or bzip2"
            )
    return Stream(rejoined, origin)


def is_tar_header(block: bytes) -> bool:
    """Tell whether 512 bytes are a tar header with a right checksum."""
    try:
        tarfile.TarInfo.frombuf(block, "iso8859-1", "strict")
    except tarfile.HeaderError:
        return False
    return True


def _zstd(raw: BinaryIO, origin: str) -> Stream:
    # Imported here: only archives in this form pay for its 20 ms.
    import zstandard

    # A frame that is cut off ends without an error; the tar in it then lacks its end.
    reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return Stream(cast(BinaryIO, reader), origin, (zstandard.ZstdError, MemoryError))


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes have been read already, from its start again."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed wants any Buffer
        piece = self._head[: len(buffer)] or self._rest.read(len(buffer)) or b""
        self._head = self._head[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _read_all(raw: BinaryIO, length: int) -> bytes:
    piece = raw.read(length)
    if len(piece) == length or not piece:
        return piece
    pieces = [piece]
    missing = length - len(piece)
    read: Callable[[int], bytes] = raw.read
    while missing and (piece := read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
