"""The index of a directory: its shape and its records; the bytes are judged in test_directory and compat."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from imgwriter.ext4 import htree
from imgwriter.ext4.checksum import crc32c

DOTS = bytes(range(24))


def blocks_of(tree: htree.Tree, size: int, seed: int | None) -> list[bytes]:
    data = htree.encode(tree, DOTS, size, seed)
    assert len(data) == tree.blocks * size
    return [data[start : start + size] for start in range(0, len(data), size)]


def index_entries(block: bytes, head: int) -> tuple[int, list[tuple[int, int]]]:
    """Return (limit, [(hash, block)]); the first entry's hash is not there."""
    limit, count = struct.unpack_from("<HH", block, head)
    rows = [struct.unpack_from("<II", block, head + 8 * number) for number in range(count)]
    return limit, [(0, rows[0][1]), *rows[1:]]


def leaves_below(blocks: list[bytes], number: int, levels: int) -> list[tuple[int, int]]:
    """Return (hash, block) of every leaf below an index block, walking it as the kernel does."""
    _, rows = index_entries(blocks[number], 32 if number == 0 else 8)
    if levels == 0:
        return rows
    result = []
    for value, child in rows:
        below = leaves_below(blocks, child, levels - 1)
        result += [(value, below[0][1]), *below[1:]]
    return result


@pytest.mark.parametrize(("csum", "root", "node"), [(True, 123, 126), (False, 124, 127)])
def test_the_tree_is_as_low_as_it_can_be(csum: bool, root: int, node: int) -> None:
    for leaves, levels in (
        (2, 1),
        (root - 1, 1),
        (root, 1),
        (root + 1, 2),
        (root * node, 2),
        (root * node + 1, 3),
        (root * node * node, 3),
    ):
        tree = htree.build(range(0, 2 * leaves, 2), 1024, csum)
        assert len(tree.levels) == levels
        assert sum(tree.levels[-1]) == leaves
        assert len(tree.levels[0]) == 1
        assert tree.levels[0][0] <= root
        for above, below in pairwise(tree.levels):
            assert sum(above) == len(below)
            assert max(below) <= node
            assert max(below) - min(below) <= 1


def test_nodes_keep_room_where_there_is_any() -> None:
    tree = htree.build(range(0, 2000, 2), 1024, True)
    assert max(tree.levels[1]) <= 126 * 4 // 5


@pytest.mark.parametrize("leaves", [2, 123, 124, 15498, 15499])
def test_a_walk_finds_every_leaf_under_its_hash(leaves: int) -> None:
    hashes = [0, *(value * 2 + (value % 7 == 0) for value in range(1, leaves))]
    tree = htree.build(hashes, 1024, True)
    blocks = blocks_of(tree, 1024, 5)
    expected = [(value, tree.blocks + number) for number, value in enumerate(hashes)]
    assert leaves_below(blocks, 0, len(tree.levels) - 1) == expected
    # dx_root_info: reserved_zero, half-MD4, its own length, indirect_levels, flags
    assert blocks[0][24:32] == bytes((0, 0, 0, 0, 1, 8, len(tree.levels) - 1, 0))
    assert blocks[0][:24] == DOTS
    assert all(block[:8] == struct.pack("<IHBB", 0, 1024, 0, 0) for block in blocks[1:])


def test_checksums_cover_the_entries_in_use_and_the_tail() -> None:
    for number, block in enumerate(blocks_of(htree.build(range(0, 400, 2), 1024, True), 1024, 77)):
        head = 32 if number == 0 else 8
        limit, rows = index_entries(block, head)
        # ext4_dx_csum() in fs/ext4/namei.c: up to the count, then the tail with its checksum as zero.
        expected = crc32c(bytes(8), crc32c(block[: head + 8 * len(rows)], 77))
        assert struct.unpack_from("<II", block, head + 8 * limit) == (0, expected)
        assert not any(block[head + 8 * len(rows) : head + 8 * limit])


def test_first_hashes_mark_what_goes_on() -> None:
    assert htree.first_hashes([2, 4, 4, 4, 8, 8, 10], [2, 4, 5, 7]) == [2, 5, 8, 9]


def test_records_have_the_specified_sizes() -> None:
    records = (htree.DX_ROOT_INFO, htree.DX_COUNTLIMIT, htree.DX_ENTRY, htree.DX_TAIL)
    assert [record.size for record in records] == [8, 4, 8, 8]
