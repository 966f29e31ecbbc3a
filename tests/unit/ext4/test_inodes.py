"""Inode records against the specification and against inodes that mke2fs 1.47.0 wrote."""

from __future__ import annotations

import stat
import struct

import pytest

from imgwriter.ext4 import plan
from imgwriter.ext4.format import INODE_SIZE
from imgwriter.tree.inventory import Inode
from imgwriter.units import MiB
from tests import trees
from tests.unit.ext4.support import parameters


def _record(inode: Inode, **more: object) -> bytes:
    """Return the 256 bytes of the only file of a tree, inode 12."""
    made = plan(trees.inventory({b"f": inode}), parameters(**more), 64 * MiB)
    table = made.geometry.tables.inode_tables[0] * made.block_size
    return made.volume().read(table + 11 * INODE_SIZE, INODE_SIZE)


# Spec: inodes.rst, "Inode Timestamps": the table of (extra epoch bits, msb of 32-bit time) and ranges.
@pytest.mark.parametrize(
    ("seconds", "low", "epoch"),
    [
        (-0x80000000, 0x80000000, 0),
        (-1, 0xFFFFFFFF, 0),
        (0, 0, 0),
        (0x7FFFFFFF, 0x7FFFFFFF, 0),
        (0x80000000, 0x80000000, 1),
        (0xFFFFFFFF, 0xFFFFFFFF, 1),
        (0x100000000, 0, 1),
        (0x17FFFFFFF, 0x7FFFFFFF, 1),
        (0x180000000, 0x80000000, 2),
        (0x27FFFFFFF, 0x7FFFFFFF, 2),
        (0x280000000, 0x80000000, 3),
        (0x37FFFFFFF, 0x7FFFFFFF, 3),
    ],
)
def test_times(seconds: int, low: int, epoch: int) -> None:
    record = _record(trees.file(mtime_ns=seconds * 10**9 + 123_456_789))
    extra = 123_456_789 << 2 | epoch
    atime, ctime, mtime = struct.unpack_from("<III", record, 0x8)
    assert (atime, ctime, mtime) == (low, low, low)
    # i_ctime_extra, i_mtime_extra, i_atime_extra, i_crtime, i_crtime_extra
    assert struct.unpack_from("<5I", record, 0x84) == (extra, extra, extra, low, extra)


# Spec: include/linux/kdev_t.h: old form below 256:256 in the first word, else new form in the second.
@pytest.mark.parametrize(
    ("major", "minor", "words"),
    [
        (1, 3, (0x0103, 0)),
        (255, 255, (0xFFFF, 0)),
        (256, 0, (0, 0x10000)),
        (8, 256, (0, 0x100800)),
        (4095, 0xFFFFF, (0, 0xFFFFFFFF)),
    ],
)
def test_devices(major: int, minor: int, words: tuple[int, int]) -> None:
    record = _record(trees.device(stat.S_IFBLK, major, minor))
    assert struct.unpack_from("<II", record, 0x28) == words
    assert struct.unpack_from("<I", record, 0x20) == (0,), "no extents"


def test_mode_owner_links() -> None:
    record = _record(trees.file(b"x", 0o7755, uid=0x12345678, gid=0x9ABCDEF0))
    assert struct.unpack_from("<HH", record, 0) == (0o107755, 0x5678)
    assert struct.unpack_from("<HH", record, 0x18) == (0xDEF0, 1)
    assert struct.unpack_from("<HH", record, 0x78) == (0x1234, 0x9ABC)


def test_fast_symlink() -> None:
    record = _record(trees.symlink(b"t" * 59))
    assert record[0x28 : 0x28 + 60] == b"t" * 59 + b"\0"
    assert struct.unpack_from("<I", record, 4) == (59,)
    assert struct.unpack_from("<I", record, 0x1C) == (0,)


def test_size_and_sectors() -> None:
    hole = ((0, 1),)
    record = _record(trees.zeros((5 << 32) + 7, hole))
    assert struct.unpack_from("<I", record, 4) == (7,)
    assert struct.unpack_from("<I", record, 0x6C) == (5,)
    assert struct.unpack_from("<I", record, 0x1C) == (8,), "one block of eight sectors"


def test_checksum() -> None:
    # Spec: checksums.rst: crc32c of UUID, inode number, generation and the inode, checksum at zero.
    crcmod = pytest.importorskip("crcmod")
    crc = crcmod.mkCrcFun(0x11EDC6F41, initCrc=0xFFFFFFFF, rev=True, xorOut=0)
    record = bytearray(_record(trees.file(b"x")))
    (low,), (high,) = struct.unpack_from("<H", record, 0x7C), struct.unpack_from("<H", record, 0x82)
    record[0x7C:0x7E] = record[0x82:0x84] = b"\0\0"
    whole = parameters().uuid + struct.pack("<II", 12, 0) + bytes(record)
    assert crc(whole) == high << 16 | low


def test_without_checksums_the_fields_are_zero() -> None:
    record = _record(trees.file(b"x"), features="^metadata_csum")
    assert struct.unpack_from("<H", record, 0x7C) == struct.unpack_from("<H", record, 0x82) == (0,)


# debugfs inode_dump of what `mke2fs -t ext4 -b 4096` 1.47.0 made on 1000 MiB, UUID as in support.py.
RESIZE_INODE = (
    "8081000000c04000010000000100000001000000000000000000010068130000"
    "0000000000000000" + "00" * 52 + "33100000" + "00" * 8 + "00000000" * 2 + "01000000"
)


def test_resize_inode_equals_mke2fs() -> None:
    made = plan(trees.inventory(), parameters(), 1000 * MiB)
    volume = made.volume()
    table = made.geometry.tables.inode_tables[0] * 4096
    record = volume.read(table + 6 * INODE_SIZE, INODE_SIZE)
    theirs = bytes.fromhex(RESIZE_INODE)
    assert record[:0x28] == theirs[:0x28]
    assert record[0x28 : 0x28 + 52] == bytes(52)
    assert struct.unpack_from("<I", record, 0x6C) == (1,)
    (block,) = struct.unpack_from("<I", record, 0x28 + 13 * 4)
    # debugfs stat <7>: (DIND):4147, (IND):2, (2060):32770, (2061):98306, ... the last (IND):125
    pointers = struct.unpack("<1024I", volume.read(block * 4096, 4096))
    assert pointers == (0, *range(2, 126), *[0] * 899)
    copies = struct.unpack("<1024I", volume.read(2 * 4096, 4096))
    assert copies == (32770, 98306, 163842, 229378, *[0] * 1020)
