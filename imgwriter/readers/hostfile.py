"""The file that an image is read from, and what every reader does with it.

Structures are read at once, and only where they lie in the file: no reader allocates more than the file has.
Content is not read: it becomes slices of the file, which whoever writes them may let the kernel move.

::

    file    ├ header ┤ table ┤   cluster   │   cluster   │ clus|          the file may end within a cluster:
                                                              └ zeros    what is missing reads as zeros
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import Literal

from imgwriter.errors import FormatError, SourceError, show
from imgwriter.extent import CHUNK, Extent
from imgwriter.filedata import HandleSlice, Identity, SharedFile

# A FIFO must not block the open; O_NONBLOCK means nothing to a file or a disk.
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

GET_WHOLE = "get the whole of the file"
CUT_OFF = f"the image is cut off: {GET_WHOLE}"
CUT_OFF_OR_DAMAGED = f"the image is cut off or damaged: {GET_WHOLE}"
"""Remedies for a file that ends before something in it does; no tool can repair what is not there."""

_NOT_FREE = re.compile(rb"[^\xff]")
_KINDS = {
    stat.S_IFDIR: "a directory; to make an image of a tree, build it",
    stat.S_IFIFO: "a pipe; write it to a file first",
    stat.S_IFSOCK: "a socket; write what it gives to a file first",
    stat.S_IFCHR: "a character device; give a file or a disk",
}


class HostFile:
    """An open image file and its size in bytes, which stays what it is: see ``SharedFile.identity``."""

    __slots__ = ("shared", "size")

    def __init__(self, shared: SharedFile, size: int) -> None:
        self.shared = shared
        self.size = size

    def require(self, offset: int, length: int, where: str) -> None:
        """Check that ``length`` bytes at ``offset`` are in the file, before anything is made of their number.

        Raises:
            FormatError: They end beyond it.
        """
        if offset + length > self.size:
            raise FormatError(
                f"the {where} of {length:,} bytes at {offset:,} ends beyond the file, which has {self.size:,}"
                f" bytes; {CUT_OFF_OR_DAMAGED}",
                where,
                offset,
            )

    def read(self, offset: int, length: int, where: str) -> bytes:
        """Return ``length`` bytes at ``offset``, all of which must be in the file.

        Args:
            offset, length: Bytes.
            where: What is read, in the specification's words, for the message.

        Raises:
            FormatError: They end beyond the file.
            SourceError: The file cannot be read, or changed meanwhile.
        """
        self.require(offset, length, where)
        content = bytearray(length)
        self.slice(offset, length).read_into(memoryview(content))
        return bytes(content)

    def allocated(
        self, offset: int, count: int, byteorder: Literal["little", "big"], where: str
    ) -> Iterator[tuple[int, int]]:
        """Yield (index, entry) of a table of ``count`` 32-bit entries, but for those that are 0xFFFFFFFF.

        Raises:
            FormatError: The table ends beyond the file.
            SourceError: The file cannot be read, or changed meanwhile.
        """
        self.require(offset, 4 * count, where)
        for first in range(0, count, CHUNK // 4):
            table = self.read(offset + 4 * first, 4 * min(count - first, CHUNK // 4), where)
            entries = array("I", table)
            if byteorder != sys.byteorder:
                entries.byteswap()
            index = 0
            while found := _NOT_FREE.search(table, 4 * index):
                index = found.start() // 4
                yield first + index, entries[index]
                index += 1

    def slice(self, offset: int, length: int) -> HandleSlice:
        """Return the Data of ``length`` bytes at ``offset``."""
        return HandleSlice(self.shared, offset, length)

    def is_hole(self, offset: int, length: int) -> bool:
        """Return whether the file system knows the bytes for a hole: they need not be read, they are zero."""
        try:
            return os.lseek(self.shared.fd, offset, os.SEEK_DATA) >= offset + length
        except OSError as error:
            return error.errno == errno.ENXIO  # no data up to the end; others: it cannot tell

    def extent(self, start: int, offset: int, length: int, label: str) -> Extent:
        """Return the extent at ``start`` of the guest that reads the file at ``offset``.

        What would lie beyond the end of the file is left out: it is zero.
        """
        length = min(length, self.size - offset)
        return Extent(start, length, self.slice(offset, length), 0, label)


def open_file(path: bytes) -> HostFile:
    """Open an image to read: a regular file, or a block device of known size.

    Raises:
        SourceError: There is none, it may not be read, or is something else.
    """
    try:
        fd = os.open(path, _OPEN_FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise SourceError(f"{show(path)} is {_KINDS[stat.S_IFSOCK]}", path) from error
        raise SourceError(f"{show(path)}: {error.strerror}; name an image that can be read", path) from error
    shared = SharedFile(fd, path, None)  # closes the descriptor, whatever happens
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        shared.identity = Identity.of(status)
        return HostFile(shared, status.st_size)
    if not stat.S_ISBLK(status.st_mode):
        raise SourceError(f"{show(path)} is {_KINDS[stat.S_IFMT(status.st_mode)]}", path)
    try:
        return HostFile(shared, os.lseek(fd, 0, os.SEEK_END))
    except OSError as error:
        message = f"{show(path)} is a device that does not tell its size; copy it to a file first"
        raise SourceError(message, path) from error


class Used:
    """Runs of the file that something is stored in: none may be used twice.

    Two clusters of a disk in one place are damage where there are no snapshots, and would let a small file
    describe a disk of any size.
    """

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        # 16 bytes a run: compressed clusters are one each, by the million.
        self._starts = array("Q")
        self._stops = array("Q")

    def add(self, start: int, stop: int) -> None:
        """Note that the bytes [start, stop) are used, if there are any."""
        if self._stops and start == self._stops[-1]:
            self._stops[-1] = stop
        elif start < stop:
            self._starts.append(start)
            self._stops.append(stop)

    def refuse_overlaps(self, where: str) -> None:
        """Check all runs against each other.

        Args:
            where: The table that says where they are, for the message.

        Raises:
            FormatError: Two overlap.
        """
        for start in self.overlaps():
            raise FormatError(
                f"the {where} uses the bytes at {start:,} of the file twice; the image is damaged:"
                " get it anew",
                where,
                start,
            )

    def overlaps(self) -> Iterator[int]:
        """Yield where runs begin that others have not ended before."""
        # Two overlap exactly where one more begins than has ended: which end belongs to which start does not
        # matter, so both are sorted by themselves, in less memory than pairs of them.
        starts, stops = array("Q", sorted(self._starts)), array("Q", sorted(self._stops))
        for start, end in zip(starts[1:], stops, strict=False):
            if start < end:
                yield start


def joined(extents: Iterable[Extent]) -> list[Extent]:
    """Return extents that are slices of one file with those made one that touch on disk and in the file."""
    result: list[Extent] = []
    for e in extents:
        if result and isinstance(e.data, HandleSlice):
            last = result[-1]
            before = last.data
            if (
                isinstance(before, HandleSlice)
                and last.end == e.start
                and before.offset + before.length == e.data.offset
            ):
                data = HandleSlice(before.file, before.offset, before.length + e.length)
                result[-1] = Extent(last.start, last.length + e.length, data, 0, last.label)
                continue
        result.append(e)
    return result
