"""File systems for the judges: trees with something of everything, and how they are written."""

from __future__ import annotations

import random
import stat
import struct
from pathlib import Path
from typing import Any

from imgwriter import sink
from imgwriter.ext4 import Plan, minimum_size, plan
from imgwriter.extent import Volume
from imgwriter.tree.inventory import Inode, Inventory
from tests import trees
from tests.unit.ext4.support import parameters

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
SECOND = 10**9

ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 70_000),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
"""u::rw-,u:70000:r--,g::r--,m::r--,o::--- as getxattr gives it.

Spec: include/uapi/linux/posix_acl_xattr.h.
"""


def write(image: Path, tree: Inventory, size: int | None = None, **asked: Any) -> Plan:
    """Write ``tree`` into ``image``, a file system of ``size`` bytes (None: the smallest)."""
    wanted = parameters(**asked)
    made = plan(tree, wanted, minimum_size(tree, wanted) if size is None else size)
    sink.write(made.volume(), image)
    return made


def write_structures(image: Path, tree: Inventory, size: int | None = None, **asked: Any) -> Plan:
    """Write ``tree`` into ``image`` as :func:`write` does, but none of its files' data: those stay holes."""
    wanted = parameters(**asked)
    made = plan(tree, wanted, minimum_size(tree, wanted) if size is None else size)
    volume = made.volume()
    data = {id(inode.data) for inode in tree.inodes if inode.data is not None}
    sink.write(Volume(volume.size, (e for e in volume.extents if id(e.data) not in data)), image)
    return made


def content(length: int, seed: int = 0) -> bytes:
    """Return bytes of which no two blocks are equal."""
    return random.Random(seed).randbytes(length)


def many(count: int, width: int = 5, length: int = 0) -> Inode:
    """Return a directory of ``count`` files."""
    return trees.directory({b"%0*d" % (width, i): trees.file(content(length, i)) for i in range(count)})


def everything(block_size: int = 4096, xattrs: bool = True) -> dict[bytes, Inode]:
    """Return entries of every type, with holes, links, owners, times, and attributes unless left out."""
    linked = trees.file(b"one inode, three names")
    special = trees.file(mode=0)
    special.mode = stat.S_IFSOCK | 0o755
    fifo = trees.file(mode=0)
    fifo.mode = stat.S_IFIFO | 0o600
    owned = trees.file(b"x", uid=70_000, gid=0x7FFFFFFE)
    holes = trees.file(content(12 * block_size + 5))
    holes.runs = tuple((i * 2 * block_size, (i * 2 + 1) * block_size) for i in range(6))
    entries = {
        b"block": trees.device(stat.S_IFBLK, 8, 17),
        b"char": trees.device(stat.S_IFCHR, 4095, 0xFFFFF),
        b"deep": trees.directory({b"deeper": trees.directory({b"linked": linked, b"d": trees.directory()})}),
        b"empty": trees.file(),
        b"fast": trees.symlink(b"f" * 59),
        b"fifo": fifo,
        b"holes": holes,
        b"index": many(300 * block_size // 4096, 60, 3),
        b"large": trees.file(content(3 * MiB + 1)),
        b"linked": linked,
        b"linked too": linked,
        b"nobody's": trees.file(uid=0xFFFFFFFE, gid=65_536),
        b"only a hole": trees.zeros(5 * block_size, ()),
        b"owned": owned,
        b"slow": trees.symlink(b"s" * 60),
        b"slowest": trees.symlink(b"s" * (block_size - 1)),
        b"small": trees.file(b"small\n", mode=0o6755),
        b"socket": special,
        b"\xff\xfe\n\\\x01 name": trees.file(b"odd"),
        b"n" * 255: trees.file(b"long"),
    }
    if xattrs:
        entries[b"attributes"] = trees.file(
            b"a", xattrs={b"user.one": b"1", b"security.capability": bytes(20)}
        )
        entries[b"block of attributes"] = trees.file(b"a", xattrs={b"user.large": bytes(range(256)) * 3})
        entries[b"shared block"] = trees.file(b"a", xattrs={b"user.large": bytes(range(256)) * 3})
        entries[b"acl"] = trees.file(b"a", xattrs={b"system.posix_acl_access": ACL})
    return entries
