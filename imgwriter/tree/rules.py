"""How a source becomes a layer: the rules that trees, tars and contents share.

What a rule decides, and where it is applied:

========== ==================================================== =======================
exclude    which paths are left out                             while a source is read
xattrs     which extended attributes are left out               while a source is read
holes      which parts of files are holes                       while a source is read
owner      whom a host directory's files belong to; tars keep   while a directory is read
           their own
times      a file's own mtime, not later than the clamp; what   once, on the merged tree
           nobody described takes the build's time
hard links what happens beyond 65,000 names                     once, on the merged tree
========== ==================================================== =======================
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from enum import StrEnum

from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.holes import Holes
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.xattrs import XattrPolicy

MAX_LINKS = 65_000
"""Names a file can have. Spec: Linux, fs/ext4/ext4.h, EXT4_LINK_MAX."""

MAX_ID = 0xFFFF_FFFF
"""The largest user or group number an inode holds."""

NANOSECOND = 1_000_000_000
"""Nanoseconds in a second."""

Owner = tuple[int, int]
"""(uid, gid)."""


class HardLinks(StrEnum):
    """What becomes of a file that has more than MAX_LINKS names."""

    ERROR = "error"
    """It is refused when the file system is planned."""
    BREAK = "break"
    """It becomes several files, of at most MAX_LINKS names each."""


@dataclass(frozen=True, slots=True)
class SourceRules:
    """What applies while one source is read.

    Attributes:
        exclude: Paths to leave out.
        holes: What becomes of holes.
        xattrs: Extended attributes to keep.
        owner: Whom the files of a host directory belong to; None keeps their own. A tar keeps its own.
    """

    exclude: Exclusion = field(default_factory=Exclusion)
    holes: Holes = Holes.KEEP
    xattrs: XattrPolicy = field(default_factory=XattrPolicy)
    owner: Owner | None = (0, 0)


def set_times(inodes: Iterable[Inode], clamp: int | None, time: int) -> None:
    """Give directories that nobody described the build's time; let no other mtime be later than ``clamp``.

    Args:
        inodes: Every inode once.
        clamp: Seconds since the epoch, or None.
        time: Seconds since the epoch.
    """
    made = time * NANOSECOND
    latest = None if clamp is None else clamp * NANOSECOND
    for inode in inodes:
        if inode.implicit:
            inode.mtime_ns = made
        elif latest is not None and inode.mtime_ns > latest:
            inode.mtime_ns = latest


def break_links(inventory: Inventory) -> Inventory:
    """Return an Inventory in which no file has more than MAX_LINKS names.

    The names of a file that has more, in the image's order, are dealt out MAX_LINKS at a time to
    copies of it; the copies refer to the same data, which the image then holds once for each.
    """
    crowded = {id(inode) for inode in inventory.inodes if inode.nlink > MAX_LINKS}
    if not crowded:
        return inventory
    current: dict[int, tuple[Inode, int]] = {}
    for directory in inventory.directories:
        entries = directory.entries or {}
        for name, inode in entries.items():
            if id(inode) not in crowded:
                continue
            chosen, count = current.get(id(inode), (inode, 0))
            if count == MAX_LINKS:
                chosen, count = copy(inode), 0
            entries[name] = chosen
            current[id(inode)] = chosen, count + 1
    return Inventory(inventory.root)
