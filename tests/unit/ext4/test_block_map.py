"""Block maps against a model that follows every pointer."""

from __future__ import annotations

import struct

import pytest

from imgwriter.ext4 import block_map
from imgwriter.ext4.block_map_walk import Indirect, walk_block_map
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


class _Visitor:
    """Gives the blocks that it has, and keeps what it gets."""

    def __init__(self, blocks: dict[int, bytes]) -> None:
        self.blocks = blocks
        self.runs: list[tuple[int, int, int, int]] = []

    def indirect(self, block: int, parent: int) -> Indirect | None:
        return Indirect(self.blocks[block], block * BLOCK_SIZE) if block in self.blocks else None

    def run(self, logical: int, start: int, length: int, offset: int) -> None:
        self.runs.append((logical, start, length, offset))


def _pointers(**words: int) -> bytes:
    return struct.pack(f"<{P}I", *(words.get(f"at{n}", 0) for n in range(P)))


def test_a_walk_meets_every_run_in_the_files_order() -> None:
    """Logical blocks as ifork.rst counts them: 12 direct, then P, P * P and P * P * P."""
    i_block = struct.pack("<15I", 5, 6, 9, *[0] * 8, 11, 100, 200, 300)
    blocks = {
        100: _pointers(at0=20, at1=21, at255=30),
        200: _pointers(at1=201), 201: _pointers(at2=40),
        300: _pointers(at1=301), 301: _pointers(at0=302), 302: _pointers(at3=50),
    }  # fmt: skip
    expected = [
        (0, 5, 2, 7), (2, 9, 1, 7), (11, 11, 1, 7),
        (12, 20, 2, 100 * BLOCK_SIZE), (12 + 255, 30, 1, 100 * BLOCK_SIZE),
        (12 + P + P + 2, 40, 1, 201 * BLOCK_SIZE),
        (12 + P + P * P + P * P + 3, 50, 1, 302 * BLOCK_SIZE),
    ]  # fmt: skip
    visitor = _Visitor(blocks)
    walk_block_map(i_block, 7, block_map.max_blocks(BLOCK_SIZE), BLOCK_SIZE, visitor)
    assert visitor.runs == expected
    # What is below a block that is not given is passed over, the rest is not.
    visitor = _Visitor({n: content for n, content in blocks.items() if n != 200})
    walk_block_map(i_block, 7, block_map.max_blocks(BLOCK_SIZE), BLOCK_SIZE, visitor)
    assert visitor.runs == expected[:5] + expected[6:]


@pytest.mark.parametrize(("end", "runs"), [(0, 0), (1, 1), (12, 3), (13, 4), (12 + 255, 4), (12 + 256, 5)])
def test_a_walk_stops_at_its_end(end: int, runs: int) -> None:
    i_block = struct.pack("<15I", 5, 6, 9, *[0] * 8, 11, 100, 0, 0)
    visitor = _Visitor({100: _pointers(at0=20, at1=21, at255=30)})
    walk_block_map(i_block, 7, end, BLOCK_SIZE, visitor)
    assert len(visitor.runs) == runs
    assert all(logical + length <= end for logical, _, length, _ in visitor.runs)
