"""Small trees for the FAT tests: nested dicts of names become an Inventory."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import TypeAlias

from imgwriter.extent import Bytes
from imgwriter.tree.inventory import Inode, Inventory

MTIME_NS = 1_600_000_001_230_000_000
"""2020-09-13 12:26:41.23 UTC: an odd second, and hundredths."""

Tree: TypeAlias = "Mapping[bytes, bytes | int | Inode | Tree]"
"""Names to what they are: bytes are a file's content, a number is the size of a file that is one hole."""


def file(content: bytes, mode: int = 0o644, mtime_ns: int = MTIME_NS) -> Inode:
    """Return a regular file."""
    data = Bytes(content) if content else None
    return Inode(stat.S_IFREG | mode, mtime_ns=mtime_ns, size=len(content), data=data)


def directory(tree: Tree, mtime_ns: int = MTIME_NS) -> Inode:
    """Return a directory with what ``tree`` describes."""
    result = Inode(stat.S_IFDIR | 0o755, mtime_ns=mtime_ns)
    assert result.entries is not None
    for name, value in tree.items():
        result.entries[name] = _inode(value)
    return result


def _inode(value: bytes | int | Inode | Tree) -> Inode:
    if isinstance(value, Inode):
        return value
    if isinstance(value, bytes):
        return file(value)
    if isinstance(value, int):
        return Inode(stat.S_IFREG | 0o644, mtime_ns=MTIME_NS, size=value)
    return directory(value)


def inventory(tree: Tree) -> Inventory:
    """Return a finished tree."""
    return Inventory(directory(tree))
