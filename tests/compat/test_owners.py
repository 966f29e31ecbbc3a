"""Whose each byte is: beside debugfs's lists of blocks, dumpe2fs's free ones, and mshowfat's clusters."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from imgwriter.examine.opening import open_disk
from imgwriter.examine.owners import Kind, Region, owners
from imgwriter.fat.reader import FileSystem as Fat
from tests.oracles import debugfs
from tests.oracles.tools import run
from tests.unit.diff.disks import tree

pytestmark = pytest.mark.compat


def regions(image: Path) -> list[Region]:
    found = owners(open_disk(os.fsencode(image)))
    assert found.problems == ()
    return list(found.regions.regions)


def blocks(found: list[Region], size: int, *kinds: Kind) -> dict[bytes, set[int]]:
    """Return the blocks of each path."""
    result: defaultdict[bytes, set[int]] = defaultdict(set)
    for region in found:
        if region.kind in kinds:
            result[region.path or b""] |= set(range(region.start // size, -(-region.end // size)))
    return result


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tree(tmp_path_factory.mktemp("owners") / "tree")
    with (top / "sparse").open("wb") as file:
        for number in range(50):
            file.seek(number * 20_000)
            file.write(b"x" * 3000)
    (top / "large").write_bytes(b"l" * 3_000_000)
    return top


@pytest.mark.parametrize(
    "options",
    [
        ["-t", "ext4", "-b", "1024"],
        ["-t", "ext4", "-b", "4096"],
        ["-t", "ext4", "-b", "1024", "-O", "^flex_bg,meta_bg,^resize_inode"],
        ["-t", "ext4", "-b", "1024", "-O", "^64bit,sparse_super2,^resize_inode"],
        ["-t", "ext3", "-b", "1024"],
        ["-t", "ext2", "-b", "1024", "-I", "128"],
    ],
    ids=" ".join,
)
def test_ext4(source: Path, tmp_path: Path, options: list[str]) -> None:
    image = tmp_path / "image"
    run("mke2fs", "-q", *options, "-d", source, image, "40M")
    size = int(options[3])
    found = regions(image)
    mapped = blocks(
        found, size, Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.EXTENT_TREE, Kind.BLOCK_MAP, Kind.UNWRITTEN
    )
    for path in ("etc/motd", "etc/issue", "sparse", "large", "target", "many", "etc", "lost+found"):
        listed = {int(word) for word in debugfs.request(image, f"blocks /{path}").split()}
        assert mapped[path.encode()] == listed, path
    # What nothing owns is what dumpe2fs calls free: all of it, and nothing else.
    unused: set[int] = set()
    for region in found:
        if region.kind is Kind.UNUSED:
            unused |= set(range(-(-region.start // size), region.end // size))
    free: set[int] = set()
    for line in re.findall(r"^  Free blocks: (.+)$", run("dumpe2fs", image), re.MULTILINE):
        for part in line.split(", "):
            low, _, high = part.partition("-")
            free |= set(range(int(low), int(high or low) + 1))
    assert unused == free


def test_structures_stand_where_dumpe2fs_has_them(source: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    run("mke2fs", "-q", "-t", "ext4", "-b", "1024", "-d", source, image, "40M")
    said = run("dumpe2fs", image)
    found = regions(image)
    for kind, name in ((Kind.BLOCK_BITMAP, "Block bitmap"), (Kind.INODE_BITMAP, "Inode bitmap")):
        places = [int(block) for block in re.findall(rf"{name} at (\d+)", said)]
        assert sorted(region.start // 1024 for region in found if region.kind is kind) == sorted(places)
    tables = {int(block) for block in re.findall(r"Inode table at (\d+)-", said)}
    assert {region.start // 1024 for region in found if region.kind is Kind.INODE_TABLE} == tables
    supers = {int(block) for block in re.findall(r"(?:Primary|Backup) superblock at (\d+)", said)}
    assert {region.start // 1024 for region in found if region.kind is Kind.SUPERBLOCK} == supers


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_fat(source: Path, tmp_path: Path, bits: int) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate({12: 8 << 20, 16: 16 << 20, 32: 64 << 20}[bits])
    run("mkfs.vfat", "-F", str(bits), image)
    for path in (source / "etc", source / "large", source / "many"):
        run("mcopy", "-s", "-i", image, path, "::")
    run("mdel", "-i", image, "::/etc/issue")
    run("mcopy", "-i", image, source / "sparse", "::/etc/sparse")
    fs = open_disk(os.fsencode(image)).area(0).file_system
    assert isinstance(fs, Fat)
    found = regions(image)
    for path in ("large", "etc", "etc/motd", "etc/sparse", "many"):
        said = run("mshowfat", "-i", image, f"::/{path}")
        clusters: set[int] = set()
        for low, high in re.findall(r"<(\d+)(?:-(\d+))?>", said):
            clusters |= set(range(int(low), int(high or low) + 1))
        assert clusters, said
        mine: set[int] = set()
        for region in found:
            if region.path == path.encode():
                low_at, high_at = (at - fs.layout.data_start for at in (region.start, region.end))
                mine |= set(
                    range(low_at // fs.layout.cluster_size + 2, high_at // fs.layout.cluster_size + 2)
                )
        assert mine == clusters, path
