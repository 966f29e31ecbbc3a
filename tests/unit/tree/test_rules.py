"""Times, and files of very many names."""

from __future__ import annotations

import pytest

from imgwriter.tree.inventory import Inventory
from imgwriter.tree.rules import MAX_LINKS, break_links, set_times
from tests.unit.tree.graph import tree


@pytest.mark.parametrize(("mtime", "clamped"), [(99, 99), (100, 100), (101, 100), (-5, -5)])
def test_times_are_clamped_only_downwards(mtime, clamped):
    file = tree(b"")
    file.mtime_ns = mtime * 1_000_000_000 + (1 if mtime == 99 else 0)
    before = file.mtime_ns
    set_times([file], None, 5)
    assert file.mtime_ns == before
    set_times([file], 100, 5)
    assert file.mtime_ns == clamped * 1_000_000_000 + (1 if mtime == 99 else 0)


def test_what_nobody_described_takes_the_builds_time():
    directory = tree({}, implicit=True)
    set_times([directory], 100, 200)
    assert directory.mtime_ns == 200_000_000_000


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (MAX_LINKS - 1, [MAX_LINKS - 1]),
        (MAX_LINKS, [MAX_LINKS]),
        (MAX_LINKS + 1, [MAX_LINKS, 1]),
        (2 * MAX_LINKS + 1, [MAX_LINKS, MAX_LINKS, 1]),
    ],
)
def test_break_links(names, counts):
    file, other = tree(b"x"), tree(b"y")
    inventory = Inventory(tree({"d": {f"{i:06}": file for i in range(names)}, "a": other, "b": other}))
    broken = break_links(inventory)
    files = [inode for inode in broken.inodes if inode.entries is None]
    assert [inode.nlink for inode in files] == [2, *counts]
    assert broken.names == inventory.names
    assert {inode.data for inode in files} == {file.data, other.data}
    assert files[1].name == b"000000"
