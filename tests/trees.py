"""Inventories made in memory, for tests that need no host files."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from imgwriter.extent import Bytes, Generated
from imgwriter.tree.inventory import Inode, Inventory, Run

MTIME = 1_700_000_000 * 10**9


def directory(entries: dict[bytes, Inode] | None = None, mode: int = 0o755, mtime_ns: int = MTIME) -> Inode:
    """Return a directory that holds ``entries``."""
    inode = Inode(stat.S_IFDIR | mode, mtime_ns=mtime_ns)
    inode.entries = dict(entries or {})
    return inode


def file(content: bytes = b"", mode: int = 0o644, mtime_ns: int = MTIME, **more: object) -> Inode:
    """Return a regular file with that content."""
    inode = Inode(stat.S_IFREG | mode, mtime_ns=mtime_ns, size=len(content))
    inode.data = Bytes(content) if content else None
    for name, value in more.items():
        setattr(inode, name, value)
    return inode


def zeros(size: int, runs: Sequence[Run] | None = None) -> Inode:
    """Return a regular file of ``size`` bytes without any in memory; its data runs read as 'x'."""
    inode = Inode(stat.S_IFREG | 0o644, mtime_ns=MTIME, size=size, runs=runs)
    inode.data = Generated(size, lambda start, stop: b"x" * (stop - start))
    return inode


def symlink(target: bytes) -> Inode:
    """Return a symlink."""
    return Inode(stat.S_IFLNK | 0o777, mtime_ns=MTIME, target=target)


def device(kind: int, major: int, minor: int) -> Inode:
    """Return a device node; ``kind`` is S_IFCHR or S_IFBLK."""
    return Inode(kind | 0o600, mtime_ns=MTIME, rdev=(major, minor))


def inventory(entries: dict[bytes, Inode] | None = None) -> Inventory:
    """Return the inventory of a root directory with ``entries``."""
    return Inventory(directory(entries))
