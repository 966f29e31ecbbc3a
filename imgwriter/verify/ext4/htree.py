"""The index of a directory: its blocks, the order of its hashes, and which hashes each leaf may have.

::

    dx_root  | limit count | - 0 | h1 3 | h2 7 | ...       block 3 has the names with hashes from h1 to h2
                               │     └──> dx_node or leaf  (odd h: some names with hash h - 1 are before it)

Spec: kernel Documentation/filesystems/ext4/directory.rst, Hash Tree Directories; fs/ext4/namei.c, dx_probe().
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from imgwriter.ext4 import features as f
from imgwriter.ext4.directory import ENTRY
from imgwriter.ext4.directory_reader import DX_NODE_COUNT, DX_ROOT_COUNT
from imgwriter.ext4.format import DX_HASH_SIPHASH
from imgwriter.ext4.htree import DX_COUNTLIMIT, DX_ENTRY, DX_ROOT_INFO, node_limit, root_limit
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.subject import Subject

_HASH_END = 1 << 32
_MAX_VERSION = 5

ReadBlock = Callable[[int], tuple[bytes, int] | None]
"""Called with a logical block of the directory; returns its bytes and place, None where it cannot be read."""


class Interval(NamedTuple):
    """Hashes from ``low`` on, below ``high``; an odd one lets in names with the even hash before it."""

    low: int
    high: int

    def has(self, value: int) -> bool:
        """Return whether a name with that hash, which is even, may be here."""
        return self.low & ~1 <= value < self.high


class Index(NamedTuple):
    """What an index says.

    Attributes:
        version: How names are hashed.
        blocks: The index's own blocks, the root among them: by logical block, their bytes and place.
        leaves: The other blocks of the directory that it leads to.
    """

    version: int
    blocks: dict[int, tuple[bytes, int]]
    leaves: dict[int, Interval]


class IndexWalk:
    """Goes through the index of one directory.

    Args:
        number: The directory's inode.
        count: Blocks of the directory.
        read: Reads one.
    """

    def __init__(self, subject: Subject, number: int, count: int, read: ReadBlock) -> None:
        self._subject = subject
        self._where = f"ext4 htree, inode {number}"
        self._count = count
        self._read = read
        self._depth = 0
        self.index = Index(0, {}, {})

    def run(self) -> Index | None:
        """Return what the index says; None where its root cannot be read."""
        root = self._read(0)
        if root is None:
            return None
        content, offset = root
        zero, version, length, levels, unused = DX_ROOT_INFO.unpack_from(
            content, DX_ROOT_COUNT - DX_ROOT_INFO.size
        )
        most = 2 if self._subject.superblock.features.has(f.Incompat.LARGEDIR) else 1
        for field, right, expected, found in (
            ("reserved_zero", not zero, "0", zero),
            (
                "hash_version",
                version <= _MAX_VERSION or version == DX_HASH_SIPHASH,
                f"0 to {_MAX_VERSION}",
                version,
            ),
            ("info_length", length == DX_ROOT_INFO.size, f"{DX_ROOT_INFO.size}", length),
            ("indirect_levels", levels <= most, f"{most} at most", levels),
            ("unused_flags", not unused & 1, "0", unused),
        ):
            if not right:
                self._find(field, offset, expected, f"{found}")
        if levels > most or length != DX_ROOT_INFO.size:
            return None
        self._depth = levels
        self.index = Index(version, {0: root}, {})
        self._node(content, offset, DX_ROOT_COUNT, 0, Interval(0, _HASH_END))
        return self.index

    def _node(self, content: bytes, offset: int, at: int, level: int, mine: Interval) -> None:
        """Check an index block and those below; recursion goes three deep."""
        sb = self._subject.superblock
        room = (root_limit if level == 0 else node_limit)(sb.block_size, sb.metadata_csum)
        limit, count = DX_COUNTLIMIT.unpack_from(content, at)
        if limit != room:
            self._find("limit", offset, f"{room}", f"{limit}")
        if not 1 <= count <= room:
            self._find("count", offset, f"1 to {room}", f"{count}")
            return
        entries = list(DX_ENTRY.iter_unpack(content[at : at + count * DX_ENTRY.size]))
        lows = [mine.low, *(entry[0] for entry in entries[1:])]
        highs = [*lows[1:], mine.high]
        for (_, block), low, high in zip(entries, lows, highs, strict=True):
            if not mine.low <= low <= high:
                self._find("hash", offset, f"rising, from {mine.low:#x} to {mine.high - 1:#x}", f"{low:#x}")
            self._child(block, offset, level, Interval(low, high))

    def _child(self, block: int, offset: int, level: int, mine: Interval) -> None:
        if not 0 < block < self._count:
            self._find("block", offset, f"1 to {self._count - 1:,}", f"{block:,}")
            return
        if block in self.index.leaves or block in self.index.blocks:
            self._find("block", offset, "each block once", f"{block:,} twice")
            return
        if level == self._depth:
            self.index.leaves[block] = mine
            return
        node = self._read(block)
        if node is None:
            return
        self.index.blocks[block] = node
        content, at = node
        inode, rec_len, name_len, _ = ENTRY.unpack_from(content)
        if inode or rec_len != len(content) or name_len:
            expected = f"inode 0, rec_len {len(content):,}, name_len 0"
            self._find(
                "fake dirent", at, expected, f"inode {inode:,}, rec_len {rec_len:,}, name_len {name_len}"
            )
        self._node(content, at, DX_NODE_COUNT, level + 1, mine)

    def _find(self, field: str, offset: int, expected: str, found: str) -> None:
        self._subject.remarks.find(self._where, field, offset, expected, found, sections.HTREE)
