"""A real tree: a Debian root, as mmdebstrap's tar, becomes an image whose every entry is the tar's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.building import build
from tests.oracles import debugfs, e2fsck, ext4_validate, parted, sgdisk
from tests.oracles.loop_mount import mounted
from tests.oracles.snapshot import Snapshot, difference, of_directory, of_tar
from tests.oracles.tools import CACHE, require_file

pytestmark = [pytest.mark.compat, pytest.mark.slow]


@pytest.fixture(scope="module")
def tar() -> Path:
    """The root's tar, which `make setup` makes."""
    return require_file(CACHE / "debian-root.tar")


@pytest.fixture(scope="module")
def expected(tar: Path) -> Snapshot:
    """What the standard library reads from the tar."""
    return of_tar(tar)


@pytest.fixture(scope="module")
def image(tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The efi image."""
    return build(tar, tmp_path_factory.mktemp("debian"), "--partition-table", "efi")


@pytest.fixture(scope="module")
def root_offset(image: Path) -> int:
    """Where the root starts, in bytes."""
    return parted.table(image).partitions[1].first_lba * 512


def test_the_tar_is_a_whole_system(expected: Snapshot) -> None:
    """The fixture itself: enough of every kind that the comparison says something."""
    kinds = {stat.S_IFMT(entry.mode) for entry in expected.values()}
    assert len(expected) > 5000 and {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK} <= kinds
    assert {entry.gid for entry in expected.values()} > {0}
    assert any(entry.mode & stat.S_ISUID for entry in expected.values())


def test_judges_agree(image: Path, root_offset: int) -> None:
    sgdisk.verify(image)
    e2fsck.check(image, root_offset)
    assert ext4_validate.check(image, root_offset) > 5000


def test_every_entry_is_the_tars(image: Path, root_offset: int, expected: Snapshot, tmp_path: Path) -> None:
    with mounted(image, tmp_path / "mnt", root_offset) as top:
        found = of_directory(top)
    lost = found.pop(b"lost+found")
    assert (lost.mode, lost.uid, lost.gid) == (stat.S_IFDIR | 0o700, 0, 0)
    assert difference(expected, found) == []


def test_debugfs_reads_the_same_without_the_kernel(image: Path, root_offset: int, expected: Snapshot) -> None:
    """A part of the tree, for those who are not root: each type, and each owner and mode there is."""
    chosen = {(entry.mode, entry.uid, entry.gid): path for path, entry in expected.items()}
    for path in chosen.values():
        entry = expected[path]
        found = debugfs.stat(image, f"/{path.decode()}", root_offset)
        assert (found.mode, found.uid, found.gid) == (entry.mode & 0o7777, entry.uid, entry.gid), path
        assert found.mtime_ns == entry.mtime_ns, path
        if stat.S_ISREG(entry.mode):
            assert found.size == entry.size, path
        if stat.S_ISLNK(entry.mode) and entry.size < 60:
            assert found.target == entry.target.decode(), path
