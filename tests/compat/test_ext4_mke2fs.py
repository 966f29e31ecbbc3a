"""The same request to mke2fs and to imgwriter: what dumpe2fs says of both is equal."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests import trees
from tests.compat.ext4_images import MiB, write
from tests.oracles import dumpe2fs
from tests.oracles.tools import run
from tests.unit.ext4.support import HASH_SEED, UUID

pytestmark = pytest.mark.compat

STATISTICS = ("Lifetime writes:", "Checksum:", "Journal checksum:")
"""Lines that differ: how much mke2fs wrote, which imgwriter leaves at zero, and the checksum over that."""


def mke2fs(image: Path, size: int, fs_type: str, block_size: int, features: str) -> None:
    """Make an empty file system with the identifiers that the tests give imgwriter."""
    with image.open("wb") as file:
        file.truncate(size)
    extended = f"nodiscard,hash_seed={uuid.UUID(bytes=HASH_SEED)}"
    options = ["-q", "-F", "-t", fs_type, "-b", str(block_size), "-L", "nixos", "-E", extended]
    options += ["-U", str(uuid.UUID(bytes=UUID)), *(("-O", features) if features else ())]
    run("mke2fs", *options, image, env={"E2FSPROGS_FAKE_TIME": "1"})


def lines(image: Path, *options: str) -> list[str]:
    """Return what dumpe2fs says, less the lines of STATISTICS."""
    result = dumpe2fs.raw(image, *options)
    assert result.status == 0, result.text
    return [line for line in result.out.splitlines() if not line.startswith(STATISTICS)]


def compare(
    folder: Path, size: int, fs_type: str = "ext4", block_size: int = 4096, features: str = ""
) -> None:
    ours, theirs = folder / "ours", folder / "theirs"
    mke2fs(theirs, size, fs_type, block_size, features)
    write(ours, trees.inventory(), size, fs_type=fs_type, block_size=block_size, features=features)
    # With metadata_csum the bitmaps' checksums and flags differ: the journal stands elsewhere.
    options = ["-h"] if fs_type == "ext4" else []
    assert lines(ours, *options) == lines(theirs, *options)


@pytest.mark.parametrize("size", [8 * MiB, 33 * MiB, 100 * MiB, 512 * MiB, 700 * MiB + 20480, 20_000 * MiB])
@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
@pytest.mark.parametrize("fs_type", ["ext4", "ext3", "ext2"])
def test_types_block_sizes_sizes(tmp_path: Path, fs_type: str, block_size: int, size: int) -> None:
    compare(tmp_path, size, fs_type, block_size)


@pytest.mark.parametrize("extra", [0, 1, 300, 513, 567, 568, 1000])
@pytest.mark.parametrize("groups", [1, 3, 8, 16, 17])
def test_edges_of_groups(tmp_path: Path, groups: int, extra: int) -> None:
    compare(tmp_path, groups * 128 * MiB + extra * 4096)


@pytest.mark.parametrize("block_size", [1024, 4096])
@pytest.mark.parametrize(
    "features",
    [
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
        "metadata_csum_seed",
        "orphan_file",
        "large_dir",
    ],
)
def test_features(tmp_path: Path, features: str, block_size: int) -> None:
    compare(tmp_path, 300 * MiB, features=features, block_size=block_size)


@pytest.mark.parametrize("size", [600_000 * MiB, 5_000_000 * MiB])
def test_large(tmp_path: Path, size: int) -> None:
    compare(tmp_path, size)


def test_a_different_superblock_is_noticed(tmp_path: Path) -> None:
    mke2fs(tmp_path / "a", 100 * MiB, "ext4", 4096, "")
    mke2fs(tmp_path / "b", 100 * MiB, "ext4", 4096, "")
    assert lines(tmp_path / "a", "-h") == lines(tmp_path / "b", "-h")
    run("tune2fs", "-m", "4", tmp_path / "b")
    assert lines(tmp_path / "a", "-h") != lines(tmp_path / "b", "-h")
