"""Block groups against mke2fs 1.47.0 (vectors/mke2fs-geometry.json, see PROVENANCE.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imgwriter.errors import SpecError
from imgwriter.ext4.geometry import TooSmallError, free_ranges, merge, plan_geometry
from imgwriter.ext4.params import default_journal_blocks
from imgwriter.units import KiB, MiB, TiB
from tests.unit.ext4.support import parameters

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "mke2fs-geometry.json").read_text())


def _name(vector: dict[str, Any]) -> str:
    return f"{vector['fs_type']}-{vector['size']}-{vector['block_size']}"


@pytest.mark.parametrize("vector", VECTORS, ids=_name)
def test_equals_mke2fs(vector: dict[str, Any]) -> None:
    geometry = plan_geometry(
        parameters(fs_type=vector["fs_type"], block_size=vector["block_size"]), vector["size"], 11
    )
    for name in ("inodes", "blocks", "blocks_per_group", "inodes_per_group", "groups"):
        assert getattr(geometry, name) == vector[name], name
    assert geometry.reserved_gdt_blocks == vector["reserved_gdt_blocks"]
    assert sorted(geometry.backup_groups) == vector["backups"]
    for name in ("block_bitmaps", "inode_bitmaps", "inode_tables"):
        places = getattr(geometry.tables, name)
        assert {i: places[int(i)] for i in vector[name]} == vector[name], name
    if vector["fs_type"] != "ext2":
        assert default_journal_blocks(vector["blocks"]) == vector["journal_blocks"]


@pytest.mark.parametrize("vector", VECTORS, ids=_name)
def test_free_ranges_are_what_backups_and_tables_leave(vector: dict[str, Any]) -> None:
    geometry = plan_geometry(
        parameters(fs_type=vector["fs_type"], block_size=vector["block_size"]), vector["size"], 11
    )
    taken = [geometry.super_range(g) for g in range(geometry.groups)]
    taken += list(geometry.tables.ranges)
    ranges = [*((r, "taken") for r in taken if r[0] < r[1]), *((r, "free") for r in free_ranges(geometry))]
    position = geometry.first_data_block
    for (start, end), _ in sorted(ranges):
        assert start == position
        assert end > start
        position = end
    assert position == geometry.blocks


def test_sparse_super_groups_are_powers_of_3_5_and_7() -> None:
    geometry = plan_geometry(parameters(), 200 * 1024 * MiB, 11)
    # Spec: kernel Documentation/filesystems/ext4/blockgroup.rst: "groups 0 or powers of 3, 5, or 7".
    expected = [1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343, 625, 729, 2187]
    assert sorted(geometry.backup_groups) == [g for g in expected if g < geometry.groups]
    assert geometry.has_super(0)
    assert not geometry.has_super(11)


def test_without_sparse_super_every_group_has_a_backup() -> None:
    geometry = plan_geometry(parameters(features="^sparse_super,^resize_inode"), 1024 * MiB, 11)
    assert geometry.backup_groups == frozenset(range(1, 8))


def test_more_inodes_than_the_ratio_gives() -> None:
    geometry = plan_geometry(parameters(), 1000 * MiB, 200_000)
    assert geometry.inodes >= 210_000, "what the tree needs and 5 %"
    assert plan_geometry(parameters(inodes=100_000), 1000 * MiB, 11).inodes >= 100_000


def test_inode_ratio() -> None:
    # mke2fs -i 65536 on 1000 MiB: 16,000 inodes.
    assert plan_geometry(parameters(inode_ratio=65536), 1000 * MiB, 11).inodes == 16_000


@pytest.mark.parametrize("size", [0, 1, 4 * KiB, 20 * KiB])
def test_too_small(size: int) -> None:
    with pytest.raises(TooSmallError, match="larger"):
        plan_geometry(parameters(), size, 11)


def test_ext3_ends_below_2_to_the_32_blocks() -> None:
    limit = (1 << 32) * 4096
    with pytest.raises(SpecError, match="64bit"):
        plan_geometry(parameters(fs_type="ext3"), limit, 11)
    assert plan_geometry(parameters(fs_type="ext3"), limit - 4096, 11).blocks < 1 << 32


def test_resize_inode_is_dropped_at_2_to_the_32_blocks() -> None:
    # mke2fs 1.47.0 does the same: "resize_inode and 64bit past 2^32 blocks" do not go together.
    assert "resize_inode" not in str(plan_geometry(parameters(), 16 * TiB, 11).features).split()
    below = plan_geometry(parameters(), 16 * TiB - MiB, 11)
    assert "resize_inode" in str(below.features).split()
    assert below.reserved_gdt_blocks == 0


def test_small_blocks_end_where_meta_bg_would_begin() -> None:
    with pytest.raises(SpecError, match="meta_bg"):
        plan_geometry(parameters(block_size=1024), 16 * TiB, 11)


def test_merge_joins_neighbours() -> None:
    assert list(merge([(1, 2), (2, 5), (7, 9), (9, 10)])) == [(1, 5), (7, 10)]


@pytest.mark.parametrize(
    ("blocks", "reserved"),
    # dumpe2fs 1.47.0, "Reserved block count", of `mke2fs -t ext4 -b 4096` on that many blocks. Beyond the end
    # of a group a last group is cut off, then smaller groups take all blocks: the share is that of the cut.
    [
        (32768, 1638),
        (32769, 1583),
        (33281, 1608),
        (33768, 1632),
        (34768, 1738),
        (262145, 13106),
        (262656, 13132),
    ],
)
def test_reserved_blocks_are_those_of_mke2fs(blocks: int, reserved: int) -> None:
    assert plan_geometry(parameters(), blocks * 4096, 11).reserved_blocks == reserved


@pytest.mark.parametrize("needed", [12, 16, 17, 19, 24, 25, 97, 5026])
@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
def test_inodes_are_never_rounded_below_what_is_needed(needed: int, block_size: int) -> None:
    for asked in (None, needed):
        p = parameters(block_size=block_size, inodes=asked, inode_ratio=64 * MiB)
        assert plan_geometry(p, 16 * MiB, needed).inodes >= needed
