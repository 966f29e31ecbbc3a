"""Write a tree into a directory of the host: with the sink, the one module that writes.

::

    1  each directory, parents first:   its subdirectories 0700, its files, symlinks, nodes, hard links
                                        files and nodes get owner, mode, attributes and times at once
    2  each directory, children first:  owner, mode, attributes, times

Names and links of an image are somebody else's. Everything is made relative to a descriptor of its directory,
by a single name, and must not be there yet; nothing is opened through a symlink (:mod:`places`). So neither
the image nor another process can lead a write outside. A node's mode is changed by way of a descriptor of the
node (O_PATH), never by name.

What needs a privilege that is missing is left out, counted, and told (:mod:`metadata`); so are devices.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, NoReturn

from imgwriter import sink
from imgwriter.errors import OutputError, show
from imgwriter.examine.contents import extents
from imgwriter.examine.metadata import LeftOut, Metadata
from imgwriter.examine.names import check_names
from imgwriter.examine.places import MAX_DEPTH, Places, depth
from imgwriter.extent import Volume
from imgwriter.filedata import PACK_LIMIT, Amount
from imgwriter.sink.replace import output_error
from imgwriter.sink.tally import Tally
from imgwriter.tree import posix_acl
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.units import counted

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_TOP = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MEDDLED = (errno.EEXIST, errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.EISDIR)


class Unpacked(NamedTuple):
    """A tree that was written.

    Attributes:
        names: How many names were made.
        written: Bytes of files, holes not counted.
        left_out: What could not be made.
    """

    names: int
    written: int
    left_out: Sequence[LeftOut]


def unpack(
    inventory: Inventory,
    directory: bytes,
    *,
    owners: bool,
    overwrite: bool = False,
    progress: sink.Progress | None = None,
) -> Unpacked:
    """Make a directory hold a tree.

    Args:
        inventory: The tree.
        directory: On the host; made when missing.
        owners: Give files the owners they have in the image, which takes root.
        overwrite: Take a directory that is not empty: directories are entered, all else is replaced.
        progress: Called a few times a second, and at the end.

    Raises:
        OutputError: It cannot be written, is not empty, or the tree is too deep. What is there then, a note
            of the exception says.
        SourceError: The image cannot be read.
        FormatError: The image is damaged, or a name is none.
    """
    check_names(inventory)
    if depth(inventory.directories) > MAX_DEPTH:
        name = os.fsdecode(directory)
        message = f"the tree is more than {MAX_DEPTH:,} directories deep, for which the host has no paths"
        raise OutputError(f"{message}; make a tar of it with --to-tar", name)
    top = _open_top(directory, overwrite)
    unpacker = _Unpacker(inventory, directory, top, owners, overwrite, progress)
    try:
        return unpacker.run()
    except BaseException as error:
        error.add_note(unpacker.state())
        raise
    finally:
        unpacker.close()


def _open_top(directory: bytes, overwrite: bool) -> int:
    name = os.fsdecode(directory)
    try:
        with suppress(FileExistsError):
            os.makedirs(directory, 0o700)
        top = os.open(directory, _TOP)
        is_full = not overwrite and bool(os.listdir(top))
    except OSError as error:
        raise output_error(name, error) from error
    if is_full:
        os.close(top)
        message = f"{show(directory)} is not empty; choose a new directory, or allow --overwrite"
        raise OutputError(message, name)
    for attribute in (posix_acl.DEFAULT, posix_acl.ACCESS):  # all that is made would inherit the first
        with suppress(OSError):
            os.removexattr(top, attribute)
    return top


class _Unpacker:
    """The writing of one tree."""

    def __init__(
        self,
        inventory: Inventory,
        directory: bytes,
        top: int,
        owners: bool,
        overwrite: bool,
        progress: sink.Progress | None,
    ) -> None:
        self.inventory = inventory
        self.directory = directory
        self.top = top
        self.metadata = Metadata(owners)
        self.overwrite = overwrite
        self.progress = progress
        self.tally = Tally(progress)
        self.places = Places(top, inventory.root)
        self.first_places = Places(top, inventory.root)
        self.skipped: set[Inode] = set()
        self.names = 0
        self.done = Amount(0, 0)

    def run(self) -> Unpacked:
        """Write everything."""
        directories = self.inventory.directories
        for directory in directories:
            for name, inode in (directory.entries or {}).items():
                with self._errors(directory, name):
                    self._make(directory, name, inode)
        for directory in reversed(directories):
            with self._errors(directory):
                self.metadata.set(self.places.open(directory), directory)
        self.tally.report()
        return Unpacked(self.names, self.done.bytes, tuple(self.metadata.left_out.values()))

    def state(self) -> str:
        """Return what is there when it ended early."""
        names = f"{self.names:,} of {counted(self.inventory.names, 'name')}"
        return f"{show(self.directory)} holds an unfinished tree, {names}: remove it before you extract again"

    def close(self) -> None:
        """Close every descriptor."""
        self.places.close()
        self.first_places.close()
        os.close(self.top)

    @contextmanager
    def _errors(self, directory: Inode, name: bytes = b"") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._refuse(b"/".join(part for part in (self.directory, directory.path, name) if part), error)

    def _refuse(self, path: bytes, error: OSError) -> NoReturn:
        name = os.fsdecode(path)
        remedy = None
        if error.errno in _MEDDLED:
            remedy = "something else is in its place: extract into a new directory that nobody else writes to"
        elif error.errno == errno.ENAMETOOLONG:
            remedy = "the host has no names of that length: make a tar with --to-tar"
        if remedy is None:
            raise output_error(name, error) from error
        raise OutputError(f"{show(path)}: cannot be written: {error.strerror}; {remedy}", name) from error

    def _make(self, directory: Inode, name: bytes, inode: Inode) -> None:
        """Make what a name stands for."""
        place = self.places.open(directory)
        if inode.entries is not None:
            self._make_directory(place, name)
            self.names += 1
            return
        if self.overwrite:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=place)
        is_first = name == inode.name and directory is inode.parent
        self.names += self._make_file(place, name, inode) if is_first else self._make_link(place, name, inode)

    def _make_directory(self, place: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=place)
        except FileExistsError:
            if not self.overwrite:
                raise
            if not stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=place)
                os.mkdir(name, 0o700, dir_fd=place)

    def _make_link(self, place: int, name: bytes, inode: Inode) -> bool:
        """Make another name of a file; return False where that could not be made."""
        if inode in self.skipped:
            return False
        assert inode.parent is not None
        first = self.first_places.open(inode.parent)
        os.link(inode.name, name, src_dir_fd=first, dst_dir_fd=place, follow_symlinks=False)
        return True

    def _make_file(self, place: int, name: bytes, inode: Inode) -> bool:
        """Make a file of any kind but a directory; return False where that takes a privilege."""
        kind = stat.S_IFMT(inode.mode)
        if kind == stat.S_IFREG:
            fd = os.open(name, _NEW, 0o600, dir_fd=place)
            try:
                self._write(fd, inode)
                self.metadata.set(fd, inode)
            finally:
                os.close(fd)
            return True
        if kind == stat.S_IFLNK:
            os.symlink(inode.target, name, dir_fd=place)
        elif not self._make_node(place, name, inode, kind):
            return False
        fd = os.open(name, _NODE, dir_fd=place)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) != kind:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self.metadata.set(b"/proc/self/fd/%d" % fd, inode)
        finally:
            os.close(fd)
        return True

    def _make_node(self, place: int, name: bytes, inode: Inode, kind: int) -> bool:
        try:
            os.mknod(name, kind | 0o600, os.makedev(*inode.rdev), dir_fd=place)
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            self.metadata.leave_out("device nodes", inode)
            self.skipped.add(inode)
            return False
        return True

    def _write(self, fd: int, inode: Inode) -> None:
        """Write a file's contents; what is in no run stays a hole."""
        if inode.data is not None and inode.runs is None and inode.size < PACK_LIMIT:
            content = memoryview(b"".join(inode.data.chunks(0, inode.size)))
            while content:
                content = content[os.write(fd, content) :]
        elif inode.size:
            volume = Volume(inode.size, extents(inode))
            name = os.fsdecode(self.directory + b"/" + inode.path)
            sink.write_to(fd, volume, name=name, progress=self._within(), workers=1)
        if inode.data is not None:
            size = sum(high - low for low, high in inode.data_runs())
            self.done = self.done.plus(Amount(size, 1))
            self.tally.add(size, 1)

    def _within(self) -> sink.Progress | None:
        """Return what tells how far a large file is."""
        progress, before = self.progress, self.done
        return None if progress is None else lambda done: progress(before.plus(done))
