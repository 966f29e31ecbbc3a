"""Files of an image as Volumes: what the sink can write, with their holes where they are.

::

    Inode: data, runs      ├─ run ─┤  hole  ├─ run ─┤
    Volume                 ├extent ┤        ├extent ┤        bytes of the image's file, not read yet
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

from imgwriter.errors import SourceError, show
from imgwriter.examine.browse import Browser
from imgwriter.extent import Extent, Volume
from imgwriter.tree.inventory import Inode


def extents(inode: Inode, start: int = 0, label: object = "") -> Iterator[Extent]:
    """Yield the extents of a regular file's data, its first byte at ``start``."""
    if inode.data is not None:
        for low, high in inode.data_runs():
            yield Extent(start + low, high - low, inode.data, low, label)


def concatenated(browser: Browser, paths: Sequence[bytes]) -> Volume:
    """Return the contents of regular files, one after the other.

    Args:
        browser: The file system.
        paths: The files; symlinks are followed, inside the image.

    Raises:
        SourceError: A path is not there, or is no regular file.
        FormatError: The file system is damaged.
    """
    found = [browser.find(path) for path in paths]
    browser.settle()
    parts: list[Extent] = []
    size = 0
    for path, each in zip(paths, found, strict=True):
        inode = each.inode
        if not stat.S_ISREG(inode.mode):
            what = "a directory" if inode.entries is not None else "no regular file"
            raise SourceError(f"{show(path)} is {what}; give a regular file", path)
        parts += extents(inode, size, show(path))
        size += inode.size
    return Volume(size, parts)
