"""Files are found as the kernel would find them with the image's root as /."""

from __future__ import annotations

import pytest

from imgwriter import fat
from imgwriter.errors import FormatError, SourceError
from imgwriter.examine.browse import Browser
from imgwriter.fat.reader import read_file_system
from imgwriter.tree.inventory import Inode
from tests import trees
from tests.unit.examine.images import browser, system
from tests.unit.ext4 import images
from tests.unit.fat.trees import inventory


@pytest.fixture(scope="module")
def system_browser() -> Browser:
    return browser(system())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"", b""),
        (b"/", b""),
        (b"//", b""),
        (b".", b""),
        (b"..", b""),
        (b"/../..", b""),
        (b"etc/passwd", b"etc/passwd"),
        (b"/etc//./passwd", b"etc/passwd"),
        (b"etc/../etc/passwd", b"etc/passwd"),
        (b"bin", b"usr/bin"),
        (b"bin/", b"usr/bin"),
        (b"bin/.", b"usr/bin"),
        (b"bin/..", b"usr"),
        (b"bin/nano", b"usr/bin/nano"),
        (b"etc/editor", b"usr/bin/nano"),
        (b"etc/up", b""),
        (b"etc/up/etc/passwd", b"etc/passwd"),
        (b"many/40", b"many/0"),
    ],
)
def test_paths(system_browser: Browser, path: bytes, expected: bytes) -> None:
    """Spec: path_resolution(7); absolute symlinks begin at the image's root."""
    found = system_browser.find(path)
    assert found.path == expected
    assert len(found.inodes) == len(found.names) + 1


def test_the_last_symlink_is_followed_where_asked_for(system_browser: Browser) -> None:
    assert system_browser.find(b"/bin", follow=False).path == b"bin"
    assert system_browser.find(b"/bin/", follow=False).path == b"usr/bin"
    assert system_browser.find(b"/bin/nano", follow=False).path == b"usr/bin/nano"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (b"/etc/shadow", "/etc has no 'shadow'"),
        (b"/etc/passwd/", "/etc/passwd is no directory"),
        (b"/etc/passwd/x", "/etc/passwd is no directory"),
        (b"/etc/passwd/..", "/etc/passwd is no directory"),
        (b"/etc/passwd/.", "/etc/passwd is no directory"),
        (b"/etc/mtab", "/ has no 'proc'"),
        (b"/etc/loop", "more than 40 symlinks"),
        (b"/many/41", "more than 40 symlinks"),
        (b"\xff\n", r"\xff\n does not exist"),
    ],
)
def test_what_is_not_there(system_browser: Browser, path: bytes, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        system_browser.find(path)
    assert words in str(caught.value) and "imgwriter ls" in str(caught.value)


def test_damage_elsewhere_does_not_matter() -> None:
    """The block of a directory that no path leads through is not read."""
    content = images.of(
        {b"a": trees.directory({b"f": trees.file(b"x")}), b"b": trees.directory({b"gg": trees.file()})}
    )
    at = content.index(b"gg\0\0")
    content[at - 4 : at - 2] = b"\x03\0"  # rec_len
    looked_into = Browser(images.opened(content), "it")
    assert looked_into.find(b"/a/f").inode.size == 1
    with pytest.raises(FormatError, match="rec_len"):
        looked_into.find(b"/b/gg")
    with pytest.raises(FormatError, match="rec_len"):
        images.root(content)


def test_contents_come_when_they_are_settled() -> None:
    looked_into = browser({b"a": trees.file(b"x" * 9000), b"d": trees.directory({b"b": trees.file(b"y")})})
    first = looked_into.find(b"a").inode
    assert not data_of(first)
    looked_into.settle()
    second = looked_into.find(b"d/b").inode
    assert (data_of(first), data_of(second)) == (b"x" * 9000, b"")
    looked_into.settle()
    assert (data_of(first), data_of(second)) == (b"x" * 9000, b"y")


def data_of(inode: Inode) -> bytes:
    return b"" if inode.data is None else b"".join(inode.data.chunks(0, inode.size))


def test_all_directories_below_one() -> None:
    looked_into = browser(system())
    looked_into.expand(looked_into.root)
    usr = (looked_into.root.entries or {})[b"usr"]
    assert (usr.entries or {})[b"bin"].entries is not None
    assert (usr.entries or {})[b"bin"].entries != {}


def test_fat() -> None:
    tree = inventory({b"Dir": {b"long name.txt": b"hello"}})
    wanted = fat.plan(tree, fat.Parameters(fat_type=12), 4 << 20, "it")
    looked_into = Browser(read_file_system(wanted.volume()), "it")
    looked_into.settle()
    assert looked_into.find(b"Dir/long name.txt").inode.size == 5
    assert looked_into.find(b"/dIR/LONG NAME.TXT").path == b"Dir/long name.txt"
    with pytest.raises(SourceError, match="/Dir has no 'long'"):
        looked_into.find(b"dir/long")


def test_names_of_ext4_are_bytes(system_browser: Browser) -> None:
    with pytest.raises(SourceError, match="has no 'ETC'"):
        system_browser.find(b"/ETC")
