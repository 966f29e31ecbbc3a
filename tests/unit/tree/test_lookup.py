"""Paths inside an image: its symlinks are followed, and never out of it."""

from __future__ import annotations

import pytest

from imgwriter.errors import SourceError
from imgwriter.tree.lookup import MAX_SYMLINKS, Lookup, split
from tests.unit.tree.graph import at, shape, tree

MERGED = {
    "bin": "usr/bin",
    "lib": "/usr/lib",
    "up": "../../../etc",
    "usr": {"bin": {"sh": "dash", "dash": b"dash"}, "lib": {"back": "../bin/../lib/so", "so": b"so"}},
    "etc": {"passwd": b"root", "abs": "/bin/sh"},
    "dangling": "nowhere/at/all",
    "self": "self",
    "ping": "pong",
    "pong": "ping",
}


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (b"bin/sh", "usr/bin/dash"),
        (b"lib/back", "usr/lib/so"),
        (b"up/passwd", "etc/passwd"),
        (b"etc/abs", "usr/bin/dash"),
        (b"/./usr//bin/../../../../etc/passwd", "etc/passwd"),
        (b"bin/..", "usr"),
    ],
)
def test_find(path, where):
    root = tree(MERGED)
    assert Lookup(root).find(path) is at(root, where)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"dangling", "leads to nothing at 'nowhere'"),
        (b"missing/x", "leads to nothing at 'missing'"),
        (b"self", "loop"),
        (b"ping/x", "loop"),
        (b"etc/passwd/x", "passes through a file"),
        (b"etc/passwd/..", "passes through a file"),
    ],
)
def test_leads_nowhere(path, why):
    with pytest.raises(SourceError, match=why):
        Lookup(tree(MERGED)).find(path)


@pytest.mark.parametrize("count", [MAX_SYMLINKS - 1, MAX_SYMLINKS, MAX_SYMLINKS + 1])
def test_forty_symlinks_are_no_loop(count):
    links = {str(i): str(i + 1) for i in range(count)}
    lookup = Lookup(tree({**links, str(count): b""}))
    if count <= MAX_SYMLINKS:
        assert lookup.find(b"0").target == b""
    else:
        with pytest.raises(SourceError, match="loop"):
            lookup.find(b"0")


def test_make_directories():
    root = tree(MERGED)
    made = Lookup(root).make_directories([b"bin", b"new", b"er"], "me")
    assert made is at(root, "usr/bin/new/er")
    assert (made.mode, made.implicit, made.origin) == (0o040755, True, "me")
    assert Lookup(root).make_directories([], "me") is root


@pytest.mark.parametrize("names", [[b"dangling"], [b"dangling", b"x"], [b"self", b"x"], [b"etc", b"passwd"]])
def test_nothing_is_made_where_it_cannot_be(names):
    root = tree(MERGED)
    before = shape(root)
    with pytest.raises(SourceError):
        Lookup(root).make_directories(names, "me")
    assert shape(root) == before


def test_split():
    assert split(b"//a/./b/") == [b"a", b"b"]
    assert split(b"/") == []
    for hostile in (b"a/../b", b"..", b"a\0b"):
        with pytest.raises(SourceError):
            split(hostile)
