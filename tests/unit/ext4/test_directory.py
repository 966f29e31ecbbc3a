"""Directory blocks: against those of Linux and e2fsck, and the plan's limits."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from imgwriter.errors import UnrepresentableError
from imgwriter.ext4 import htree
from imgwriter.ext4.checksum import crc32c, fs_seed, inode_seed
from imgwriter.ext4.directory import (
    ENTRY,
    ENTRY_TAIL,
    DirectoryFormat,
    DirectoryPlan,
    empty_block,
    encode_directory,
    plan_directories,
    plan_directory,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "ext4-directory.json").read_text())


def long_names(count: int) -> list[bytes]:
    """Return sorted names of 255 bytes: entries of 264, three of which fill a block of 1 KiB."""
    return [b"%0255d" % number for number in range(count)]


def names_of_size(total: int) -> list[bytes]:
    """Return sorted names whose entries take ``total`` bytes: as many of 16 bytes, then one of the rest."""
    count, rest = divmod(total - 32, 16)
    return [*(b"%08d" % number for number in range(count)), b"x" * (32 + rest - 8)]


def encode(plan: DirectoryPlan, fmt: DirectoryFormat) -> bytes:
    count = len(plan.names)
    return encode_directory(plan, fmt, range(100, 100 + count), [1] * count, self_inode=50, parent_inode=2)


def entries(block: bytes) -> list[tuple[int, int, bytes]]:
    """Return (inode, file type, name) of a block's entries, unused ones included; they cover it exactly."""
    result = []
    offset = 0
    while offset < len(block):
        inode, rec_len, name_len, file_type = ENTRY.unpack_from(block, offset)
        result.append((inode, file_type, block[offset + 8 : offset + 8 + name_len]))
        assert rec_len % 4 == 0
        assert rec_len >= 8 + name_len
        offset += rec_len
    assert offset == len(block)
    return result


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("case", VECTORS, ids=lambda c: f"{c['source']}-{c['block_size']}-{c['csum']}")
def test_blocks_are_those_of_linux_and_e2fsck(case: dict[str, Any]) -> None:
    fmt = DirectoryFormat(
        block_size=case["block_size"],
        csum=case["csum"],
        hash_seed=bytes.fromhex(case["hash_seed"]),
        signed=case["signed"],
    )
    plan = plan_directory([bytes.fromhex(name) for name in case["names"]], fmt)
    data = encode_directory(
        plan,
        fmt,
        case["inodes"],
        case["file_types"],
        self_inode=case["self_inode"],
        parent_inode=case["parent_inode"],
        inode_seed=inode_seed(fs_seed(bytes.fromhex(case["uuid"])), case["self_inode"], case["generation"]),
    )
    assert data.hex() == case["blocks"]
    assert plan.indexed == (case["source"] == "e2fsck -D")


def test_records_have_the_specified_sizes() -> None:
    assert (ENTRY.size, ENTRY_TAIL.size) == (8, 12)


def test_an_empty_directory_is_one_block_of_dots() -> None:
    fmt = DirectoryFormat(csum=False)
    assert entries(encode(plan_directory([], fmt), fmt)) == [(50, 2, b"."), (2, 2, b"..")]


@pytest.mark.parametrize("csum", [False, True])
@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
def test_a_directory_that_fits_a_block_stays_linear(block_size: int, csum: bool) -> None:
    room = block_size - 24 - csum * 12
    for index in (False, True):
        fmt = DirectoryFormat(block_size=block_size, csum=csum, index=index)
        for size, blocks in ((room - 4, 1), (room, 1), (room + 4, 3 if index else 2)):
            plan = plan_directory(names_of_size(size), fmt)
            assert plan.blocks == blocks
            assert plan.indexed == (index and size > room)
            assert len(encode(plan, fmt)) == blocks * block_size


def test_without_dir_index_entries_follow_the_names() -> None:
    fmt = DirectoryFormat(block_size=1024, csum=True, index=False)
    names = [b"%07d" % number for number in range(500)]
    blocks = split(encode(plan_directory(names, fmt), fmt), 1024)
    found = [entry for block in blocks for entry in entries(block) if entry[0]]
    assert [name for _, _, name in found] == [b".", b"..", *names]
    assert [inode for inode, _, _ in found[2:]] == list(range(100, 600))


def test_without_filetype_no_entry_has_a_type() -> None:
    fmt = DirectoryFormat(filetype=False, csum=False)
    assert {kind for _, kind, _ in entries(encode(plan_directory([b"a", b"b"], fmt), fmt))} == {0}


def test_every_name_is_in_one_leaf_of_an_index() -> None:
    fmt = DirectoryFormat(block_size=1024)
    names = [b"%0*d" % (7 + number % 90, number) for number in range(2000)]
    names.sort()
    plan = plan_directory(names, fmt)
    assert plan.tree is not None
    leaves = split(encode(plan, fmt), 1024)[plan.tree.blocks :]
    found = {name: inode for leaf in leaves for inode, _, name in entries(leaf) if inode}
    assert found == {name: 100 + number for number, name in enumerate(names)}


def test_the_batch_is_each_directory_by_itself() -> None:
    fmt = DirectoryFormat(block_size=1024, hash_seed=bytes(range(16)))
    batch: list[list[bytes]] = [[], long_names(7), [b"a"], long_names(400), names_of_size(5000)]
    assert plan_directories(batch, fmt, lambda _: b"") == [plan_directory(names, fmt) for names in batch]


# Blocks of 1 KiB with checksums: 123 entries in a root, 126 in a node, three names of 255 bytes in a leaf.
TWO_LEVELS = 123 * 126 * 3


def test_two_levels_are_the_limit_without_large_dir() -> None:
    names = long_names(TWO_LEVELS + 1)
    fmt = DirectoryFormat(block_size=1024)
    for count in (TWO_LEVELS - 1, TWO_LEVELS):
        plan = plan_directory(names[:count], fmt)
        assert plan.tree is not None
        assert [len(level) for level in plan.tree.levels] == [1, 123]
    with pytest.raises(UnrepresentableError, match=r"directory usr/lib has 46,495 names.*large_dir") as error:
        plan_directory(names, fmt, b"usr/lib")
    assert error.value.path == b"usr/lib"


def test_large_dir_gives_a_third_level() -> None:
    plan = plan_directory(long_names(TWO_LEVELS + 1), DirectoryFormat(block_size=1024, large_dir=True))
    assert plan.tree is not None
    assert [len(level) for level in plan.tree.levels] == [
        1,
        2,
        155,
    ]  # of 126 entries 100 are used: a fifth is left free


def test_leaves_give_up_their_slack_before_a_directory_is_refused() -> None:
    # Names of 104 bytes: entries of 112, nine of which fit 1,012 bytes; a fifth left free, eight.
    leaves = 123 * 126
    fmt = DirectoryFormat(block_size=1024)
    names = [b"%0104d" % number for number in range(9 * leaves + 1)]
    assert len(plan_directory(names[: 8 * leaves], fmt).leaf_ends) == leaves
    assert plan_directory(names[: 8 * leaves], fmt).leaf_ends[0] == 8
    assert plan_directory(names[: 8 * leaves + 1], fmt).leaf_ends[0] == 9
    assert plan_directory(names[: 9 * leaves], fmt).leaf_ends[0] == 9
    with pytest.raises(UnrepresentableError, match="names"):
        plan_directory(names, fmt)


def test_names_of_255_bytes_and_no_more() -> None:
    fmt = DirectoryFormat()
    assert plan_directory([b"n" * 254, b"n" * 255], fmt).blocks == 1
    with pytest.raises(
        UnrepresentableError, match=r"^etc/n+: the name has 256 bytes, ext4 takes 255"
    ) as error:
        plan_directory([b"n" * 256], fmt, b"etc")
    assert error.value.path == b"etc/" + b"n" * 256


def test_an_empty_block_has_one_unused_entry_and_a_checksum() -> None:
    block = empty_block(DirectoryFormat(block_size=1024), 0x1234)
    assert ENTRY.unpack_from(block) == (0, 1012, 0, 0)
    assert block[8:1012] == bytes(1004)
    assert ENTRY_TAIL.unpack(block[1012:]) == (0, 12, 0, 0xDE, crc32c(block[:1012], 0x1234))
    assert empty_block(DirectoryFormat(block_size=1024, csum=False)) == struct.pack(
        "<IHBB1016x", 0, 1024, 0, 0
    )


def test_the_index_says_where_names_of_one_hash_go_on() -> None:
    # The two names with hash 0xac76fa3e (see test_dirhash) at the seam of two leaves.
    fmt = DirectoryFormat(block_size=1024)
    fillers = [b"%0255d" % number for number in range(400)]
    seen = set()
    for start in range(12):
        plan = plan_directory(sorted([*fillers[start:], b"name-017235", b"name-051666"]), fmt)
        assert plan.tree is not None
        names = [plan.names[i] for i in plan.order or ()]
        second = names.index(b"name-051666")
        assert names[second - 1] == b"name-017235"
        continued = [value for value in plan.tree.hashes if value & 1]
        assert continued == ([0xAC76FA3F] if second in plan.leaf_ends else [])
        seen.add(bool(continued))
    assert seen == {False, True}


def test_htree_limits_are_the_kernel_s() -> None:
    # fs/ext4/namei.c, dx_root_limit() and dx_node_limit(): (block - fixed part - dx_tail) / 8.
    assert [htree.root_limit(size, True) for size in (1024, 2048, 4096)] == [123, 251, 507]
    assert [htree.root_limit(size, False) for size in (1024, 2048, 4096)] == [124, 252, 508]
    assert [htree.node_limit(size, True) for size in (1024, 2048, 4096)] == [126, 254, 510]
    assert [htree.node_limit(size, False) for size in (1024, 2048, 4096)] == [127, 255, 511]
