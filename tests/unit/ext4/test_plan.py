"""Whole plans: sizes, capacities, and the laws that hold for every one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from imgwriter.errors import CapacityError, SpecError
from imgwriter.ext4 import minimum_size, plan, survey
from imgwriter.ext4.allocation import OutOfBlocksError, allocate, free_after
from imgwriter.ext4.extent_tree import Piece
from imgwriter.ext4.format import GROUP_DESC_64
from imgwriter.ext4.geometry import plan_geometry
from imgwriter.units import GiB, MiB
from tests import trees
from tests.unit.ext4.support import parameters


@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
@pytest.mark.parametrize("fs_type", ["ext2", "ext3", "ext4"])
@pytest.mark.parametrize("size", [0, 1, 3_000_000, 150 * MiB])
def test_minimum_size_fits_and_a_block_less_does_not(fs_type: str, block_size: int, size: int) -> None:
    tree = trees.inventory({b"f": trees.zeros(size), b"d": trees.directory({b"g": trees.zeros(5000)})})
    asked = parameters(fs_type=fs_type, block_size=block_size)
    smallest = minimum_size(tree, asked)
    assert plan(tree, asked, smallest).free >= 0
    with pytest.raises((CapacityError, SpecError)):
        plan(tree, asked, smallest - block_size)


def test_minimum_size_with_spare() -> None:
    tree = trees.inventory({b"f": trees.zeros(10 * MiB)})
    size = minimum_size(tree, parameters(), spare=512 * MiB)
    assert plan(tree, parameters(), size).free >= 512 * MiB
    assert plan(tree, parameters(), size - 4096).free < 512 * MiB


def test_smallest_has_a_journal() -> None:
    # mke2fs gives none below 2,048 blocks.
    assert minimum_size(trees.inventory(), parameters()) == 2048 * 4096
    assert minimum_size(trees.inventory(), parameters(features="^has_journal")) < 2048 * 4096


def test_more_inodes_than_blocks_give() -> None:
    many = {b"%06d" % i: trees.file() for i in range(60_000)}
    tree = trees.inventory(many)
    made = plan(tree, parameters(), minimum_size(tree, parameters()))
    assert made.free_inodes >= 60_000 * 5 // 100


def test_capacity_error_says_what_is_needed() -> None:
    tree = trees.inventory({b"%d" % i: trees.zeros(i * MiB) for i in range(1, 21)})
    with pytest.raises(CapacityError) as caught:
        plan(tree, parameters(), 100 * MiB, "partition 2 'root'")
    error = caught.value
    assert str(error).startswith("partition 2 'root': ext4 needs ")
    assert "31 inodes" in str(error)
    assert "'auto'" in str(error)
    assert error.available == 100 * MiB
    assert error.needed == minimum_size(tree, parameters())
    assert [size // MiB for size, _ in error.largest] == list(range(20, 10, -1))
    plan(tree, parameters(), error.needed)


def test_too_small_for_the_structures_is_a_capacity_error() -> None:
    with pytest.raises(CapacityError, match="8 MiB"):
        plan(trees.inventory(), parameters(), MiB)


def test_too_many_inodes_asked_for() -> None:
    with pytest.raises(CapacityError, match="4,294,967,295 inodes"):
        plan(trees.inventory(), parameters(inodes=(1 << 32) - 1), 64 * MiB)


def test_counts_add_up() -> None:
    tree = trees.inventory({b"f": trees.zeros(300 * MiB), b"d": trees.directory()})
    made = plan(tree, parameters(), 1000 * MiB)
    assert made.used + made.free == 1000 * MiB
    table = _descriptors(made)
    assert sum(d[3] | d[15] << 16 for d in table) * 4096 == made.free
    assert sum(d[4] | d[16] << 16 for d in table) == made.free_inodes
    assert sum(d[5] | d[17] << 16 for d in table) == 3, "root, lost+found, d"


def _descriptors(made):  # type: ignore[no-untyped-def]  # a short hand
    volume = made.volume()
    raw = volume.read(4096, made.geometry.groups * 64)
    return list(GROUP_DESC_64.iter_unpack(raw))


def test_nothing_overlaps_and_everything_is_inside() -> None:
    tree = trees.inventory({b"%d" % i: trees.zeros(i * 791) for i in range(300)})
    made = plan(tree, parameters(), 60 * MiB)
    volume = made.volume()  # Volume refuses overlap
    assert all(a.end <= b.start for a, b in pairwise(volume.extents))
    assert volume.size == 60 * MiB


def test_zeros_are_never_written() -> None:
    made = plan(trees.inventory(), parameters(), 200 * GiB)
    # Superblocks and descriptors, their copies, bitmaps, one journal block: not the journal's 1 GiB,
    # not 3 GiB of inode tables, not one zero block of the directories but lost+found's three.
    assert made.volume().allocated < 8 * MiB


def test_16_tib() -> None:
    made = plan(trees.inventory({b"f": trees.file(b"x")}), parameters(), 16_777_215 * MiB)
    assert made.geometry.blocks == 16_777_215 * 256
    assert made.free > 16_000_000 * MiB


def test_a_43_gib_file_needs_a_tree_of_two_leaves() -> None:
    # 340 ext4_extents of 128 MiB are 42.5 GiB: the bound that shorter tests never reach.
    tree = trees.inventory({b"f": trees.zeros(43 * GiB)})
    made = plan(tree, parameters(), 60 * GiB)
    mapped = made.allocation.mapped[2]
    assert len(mapped.map_blocks) == 2
    assert sum(p.length for p in mapped.pieces) == 43 * GiB // 4096
    assert all(isinstance(p, Piece) for p in mapped.pieces)
    assert all(a.logical + a.length == b.logical for a, b in pairwise(mapped.pieces))


@pytest.mark.parametrize("extents", [4, 5, 340, 341])
def test_files_of_many_extents(extents: int) -> None:
    runs = tuple((i * 8192, i * 8192 + 4096) for i in range(extents))
    tree = trees.inventory({b"f": trees.zeros(extents * 8192, runs)})
    made = plan(tree, parameters(), 64 * MiB)
    assert len(made.allocation.mapped[2].map_blocks) == {4: 0, 5: 1, 340: 1, 341: 2}[extents]


def test_journal_of_the_largest_size_has_a_tree_when_cut() -> None:
    made = plan(trees.inventory(), parameters(), 140 * GiB)
    journal = made.allocation.journal
    assert journal is not None
    assert sum(p.length for p in journal.pieces) == 262_144


def test_plan_is_the_same_for_any_order_of_the_entries() -> None:
    one = trees.inventory({b"a": trees.file(b"1"), b"b": trees.file(b"2")})
    two = trees.inventory({b"b": trees.file(b"2"), b"a": trees.file(b"1")})
    images = [plan(t, parameters(), 16 * MiB).volume() for t in (one, two)]
    assert images[0].read(0, 16 * MiB) == images[1].read(0, 16 * MiB)


@pytest.mark.parametrize("mebibytes", [460, 470, 480, 490])
def test_minimum_where_the_inodes_become_fewer(mebibytes: int) -> None:
    # From 512 MiB on mke2fs makes an inode per 16 KiB, not per 4 KiB: 470 MiB that need more than 512 MiB
    # with the larger tables fit into just that with the smaller ones.
    tree = trees.inventory({b"f": trees.zeros(mebibytes * MiB)})
    size = minimum_size(tree, parameters())
    assert plan(tree, parameters(), size).free >= 0
    with pytest.raises(CapacityError):
        plan(tree, parameters(), size - 4096)
    assert (size == 512 * MiB) == (mebibytes in (470, 480))


@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
@pytest.mark.parametrize("inodes", [12, 100, 9_999, 60_000])
def test_minimum_with_inodes_asked_for(inodes: int, block_size: int) -> None:
    asked = parameters(inodes=inodes, block_size=block_size)
    tree = trees.inventory({b"f": trees.zeros(100_000)})
    size = minimum_size(tree, asked)
    assert plan(tree, asked, size).inodes >= inodes
    with pytest.raises(CapacityError):
        plan(tree, asked, size - block_size)


def test_holes_between_many_runs() -> None:
    # 3 runs in one block, one over two blocks: pieces and runs do not go side by side.
    runs = ((0, 10), (20, 30), (4000, 5000), (9000, 9001), (50_000, 50_002))
    tree = trees.inventory({b"f": trees.zeros(60_000, runs)})
    made = plan(tree, parameters(), 16 * MiB)
    (piece, *rest) = made.allocation.mapped[2].pieces
    start = piece.start * 4096
    content = made.volume().read(start, 3 * 4096)
    expected = bytearray(3 * 4096)
    for low, high in runs[:-1]:
        expected[low:high] = b"x" * (high - low)
    assert content == bytes(expected)
    assert [p.logical for p in rest] == [12]


@pytest.mark.parametrize("block_size", [1024, 4096])
@pytest.mark.parametrize("size", [20 * MiB, 300 * MiB, 1000 * MiB])
@pytest.mark.parametrize("largest", [1, 5 * MiB, 130 * MiB, 700 * MiB])
def test_what_would_be_left_is_what_is_left(largest: int, size: int, block_size: int) -> None:
    tree = trees.inventory({b"a": trees.zeros(largest), b"b": trees.zeros(2 * MiB)})
    demand = survey(tree, parameters(block_size=block_size))
    geometry = plan_geometry(demand.parameters, size, demand.needed_inodes)
    try:
        left = allocate(demand, geometry).free
    except OutOfBlocksError as error:
        left = -error.missing
    assert free_after(demand, geometry) == left
