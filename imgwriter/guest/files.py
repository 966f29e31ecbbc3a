"""Where kernels, modules and busybox come from: the tree of the image, or directories of the host.

Both are looked at in the same three ways. Paths are bytes, relative to the place's root, and symlinks are
followed: those of a tree as the kernel would with the tree as its root, those of the host as the host does.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from imgwriter.errors import SourceError, show
from imgwriter.extent import Bytes, Data
from imgwriter.filedata import FileSlice, Identity
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import Lookup

MAX_DEPTH = 16
"""Directories below each other in a walk: /lib/modules has 8, and symlinks in a circle come to an end."""

MAX_NAMES = 100_000
"""Names that a walk may meet: a distribution's kernel has 5,000 modules."""

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Files(Protocol):
    """A place to look for files in."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def names(self, path: bytes) -> Sequence[bytes]:
        """Return the names in a directory, sorted; none where there is no directory."""
        ...

    def data(self, path: bytes) -> Data | None:
        """Return the content of the regular file that ``path`` leads to; None where there is none."""
        ...


class TreeFiles:
    """The tree of an image.

    Args:
        root: Its root directory.
        name: What to call it in messages.
    """

    __slots__ = ("_lookup", "name")

    def __init__(self, root: Inode, name: str = "the tree") -> None:
        self._lookup = Lookup(root)
        self.name = name

    def names(self, path: bytes) -> Sequence[bytes]:
        inode = self._find(path)
        return sorted(inode.entries) if inode is not None and inode.entries is not None else ()

    def data(self, path: bytes) -> Data | None:
        inode = self._find(path)
        if inode is None or not stat.S_ISREG(inode.mode):
            return None
        return inode.data if inode.data is not None else Bytes(b"")  # empty, or nothing but a hole

    def _find(self, path: bytes) -> Inode | None:
        with suppress(SourceError):
            return self._lookup.find(path)
        return None


class HostFiles:
    """A directory of the host.

    Args:
        directory: Its path.
        option: What names another one, for messages.
    """

    __slots__ = ("_directory", "_option")

    def __init__(self, directory: bytes, option: str = "--vm-modules") -> None:
        self._directory = os.path.abspath(directory)
        self._option = option

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return show(self._directory)

    def names(self, path: bytes) -> Sequence[bytes]:
        with suppress(OSError):
            return sorted(os.listdir(os.path.join(self._directory, path)))
        return ()

    def data(self, path: bytes) -> Data | None:
        return host_data(os.path.join(self._directory, path), self._option)


def host_data(path: bytes, option: str) -> Data | None:
    """Return the content of the regular file of the host that ``path`` leads to; None where there is none.

    Args:
        path: Where it is.
        option: What names another one, for messages.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        return host_file(path)
    except OSError as error:
        reason = f"{show(path)} cannot be read ({error.strerror})"
        raise SourceError(f"{reason}; make it readable, or give another with {option}", path) from error


def host_file(path: bytes) -> Data | None:
    """Return what :func:`host_data` does, for a caller that has a next one to try.

    Raises:
        OSError: It cannot be read.
    """
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
        if not stat.S_ISREG(status.st_mode):
            return None
        os.close(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    directory, name = os.path.split(real)
    return FileSlice(directory, name, Identity.of(status))


def walk(
    files: Files, path: bytes, without: Sequence[bytes] = (), leaves: tuple[bytes, ...] = ()
) -> Iterator[bytes]:
    """Yield the paths below a directory, relative to it, parents before children, sorted in each directory.

    Args:
        files: Where to look.
        path: The directory.
        without: Names in it that are left out.
        leaves: Endings of names that are no directories: to ask each would cost a system call.

    Raises:
        SourceError: There are more than MAX_NAMES.
    """
    stack = [(name, 1) for name in reversed(files.names(path)) if name not in without]
    met = len(stack)
    while stack:
        relative, depth = stack.pop()
        yield relative
        if depth == MAX_DEPTH or relative.endswith(leaves):
            continue
        below = files.names(path + b"/" + relative)
        met += len(below)
        if met > MAX_NAMES:
            raise SourceError(
                f"{files.name}: {show(path)} holds more than {MAX_NAMES:,} names; give the directory of one"
                " kernel's modules",
                path,
            )
        stack.extend((relative + b"/" + name, depth + 1) for name in reversed(below))


def read(data: Data, limit: int, what: str) -> bytes:
    """Return all bytes of ``data``.

    Raises:
        SourceError: There are more than ``limit``.
    """
    if len(data) > limit:
        raise SourceError(f"{what} has {len(data)} bytes, of which {limit} are taken; give the right file")
    return b"".join(bytes(piece) for piece in data.chunks(0, len(data)))
