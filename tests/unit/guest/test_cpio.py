"""newc archives, byte by byte from the kernel's description of the format."""

from __future__ import annotations

import stat

import pytest

from imgwriter.errors import PlanInvariantError
from imgwriter.guest.cpio import Member, archive, character_device, directory, file, symlink

# Documentation/driver-api/early-userspace/buffer-format.rst: magic, then ino mode uid gid nlink mtime
# filesize maj min rmaj rmin namesize chksum, eight digits each; name and content are padded to four bytes.
EXPECTED = (
    b"070701" b"00000001" b"000041ed" b"00000000" b"00000000" b"00000002" b"00000009" b"00000000"
    b"00000000" b"00000000" b"00000000" b"00000000" b"00000004" b"00000000" b"dev\0" b"\0\0"
    b"070701" b"00000002" b"00002180" b"00000000" b"00000000" b"00000001" b"00000009" b"00000000"
    b"00000000" b"00000000" b"00000005" b"00000001" b"0000000c" b"00000000" b"dev/console\0" b"\0\0"
    b"070701" b"00000003" b"000081a4" b"00000000" b"00000000" b"00000001" b"00000009" b"00000005"
    b"00000000" b"00000000" b"00000000" b"00000000" b"00000005" b"00000000" b"file\0" b"\0"
    b"hello" b"\0\0\0"
    b"070701" b"00000004" b"0000a1ff" b"00000000" b"00000000" b"00000001" b"00000009" b"00000004"
    b"00000000" b"00000000" b"00000000" b"00000000" b"00000005" b"00000000" b"link\0" b"\0"
    b"file"
    b"070701" b"00000000" b"00000000" b"00000000" b"00000000" b"00000001" b"00000000" b"00000000"
    b"00000000" b"00000000" b"00000000" b"00000000" b"0000000b" b"00000000" b"TRAILER!!!\0" b"\0\0\0"
)  # fmt: skip
MEMBERS = [
    symlink(b"link", b"file"),
    file(b"file", b"hello"),
    character_device(b"dev/console", 5, 1),
    directory(b"dev"),
]


def test_bytes():
    assert archive(MEMBERS, mtime=9) == EXPECTED


def test_the_order_of_members_does_not_show():
    assert archive(reversed(MEMBERS), mtime=9) == EXPECTED


@pytest.mark.parametrize(
    ("mtime", "field"),
    [
        (-1, 0),
        (0, 0),
        (1, 1),
        (0xFFFFFFFE, 0xFFFFFFFE),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (1 << 32, 0xFFFFFFFF),
    ],
)
def test_times_that_no_field_holds_come_to_the_nearest(mtime, field):
    assert archive([directory(b"d")], mtime)[46:54] == b"%08x" % field


@pytest.mark.parametrize("length", range(9))
def test_names_and_contents_are_padded(length):
    name, content = b"n" * (length + 1), b"c" * length
    made = archive([file(name, content)])
    assert len(made) % 4 == 0
    start = made.index(b"c") if length else None
    assert start is None or (start % 4 == 0 and made[start : start + length] == content)
    assert made.index(b"070701", 6) % 4 == 0


@pytest.mark.parametrize(
    "name", [b"", b"/", b"/abs", b"a/", b"a//b", b"a/./b", b"a/../b", b"..", b".", b"nul\0", b"TRAILER!!!"]
)
def test_names_that_are_none(name):
    with pytest.raises(PlanInvariantError):
        archive([directory(b"a"), Member(name, stat.S_IFREG | 0o644)])


def test_a_name_is_there_once():
    with pytest.raises(PlanInvariantError, match="twice"):
        archive([file(b"a", b"1"), file(b"a", b"2")])


def test_a_directory_is_among_the_members():
    with pytest.raises(PlanInvariantError, match="in no directory"):
        archive([file(b"a/b", b"")])
    with pytest.raises(PlanInvariantError, match="in no directory"):
        archive([file(b"a", b""), file(b"a/b", b"")])
