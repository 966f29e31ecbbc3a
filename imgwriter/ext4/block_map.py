"""Block maps: which blocks of a file stand where, for ext2 and ext3 and for the resize inode.

::

    i_block  | 12 direct | indirect | double | triple |
                             │          └──> block of pointers to blocks of pointers
                             └──> block of block_size / 4 block numbers

A pointer of 0 is a hole; a block that would hold nothing but holes is not there.

Spec: kernel Documentation/filesystems/ext4/ifork.rst, "Direct/Indirect Block Addressing".
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from imgwriter.ext4.extent_tree import Blocks, Piece
from imgwriter.ext4.format import EXT4_N_BLOCKS, EXT4_NDIR_BLOCKS

LEVELS = (1, 2, 3)


def max_blocks(block_size: int) -> int:
    """Return how many blocks of a file the map can say."""
    pointers = block_size // 4
    return EXT4_NDIR_BLOCKS + pointers + pointers**2 + pointers**3


def blocks_needed(pieces: Sequence[Piece], block_size: int) -> int:
    """Return how many indirect blocks the pieces need; only their logical blocks matter."""
    pointers = block_size // 4
    total = 0
    for level, base in _roots(pointers):
        for step in range(1, level + 1):
            total += _distinct(pieces, base, pointers**level, pointers**step)
    return total


def encode(pieces: Sequence[Piece], map_blocks: Sequence[int], block_size: int) -> tuple[bytes, Blocks]:
    """Encode the map of one file.

    Args:
        pieces: Sorted by logical block, disjoint; block numbers below 2^32.
        map_blocks: ``blocks_needed`` block numbers for the indirect blocks.
        block_size: Bytes in a block.

    Returns:
        (i_block, 60 bytes; the indirect blocks).
    """
    pointers = block_size // 4
    numbers = iter(map_blocks)
    starts = [p.logical for p in pieces]
    blocks: Blocks = []

    def node(level: int, base: int) -> int:
        span = pointers**level
        if not _distinct(_overlapping(pieces, starts, base, span), base, span, span):
            return 0
        number = next(numbers)
        if level == 1:
            content = _pointers(_overlapping(pieces, starts, base, pointers), base, pointers)
        else:
            below = span // pointers
            content = array("I", (node(level - 1, base + i * below) for i in range(pointers)))
        blocks.append((number, _little_endian(content)))
        return number

    i_block = _pointers(pieces, 0, EXT4_NDIR_BLOCKS)
    i_block.extend(node(level, base) for level, base in _roots(pointers))
    assert len(i_block) == EXT4_N_BLOCKS
    return _little_endian(i_block), blocks


def _roots(pointers: int) -> Iterator[tuple[int, int]]:
    """Yield (level, first logical block) of the three indirect roots."""
    base = EXT4_NDIR_BLOCKS
    for level in LEVELS:
        yield level, base
        base += pointers**level


def _distinct(pieces: Sequence[Piece], base: int, length: int, unit: int) -> int:
    """Return how many units of [base, base + length) hold at least one mapped block."""
    total, last = 0, -1
    for logical, _, count in pieces:
        low, high = max(logical, base), min(logical + count, base + length)
        if low < high:
            first, final = (low - base) // unit, (high - 1 - base) // unit
            total += final - max(first, last + 1) + 1
            last = final
    return total


def _overlapping(pieces: Sequence[Piece], starts: list[int], base: int, length: int) -> Sequence[Piece]:
    first = max(bisect_right(starts, base) - 1, 0)
    return pieces[first : bisect_right(starts, base + length - 1)]


def _pointers(pieces: Sequence[Piece], base: int, count: int) -> array[int]:
    result = array("I", bytes(4 * count))
    for logical, start, length in pieces:
        low, high = max(logical, base), min(logical + length, base + count)
        if low < high:
            shift = start - logical
            result[low - base : high - base] = array("I", range(low + shift, high + shift))
    return result


def _little_endian(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = array("I", values)
        values.byteswap()
    return values.tobytes()
