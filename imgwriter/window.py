"""Part of a Volume that a file system's reader looks into: bounded, and found by bisection.

::

    volume   ├──────┬───────────────── offset + size ──────┤
    window          ├ 0 ─ read ─ read ─ data ──────── size ┤

A disk of a real image has thousands of extents, and a reader asks thousands of times. Structures are read at
once; the bytes of files are not read: they become a Data of pieces of the volume's own extents, and where an
extent is a slice of a file, so is the piece.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import attrgetter

from imgwriter.errors import FormatError
from imgwriter.extent import Buffer, Data, Extent, Volume
from imgwriter.filedata import Concatenated, HandleSlice

_START = attrgetter("start")


class Piece:
    """``length`` bytes of another Data, from ``start`` on."""

    __slots__ = ("data", "length", "start")

    def __init__(self, data: Data, start: int, length: int) -> None:
        self.data = data
        self.start = start
        self.length = length

    def __len__(self) -> int:
        return self.length

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        return self.data.chunks(self.start + start, self.start + stop)


class Window:
    """The bytes [offset, offset + size) of a Volume, counted from 0.

    Args:
        volume: The disk.
        offset: Where the window begins, in bytes.
        size: Bytes of it; None for all that follow.

    Raises:
        FormatError: The window does not lie in the volume.
    """

    __slots__ = ("extents", "offset", "size")

    def __init__(self, volume: Volume, offset: int = 0, size: int | None = None) -> None:
        rest = volume.size - offset
        if offset < 0 or rest < 0 or (size is not None and not 0 <= size <= rest):
            length = "" if size is None else f"{size:,} bytes at "
            raise FormatError(
                f"{length}{offset:,} do not lie in the disk of {volume.size:,} bytes; the disk is cut off,"
                " or its table is damaged",
                "disk",
                offset,
            )
        self.extents = volume.extents
        self.offset = offset
        self.size = rest if size is None else size

    def require(self, start: int, length: int, where: str) -> None:
        """Check that ``length`` bytes at ``start`` are in the window, before anything is made of them.

        Raises:
            FormatError: They are not; its offset counts from the start of the volume.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise FormatError(
                f"the {where}, {length:,} bytes at {start:,}, ends beyond the {self.size:,} bytes that there"
                " are; the file system is damaged or cut off",
                where,
                self.offset + start,
            )

    def read(self, start: int, length: int, where: str) -> bytes:
        """Return the bytes of [start, start + length), all of which must be in the window.

        Args:
            start, length: Bytes.
            where: What is read, in the specification's words, for the message.

        Raises:
            FormatError: They end beyond it.
        """
        self.require(start, length, where)
        result = bytearray(length)
        for low, e in self._overlapping(start, start + length):
            high = min(e.end, self.offset + start + length)
            position = low - self.offset - start
            shift = e.data_start - e.start
            # A piece is valid until the next one is asked for.
            for piece in e.data.chunks(low + shift, high + shift):
                result[position : position + len(piece)] = piece
                position += len(piece)
        return bytes(result)

    def has_data(self, start: int, stop: int) -> bool:
        """Return whether anything of [start, stop) is in an extent: what is not is zeros."""
        return next(self._overlapping(start, stop), None) is not None

    def data(self, runs: Iterable[tuple[int, int]], size: int) -> Data:
        """Return what lies in ``runs``, one after the other, without reading it.

        Args:
            runs: (start, length) in bytes, in the file's order; inside the window.
            size: Bytes of the result: what the runs have more is left out, what they have less is zeros.

        Returns:
            A slice of the host's file where all of it is one there; else the pieces, with zeros between.
        """
        pieces: list[tuple[int, Data]] = []
        at = 0
        for start, length in runs:
            length = min(length, size - at)
            stop = self.offset + start + length
            for low, e in self._overlapping(start, start + length):
                piece = _part(e.data, e.data_start + low - e.start, min(e.end, stop) - low)
                _append(pieces, at + low - self.offset - start, piece)
            at += length
        if len(pieces) == 1 and len(pieces[0][1]) == size:
            return pieces[0][1]
        return Concatenated(pieces, size)

    def _overlapping(self, start: int, stop: int) -> Iterator[tuple[int, Extent]]:
        """Yield the extents that share bytes with it, each with the first such byte of the disk."""
        start += self.offset
        stop += self.offset
        extents = self.extents
        for index in range(max(bisect_right(extents, start, key=_START) - 1, 0), len(extents)):
            e = extents[index]
            if e.start >= stop or start >= stop:
                return
            if e.end > start:
                yield max(e.start, start), e


def _part(data: Data, start: int, length: int) -> Data:
    if isinstance(data, HandleSlice):
        return HandleSlice(data.file, data.offset + start, length)
    return data if start == 0 and length == len(data) else Piece(data, start, length)


def _append(pieces: list[tuple[int, Data]], at: int, data: Data) -> None:
    """Add a piece, to the last one where the two are neighbours in one file."""
    if pieces and isinstance(data, HandleSlice):
        start, last = pieces[-1]
        if (
            isinstance(last, HandleSlice)
            and last.file is data.file
            and start + last.length == at
            and last.offset + last.length == data.offset
        ):
            pieces[-1] = start, HandleSlice(last.file, last.offset, last.length + data.length)
            return
    pieces.append((at, data))
