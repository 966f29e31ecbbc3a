"""Blocks are given out in order: files fill the free space like water, whatever stands in between."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.ext4.allocation import Allocation, OutOfBlocksError, allocate, journal_blocks
from imgwriter.ext4.demand import Demand, survey
from imgwriter.ext4.geometry import Geometry, free_ranges, plan_geometry
from imgwriter.ext4.params import default_orphan_blocks
from imgwriter.tree.inventory import Inode
from imgwriter.units import KiB, MiB
from tests import trees
from tests.unit.ext4.support import parameters

pytestmark = pytest.mark.property

BLOCK = KiB
GROUP = 8192
"""Blocks; every second one of the first ten groups begins with a copy of the superblock."""

LENGTHS = st.one_of(
    st.integers(0, 20),
    st.sampled_from([12, 13, GROUP - 300, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP, 3 * GROUP]),
    st.integers(0, 2 * GROUP),
)


@st.composite
def files(draw: st.DrawFn) -> Inode:
    """A file of some blocks, with or without holes."""
    blocks = draw(LENGTHS)
    if draw(st.integers(0, 4)):
        return trees.zeros(blocks * BLOCK)
    bounds = sorted(draw(st.sets(st.integers(0, blocks), max_size=8)))
    runs = [(low * BLOCK, high * BLOCK) for low, high in zip(bounds[::2], bounds[1::2], strict=False)]
    return trees.zeros(blocks * BLOCK, runs)


def blocks_of(demand: Demand, allocation: Allocation, position: int) -> list[int]:
    """Return the blocks of a file's data in their order."""
    start, count = allocation.starts[position], demand.blocks[position]
    if position in allocation.mapped:
        assert start == 0
        pieces = allocation.mapped[position].pieces
        return list(chain.from_iterable(range(p.start, p.start + p.length) for p in pieces))
    assert start or not count
    return list(range(start, start + count)) if start else []


def prepared(inodes: list[Inode], fs_type: str, size: int) -> tuple[Demand, Geometry, list[int]]:
    asked = parameters(block_size=BLOCK, fs_type=fs_type)
    names = {b"%04d" % number: inode for number, inode in enumerate(inodes)}
    demand = survey(trees.inventory(names), asked)
    geometry = plan_geometry(asked, size, demand.needed_inodes)
    free = list(chain.from_iterable(range(start, end) for start, end in free_ranges(geometry)))
    return demand, geometry, free


@given(st.lists(files(), max_size=40), st.sampled_from(["ext4", "ext3", "ext2"]), st.integers(16, 160))
def test_files_fill_the_free_space_in_order(inodes: list[Inode], fs_type: str, mebibytes: int) -> None:
    demand, geometry, free = prepared(inodes, fs_type, mebibytes * MiB)
    try:
        allocation = allocate(demand, geometry)
    except OutOfBlocksError as error:
        data = sum(demand.blocks)
        others = journal_blocks(demand, geometry) + default_orphan_blocks(geometry.blocks)
        maps = data // 100 + 3 * len(inodes) + 8
        assert data < len(free) + error.missing <= data + others + maps
        return
    regular = [p for p in range(len(demand.inodes)) if p not in demand.directories]
    given_out = list(chain.from_iterable(blocks_of(demand, allocation, p) for p in regular))
    assert len(given_out) == sum(demand.blocks[p] for p in regular)
    if given_out:
        first = free.index(given_out[0])
        assert given_out == free[first : first + len(given_out)]
    for position in regular:
        # One run is written down as one, unless the next run of free blocks had to be asked for.
        blocks = blocks_of(demand, allocation, position)
        if allocation.starts[position]:
            assert blocks == list(range(blocks[0], blocks[0] + len(blocks)))
            assert position not in demand.sparse
            assert fs_type == "ext4" or len(blocks) <= 12
    assert allocation.used + allocation.free == len(free)
    assert allocation.end == free[allocation.used - 1] + 1


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_the_last_free_block(spare: int) -> None:
    size = 32 * MiB
    demand, geometry, _ = prepared([trees.zeros(BLOCK), trees.zeros(BLOCK)], "ext4", size)
    more = allocate(demand, geometry).free - spare
    # In four groups, so of four runs at most: its inode maps it alone.
    demand, geometry, _ = prepared([trees.zeros(BLOCK), trees.zeros((1 + more) * BLOCK)], "ext4", size)
    if spare >= 0:
        assert allocate(demand, geometry).free == spare
        return
    with pytest.raises(OutOfBlocksError) as caught:
        allocate(demand, geometry)
    assert caught.value.missing == -spare


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_end_of_a_run_of_free_blocks(over: int) -> None:
    demand, geometry, _ = prepared([trees.zeros(BLOCK)], "ext4", 64 * MiB)
    start = next(filter(None, reversed(allocate(demand, geometry).starts)))
    # Before the last group, whose end would be that of all.
    run, following = [(low, high) for low, high in free_ranges(geometry) if start < high][:2]
    inodes = [trees.zeros(count * BLOCK) for count in (run[1] - start - 5, 5 + over, 0, 7)]
    demand, geometry, _ = prepared(inodes, "ext4", 64 * MiB)
    allocation = allocate(demand, geometry)
    first, second, empty, third = (blocks_of(demand, allocation, position) for position in range(2, 6))
    assert first == list(range(start, run[1] - 5))
    assert second == [
        *range(run[1] - 5, min(run[1] + over, run[1])),
        *range(following[0], following[0] + over),
    ]
    assert empty == []
    if over < 0:
        assert third == [run[1] - 1, *range(following[0], following[0] + 6)]
    else:
        assert third == list(range(following[0] + over, following[0] + over + 7))
