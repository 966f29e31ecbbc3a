"""Whole file systems under e2fsck: types, block sizes, features, and sizes at the edges."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgwriter.errors import CapacityError, SpecError
from imgwriter.ext4 import minimum_size, plan
from tests import trees
from tests.compat.ext4_images import GiB, MiB, everything, many, write, write_structures
from tests.oracles import dumpe2fs, e2fsck, ext4_validate
from tests.unit.ext4.support import parameters

pytestmark = pytest.mark.compat

TYPES = ("ext4", "ext3", "ext2")
BLOCK_SIZES = (1024, 2048, 4096)
LEFT_OFF = (
    "^has_journal",
    "^resize_inode",
    "^flex_bg",
    "^64bit",
    "^metadata_csum",
    "^dir_index",
    "^huge_file",
    "^dir_nlink",
    "^extra_isize",
    "^sparse_super,^resize_inode",
    "^extent,^64bit",
    "^ext_attr",
    "^filetype",
    "^large_file,^resize_inode",
)
TURNED_ON = (
    "metadata_csum_seed",
    "orphan_file",
    "large_dir",
    "metadata_csum_seed,orphan_file,large_dir",
    "none,filetype,large_file",
    "none,filetype,has_journal",
    "none",
)
BLOCK = 4096
GROUP = 128 * MiB


def names_of(features: str) -> set[str]:
    """Return the names that ``features`` leaves off or turns on."""
    return {word.lstrip("^") for word in features.split(",")}


@pytest.mark.parametrize("size", [None, 64 * MiB, 300 * MiB])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("fs_type", TYPES)
def test_types_and_block_sizes(tmp_path: Path, fs_type: str, block_size: int, size: int | None) -> None:
    image = tmp_path / "image"
    made = write(image, trees.inventory(everything(block_size)), size, fs_type=fs_type, block_size=block_size)
    summary = e2fsck.check(image)
    assert summary.blocks == made.geometry.blocks
    assert (summary.blocks - summary.blocks_used) * block_size == made.free
    assert summary.inodes - summary.inodes_used == made.free_inodes
    assert ("has_journal" in dumpe2fs.features(image)) == (fs_type != "ext2")


@pytest.mark.parametrize("block_size", [1024, 4096])
@pytest.mark.parametrize("features", [*LEFT_OFF, *TURNED_ON])
def test_features(tmp_path: Path, features: str, block_size: int) -> None:
    image = tmp_path / "image"
    tree = trees.inventory(
        everything(block_size, xattrs="ext_attr" not in features and "none" not in features)
    )
    made = write(image, tree, 200 * MiB, features=features, block_size=block_size)
    e2fsck.check(image)
    found = dumpe2fs.features(image)
    assert found == set(made.features.split())
    assert not found & names_of(features) if features.startswith("^") else True
    # The package's rules for descriptors of 32 bytes are not the kernel's: it objects to mke2fs's own.
    if "metadata_csum" in found and "64bit" in found:
        ext4_validate.check(image)


@pytest.mark.parametrize("features", ["^flex_bg", "^64bit", "^sparse_super,^resize_inode", "^metadata_csum"])
def test_features_in_many_groups(tmp_path: Path, features: str) -> None:
    image = tmp_path / "image"
    write(
        image,
        trees.inventory({b"f": trees.zeros(40 * MiB)}),
        19 * 8 * MiB,
        features=features,
        block_size=1024,
    )
    e2fsck.check(image)
    assert len(dumpe2fs.groups(image)) == 19


@pytest.mark.parametrize("extra", [-3, 0, 1, 52, 567, 568, 2000])
@pytest.mark.parametrize("groups", [1, 2, 15, 16, 17, 32])
def test_group_and_flex_group_edges(tmp_path: Path, groups: int, extra: int) -> None:
    image = tmp_path / "image"
    made = write(image, trees.inventory({b"f": trees.zeros(MiB)}), groups * GROUP + extra * BLOCK)
    e2fsck.check(image)
    assert made.geometry.groups in (groups, groups + 1)


def test_a_last_group_just_large_enough(tmp_path: Path) -> None:
    """One block less and mke2fs's rule cuts it off: its structures and 50 blocks."""
    image = tmp_path / "image"
    tree = trees.inventory()

    def groups(blocks: int) -> int:
        return plan(tree, parameters(), blocks * BLOCK).geometry.groups

    whole = 4 * GROUP // BLOCK
    enough = next(n for n in range(whole + 1, whole + 2000) if groups(n) == 5)
    assert groups(enough - 1) == 4
    for blocks in (enough - 1, enough):
        write(image, tree, blocks * BLOCK)
        e2fsck.check(image)


@pytest.mark.parametrize("remainder", [1, 511, 4095])
def test_a_size_that_is_no_multiple_of_a_block(tmp_path: Path, remainder: int) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory(everything()), 64 * MiB + remainder)
    assert image.stat().st_size == 64 * MiB + remainder
    assert e2fsck.check(image).blocks == 64 * MiB // BLOCK


@pytest.mark.parametrize("fs_type", ["ext4", "ext3"])
def test_two_gibibytes_of_data_across_backups(tmp_path: Path, fs_type: str) -> None:
    image = tmp_path / "image"
    # One file over the backups of groups 1, 3, 5, 7 and 9, whose 2 GiB no e2fsck looks at.
    tree = trees.inventory({b"f": trees.zeros(2 * GiB), b"d": many(20, 5, 9000)})
    made = write_structures(image, tree, fs_type=fs_type)
    assert made.geometry.groups >= 17
    e2fsck.check(image)


def test_full_to_the_last_block(tmp_path: Path) -> None:
    image = tmp_path / "image"
    for free in (0, 1):
        size = minimum_size(trees.inventory(), parameters()) + 20 * MiB
        left = plan(trees.inventory(), parameters(), size).free - free * BLOCK
        made = write(image, trees.inventory({b"f": trees.zeros(left)}), size)
        assert made.free == free * BLOCK
        summary = e2fsck.check(image)
        assert summary.blocks - summary.blocks_used == free
    with pytest.raises(CapacityError):
        plan(trees.inventory({b"f": trees.zeros(left + 2 * BLOCK)}), parameters(), size)


def test_no_inode_left(tmp_path: Path) -> None:
    image = tmp_path / "image"
    asked = {"inode_ratio": 64 * MiB, "features": "^has_journal"}
    made = write(image, trees.inventory({b"d": many(20_000)}), **asked)
    assert made.free_inodes >= 20_000 * 5 // 100
    tree = trees.inventory({b"%d" % i: trees.file() for i in range(16 - 11)})
    made = write(image, tree, 4 * MiB, inodes=16, inode_ratio=64 * MiB, features="^has_journal")
    assert made.free_inodes == 0
    e2fsck.check(image)


@pytest.mark.slow  # e2fsck reads 131,072 groups
@pytest.mark.parametrize("features", ["", "metadata_csum_seed,orphan_file"])
def test_the_largest_file_of_an_ext4_host(tmp_path: Path, features: str) -> None:
    image = tmp_path / "image"
    size = 16_777_215 * MiB
    try:
        with image.open("wb") as file:
            file.truncate(size)
    except OSError:
        pytest.skip("the host's file system holds no file of 16 TiB - 1 MiB")
    made = write(image, trees.inventory(everything()), size, features=features)
    assert image.stat().st_blocks * 512 < 300 * MiB
    assert dumpe2fs.header(image)["Block count"] == str(made.geometry.blocks) == str(size // BLOCK)
    if not features:
        e2fsck.check(image)


@pytest.mark.parametrize("features", ["^dir_index", "^extent,^64bit,^metadata_csum"])
def test_a_long_directory_with_few_means(tmp_path: Path, features: str) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory({b"d": many(20_000, 200)}), features=features, block_size=1024)
    e2fsck.check(image)


def test_more_subdirectories_than_are_counted(tmp_path: Path) -> None:
    """64,998 are counted still, in test_ext4_life.py."""
    image = tmp_path / "image"
    entries = {b"%d" % i: trees.directory() for i in range(64_999)}
    write(image, trees.inventory({b"d": trees.directory(entries)}), block_size=1024)
    e2fsck.check(image)


@pytest.mark.parametrize("time", [0, 1, (1 << 32) + 5])
def test_stamps(tmp_path: Path, time: int) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory(), 16 * MiB, time=time)
    e2fsck.check(image)


def test_a_stamp_of_the_future_is_noticed(tmp_path: Path) -> None:
    """A remark of e2fsck's about what was asked for; the year 2038 is the last that it compares."""
    image = tmp_path / "image"
    write(image, trees.inventory(), 16 * MiB, time=(1 << 32) - 1)
    assert "is in the future" in e2fsck.raw(image).text


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match="resize_inode needs sparse_super"):
        parameters(features="^sparse_super")
    with pytest.raises(SpecError, match="64bit needs extent"):
        parameters(features="^extent")
