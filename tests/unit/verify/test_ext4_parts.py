"""The parts of ext4's checker that are pure: hashes, chains of entries, who owns which block."""

from __future__ import annotations

import struct

import pytest

from imgwriter.verify.ext4.entries import chain
from imgwriter.verify.ext4.hashes import hash_names
from imgwriter.verify.ext4.htree import Interval
from imgwriter.verify.ext4.usage import Conflict, Usage

SEED = bytes.fromhex("11111111222243338444555555555556")
NAMES = [b"a", b"lost+found", b"x" * 40, "übung-日本".encode()]

# debugfs 1.47.0: dx_hash -h legacy|half_md4|tea -s 11111111-2222-4333-8444-555555555556 NAME, which takes
# the bytes as signed.
HASHES = {
    0: [0xE74B53E2, 0x5E2ABA24, 0x382D277E, 0x282130F0],
    1: [0xDE634BE8, 0x88165AE2, 0xBB3BBD06, 0xA274AB60],
    2: [0x98C5D754, 0x5B86FE54, 0xB89B5BF4, 0xF8B4E61C],
}


@pytest.mark.parametrize("version", HASHES)
def test_hashes_are_debugfs(version: int) -> None:
    assert hash_names(NAMES, version, SEED, signed=True) == HASHES[version]


@pytest.mark.parametrize("version", HASHES)
def test_unsigned_hashes_differ_only_beyond_ascii(version: int) -> None:
    unsigned = hash_names(NAMES, version, SEED, signed=False)
    assert unsigned[:3] == HASHES[version][:3]
    assert unsigned[3] != HASHES[version][3]
    # A version from 3 on says itself that it is unsigned.
    assert hash_names(NAMES, version + 3, SEED, signed=True) == unsigned


def test_an_odd_hash_lets_in_names_with_the_even_one_before() -> None:
    assert [n for n in range(0, 12, 2) if Interval(4, 8).has(n)] == [4, 6]
    assert [n for n in range(0, 12, 2) if Interval(5, 9).has(n)] == [4, 6, 8]


def entry(inode: int, rec_len: int, name: bytes) -> bytes:
    return (struct.pack("<IHBB", inode, rec_len, len(name), 1) + name).ljust(rec_len, b"\0")


def test_a_chain_that_covers_its_block() -> None:
    content = entry(5, 12, b"a") + entry(0, 16, b"gone") + entry(6, 36, b"last")
    found = chain(content, 64)
    assert [(e.name, e.inode, e.place, e.rec_len) for e in found.entries] == [
        (b"a", 5, 0, 12),
        (b"last", 6, 28, 36),
    ]
    assert found.fault is None


@pytest.mark.parametrize("rec_len", [0, 4, 8, 9, 13, 56, 65532])
def test_a_chain_that_breaks(rec_len: int) -> None:
    content = bytearray(entry(5, 12, b"a") + entry(6, 52, b"last"))
    struct.pack_into("<H", content, 16, rec_len)
    found = chain(bytes(content), 64)
    assert [e.name for e in found.entries] == [b"a"]
    assert found.fault is not None
    assert found.fault[0] == 12


@pytest.mark.parametrize(("length", "right"), [(4, True), (5, False)])
def test_a_name_ends_within_its_entry(length: int, right: bool) -> None:
    content = struct.pack("<IHBB", 5, 12, length, 1) + bytes(4)
    assert (chain(content, 12).fault is None) is right


def test_runs_of_several_owners() -> None:
    usage = Usage(first=1, ratio=1)
    assert usage.add(0, [(1, 5), (9, 10)]) == 5
    assert usage.add(12, [(5, 7)]) == 2
    usage.settle()
    assert usage.conflicts == []
    assert usage.used(0, 10) == 0b0100111111
    assert usage.used(5, 9) == 0b1001
    assert usage.used(20, 24) == 0


def test_a_block_of_two_owners_and_one_twice() -> None:
    usage = Usage(first=0, ratio=1)
    usage.add(3, [(10, 20), (19, 21)])
    usage.add(4, [(20, 30)])
    usage.add(5, [(30, 31)])
    usage.settle()
    assert usage.conflicts == [Conflict(19, 3, 3), Conflict(20, 4, 3)]
    assert usage.used(0, 32) == ((1 << 21) - 1) << 10


def test_clusters_are_counted_once_for_each_owner() -> None:
    usage = Usage(first=0, ratio=16)
    assert usage.add(3, [(0, 3), (5, 6), (15, 17)]) == 2
    assert usage.add(4, [(31, 32)]) == 1
    usage.settle()
    assert usage.conflicts == [Conflict(16, 4, 3)]
    assert usage.used(0, 4) == 0b0011
