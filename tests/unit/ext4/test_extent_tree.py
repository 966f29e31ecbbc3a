"""Extent trees at the edges of the inode and of a block."""

from __future__ import annotations

import struct

import pytest

from imgwriter.ext4 import extent_tree
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.extent_tree import Piece

# Spec: ifork.rst: 12-byte header and entries, so (4096 - 12) / 12 = 340 in a block of 4 KiB.
PER_BLOCK = {1024: 84, 2048: 169, 4096: 340}


@pytest.mark.parametrize(("block_size", "count"), PER_BLOCK.items())
def test_entries_per_block(block_size: int, count: int) -> None:
    assert extent_tree.entries_per_block(block_size) == count


@pytest.mark.parametrize(
    ("extents", "blocks"),
    [
        (0, 0),
        (1, 0),
        (4, 0),
        (5, 1),
        (340, 1),
        (341, 2),
        (4 * 340, 4),
        (4 * 340 + 1, 5 + 1),
        (4 * 340 * 340, 4 * 340 + 4),
        (4 * 340 * 340 + 1, 4 * 340 + 1 + 5 + 1),
    ],
)
def test_blocks_needed(extents: int, blocks: int) -> None:
    assert extent_tree.blocks_needed(extents, 4096) == blocks


def test_an_extent_holds_32768_blocks() -> None:
    assert extent_tree.extent_count([Piece(0, 100, 32768)]) == 1
    assert extent_tree.extent_count([Piece(0, 100, 32769)]) == 2
    assert [p.length for p in extent_tree.split([Piece(0, 100, 65537)])] == [32768, 32768, 1]


def test_i_block_of_one_extent() -> None:
    # The root directory's i_block as `mke2fs` 1.47.0 wrote it (debugfs inode_dump): block 0x102e.
    i_block, blocks = extent_tree.encode([Piece(0, 0x102E, 1)], [], 4096, None)
    assert i_block.hex() == "0af3010004000000000000000000000001000000" + "2e100000" + "00" * 36
    assert blocks == []


def _leaves(i_block: bytes, blocks: dict[int, bytes], block_size: int) -> list[tuple[int, int, int]]:
    """Walk a tree as the specification describes it, down to (ee_block, start, ee_len)."""

    def walk(node: bytes, depth: int | None) -> list[tuple[int, int, int]]:
        magic, entries, limit, level, _ = struct.unpack_from("<HHHHI", node)
        assert magic == 0xF30A
        assert entries <= limit
        assert depth is None or level == depth
        found = []
        for index in range(entries):
            at = 12 + 12 * index
            if level == 0:
                block, length, high, low = struct.unpack_from("<IHHI", node, at)
                found.append((block, high << 32 | low, length))
            else:
                block, low, high, _ = struct.unpack_from("<IIHH", node, at)
                below = walk(blocks[high << 32 | low], level - 1)
                assert below[0][0] == block, "an index entry says the first block below it"
                found += below
        return found

    return walk(i_block, None)


@pytest.mark.parametrize("extents", [1, 4, 5, 340, 341, 1360, 1361])
@pytest.mark.parametrize("block_size", [1024, 4096])
def test_walks_back(extents: int, block_size: int) -> None:
    pieces = [Piece(3 * i, (1 << 33) + 2 * i, 1) for i in range(extents)]
    numbers = list(range(500, 500 + extent_tree.blocks_needed(extents, block_size)))
    i_block, blocks = extent_tree.encode(pieces, numbers, block_size, 0x1234)
    assert [b for b, _ in blocks] == numbers
    assert all(len(content) == block_size for _, content in blocks)
    found = _leaves(i_block, dict(blocks), block_size)
    assert found == [(p.logical, p.start, p.length) for p in pieces]
    tail = 12 + 12 * PER_BLOCK[block_size]
    for _, content in blocks:
        assert struct.unpack_from("<I", content, tail)[0] == crc32c(content[:tail], 0x1234)


def test_without_checksums_there_is_no_tail() -> None:
    _, blocks = extent_tree.encode([Piece(2 * i, i + 9, 1) for i in range(5)], [7], 1024, None)
    assert blocks[0][1][12 + 12 * 5 :] == bytes(1024 - 72)
