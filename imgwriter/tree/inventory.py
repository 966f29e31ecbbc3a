"""Inventory: the tree that goes into an image, as values; no file bytes.

A name in a directory points to an :class:`Inode`; hard links are two names that point to the same
one. File contents are :class:`~imgwriter.extent.Data` that refer to their source. The modules of
``tree/`` build the graph of Inodes; from :class:`Inventory` on nobody changes it.

Names and paths are bytes, relative to the image's root, without a leading slash; the root is ``b""``.
Everything is ordered by the bytes of the names, so that neither readdir nor a tar's order shows.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from imgwriter.extent import Data

NO_XATTRS: Mapping[bytes, bytes] = MappingProxyType({})

Run = tuple[int, int]
"""A half-open interval of bytes of a file."""


class Inode:
    """One file of any type, as it shall be in the image.

    Attributes:
        mode: ``st_mode``: type and twelve permission bits.
        uid, gid: Owner, 32 bits.
        mtime_ns: Modification time in nanoseconds since the epoch; access, change and creation time
            follow it.
        size: Bytes of a regular file; length of a symlink's target; else 0.
        data: The bytes of a regular file (``len(data) == size``), or None when it is empty or one hole.
        runs: The half-open intervals of ``data`` that hold data, sorted, disjoint, not empty; the rest
            are holes. None: no holes.
        target: What a symlink points to, else b"".
        rdev: (major, minor) of a device, else (0, 0).
        xattrs: Extended attributes by full name (``b"user.comment"``), POSIX ACLs in the kernel's
            xattr form (version 2).
        entries: A directory's names, else None. Sorted by name once an Inventory holds them.
        nlink: How many names the inode has (1 for a directory); set by Inventory.
        index: Its position in ``Inventory.inodes``; -1 before.
        parent, name: One of the inode's names: the first in the image's order; the root has parent None.
        implicit: True for a directory that no source described, made only to hold others.
        origin: Where it came from, for messages: the layer's text ("tree /srv/root", "tar x.tar").
    """

    __slots__ = (
        "data",
        "entries",
        "gid",
        "implicit",
        "index",
        "mode",
        "mtime_ns",
        "name",
        "nlink",
        "origin",
        "parent",
        "rdev",
        "runs",
        "size",
        "target",
        "uid",
        "xattrs",
    )

    def __init__(
        self,
        mode: int,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        xattrs: Mapping[bytes, bytes] = NO_XATTRS,
        origin: str = "",
        *,
        size: int = 0,
        data: Data | None = None,
        runs: Sequence[Run] | None = None,
        target: bytes = b"",
        rdev: tuple[int, int] = (0, 0),
    ) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime_ns = mtime_ns
        self.size = size
        self.data = data
        self.runs = runs
        self.target = target
        self.rdev = rdev
        self.xattrs = xattrs
        self.entries: dict[bytes, Inode] | None = {} if mode & 0o170000 == 0o040000 else None
        self.nlink = 1
        self.index = -1
        self.parent: Inode | None = None
        self.name = b""
        self.implicit = False
        self.origin = origin

    @property
    def path(self) -> bytes:
        """The path inside the image, without a leading slash."""
        names = []
        inode = self
        while inode.parent is not None:
            names.append(inode.name)
            inode = inode.parent
        return b"/".join(reversed(names))

    def __str__(self) -> str:
        return self.path.decode("utf-8", "backslashreplace") or "/"

    def data_runs(self) -> Sequence[Run]:
        """Return the half-open byte intervals that hold data."""
        if self.data is None:
            return ()
        return ((0, self.size),) if self.runs is None else self.runs


class Inventory:
    """A finished tree: its root, and every inode once, in the image's order.

    The order is a walk in which a directory's names, sorted by their bytes, come together, followed
    by the contents of its subdirectories: siblings are neighbours, so that inode numbers and data of
    one directory lie side by side.

    Attributes:
        root: The root directory.
        inodes: Every inode once, the root first.
        directories: Every directory, the root first: the order of ``inodes``.
        names: How many names there are, the root's not counted.
        size: Sum of the sizes of regular files, each inode once, in bytes.
    """

    def __init__(self, root: Inode) -> None:
        self.root = root
        self.inodes: list[Inode] = [root]
        self.directories: list[Inode] = []
        self.names = 0
        self.size = 0
        root.parent, root.name, root.nlink, root.index = None, b"", 1, 0
        self._walk(root)

    def _walk(self, root: Inode) -> None:
        stack = [root]
        inodes = self.inodes
        count = len(inodes)
        while stack:
            directory = stack.pop()
            self.directories.append(directory)
            unsorted = directory.entries
            assert unsorted is not None
            entries = directory.entries = {name: unsorted[name] for name in sorted(unsorted)}
            self.names += len(entries)
            children = []
            for name, inode in entries.items():
                # Met before in this walk, by another name, when it stands where its index says.
                index = inode.index
                if 0 <= index < count and inodes[index] is inode:
                    inode.nlink += 1
                    continue
                if inode.entries is not None:
                    children.append(inode)
                elif inode.data is not None:
                    self.size += inode.size
                inode.nlink = 1
                inode.parent = directory
                inode.name = name
                inode.index = count
                count += 1
                inodes.append(inode)
            stack.extend(reversed(children))

    def walk(self) -> Iterator[tuple[bytes, Inode]]:
        """Yield (path, inode) for every name, the root (``b""``) first, parents before children."""
        yield b"", self.root
        stack: list[tuple[bytes, Inode]] = [(b"", self.root)]
        while stack:
            path, directory = stack.pop()
            children = []
            for name, inode in (directory.entries or {}).items():
                full = path + b"/" + name if path else name
                yield full, inode
                if inode.entries is not None:
                    children.append((full, inode))
            stack.extend(reversed(children))

    def largest(self, count: int = 10) -> list[tuple[int, bytes]]:
        """Return (size, path) of the ``count`` largest regular files, largest first."""
        files = sorted((i for i in self.inodes if stat.S_ISREG(i.mode)), key=lambda i: -i.size)[:count]
        return [(i.size, i.path) for i in files]
