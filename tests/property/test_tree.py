"""Random trees in random layers, against a model that is a flat table of paths."""

from __future__ import annotations

import os
import stat
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import SourceError
from imgwriter.extent import Bytes
from imgwriter.tree import directory
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.holes import BLOCK, detect
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.layers import merge
from imgwriter.tree.lookup import Lookup, made_directory
from imgwriter.tree.rules import SourceRules
from tests.unit.tree.graph import content, tree

pytestmark = pytest.mark.property

names = st.sampled_from("abcd")
any_names = st.text(
    st.characters(blacklist_characters="/\0", max_codepoint=255), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
targets = st.lists(st.sampled_from(["a", "b", "c", "..", ".", "", "a/b"]), min_size=1, max_size=3).map(
    "/".join
)
shapes = st.dictionaries(
    names,
    st.recursive(
        st.binary(max_size=3) | targets.filter(bool),
        lambda inner: st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
plain_shapes = st.dictionaries(
    names,
    st.recursive(
        st.binary(max_size=3), lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=8
    ),
    max_size=4,
)


def table(shape, prefix: str = "") -> dict[str, object]:
    """Return path -> content; a directory is None."""
    result: dict[str, object] = {}
    for name, each in shape.items():
        result[prefix + name] = None if isinstance(each, dict) else each
        if isinstance(each, dict):
            result |= table(each, prefix + name + "/")
    return result


def inventory_table(inventory: Inventory) -> dict[str, object]:
    return {
        path.decode(): None if inode.entries is not None else content(inode)
        for path, inode in inventory.walk()
        if path
    }


@given(st.lists(plain_shapes, min_size=1, max_size=4))
def test_layers_without_symlinks_are_the_union_of_their_tables(layers):
    """Without symlinks, layers are dict.update of path tables, and an error where a kind changes."""
    expected: dict[str, object] = {}
    conflict = False
    for layer in map(table, layers):
        conflict |= any(
            path in expected and (expected[path] is None) != (layer[path] is None) for path in layer
        )
        expected |= layer
    root = made_directory("the image")
    try:
        for layer in layers:
            merge(root, tree(layer))
    except SourceError:
        assert conflict
        return
    assert not conflict
    assert inventory_table(Inventory(root)) == expected


def resolve(paths: dict[str, object], path: str, depth: int = 0) -> str | None:
    """Return where a path leads in a table: the model of Lookup.find, written the other way round."""
    if depth > 12:
        return None
    here: list[str] = []
    todo = path.split("/")
    for position, name in enumerate(todo):
        where = "/".join(here)
        if where and paths.get(where, b"") is not None:
            return None
        if name in ("", "."):
            continue
        if name == "..":
            here = here[:-1]
            continue
        child = "/".join([*here, name])
        if child not in paths:
            return None
        if isinstance(paths[child], str):
            target = str(paths[child])
            base = [] if target.startswith("/") else here
            rest = "/".join([*base, target, *todo[position + 1 :]])
            return resolve(paths, rest, depth + 1)
        here.append(name)
    return "/".join(here)


@given(shapes, targets)
def test_lookup_follows_as_a_model_does(shape, path):
    root = tree(shape)
    inventory = Inventory(root)
    expected = resolve(table(shape), path)
    try:
        found = Lookup(root).find(path.encode())
    except SourceError:
        assert expected is None
    else:
        assert expected is not None
        assert found.path == expected.encode()
        assert found in inventory.inodes


@given(shapes, shapes)
def test_merging_symlinks_ends_and_keeps_every_upper_file(lower, upper):
    """Whatever the symlinks, merging ends in an error or in a tree with no directory in two places."""
    root, layer = tree(lower), tree(upper)
    files = [inode for inode in Inventory(tree(upper)).inodes if inode.entries is None]
    try:
        merge(root, layer)
    except SourceError as error:
        assert error.path
        return
    inventory = Inventory(root)
    assert len({id(inode) for inode in inventory.directories}) == len(inventory.directories)
    present = [
        (inode.mode, inode.target, content(inode)) for inode in inventory.inodes if inode.entries is None
    ]
    kept = [(inode.mode, inode.target, content(inode)) for inode in files]
    # Two upper names may meet where a symlink leads; then the one behind the symlink wins.
    assert set(present) <= set(kept) | {
        (i.mode, i.target, content(i)) for i in Inventory(tree(lower)).inodes if i.entries is None
    }
    if not any(isinstance(each, str) for each in table(lower).values()):
        assert set(kept) <= set(present)


@given(
    st.dictionaries(
        any_names, st.binary(max_size=3) | st.dictionaries(any_names, st.binary(max_size=3)), max_size=6
    )
)
def test_a_directory_is_read_as_it_was_made(shape):
    with tempfile.TemporaryDirectory() as top:
        for path, data in table(shape).items():
            # Latin-1: every byte is a character, so that names of any bytes are tried.
            place = os.path.join(top.encode(), path.encode("latin-1"))
            if data is None:
                os.mkdir(place)
            else:
                with open(place, "wb") as file:
                    file.write(data)
        root = directory.read(top.encode(), SourceRules())
        inventory = Inventory(root)
        found = {
            path.decode("latin-1"): None if inode.entries is not None else content(inode)
            for path, inode in inventory.walk()
            if path
        }
    assert found == table(shape)
    for each in inventory.directories:
        assert list(each.entries or ()) == sorted(each.entries or ())


@given(
    st.lists(st.sampled_from([bytes(BLOCK), b"x" * BLOCK, bytes(BLOCK - 1) + b"x"])), st.binary(max_size=9)
)
def test_detect_is_exactly_the_zero_blocks(blocks, tail):
    data = b"".join(blocks) + tail
    runs = detect(Bytes(data))
    covered = set()
    for low, high in ((0, len(data)),) if runs is None else runs:
        assert low < high or not data
        covered |= set(range(low, high))
    for start in range(0, len(data), BLOCK):
        block = data[start : start + BLOCK]
        assert (start in covered) == any(block)
        assert (start + len(block) - 1 in covered) == any(block)


@given(shapes, st.sampled_from([b"a", b"/a", b"b/", b"a/b", b"**/c", b"*", b"a/**/c"]))
def test_what_is_beneath_an_excluded_directory_is_excluded(shape, pattern):
    exclusion = Exclusion([pattern])
    for path, inode in Inventory(tree(shape)).walk():
        if exclusion.matches(path, inode.entries is not None) and inode.entries:
            for name, child in inode.entries.items():
                assert exclusion.matches(path + b"/" + name, child.entries is not None)


@given(st.lists(st.tuples(names, names), min_size=1, max_size=6))
def test_hard_links_are_counted_once_for_each_name(places):
    file = Inode(stat.S_IFREG | 0o644, size=1, data=Bytes(b"x"))
    shape: dict[str, dict[str, Inode]] = {}
    for first, second in places:
        shape.setdefault(first, {})[second] = file
    inventory = Inventory(tree(shape))
    assert file.nlink == len(set(places))
    assert inventory.inodes.count(file) == 1
    assert inventory.size == 1
