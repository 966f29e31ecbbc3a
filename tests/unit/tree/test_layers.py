"""Trees over each other."""

from __future__ import annotations

import itertools
import re
import stat

import pytest

from imgwriter.errors import SourceError
from imgwriter.tree.inventory import Inode
from imgwriter.tree.layers import merge
from tests.unit.tree.graph import at, shape, tree


def merged(*shapes):
    root, *layers = (tree(each, f"layer {number}") for number, each in enumerate(shapes))
    for layer in layers:
        merge(root, layer)
    return root


def test_files_are_replaced_and_directories_merged():
    root = merged(
        {"a": b"1", "d": {"x": b"1", "y": b"1"}, "s": "old"},
        {"a": b"2", "d": {"y": b"2", "z": b"2"}, "s": "new", "e": {}},
    )
    assert shape(root) == {"a": b"2", "d": {"x": b"1", "y": b"2", "z": b"2"}, "s": "new", "e": {}}


KINDS = {
    "file": b"",
    "directory": {},
    "symlink": "x",
    "character device": Inode(stat.S_IFCHR, origin="{}"),
    "block device": Inode(stat.S_IFBLK, origin="{}"),
    "FIFO": Inode(stat.S_IFIFO, origin="{}"),
    "socket": Inode(stat.S_IFSOCK, origin="{}"),
}


@pytest.mark.parametrize(("below", "above"), list(itertools.product(KINDS, KINDS)))
def test_only_like_replaces_like(below, above):
    layers = {"d": {"n": KINDS[below]}}, {"d": {"n": KINDS[above]}}
    if below == above:
        assert shape(merged(*layers)) == layers[1]
    elif (below, above) == ("symlink", "directory"):
        with pytest.raises(
            SourceError, match="layer 1 has a directory over a symlink, and d/n leads to nothing"
        ):
            merged(*layers)
    else:
        with pytest.raises(SourceError, match=re.escape(f"d/n is a {below} in ")) as caught:
            merged(*layers)
        assert f"and a {above} in " in str(caught.value)
        assert caught.value.path == b"d/n"


def test_an_error_names_both_layers():
    with pytest.raises(SourceError, match="a is a file in layer 0 and a directory in layer 1; "):
        merged({"a": b""}, {"a": {}})


def test_metadata_of_described_directories_only():
    root = tree({"d": {}, "e": {}})
    described, implicit = tree({"d": {}}), tree({"e": {}}, implicit=True)
    for layer, name in ((described, "d"), (implicit, "e")):
        upper = at(layer, name)
        upper.mode, upper.uid, upper.mtime_ns, upper.xattrs = stat.S_IFDIR | 0o700, 5, 6, {b"user.a": b""}
    merge(root, described)
    merge(root, implicit)
    assert (at(root, "d").mode, at(root, "d").uid, at(root, "d").mtime_ns) == (stat.S_IFDIR | 0o700, 5, 6)
    assert at(root, "d").xattrs == {b"user.a": b""}
    assert (at(root, "e").mode, at(root, "e").uid) == (stat.S_IFDIR | 0o755, 0)


def test_the_root_takes_the_last_top_that_was_described():
    root = tree({}, implicit=True)
    tops = [tree({"a": b""}), tree({"b": b""}), tree({"c": b""}, implicit=True)]
    for number, top in enumerate(tops):
        top.uid = number
        merge(root, top)
    assert (root.uid, root.implicit) == (1, False)
    assert shape(root) == {"a": b"", "b": b"", "c": b""}


def test_a_directory_over_a_symlink_goes_where_it_leads():
    root = merged(
        {"bin": "usr/bin", "usr": {"bin": {"sh": b"old", "ls": b""}, "lib": {}}, "lib": "/usr/lib"},
        {"bin": {"sh": b"new", "sub": {"x": b""}}, "lib": {"so": b""}},
    )
    assert shape(root) == {
        "bin": "usr/bin",
        "lib": "/usr/lib",
        "usr": {"bin": {"sh": b"new", "ls": b"", "sub": {"x": b""}}, "lib": {"so": b""}},
    }


def test_the_directory_led_to_keeps_its_metadata():
    upper = tree({"bin": {}})
    at(upper, "bin").uid = 5
    root = tree({"bin": "usr", "usr": {}})
    merge(root, upper)
    assert at(root, "usr").uid == 0


def test_the_layer_may_bring_the_directory_led_to():
    root = merged({"bin": "usr/bin"}, {"bin": {"sh": b""}, "usr": {"bin": {"ls": b""}}})
    assert shape(root) == {"bin": "usr/bin", "usr": {"bin": {"sh": b"", "ls": b""}}}


def test_symlinks_behind_symlinks():
    root = merged(
        {"a": "b", "b": "c", "c": {"d": "/e"}, "e": {}},
        {"a": {"d": {"x": b""}}},
    )
    assert shape(root) == {"a": "b", "b": "c", "c": {"d": "/e"}, "e": {"x": b""}}


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("a", "loop"),
        ("b", "loop"),
        ("f", "a is a file in layer 0"),
        ("../../etc", "leads to nothing at 'etc'"),
    ],
)
def test_symlinks_to_no_directory(target, why):
    with pytest.raises(SourceError, match=why):
        merged({"a": target, "b": "a", "f": b""}, {"a": {"x": b""}})


def test_a_symlink_out_of_the_image_stays_inside():
    root = merged({"a": "../../../d", "d": {}}, {"a": {"x": b""}})
    assert shape(root)["d"] == {"x": b""}


def test_hard_links_survive_and_a_replaced_name_leaves_them():
    shared, other = tree(b"shared"), tree(b"upper")
    root = merged(
        {"a": shared, "d": {"b": shared, "c": shared}}, {"d": {"b": b"new"}, "x": other, "y": other}
    )
    assert at(root, "a") is at(root, "d/c")
    assert shape(root)["d"]["b"] == b"new"
    assert at(root, "x") is at(root, "y")
