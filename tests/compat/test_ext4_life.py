"""The life of a file system after imgwriter: grown, shrunk, tuned, mounted, written to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import trees
from tests.compat.ext4_images import MiB, everything, many, write
from tests.oracles import debugfs, dumpe2fs, e2fsck
from tests.oracles.tools import attempt, require_root, run

pytestmark = pytest.mark.compat

TYPES = (("ext4", 4096, ""), ("ext4", 1024, ""), ("ext3", 4096, ""), ("ext2", 1024, ""))
VARIANTS = (
    *TYPES,
    ("ext4", 4096, "^resize_inode"),
    ("ext4", 4096, "^metadata_csum,^64bit"),
    ("ext4", 4096, "orphan_file,metadata_csum_seed"),
    ("ext4", 4096, "^flex_bg"),
)


@pytest.mark.parametrize(("fs_type", "block_size", "features"), VARIANTS)
def test_resize2fs_grows_and_shrinks(tmp_path: Path, fs_type: str, block_size: int, features: str) -> None:
    image = tmp_path / "image"
    tree = trees.inventory(everything(block_size) | {b"data": trees.zeros(20 * MiB)})
    write(image, tree, 100 * MiB, fs_type=fs_type, block_size=block_size, features=features)
    os.truncate(image, 1500 * MiB)
    run("resize2fs", image, "1500M")  # without a check first
    grown = e2fsck.check(image)
    assert grown.blocks == 1500 * MiB // block_size
    run("resize2fs", "-M", image)
    shrunk = e2fsck.check(image)
    assert shrunk.blocks_used <= shrunk.blocks < grown.blocks
    assert debugfs.cat(image, "/small") == b"small\n"


@pytest.mark.parametrize("mebibytes", [2000, 3000])
def test_resize2fs_shrinks_what_stands_beyond_the_first_flex_group(tmp_path: Path, mebibytes: int) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory({b"d": many(100, 5, 5000)}), mebibytes * MiB)
    run("resize2fs", "-M", image)
    e2fsck.check(image)


def test_resize2fs_asks_for_a_check_after_a_mount(tmp_path: Path) -> None:
    """What is promised not to happen to a fresh image happens to one that looks mounted."""
    image = tmp_path / "image"
    write(image, trees.inventory(), 64 * MiB)
    debugfs.request(image, "ssv mtime 20240101000000", write=True)
    result = attempt("resize2fs", image, "32M")
    assert result.status != 0
    assert "e2fsck -f" in result.text


def test_tune2fs(tmp_path: Path) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory(), 64 * MiB, label=b"0123456789abcdef")
    header = dumpe2fs.header(image)
    assert header["Filesystem volume name"] == "0123456789abcdef"
    assert header["Maximum mount count"] == "-1"
    assert header["Check interval"] == "0 (<none>)"
    assert header["Filesystem state"] == "clean"
    listed = run("tune2fs", "-l", image)
    assert "Default mount options:    user_xattr acl" in listed
    for options in (("-L", "other"), ("-m", "1"), ("-O", "^has_journal"), ("-j",), ("-U", "clear")):
        run("tune2fs", *options, image)
        e2fsck.check(image)


def test_e2fsck_d_and_y_change_nothing_that_is_said(tmp_path: Path) -> None:
    image = tmp_path / "image"
    write(image, trees.inventory({b"d": many(3000, 30)}))
    assert attempt("e2fsck", "-fyD", image).status in (0, 1)
    e2fsck.check(image)
    assert len(debugfs.listing(image, "/d")) == 3002


# --- the running kernel ---


@contextlib.contextmanager
def mounted(image: Path, folder: Path, fs_type: str) -> Iterator[Path]:
    """Mount an image for reading and writing; skip where there are no loop devices."""
    require_root()
    folder.mkdir(exist_ok=True)
    result = attempt("mount", "-t", fs_type, "-o", "loop", image, folder)
    if result.status and ("loop device" in result.text or "permission denied" in result.text):
        pytest.skip(f"no loop mount here: {result.err.strip()}")
    assert result.status == 0, result.text
    try:
        yield folder
    finally:
        run("umount", folder)


def change(top: Path) -> None:
    """Create, rename, link, write and delete, above all in the directory of many names."""
    index = top / "index"
    for number in range(2000):
        (index / f"new name {number} {'x' * (number % 60)}").write_bytes(b"new")
    for name in sorted(os.listdir(index))[::3]:
        (index / name).unlink()
    for name in sorted(os.listdir(index))[::5]:
        (index / name).rename(top / "deep" / name)
    os.link(top / "small", top / "another")
    (top / "large").write_bytes(b"y" * (5 * MiB))
    (top / "empty").unlink()
    (top / "holes").open("r+b").close()
    (top / "made").mkdir()
    (top / "made" / "link").symlink_to("x" * 300)
    os.setxattr(top / "small", "user.new", b"1" * 200)
    os.setxattr(top / "shared block", "user.large", b"another")
    os.removexattr(top / "acl", "system.posix_acl_access")


@pytest.mark.parametrize(("fs_type", "block_size", "features"), VARIANTS)
def test_the_kernel_reads_and_writes(tmp_path: Path, fs_type: str, block_size: int, features: str) -> None:
    image = tmp_path / "image"
    tree = trees.inventory(everything(block_size))
    write(image, tree, 200 * MiB, fs_type=fs_type, block_size=block_size, features=features)
    with mounted(image, tmp_path / "mnt", fs_type) as top:
        for path, inode in tree.walk():
            status = os.lstat(os.path.join(os.fsencode(top), path))
            assert (status.st_mode, status.st_uid, status.st_gid) == (inode.mode, inode.uid, inode.gid), path
            assert status.st_mtime_ns == inode.mtime_ns or not path
            if inode.entries is None:
                assert status.st_nlink == inode.nlink
        assert (top / "small").read_bytes() == b"small\n"
        assert os.getxattr(top / "shared block", "user.large") == bytes(range(256)) * 3
        change(top)
    e2fsck.check(image)


def test_the_kernel_fills_it(tmp_path: Path) -> None:
    """The free counts are right to the last block and inode: it can be filled until ENOSPC."""
    image = tmp_path / "image"
    made = write(image, trees.inventory({b"d": many(500, 9, 100)}), 40 * MiB)
    with mounted(image, tmp_path / "mnt", "ext4") as top:
        before = os.statvfs(top)
        assert before.f_bfree * 4096 == made.free
        assert before.f_ffree == made.free_inodes
        with pytest.raises(OSError, match="No space left"), (top / "filler").open("wb") as file:
            while True:
                file.write(bytes(range(256)) * 4096)
                file.flush()
        # The kernel keeps 2 % back for its own metadata.
        assert os.statvfs(top).f_bfree * 4096 < 2 * MiB
    e2fsck.check(image)


def test_the_kernel_grows_it_while_mounted(tmp_path: Path) -> None:
    require_root()
    image = tmp_path / "image"
    write(image, trees.inventory(everything()), 100 * MiB)
    with mounted(image, tmp_path / "mnt", "ext4") as top:
        device = run("findmnt", "-n", "-o", "SOURCE", top).strip()
        os.truncate(image, 2500 * MiB)
        run("losetup", "-c", device)
        result = attempt("resize2fs", device)
        if "Permission denied to resize" in result.text:
            pytest.skip("this root may not resize a mounted file system: it lacks CAP_SYS_RESOURCE")
        assert result.status == 0, result.text
        assert os.statvfs(top).f_blocks * 4096 > 2300 * MiB
    assert e2fsck.check(image).blocks == 2500 * MiB // 4096


def test_65000_subdirectories_and_more(tmp_path: Path) -> None:
    image = tmp_path / "image"
    entries = {b"%d" % i: trees.directory() for i in range(64_998)}
    write(image, trees.inventory({b"d": trees.directory(entries)}), 128 * MiB, block_size=1024)
    with mounted(image, tmp_path / "mnt", "ext4") as top:
        assert os.stat(top / "d").st_nlink == 65_000
        (top / "d" / "one more").mkdir()
        assert os.stat(top / "d").st_nlink == 1
        (top / "d" / "7").rmdir()
    e2fsck.check(image)
