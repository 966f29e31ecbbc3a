"""imgwriter diff beside the tools that change one thing: what they say they change is what is named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.oracles import debugfs, e2fsck, mtools
from tests.oracles.tools import run
from tests.unit.diff.disks import (
    ESP,
    ROOT,
    build_efi,
    changed,
    changes_of,
    cli,
    differing_bytes,
    explained_bytes,
    names_of,
)

pytestmark = pytest.mark.compat

Change = Callable[[Path], object]

GUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_efi(tmp_path_factory.mktemp("diff"))


@pytest.fixture(scope="module")
def mbr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_efi(tmp_path_factory.mktemp("mbr"), partition_table="legacy", boot_end=None, esp_contents=())


def after(disk: Path, tmp_path: Path, change: Change) -> Path:
    """Return a copy of the disk that a tool has changed; every byte that it changed is explained."""
    copy = shutil.copyfile(disk, tmp_path / "changed.img")
    change(copy)
    different = differing_bytes(disk, copy)
    assert different, "the tool changed nothing"
    assert sorted(explained_bytes(changes_of(disk, copy))) == sorted(different)
    return copy


_CRCS = {"header_crc32", "partition_entry_array_crc32"}


def _gpt(*fields: str, entry: str = "") -> set[str]:
    """Return the names of a change that sgdisk makes in both copies, with the checksums that follow."""
    names = {
        f"GPT {copy} header, {f}"
        for copy in ("primary", "backup")
        for f in _CRCS
        if entry or f == "header_crc32"
    }
    if entry:
        return names | {f"GPT {copy}{entry}, {f}" for copy in ("", "backup ") for f in fields}
    return names | {f"GPT {copy} header, {f}" for copy in ("primary", "backup") for f in fields}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["-U", GUID], _gpt("disk_guid")),
        (["-u", f"2:{GUID}"], _gpt("unique_partition_guid", entry="entry 2")),
        (["-c", "2:renamed"], _gpt("partition_name", entry="entry 2")),
        (["-A", "1:set:2"], _gpt("attributes", entry="entry 1")),
        (["-t", "2:8304"], _gpt("partition_type_guid", entry="entry 2")),
    ],
)
def test_sgdisk(disk: Path, tmp_path: Path, options: list[str], names: set[str]) -> None:
    assert names_of(disk, after(disk, tmp_path, lambda copy: run("sgdisk", *options, copy))) == names


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--disk-id", "0x12345678"], "unique_mbr_disk_signature"),
        (["--part-type", "1", "da"], "partition record 1, os_type"),
        (["--activate", "1"], "partition record 1, boot_indicator"),
    ],
)
def test_sfdisk(mbr: Path, tmp_path: Path, options: list[str], field: str) -> None:
    def change(copy: Path) -> None:
        words = [options[0], str(copy), *options[1:]]
        run("sfdisk", "--no-reread", "--no-tell-kernel", *words)

    assert names_of(mbr, after(mbr, tmp_path, change)) == {f"MBR, {field}"}


def tune2fs(*options: str) -> Change:
    return lambda copy: run("tune2fs", *options, e2fsck.at(copy, ROOT), stdin=b"y\n")


def debug(request: str) -> Change:
    return lambda copy: debugfs.request(copy, request, ROOT, write=True)


_ALWAYS = {"ext4 superblock, s_checksum", "ext4 superblock, s_wtime", "ext4 superblock, s_kbytes_written"}
"""What the tools change with anything else."""


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (tune2fs("-L", "renamed"), "s_volume_name"),
        (tune2fs("-c", "7"), "s_max_mnt_count"),
        (tune2fs("-C", "3"), "s_mnt_count"),
        (tune2fs("-i", "5d"), "s_checkinterval"),
        (tune2fs("-e", "panic"), "s_errors"),
        (tune2fs("-r", "17"), "s_r_blocks_count_lo"),
        (tune2fs("-u", "12"), "s_def_resuid"),
        (tune2fs("-M", "/srv"), "s_last_mounted"),
        (tune2fs("-E", "stride=8"), "s_raid_stride"),
        (tune2fs("-o", "^acl"), "s_default_mount_opts"),
        (debug("set_super_value mkfs_time 20200101000000"), "s_mkfs_time"),
        (debug(f"set_super_value hash_seed {GUID}"), "s_hash_seed"),
    ],
)
def test_fields_of_the_superblock(disk: Path, tmp_path: Path, change: Change, field: str) -> None:
    names = names_of(disk, after(disk, tmp_path, change))
    assert f"ext4 superblock, {field}" in names
    assert names <= {f"ext4 superblock, {field}"} | _ALWAYS


def test_another_uuid_changes_what_is_sealed_with_it(disk: Path, tmp_path: Path) -> None:
    copy = after(disk, tmp_path, tune2fs("-f", "-U", GUID))
    changes = changes_of(disk, copy)
    uuid = next(c for c in changes if c.field == "s_uuid" and c.kind == "superblock")
    assert uuid.b == GUID
    # All else follows from it: checksums, and the journal's copy.
    rest = {(c.kind, c.field) for c in changes if c.group not in ("checksums", "times")}
    assert rest <= {
        ("superblock", "s_uuid"), ("journal superblock", "s_uuid"), ("superblock", "s_kbytes_written"),
        ("superblock", "s_checksum_seed"), ("superblock", "s_feature_incompat"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        ("mode", "0100600", {"i_mode"}),
        ("uid", "77", {"i_uid"}),
        ("gid", "70000", {"i_gid", "l_i_gid_high"}),
        ("mtime", "20240102030405", {"i_mtime"}),
        ("atime", "20240102030405", {"i_atime"}),
        ("links_count", "9", {"i_links_count"}),
        ("flags", "0x80010", {"i_flags"}),
        ("generation", "0x1234", {"i_generation"}),
        ("size", "5", {"i_size_lo"}),
    ],
)
def test_fields_of_an_inode(disk: Path, tmp_path: Path, field: str, value: str, names: set[str]) -> None:
    copy = after(disk, tmp_path, debug(f"set_inode_field etc/issue {field} {value}"))
    number = debugfs.stat(disk, "/etc/issue", ROOT).inode
    found = {n.removeprefix(f"inode {number} (etc/issue), ") for n in names_of(disk, copy) - _ALWAYS}
    assert names <= found
    assert found <= names | {"l_i_checksum_lo", "i_checksum_hi", "i_extra_isize"}


def test_a_group_descriptor(disk: Path, tmp_path: Path) -> None:
    copy = after(disk, tmp_path, debug("set_block_group 0 free_blocks_count 5"))
    names = names_of(disk, copy) - _ALWAYS
    assert "group descriptor 0, bg_free_blocks_count_lo" in names
    assert names <= {"group descriptor 0, bg_free_blocks_count_lo", "group descriptor 0, bg_checksum"}


def test_bitmaps_of_another_group(tmp_path: Path) -> None:
    """Numbers are the file system's, not the group's."""
    image = build_efi(
        tmp_path,
        partition_table="none",
        boot_end=None,
        esp_contents=(),
        block_size=1024,
        additional_space=20 << 20,
    )
    said = run("dumpe2fs", image)
    (first,) = re.findall(r"Group 2: \(Blocks (\d+)-", said)
    blocks, inodes = (re.findall(rf"{kind} bitmap at (\d+)", said)[2] for kind in ("Block", "Inode"))
    (per_group,) = re.findall(r"Inodes per group: +(\d+)", said)
    a, b = int(blocks) * 1024 + 400, int(inodes) * 1024 + 5
    before = image.read_bytes()
    copy = changed(image, tmp_path / "copy", (a, bytes([before[a] ^ 0x0E])), (b, bytes([before[b] ^ 0x01])))
    in_blocks, in_inodes = sorted(changes_of(image, copy), key=lambda c: c.offset)
    low = int(first) + 8 * 400 + 1
    assert (in_blocks.subject, in_blocks.b) == ("block bitmap, group 2", f"only here: {low:,}-{low + 2:,}")
    number = 2 * int(per_group) + 8 * 5 + 1
    assert (in_inodes.subject, in_inodes.b) == ("inode bitmap, group 2", f"only here: {number:,}")


def test_a_name_that_is_added_and_one_that_is_removed(disk: Path, tmp_path: Path) -> None:
    copy = after(disk, tmp_path, debug("ln etc/issue etc/another"))
    (entries,) = (c for c in changes_of(disk, copy) if c.field == "entries")
    assert (entries.subject, entries.a, entries.b) == ("directory etc, block 0", "-", "only here: another")
    copy = after(disk, tmp_path, debug("unlink etc/issue"))
    (entries,) = (c for c in changes_of(disk, copy) if c.field == "entries")
    assert (entries.a, entries.b) == ("only here: issue", "-")


def test_an_attribute_that_is_set(disk: Path, tmp_path: Path) -> None:
    copy = after(disk, tmp_path, debug("ea_set etc/issue user.added value"))
    (attributes,) = (c for c in changes_of(disk, copy) if c.field == "extended attributes")
    assert attributes.b == "user.added='value'"


def test_a_file_that_is_written(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"n" * 10_000)
    copy = after(disk, tmp_path, debug(f"write {tmp_path / 'new'} written"))
    changes = changes_of(disk, copy)
    bitmap = next(c for c in changes if c.kind == "inode bitmap")
    number = debugfs.stat(copy, "/written", ROOT).inode
    assert bitmap.b == f"only here: {number}"
    assert any(c.kind == "placement" and c.subject == "unused / written" for c in changes)
    assert any(c.subject == f"inode {number} (written)" and c.field == "i_size_lo" for c in changes)


@pytest.mark.parametrize(
    ("tool", "arguments", "names"),
    [
        ("mattrib", ["+r", "::/B.EFI"], {"entry of B.EFI, DIR_Attr"}),
        ("mattrib", ["+h", "::/EFI/a long name.efi"], {"entry of EFI/a long name.efi, DIR_Attr"}),
    ],
)
def test_mtools(disk: Path, tmp_path: Path, tool: str, arguments: list[str], names: set[str]) -> None:
    def change(copy: Path) -> None:
        assert mtools.raw(tool, copy, *arguments, offset=ESP).status == 0

    assert names_of(disk, after(disk, tmp_path, change)) == names


def test_a_fat_label_and_serial_number(disk: Path, tmp_path: Path) -> None:
    def change(copy: Path) -> None:
        assert mtools.raw("mlabel", copy, "-N", "12345678", "::RENAMED", offset=ESP).status == 0

    names = names_of(disk, after(disk, tmp_path, change))
    assert names >= {"boot sector, BS_VolID", "volume label of /, DIR_Name"}
    assert names <= {"boot sector, BS_VolID", "boot sector, BS_VolLab"} | {
        f"volume label of /, DIR_{f}"
        for f in ("Name", "CrtTime", "CrtDate", "CrtTimeTenth", "LstAccessDate", "WrtTime", "WrtDate", "Attr")
    }


def test_a_file_that_mtools_deletes(disk: Path, tmp_path: Path) -> None:
    def change(copy: Path) -> None:
        assert mtools.raw("mdel", copy, "::/B.EFI", offset=ESP).status == 0

    changes = changes_of(disk, after(disk, tmp_path, change))
    assert {c.kind for c in changes} == {"directory entry", "FAT 1", "FAT 2"}
    assert {c.subject for c in changes if c.kind == "directory entry"} == {"entry of B.EFI"}


@pytest.mark.parametrize("container", ["qcow2", "vpc", "vdi", "raw"])
def test_containers_make_no_difference(
    disk: Path, tmp_path: Path, container: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a disk in the same blocks: vpc with force_size, which keeps the size."""
    copy = tmp_path / f"copy.{container}"
    options = ["-o", "force_size=on"] if container == "vpc" else []
    run("qemu-img", "convert", "-f", "raw", "-O", container, *options, disk, copy)
    assert run("qemu-img", "compare", "-f", "raw", "-F", container, disk, copy) == "Images are identical.\n"
    assert cli("diff", disk, copy) == 0
    assert cli("diff", copy, disk, "--brief") == 0
    said = capfd.readouterr().out
    assert ("containers are raw and" in said) == (container != "raw")


def test_resize2fs_and_tree(disk: Path, tmp_path: Path) -> None:
    """A root that was grown has another shape: the tree is compared, and is the same."""
    root = tmp_path / "root.img"
    with disk.open("rb") as source:
        source.seek(ROOT)
        content = source.read()
    size = len(content) // 4096 * 4096
    root.write_bytes(content[:size])
    grown = shutil.copyfile(root, tmp_path / "grown.img")
    with grown.open("r+b") as file:
        file.truncate(size + (64 << 20))
    run("resize2fs", "-f", grown)
    assert cli("diff", root, grown, "--files") == 0
    assert cli("diff", root, grown) == 1
