"""A host directory becomes a layer: an Inode for every entry, no file bytes.

::

    scandir ─> lstat ─> llistxattr ─> Inode(FileSlice)      four system calls a file at the most
                 │                        │
                 │                        └ opened only to ask for holes, when fewer blocks are
                 │                          allocated than the size needs
                 └ nlink > 1: (device, inode) finds the Inode made before

No symlink below the top is followed. Mounts below the top are part of the tree. Whatever disappears or
changes while it is looked at is an error that names it; what changes later is found when it is copied,
by the Identity kept here.

The cost is counted in system calls and objects a file: one Inode, one FileSlice, one Identity.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import NoReturn

from imgwriter.errors import SourceChangedError, SourceError, show
from imgwriter.filedata import FileSlice, Identity
from imgwriter.tree import holes
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import NO_XATTRS, Inode, Run
from imgwriter.tree.rules import SourceRules

_FORMAT = 0o170000
_REGULAR, _DIRECTORY, _SYMLINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_READABLE_BY_ALL = 0o444
_SECTOR = 512  # the unit of st_blocks

_make = tuple.__new__  # what a NamedTuple's own constructor calls, at half the price: once a file

_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENOSYS)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


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
        _refuse(path, error)
    if stat.S_ISDIR(status.st_mode):
        return reader.tree(path)
    return reader.leaf(directory, name, path, status)


class _Reader:
    """The state of one scan: what is shared by the files of a tree."""

    __slots__ = ("detect", "linked", "origin", "owner", "rules", "with_xattrs")

    def __init__(self, rules: SourceRules, origin: str) -> None:
        self.rules = rules
        self.origin = origin
        self.owner = rules.owner
        self.detect = rules.holes is Holes.DETECT
        self.with_xattrs = not rules.xattrs.keeps_nothing
        self.linked: dict[tuple[int, int], Inode] = {}

    def tree(self, top: bytes) -> Inode:
        """Return the directory ``top`` with everything beneath it."""
        try:
            status = os.stat(top)
        except FileNotFoundError:
            raise SourceError(f"{show(top)} does not exist; give a directory or a tar", top) from None
        except OSError as error:
            _refuse(top, error)
        if not stat.S_ISDIR(status.st_mode):
            raise SourceError(f"{show(top)} is not a directory; give a directory or a tar", top)
        root = self.directory(top, status)
        stack = [(root, top, b"", status)]
        while stack:
            self._fill(*stack.pop(), stack)
        return root

    def _fill(
        self,
        parent: Inode,
        path: bytes,
        inside: bytes,
        before: os.stat_result,
        stack: list[tuple[Inode, bytes, bytes, os.stat_result]],
    ) -> None:
        """Read the entries of one directory; put its subdirectories on the stack.

        Args:
            parent: The directory's Inode.
            path: Its host path, which its files share.
            inside: Its path below the top, with a slash at the end unless it is the top.
            before: Its status when its parent was read.
            stack: Where subdirectories go.
        """
        entries = parent.entries = {}
        excluded = self.rules.exclude.matches if self.rules.exclude else None
        try:
            with os.scandir(path) as listing:
                for entry in listing:
                    name = entry.name
                    status = entry.stat(follow_symlinks=False)
                    is_directory = status.st_mode & _FORMAT == _DIRECTORY
                    if excluded is not None and excluded(inside + name, is_directory):
                        continue
                    if is_directory:
                        child = self.directory(entry.path, status)
                        stack.append((child, entry.path, inside + name + b"/", status))
                    elif status.st_nlink == 1:
                        child = self._leaf(path, name, entry.path, status)
                    else:
                        child = self.leaf(path, name, entry.path, status)
                    entries[name] = child
            after = os.stat(path)
        except OSError as error:
            _refuse(_named(error, path), error)
        if Identity.of(after) != Identity.of(before):
            raise _changed(path)

    def directory(self, path: bytes, status: os.stat_result) -> Inode:
        """Return the Inode of a directory, without its entries."""
        uid, gid = self.owner or (status.st_uid, status.st_gid)
        return Inode(
            status.st_mode, uid, gid, status.st_mtime_ns, xattrs=self._xattrs(path), origin=self.origin
        )

    def leaf(self, directory: bytes, name: bytes, path: bytes, status: os.stat_result) -> Inode:
        """Return the Inode of anything but a directory; the same one for each name of a file."""
        if status.st_nlink == 1:
            return self._leaf(directory, name, path, status)
        key = (status.st_dev, status.st_ino)
        inode = self.linked.get(key)
        if inode is None:
            inode = self.linked[key] = self._leaf(directory, name, path, status)
        return inode

    def _leaf(self, directory: bytes, name: bytes, path: bytes, status: os.stat_result) -> Inode:
        # Unpacking is one step where seven attributes would be seven; this runs once a file.
        mode, number, device, _, uid, gid, size, _, _, _ = status
        if self.owner is not None:
            uid, gid = self.owner
        mtime_ns = status.st_mtime_ns
        inode = Inode(mode, uid, gid, mtime_ns, xattrs=self._xattrs(path), origin=self.origin)
        kind = mode & _FORMAT
        if kind == _REGULAR:
            inode.size = size
            if size:
                if mode & _READABLE_BY_ALL != _READABLE_BY_ALL:
                    _check_readable(path)
                identity = _make(Identity, (device, number, size, mtime_ns, status.st_ctime_ns))
                data = inode.data = FileSlice(directory, name, identity)
                if status.st_blocks * _SECTOR < size or self.detect:
                    inode.runs = self._runs(data, status)
        elif kind == _SYMLINK:
            inode.target = os.readlink(path)
            inode.size = len(inode.target)
        elif kind in _DEVICES:
            inode.rdev = os.major(status.st_rdev), os.minor(status.st_rdev)
        return inode

    def _runs(self, data: FileSlice, status: os.stat_result) -> Sequence[Run] | None:
        """Return the runs of a file that may have holes."""
        if self.rules.holes is Holes.FILL:
            return None
        known = None
        if status.st_blocks * _SECTOR < status.st_size:
            fd = data.open()
            try:
                known = holes.seek_map(fd, status.st_size)
                data.verify(fd)
            finally:
                os.close(fd)
        return holes.detect(data, known) if self.detect else known

    def _xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        if not self.with_xattrs:
            return NO_XATTRS
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_ATTRIBUTES:
                return NO_XATTRS
            raise
        if not names:
            return NO_XATTRS
        kept = sorted(name for name in map(os.fsencode, names) if self.rules.xattrs.keep(name))
        return {name: _xattr(path, name) for name in kept} or NO_XATTRS


def _xattr(path: bytes, name: bytes) -> bytes:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA or error.errno in _GONE:
            raise _changed(path) from None
        raise SourceError(
            f"{show(path)}: the attribute {show(name)} cannot be read ({error.strerror}); "
            f"leave it out with --xattrs=-{show(name)}",
            path,
        ) from error


def _check_readable(path: bytes) -> None:
    if not os.access(path, os.R_OK, effective_ids=True):
        raise SourceError(f"{show(path)} cannot be read; make it readable, or exclude it", path)


def _named(error: OSError, default: bytes) -> bytes:
    """Return the path the system call failed on."""
    return os.fsencode(error.filename) if isinstance(error.filename, str | bytes) else default


def _refuse(path: bytes, error: OSError) -> NoReturn:
    """Raise what an OSError about ``path`` means to the user."""
    if error.errno in _GONE:
        raise SourceChangedError(
            f"{show(path)} does not exist, or went away while the tree was read; "
            "build again when nothing writes to it",
            path,
        ) from None
    remedy = "make it readable, or exclude it"
    if error.errno == errno.ENAMETOOLONG:
        remedy = "the host's paths end at 4,095 bytes: hand so deep a tree in as a tar"
    raise SourceError(f"{show(path)} cannot be read ({error.strerror}); {remedy}", path) from error


def _changed(path: bytes) -> SourceChangedError:
    return SourceChangedError(
        f"{show(path)} changed while the tree was read; build again when nothing writes to it", path
    )
