"""The reader: what went in comes out, where it lies; every structure that cannot be is refused by name."""

from __future__ import annotations

import os
import re
import stat
import struct
from array import array
from pathlib import Path
from typing import Any

import pytest

from imgwriter.errors import FormatError
from imgwriter.ext4 import features as f
from imgwriter.ext4.block_map_walk import run_length
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.reader import read_file_system
from imgwriter.extent import Bytes, Volume, compose, extent
from imgwriter.filedata import Concatenated, HandleSlice
from imgwriter.readers import open_image
from imgwriter.tree.inventory import Inode, Inventory
from tests import trees
from tests.compat.ext4_images import ACL, content, everything, many
from tests.oracles import inodes
from tests.oracles.snapshot import difference
from tests.unit.ext4 import images
from tests.unit.ext4.images import (
    SUPER,
    entry_at,
    first_block,
    get,
    image,
    inode_at,
    number_of,
    of,
    opened,
    put,
    root,
    volume,
)
from tests.unit.ext4.journals import seal_superblock
from tests.unit.ext4.support import UUID

FEATURES = {
    "ext4": (
        "",
        "^metadata_csum",
        "^64bit",
        "^flex_bg",
        "^extent,^64bit",
        "^resize_inode",
        "^sparse_super,^resize_inode",
        "orphan_file,metadata_csum_seed,large_dir",
        "^has_journal,^dir_index",
    ),
    "ext3": ("", "^dir_index", "extent"),
    "ext2": ("",),
}
REQUESTS = [(fs_type, features) for fs_type, listed in FEATURES.items() for features in listed]


def same(entries: dict[bytes, Inode], made: bytes | bytearray) -> None:
    """Assert that a file system has those entries, and a lost+found, its checksums checked."""
    found = inodes.of_tree(root(made, verify=True))
    assert found.pop(b"lost+found").mode == stat.S_IFDIR | 0o700
    assert difference(inodes.of_tree(trees.directory(entries)), found) == []


# --- what went in comes out ---


@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
@pytest.mark.parametrize(("fs_type", "features"), REQUESTS)
def test_everything(fs_type: str, features: str, block_size: int) -> None:
    entries = everything(block_size)
    same(entries, of(entries, fs_type=fs_type, features=features, block_size=block_size))


def test_what_the_superblock_says() -> None:
    made = image(trees.inventory(), 40 << 20, block_size=1024)
    made[:1024] = b"boot" * 256
    found = opened(made, verify=True)
    superblock = found.superblock
    assert found.boot_code == b"boot" * 256
    assert (superblock.block_size, superblock.blocks, superblock.size) == (1024, 40 << 10, 40 << 20)
    assert (superblock.inodes, superblock.groups, superblock.first_inode) == (10240, 5, 11)
    assert (superblock.uuid, superblock.label) == (UUID, b"nixos")
    assert superblock.fields["s_max_mnt_count"] == 0xFFFF
    assert superblock.feature_names[:2] == ("has_journal", "ext_attr")
    assert " ".join(superblock.feature_names) == str(f.parse("ext4"))


def test_at_an_offset_in_a_disk_of_several_extents() -> None:
    entries = everything()
    made = of(entries)
    half = len(made) // 2 // 512 * 512
    disk = Volume(
        len(made) + 3000,
        [
            extent(0, Bytes(b"x" * 1536), "table"),
            extent(1536, Bytes(bytes(made[:half])), "first"),
            extent(1536 + half, Bytes(b"yy" + bytes(made[half:])), "second")._replace(
                data_start=2, length=len(made) - half
            ),
        ],
    )
    found = read_file_system(disk, 1536, len(made), verify=True)
    expected, actual = inodes.of_tree(root(made)), inodes.of_tree(found.tree())
    assert difference(expected, actual) == []


@pytest.mark.parametrize("missing", [0, 1])
def test_it_has_to_be_as_large_as_it_says(missing: int) -> None:
    made = of({})
    disk = compose(len(made) + 5000, [(2000, volume(made))])
    if not missing:
        read_file_system(disk, 2000, len(made))
        return
    with pytest.raises(FormatError, match=r"s_blocks_count .*; get the whole of the image") as error:
        read_file_system(disk, 2000, len(made) - missing)
    assert (error.value.where, error.value.offset) == ("ext4 superblock, s_blocks_count", 2000 + SUPER)


@pytest.mark.parametrize(("offset", "size"), [(0, 2047), (0, 0), (10**9, None), (10**9, 10**9)])
def test_no_room_for_a_superblock(offset: int, size: int | None) -> None:
    with pytest.raises(FormatError, match="have no room for an ext4 superblock"):
        read_file_system(volume(of({})), offset, size)


# --- where it lies ---


def test_a_contiguous_file_is_a_slice_of_the_image(tmp_path: Path) -> None:
    data = content(300_000)
    pieces = trees.file(data)
    pieces.runs = ((0, 8192), (16384, 20480))
    made = of({b"file": trees.file(data), b"pieces": pieces})
    path = tmp_path / "image"
    path.write_bytes(b"\0" * 4096 + made)
    disk = open_image(os.fsencode(path)).volume
    entries = read_file_system(disk, 4096).tree().entries
    assert entries is not None
    found = entries[b"file"].data
    assert isinstance(found, HandleSlice)
    assert (found.offset, found.length) == (4096 + made.index(data[:4096]), 300_000)
    sparse = entries[b"pieces"].data
    assert isinstance(sparse, Concatenated)
    assert [type(piece) for _, piece in sparse.pieces] == [HandleSlice, HandleSlice]
    assert entries[b"pieces"].runs == [(0, 8192), (16384, 20480)]


def test_what_the_image_lacks_is_zero(tmp_path: Path) -> None:
    """A block of zeros that is a hole of the host's file is data of the guest's."""
    made = of({b"file": trees.file(b"a" * 4096 + bytes(8192) + b"b" * 5)})
    at = made.index(b"a" * 4096)
    sparse = Volume(
        len(made),
        [
            extent(0, Bytes(bytes(made[: at + 4096])), "before"),
            extent(at + 12288, Bytes(bytes(made[at + 12288 :])), "after"),
        ],
    )
    entries = read_file_system(sparse, verify=True).tree().entries
    assert entries is not None
    file = entries[b"file"]
    assert (inodes.content(file), file.runs) == (b"a" * 4096 + bytes(8192) + b"b" * 5, None)


def test_an_unwritten_extent_is_a_hole() -> None:
    made = of({b"file": trees.file(b"a" * 9000)}, features="^metadata_csum")
    at = inode_at(made, number_of(made, b"file")) + 0x28
    assert get(made, at + 16, "<H") == 3
    put(made, at + 16, "<H", 3 + 32768)
    entries = root(made).entries
    assert entries is not None
    file = entries[b"file"]
    assert (file.size, file.data, file.runs) == (9000, None, ())


def test_blocks_beyond_the_size_are_not_the_files() -> None:
    made = of({b"file": trees.file(b"a" * 9000)}, features="^metadata_csum")
    put(made, inode_at(made, number_of(made, b"file")) + 4, "<I", 4097)
    entries = root(made).entries
    assert entries is not None
    assert (inodes.content(entries[b"file"]), entries[b"file"].runs) == (b"a" * 4097, None)


@pytest.mark.parametrize("fs_type", ["ext4", "ext2"])
@pytest.mark.parametrize("count", [1, 4, 5, 84 * 4, 84 * 4 + 1, 700])
def test_extent_trees_and_block_maps_of_any_depth(count: int, fs_type: str) -> None:
    """With 1 KiB blocks: 4 extents in the inode, 84 in a block; 12 direct blocks, 256 pointers in one."""
    runs = tuple((n * 2048, n * 2048 + 1024) for n in range(count))
    file = trees.file(b"".join(b"%-1024d" % n for n in range(2 * count)))
    file.runs = runs
    made = of({b"file": file}, block_size=1024, fs_type=fs_type)
    entries = root(made, verify=True).entries
    assert entries is not None
    assert tuple(entries[b"file"].data_runs()) == runs
    assert inodes.content(entries[b"file"]) == inodes.content(file)


def test_a_triple_indirect_block() -> None:
    """The last block that a map of 1 KiB blocks can say: 12 + 256 + 256^2 + 256^3 of them."""
    size = (12 + 256 + 256**2 + 256**3) * 1024
    made = of({b"file": trees.zeros(size, ((0, 1024), (size - 1024, size)))}, block_size=1024, fs_type="ext2")
    entries = root(made).entries
    assert entries is not None
    file = entries[b"file"]
    assert (file.size, file.runs) == (size, [(0, 1024), (size - 1024, size)])
    assert file.data is not None
    assert b"".join(file.data.chunks(size - 1025, size)) == b"\0" + b"x" * 1024


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 64, 100])
def test_runs_of_pointers(length: int, step: int) -> None:
    pointers = array("I", [99, *(1000 + n * step for n in range(length)), 5, 5])
    assert run_length(pointers, 1, len(pointers), step) == length
    assert run_length(pointers, 1, 1 + length, step) == length


def test_pointers_at_the_end_of_their_range() -> None:
    pointers = array("I", [0xFFFFFFFE, 0xFFFFFFFF, 0])
    assert run_length(pointers, 0, 3, 1) == 2


# --- forms that imgwriter does not write ---


def inode_with(made: bytearray, name: bytes, at: int, form: str, *values: int | bytes) -> Inode:
    """Change a field of a root entry's inode and return what it is read as."""
    put(made, inode_at(made, number_of(made, name)) + at, form, *values)
    entries = root(made).entries
    assert entries is not None
    return entries[name]


@pytest.mark.parametrize(
    ("seconds", "extra", "expected"),
    [
        (0, 0, 0),
        (0x7FFFFFFF, 0, (2**31 - 1) * 10**9),
        (0x80000000, 0, -(2**31) * 10**9),
        (0x80000000, 1, 2**31 * 10**9),
        (0xFFFFFFFF, 1 | 999_999_999 << 2, (2**32 - 1) * 10**9 + 999_999_999),
        (5, 3 | 7 << 2, (3 * 2**32 + 5) * 10**9 + 7),
    ],
)
def test_times(seconds: int, extra: int, expected: int) -> None:
    """Spec: inodes.rst, "Inode Timestamps"."""
    made = of({b"file": trees.file()}, features="^metadata_csum")
    at = inode_at(made, number_of(made, b"file"))
    put(made, at + 0x88, "<I", extra)
    assert inode_with(made, b"file", 0x10, "<I", seconds).mtime_ns == expected


def test_an_inode_with_few_extra_fields() -> None:
    """i_extra_isize 8: i_mtime_extra is not there, and what stands in its place is none."""
    made = of({b"file": trees.file()}, features="^metadata_csum")
    at = inode_at(made, number_of(made, b"file"))
    put(made, at + 0x88, "<I", 0xFFFFFFFF)
    put(made, at + 0x10, "<I", 77)
    assert inode_with(made, b"file", 0x80, "<H", 8).mtime_ns == 77 * 10**9


@pytest.mark.parametrize(
    ("words", "expected"),
    [((0x0103, 0), (1, 3)), ((0, 0x12345678), (0x456, 0x12378)), ((0xFFFF, 5), (255, 255)), ((0, 0), (0, 0))],
)
def test_device_numbers(words: tuple[int, int], expected: tuple[int, int]) -> None:
    made = of({b"node": trees.device(stat.S_IFCHR, 1, 3)}, features="^metadata_csum")
    assert inode_with(made, b"node", 0x28, "<II", *words).rdev == expected


def xattr_area(*entries: tuple[int, bytes, bytes]) -> bytes:
    """Return 96 bytes of attributes in an inode: (e_name_index, name, value), values from the end."""
    head, end, area = b"", 92, bytearray(92)
    for index, name, value in entries:
        end -= (len(value) + 3) // 4 * 4
        area[end : end + len(value)] = value
        name_padded = name + bytes(-len(name) % 4)
        head += struct.pack("<BBHIII", len(name), index, end, 0, len(value), 0) + name_padded
    area[: len(head)] = head
    return struct.pack("<I", 0xEA020000) + bytes(area)


def with_inline(made: bytearray, name: bytes, i_block: bytes, rest: bytes, size: int) -> Inode:
    """Turn a root entry's content into inline data and return it."""
    at = inode_at(made, number_of(made, name))
    put(made, at + 0x20, "<I", 0x10000000)
    put(made, at + 0x28, "60s", i_block)
    put(made, at + 4, "<I", size)
    put(made, at + 160, "96s", xattr_area((7, b"data", rest)))
    entries = root(made).entries
    assert entries is not None
    return entries[name]


@pytest.mark.parametrize(
    ("size", "rest", "expected", "runs"),
    [
        (0, b"", b"", None),
        (60, b"", b"i" * 60, None),
        (59, b"", b"i" * 59, None),
        (65, b"rest!", b"i" * 60 + b"rest!", None),
        (5000, b"", b"i" * 60 + bytes(4940), ((0, 60),)),
    ],
)
def test_inline_files(size: int, rest: bytes, expected: bytes, runs: Any) -> None:
    made = of({b"file": trees.file(b"x")}, features="^metadata_csum")
    file = with_inline(made, b"file", b"i" * 60, rest, size)
    assert (inodes.content(file), file.runs, file.size) == (expected, runs, size)
    assert file.xattrs == {}


def test_inline_directories_and_symlinks() -> None:
    made = of(
        {b"dir": trees.directory(), b"link": trees.symlink(b"t"), b"f": trees.file()},
        features="^metadata_csum",
    )
    number = number_of(made, b"f")
    block = struct.pack("<IIHBB4s", 2, number, 56, 4, 1, b"name")
    rest = struct.pack("<IHBB4s", number, 12, 3, 1, b"two")
    directory = with_inline(made, b"dir", block, rest, 72)
    entries = root(made).entries
    assert entries is not None and directory.entries is not None
    assert entries[b"dir"].entries == {b"name": entries[b"f"], b"two": entries[b"f"]}
    assert with_inline(made, b"link", b"t" * 60, b"uvw", 62).target == b"t" * 60 + b"uv"


def test_inline_data_without_its_attribute() -> None:
    made = of({b"file": trees.file(b"x")}, features="^metadata_csum")
    with pytest.raises(FormatError, match=r"inline data without system\.data"):
        inode_with(made, b"file", 0x20, "<I", 0x10000000)


def test_attributes_that_linux_keeps_to_itself_are_left_out() -> None:
    made = of({b"file": trees.file()}, features="^metadata_csum")
    area = xattr_area((9, b"c", b"key"), (1, b"u", b"shown"), (5, b"lov", b""))
    assert inode_with(made, b"file", 160, "96s", area).xattrs == {b"user.u": b"shown"}


def test_the_inodes_attribute_hides_the_blocks() -> None:
    made = of(
        {b"file": trees.file(xattrs={b"user.a": b"b" * 200, b"user.c": b"c" * 300})},
        features="^metadata_csum",
    )
    file = inode_with(made, b"file", 160, "96s", xattr_area((1, b"a", b"inside")))
    assert dict(file.xattrs) == {b"user.a": b"inside", b"user.c": b"c" * 300}


def test_an_acl_becomes_the_kernels_form() -> None:
    made = of({b"file": trees.file(xattrs={b"system.posix_acl_access": ACL})})
    entries = root(made).entries
    assert entries is not None
    assert entries[b"file"].xattrs == {b"system.posix_acl_access": ACL}


def test_hard_links_are_one_inode_and_inodes_without_a_name_none() -> None:
    linked = trees.file(b"x")
    made = of(
        {b"a": linked, b"b": trees.directory({b"c": linked}), b"gone": trees.file(b"y")},
        features="^metadata_csum",
    )
    put(made, entry_at(made, b"gone"), "<I", 0)
    tree = root(made)
    assert tree.entries is not None and tree.entries[b"b"].entries is not None
    assert tree.entries[b"a"] is tree.entries[b"b"].entries[b"c"]
    assert tree.entries.keys() == {b"a", b"b", b"lost+found"}
    assert Inventory(tree).inodes[1].nlink == 2


# --- features ---


def with_features(compat: int = 0, incompat: int = 0, ro_compat: int = 0) -> bytearray:
    made = of({})
    for at, more in ((0x5C, compat), (0x60, incompat), (0x64, ro_compat)):
        put(made, SUPER + at, "<I", get(made, SUPER + at, "<I") | more)
    seal_superblock(made)
    return made


def words_of(flag: f.Flag) -> dict[str, int]:
    name = {f.Compat: "compat", f.Incompat: "incompat", f.RoCompat: "ro_compat"}[type(flag)]
    return {name: int(flag)}


@pytest.mark.parametrize("name", f.NOT_READ)
def test_features_that_are_not_read_are_refused_by_name(name: str) -> None:
    flag, why = f.NOT_READ[name]
    with pytest.raises(FormatError) as error:
        opened(with_features(**words_of(flag)))
    assert f"{name} ({why})" in str(error.value)
    assert (error.value.where, error.value.offset) == (f"ext4 superblock, feature {name}", SUPER)


def test_features_that_are_not_known_are_called_as_by_e2fsprogs() -> None:
    with pytest.raises(FormatError, match=r"FEATURE_I20 \(not known\), FEATURE_I31 \(not known\)"):
        opened(with_features(incompat=1 << 20 | 1 << 31))


@pytest.mark.parametrize("word", ["compat", "ro_compat"])
def test_who_only_reads_need_not_know_the_other_features(word: str) -> None:
    """Spec: super.rst, s_feature_compat and s_feature_ro_compat."""
    assert opened(with_features(**{word: 1 << 20 | 1 << 31}), verify=True).tree().entries is not None


def test_every_known_feature_is_read_or_refused() -> None:
    listed = [repr(flag) for flag in (*f.READ.values(), *(flag for flag, _ in f.NOT_READ.values()))]
    assert sorted(listed) == sorted(
        repr(flag) for kind in (f.Compat, f.Incompat, f.RoCompat) for flag in kind
    )


@pytest.mark.parametrize(("flag", "name"), [(0x800, "encrypt"), (0x4, "compression")])
def test_a_file_that_is_encrypted_is_refused_by_name(flag: int, name: str) -> None:
    made = of({b"file": trees.file(b"x")}, features="^metadata_csum")
    with pytest.raises(FormatError, match="which is not read") as error:
        inode_with(made, b"file", 0x20, "<I", flag | 0x80000)
    assert error.value.where.endswith(f"feature {name}")
    assert error.value.offset == inode_at(made, number_of(made, b"file"))


# --- damage ---

SUPERBLOCK_DAMAGE = [
    (0x38, "<H", 0xEF54, "s_magic"),
    (0x4C, "<I", 2, "s_rev_level"),
    (0x18, "<I", 3, "s_log_block_size"),
    (0x18, "<I", 6, "s_log_block_size is 6: blocks of 65,536 bytes"),
    (0x18, "<I", 0xFFFFFFFF, "s_log_block_size"),
    (0x04, "<I", 0, "s_blocks_count"),
    (0x150, "<I", 1, "s_blocks_count"),
    (0x14, "<I", 2, "s_first_data_block"),
    (0x20, "<I", 0, "s_blocks_per_group"),
    (0x20, "<I", 32769, "s_blocks_per_group"),
    (0x28, "<I", 0, "s_inodes_per_group"),
    (0x28, "<I", 32769, "s_inodes_per_group"),
    (0x00, "<I", 17, "s_inodes_count"),
    (0x54, "<I", 10, "s_first_ino"),
    (0x58, "<H", 0, "s_inode_size"),
    (0x58, "<H", 192, "s_inode_size"),
    (0x58, "<H", 8192, "s_inode_size"),
    (0xFE, "<H", 32, "s_desc_size"),
    (0xFE, "<H", 96, "s_desc_size"),
    (0xFE, "<H", 2048, "s_desc_size"),
]


@pytest.mark.parametrize(("at", "form", "value", "words"), SUPERBLOCK_DAMAGE)
def test_a_superblock_that_cannot_be(at: int, form: str, value: int, words: str) -> None:
    made = of({})
    put(made, SUPER + at, form, value)
    with pytest.raises(FormatError, match=words) as error:
        opened(made)
    assert error.value.where.startswith("ext4 superblock, s_")
    assert error.value.offset == SUPER


@pytest.mark.parametrize("log", [1, 20, 0xFFFFFFFF])
def test_clusters_that_cannot_be(log: int) -> None:
    made = with_features(ro_compat=0x200)
    put(made, SUPER + 0x1C, "<I", log)
    with pytest.raises(FormatError, match="s_log_cluster_size"):
        opened(made)


@pytest.mark.parametrize("value", [0, 1 << 31])
def test_an_inode_table_outside(value: int) -> None:
    made = of({}, features="^metadata_csum")
    put(made, 4096 + 8, "<I", value)
    with pytest.raises(FormatError, match="the inode table of group 0") as error:
        root(made)
    assert (error.value.where, error.value.offset) == ("ext4 group descriptor 0, bg_inode_table", 4096)


INODE_DAMAGE = [
    (0x00, "<H", 0, "mode 0o0"),
    (0x00, "<H", 0o030644, "mode 0o30644"),
    (0x1A, "<H", 0, "0 links"),
    (0x20, "<I", 0x280000, "i_flags 0x280000"),
    (0x80, "<H", 3, "i_extra_isize"),
    (0x80, "<H", 132, "i_extra_isize"),
    (0x6C, "<I", 1 << 20, "i_size"),
    (0x28, "<H", 0xF30B, "eh_magic is 0xf30b"),
    (0x2A, "<H", 5, "eh_entries"),
    (0x2C, "<H", 5, "eh_max 5"),
    (0x2E, "<H", 6, "eh_depth is 6"),
    (0x2E, "<H", 1, "1 block at"),
    (0x38, "<H", 0, "0 blocks from 0 on"),
    (0x38, "<H", 32768, "32,768 blocks at"),
    (0x3A, "<H", 1, "blocks at 4,29"),
    (0x3C, "<I", 0, "3 blocks at 0"),
    (0x34, "<I", 0xFFFFFFFE, "3 blocks from 4,294,967,294 on"),
    (0x68, "<I", 0xFFFFFF, "attributes in block 16,777,215"),
    (0x68, "<I", 2, "h_magic"),
]


@pytest.mark.parametrize(("at", "form", "value", "words"), INODE_DAMAGE)
def test_an_inode_that_cannot_be(at: int, form: str, value: int, words: str) -> None:
    made = of({b"file": trees.file(b"a" * 9000)}, features="^metadata_csum")
    root(made)
    with pytest.raises(FormatError, match=words) as error:
        inode_with(made, b"file", at, form, value)
    assert error.value.where
    assert error.value.offset is not None
    number = number_of(made, b"file")
    if "h_magic" not in words:
        assert error.value.offset == inode_at(made, number)
        assert f"inode {number}" in error.value.where


def test_extents_that_do_not_rise() -> None:
    file = trees.file(b"a" * 20480)
    file.runs = ((0, 4096), (8192, 12288))
    made = of({b"file": file}, features="^metadata_csum")
    with pytest.raises(FormatError, match="1 block from 0 on, after 1"):
        inode_with(made, b"file", 0x40, "<I", 0)


def deep(**asked: Any) -> tuple[bytearray, int, int]:
    """A file with a tree of two levels: the file system, the file's inode, the tree's first block."""
    file = trees.file(b"a" * (1024 * 800))
    file.runs = tuple((n * 2048, n * 2048 + 1024) for n in range(400))
    made = of({b"file": file}, block_size=1024, **asked)
    at = inode_at(made, number_of(made, b"file"))
    return made, at, get(made, at + 0x28 + 16, "<I") * 1024


@pytest.mark.parametrize(
    ("at", "form", "value", "words"),
    [
        (0, "<H", 0, "eh_magic"),
        (6, "<H", 0, "eh_depth is 0, not 1"),
        (2, "<H", 0, "eh_entries is 0"),
        (2, "<H", 85, "eh_entries is 85"),
        (4, "<H", 85, "eh_max 85"),
        (16, "<I", 0, "1 block at 0"),
        (24, "<I", 0, "ei_block 0 is before 167"),
    ],
)
def test_a_tree_that_cannot_be(at: int, form: str, value: int, words: str) -> None:
    made, _, block = deep(features="^metadata_csum")
    put(made, block + at, form, value)
    with pytest.raises(FormatError, match=words):
        root(made)


def test_a_tree_that_leads_to_itself() -> None:
    made, _, block = deep(features="^metadata_csum")
    put(made, block + 16, "<I", block // 1024)
    with pytest.raises(FormatError, match=f"block {block // 1024:,}, .*something else") as error:
        root(made)
    assert error.value.offset == block


def test_a_block_map_that_leads_to_itself() -> None:
    made = of({b"file": trees.file(b"a" * 1024 * 400)}, block_size=1024, fs_type="ext2")
    at = inode_at(made, number_of(made, b"file")) + 0x28
    double = get(made, at + 13 * 4, "<I")
    put(made, double * 1024, "<I", double)
    with pytest.raises(FormatError, match=f"block {double:,}, .*something else"):
        root(made)


@pytest.mark.parametrize("pointer", [0, 11, 12, 13])
def test_a_block_map_that_leads_outside(pointer: int) -> None:
    made = of({b"file": trees.file(b"a" * 1024 * 400)}, block_size=1024, fs_type="ext2")
    with pytest.raises(FormatError, match="1 block at 16,777,215"):
        inode_with(made, b"file", 0x28 + 4 * pointer, "<I", 0xFFFFFF)


def test_two_files_with_a_block_in_common() -> None:
    made = of({b"a": trees.file(b"a" * 9000), b"b": trees.file(b"b" * 9000)}, features="^metadata_csum")
    start = get(made, inode_at(made, number_of(made, b"a")) + 0x3C, "<I")
    with pytest.raises(FormatError, match=f"block {start + 2:,}, of inode 1[23], is in use") as error:
        inode_with(made, b"b", 0x3C, "<I", start + 2)
    assert error.value.offset == (start + 2) * 4096


ENTRY_DAMAGE = [
    (0, "<I", 1 << 20, "leads to inode 1,048,576"),
    (0, "<I", 8, "leads to reserved inode 8"),
    (0, "<I", 2, "the directory inode 2 has another name"),
    (0, "<I", 11, "the directory inode 11 has another name"),
    (4, "<H", 0, "rec_len 0"),
    (4, "<H", 8, "rec_len 8"),
    (4, "<H", 13, "rec_len 13"),
    (4, "<H", 4096, "rec_len 4,096"),
    (4, "<H", 4096 - 12, "rec_len 4,084"),
    (6, "<B", 0, "the name b''"),
    (6, "<B", 255, "name of 255 bytes"),
    (8, "4s", b"a/bc", "the name b'a/bc'"),
    (8, "4s", b"a\0bc", "the name b'a\\\\x00bc'"),
    (8, "4s", b"same", "has the name 'same' twice"),
]


@pytest.mark.parametrize(("at", "form", "value", "words"), ENTRY_DAMAGE)
def test_an_entry_that_cannot_be(at: int, form: str, value: int | bytes, words: str) -> None:
    made = of({b"name": trees.file(b"x"), b"same": trees.file(b"y")}, features="^metadata_csum")
    put(made, entry_at(made, b"name") + at, form, value)
    with pytest.raises(FormatError, match=words) as error:
        root(made)
    assert error.value.where == "ext4 directory, inode 2"
    assert error.value.offset is not None
    assert 0 <= error.value.offset - first_block(made, 2) < 4096


@pytest.mark.parametrize("dots", [b".", b".."])
@pytest.mark.parametrize("features", ["^metadata_csum", "^metadata_csum,^dir_index"])
def test_a_second_dot_would_hide_a_file(dots: bytes, features: str) -> None:
    made = of({b"zz1": trees.file(b"x"), b"zz2": trees.file(b"y")}, features=features)
    entry = entry_at(made, b"zz1")
    put(made, entry + 6, "<B", len(dots))
    put(made, entry + 8, f"<{len(dots)}s", dots)
    with pytest.raises(
        FormatError, match=rf"the directory inode 2 has '{re.escape(dots.decode())}' among"
    ) as e:
        root(made)
    assert e.value.where == "ext4 directory, inode 2"


@pytest.mark.parametrize("dots", [b".", b".."])
def test_a_dot_behind_other_names_would_hide_a_file(dots: bytes) -> None:
    """The first of its name, whose place another one has."""
    made = of({b"dir": trees.directory({b"zz1": trees.file(b"x")})}, features="^metadata_csum")
    directory = number_of(made, b"dir")
    first = first_block(made, directory)
    put(made, first + (8 if dots == b"." else 20), "<2s", b"q\0" if dots == b"." else b"qq")
    put(made, first + (0 if dots == b"." else 12), "<I", number_of(made, b"zz1", directory))
    entry = entry_at(made, b"zz1", directory)
    put(made, entry + 6, "<B", len(dots))
    put(made, entry + 8, f"<{len(dots)}s", dots)
    with pytest.raises(FormatError, match="among its names"):
        root(made)


def test_a_directory_in_itself() -> None:
    made = of({b"outer": trees.directory({b"inner": trees.directory()})}, features="^metadata_csum")
    outer = number_of(made, b"outer")
    put(made, entry_at(made, b"inner", outer), "<I", outer)
    with pytest.raises(FormatError, match=f"the directory inode {outer} has another name, 'inner'"):
        root(made)


def test_two_directories_with_one_block() -> None:
    made = of(
        {b"a": trees.directory({b"f": trees.file()}), b"b": trees.directory()}, features="^metadata_csum"
    )
    block = first_block(made, number_of(made, b"a")) // 4096
    with pytest.raises(FormatError, match=f"block {block:,}, .*something else"):
        inode_with(made, b"b", 0x3C, "<I", block)


@pytest.mark.parametrize(("at", "form", "value"), [(0x04, "<I", 8192), (0x38, "<H", 32769), (0x34, "<I", 1)])
def test_a_directory_with_a_hole(at: int, form: str, value: int) -> None:
    made = of({b"dir": trees.directory()}, features="^metadata_csum")
    with pytest.raises(FormatError, match=r"has no block [01], of [12]"):
        inode_with(made, b"dir", at, form, value)


def test_the_root_is_a_directory() -> None:
    made = of({}, features="^metadata_csum")
    put(made, inode_at(made, 2), "<H", 0o100644)
    with pytest.raises(FormatError, match="the root is no directory"):
        root(made)


@pytest.mark.parametrize(("size", "length"), [(0, 60), (60, 60), (4097, 4000)])
def test_a_symlink_that_cannot_be(size: int, length: int) -> None:
    made = of({b"link": trees.symlink(b"t" * length)}, features="^metadata_csum")
    at = inode_at(made, number_of(made, b"link"))
    if size == 60:  # a short one, with no block
        put(made, at + 0x1C, "<I", 0)
        put(made, at + 0x28, "<I", 0)
    with pytest.raises(FormatError):
        inode_with(made, b"link", 4, "<I", size)


XATTR_DAMAGE = [
    (xattr_area((1, b"", b"v")), "the name b''"),
    (xattr_area((1, b"a\0", b"v")), "the name b'a"),
    (xattr_area((2, b"", b"v")), "access control list"),
    (xattr_area((2, b"", b"\1\0\0\0\1\0\7")), "access control list"),
    (xattr_area((2, b"", b"\1\0\0\0\3\0\7\0")), "access control list"),
    (
        struct.pack("<IBBHIII", 0xEA020000, 1, 1, 90, 0, 3, 0).ljust(96, b"a"),
        "a value of 3 bytes would stand at 90",
    ),
    (struct.pack("<IBBHIII", 0xEA020000, 255, 1, 0, 0, 0, 0).ljust(96, b"a"), "the entries have no end"),
    (struct.pack("<I", 0xEA020000).ljust(96, b"\1"), "would be in inode|no end|would stand"),
    (
        struct.pack("<IBBHIII", 0xEA020000, 1, 1, 0, 12, 3, 0).ljust(96, b"\0"),
        "a value .* would be in inode 12",
    ),
]


@pytest.mark.parametrize(("area", "words"), XATTR_DAMAGE)
def test_attributes_that_cannot_be(area: bytes, words: str) -> None:
    made = of({b"file": trees.file()}, features="^metadata_csum")
    with pytest.raises(FormatError, match=words) as error:
        inode_with(made, b"file", 160, "96s", area)
    assert "extended attributes" in error.value.where
    assert error.value.offset == inode_at(made, number_of(made, b"file"))


def value_inode(made: bytearray) -> int:
    """Give ``file`` an attribute whose value is in the inode of ``value``, which has no other name then."""
    put(made, SUPER + 0x60, "<I", get(made, SUPER + 0x60, "<I") | 0x400)
    value = number_of(made, b"value")
    size = get(made, inode_at(made, value) + 4, "<I")
    put(made, entry_at(made, b"value"), "<I", 0)
    put(made, inode_at(made, value) + 0x20, "<I", 0x280000)
    area = struct.pack("<IBBHII4xc", 0xEA020000, 1, 1, 0, value, size, b"n").ljust(96, b"\0")
    for name in (b"file", b"twin"):
        put(made, inode_at(made, number_of(made, name)) + 160, "96s", area)
    return value


def test_values_in_an_inode_of_their_own() -> None:
    data = content(70_000)
    made = of(
        {b"value": trees.file(data), b"file": trees.file(), b"twin": trees.file()}, features="^metadata_csum"
    )
    value_inode(made)
    entries = root(made).entries
    assert entries is not None
    assert entries[b"file"].xattrs == entries[b"twin"].xattrs == {b"user.n": data}


@pytest.mark.parametrize(
    ("at", "form", "field", "words"),
    [
        (0x20, "<I", 0x80000, "holds no value"),
        (0x04, "<I", 70_001, "70,000"),
        (0x04, "<I", 1 << 25, "i_size 33,554,432"),
        (0x38, "<H", 17, "not 18 blocks"),
    ],
)
def test_values_that_cannot_be(at: int, form: str, field: int, words: str) -> None:
    made = of(
        {b"value": trees.file(bytes(70_000)), b"file": trees.file(), b"twin": trees.file()},
        features="^metadata_csum",
    )
    value = value_inode(made)
    put(made, inode_at(made, value) + at, form, field)
    with pytest.raises(FormatError, match=words):
        root(made)


def test_an_attribute_block_that_is_a_directorys() -> None:
    made = of({b"file": trees.file(xattrs={b"user.a": b"b" * 200})}, features="^metadata_csum")
    block = get(made, inode_at(made, number_of(made, b"file")) + 0x68, "<I")
    put(made, inode_at(made, 11) + 0x3C, "<I", block)
    with pytest.raises(FormatError, match=f"block {block:,}"):
        root(made)


# --- checksums, on demand ---


def damaged_places() -> tuple[bytearray, dict[str, tuple[int, str]]]:
    """A file system, and in each kind of structure a place that may change unseen, with an error's words."""
    file = trees.file(b"a" * (1024 * 800))
    file.runs = tuple((n * 2048, n * 2048 + 1024) for n in range(400))
    entries = {
        b"deep": file,
        b"dir": trees.directory({b"x": trees.file()}),
        b"index": many(2000, 60),
        b"xattrs": trees.file(xattrs={b"user.a": b"b" * 300}),
    }
    made = of(entries, block_size=1024)
    deep_at, index = inode_at(made, number_of(made, b"deep")), number_of(made, b"index")
    attributes = get(made, inode_at(made, number_of(made, b"xattrs")) + 0x68, "<I") * 1024
    index_at = first_block(made, index)
    second = get(made, inode_at(made, index) + 0x28 + 32, "<I") * 1024  # of its extents
    return made, {
        "superblock": (SUPER + 0x30, "s_checksum"),
        "descriptor": (2048 + 0x0C, "bg_checksum"),
        "inode": (deep_at + 0x0C, "the checksum of inode"),
        "tree": (get(made, deep_at + 0x28 + 16, "<I") * 1024 + 8, "et_checksum"),
        "leaf": (first_block(made, number_of(made, b"dir")) + 7, "a block's checksum"),
        "root": (index_at + 0x24, "a block's checksum"),
        "root's place": (index_at + 0x21, "no place for its checksum"),
        "node": (second + 50, "a block's checksum"),
        "attributes": (attributes + 12, "h_checksum"),
    }


@pytest.mark.parametrize("kind", damaged_places()[1])
def test_checksums(kind: str) -> None:
    made, places = damaged_places()
    root(made, verify=True)
    at, words = places[kind]
    made[at] ^= 0x40 if kind == "root's place" else 1
    root(made)
    with pytest.raises(FormatError, match=words) as error:
        root(made, verify=True)
    assert error.value.where
    assert error.value.offset is not None and error.value.offset <= at


@pytest.mark.parametrize(("block_size", "files"), [(1024, 100), (1024, 2000), (4096, 200)])
def test_an_index_may_end_as_the_leaf_did_that_a_kernel_made_it_of(block_size: int, files: int) -> None:
    made = of({b"index": many(files, 60)}, block_size=block_size)
    images.index_by_the_kernel(made, number_of(made, b"index"))
    index = root(made, verify=True).entries
    assert index is not None
    assert len(index[b"index"].entries or ()) == files


def test_a_checksum_of_another_kind() -> None:
    made = of({})
    put(made, SUPER + 0x175, "<B", 2)
    put(made, SUPER + 1020, "<I", crc32c(bytes(made[SUPER : SUPER + 1020])))
    root(made)
    with pytest.raises(FormatError, match="s_checksum_type is 2"):
        opened(made, verify=True)


def test_images_are_those_of_the_helper() -> None:
    """The helper finds inodes by the layout alone: the root is a directory."""
    made = of({b"file": trees.file(b"x" * 5)}, block_size=1024)
    assert get(made, inode_at(made, 2), "<H") == 0o040755
    assert get(made, inode_at(made, number_of(made, b"file")) + 4, "<I") == 5
    assert images.block_size(made) == 1024
