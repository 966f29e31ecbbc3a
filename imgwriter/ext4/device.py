"""The blocks of a file system that is read: where they are in a Volume, and what its journal has newer.

::

    Volume   │      ├ block 0 │ block 1 │ ... ┤      │      offset: where the file system begins
                         │         └──────────────────────> a slice of what the Volume's extent reads
                         └── newer ──> a block of the journal, the same way

Structures are read at once, a few blocks at a time. File contents are not read: :meth:`Device.pieces` says
where they are, and what is part of an open file stays that, so that whoever writes it may let the kernel
move it.

Every offset in an error counts from the Volume's start.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from imgwriter.errors import FormatError
from imgwriter.ext4.format import JBD2_MAGIC_NUMBER
from imgwriter.extent import Buffer, Bytes, Data, Volume
from imgwriter.filedata import Concatenated, HandleSlice

_MAGIC = JBD2_MAGIC_NUMBER.to_bytes(4, "big")


class Newer(NamedTuple):
    """Where the journal has a block: in which block of the file system, and whether it is escaped there.

    An escaped block begins with the journal's own magic number, which the journal keeps as zeros.
    """

    block: int
    escaped: bool


Part = tuple[int, int, int]
"""A run of a file: (offset in the file, offset in the file system, length), in bytes."""


class Window:
    """The bytes [start, start + length) of another Data."""

    __slots__ = ("data", "length", "start")

    def __init__(self, data: Data, start: int, length: int) -> None:
        self.data = data
        self.start = start
        self.length = length

    def __len__(self) -> int:
        return self.length

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        yield from self.data.chunks(self.start + start, self.start + stop)


def window(data: Data, start: int, length: int) -> Data:
    """Return part of a Data; part of an open file is one itself."""
    if isinstance(data, HandleSlice):
        return HandleSlice(data.file, data.offset + start, length)
    if length == len(data):
        return data
    return Window(data, start, length)


class Device:
    """The bytes of one file system.

    Args:
        volume: The disk that holds it.
        offset: Its first byte there.
        size: Bytes that it may have.
        block_size: Bytes in a block; any before it is known.
        newer: The blocks that are somewhere else now.
    """

    __slots__ = ("_extents", "_newer", "_newer_blocks", "_starts", "block_size", "offset", "size")

    def __init__(
        self,
        volume: Volume,
        offset: int,
        size: int,
        block_size: int = 1024,
        newer: Mapping[int, Newer] | None = None,
    ) -> None:
        self._extents = volume.extents
        self._starts = [e.start for e in volume.extents]
        self.offset = offset
        self.size = size
        self.block_size = block_size
        self._newer = newer or {}
        self._newer_blocks = sorted(self._newer)

    def block_offset(self, block: int) -> int:
        """Return the offset of a block in the Volume."""
        return self.offset + block * self.block_size

    def block(self, number: int) -> bytes:
        """Return the bytes of a block.

        Raises:
            FormatError: The Volume is an image that is damaged there.
            SourceError: The Volume cannot be read.
        """
        return self.read(number * self.block_size, self.block_size)

    def read(self, start: int, length: int) -> bytes:
        """Return the bytes [start, start + length) of the file system; what the Volume lacks is zero.

        Raises:
            FormatError: The Volume is an image that is damaged there.
            SourceError: The Volume cannot be read.
        """
        content = bytearray(length)
        view = memoryview(content)
        for at, data in self.pieces(start, length):
            if isinstance(data, HandleSlice):
                data.read_into(view[at : at + data.length])
                continue
            for chunk in data.chunks(0, len(data)):
                view[at : at + len(chunk)] = chunk
                at += len(chunk)
        return bytes(content)

    def data(self, parts: list[Part], length: int) -> Data:
        """Return a file's content.

        Args:
            parts: In order; zeros between.
            length: Bytes of the file.
        """
        found = [(low + at, data) for low, start, count in parts for at, data in self.pieces(start, count)]
        if len(found) == 1:
            only = found[0][1]
            if isinstance(only, HandleSlice) and only.length == length:
                return only
        return Concatenated(found, length)

    def pieces(self, start: int, length: int) -> list[tuple[int, Data]]:
        """Return where the bytes [start, start + length) are: (position among them, Data); zeros between."""
        found: list[tuple[int, Data]] = []
        blocks, size = self._newer_blocks, self.block_size
        stop = position = start + length
        if blocks:
            position = start
            for index in range(bisect_left(blocks, start // size), len(blocks)):
                block = blocks[index]
                low, high = max(block * size, start), min((block + 1) * size, stop)
                if low >= stop:
                    break
                self._of_volume(found, position, low, start)
                self._of_journal(found, block, low, high, start)
                position = high
            self._of_volume(found, position, stop, start)
        else:
            self._of_volume(found, start, stop, start)
        return found

    def allocated(self, start: int, length: int) -> list[tuple[int, int]]:
        """Return where the Volume has bytes in [start, start + length): runs [low, high); the rest is zero.

        All count from the start of the file system.
        """
        found: list[tuple[int, int]] = []
        for at, data in self.pieces(start, length):
            low, high = start + at, start + at + len(data)
            if found and found[-1][1] >= low:
                found[-1] = found[-1][0], max(high, found[-1][1])
            else:
                found.append((low, high))
        return found

    def _of_journal(self, found: list[tuple[int, Data]], block: int, low: int, high: int, base: int) -> None:
        newer = self._newer[block]
        shift = (newer.block - block) * self.block_size
        if newer.escaped and low < block * self.block_size + len(_MAGIC):
            end = min(block * self.block_size + len(_MAGIC), high)
            within = low - block * self.block_size
            found.append((low - base, Bytes(_MAGIC[within : within + end - low])))
            low = end
        self._of_volume(found, low + shift, high + shift, base + shift)

    def _of_volume(self, found: list[tuple[int, Data]], low: int, high: int, base: int) -> None:
        """Add the bytes [low, high) as the Volume has them; positions count from ``base``."""
        low += self.offset
        high += self.offset
        base += self.offset
        extents = self._extents
        for index in range(max(bisect_right(self._starts, low) - 1, 0), len(extents)):
            e = extents[index]
            if e.start >= high:
                break
            start, stop = max(low, e.start), min(high, e.start + e.length)
            if start < stop:
                found.append((start - base, window(e.data, e.data_start + start - e.start, stop - start)))


def damaged(what: str, where: str, offset: int) -> FormatError:
    """Return the error for a structure that cannot be right.

    Args:
        what: What is wrong, with numbers.
        where: The structure and field, in the specification's words.
        offset: Of the structure, in the Volume.
    """
    message = f"{what}; the file system is damaged: repair a copy of it with e2fsck -f"
    return FormatError(message, where, offset)
