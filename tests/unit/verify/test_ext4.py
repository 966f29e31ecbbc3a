"""Each kind of damage is found, under its name: one field is set wrong by its place in the specification.

Images are the writer's, which e2fsck has judged (tests/compat/test_ext4.py). Most are without checksums, so
that what is found is found by what it says; what only a checksum tells has images with them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest

from imgwriter.errors import FormatError
from imgwriter.ext4.checksum import crc32c
from imgwriter.findings import Finding
from imgwriter.verify.ext4 import verify_ext4
from imgwriter.verify.values import Result
from tests import trees
from tests.compat.ext4_images import content, everything, many
from tests.unit.ext4 import images
from tests.unit.ext4.images import SUPER, first_block, get, inode_at, number_of, put

BLOCK = 1024
SIZE = 12 << 20
GROUP_1 = 8193 * BLOCK
"""The first backup: with blocks of 1 KiB group 0 begins at block 1 and has 8,192 of them."""
PLAIN = "^metadata_csum,^64bit"
DESCRIPTORS = 2 * BLOCK


@cache
def _made(fs_type: str, features: str) -> bytes:
    sparse = trees.file(content(200 * BLOCK))
    sparse.runs = tuple((i * 2 * BLOCK, (i * 2 + 1) * BLOCK) for i in range(100))
    entries = {
        b"acl": trees.file(xattrs={b"user.a": b"12345678"}),
        b"block of attributes": trees.file(xattrs={b"user.large": bytes(range(250)) * 2}),
        b"device": trees.device(0o020000, 1, 3),
        b"dir": trees.directory({b"sub": trees.directory(), b"file": trees.file(b"x")}),
        b"fast": trees.symlink(b"f" * 30),
        b"file": trees.file(content(5000)),
        b"linked": trees.file(b"y"),
        b"many": many(300),
        b"slow": trees.symlink(b"s" * 80),
        b"sparse": sparse,
    }
    entries[b"twice"] = entries[b"linked"]
    return bytes(
        images.image(trees.inventory(entries), SIZE, block_size=BLOCK, fs_type=fs_type, features=features)
    )


def made(features: str = PLAIN, fs_type: str = "ext4") -> bytearray:
    """Return an image with each structure; descriptors of 32 bytes unless features say otherwise."""
    return bytearray(_made(fs_type, features))


def verify(content: bytes | bytearray) -> Result:
    """Verify a file system in memory."""
    return verify_ext4(images.volume(content), 0, len(content))


def found(content: bytes | bytearray) -> set[tuple[str, str]]:
    """Return the structures and fields that findings name."""
    return {(f.structure, f.field) for f in verify(content).findings}


def number(image: bytearray, name: bytes) -> int:
    return number_of(image, name)


def inode(image: bytearray, name: bytes) -> int:
    """Return where the inode of a name in the root is."""
    table = 32 if not get(image, SUPER + 0x60, "<I") & 0x80 else 64
    assert table in (32, 64)
    return inode_at(image, number_of(image, name))


# --- what is right is silent ---


@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
@pytest.mark.parametrize(
    ("fs_type", "features"),
    [
        ("ext4", ""),
        ("ext4", "^metadata_csum"),
        ("ext4", "^64bit"),
        ("ext4", "^flex_bg"),
        ("ext4", "^extent,^64bit"),
        ("ext4", "^resize_inode"),
        ("ext4", "^sparse_super,^resize_inode"),
        ("ext4", "orphan_file,metadata_csum_seed,large_dir"),
        ("ext4", "^has_journal,^dir_index"),
        ("ext3", ""),
        ("ext2", ""),
    ],
)
def test_the_writers_images_are_right(fs_type: str, features: str, block_size: int) -> None:
    made = images.of(everything(block_size), fs_type=fs_type, features=features, block_size=block_size)
    assert verify(made) == Result()


def test_an_offset_in_a_disk_counts_in_findings() -> None:
    image = made()
    put(image, SUPER + 0x0C, "<I", get(image, SUPER + 0x0C, "<I") + 1)
    disk = bytes(1 << 20) + image + bytes(5000)
    (finding,) = verify_ext4(images.volume(disk), 1 << 20, len(image)).findings
    assert (finding.field, finding.offset) == ("s_free_blocks_count", (1 << 20) + SUPER)


def test_progress_rises_to_the_whole() -> None:
    image = made()
    seen: list[tuple[int, int]] = []
    verify_ext4(images.volume(image), 0, len(image), lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1


# --- one field wrong, without checksums ---


class Damage(NamedTuple):
    """What is done to an image, and the finding it has to make."""

    do: Callable[[bytearray], None]
    structure: str
    field: str


def add(at: int, form: str, amount: int = 1) -> Callable[[bytearray], None]:
    """Return what adds to the field at an offset."""
    return lambda image: put(image, at, form, get(image, at, form) + amount)


def set_to(at: int, form: str, value: int) -> Callable[[bytearray], None]:
    return lambda image: put(image, at, form, value)


def in_inode(name: bytes, at: int, form: str, value: int) -> Callable[[bytearray], None]:
    return lambda image: put(image, inode(image, name) + at, form, value)


def more_in_inode(name: bytes, at: int, form: str, amount: int = 1) -> Callable[[bytearray], None]:
    def do(image: bytearray) -> None:
        place = inode(image, name) + at
        put(image, place, form, get(image, place, form) + amount)

    return do


def in_entry(name: bytes, at: int, form: str, value: int) -> Callable[[bytearray], None]:
    return lambda image: put(image, images.entry_at(image, name) + at, form, value)


SUPERBLOCK = {
    "s_inodes_count": (0x00, "<I"),
    "s_blocks_count": (0x04, "<I"),
    "s_free_blocks_count": (0x0C, "<I"),
    "s_free_inodes_count": (0x10, "<I"),
    "s_log_cluster_size": (0x1C, "<I"),
    "s_clusters_per_group": (0x24, "<I"),
    "s_block_group_nr": (0x5A, "<H"),
    "s_journal_inum": (0xE0, "<I"),
}


@pytest.mark.parametrize("field", SUPERBLOCK)
def test_superblock_fields_off_by_one(field: str) -> None:
    image = made()
    at, form = SUPERBLOCK[field]
    add(SUPER + at, form)(image)
    assert ("ext4 superblock", field) in found(image)


@pytest.mark.parametrize(
    ("field", "at", "form", "value"),
    [
        ("s_magic", 0x38, "<H", 0xEF52),
        ("s_r_blocks_count", 0x08, "<I", 12289),
        ("s_first_data_block", 0x14, "<I", 0),
        ("s_log_block_size", 0x18, "<I", 9),
        ("s_blocks_per_group", 0x20, "<I", 0),
        ("s_inodes_per_group", 0x28, "<I", 8193),
        ("s_state", 0x3A, "<H", 0x101),
        ("s_errors", 0x3C, "<H", 4),
        ("s_creator_os", 0x48, "<I", 5),
        ("s_first_ino", 0x54, "<I", 10),
        ("s_inode_size", 0x58, "<H", 200),
        ("s_reserved_gdt_blocks", 0xCE, "<H", 257),
        ("s_last_orphan", 0xE8, "<I", 1 << 31),
        ("s_def_hash_version", 0xFC, "<B", 9),
        ("s_jnl_backup_type", 0xFD, "<B", 2),
        ("s_jnl_blocks", 0x10C, "<I", 5),
        ("s_min_extra_isize", 0x15C, "<H", 129),
        ("s_want_extra_isize", 0x15E, "<H", 3),
        ("s_flags", 0x160, "<I", 3),
        ("s_log_groups_per_flex", 0x174, "<B", 32),
    ],
)
def test_superblock_fields_out_of_range(field: str, at: int, form: str, value: int) -> None:
    image = made()
    put(image, SUPER + at, form, value)
    assert ("ext4 superblock", field) in found(image)


@pytest.mark.parametrize(
    ("field", "at", "form"),
    [
        ("s_blocks_per_group", 0x20, "<I"),
        ("s_inodes_count", 0x00, "<I"),
        ("s_uuid", 0x68, "<I"),
        ("s_hash_seed", 0xEC, "<I"),
        ("s_block_group_nr", 0x5A, "<H"),
        ("s_reserved_gdt_blocks", 0xCE, "<H"),
    ],
)
def test_backups_of_the_superblock(field: str, at: int, form: str) -> None:
    image = made()
    put(image, GROUP_1 + at, form, get(image, GROUP_1 + at, form) ^ 8)
    assert ("ext4 backup superblock, group 1", field) in found(image)


def test_a_field_of_two_words_is_shown_on_one_line() -> None:
    """s_backup_bgs, at 0x24C."""
    image = made()
    put(image, GROUP_1 + 0x24C, "<II", 1, 0)
    (finding,) = verify(image).findings
    assert (finding.field, finding.found) == ("s_backup_bgs", "1 and 0")
    assert finding.expected == "0 and 0, as in the primary"


def test_features_of_a_backup() -> None:
    image = made()
    put(image, GROUP_1 + 0x5C, "<I", get(image, GROUP_1 + 0x5C, "<I") ^ 0x10)
    assert ("ext4 backup superblock, group 1", "s_feature_compat") in found(image)


def test_what_a_kernel_leaves_old_in_a_backup_is_no_finding() -> None:
    image = made()
    for at, form in ((0x0C, "<I"), (0x10, "<I"), (0x2C, "<I"), (0x30, "<I"), (0x34, "<H"), (0x3A, "<H")):
        put(image, GROUP_1 + at, form, get(image, GROUP_1 + at, form) ^ 1)
    assert verify(image) == Result()


@pytest.mark.parametrize(
    ("field", "at"), [("bg_block_bitmap", 0), ("bg_inode_bitmap", 4), ("bg_inode_table", 8)]
)
@pytest.mark.parametrize("group", [0, 1])
def test_backups_of_descriptors(field: str, at: int, group: int) -> None:
    image = made()
    place = GROUP_1 + BLOCK + 32 * group + at
    put(image, place, "<I", get(image, place, "<I") + 1)
    assert found(image) == {(f"ext4 backup group descriptor {group}, in group 1", field)}


@pytest.mark.parametrize(
    ("field", "at", "form", "value"),
    [
        ("bg_block_bitmap", 0, "<I", 99999),
        ("bg_inode_bitmap", 4, "<I", 0),
        ("bg_inode_table", 8, "<I", 12288),
        ("bg_free_blocks_count", 0x0C, "<H", 1),
        ("bg_free_blocks_count", 0x0C, "<H", 60000),
        ("bg_free_inodes_count", 0x0E, "<H", 1),
        ("bg_used_dirs_count", 0x10, "<H", 1),
        ("bg_flags", 0x12, "<H", 0x8),
    ],
)
@pytest.mark.parametrize("group", [0, 1])
def test_descriptors(field: str, at: int, form: str, value: int, group: int) -> None:
    image = made()
    put(image, DESCRIPTORS + 32 * group + at, form, value)
    assert (f"ext4 group descriptor {group}", field) in found(image)


def test_tables_that_overlap() -> None:
    image = made()
    put(image, DESCRIPTORS + 4, "<I", get(image, DESCRIPTORS, "<I"))
    assert ("ext4 group tables", "bg_inode_table") in found(image)


def bitmap_at(image: bytearray, group: int, which: int) -> int:
    """Return where a group's block bitmap (0) or inode bitmap (1) is."""
    return get(image, DESCRIPTORS + 32 * group + 4 * which, "<I") * BLOCK


BITMAPS = {
    "used and clear": ("block", 0, 0, 1, "bits"),
    "unused and set": ("block", 1, 4000 // 8, 1, "bits"),
    "padding of the last group": ("block", 1, 1023, 0x80, "padding"),
    "inode used and clear": ("inode", 0, 1, 4, "bits"),
    "inode unused and set": ("inode", 1, 5, 4, "bits"),
    "padding of inodes": ("inode", 0, 1023, 0x80, "padding"),
}


@pytest.mark.parametrize("name", BITMAPS)
def test_bitmaps(name: str) -> None:
    kind, group, at, bit, field = BITMAPS[name]
    image = made()
    image[bitmap_at(image, group, ("block", "inode").index(kind)) + at] ^= bit
    assert found(image) == {(f"ext4 {kind} bitmap, group {group}", field)}


INODES: dict[str, tuple[bytes, int, str, int, str]] = {
    "no type": (b"file", 0, "<H", 0o644, "i_mode"),
    "another type": (b"file", 0, "<H", 0o140644, "i_flags"),
    "i_size_lo": (b"file", 4, "<I", 10, "i_size"),
    "i_dtime": (b"file", 0x14, "<I", 5, "i_dtime"),
    "i_links_count": (b"file", 0x1A, "<H", 2, "i_links_count"),
    "i_links_count of a hard link": (b"linked", 0x1A, "<H", 3, "i_links_count"),
    "i_links_count of a directory": (b"dir", 0x1A, "<H", 2, "i_links_count"),
    "i_blocks_lo": (b"file", 0x1C, "<I", 8, "i_blocks"),
    "i_blocks of a device": (b"device", 0x1C, "<I", 2, "i_blocks"),
    "HUGE_FILE": (b"file", 0x20, "<I", 0x40000 | 0x80000, "i_blocks"),
    "INLINE_DATA": (b"file", 0x20, "<I", 0x10000000, "i_flags"),
    "INDEX of a file": (b"file", 0x20, "<I", 0x81000, "i_flags"),
    "CASEFOLD": (b"dir", 0x20, "<I", 0x40080000, "i_flags"),
    "i_file_acl": (b"file", 0x68, "<I", 99999, "i_file_acl"),
    "i_size_high of a directory": (b"dir", 0x6C, "<I", 1, "i_size_high"),
    "i_size_high of a symlink": (b"slow", 0x6C, "<I", 1, "i_size_high"),
    "i_obso_faddr": (b"file", 0x70, "<I", 1, "i_obso_faddr"),
    "i_extra_isize": (b"file", 0x80, "<H", 33, "i_extra_isize"),
    "i_ctime_extra": (b"file", 0x84, "<I", 0xEE6B2800, "i_ctime_extra"),
    "i_mtime_extra": (b"file", 0x88, "<I", 0xEE6B2800, "i_mtime_extra"),
    "i_atime_extra": (b"file", 0x8C, "<I", 0xEE6B2800, "i_atime_extra"),
    "size of a symlink": (b"fast", 4, "<I", 31, "i_size"),
    "size of a long symlink": (b"slow", 4, "<I", 81, "i_size"),
    "size of a symlink, shorter": (b"fast", 4, "<I", 29, "i_size"),
    "size of a symlink, none": (b"fast", 4, "<I", 0, "i_size"),
    "size of a long symlink, shorter": (b"slow", 4, "<I", 79, "i_size"),
    "size of a long symlink, as of a fast one": (b"slow", 4, "<I", 1, "i_size"),
    "size of a long symlink, a block": (b"slow", 4, "<I", BLOCK, "i_size"),
    "EXTENTS of a fast symlink": (b"fast", 0x20, "<I", 0x80000, "i_flags"),
    "two blocks of a symlink": (b"slow", 0x28 + 12 + 4, "<H", 2, "i_block"),
    "second block of a symlink": (b"slow", 0x28 + 12, "<I", 1, "ee_block"),
    "size of a device": (b"device", 4, "<I", 1, "i_size"),
    "size of a directory": (b"dir", 4, "<I", 2048, "i_size"),
    "size of a directory, not in blocks": (b"dir", 4, "<I", 1000, "i_size"),
}


@pytest.mark.parametrize("name", INODES)
def test_inodes(name: str) -> None:
    path, at, form, value, field = INODES[name]
    image = made()
    put(image, inode(image, path) + at, form, value)
    assert (f"ext4 inode {number(image, path)}", field) in found(image)


def test_the_largest_nanosecond_is_right() -> None:
    image = made()
    put(image, inode(image, b"file") + 0x88, "<I", 999_999_999 << 2)
    assert verify(image) == Result()


def test_a_file_may_end_before_its_last_block_does_but_not_a_block_earlier() -> None:
    image = made()
    for size, right in ((4097, True), (4096, True), (4095, False)):
        # e2fsck takes a size at which the last block begins, too.
        put(image, inode(image, b"file") + 4, "<I", size)
        assert (verify(image).findings == ()) is right, size


EXTENTS = {
    "eh_magic": (0, "<H", 1),
    "eh_entries": (2, "<H", 5),
    "eh_max": (4, "<H", 3),
    "eh_depth": (6, "<H", 6),
    "ee_start": (20, "<I", 1 << 30),
    "ee_len": (16, "<H", 0),
}


@pytest.mark.parametrize("field", EXTENTS)
def test_extents(field: str) -> None:
    at, form, value = EXTENTS[field]
    image = made()
    put(image, inode(image, b"file") + 0x28 + at, form, value)
    assert (f"ext4 inode {number(image, b'file')}, extent tree", field) in found(image)


def test_extents_in_blocks() -> None:
    """The sparse file's 100 extents are in two blocks, with an index above."""
    where = "ext4 inode {}, extent tree"
    for at, form, value, field in (
        (2, "<H", 0, "eh_entries"),
        (12, "<I", 1, "ei_block"),
        (12 + 12, "<I", 0, "ei_block"),
        (16, "<I", 1 << 30, "ei_leaf"),
    ):
        image = made()
        put(image, inode(image, b"sparse") + 0x28 + at, form, value)
        assert (where.format(number(image, b"sparse")), field) in found(image)
    for at, form, value, field in (
        (0, "<H", 0, "eh_magic"),
        (2, "<H", 0, "eh_entries"),
        (6, "<H", 1, "eh_depth"),
        (12 + 12, "<I", 0, "ee_block"),
    ):
        image = made()
        leaf = get(image, inode(image, b"sparse") + 0x28 + 16, "<I") * BLOCK
        put(image, leaf + at, form, value)
        assert (where.format(number(image, b"sparse")), field) in found(image)


def test_a_loop_in_an_extent_tree_ends() -> None:
    image = made()
    place = inode(image, b"sparse") + 0x28
    put(image, place + 12 + 16, "<I", get(image, place + 16, "<I"))
    assert (f"ext4 inode {number(image, b'sparse')}, extent tree", "ei_leaf") in found(image)


@pytest.mark.parametrize("at", [0x28, 0x28 + 4 * 12])
def test_block_maps(at: int) -> None:
    image = made("", "ext2")
    put(image, inode(image, b"sparse") + at, "<I", 1 << 30)
    assert (f"ext4 inode {number(image, b'sparse')}, block map", "i_block") in found(image)


def test_a_block_with_two_owners() -> None:
    image = made()
    mine, theirs = inode(image, b"file"), inode(image, b"linked")
    put(image, mine + 0x28 + 20, "<I", get(image, theirs + 0x28 + 20, "<I"))
    conflicts = [f for f in verify(image).findings if f.field == "i_block"]
    named = {f"ext4 inode {number(image, name)}" for name in (b"file", b"linked")}
    assert conflicts[0].structure in named
    (other,) = named - {conflicts[0].structure}
    assert other in conflicts[0].found


def test_a_file_on_the_inode_table() -> None:
    image = made()
    put(image, inode(image, b"file") + 0x28 + 20, "<I", get(image, DESCRIPTORS + 8, "<I"))
    assert (f"ext4 inode {number(image, b'file')}", "i_block") in found(image)


@pytest.mark.parametrize(
    ("field", "at"), [("i_mode", 0), ("i_uid", 2), ("i_gid", 0x18), ("i_links_count", 0x1A)]
)
def test_the_inode_of_bad_blocks_is_no_file(field: str, at: int) -> None:
    image = made("", "ext2")
    put(image, inode_at(image, 1) + at, "<H", 1)
    assert found(image) == {("ext4 inode 1", field)}


LARGEST = 12 + 256 + 256**2 + 256**3
"""Blocks that a block map can have, of 1 KiB."""
UNUSED: dict[str, tuple[int, int, str, int, str]] = {
    "quota's links": (3, 0x1A, "<H", 1, "i_links_count"),
    "quota's i_blocks": (4, 0x1C, "<I", 2, "i_blocks"),
    "quota's block": (4, 0x28, "<I", 9000, "i_block"),
    "a directory for the boot loader": (5, 0, "<H", 0o40755, "i_mode"),
    "undelete's mode": (6, 0, "<H", 0o100644, "i_mode"),
    "undelete's i_blocks": (6, 0x1C, "<I", 2, "i_blocks"),
    "undelete's i_file_acl": (6, 0x68, "<I", 99999, "i_file_acl"),
    "mode of 9": (9, 0, "<H", 0o100644, "i_mode"),
}


@pytest.mark.parametrize("name", UNUSED)
def test_a_reserved_inode_that_is_not_used_has_nothing(name: str) -> None:
    unused, at, form, value, field = UNUSED[name]
    image = made("", "ext2")
    put(image, inode_at(image, unused) + at, form, value)
    assert (f"ext4 inode {unused}", field) in found(image)


@pytest.mark.parametrize("unused", [5, 6, 9, 10])
@pytest.mark.parametrize("links", [0, 1])
def test_the_size_of_a_reserved_inode_that_is_not_used(unused: int, links: int) -> None:
    """e2fsck minds what no file can have, in all 64 bits, and nothing below."""
    image = made("", "ext2")
    at = inode_at(image, unused)
    put(image, at + 0x1A, "<H", links)
    for size, expected in (
        (LARGEST * BLOCK, set()),
        (LARGEST * BLOCK + 1, {(f"ext4 inode {unused}", "i_size")}),
    ):
        put(image, at + 4, "<I", size & 0xFFFFFFFF)
        put(image, at + 0x6C, "<I", size >> 32)
        assert found(image) == expected


@pytest.mark.parametrize(("unused", "mode"), [(5, 0o100644), (3, 0), (9, 0)])
def test_what_a_reserved_inode_may_keep(unused: int, mode: int) -> None:
    """A mode for the boot loader; times, of which e2fsck takes no notice."""
    image = made("", "ext2")
    put(image, inode_at(image, unused), "<H", mode)
    put(image, inode_at(image, unused) + 0x10, "<I", 1_600_000_000)
    assert verify(image) == Result()


def test_bad_blocks_are_in_use_and_noted() -> None:
    image = made("", "ext2")
    put(image, inode_at(image, 1) + 0x28, "<I", 9000)
    result = verify(image)
    assert [n.structure for n in result.notes] == ["ext4 inode 1"]
    assert "1 block in use and not marked, the first 9,000" in {f.found for f in result.findings}
    put(image, inode_at(image, 1) + 0x28, "<I", 1 << 30)
    assert ("ext4 inode 1, block map", "i_block") in found(image)


# --- names ---

ENTRIES = {
    "unused inode": (b"file", 0, "<I", 3000, "inode"),
    "inode beyond the last": (b"file", 0, "<I", 1 << 30, "inode"),
    "the root": (b"dir", 0, "<I", 2, "inode"),
    "a reserved inode": (b"file", 0, "<I", 8, "inode"),
    "rec_len": (b"file", 4, "<H", 10, "rec_len"),
    "rec_len beyond the block": (b"file", 4, "<H", 1024, "rec_len"),
    "file_type": (b"file", 7, "<B", 2, "file_type"),
    "file_type unknown": (b"file", 7, "<B", 0, "file_type"),
    "a slash": (b"file", 8, "<B", 0x2F, "name"),
    "a zero": (b"file", 8, "<B", 0, "name"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries(name: str) -> None:
    path, at, form, value, field = ENTRIES[name]
    image = made()
    in_entry(path, at, form, value)(image)
    assert ("ext4 directory, inode 2", field) in found(image)


def test_a_name_twice() -> None:
    image = made()
    at = images.entry_at(image, b"fast") + 8
    image[at : at + 4] = b"file"
    assert ("ext4 directory, inode 2", "name") in found(image)


def test_dot_and_dotdot() -> None:
    image = made()
    directory = first_block(image, number(image, b"dir"))
    where = f"ext4 directory, inode {number(image, b'dir')}"
    for at, form, value, field in (
        (0, "<I", 12, "inode"),
        (4, "<H", 16, "rec_len"),
        (8, "<B", 0x2D, "name"),
        (12, "<I", number(image, b"many"), "inode"),
        (12 + 7, "<B", 1, "file_type"),
    ):
        damaged = bytearray(image)
        put(damaged, directory + at, form, value)
        assert (where, field) in found(damaged), field


def test_an_inode_without_a_name() -> None:
    image = made()
    in_entry(b"file", 0, "<I", 0)(image)
    assert found(image) == {(f"ext4 inode {number_of(made(), b'file')}", "i_links_count")}


def test_a_directory_with_two_names() -> None:
    image = made()
    in_entry(b"file", 0, "<I", number(image, b"dir"))(image)
    in_entry(b"file", 7, "<B", 2)(image)
    assert ("ext4 directory, inode 2", "inode") in found(image)


def test_directories_in_a_circle() -> None:
    """dir/sub gets a name for dir, and the root loses its own."""
    image = made()
    directory = number(image, b"dir")
    sub = number_of(image, b"sub", directory)
    block = first_block(image, sub)
    put(image, block + 12 + 4, "<H", 12)
    put(image, block + 24, "<I", directory)
    put(image, block + 28, "<HBB", BLOCK - 24, 1, 2)
    image[block + 32 : block + 33] = b"x"
    in_entry(b"dir", 0, "<I", 0)(image)
    assert {(f"ext4 inode {n}", "..") for n in (directory, sub)} & found(image)


HTREE = {
    "hash_version": (0x1C, "<B", 7),
    "info_length": (0x1D, "<B", 9),
    "indirect_levels": (0x1E, "<B", 2),
    "unused_flags": (0x1F, "<B", 1),
    "reserved_zero": (0x18, "<I", 1),
    "limit": (0x20, "<H", 100),
    "count": (0x22, "<H", 0),
    "block": (0x24, "<I", 500),
    "hash": (0x28 + 8, "<I", 0),
}


@pytest.mark.parametrize("field", HTREE)
def test_htrees(field: str) -> None:
    at, form, value = HTREE[field]
    image = made()
    root = first_block(image, number(image, b"many"))
    put(image, root + at, form, value)
    assert (f"ext4 htree, inode {number(image, b'many')}", field) in found(image)


def test_a_name_in_another_leaf() -> None:
    """Two leaves of the index change their places."""
    image = made()
    root = first_block(image, number(image, b"many"))
    one, two = get(image, root + 0x24, "<I"), get(image, root + 0x28 + 4, "<I")
    put(image, root + 0x24, "<I", two)
    put(image, root + 0x28 + 4, "<I", one)
    assert found(image) == {(f"ext4 htree, inode {number(image, b'many')}", "hash")}


# --- attributes ---

IN_INODE = {
    "e_name_len": (4, "<B", 200),
    "e_value_offs": (4 + 2, "<H", 200),
    "e_value_inum": (4 + 4, "<I", 12),
    "e_hash": (4 + 12, "<I", 5),
    "e_name": (4 + 16, "<B", 0),
}


@pytest.mark.parametrize("field", IN_INODE)
def test_attributes_in_an_inode(field: str) -> None:
    at, form, value = IN_INODE[field]
    image = made()
    put(image, inode(image, b"acl") + 160 + at, form, value)
    assert (f"ext4 inode {number(image, b'acl')}, extended attributes", field) in found(image)


@pytest.mark.parametrize("name", [b"acl", b"file"])
def test_where_attributes_might_be_may_be_anything(name: bytes) -> None:
    """Without h_magic there are none: e2fsck does not look at them, and kernels do not."""
    image = made()
    put(image, inode(image, name) + 160, "<I", 7)
    result = verify(image)
    assert result.findings == ()
    (note,) = result.notes
    assert (note.structure, note.field, note.found) == (
        f"ext4 inode {number(image, name)}, extended attributes",
        "h_magic",
        "0x7",
    )


IN_BLOCK = {
    "h_magic": (0, "<I", 7),
    "h_refcount": (4, "<I", 2),
    "h_blocks": (8, "<I", 2),
    "h_hash": (12, "<I", 2),
    "e_value_offs": (32 + 2, "<H", 1020),
    "e_hash": (32 + 12, "<I", 5),
}


@pytest.mark.parametrize("field", IN_BLOCK)
def test_attributes_in_a_block(field: str) -> None:
    at, form, value = IN_BLOCK[field]
    image = made()
    block = get(image, inode(image, b"block of attributes") + 0x68, "<I")
    put(image, block * BLOCK + at, form, value)
    assert (f"ext4 extended attribute block {block}", field) in found(image)


# --- journal, resize inode, orphans ---

JOURNAL = {
    "h_magic": (0, ">I", 1),
    "h_blocktype": (4, ">I", 9),
    "s_blocksize": (12, ">I", 4096),
    "s_maxlen": (16, ">I", 100_000),
    "s_first": (20, ">I", 0),
    "s_start": (28, ">I", 1),
    "s_nr_users": (64, ">I", 49),
}


@pytest.mark.parametrize("field", JOURNAL)
def test_journals(field: str) -> None:
    at, form, value = JOURNAL[field]
    image = made()
    put(image, first_block(image, 8) + at, form, value)
    assert ("ext4 journal superblock", field) in found(image)


@pytest.mark.parametrize(("word", "at"), [("compat", 36), ("incompat", 40), ("ro_compat", 44)])
def test_a_feature_of_a_journal_that_is_not_known_is_a_note(word: str, at: int) -> None:
    image = made()
    put(image, first_block(image, 8) + at, ">I", 1 << 20)
    result = verify(image)
    assert result.findings == ()
    assert [(n.structure, n.field) for n in result.notes] == [
        ("ext4 journal superblock", f"s_feature_{word}")
    ]


def test_needs_recovery_is_a_note() -> None:
    image = made()
    put(image, SUPER + 0x60, "<I", get(image, SUPER + 0x60, "<I") | 4)
    result = verify(image)
    assert result.findings == ()
    assert [n.field for n in result.notes] == ["needs_recovery"]


def test_a_journal_that_cannot_be_replayed() -> None:
    image = made()
    put(image, SUPER + 0x60, "<I", get(image, SUPER + 0x60, "<I") | 4)
    put(image, first_block(image, 8), ">I", 5)
    assert {("ext4 journal", ""), ("ext4 journal superblock", "h_magic")} <= found(image)


def test_the_resize_inode() -> None:
    image = made()
    double = get(image, inode_at(image, 7) + 0x28 + 4 * 13, "<I")
    index = next(n for n in range(256) if get(image, double * BLOCK + 4 * n, "<I"))
    first = get(image, double * BLOCK + 4 * index, "<I")
    for at, field in (
        (double * BLOCK + 4 * index, "double indirect block"),
        (first * BLOCK, "indirect block"),
    ):
        damaged = bytearray(image)
        put(damaged, at, "<I", get(image, at, "<I") + 1)
        assert ("ext4 resize inode", field) in found(damaged)


@pytest.mark.parametrize("place", [0, 12, 14])
def test_a_resize_inode_has_a_double_indirect_block_alone(place: int) -> None:
    """e2fsprogs, e2fsck/super.c, check_resize_inode()."""
    image = made()
    put(image, inode_at(image, 7) + 0x28 + 4 * place, "<I", 9000)
    assert found(image) == {("ext4 inode 7", f"i_block[{place}]")}


def test_what_a_resize_inode_has_to_have_is_said() -> None:
    """The copy in group 1 is a group of 8,192 blocks further (fs/ext4/resize.c, verify_reserved_gdb)."""
    image = made()
    double = get(image, inode_at(image, 7) + 0x28 + 4 * 13, "<I")
    index = next(n for n in range(256) if get(image, double * BLOCK + 4 * n, "<I"))
    first = get(image, double * BLOCK + 4 * index, "<I")
    for place, expected in (
        (0, f"{first + 8192:,} at place 0, the copy of block {first} in group 1"),
        (5, "0 at place 5, behind the last copy"),
    ):
        damaged = bytearray(image)
        put(damaged, first * BLOCK + 4 * place, "<I", 7)
        (finding,) = verify(damaged).findings
        assert (finding.expected, finding.found) == (expected, "7")


def test_orphans_are_noted() -> None:
    """The file is cut off when it is next mounted: so it may have more than its size says."""
    image = made()
    put(image, SUPER + 0xE8, "<I", number(image, b"file"))
    put(image, inode(image, b"file") + 4, "<I", 5)
    result = verify(image)
    assert result.findings == ()
    assert [n.field for n in result.notes] == ["s_last_orphan"]


def test_a_circle_of_orphans_ends() -> None:
    image = made()
    one, two = number(image, b"file"), number(image, b"linked")
    put(image, SUPER + 0xE8, "<I", one)
    put(image, inode(image, b"file") + 0x14, "<I", two)
    put(image, inode(image, b"linked") + 0x14, "<I", one)
    assert ("ext4 superblock", "s_last_orphan") in found(image)


# --- checksums ---

CSUM = "orphan_file"


def sealed() -> bytearray:
    return made(CSUM)


def xattr_block(image: bytearray) -> int:
    return get(image, inode(image, b"block of attributes") + 0x68, "<I")


def extent_block(image: bytearray) -> int:
    return get(image, inode(image, b"sparse") + 0x28 + 16, "<I")


def orphan_file(image: bytearray) -> int:
    return first_block(image, get(image, SUPER + 0x280, "<I"))


# (place of a byte that only a checksum covers, structure, field)
CHECKSUMS: dict[str, tuple[Callable[[bytearray], int], str, str]] = {
    "superblock": (lambda i: SUPER + 0x78, "ext4 superblock", "s_checksum"),
    "backup": (lambda i: GROUP_1 + 0x78, "ext4 backup superblock, group 1", "s_checksum"),
    "descriptor": (lambda i: DESCRIPTORS + 30, "ext4 group descriptor 0", "bg_checksum"),
    "backup of a descriptor": (
        lambda i: GROUP_1 + BLOCK + 30,
        "ext4 backup group descriptor 0, in group 1",
        "bg_checksum",
    ),
    "block bitmap": (lambda i: DESCRIPTORS + 0x18, "ext4 group descriptor 0", "bg_block_bitmap_csum"),
    "inode bitmap": (lambda i: DESCRIPTORS + 0x1A, "ext4 group descriptor 0", "bg_inode_bitmap_csum"),
    "inode": (lambda i: inode(i, b"file") + 0x10, "ext4 inode {file}", "i_checksum"),
    "extent block": (
        lambda i: extent_block(i) * BLOCK + BLOCK - 1,
        "ext4 inode {sparse}, extent tree",
        "et_checksum",
    ),
    "directory": (lambda i: first_block(i, 2) + BLOCK - 1, "ext4 directory, inode 2", "det_checksum"),
    "htree": (
        lambda i: first_block(i, number(i, b"many")) + BLOCK - 1,
        "ext4 htree, inode {many}",
        "dt_checksum",
    ),
    "attributes": (
        lambda i: xattr_block(i) * BLOCK + 16,
        "ext4 extended attribute block {block}",
        "h_checksum",
    ),
    "orphan file": (lambda i: orphan_file(i) + BLOCK - 1, "ext4 orphan file", "ob_checksum"),
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_checksums(name: str) -> None:
    place, structure, field = CHECKSUMS[name]
    image = sealed()
    names = {
        "file": number(image, b"file"),
        "sparse": number(image, b"sparse"),
        "many": number(image, b"many"),
    }
    expected = (structure.format(block=xattr_block(image), **names), field)
    image[place(image)] ^= 1
    assert expected in found(image)


def test_a_leaf_without_a_tail() -> None:
    image = sealed()
    put(image, first_block(image, 2) + BLOCK - 5, "<B", 0)
    assert ("ext4 directory, inode 2", "det_checksum") in found(image)


def test_an_index_may_end_as_the_leaf_did_that_a_kernel_made_it_of() -> None:
    image = sealed()
    many = number(image, b"many")
    images.index_by_the_kernel(image, many)
    assert verify(image) == Result()
    image[first_block(image, many) + 0x24 + 1] ^= 1
    assert (f"ext4 htree, inode {many}", "dt_checksum") in found(image)


def test_a_group_that_is_uninitialised_and_in_use() -> None:
    image = sealed()
    put(image, DESCRIPTORS + 0x12, "<H", 3)
    assert ("ext4 group descriptor 0", "bg_flags") in found(image)


def test_itable_unused_that_hides_an_inode() -> None:
    image = sealed()
    place = DESCRIPTORS + 0x1C
    put(image, place, "<H", get(image, place, "<H") + 20)
    assert "inode" in {field for _, field in found(image)}


# --- the primary superblock is lost ---


@pytest.mark.parametrize("features", [PLAIN, CSUM])
@pytest.mark.parametrize("at", [0x04, 0x18, 0x20, 0x28, 0x38, 0x4C, 0x58, 0x60])
def test_a_backup_takes_the_place_of_the_primary(at: int, features: str) -> None:
    image = made(features)
    put(image, SUPER + at, "<I", 0xFFFFFFFF)
    findings = verify(image).findings
    assert findings[0].structure == "ext4 superblock"
    assert {f.structure for f in findings} == {"ext4 superblock"}, findings


def test_without_any_superblock_there_is_no_file_system() -> None:
    for image in (bytearray(1 << 20), bytearray(1000), bytearray()):
        with pytest.raises(FormatError, match="ext"):
            verify(image)


# --- features that are not read ---


def with_features(at: int, bits: int, features: str = PLAIN) -> bytearray:
    """Return an image that has more bits set in a word of features, in the primary and its backup."""
    image = made(features)
    for place in (SUPER, GROUP_1):
        put(image, place + at, "<I", get(image, place + at, "<I") | bits)
        if features == CSUM:
            put(image, place + 0x3FC, "<I", crc32c(bytes(image[place : place + 0x3FC])))
    return image


@pytest.mark.parametrize("features", [PLAIN, CSUM])
@pytest.mark.parametrize(
    ("at", "bits", "field", "name"),
    [
        (0x5C, 1 << 20, "s_feature_compat", "FEATURE_C20"),
        (0x60, 1 << 20, "s_feature_incompat", "FEATURE_I20"),
        (0x60, 0x1, "s_feature_incompat", "compression"),
        (0x64, 1 << 20, "s_feature_ro_compat", "FEATURE_R20"),
        (0x64, 0x80, "s_feature_ro_compat", "snapshot"),
    ],
)
def test_a_feature_that_is_not_read_is_a_note(
    at: int, bits: int, field: str, name: str, features: str
) -> None:
    result = verify(with_features(at, bits, features))
    assert result.findings == ()
    assert [(n.structure, n.field) for n in result.notes] == [("ext4 superblock", field)]
    assert result.notes[0].found.startswith(name)


def test_superblocks_and_descriptors_are_checked_whatever_the_features() -> None:
    image = with_features(0x60, 1 << 20, CSUM)
    for at in (SUPER + 0x0C, GROUP_1 + 0x68, DESCRIPTORS + 0x0C):
        put(image, at, "<I", get(image, at, "<I") ^ 1)
    assert found(image) == {
        ("ext4 superblock", "s_checksum"),
        ("ext4 backup superblock, group 1", "s_checksum"),
        ("ext4 group descriptor 0", "bg_checksum"),
    }


def test_nothing_else_is_checked_with_features_that_change_it() -> None:
    image = with_features(0x60, 1 << 20)
    put(image, inode(image, b"file") + 0x1A, "<H", 2)
    assert verify(image).findings == ()


@pytest.mark.parametrize("at", [0x5C, 0x60, 0x64])
def test_a_feature_that_no_backup_has_is_damage(at: int) -> None:
    image = made()
    put(image, SUPER + at, "<I", get(image, SUPER + at, "<I") | 1 << 20)
    assert any("feature" in field or "s_feature" in field for _, field in found(image))


def test_a_journal_of_another_file_system_is_a_note() -> None:
    """As mke2fs 1.47.0 -O journal_dev has it: no inodes, no other feature."""
    image = made()
    for at, value in ((0x00, 0), (0x28, 0), (0x5C, 0), (0x60, 0x8), (0x64, 0)):
        put(image, SUPER + at, "<I", value)
    image[GROUP_1 : GROUP_1 + 1024] = bytes(1024)
    result = verify(image)
    assert result.findings == ()
    assert [n.found for n in result.notes] == ["journal_dev: the journal of another file system"]


def test_blocks_of_64_kib_are_a_note_and_larger_ones_damage() -> None:
    for log, noted in ((3, True), (6, True), (7, False)):
        image = made()
        image[GROUP_1 : GROUP_1 + 1024] = bytes(1024)
        for at in (0x18, 0x1C):
            put(image, SUPER + at, "<I", log)
        if noted:
            result = verify(image)
            assert [n.field for n in result.notes] == ["s_log_block_size"]
        else:
            with pytest.raises(FormatError, match="s_log_block_size"):
                verify(image)


# --- the end is missing ---


@pytest.mark.parametrize(
    ("features", "fs_type"), [(PLAIN, "ext4"), ("", "ext4"), (CSUM, "ext4"), ("", "ext2"), ("", "ext3")]
)
@pytest.mark.parametrize("blocks", [3, 40, 300, 1000, 8192, 8193, 8194, 9000, 12287])
def test_an_image_that_is_cut_off_is_one_finding(blocks: int, features: str, fs_type: str) -> None:
    image = made(features, fs_type)
    for size in (blocks * BLOCK, blocks * BLOCK + 700):
        result = verify(image[:size])
        (finding,) = result.findings
        assert (finding.structure, finding.field) == ("ext4 superblock", "s_blocks_count")
        assert f"the end is missing, {12288 - blocks:,} block" in finding.found
        assert f"from byte {blocks * BLOCK:,} on" in finding.found
        assert finding.expected.startswith(f"{blocks:,} at most")
        assert [n.structure for n in result.notes] == ["ext4"]


def test_what_follows_a_file_system_in_its_disk_is_no_part_of_it() -> None:
    """A partition that is smaller than its file system: the bytes behind it are another's."""
    image = made()
    disk = images.volume(image[: 9000 * BLOCK] + b"\xff" * (3288 * BLOCK))
    assert len(verify_ext4(disk, 0, 9000 * BLOCK).findings) == 1


def test_what_was_said_of_the_disk_is_a_note_of_the_file_system() -> None:
    result = verify_ext4(images.volume(made()[: 9000 * BLOCK]), 0, SIZE, known_cut=True)
    assert result.findings == ()
    assert [n.field for n in result.notes] == ["s_blocks_count", ""]


def test_the_first_that_is_missing_is_named() -> None:
    image = made()
    table = get(image, DESCRIPTORS + 8, "<I")
    in_the_table = verify(image[: (table + 2) * BLOCK]).findings[0].found
    assert f"the first in use is block {table + 2:,}, of the inode table of group 0" in in_the_table
    start = first_block(image, number(image, b"file")) // BLOCK
    whole = start + 1
    assert f"block {whole:,}, of " in verify(image[: whole * BLOCK]).findings[0].found


def test_damage_that_is_there_is_found_in_an_image_that_is_cut_off() -> None:
    image = made(CSUM)
    put(image, inode(image, b"file") + 0x1A, "<H", 2)
    bitmap = get(image, DESCRIPTORS, "<I") * BLOCK
    image[bitmap] ^= 1
    assert found(image[: 9000 * BLOCK]) == {
        ("ext4 superblock", "s_blocks_count"),
        (f"ext4 inode {number(image, b'file')}", "i_checksum"),
        ("ext4 group descriptor 0", "bg_block_bitmap_csum"),
    }


# --- much damage ---


def test_a_destroyed_inode_table_makes_few_findings() -> None:
    image = made()
    table = get(image, DESCRIPTORS + 8, "<I") * BLOCK
    for at in range(table, table + 300 * 256, 4):
        put(image, at, "<I", crc32c(at.to_bytes(4, "little")))
    findings = verify(image).findings
    assert 100 < len(findings) < 5000
    assert any("more" in f.found for f in findings)
    assert all(isinstance(f, Finding) for f in findings)
