"""What is asked of an ext4 file system and cannot be is refused, with what can."""

from __future__ import annotations

import pytest

from imgwriter.errors import SpecError
from imgwriter.units import MiB
from tests.unit.ext4.support import parameters

LARGEST = (1 << 32) - 1
"""s_inodes_count has 32 bits. Spec: kernel Documentation/filesystems/ext4/super.rst."""


@pytest.mark.parametrize("inodes", [1, LARGEST])
def test_numbers_of_inodes_that_can_be(inodes: int) -> None:
    assert parameters(inodes=inodes).inodes == inodes


@pytest.mark.parametrize("inodes", [0, -1, LARGEST + 1])
def test_numbers_of_inodes_that_cannot_be(inodes: int) -> None:
    with pytest.raises(SpecError, match=r"; give a number from 1 to 4,294,967,295$"):
        parameters(inodes=inodes)


@pytest.mark.parametrize("ratio", [1024, 64 * MiB])
def test_inode_ratios_that_can_be(ratio: int) -> None:
    assert parameters(inode_ratio=ratio).inode_ratio == ratio


@pytest.mark.parametrize("ratio", [0, 1023, 64 * MiB + 1])
def test_inode_ratios_that_cannot_be(ratio: int) -> None:
    with pytest.raises(SpecError, match=r"; give one from 1,024 to 67,108,864 bytes per inode$"):
        parameters(inode_ratio=ratio)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"fs_type": "xfs"}, "use one of ext4, ext3, ext2"),
        ({"block_size": 512}, "use 1024, 2048 or 4096 bytes"),
        ({"label": b"x" * 17}, "shorten it"),
        ({"label": b"a\0"}, "leave it out"),
        ({"uuid": bytes(15)}, "give 16 of each"),
        ({"time": -1}, r"give one from 0 to 15032385535 \(the year 2446\)"),
        ({"features": "sparse"}, "use those of .*"),
        ({"features": "^large_file"}, "add large_file or leave off resize_inode"),
    ],
)
def test_each_refusal_ends_in_what_to_do(given: dict[str, str | bytes | int], remedy: str) -> None:
    with pytest.raises(SpecError, match=f"; {remedy}$"):
        parameters(**given)
