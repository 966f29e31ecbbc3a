"""Extended attributes: against what Linux wrote, and the limits of inode and block."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from imgwriter.errors import UnrepresentableError
from imgwriter.ext4 import xattr
from imgwriter.ext4.checksum import fs_seed
from imgwriter.ext4.xattr import XattrPlanner, acl_to_disk, finish_block

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "ext4-xattr.json").read_text())
UUID = bytes(range(16))

# In a 256-byte inode: 256 - 128 - 32, less 4 for the magic and 4 for the end of the entries.
INLINE_ROOM = 88
NO_ID = 0xFFFFFFFF


def posix_acl(*entries: tuple[int, int, int], version: int = 2) -> bytes:
    return struct.pack("<I", version) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def of_size(name: bytes, size: int) -> dict[bytes, bytes]:
    """Return a user attribute whose entry and value take ``size`` bytes, a multiple of 4."""
    return {b"user." + name: b"v" * (size - 16 - (len(name) + 3) // 4 * 4)}


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_bytes_are_those_of_linux(number: int) -> None:
    case: dict[str, Any] = VECTORS[number]
    attributes = {bytes.fromhex(name): bytes.fromhex(value) for name, value in case["xattrs"].items()}
    plan = XattrPlanner(block_size=case["block_size"]).plan(attributes)
    assert plan.inline.hex() == case["inline"]
    block = finish_block(plan.block, 1, case["block_number"], fs_seed(UUID)) if plan.block else b""
    assert block.hex() == case["block"]


def test_vectors_cover_both_places_and_both_block_sizes() -> None:
    assert {(bool(c["inline"]), bool(c["block"])) for c in VECTORS} == {
        (True, False),
        (True, True),
        (False, True),
    }
    assert {c["block_size"] for c in VECTORS} == {1024, 4096}


def test_records_have_the_specified_sizes() -> None:
    assert (xattr.XATTR_HEADER.size, xattr.XATTR_IBODY_HEADER.size, xattr.XATTR_ENTRY.size) == (32, 4, 16)


def test_the_inode_takes_what_fits() -> None:
    planner = XattrPlanner(block_size=1024)
    for size, inside in ((INLINE_ROOM - 4, True), (INLINE_ROOM, True), (INLINE_ROOM + 4, False)):
        plan = planner.plan(of_size(b"name", size))
        assert bool(plan.inline) == inside
        assert (plan.block is None) == inside
        assert len(plan.inline) == (96 if inside else 0)


@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
def test_the_block_takes_what_fits(block_size: int) -> None:
    room = block_size - 32 - 4
    planner = XattrPlanner(block_size=block_size)
    for size in (room - 4, room):
        block = planner.plan(of_size(b"name", size)).block
        assert block is not None
        assert len(block) == block_size
    needed = rf"^srv/x: its extended attributes need {room + 4:,} bytes \(user.name: {room + 4:,}\)"
    with pytest.raises(
        UnrepresentableError, match=rf"{needed}.* inode has 88 and one block {room:,};"
    ) as error:
        planner.plan(of_size(b"name", room + 4), b"srv/x")
    assert error.value.path == b"srv/x"


def test_inode_and_block_together_take_the_most() -> None:
    planner = XattrPlanner(block_size=1024)
    room = 1024 - 36
    small, filling, large = of_size(b"a", 40), of_size(b"bb", INLINE_ROOM), of_size(b"cc", room - 40)
    # In their order on disk the small one comes first and would leave the block too little.
    plan = planner.plan({**small, **filling, **large})
    assert plan.inline
    assert plan.block is not None
    with pytest.raises(UnrepresentableError, match=r"user\.a: 40, user\.bb: 88, user\.cc: 952\)"):
        planner.plan({**small, **filling, **of_size(b"cc", room - 36)})


def test_inodes_of_128_bytes_have_no_room() -> None:
    plan = XattrPlanner(block_size=1024, inode_size=128, extra_isize=0).plan({b"user.a": b"1"})
    assert plan.inline == b""
    assert plan.block is not None


def test_equal_attributes_share_a_plan_whatever_their_order() -> None:
    planner = XattrPlanner(block_size=1024)
    one = {b"user.a": b"x" * 200, b"user.b": b"y"}
    assert planner.plan(one) is planner.plan(dict(reversed(one.items())))


def test_entries_are_sorted_by_index_length_and_name() -> None:
    names = [b"user.zz", b"user.b", b"user.aaa", b"trusted.a", b"security.a", b"user.c"]
    block = (
        XattrPlanner(block_size=1024, inode_size=128, extra_isize=0).plan(dict.fromkeys(names, b"v")).block
    )
    assert block is not None
    found = []
    offset = 32
    while any(block[offset : offset + 4]):
        length, index, *_ = xattr.XATTR_ENTRY.unpack_from(block, offset)
        found.append((index, block[offset + 16 : offset + 16 + length]))
        offset += 16 + (length + 3) // 4 * 4
    assert found == [(1, b"b"), (1, b"c"), (1, b"zz"), (1, b"aaa"), (4, b"a"), (6, b"a")]


def test_without_metadata_csum_a_block_has_no_checksum() -> None:
    block = XattrPlanner(block_size=1024).plan({b"user.a": b"x" * 200}).block
    assert block is not None
    finished = finish_block(block, 1024, 77, None)
    assert struct.unpack_from("<III", finished) == (0xEA020000, 1024, 1)
    assert struct.unpack_from("<I", finished, 16) == (0,)
    assert finished[32:] == block[32:]


@pytest.mark.parametrize(
    "name",
    [
        b"btrfs.compression",
        b"system.nfs4_acl",
        b"system.posix_acl_accessory",
        b"user",
        b"plain",
        b"\xff.x",
    ],
)
def test_names_that_linux_keeps_nowhere_on_ext4_are_refused(name: bytes) -> None:
    with pytest.raises(UnrepresentableError, match=r"^etc/x: extended attribute .* is none that Linux keeps"):
        XattrPlanner(block_size=1024).plan({name: b"v"}, b"etc/x")


@pytest.mark.parametrize("prefix", [b"user.", b"trusted.", b"security."])
def test_names_have_1_to_255_bytes_in_all(prefix: bytes) -> None:
    planner = XattrPlanner(block_size=4096)
    for length in (1, 254 - len(prefix), 255 - len(prefix)):
        planner.plan({prefix + b"n" * length: b"v"})
    for bad in (b"", b"n" * (256 - len(prefix)), b"a\0b"):
        with pytest.raises(UnrepresentableError, match=rf"name of 1 to {255 - len(prefix)} bytes"):
            planner.plan({prefix + bad: b"v"})


USER_OBJ, GROUP_OBJ, OTHER, MASK = (1, 6, NO_ID), (4, 4, NO_ID), (32, 4, NO_ID), (16, 7, NO_ID)
USER, GROUP = (2, 7, 1000), (8, 5, 100)


@pytest.mark.parametrize(
    "entries",
    [
        (USER_OBJ, GROUP_OBJ, OTHER),
        (USER_OBJ, GROUP_OBJ, MASK, OTHER),
        (USER_OBJ, USER, USER, GROUP_OBJ, GROUP, MASK, OTHER),
        (USER_OBJ, (2, 0, NO_ID - 1), GROUP_OBJ, MASK, OTHER),
    ],
)
def test_valid_acls_keep_ids_only_where_they_count(entries: tuple[tuple[int, int, int], ...]) -> None:
    disk = acl_to_disk(posix_acl(*entries))
    assert disk is not None
    named = sum(tag in (2, 8) for tag, _, _ in entries)
    assert len(disk) == 4 + 8 * named + 4 * (len(entries) - named)
    assert disk[:4] == b"\1\0\0\0"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        posix_acl(),
        posix_acl(USER_OBJ, GROUP_OBJ, OTHER, version=1),
        posix_acl(USER_OBJ, GROUP_OBJ, OTHER)[:-1],
        posix_acl(USER_OBJ, GROUP_OBJ, OTHER) + b"\0",
        posix_acl(USER_OBJ, GROUP_OBJ),
        posix_acl(GROUP_OBJ, OTHER),
        posix_acl(GROUP_OBJ, USER_OBJ, OTHER),
        posix_acl(USER_OBJ, USER_OBJ, GROUP_OBJ, OTHER),
        posix_acl(USER_OBJ, USER, GROUP_OBJ, OTHER),
        posix_acl(USER_OBJ, GROUP_OBJ, MASK, MASK, OTHER),
        posix_acl(USER_OBJ, GROUP_OBJ, MASK, GROUP, OTHER),
        posix_acl((1, 8, NO_ID), GROUP_OBJ, OTHER),
        posix_acl(USER_OBJ, (2, 7, NO_ID), GROUP_OBJ, MASK, OTHER),
        posix_acl(USER_OBJ, (3, 7, 5), GROUP_OBJ, MASK, OTHER),
        posix_acl(USER_OBJ, GROUP_OBJ, OTHER, (64, 0, 0)),
    ],
)
def test_damaged_acls_are_refused(value: bytes) -> None:
    assert acl_to_disk(value) is None
    with pytest.raises(UnrepresentableError, match=r"posix_acl_default is not a valid POSIX ACL"):
        XattrPlanner(block_size=1024).plan({b"system.posix_acl_default": value})
