"""bsdtar reads our cpio archives, and complains of damaged ones. The kernel: tests/guest/test_vm.py."""

from __future__ import annotations

import pytest

from imgwriter.guest.cpio import archive, character_device, directory, file, symlink
from tests.oracles.tools import attempt, run

pytestmark = pytest.mark.compat

MEMBERS = [
    directory(b"dev"),
    character_device(b"dev/console", 5, 1),
    directory(b"d", 0o1777),
    file(b"d/empty", b""),
    file(b"d/odd", b"12345", 0o755),
    file(b"d/even", b"1234"),
    file(b"d/" + b"n" * 255, b"x" * 100_000),
    file("d/übung".encode(), b"name"),
    symlink(b"d/link", b"../dev/console"),
]


def test_bsdtar_lists_every_entry(tmp_path):
    image = tmp_path / "a.cpio"
    image.write_bytes(archive(MEMBERS, 1577836800))
    lines = [line.split() for line in run("bsdtar", "-tvf", image, "--numeric-owner").splitlines()]
    names = [line[-1] if line[0][0] != "l" else line[-3] for line in lines]
    assert len(names) == len(MEMBERS) and {"dev/console", "d/empty", "d/" + "n" * 255} <= set(names)
    by_name = dict(zip(names, lines, strict=True))
    assert by_name["dev/console"][0] == "crw-------" and by_name["dev/console"][4] == "5,1"
    assert by_name["d"][0] == "drwxrwxrwt" and by_name["d/odd"][0] == "-rwxr-xr-x"
    assert by_name["d/odd"][2:5] == ["0", "0", "5"] and by_name["d/link"][-1] == "../dev/console"
    assert all("2020" in line for line in lines)


def test_bsdtar_gives_the_contents_back(tmp_path):
    image = tmp_path / "a.cpio"
    image.write_bytes(archive(MEMBERS, 0))
    for name, content in (("d/odd", "12345"), ("d/even", "1234"), ("d/" + "n" * 255, "x" * 100_000)):
        assert run("bsdtar", "-xOf", image, name) == content
    assert run("bsdtar", "-tf", image, stdin=b"").count("\n") == len(MEMBERS)


def test_bsdtar_objects_to_a_damaged_archive(tmp_path):
    whole = archive(MEMBERS, 0)
    image = tmp_path / "a.cpio"
    for damaged in (whole[:-200], b"x" + whole[1:], whole.replace(b"070701", b"07070x", 3)):
        image.write_bytes(damaged)
        assert attempt("bsdtar", "-tf", image).status != 0
