"""Extent trees: which blocks of a file stand where, for ext4.

::

    i_block  | header depth 1 | idx | idx |                    at most 4 entries
                               │     └──> leaf block | header depth 0 | 340 ext4_extent | tail |
                               └────────> leaf block | ...

The tree is made in one go from the sorted pieces of a file, leaves full, so its size is known from
the number of extents alone.

Spec: kernel Documentation/filesystems/ext4/ifork.rst, "Extent Tree"; checksums.rst.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.format import (
    EXTENT,
    EXTENT_HEADER,
    EXTENT_IDX,
    EXTENT_MAGIC,
    EXTENT_MAX_LEN,
    EXTENT_TAIL,
)
from imgwriter.units import div_ceil

ROOT_ENTRIES = 4
I_BLOCK_SIZE = 60


class Piece(NamedTuple):
    """``length`` blocks of a file from ``logical`` on, at ``start`` of the file system."""

    logical: int
    start: int
    length: int


Blocks = list[tuple[int, bytes]]
"""(block number, content) of blocks that map a file."""


def entries_per_block(block_size: int) -> int:
    """Return how many entries a block of the tree holds."""
    return (block_size - EXTENT_HEADER.size) // EXTENT.size


def extent_count(pieces: Sequence[Piece]) -> int:
    """Return how many ext4_extents the pieces need; each holds 32,768 blocks at most."""
    return sum(div_ceil(p.length, EXTENT_MAX_LEN) for p in pieces)


def blocks_needed(extents: int, block_size: int) -> int:
    """Return how many blocks beside the inode a tree of that many extents takes."""
    capacity = entries_per_block(block_size)
    total = 0
    while extents > ROOT_ENTRIES:
        extents = div_ceil(extents, capacity)
        total += extents
    return total


def split(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Yield the pieces cut to the length that an ext4_extent can say."""
    for logical, start, count in pieces:
        for done in range(0, count, EXTENT_MAX_LEN):
            yield Piece(logical + done, start + done, min(EXTENT_MAX_LEN, count - done))


def encode(
    pieces: Sequence[Piece], tree_blocks: Sequence[int], block_size: int, inode_seed: int | None
) -> tuple[bytes, Blocks]:
    """Encode the tree of one file.

    Args:
        pieces: Sorted by logical block, disjoint.
        tree_blocks: ``blocks_needed`` block numbers for the tree's own blocks.
        block_size: Bytes in a block.
        inode_seed: The inode's checksum seed, or None without metadata_csum.

    Returns:
        (i_block, 60 bytes; the tree's own blocks).
    """
    capacity = entries_per_block(block_size)
    numbers = iter(tree_blocks)
    keys = [p.logical for p in split(pieces)]
    entries = [EXTENT.pack(p.logical, p.length, p.start >> 32, p.start & 0xFFFFFFFF) for p in split(pieces)]
    blocks: Blocks = []
    depth = 0
    while len(entries) > ROOT_ENTRIES:
        upper_keys, upper = [], []
        for first in range(0, len(entries), capacity):
            number = next(numbers)
            node = entries[first : first + capacity]
            blocks.append((number, _node(node, depth, block_size, inode_seed)))
            upper_keys.append(keys[first])
            upper.append(EXTENT_IDX.pack(keys[first], number & 0xFFFFFFFF, number >> 32, 0))
        keys, entries = upper_keys, upper
        depth += 1
    header = EXTENT_HEADER.pack(EXTENT_MAGIC, len(entries), ROOT_ENTRIES, depth, 0)
    return (header + b"".join(entries)).ljust(I_BLOCK_SIZE, b"\0"), blocks


def _node(entries: list[bytes], depth: int, block_size: int, inode_seed: int | None) -> bytes:
    capacity = entries_per_block(block_size)
    header = EXTENT_HEADER.pack(EXTENT_MAGIC, len(entries), capacity, depth, 0)
    body = (header + b"".join(entries)).ljust(EXTENT_HEADER.size + capacity * EXTENT.size, b"\0")
    if inode_seed is not None:
        body += EXTENT_TAIL.pack(crc32c(body, inode_seed))
    return body.ljust(block_size, b"\0")
