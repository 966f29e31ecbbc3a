"""Data that stays in files on the host until it is written.

Three kinds. :class:`FileSlice` names a file and remembers what it looked like when it was scanned;
:class:`HandleSlice` is part of a file that is already open (a tar, or the spool of a compressed
one); :class:`Packed` lays many short pieces end to end, so that thousands of small files become one
extent and one write.

Nothing here writes. A source that is not what was scanned is an error when it is read, so that an
image is never silently torn: the identity is compared after the bytes were read, on the descriptor
that they were read from. A small file costs four system calls: open, readv, fstat, close.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from imgwriter.errors import PlanInvariantError, SourceChangedError, SourceError, show
from imgwriter.extent import CHUNK, Buffer, Data, Extent

PACK_LIMIT = 128 << 10
"""Files below this many bytes are best packed: read into one buffer and written with their neighbours.

From here on moving a file by copy_file_range, without its bytes passing through this process, costs
less than reading it.
"""

_ZEROS = memoryview(bytes(64 << 10))

_READAHEAD = 128 << 10
"""Bytes that the kernel reads ahead at a time, as it is set by default: of more it reads no more."""

HostPath: TypeAlias = str | bytes | os.PathLike[str]
"""A path on the host, as callers give it; not pathlib's own type, whose import takes 4 ms."""


class Amount(NamedTuple):
    """How much of a Volume is done, or all of it.

    Attributes:
        bytes: Bytes in extents.
        files: Files of the tree whose last byte is among them; those without bytes do not count.
    """

    bytes: int
    files: int

    def plus(self, other: Amount) -> Amount:
        """Return both together."""
        return Amount(self.bytes + other.bytes, self.files + other.files)


# A file replaced by a FIFO or a symlink between scan and read must neither block nor be followed.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Identity(NamedTuple):
    """What tells a file from another, or from itself after a change."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class FileSlice:
    """All of a regular file on the host, opened when it is read.

    Args:
        directory: The host directory's path; one object shared by its files.
        name: The file's name in it.
        identity: What the scan saw; ``identity.size`` is the length.
    """

    __slots__ = ("directory", "identity", "name")

    def __init__(self, directory: bytes, name: bytes, identity: Identity) -> None:
        self.directory = directory
        self.name = name
        self.identity = identity

    def __len__(self) -> int:
        return self.identity[2]

    @property
    def path(self) -> bytes:
        """The host path."""
        return self.directory + b"/" + self.name

    def open(self) -> int:
        """Return a new file descriptor; the caller closes it.

        Raises:
            SourceError: The file cannot be opened.
            SourceChangedError: It is gone, or is a symlink now.
        """
        try:
            return os.open(self.directory + b"/" + self.name, _OPEN_FLAGS)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise self._changed("is gone") from None
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise self._changed("was replaced by a symlink, a socket or a device") from None
            raise _unreadable(self.path, error) from error

    def verify(self, fd: int) -> None:
        """Compare an open descriptor with what was scanned. Call it after reading: it then covers the read.

        Raises:
            SourceChangedError: Device, inode, size, mtime or ctime differ.
        """
        status = os.fstat(fd)
        if (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        ) != self.identity:
            raise self._changed("changed")

    def read_into(self, view: memoryview) -> None:
        """Fill ``view`` with the whole file (``len(view) == len(self)``)."""
        fd = self.open()
        try:
            # readv, two thirds of preadv's price, does for nearly every file; _fill tells what went wrong.
            try:
                count = os.readv(fd, (view,))
            except OSError:
                count = 0
            if count != len(view):
                _fill(fd, view, 0, self)
            self.verify(fd)
        finally:
            os.close(fd)

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        fd = self.open()
        try:
            yield from _read_chunks(fd, start, stop, self)
            self.verify(fd)
        finally:
            os.close(fd)

    def _changed(self, how: str) -> SourceChangedError:
        return SourceChangedError(
            f"{show(self.path)} {how} between scan and copy; build again when nothing writes to the tree",
            self.path,
        )

    def unreadable(self, fd: int, error: OSError | None) -> SourceError:
        """Return the error for a read that failed, or (None) that met the end of the file too early."""
        try:
            self.verify(fd)
        except SourceChangedError as changed:
            return changed
        return self._changed("became shorter") if error is None else _unreadable(self.path, error)


class SharedFile:
    """A file that stays open for as long as slices of it live: a tar, or a spool without a name.

    Args:
        fd: An open descriptor, closed with this object.
        path: What to call it in messages.
        identity: What the scan saw, or None where nobody else can change it (an unnamed spool).
    """

    __slots__ = ("fd", "identity", "path")

    def __init__(self, fd: int, path: bytes, identity: Identity | None) -> None:
        self.fd = fd
        self.path = path
        self.identity = identity

    def __del__(self) -> None:
        os.close(self.fd)


class HandleSlice:
    """``length`` bytes at ``offset`` of a :class:`SharedFile`."""

    __slots__ = ("file", "length", "offset")

    def __init__(self, file: SharedFile, offset: int, length: int) -> None:
        self.file = file
        self.offset = offset
        self.length = length

    def __len__(self) -> int:
        return self.length

    def verify(self) -> None:
        """Compare the shared file with what was scanned. Call it after reading.

        Raises:
            SourceChangedError: The shared file is not the one that was scanned any more.
        """
        if self.file.identity is not None and Identity.of(os.fstat(self.file.fd)) != self.file.identity:
            raise self._changed("changed")

    def read_into(self, view: memoryview) -> None:
        """Fill ``view`` with the whole slice."""
        _fill(self.file.fd, view, self.offset, self)
        self.verify()

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        yield from _read_chunks(self.file.fd, self.offset + start, self.offset + stop, self)
        self.verify()

    def peek(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with bytes from ``start`` on; whoever has looked at all he wants calls ``verify``."""
        _fill(self.file.fd, view, self.offset + start, self)

    def expect(self, start: int, stop: int) -> None:
        """Have the kernel read all of [start, stop) soon, though only parts of it are peeked at."""
        for offset in range(self.offset + start, self.offset + stop, _READAHEAD):
            count = min(_READAHEAD, self.offset + stop - offset)
            with suppress(OSError):  # advice: a file that takes none is read all the same
                os.posix_fadvise(self.file.fd, offset, count, os.POSIX_FADV_WILLNEED)

    def unreadable(self, fd: int, error: OSError | None) -> SourceError:
        """Return the error for a read that failed, or (None) that met the end of the file too early."""
        return self._changed("became shorter") if error is None else _unreadable(self.file.path, error)

    def _changed(self, how: str) -> SourceChangedError:
        return SourceChangedError(
            f"{show(self.file.path)} {how} between scan and copy; build again when nothing writes to it",
            self.file.path,
        )


FileBacked: TypeAlias = FileSlice | HandleSlice

FILE_BACKED = (FileSlice, HandleSlice)
"""For isinstance, once a file: making the union anew each time would cost as much as the test."""


class Concatenated:
    """Several Data one after the other: the pieces of a sparse tar member."""

    __slots__ = ("length", "pieces")

    def __init__(self, pieces: Sequence[tuple[int, Data]], length: int) -> None:
        """Args: pieces: (offset, Data), sorted and disjoint, zeros between; length: bytes in all."""
        self.pieces = pieces
        self.length = length

    def __len__(self) -> int:
        return self.length

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        position = start
        # Files of a million pieces are asked for a run at a time: find the first piece by bisection.
        first = max(bisect_right(self.pieces, start, key=itemgetter(0)) - 1, 0)
        for index in range(first, len(self.pieces)):
            offset, data = self.pieces[index]
            if offset >= stop:
                break
            low, high = max(offset, position), min(offset + len(data), stop)
            if low >= high:
                continue
            yield from _zeros(low - position)
            yield from data.chunks(low - offset, high - offset)
            position = high
        yield from _zeros(stop - position)


Part: TypeAlias = tuple[int, int, Data, object]
"""One piece of a :class:`Packed`: (offset, length, all of a Data, label). A plain tuple: there is one a file,
and to ask a Data for its length costs more than to have it."""


def part(offset: int, data: Data, label: object) -> Part:
    """Return the part that holds all of ``data`` at ``offset``."""
    return offset, len(data), data, label


class Packed:
    """Many short pieces in one run of bytes, zeros between them: one extent, few large writes.

    Args:
        start: The offset that the parts' offsets count from.
        length: Bytes in all, at most CHUNK.
        parts: Sorted by offset, disjoint.
    """

    __slots__ = ("length", "parts", "start")

    def __init__(self, start: int, length: int, parts: Sequence[Part]) -> None:
        if length > CHUNK:
            raise PlanInvariantError(f"a pack of {length} bytes is larger than one chunk")
        self.start = start
        self.length = length
        self.parts = parts

    def __len__(self) -> int:
        return self.length

    def __str__(self) -> str:
        return f"{len(self.parts):,} pieces, {self.parts[0][3]} to {self.parts[-1][3]}"

    def read_into(self, view: memoryview) -> None:
        """Fill ``view`` (``len(view) == len(self)``), whatever it held before."""
        base = self.start
        position = 0
        for offset, length, data, _ in self.parts:
            low = offset - base
            gap = low - position
            if gap > len(_ZEROS):
                clear(view, position, low)
            elif gap:
                view[position:low] = _ZEROS[:gap]
            position = low + length
            if isinstance(data, FILE_BACKED):
                data.read_into(view[low:position])
            else:
                view[low:position] = b"".join(data.chunks(0, length))
        clear(view, position, self.length)

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        if start >= stop:
            return
        view = memoryview(bytearray(self.length))
        self.read_into(view)
        yield view[start:stop]


def clear(view: memoryview, start: int, stop: int) -> None:
    """Make the bytes of [start, stop) zero."""
    for offset in range(start, stop, len(_ZEROS)):
        count = min(len(_ZEROS), stop - offset)
        view[offset : offset + count] = _ZEROS[:count]


def pack(parts: Iterable[Part], alignment: int) -> Iterator[Extent]:
    """Yield extents that hold ``parts``: those with less than ``alignment`` bytes between them share one.

    Args:
        parts: Sorted by offset, disjoint.
        alignment: Bytes of a block or cluster: what lies between two parts of one is zero.
    """
    batch: list[Part] = []
    start = end = 0
    for piece in parts:
        offset = piece[0]
        part_end = offset + piece[1]
        if batch and (offset - end >= alignment or part_end - start > CHUNK):
            yield _packed(batch, start, end)
            batch = []
        if not batch:
            start = offset
        batch.append(piece)
        end = part_end
    if batch:
        yield _packed(batch, start, end)


def _packed(parts: Sequence[Part], start: int, end: int) -> Extent:
    if len(parts) == 1:
        _, length, data, label = parts[0]
        return Extent(start, length, data, 0, label)
    packed = Packed(start, end - start, parts)
    return Extent(start, end - start, packed, 0, packed)


_FILE_DATA = (FileSlice, HandleSlice, Concatenated)


def amount(extents: Iterable[Extent]) -> Amount:
    """Return the bytes of the extents, and how many files end in them."""
    size = files = 0
    for e in extents:
        size += e.length
        files += files_ended(e)
    return Amount(size, files)


def files_ended(e: Extent) -> int:
    """Return how many files have their last byte in the extent."""
    if isinstance(e.data, Packed):
        return sum(isinstance(data, _FILE_DATA) for _, _, data, _ in e.data.parts)
    return int(isinstance(e.data, _FILE_DATA) and e.data_start + e.length == len(e.data))


def cut(extents: Iterable[Extent], step: int) -> Iterator[Extent]:
    """Yield the same bytes in extents none of which crosses a multiple of ``step``.

    A pack is divided between its parts, so that no file of it is read twice; a part that itself crosses a
    multiple becomes extents of its own.

    Args:
        extents: Sorted and disjoint.
        step: Bytes between two cuts, from offset 0 on.
    """
    for e in extents:
        if e.start // step == (e.end - 1) // step:
            yield e
        elif isinstance(e.data, Packed) and e.length == e.data.length:
            yield from _cut_packed(e, e.data, step)
        else:
            yield from _cut_plain(e, step)


def _cut_packed(e: Extent, data: Packed, step: int) -> Iterator[Extent]:
    shift, parts = e.start - data.start, data.parts
    first = 0
    while first < len(parts):
        # Of those that begin before the next multiple, the last alone can cross it.
        bound = ((parts[first][0] + shift) // step + 1) * step - shift
        stop = bisect_left(parts, bound, first, key=itemgetter(0))
        offset, length, last, label = parts[stop - 1]
        crosses = offset + length > bound
        if first < stop - crosses:
            yield _gathered(parts[first : stop - crosses], shift)
        if crosses:
            yield from _cut_plain(Extent(offset + shift, length, last, 0, label), step)
        first = stop


def _gathered(parts: Sequence[Part], shift: int) -> Extent:
    last = parts[-1]
    whole = _packed(parts, parts[0][0], last[0] + last[1])
    return whole._replace(start=whole.start + shift)


def _cut_plain(e: Extent, step: int) -> Iterator[Extent]:
    start = e.start
    while start < e.end:
        end = min((start // step + 1) * step, e.end)
        yield Extent(start, end - start, e.data, e.data_start + start - e.start, e.label)
        start = end


def _unreadable(path: bytes, error: OSError) -> SourceError:
    return SourceError(f"{show(path)}: {error.strerror}; make it readable or exclude it", path)


def _fill(fd: int, view: memoryview, offset: int, source: FileBacked) -> None:
    done = 0
    while done < len(view):
        try:
            count = os.preadv(fd, (view[done:] if done else view,), offset + done)
        except OSError as error:
            raise source.unreadable(fd, error) from error
        if count == 0:
            raise source.unreadable(fd, None)
        done += count


def _read_chunks(fd: int, start: int, stop: int, source: FileBacked) -> Iterator[Buffer]:
    buffer = memoryview(bytearray(min(CHUNK, max(stop - start, 0))))
    for offset in range(start, stop, CHUNK):
        view = buffer[: min(CHUNK, stop - offset)]
        _fill(fd, view, offset, source)
        yield view


def _zeros(count: int) -> Iterator[Buffer]:
    while count > 0:
        step = min(count, CHUNK)
        yield bytes(step)
        count -= step
