"""Find files in a file system by their paths, as its own kernel would: symlinks end inside the image.

::

    etc/alternatives/editor ── names ──> /etc, /etc/alternatives, a symlink: /bin/nano
                                              └── its names take its place ──> /bin: a symlink, ... ──> Found

Directories are read when a path leads through them, so a file in a large file system is found at once, and
what is damaged elsewhere does not matter. FAT is read whole: its chains have to be followed anyway.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import NamedTuple

from imgwriter.errors import SourceError, quoted, show
from imgwriter.examine.opening import FileSystem
from imgwriter.ext4 import reader as ext4_reader
from imgwriter.ext4.tree_reader import TreeReader
from imgwriter.tree.inventory import Inode

MAX_SYMLINKS = 40
"""Symlinks on the way to one file. Spec: path_resolution(7); Linux, MAXSYMLINKS."""


class Found(NamedTuple):
    """A file that was found.

    Attributes:
        names: Its path from the root, without symlinks.
        inodes: The root, each directory on the way, and the file last.
    """

    names: tuple[bytes, ...]
    inodes: tuple[Inode, ...]

    @property
    def inode(self) -> Inode:
        """The file."""
        return self.inodes[-1]

    @property
    def path(self) -> bytes:
        """The path without a leading slash; b"" is the root."""
        return b"/".join(self.names)


class Browser:
    """Reads a file system's directories as they are asked for.

    Args:
        file_system: It, opened.
        origin: What to call it in messages.
    """

    def __init__(self, file_system: FileSystem, origin: str) -> None:
        self.file_system = file_system
        self.origin = origin
        self.reader: TreeReader | None = None
        if isinstance(file_system, ext4_reader.FileSystem):
            self.reader = file_system.browse(origin)
            self.root = self.reader.root()
        else:
            self.root = file_system.tree()

    def entries(self, directory: Inode) -> dict[bytes, Inode]:
        """Return a directory's entries by name; of files that are new, the contents are not there yet.

        Raises:
            FormatError: The directory, or an inode in it, is damaged.
            SourceError: The image cannot be read.
        """
        if self.reader is not None:
            self.reader.expand(directory)
        assert directory.entries is not None
        return directory.entries

    def expand(self, top: Inode) -> None:
        """Read all directories at and below ``top``.

        Raises:
            FormatError, SourceError: As :meth:`entries`.
        """
        pending = [top] if top.entries is not None else []
        while pending:
            pending += [i for i in self.entries(pending.pop()).values() if i.entries is not None]

    def settle(self) -> None:
        """Let the files that were found have their contents; once is enough for many.

        Raises:
            FormatError: Two of them have a block in common.
        """
        if self.reader is not None:
            self.reader.settle()

    def find(self, path: bytes, follow: bool = True) -> Found:
        """Return the file at a path from the root of the file system.

        Args:
            path: With or without a slash at its beginning; ``..`` of the root is the root.
            follow: Whether a symlink at its end stands for what it points to. With a slash behind it always.

        Raises:
            SourceError: There is none.
            FormatError: A directory on the way is damaged.
        """
        names: list[bytes] = []
        inodes = [self.root]
        pending = _components(path)
        symlinks = 0
        while pending:
            name = pending.pop()
            if inodes[-1].entries is None:
                place = show(b"/".join(names))
                raise self._missing(path, f"does not exist: /{place} is no directory")
            if name == b".":
                continue
            if name == b"..":
                del names[-1:]
                inodes = inodes[: len(names) + 1]
                continue
            name, inode = self._entry(path, names, inodes[-1], name)
            if stat.S_ISLNK(inode.mode) and (pending or follow):
                symlinks += 1
                if symlinks > MAX_SYMLINKS:
                    raise self._missing(path, f"leads through more than {MAX_SYMLINKS} symlinks")
                if inode.target.startswith(b"/"):
                    names, inodes = [], [self.root]
                pending += _components(inode.target)
                continue
            names.append(name)
            inodes.append(inode)
        return Found(tuple(names), tuple(inodes))

    def _entry(
        self, path: bytes, names: Sequence[bytes], directory: Inode, name: bytes
    ) -> tuple[bytes, Inode]:
        """Return an entry of a directory with its name as it stands there."""
        entries = self.entries(directory)
        if name in entries:
            return name, entries[name]
        if self.reader is None:  # FAT, whose names are the same in either case
            for other, inode in entries.items():
                if other.lower() == name.lower():
                    return other, inode
        place = show(b"/".join(names))
        raise self._missing(path, f"does not exist: /{place} has no {quoted(name)}")

    def _missing(self, path: bytes, why: str) -> SourceError:
        return SourceError(f"{show(path)} {why}; 'imgwriter ls' shows what is in {self.origin}", path)


def _components(path: bytes) -> list[bytes]:
    """Return a path's names, the first one last; "." stays, since only a directory can have it behind it."""
    if path.endswith(b"/"):
        path += b"."
    return [name for name in reversed(path.split(b"/")) if name]
