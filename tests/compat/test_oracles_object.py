"""Each judge objects to a damaged image, and to nothing in a sound one.

The images are made by mke2fs, mkfs.fat, sgdisk and parted, and never by imgwriter. A judge that
cannot say no proves nothing by saying yes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.oracles import (
    debugfs,
    dumpe2fs,
    e2fsck,
    ext4_validate,
    fsck_fat,
    mtools,
    parted,
    sgdisk,
)
from tests.oracles.tools import run

pytestmark = pytest.mark.compat

MiB = 1 << 20
TYPE_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


def flip(image: Path, offset: int, mask: int = 0xFF) -> None:
    """Invert bits of one byte."""
    with image.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A few files, one with content that can be compared."""
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "hostname").write_bytes(b"oracle\n")
    (root / "blob").write_bytes(bytes(range(256)) * 64)
    (root / "link").symlink_to("etc/hostname")
    os.setxattr(root / "blob", "user.note", b"\x00seen\xff")
    return root


@pytest.fixture
def ext4_image(tmp_path: Path, tree: Path) -> Path:
    """16 MiB by mke2fs, blocks of 4 KiB."""
    image = tmp_path / "ext4.img"
    options = ("-E", "lazy_itable_init=0", "-b", "4096", "-L", "oracle")
    run("mke2fs", "-q", "-t", "ext4", *options, "-d", tree, image, "16M")
    return image


@pytest.fixture
def fat_volume(tmp_path: Path) -> Path:
    """4 MiB of FAT12 by mkfs.fat, one file put in by mtools."""
    volume = tmp_path / "fat.img"
    volume.write_bytes(bytes(4 * MiB))
    run("mkfs.fat", "-n", "ORACLE", volume)
    source = tmp_path / "hello.txt"
    source.write_bytes(b"hello\r\n")
    run("mcopy", "-i", volume, source, "::/hello.txt")
    return volume


@pytest.fixture
def gpt_disk(tmp_path: Path) -> Path:
    """8 MiB by sgdisk, two partitions."""
    disk = tmp_path / "gpt.img"
    with disk.open("wb") as file:
        file.truncate(8 * MiB)
    run("sgdisk", "-n", "1:2048:4095", "-t", "1:ef00", "-c", "1:ESP", "-n", "2:4096:14335", disk)
    return disk


# --- e2fsck ---


def test_e2fsck_accepts_what_mke2fs_made(ext4_image: Path) -> None:
    assert e2fsck.check(ext4_image).blocks == 16 * MiB // 4096


def test_e2fsck_reads_at_an_offset(ext4_image: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.seek(3 * MiB)
        file.write(ext4_image.read_bytes())
    assert e2fsck.check(disk, 3 * MiB) == e2fsck.check(ext4_image)
    flip(disk, 3 * MiB + 1024 + 0x60)
    with pytest.raises(AssertionError):
        e2fsck.check(disk, 3 * MiB)


def _inode_table(image: Path) -> int:
    """Return the byte offset of group 0's inode table."""
    text = dumpe2fs.groups(image)[0].text
    return int(text.split("Inode table at ")[1].split("-")[0]) * 4096


@pytest.mark.parametrize(
    ("what", "offset"),
    [
        ("s_free_blocks_count", 1024 + 0x0C),
        ("a superblock byte that only its checksum covers", 1024 + 0x78),
        ("a group descriptor's free count", 4096 + 0x0C),
    ],
)
def test_e2fsck_objects(ext4_image: Path, what: str, offset: int) -> None:
    flip(ext4_image, offset)
    with pytest.raises(AssertionError):
        e2fsck.check(ext4_image)


def test_e2fsck_objects_to_an_inode(ext4_image: Path) -> None:
    flip(ext4_image, _inode_table(ext4_image) + 256 + 0x10)  # the root's i_mtime
    with pytest.raises(AssertionError):
        e2fsck.check(ext4_image)


def test_e2fsck_objects_to_a_block_that_nobody_owns(ext4_image: Path) -> None:
    debugfs.request(ext4_image, "setb 4000", write=True)
    with pytest.raises(AssertionError, match="Block bitmap differences"):
        e2fsck.check(ext4_image)


def test_e2fsck_objects_to_a_remark_alone(ext4_image: Path) -> None:
    """A journal to be replayed is no error, and still not what was asked for."""
    debugfs.request(ext4_image, "feature needs_recovery", write=True)
    assert e2fsck.raw(ext4_image).status == 0
    with pytest.raises(AssertionError):
        e2fsck.check(ext4_image)


# --- the `ext4` package ---


def test_ext4_package_accepts_what_mke2fs_made(ext4_image: Path) -> None:
    # The root, lost+found, the journal, etc, hostname, blob, link.
    assert ext4_validate.check(ext4_image) == 7


def test_ext4_package_objects(ext4_image: Path) -> None:
    sound = ext4_image.read_bytes()
    for offset in (1024 + 0x78, 4096 + 0x0C, _inode_table(ext4_image) + 256 + 0x10):
        ext4_image.write_bytes(sound)
        flip(ext4_image, offset)
        with pytest.raises(AssertionError):
            ext4_validate.check(ext4_image)


# --- dumpe2fs and debugfs ---


def test_dumpe2fs_reads_and_objects(ext4_image: Path) -> None:
    header = dumpe2fs.header(ext4_image)
    assert header["Filesystem volume name"] == "oracle"
    assert header["Block count"] == "4096"
    assert "metadata_csum" in dumpe2fs.features(ext4_image)
    (group,) = dumpe2fs.groups(ext4_image)
    assert (group.number, group.first_block, group.last_block, group.directories) == (0, 0, 4095, 3)
    assert "ITABLE_ZEROED" in group.flags
    flip(ext4_image, 1024 + 0x38)  # s_magic
    with pytest.raises(AssertionError):
        dumpe2fs.header(ext4_image)


def test_debugfs_reads(ext4_image: Path, tree: Path, tmp_path: Path) -> None:
    source = (tree / "blob").stat()
    blob = debugfs.stat(ext4_image, "/blob")
    assert (blob.type, blob.size, blob.links, blob.mode) == ("regular", 256 * 64, 1, source.st_mode & 0o7777)
    assert blob.mtime_ns // 10**9 == int(source.st_mtime)
    assert debugfs.stat(ext4_image, "/link").target == "etc/hostname"
    assert debugfs.cat(ext4_image, "/blob") == (tree / "blob").read_bytes()
    assert debugfs.xattr(ext4_image, "/blob", "user.note") == b"\x00seen\xff"
    assert debugfs.listing(ext4_image, "/").keys() == {".", "..", "lost+found", "etc", "blob", "link"}
    (leaf,) = debugfs.extents(ext4_image, "/blob")
    assert (leaf.logical_block, leaf.block_count, leaf.uninitialised) == (0, 4, False)
    debugfs.rdump(ext4_image, "/etc", tmp_path)
    assert (tmp_path / "etc" / "hostname").read_bytes() == b"oracle\n"


@pytest.mark.parametrize("request_text", ["stat /absent", "stat", "cat /absent", "ls /absent"])
def test_debugfs_objects_although_it_exits_0(ext4_image: Path, request_text: str) -> None:
    assert debugfs.raw(ext4_image, request_text).status == 0
    with pytest.raises(AssertionError):
        debugfs.request(ext4_image, request_text)


# --- partition tables ---


def test_sgdisk_accepts_its_own_table(gpt_disk: Path) -> None:
    sgdisk.verify(gpt_disk)
    second = sgdisk.partition(gpt_disk, 2)
    assert (second.first_lba, second.last_lba, second.type_guid) == (4096, 14335, TYPE_LINUX)
    assert sgdisk.partition(gpt_disk, 1).name == "ESP"
    assert len(sgdisk.disk_guid(gpt_disk)) == 36


@pytest.mark.parametrize(
    ("what", "offset"),
    [
        ("the primary header's CRC", 512 + 16),
        ("an entry of the primary array", 2 * 512 + 40),
        ("the backup header", -512 + 16),
        ("an entry of the backup array", -33 * 512 + 40),
        ("the protective MBR's type", 446 + 4),
    ],
)
def test_sgdisk_objects(gpt_disk: Path, what: str, offset: int) -> None:
    flip(gpt_disk, offset % (8 * MiB))
    with pytest.raises(AssertionError):
        sgdisk.verify(gpt_disk)


def test_parted_reads_and_objects(gpt_disk: Path) -> None:
    table = parted.table(gpt_disk)
    assert (table.sectors, table.sector_size, table.label) == (8 * MiB // 512, 512, "gpt")
    first, second = table.partitions
    assert (first.first_lba, first.last_lba, first.name) == (2048, 4095, "ESP")
    assert (second.number, second.first_lba, second.last_lba) == (2, 4096, 14335)
    flip(gpt_disk, 8 * MiB - 512)  # the backup's signature
    with pytest.raises(AssertionError):
        parted.table(gpt_disk)


def test_parted_objects_to_an_mbr(tmp_path: Path) -> None:
    disk = tmp_path / "mbr.img"
    with disk.open("wb") as file:
        file.truncate(8 * MiB)
    run("parted", "-s", disk, "mklabel", "msdos", "mkpart", "primary", "ext4", "1MiB", "100%")
    assert parted.table(disk).partitions[0].first_lba == 2048
    flip(disk, 510)  # the signature 55 aa
    with pytest.raises(AssertionError):
        parted.table(disk)


# --- FAT ---


def test_fat_judges_accept_what_mkfs_fat_made(fat_volume: Path) -> None:
    # fsck.fat counts the label's entry as a file.
    assert fsck_fat.check(fat_volume).files == 2
    assert mtools.names(fat_volume) == {"hello.txt"}
    assert mtools.read(fat_volume, "hello.txt") == b"hello\r\n"
    assert mtools.label(fat_volume) == "ORACLE"
    assert "sector size: 512" in mtools.info(fat_volume)


def test_fat_judges_read_at_an_offset(fat_volume: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(MiB) + fat_volume.read_bytes())
    assert mtools.names(disk, MiB) == {"hello.txt"}
    assert fsck_fat.check(fsck_fat.slice_of(disk, MiB, 4 * MiB, tmp_path / "cut")).files == 2


def test_fsck_fat_objects_to_a_copy_of_the_fat_that_differs(fat_volume: Path) -> None:
    reserved = int.from_bytes(fat_volume.read_bytes()[14:16], "little")
    flip(fat_volume, reserved * 512 + 6)  # an entry of the first FAT only
    with pytest.raises(AssertionError):
        fsck_fat.check(fat_volume)


def test_mtools_objects_to_a_boot_sector(fat_volume: Path) -> None:
    flip(fat_volume, 11)  # BPB_BytsPerSec
    with pytest.raises(AssertionError):
        mtools.names(fat_volume)
