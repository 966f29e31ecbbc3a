"""A host directory becomes a layer: an Inode for every entry, no file bytes.

::

    listing: rows ─> Inode(FileSlice)       opened only to ask for holes, when fewer blocks are
                 │                          allocated than the size needs
                 └ nlink > 1: (device, inode) finds the Inode made before

No symlink below the top is followed. Mounts below the top are part of the tree. Whatever disappears or
changes while it is looked at is an error that names it; what changes later is found when it is copied,
by the Identity kept here.

The cost is counted in system calls and objects a file: one row, one Inode, one FileSlice, one Identity.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from imgwriter.errors import SourceError, show
from imgwriter.filedata import FileSlice, Identity
from imgwriter.tree import holes
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import NO_XATTRS, Inode, Run
from imgwriter.tree.listers import Listers
from imgwriter.tree.listing import Directory, Row, refuse, row_of
from imgwriter.tree.rules import SourceRules

_FORMAT = 0o170000
_REGULAR, _DIRECTORY, _SYMLINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_SECTOR = 512  # the unit of st_blocks

_make = tuple.__new__  # what a NamedTuple's own constructor calls, at half the price: once a file


def read(path: bytes, rules: SourceRules, origin: str = "") -> Inode:
    """Read all of a host directory.

    Args:
        path: The directory, or a symlink to it.
        rules: What to leave out, and whom it belongs to.
        origin: What to call it in messages; ``tree PATH`` when empty.

    Returns:
        The root of the layer: the directory itself.

    Raises:
        SourceError: It is no directory, or something in it cannot be read.
        SourceChangedError: Something in it changed meanwhile.
    """
    return _Reader(rules, origin or f"tree {show(path)}").tree(path)


def read_entry(path: bytes, rules: SourceRules, origin: str = "") -> Inode:
    """Read one host file of any kind; a directory with all that is in it, a symlink as itself.

    Args and raises: As :func:`read`.
    """
    reader = _Reader(rules, origin or f"content {show(path)}")
    directory, name = os.path.split(path.rstrip(b"/"))
    directory = directory or (b"/" if path.startswith(b"/") else b".")
    try:
        status = os.lstat(path.rstrip(b"/") or b"/")
    except FileNotFoundError:
        raise SourceError(f"{reader.origin}: {show(path)} does not exist; correct the source", path) from None
    except OSError as error:
        refuse(path, error)
    if stat.S_ISDIR(status.st_mode):
        return reader.tree(path)
    return reader.inode(directory, row_of(name, path, status, rules))


class _Reader:
    """The state of one scan: what is shared by the files of a tree."""

    __slots__ = ("detect", "linked", "origin", "owner", "rules")

    def __init__(self, rules: SourceRules, origin: str) -> None:
        self.rules = rules
        self.origin = origin
        self.owner = rules.owner
        self.detect = rules.holes is Holes.DETECT
        self.linked: dict[tuple[int, int], Inode] = {}

    def tree(self, top: bytes) -> Inode:
        """Return the directory ``top`` with everything beneath it."""
        try:
            status = os.stat(top)
        except FileNotFoundError:
            raise SourceError(f"{show(top)} does not exist; give a directory or a tar", top) from None
        except OSError as error:
            refuse(top, error)
        if not stat.S_ISDIR(status.st_mode):
            raise SourceError(f"{show(top)} is not a directory; give a directory or a tar", top)
        root = self.inode(b"", row_of(b"", top, status, self.rules))
        listers: Listers[Inode] = Listers(self.rules)
        listers.add(root, Directory(top, b"", Identity.of(status)))
        for parent, directory, rows in listers.listed():
            self._fill(parent, directory, rows, listers)
        return root

    def _fill(
        self, parent: Inode, directory: Directory, rows: Sequence[Row], listers: Listers[Inode]
    ) -> None:
        """Make the entries of one directory; have its subdirectories listed."""
        entries = parent.entries = {}
        path, inside, _ = directory
        for row in rows:
            name, mode = row[0], row[1]
            child = entries[name] = self.inode(path, row)
            if mode & _FORMAT == _DIRECTORY:
                # As scandir joins them: the top may be the root.
                below = path + name if path.endswith(b"/") else path + b"/" + name
                listers.add(child, Directory(below, inside + name + b"/", _identity(row)))

    def inode(self, directory: bytes, row: Row) -> Inode:
        """Return the Inode of a row; the same one for each name of a file."""
        if row[4] == 1 or row[1] & _FORMAT == _DIRECTORY:
            return self._made(directory, row)
        key = (row[3], row[2])
        inode = self.linked.get(key)
        if inode is None:
            inode = self.linked[key] = self._made(directory, row)
        return inode

    def _made(self, directory: bytes, row: Row) -> Inode:
        name, mode, number, device, _, uid, gid, size, mtime_ns, ctime_ns, blocks, xattrs, more = row
        if self.owner is not None:
            uid, gid = self.owner
        inode = Inode(mode, uid, gid, mtime_ns, xattrs or NO_XATTRS, self.origin)
        kind = mode & _FORMAT
        if kind == _REGULAR:
            inode.size = size
            if size:
                identity = _make(Identity, (device, number, size, mtime_ns, ctime_ns))
                data = inode.data = FileSlice(directory, name, identity)
                if blocks * _SECTOR < size or self.detect:
                    inode.runs = self._runs(data, size, blocks)
        elif kind == _SYMLINK and isinstance(more, bytes):
            inode.target = more
            inode.size = len(more)
        elif kind in _DEVICES and isinstance(more, tuple):
            inode.rdev = more
        return inode

    def _runs(self, data: FileSlice, size: int, blocks: int) -> Sequence[Run] | None:
        """Return the runs of a file that may have holes."""
        if self.rules.holes is Holes.FILL:
            return None
        known = None
        if blocks * _SECTOR < size:
            fd = data.open()
            try:
                known = holes.seek_map(fd, size)
                data.verify(fd)
            finally:
                os.close(fd)
        return holes.detect(data, known) if self.detect else known


def _identity(row: Row) -> Identity:
    return _make(Identity, (row[3], row[2], row[7], row[8], row[9]))
