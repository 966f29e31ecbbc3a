"""Rows and documents of ls."""

from __future__ import annotations

import base64
import json
import stat
from typing import Any

import pytest

from imgwriter.errors import SourceError
from imgwriter.examine.listing import Listing, document, json_lines, listings, text, time_text
from imgwriter.tree.inventory import Inode
from tests import trees
from tests.compat.ext4_images import ACL
from tests.unit.examine.images import browser, system


def listed(
    *paths: bytes, entries: dict[bytes, Inode] | None = None, long: bool = False, itself: bool = False,
    recursive: bool = False,
) -> list[Listing]:  # fmt: skip
    looked_into = browser(system() if entries is None else entries)
    return list(listings(looked_into, paths, long=long, itself=itself, recursive=recursive))


def names(listing: Listing) -> list[bytes]:
    return [entry.name for entry in listing.entries]


def test_files_first_then_each_directory() -> None:
    files, usr, etc = listed(b"usr", b"etc/passwd", b"/etc/", b"linked")
    assert (files.title, names(files)) == (None, [b"etc/passwd", b"linked"])
    assert (usr.title, names(usr)) == (b"usr", [b"bin"])
    assert (etc.title, names(etc)) == (b"/etc/", [b"editor", b"loop", b"mtab", b"passwd", b"up"])


def test_a_symlink_to_a_directory_is_followed_unless_details_are_asked_for() -> None:
    """As GNU ls does. Spec: POSIX.1-2017, ls, -l and -d."""
    assert [names(each) for each in listed(b"bin")] == [[b"nano", b"pico"]]
    assert [names(each) for each in listed(b"bin", long=True)] == [[b"bin"]]
    assert [names(each) for each in listed(b"bin/", long=True)] == [[b"nano", b"pico"]]
    assert [names(each) for each in listed(b"usr", b"bin", itself=True)] == [[b"usr", b"bin"]]


def test_recursion_goes_through_directories_alone() -> None:
    found = listed(b"/usr", recursive=True)
    assert [(each.title, names(each)) for each in found] == [
        (b"/usr", [b"bin"]),
        (b"/usr/bin", [b"nano", b"pico"]),
    ]
    assert [each.title for each in listed(b"/", recursive=True)] == [
        b"/", b"/etc", b"/lost+found", b"/many", b"/usr", b"/usr/bin",
    ]  # fmt: skip
    assert [each.entries[0].path for each in listed(b"bin", recursive=True)] == [b"usr/bin/nano"]


def test_the_order_is_that_of_bytes() -> None:
    entries = {name: trees.file() for name in ("é".encode(), b"Z", b"a", b"\xff", b".dot")}
    (only,) = listed(b"/", entries=entries)
    assert names(only) == [b".dot", b"Z", b"a", b"lost+found", "é".encode(), b"\xff"]


def details() -> dict[bytes, Inode]:
    linked = trees.file(b"content", 0o4755, uid=70_000, gid=5)
    return {
        b"a\n\xff": linked,
        b"b": linked,
        b"c": trees.device(stat.S_IFCHR, 4095, 255),
        b"d": trees.directory({b"x": trees.directory(), b"y": trees.directory()}, mode=0o1777),
        b"e": trees.symlink(b"to\x1b[31m"),
        b"f": trees.file(xattrs={b"system.posix_acl_access": ACL, b"user.\xff": b"\0"}),
        b"g": trees.zeros(10_000, ((4096, 8192),)),
    }


def test_rows() -> None:
    (only,) = listed(b"/", entries=details(), long=True)
    lines = text(Listing(b"/", [e for e in only.entries if e.name != b"lost+found"]), long=True, titled=True)
    time = "2023-11-14T22:13:20Z"
    assert lines == [
        "/:",
        rf"-rwsr-xr-x   2  70000  5          7  {time}  a\n\xff",
        f"-rwsr-xr-x   2  70000  5          7  {time}  b",
        f"crw-------   1      0  0  4095, 255  {time}  c",
        f"drwxrwxrwt   4      0  0       4096  {time}  d",
        rf"lrwxrwxrwx   1      0  0          7  {time}  e -> to\x1b[31m",
        f"-rw-r--r--+  1      0  0          0  {time}  f",
        f"-rw-r--r--   1      0  0      10000  {time}  g",
    ]
    assert text(only, long=False, titled=False)[:2] == [r"a\n\xff", "b"]


def test_no_two_names_look_alike() -> None:
    """Escapes of C, of bytes: GNU ls -b writes a backslash as two, too."""
    shown = {
        b"a\nb": r"a\nb",
        rb"a\nb": r"a\\nb",
        b"\t\r": r"\t\r",
        b"\x85": r"\x85",
        b"\xc2\x85": r"\xc2\x85",  # U+0085, a control character
        rb"\x85": r"\\x85",
        b"\x1b[2J": r"\x1b[2J",
        b"\xe2\x80\xae": r"\xe2\x80\xae",  # U+202E turns what follows from right to left
        "é".encode(): "é",
    }
    entries = {b"d": trees.directory({name: trees.symlink(name) for name in shown})}
    (only,) = listed(b"/d", entries=entries)
    assert text(only, long=False, titled=False) == [shown[name] for name in sorted(shown)]
    rows = text(only, long=True, titled=False)
    assert [row.partition("Z  ")[2] for row in rows] == [f"{shown[n]} -> {shown[n]}" for n in sorted(shown)]
    assert text(Listing(b"/", []), long=True, titled=False) == []


def documents() -> dict[str, dict[str, Any]]:
    (only,) = listed(b"/", entries=details(), long=True)
    lines = [json.loads(line) for line in json_lines(only)]
    return {line["path"]: line for line in lines}


def test_documents() -> None:
    found = documents()
    odd = found["/a\n�"]
    assert base64.b64decode(odd["path_base64"]) == b"/a\n\xff"
    assert (odd["mode"], odd["uid"], odd["gid"], odd["links"], odd["size"]) == ("4755", 70_000, 5, 2, 7)
    assert (odd["type"], odd["mtime"], odd["mtime_ns"]) == ("file", "2023-11-14T22:13:20Z", trees.MTIME)
    assert odd["inode"] == found["/b"]["inode"] and "path_base64" not in found["/b"]
    assert (found["/c"]["type"], found["/c"]["device"]) == ("character device", [4095, 255])
    assert (found["/d"]["type"], found["/d"]["links"], found["/d"]["mode"]) == ("directory", 4, "1777")
    assert (found["/e"]["type"], found["/e"]["target"]) == ("symlink", "to\x1b[31m")
    assert found["/f"]["xattrs"] == {
        "system.posix_acl_access": base64.b64encode(ACL).decode(),
        r"user.\xff": "AA==",
    }
    assert (found["/g"]["runs"], found["/b"]["runs"]) == ([[4096, 8192]], None)


def test_a_document_has_a_form_for_every_kind() -> None:
    entries = {}
    for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK):
        entries[b"%d" % kind] = trees.device(kind, 0, 0)
    (only,) = listed(b"/", entries=entries)
    assert {document(entry)["type"] for entry in only.entries} == {
        "fifo",
        "socket",
        "block device",
        "directory",
    }


def test_times() -> None:
    assert [time_text(seconds) for seconds in (-1, 0, 2**32, 253_402_300_799, 253_402_300_800, 1 << 62)] == [
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00Z",
        "2106-02-07T06:28:16Z",
        "9999-12-31T23:59:59Z",
        "@253402300800",
        f"@{1 << 62}",
    ]


def test_a_path_that_is_not_there_is_refused_before_anything_is_listed() -> None:
    with pytest.raises(SourceError, match="has no 'nothing'"):
        next(iter(listings(browser(system()), [b"/", b"nothing"], long=False, itself=False, recursive=False)))
