"""The output file as one worker sees it: writing buffers, and moving bytes from file to file.

Bytes of a file on the host move by the cheapest way that the two file systems know:

1. FICLONERANGE shares the blocks, where source, target and length lie on block boundaries;
2. copy_file_range copies inside the kernel, on one file system (or clones, or lets a server copy);
3. sendfile copies inside the kernel across file systems;
4. pread and pwrite always work, and tell an error of the source from one of the output.

What a pair of devices does not know is asked once.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Sequence
from fcntl import ioctl
from typing import NamedTuple

from imgwriter.extent import Buffer
from imgwriter.filedata import FileBacked, FileSlice
from imgwriter.sink.replace import output_error
from imgwriter.units import align_down

STEP = 16 << 20
"""Bytes moved between two looks at whether to stop: some 10 ms from cache, 150 ms at 100 MB/s."""

IOV_MAX = 1024
"""Buffers that pwritev(2) takes at a time."""

_FICLONERANGE = 0x4020940D
_FILE_CLONE_RANGE = struct.Struct("=qQQQ")
"""struct file_clone_range: src_fd, src_offset, src_length, dest_offset. Source: ioctl_ficlonerange(2)."""

_UNKNOWN = frozenset({errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EPERM, errno.EINVAL})
_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BOUNCE = 1 << 20


class Written(NamedTuple):
    """A file that was written.

    Attributes:
        size: Its size in bytes.
        allocated: Bytes that were written; the others are zeros, where the file system can leave them out.
    """

    size: int
    allocated: int


def set_size(fd: int, size: int, name: str) -> None:
    """Set the output's size, all zeros where nothing is written.

    Raises:
        OutputError: The file system cannot hold a file of that size.
    """
    try:
        os.ftruncate(fd, size)
    except OSError as error:
        raise output_error(name, error) from error


class Abilities:
    """What a worker has learned about the target and the devices of the sources.

    Attributes:
        uncloneable: Source devices that share no blocks with the target.
        first_mover: For a source device, the first of Target.movers that works.
    """

    __slots__ = ("first_mover", "uncloneable")

    def __init__(self) -> None:
        self.uncloneable: set[int] = set()
        self.first_mover: dict[int, int] = {}


class Target:
    """An output file and one worker's own descriptor of it.

    Args:
        fd: The output, open for reading and writing; it stays open. The worker gets a descriptor of
            its own, with a file position that nobody else moves.
        name: What to call it in messages.
        abilities: What is known already.
        check: Called between steps with the bytes written since; an exception from it ends the work.
    """

    def __init__(
        self,
        fd: int,
        name: str,
        abilities: Abilities | None = None,
        check: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.name = name
        self.abilities = abilities or Abilities()
        self.check = check
        self.movers: list[Callable[[int, int, int, int], int]] = [self._copy_file_range]
        try:
            # A second open, unlike dup(2), has its own file position, which sendfile writes at.
            self.fd = os.open(b"/proc/self/fd/%d" % fd, os.O_WRONLY | os.O_CLOEXEC)
            self.movers.append(self._sendfile)
        except OSError:
            self.fd = os.dup(fd)
        self.block = os.fstatvfs(self.fd).f_bsize
        self._bounce: memoryview | None = None

    def close(self) -> None:
        """Close the worker's own descriptor."""
        os.close(self.fd)

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write buffers one after the other, from ``offset`` on.

        Raises:
            OutputError: They cannot be written.
        """
        try:
            count = os.pwritev(self.fd, buffers, offset)
            while count < sum(map(len, buffers)):
                if count == 0:
                    raise OSError(errno.EIO, "the file system takes no more bytes")
                buffers, offset = _rest(buffers, count), offset + count
                count = os.pwritev(self.fd, buffers, offset)
        except OSError as error:
            raise output_error(self.name, error) from error

    def copy(self, data: FileBacked, start: int, length: int, offset: int) -> None:
        """Move ``data[start : start + length]`` to ``offset``, and check that the source is still the same.

        Raises:
            OutputError: It cannot be written.
            SourceError: It cannot be read, or (SourceChangedError) is not what was scanned.
        """
        if isinstance(data, FileSlice):
            fd = data.open()
            try:
                self._copy_run(data, fd, start, length, offset)
                data.verify(fd)
            finally:
                os.close(fd)
        else:
            self._copy_run(data, data.file.fd, data.offset + start, length, offset)
            data.verify()

    def _copy_run(self, data: FileBacked, fd: int, start: int, length: int, offset: int) -> None:
        device = os.fstat(fd).st_dev
        done = self._clone(fd, device, start, length, offset)
        if done:
            self.check(done)
        while done < length:
            count = min(STEP, length - done)
            moved = self._move(fd, device, start + done, count, offset + done)
            if moved == 0:
                moved = self._pump(data, fd, start + done, min(count, _BOUNCE), offset + done)
            self.check(moved)
            done += moved

    def _clone(self, fd: int, device: int, start: int, length: int, offset: int) -> int:
        """Share as many blocks as can be; return their bytes."""
        count = align_down(length, self.block)
        if device in self.abilities.uncloneable or start % self.block or offset % self.block or not count:
            return 0
        try:
            ioctl(self.fd, _FICLONERANGE, _FILE_CLONE_RANGE.pack(fd, start, count, offset))
        except OSError as error:
            if error.errno in _OUTPUT:
                raise output_error(self.name, error) from error
            if error.errno != errno.EINVAL:  # EINVAL is about this file, e.g. one without checksums on btrfs
                self.abilities.uncloneable.add(device)
            return 0
        return count

    def _move(self, fd: int, device: int, start: int, count: int, offset: int) -> int:
        """Let the kernel copy; return the bytes that it moved, 0 where only reading and writing will do."""
        first = self.abilities.first_mover.get(device, 0)
        for index, mover in enumerate(self.movers[first:], first):
            try:
                return mover(fd, start, count, offset)
            except OSError as error:
                if error.errno in _OUTPUT:
                    raise output_error(self.name, error) from error
                if error.errno not in _UNKNOWN:
                    return 0
                self.abilities.first_mover[device] = index + 1
        return 0

    def _copy_file_range(self, fd: int, start: int, count: int, offset: int) -> int:
        return os.copy_file_range(fd, self.fd, count, start, offset)

    def _sendfile(self, fd: int, start: int, count: int, offset: int) -> int:
        os.lseek(self.fd, offset, os.SEEK_SET)
        return os.sendfile(self.fd, fd, start, count)

    def _pump(self, data: FileBacked, fd: int, start: int, count: int, offset: int) -> int:
        if self._bounce is None:
            self._bounce = memoryview(bytearray(_BOUNCE))
        try:
            moved = os.preadv(fd, (self._bounce[:count],), start)
        except OSError as error:
            raise data.unreadable(fd, error) from error
        if moved == 0:
            raise data.unreadable(fd, None)
        self.write((self._bounce[:moved],), offset)
        return moved


def _rest(buffers: Sequence[Buffer], written: int) -> list[Buffer]:
    """Return what is left of ``buffers`` after the first ``written`` bytes."""
    rest: list[Buffer] = []
    for buffer in buffers:
        if written < len(buffer):
            rest.append(memoryview(buffer)[written:])
        written = max(written - len(buffer), 0)
    return rest
