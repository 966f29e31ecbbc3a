"""Block maps against a model that follows every pointer."""

from __future__ import annotations

import struct

import pytest

from imgwriter.ext4 import block_map
from imgwriter.ext4.extent_tree import Piece

BLOCK_SIZE = 1024
P = BLOCK_SIZE // 4


def _follow(i_block: bytes, blocks: dict[int, bytes]) -> dict[int, int]:
    """Return {logical: physical}, found by following the pointers as ifork.rst describes them."""
    pointers = struct.unpack("<15I", i_block)
    found = {i: b for i, b in enumerate(pointers[:12]) if b}
    base = 12

    def walk(block: int, level: int, base: int) -> None:
        if block == 0:
            return
        if level == 0:
            found[base] = block
            return
        for index, below in enumerate(struct.unpack(f"<{P}I", blocks[block])):
            walk(below, level - 1, base + index * P ** (level - 1))

    for level, block in enumerate(pointers[12:], 1):
        walk(block, level, base)
        base += P**level
    return found


@pytest.mark.parametrize(
    "pieces",
    [
        [Piece(0, 100, 12)],
        [Piece(0, 100, 13)],
        [Piece(0, 100, 12 + P)],
        [Piece(0, 100, 12 + P + 1)],
        [Piece(0, 100, 12 + P + P * P), Piece(12 + P + P * P, 900_000, 1)],
        [Piece(5, 100, 1), Piece(12 + P - 1, 300, 2), Piece(12 + P + P * P - 1, 700, 2)],
        [Piece(12 + P + P * P + 77 * P, 4000, 3 * P)],
    ],
)
def test_follows_back(pieces: list[Piece]) -> None:
    needed = block_map.blocks_needed(pieces, BLOCK_SIZE)
    numbers = list(range(2_000_000, 2_000_000 + needed))
    i_block, blocks = block_map.encode(pieces, numbers, BLOCK_SIZE)
    assert sorted(b for b, _ in blocks) == numbers, "every block it asked for, and no other"
    expected = {p.logical + i: p.start + i for p in pieces for i in range(p.length)}
    assert _follow(i_block, dict(blocks)) == expected


def test_counts() -> None:
    # 12 direct, then one block a 256, plus one above them, plus one above those.
    assert block_map.blocks_needed([Piece(0, 1, 12)], BLOCK_SIZE) == 0
    assert block_map.blocks_needed([Piece(0, 1, 13)], BLOCK_SIZE) == 1
    assert block_map.blocks_needed([Piece(0, 1, 12 + P)], BLOCK_SIZE) == 1
    assert block_map.blocks_needed([Piece(0, 1, 12 + P + 1)], BLOCK_SIZE) == 3
    assert block_map.blocks_needed([Piece(0, 1, 12 + P + P * P)], BLOCK_SIZE) == 2 + P
    assert block_map.blocks_needed([Piece(0, 1, 12 + P + P * P + 1)], BLOCK_SIZE) == 2 + P + 3


def test_reach() -> None:
    # Spec: ifork.rst: 12 + 2^(n) + 2^(2n) + 2^(3n) with n = log2(block size) - 2.
    assert block_map.max_blocks(4096) == 12 + 1024 + 1024**2 + 1024**3
