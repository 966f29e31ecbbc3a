"""Directories of the host, opened one name at a time: nothing that a path goes through is ever followed.

::

    top ── open(b"etc") ──> etc ── open(b"ssl") ──> ssl         a descriptor for each of the last few levels
           O_NOFOLLOW: a symlink that somebody put there is an error, not a way out

A descriptor stays what it is, whatever happens to its names. Far down a deep tree the upper ones are closed
and, on the way back, opened again from the top.
"""

from __future__ import annotations

import os

from imgwriter.tree.inventory import Inode

MAX_DEPTH = 2_048
"""Directories in directories: the host has no path to what is deeper (PATH_MAX)."""

_KEPT = 64
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CLOSED = -1


class Places:
    """Descriptors of the host's directories for those of a tree.

    Args:
        fd: Of the directory that stands for the tree's root; it stays open.
        root: The tree's root.
    """

    def __init__(self, fd: int, root: Inode) -> None:
        self._chain = [(root, fd)]
        self._levels = {root: 0}

    def open(self, directory: Inode) -> int:
        """Return a descriptor of a directory that is there; it is good until the next call.

        Raises:
            OSError: Something on the way is no directory.
        """
        missing = []
        while directory not in self._levels:
            missing.append(directory)
            assert directory.parent is not None
            directory = directory.parent
        self._cut(self._levels[directory] + 1)
        self._reopen()
        for each in reversed(missing):
            self._enter(each)
        return self._chain[-1][1]

    def close(self) -> None:
        """Close all but the first descriptor."""
        self._cut(1)

    def _cut(self, length: int) -> None:
        for inode, fd in self._chain[length:]:
            del self._levels[inode]
            if fd != _CLOSED:
                os.close(fd)
        del self._chain[length:]

    def _reopen(self) -> None:
        """Open the last level again, and those above it that are closed."""
        if self._chain[-1][1] != _CLOSED:
            return
        closed = []
        while self._chain[-1][1] == _CLOSED:
            inode, _ = self._chain.pop()
            del self._levels[inode]
            closed.append(inode)
        for inode in reversed(closed):
            self._enter(inode)

    def _enter(self, inode: Inode) -> None:
        fd = os.open(inode.name, _FLAGS, dir_fd=self._chain[-1][1])
        self._levels[inode] = len(self._chain)
        self._chain.append((inode, fd))
        oldest = len(self._chain) - _KEPT
        if oldest > 0 and self._chain[oldest][1] != _CLOSED:
            inode, fd = self._chain[oldest]
            self._chain[oldest] = inode, _CLOSED
            os.close(fd)


def depth(directories: list[Inode]) -> int:
    """Return how many directories the deepest one is below the root.

    Args:
        directories: Every directory, parents first.
    """
    depths: dict[Inode, int] = {}
    for directory in directories:
        depths[directory] = 0 if directory.parent is None else depths[directory.parent] + 1
    return max(depths.values())
