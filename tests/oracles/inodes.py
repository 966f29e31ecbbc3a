"""A tree of imgwriter's Inodes as a Snapshot, to be compared with what the judges saw."""

from __future__ import annotations

import hashlib
import stat

from imgwriter.tree.inventory import Inode, Inventory
from tests.oracles.snapshot import Entry, Snapshot


def content(inode: Inode) -> bytes:
    """Return the bytes of a regular file; what is in no run is a hole."""
    result = bytearray(inode.size)
    if inode.data is not None:
        assert len(inode.data) == inode.size
    for start, stop in inode.data_runs():
        assert inode.data is not None
        position = start
        for piece in inode.data.chunks(start, stop):
            result[position : position + len(piece)] = piece
            position += len(piece)
        assert position == stop
    return bytes(result)


def of_tree(root: Inode) -> Snapshot:
    """Return every name of a tree; the contents of regular files are read."""
    inventory = Inventory(root)
    digests = {
        inode.index: hashlib.sha256(content(inode)).hexdigest()
        for inode in inventory.inodes
        if stat.S_ISREG(inode.mode)
    }
    first: dict[int, bytes] = {}
    names = list(inventory.walk())
    for path, inode in sorted(names, key=lambda name: name[0]):
        first.setdefault(inode.index, path)
    return {
        path: Entry(
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            mtime_ns=inode.mtime_ns,
            size=len(inode.target) if stat.S_ISLNK(inode.mode) else inode.size,
            sha256=digests.get(inode.index, ""),
            target=inode.target,
            device=inode.rdev,
            same_as=first[inode.index],
            xattrs={name.decode(): value for name, value in inode.xattrs.items()},
        )
        for path, inode in names
    }
