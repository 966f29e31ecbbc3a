"""nixpkgs' own sum for the size of a disk: expected values worked out from its script by hand."""

from __future__ import annotations

import stat

import pytest

from imgwriter.nixpkgs_size import disk_size
from imgwriter.tree.inventory import Inode, Inventory

MiB = 1 << 20


def tree() -> Inventory:
    """/a of 1 byte, /b of 4,097 bytes that is also /d/c, a symlink /d/l of 3 bytes, /d itself: 5 names."""
    root, below = Inode(stat.S_IFDIR | 0o755), Inode(stat.S_IFDIR | 0o755)
    linked = Inode(stat.S_IFREG | 0o644, size=4097)
    root.entries = {b"a": Inode(stat.S_IFREG | 0o644, size=1), b"b": linked, b"d": below}
    below.entries = {b"c": linked, b"l": Inode(stat.S_IFLNK | 0o777, size=3, target=b"abc")}
    return Inventory(root)


# blocks: 1 + 2 + 2 (du --count-links) + 1 = 6; names with . and ./root: 7, two blocks each: 14.
# usage = 20 * 4096 = 81920; * 52 / 1000 = 4259 (integers); 86179: the next multiple of 4096 is 22 * 4096.
FILE_SYSTEM = 22 * 4096


@pytest.mark.parametrize(
    ("table", "reserved"),
    [
        ("none", 0),
        ("legacy", MiB),
        ("legacy+boot", 257 * MiB),
        ("legacy+gpt", 17408 + 2 * MiB),
        ("efi", 17408 + 257 * MiB),
        ("efixbootldr", 17408 + 257 * MiB),
        ("hybrid", 17408 + 257 * MiB),
    ],
)
def test_what_each_table_reserves(table: str, reserved: int) -> None:
    exact = FILE_SYSTEM + 512 * MiB + reserved
    assert disk_size(table, tree(), None, 512 * MiB) == (exact // MiB + 1) * MiB


def test_a_multiple_is_rounded_up_by_a_whole_unit() -> None:
    """round_to_nearest of make-disk-image.nix: (a / b + 1) * b."""
    fits = 512 * MiB - FILE_SYSTEM
    assert disk_size("none", tree(), None, fits) == 513 * MiB
    assert disk_size("none", tree(), None, fits - 1) == 512 * MiB
    assert disk_size("legacy+boot", tree(), 100 * MiB + 1, fits) == (513 + 101) * MiB
