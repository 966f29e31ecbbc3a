"""What NARs and export streams are made of, read in order: numbers and strings.

::

    number   8 bytes, little-endian
    string   its length, a number; its bytes; zeros up to a multiple of 8

            hashed so far        buffer
    ├───────────────────────┬──────┴───────────────────┤
    0                       │       ^ position         │  ...
                            └ where the buffer begins  └ where the stream is read next

What has fixed bytes (most of a NAR) is compared in place, several strings at once. File contents go past
the buffer when they are large; they stay where they are in a regular file, and are kept in a spool else.
No length is believed before that many bytes were read. Everything that is wrong is a SourceError with the
place.

Spec: Eelco Dolstra, "The Purely Functional Software Deployment Model", 5.2; Nix manual, "Nix Archive (NAR)
format"; src/libutil/serialise.cc.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from imgwriter.errors import SourceChangedError, SourceError, show
from imgwriter.filedata import HandleSlice, Identity, SharedFile
from imgwriter.tree.spool import Spool

ALIGNMENT = 8
"""Strings are padded to multiples of this many bytes."""

STANDARD_INPUT = b"-"
"""The path that means standard input; a file of that name is ``./-``."""

_PIECE = 1 << 20
_SHOWN = 40  # bytes of what was found instead, in a message


class Sum(NamedTuple):
    """The SHA-256 of a run of bytes, and how many they are: a NAR's hash and size."""

    sha256: bytes
    size: int


def number(value: int) -> bytes:
    """Return a number as it is in a stream."""
    return value.to_bytes(8, "little")


def string(content: bytes) -> bytes:
    """Return a string as it is in a stream."""
    return b"%b%b%b" % (len(content).to_bytes(8, "little"), content, bytes(-len(content) % ALIGNMENT))


class Input:
    """A stream of numbers and strings, read once, in order.

    Args:
        stream: Where the bytes come from; it need not be seekable.
        origin: What to call it in messages.
        path: Its path, for errors.
        file: The regular file that the stream is, from its start, in which contents may stay; None: they
            are kept in a spool.
        head: Bytes that were read from the stream already.
        spool_directory: Where the spool is made, once there is something to put in it.
    """

    __slots__ = (
        "_buffer",
        "_directory",
        "_file",
        "_here",
        "_spool",
        "_start",
        "_stream",
        "_sum",
        "_summed",
        "_summed_from",
        "origin",
        "path",
    )

    def __init__(
        self,
        stream: BinaryIO,
        origin: str,
        path: bytes = b"",
        *,
        file: SharedFile | None = None,
        head: bytes = b"",
        spool_directory: bytes | None = None,
    ) -> None:
        self.origin = origin
        self.path = path
        self._stream = stream
        self._file = file
        self._directory = spool_directory
        self._spool: Spool | None = None
        self._buffer = head
        self._start = 0  # the offset of the buffer's first byte
        self._here = 0  # the position in the buffer
        self._sum = hashlib.sha256()
        self._summed = 0  # up to where the buffer is hashed
        self._summed_from = 0  # the offset of the first byte that is hashed

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._start + self._here

    def begin_sum(self) -> None:
        """Hash from here on."""
        self._sum = hashlib.sha256()
        self._summed = self._here
        self._summed_from = self.position

    def end_sum(self) -> Sum:
        """Return the hash of all bytes since :meth:`begin_sum`."""
        self._add_to_sum()
        return Sum(self._sum.digest(), self.position - self._summed_from)

    def skip(self, expected: bytes) -> bool:
        """Move past ``expected`` if that is what comes next, and tell whether it is."""
        if len(self._buffer) - self._here < len(expected):
            self._fill(len(expected))
        if self._buffer.startswith(expected, self._here):
            self._here += len(expected)
            return True
        return False

    def number(self, what: str) -> int:
        """Return the number that comes next."""
        return int.from_bytes(self._take(8, what), "little")

    def string(self, what: str, limit: int) -> bytes:
        """Return the string that comes next, of at most ``limit`` bytes.

        Args:
            what: What it is, for messages.
            limit: Small: so many bytes are held in memory.
        """
        at = self.position
        length = self.number(f"the length of {what}")
        if length > limit:
            raise self.refused(f"{what} has {length:,} bytes, more than the {limit:,} that it may have", at)
        content = self._take(length, what)
        self._skip_padding(length, what)
        return content

    def contents(self, what: str) -> HandleSlice | None:
        """Return the string that comes next, a file's contents, as Data; None when it is empty."""
        length = self.number(f"the length of {what}")
        if length == 0:
            return None
        content = self._in_file(length, what) if self._file is not None else self._in_spool(length, what)
        self._skip_padding(length, what)
        return content

    def peek(self, length: int) -> bytes:
        """Return the next ``length`` bytes, fewer at the end, and stay before them."""
        self._fill(length)
        return self._buffer[self._here : self._here + length]

    def rest(self, limit: int) -> bytes:
        """Return all bytes from the position up to the end, of which there may be ``limit``; nothing is left.

        Raises:
            SourceError: There are more.
        """
        pieces = []
        size = 0
        while there := self._fill(1):
            size += there
            if size > limit:
                raise SourceError(
                    f"{self.origin} has more than {limit:,} bytes; give another file", self.path
                )
            pieces.append(self._take(there, "the rest"))
        return b"".join(pieces)

    def at_end(self) -> bool:
        """Tell whether no byte follows."""
        return self._fill(1) == 0

    def finish(self) -> None:
        """Make the contents ready to be read, once all of them have passed.

        Raises:
            SourceChangedError: The file changed meanwhile.
        """
        if self._spool is not None:
            self._spool.finish()
        if self._file is not None and Identity.of(os.fstat(self._file.fd)) != self._file.identity:
            raise SourceChangedError(
                f"{show(self.path)} changed while it was read; build again when nothing writes to it",
                self.path,
            )

    def refused(self, why: str, offset: int | None = None) -> SourceError:
        """Return the error for something that is wrong at ``offset`` (None: here)."""
        at = self.position if offset is None else offset
        return SourceError(f"{self.origin}: {why} (at byte {at:,}); get a whole copy of it", self.path)

    def unexpected(self, *expected: bytes) -> SourceError:
        """Return the error for something else than ``expected``, one of several runs of strings."""
        self._fill(max(map(len, expected)) + ALIGNMENT + _SHOWN)
        found = self._buffer[self._here : self._here + max(map(len, expected)) + ALIGNMENT + _SHOWN]
        same = max(_strings_in_common(found, each) for each in expected)
        offset = self.position + same
        wanted = " or ".join(
            dict.fromkeys(_shown(each[same:]) for each in expected if each[:same] == found[:same])
        )
        rest = found[same:]
        is_string = len(rest) >= 8 and int.from_bytes(rest[:8], "little") <= len(rest) - 8
        instead = _shown(rest) if is_string else rest[:8].hex(" ")
        if not rest:
            return self.refused(f"cut off where {wanted} should be", offset)
        if instead == wanted:
            return self.refused(f"the padding of {wanted} is cut off or not zero", offset)
        return self.refused(f"{instead} where {wanted} should be", offset)

    def _take(self, length: int, what: str) -> bytes:
        if len(self._buffer) - self._here < length and self._fill(length) < length:
            raise self._cut_off(length, what)
        here = self._here
        self._here = here + length
        return self._buffer[here : here + length]

    def _skip_padding(self, length: int, what: str) -> None:
        padding = -length % ALIGNMENT
        if padding and self._take(padding, f"the padding of {what}") != bytes(padding):
            raise self.refused(f"the padding of {what} is not zero", self.position - padding)

    def _fill(self, length: int) -> int:
        """Have at least ``length`` bytes from here on in the buffer; return how many there are."""
        while (there := len(self._buffer) - self._here) < length:
            self._add_to_sum()
            piece = self._read(max(_PIECE, length - there))
            if not piece:
                break
            self._start += self._here
            self._buffer = self._buffer[self._here :] + piece if there else piece
            self._here = self._summed = 0
        return there

    def _read(self, length: int) -> bytes:
        try:
            return self._stream.read(length) or b""
        except OSError as error:
            raise SourceError(
                f"{self.origin} cannot be read ({error.strerror}); make it readable", self.path
            ) from error

    def _add_to_sum(self) -> None:
        """Hash what was read of the buffer."""
        if self._here > self._summed:
            self._sum.update(memoryview(self._buffer)[self._summed : self._here])
            self._summed = self._here

    def _in_file(self, length: int, what: str) -> HandleSlice:
        assert self._file is not None
        offset = self.position
        for _ in self._pieces(length, what):
            pass
        return HandleSlice(self._file, offset, length)

    def _in_spool(self, length: int, what: str) -> HandleSlice:
        if self._spool is None:
            self._spool = Spool(self._directory, self.origin)
        offset = self._spool.begin(length)
        for piece in self._pieces(length, what):
            self._spool.append(piece)
        return HandleSlice(self._spool.file, offset, length)

    def _pieces(self, length: int, what: str) -> Iterator[bytes]:
        """Yield the next ``length`` bytes as they come."""
        at, left = self.position, length
        while left:
            there = self._fill(1)
            if there == 0:
                raise self._cut_off(length, what, at)
            count = min(there, left)
            yield self._take(count, what)
            left -= count

    def _cut_off(self, length: int, what: str, at: int | None = None) -> SourceError:
        return self.refused(f"cut off within {what}, of which {length:,} bytes should follow", at)


def _strings_in_common(found: bytes, expected: bytes) -> int:
    """Return the length of the whole strings with which both begin."""
    same = 0
    while same < len(expected):
        length = int.from_bytes(expected[same : same + 8], "little")
        end = same + 8 + length + -length % ALIGNMENT
        if found[same:end] != expected[same:end]:
            break
        same = end
    return same


def _shown(strings: bytes) -> str:
    """Return the first of a run of strings, to be read by people."""
    length = int.from_bytes(strings[:8], "little")
    return f"'{show(strings[8 : 8 + min(length, _SHOWN)])}'"


@contextmanager
def open_input(
    source: bytes | BinaryIO, origin: str, spool_directory: bytes | None = None
) -> Iterator[Input]:
    """Open what ``source`` is, for as long as it is read.

    Args:
        source: A path, ``-`` for standard input, or a binary stream at its start, which need not be seekable.
        origin: What to call it in messages.
        spool_directory: Where contents that cannot be read twice are kept; None: where temporary files go.

    Raises:
        SourceError: It cannot be opened.
    """
    if not isinstance(source, bytes):
        yield Input(source, origin, spool_directory=spool_directory)
        return
    standard = source == STANDARD_INPUT
    try:
        with open(0 if standard else source, "rb", 0, closefd=not standard) as stream:
            status = os.fstat(stream.fileno())
            file = None
            if stat.S_ISREG(status.st_mode) and stream.tell() == 0:
                file = SharedFile(os.dup(stream.fileno()), source, Identity.of(status))
            yield Input(stream, origin, source, file=file, spool_directory=spool_directory)
    except OSError as error:
        raise SourceError(
            f"{origin} cannot be read ({error.strerror}); name a readable file", source
        ) from error
