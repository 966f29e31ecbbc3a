"""Trees for tests, written down as dictionaries, and read back as such."""

from __future__ import annotations

import stat
from typing import TypeAlias

from imgwriter.extent import Bytes
from imgwriter.tree.inventory import Inode

Shape: TypeAlias = "dict[str, Shape] | bytes | str | Inode"
"""A directory, a file's content, a symlink's target, or an Inode as it is."""


def tree(shape: Shape, origin: str = "a tree", implicit: bool = False) -> Inode:
    """Make the Inodes of a shape: 0755 for directories, 0644 for files, 0:0."""
    if isinstance(shape, Inode):
        return shape
    if isinstance(shape, bytes):
        return Inode(stat.S_IFREG | 0o644, size=len(shape), data=Bytes(shape), origin=origin)
    if isinstance(shape, str):
        return Inode(stat.S_IFLNK | 0o777, size=len(shape), target=shape.encode(), origin=origin)
    directory = Inode(stat.S_IFDIR | 0o755, origin=origin)
    directory.implicit = implicit
    directory.entries = {name.encode(): tree(each, origin, implicit) for name, each in shape.items()}
    return directory


def shape(inode: Inode) -> Shape:
    """Return what :func:`tree` would make again; devices and the like as they are."""
    if inode.entries is not None:
        return {name.decode(): shape(each) for name, each in sorted(inode.entries.items())}
    if stat.S_ISREG(inode.mode):
        return content(inode)
    return inode.target.decode() if stat.S_ISLNK(inode.mode) else inode


def content(inode: Inode) -> bytes:
    """Return all bytes of a file."""
    return b"" if inode.data is None else b"".join(bytes(piece) for piece in inode.data.chunks(0, inode.size))


def at(root: Inode, path: str) -> Inode:
    """Return what stands at a path, no symlink followed."""
    for name in path.encode().split(b"/"):
        root = (root.entries or {})[name]
    return root
