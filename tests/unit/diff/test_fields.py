"""One byte of one field is changed, at the place that the specification gives it: the field is named."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from imgwriter.diff import report
from imgwriter.diff.compare import compare_disks
from imgwriter.ext4.reader import FileSystem as Ext4
from tests.unit.diff.disks import (
    ESP,
    ROOT,
    build_efi,
    changed,
    changes_of,
    differing_bytes,
    explained_bytes,
    names_of,
    opened,
)

HEADER, ENTRIES, SUPER = 512, 1024, ROOT + 1024


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_efi(tmp_path_factory.mktemp("diff"))


def flipped(disk: Path, target: Path, offset: int) -> Path:
    with disk.open("rb") as file:
        file.seek(offset)
        (byte,) = file.read(1)
    return changed(disk, target, (offset, bytes([byte ^ 0x01])))


# Offsets of UEFI 2.10, tables 5.1, 5.5 and 5.6.
@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (100, "MBR, boot_code"),
        (441, "MBR, unique_mbr_disk_signature"),
        (444, "MBR, unknown"),
        (446 + 4, "MBR, partition record 1, os_type"),
        (446 + 16 + 8, "MBR, partition record 2, starting_lba"),
        (446 + 48 + 12, "MBR, partition record 4, size_in_lba"),
        (HEADER + 8, "GPT primary header, revision"),
        (HEADER + 16, "GPT primary header, header_crc32"),
        (HEADER + 24, "GPT primary header, my_lba"),
        (HEADER + 32, "GPT primary header, alternate_lba"),
        (HEADER + 40, "GPT primary header, first_usable_lba"),
        (HEADER + 56, "GPT primary header, disk_guid"),
        (HEADER + 88, "GPT primary header, partition_entry_array_crc32"),
        (HEADER + 92, "GPT primary header, bytes 92 to 511"),
        (ENTRIES, "GPT entry 1, partition_type_guid"),
        (ENTRIES + 16, "GPT entry 1, unique_partition_guid"),
        (ENTRIES + 128 + 48, "GPT entry 2, attributes"),
        (ENTRIES + 128 + 56, "GPT entry 2, partition_name"),
        (ENTRIES + 127 * 128 + 3, "GPT entry 128, partition_type_guid"),
    ],
)
def test_fields_of_tables(disk: Path, tmp_path: Path, offset: int, name: str) -> None:
    assert names_of(disk, flipped(disk, tmp_path / "b", offset)) == {name}


def test_the_backup_gpt_is_told_from_the_primary(disk: Path, tmp_path: Path) -> None:
    end = disk.stat().st_size
    assert names_of(disk, flipped(disk, tmp_path / "b", end - 512 + 56)) == {"GPT backup header, disk_guid"}
    at = end - 33 * 512 + 128 + 16
    assert names_of(disk, flipped(disk, tmp_path / "b", at)) == {"GPT backup entry 2, unique_partition_guid"}


# Offsets of the kernel's ext4/super.rst.
@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (0x0C, "s_free_blocks_count_lo"),
        (0x10, "s_free_inodes_count"),
        (0x2C, "s_mtime"),
        (0x30, "s_wtime"),
        (0x34, "s_mnt_count"),
        (0x38, "s_magic"),
        (0x3A, "s_state"),
        (0x68, "s_uuid"),
        (0x78, "s_volume_name"),
        (0x88, "s_last_mounted"),
        (0xE0, "s_journal_inum"),
        (0xEC, "s_hash_seed"),
        (0x108, "s_mkfs_time"),
        (0x178, "s_kbytes_written"),
        (0x268, "s_lpf_ino"),
        (0x300, "s_reserved"),
        (0x3FC, "s_checksum"),
    ],
)
def test_fields_of_the_superblock(disk: Path, tmp_path: Path, offset: int, name: str) -> None:
    assert names_of(disk, flipped(disk, tmp_path / "b", SUPER + offset)) == {f"ext4 superblock, {name}"}


def test_a_superblock_that_cannot_be_read_is_one_field(disk: Path, tmp_path: Path) -> None:
    """s_log_block_size: the file system is lost, and still the field is named, from either side."""
    broken = changed(disk, tmp_path / "b", (SUPER + 0x18, b"\xff"))
    assert opened(broken).area(2).file_system is None
    assert names_of(disk, broken) == {"ext4 superblock, s_log_block_size"}
    assert names_of(broken, disk) == {"ext4 superblock, s_log_block_size"}


# Offsets of group_descr.rst; descriptors stand in the block after the superblock's.
@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (0x0C, "bg_free_blocks_count_lo"),
        (0x0E, "bg_free_inodes_count_lo"),
        (0x10, "bg_used_dirs_count_lo"),
        (0x12, "bg_flags"),
        (0x18, "bg_block_bitmap_csum_lo"),
        (0x1E, "bg_checksum"),
        (0x38, "bg_block_bitmap_csum_hi"),
    ],
)
def test_fields_of_a_group_descriptor(disk: Path, tmp_path: Path, offset: int, name: str) -> None:
    with disk.open("rb") as file:
        file.seek(ROOT + 4096 + offset)
        byte = file.read(1)[0]
    # INODE_ZEROED of bg_flags: a flag that changes nothing of what is read.
    b = changed(disk, tmp_path / "b", (ROOT + 4096 + offset, bytes([byte ^ 0x04])))
    assert names_of(disk, b) == {f"group descriptor 0, {name}"}


def inode_of(disk: Path, path: bytes) -> tuple[int, int]:
    """Return the number of an inode and its offset on the disk, by the directory entries that lead to it."""
    content = disk.read_bytes()
    (table,) = struct.unpack_from("<I", content, ROOT + 4096 + 8)

    def at(number: int) -> int:
        return ROOT + table * 4096 + (number - 1) * 256

    number = 2
    for name in path.split(b"/"):
        (start,) = struct.unpack_from("<I", content, at(number) + 0x28 + 20)
        block = content[ROOT + start * 4096 : ROOT + (start + 1) * 4096]
        (number,) = struct.unpack_from("<I", block, block.index(name) - 8)
    return number, at(number)


# Offsets of inodes.rst.
@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (0x00, "i_mode"),
        (0x02, "i_uid"),
        (0x04, "i_size_lo"),
        (0x08, "i_atime"),
        (0x0C, "i_ctime"),
        (0x10, "i_mtime"),
        (0x18, "i_gid"),
        (0x1C, "i_blocks_lo"),
        (0x24, "l_i_version"),
        (0x64, "i_generation"),
        (0x7C, "l_i_checksum_lo"),
        (0x82, "i_checksum_hi"),
        (0x88, "i_mtime_extra"),
        (0x90, "i_crtime"),
        (0x9C, "i_projid"),
    ],
)
def test_fields_of_an_inode(disk: Path, tmp_path: Path, offset: int, name: str) -> None:
    number, at = inode_of(disk, b"etc/issue")
    assert names_of(disk, flipped(disk, tmp_path / "b", at + offset)) == {
        f"inode {number} (etc/issue), {name}"
    }


def test_values_are_shown_as_people_read_them(disk: Path, tmp_path: Path) -> None:
    _, at = inode_of(disk, b"etc/issue")
    b = changed(
        disk, tmp_path / "b", (at + 0x10, struct.pack("<I", 2**31 - 1)), (at, struct.pack("<H", 0o100755))
    )
    values = {c.field: (c.a, c.b) for c in changes_of(disk, b)}
    assert values["i_mtime"][1] == "2038-01-19 03:14:07"
    assert values["i_mode"] == ("0o100644", "0o100755")


def test_extended_attributes_in_an_inode(disk: Path, tmp_path: Path) -> None:
    number, at = inode_of(disk, b"etc/issue")
    content = disk.read_bytes()
    value = content.index(b"small", at)
    assert value < at + 256
    (change,) = changes_of(disk, changed(disk, tmp_path / "b", (value, b"SMALL")))
    assert (change.subject, change.field) == (f"inode {number} (etc/issue)", "extended attributes")
    assert (change.a, change.b) == ("user.note='small'", "user.note='SMALL'")


def test_an_attribute_block(disk: Path, tmp_path: Path) -> None:
    content = disk.read_bytes()
    _, at = inode_of(disk, b"etc/motd")
    (block,) = struct.unpack_from("<I", content, at + 0x68)  # i_file_acl_lo
    start = ROOT + block * 4096
    b = changed(disk, tmp_path / "b", (start + 4, struct.pack("<I", 7)), (start + 4095, b"\x55"))
    changes = {c.field: c for c in changes_of(disk, b)}
    assert changes["h_refcount"].subject == "extended attributes of etc/motd"
    assert (changes["h_refcount"].a, changes["h_refcount"].b) == ("0x1", "0x7")
    assert changes["attributes"].a.startswith("user.large=00 01 02 03")


def test_a_directory_block(disk: Path, tmp_path: Path) -> None:
    content = disk.read_bytes()
    number, at = inode_of(disk, b"etc")
    (start,) = struct.unpack_from("<I", content, at + 0x28 + 20)
    name = content.index(b"issue", ROOT + start * 4096)
    (renamed,) = changes_of(disk, changed(disk, tmp_path / "b", (name, b"ISSUE")))
    assert (renamed.subject, renamed.field) == ("directory etc, block 0", "entries")
    assert (renamed.a, renamed.b) == ("only here: issue", "only here: ISSUE")
    (moved,) = changes_of(disk, changed(disk, tmp_path / "b", (name - 8, struct.pack("<I", number))))
    assert moved.b == f"issue is inode {number}"
    tail = ROOT + start * 4096 + 4092
    (summed,) = changes_of(disk, flipped(disk, tmp_path / "b", tail))
    assert (summed.subject, summed.field) == ("directory etc, block 0", "det_checksum")


def test_the_contents_of_a_file(disk: Path, tmp_path: Path) -> None:
    at = disk.read_bytes().index(b"welcome\n" * 1000)
    b = changed(disk, tmp_path / "b", (at + 5000, b"XX"), (at + 7999, b"Y"))
    (change,) = changes_of(disk, b)
    assert (change.layer, change.kind, change.subject) == ("partition 2 (ext4)", "content", "etc/motd")
    assert (change.where, change.size) == (5000, 3)


def test_bitmaps_name_the_numbers(disk: Path, tmp_path: Path) -> None:
    content = disk.read_bytes()
    blocks, inodes = struct.unpack_from("<II", content, ROOT + 4096)
    a = ROOT + blocks * 4096
    (in_blocks,) = changes_of(disk, changed(disk, tmp_path / "b", (a + 12, bytes([content[a + 12] ^ 0x06]))))
    assert in_blocks.subject == "block bitmap, group 0"
    # The group is full up to there: bits 97 and 98 are in use on A.
    assert (in_blocks.a, in_blocks.b) == ("only here: 97-98", "-")
    a = ROOT + inodes * 4096
    (in_inodes,) = changes_of(disk, changed(disk, tmp_path / "b", (a, bytes([content[a] ^ 0x01]))))
    assert (in_inodes.a, in_inodes.b) == ("only here: 1", "-")


def test_the_journal(disk: Path, tmp_path: Path) -> None:
    """jbd2's superblock: s_sequence at 0x18, s_uuid at 0x30 (journal.rst); other blocks by number."""
    content = disk.read_bytes()
    _, root = inode_of(disk, b"etc")
    number, _ = inode_of(disk, b"etc")
    table = root - (number - 1) * 256
    (start,) = struct.unpack_from("<I", content, table + 7 * 256 + 0x28 + 20)
    at = ROOT + start * 4096
    assert names_of(disk, flipped(disk, tmp_path / "b", at + 0x18)) == {"journal superblock, s_sequence"}
    assert names_of(disk, flipped(disk, tmp_path / "b", at + 0x30)) == {"journal superblock, s_uuid"}
    assert names_of(disk, flipped(disk, tmp_path / "b", at + 4096 + 9)) == {"journal, block 1"}


# Offsets of the FAT specification, 3, 5 and 6; the ESP is FAT16 or FAT12 here.
@pytest.mark.parametrize(
    ("offset", "name"),
    [
        (3, "boot sector, BS_OEMName"),
        (24, "boot sector, BPB_SecPerTrk"),
        (28, "boot sector, BPB_HiddSec"),
        (36, "boot sector, BS_DrvNum"),
        (39, "boot sector, BS_VolID"),
        (43, "boot sector, BS_VolLab"),
        (54, "boot sector, BS_FilSysType"),
        (100, "boot sector, boot code"),
        (510, "boot sector, signature"),
    ],
)
def test_fields_of_a_fat_boot_sector(disk: Path, tmp_path: Path, offset: int, name: str) -> None:
    assert names_of(disk, flipped(disk, tmp_path / "b", ESP + offset)) == {name}


@pytest.mark.parametrize(
    ("offset", "field"),
    [
        (13, "DIR_CrtTimeTenth"),
        (14, "DIR_CrtTime"),
        (16, "DIR_CrtDate"),
        (18, "DIR_LstAccessDate"),
        (22, "DIR_WrtTime"),
        (24, "DIR_WrtDate"),
        (28, "DIR_FileSize"),
    ],
)
def test_fields_of_a_fat_directory_entry(disk: Path, tmp_path: Path, offset: int, field: str) -> None:
    at = disk.read_bytes().index(b"B       EFI", ESP)
    assert names_of(disk, flipped(disk, tmp_path / "b", at + offset)) == {f"entry of B.EFI, {field}"}


def test_a_long_name_belongs_to_its_file(disk: Path, tmp_path: Path) -> None:
    content = disk.read_bytes()
    at = content.index("a lon".encode("utf-16-le"), ESP)
    # LDIR_Type, which nothing reads.
    assert names_of(disk, flipped(disk, tmp_path / "b", at + 11)) == {
        "entry of EFI/a long name.efi, LDIR_Type"
    }


def test_both_fats_are_told_apart(disk: Path, tmp_path: Path) -> None:
    fs = opened(disk).area(1).file_system
    assert fs is not None and not isinstance(fs, Ext4)
    second = ESP + fs.layout.fat_start + fs.layout.fat_size
    if fs.layout.bits == 12:
        assert names_of(disk, flipped(disk, tmp_path / "b", second + 6)) == {"FAT 2, entries 4 and 5"}
    else:
        assert names_of(disk, flipped(disk, tmp_path / "b", second + 8)) == {"FAT 2, entry 4"}


def test_what_is_in_no_structure(disk: Path, tmp_path: Path) -> None:
    b = changed(disk, tmp_path / "b", (ESP - 4096, b"stray"))
    (change,) = changes_of(disk, b)
    assert (change.layer, change.kind, change.group) == ("disk", "gap", "unused")
    assert change.first == ESP - 4096


def test_every_byte_of_another_seed_and_time_is_explained(
    disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = build_efi(
        disk.parent.parent, seed="another", time=1_700_000_000, output=disk.parent.parent / "other"
    )
    changes = changes_of(disk, other)
    explained = explained_bytes(changes)
    assert sorted(explained) == sorted(differing_bytes(disk, other))
    assert not {c.kind for c in changes} & {"placement", "unused", "gap"}


def test_a_name_of_other_bytes_is_shown_with_one_backslash(disk: Path, tmp_path: Path) -> None:
    b = changed(disk, tmp_path / "b", (SUPER + 0x78, b"\xa7\x1b[31m"))
    comparison = compare_disks(opened(disk), opened(b))
    (group,) = comparison.summary.layers["partition 2 (ext4)"].values()
    assert r"'\xa7\x1b[31m'" in report.text(comparison)
    assert group.field_name == "s_volume_name"


def test_a_lone_surrogate_of_a_partitions_name_is_shown(disk: Path, tmp_path: Path) -> None:
    """U+D800 in UTF-8's way is ed a0 80, U+D801 ed a0 81."""
    one = changed(disk, tmp_path / "a", (ENTRIES + 56, b"\x00\xd8\0\0"))
    two = changed(disk, tmp_path / "b", (ENTRIES + 56, b"\x01\xd8\0\0"))
    text = report.text(compare_disks(opened(one), opened(two)))
    assert r"partition_name: '\xed\xa0\x80' -> '\xed\xa0\x81'" in text
