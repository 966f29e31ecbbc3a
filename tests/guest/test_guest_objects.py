"""The guest, as a judge, objects: to a job that fails, a kernel that panics, a damaged file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracles import debugfs, guest
from tests.oracles.snapshot import difference, of_directory
from tests.oracles.tools import run

pytestmark = pytest.mark.guest


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """32 MiB by mke2fs, with one file of two blocks."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"x" * 8192)
    path = tmp_path / "ext4.img"
    run("mke2fs", "-q", "-t", "ext4", "-b", "1024", "-L", "nixos", "-d", tmp_path / "tree", path, "32M")
    return path


def test_a_sound_image_and_a_job_that_succeeds(image: Path, tmp_path: Path) -> None:
    answer = guest.check([image], "mount $(root) /mnt\nsnapshot /mnt\numount /mnt\necho done\n")
    assert answer.log == "done\n"
    found = answer.snapshot
    # mke2fs 1.47.0 writes whole seconds, and adds lost+found.
    assert difference({b"file": found[b"file"]}, {b"file": of_directory(tmp_path / "tree")[b"file"]}) != []
    assert found[b"file"].sha256 == of_directory(tmp_path / "tree")[b"file"].sha256
    assert found.keys() == {b"", b"file", b"lost+found"}


def test_a_job_that_fails() -> None:
    with pytest.raises(AssertionError, match="exit 7"):
        guest.check([], "echo before\n(exit 7)\necho after\n")


def test_a_kernel_that_panics() -> None:
    with pytest.raises(AssertionError, match="without a status"):
        guest.boot([], "echo c >/proc/sysrq-trigger\nsleep 100\n")


def test_a_damaged_directory(image: Path) -> None:
    """A directory block whose checksum is wrong: the kernel says so in its log."""
    (leaf,) = debugfs.extents(image, "/")
    with image.open("r+b") as file:
        file.seek(leaf.start_block * 1024 + 30)
        file.write(b"\xff")
    answer = guest.boot([image], "mount $(root) /mnt\nls /mnt || true\n")
    assert any("EXT4-fs error" in line for line in answer.complaints())


def test_a_superblock_with_a_wrong_checksum(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(1024 + 0x60)
        file.write(b"\x00")
    answer = guest.boot([image], "mount -t ext4 /dev/vda /mnt\n")
    assert answer.status != 0
    assert answer.complaints()
