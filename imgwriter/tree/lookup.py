"""Find and make names inside an image's tree, with its own symlinks followed and never left.

A path is walked as the kernel would walk it with the image as its root: an absolute symlink begins at
the image's root again, and ``..`` at the root stays there. The host's file system is not looked at.

::

    usr/bin/sh     in a tree with   bin -> usr/bin      lib -> /usr/lib     up -> ../../etc
    bin/sh         ─> usr/bin/sh
    up/passwd      ─> etc/passwd
"""

from __future__ import annotations

import stat
from collections import deque

from imgwriter.errors import SourceError, show
from imgwriter.tree.inventory import Inode

MAX_SYMLINKS = 40
"""Symlinks in one path, as in Linux (include/linux/namei.h, MAXSYMLINKS): more is a loop."""

MAX_LINK_NAMES = 4096
"""Names that the symlinks of one path may bring in all. No real path comes near, and a hostile tar of long
symlinks to each other cannot make each of its members cost a walk of a hundred thousand names."""

MADE_MODE = stat.S_IFDIR | 0o755
"""Mode of a directory that nobody described; its owner is 0:0."""

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
}
"""What a type of file is called in messages."""


def kind(inode: Inode) -> str:
    """Return what the inode is, as in "symlink"."""
    return KINDS[stat.S_IFMT(inode.mode)]


def made_directory(origin: str) -> Inode:
    """Return an empty directory that nobody described: 0755, 0:0, the build's time."""
    inode = Inode(MADE_MODE, origin=origin)
    inode.implicit = True
    return inode


def split(path: bytes) -> list[bytes]:
    """Return the names of a path; slashes in front, behind and repeated, and ``.``, say nothing.

    Raises:
        SourceError: A name is ``..``, or holds a NUL.
    """
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names or b"\0" in path:
        raise SourceError(
            f"{show(path)}: a path inside the image has no '..' and no NUL; write it without", path
        )
    return names


class Lookup:
    """Walks in one tree.

    Args:
        root: The tree's root directory.
    """

    __slots__ = ("root",)

    def __init__(self, root: Inode) -> None:
        self.root = root

    def find(self, path: bytes) -> Inode:
        """Return what ``path`` leads to, every symlink followed, the last one too.

        Raises:
            SourceError: It leads to nothing, through something that is no directory, or in a loop.
        """
        return self._walk(path, deque(path.split(b"/")), None)

    def follow(self, names: list[bytes]) -> Inode:
        """Return what the names, one in another, lead to; as :meth:`find`."""
        return self._walk(b"/".join(names), deque(names), None)

    def make_directories(self, names: list[bytes], origin: str) -> Inode:
        """Return the directory that the names lead to; make what is missing, except behind a symlink.

        Raises:
            SourceError: Something on the way is no directory, a loop, or a symlink to nothing.
        """
        return self._walk(b"/".join(names), deque(names), origin)

    def _walk(self, path: bytes, todo: deque[bytes], making: str | None) -> Inode:
        above: list[Inode] = []
        here = self.root
        links = 0
        brought = 0
        borrowed = 0  # how many names at the front of todo come from symlinks
        while todo:
            name = todo.popleft()
            from_link = borrowed > 0
            borrowed -= from_link
            entries = here.entries
            if entries is None:
                raise _nowhere(path, f"passes through a {kind(here)}")
            if name in (b"", b"."):
                continue
            if name == b"..":
                here = above.pop() if above else here
                continue
            child = entries.get(name)
            if child is None:
                if making is None or from_link:
                    raise _nowhere(path, f"leads to nothing at '{show(name)}'")
                child = entries[name] = made_directory(making)
            if stat.S_ISLNK(child.mode):
                links += 1
                target = child.target.split(b"/")
                brought += len(target)
                if links > MAX_SYMLINKS or brought > MAX_LINK_NAMES:
                    raise _nowhere(path, "goes round in a loop of symlinks")
                todo.extendleft(reversed(target))
                borrowed += len(target)
                if child.target.startswith(b"/"):
                    here, above = self.root, []
                continue
            above.append(here)
            here = child
        if making is not None and here.entries is None:
            raise _nowhere(path, f"ends at a {kind(here)}, not a directory")
        return here


def _nowhere(path: bytes, how: str) -> SourceError:
    return SourceError(f"{show(path)} {how} inside the image; correct the tree or the path", path)
