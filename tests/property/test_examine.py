"""Laws of looking into images: what goes in comes out, and an image can do no more than be refused."""

from __future__ import annotations

import io
import json
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import FormatError, SourceError
from imgwriter.examine import file_systems
from imgwriter.examine.archive import archive
from imgwriter.examine.browse import Browser
from imgwriter.examine.listing import json_lines, listings, text
from imgwriter.examine.selection import select
from imgwriter.examine.unpack import unpack
from imgwriter.ext4 import minimum_size, plan
from imgwriter.tree import tarball
from imgwriter.tree.inventory import Inventory
from imgwriter.tree.rules import SourceRules
from imgwriter.tree.xattrs import XattrPolicy
from tests import trees
from tests.compat.ext4_images import everything
from tests.oracles import inodes
from tests.oracles.snapshot import Snapshot, difference
from tests.property.test_ext4 import inventories
from tests.unit.ext4 import images
from tests.unit.ext4.support import parameters

pytestmark = pytest.mark.property


def without_sockets(snapshot: Snapshot) -> Snapshot:
    return {path: entry for path, entry in snapshot.items() if not stat.S_ISSOCK(entry.mode)}


@given(inventories())
def test_a_tar_has_the_tree(tree: Inventory) -> None:
    expected = without_sockets(inodes.of_tree(tree.root))
    volume = archive(tree).volume
    assert volume.size % 10_240 == 0
    rules = SourceRules(xattrs=XattrPolicy.parse("all"))
    root = tarball.read(io.BytesIO(volume.read(0, volume.size)), rules)
    assert difference(expected, inodes.of_tree(Inventory(root).root)) == []


@given(inventories())
def test_a_tar_of_an_image_is_the_tar_of_its_tree(tree: Inventory) -> None:
    """But for holes smaller than a block, and lost+found: so the contents are compared."""
    wanted = parameters()
    volume = plan(tree, wanted, minimum_size(tree, wanted)).volume()
    browser = Browser(images.opened(volume.read(0, volume.size)), "it")
    found = inodes.of_tree(select(browser).root)
    del found[b"lost+found"]
    assert difference(inodes.of_tree(tree.root), found) == []
    for path, entry in inodes.of_tree(tree.root).items():
        assert browser.find(b"/" + path, follow=False).inode.mode == entry.mode


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name and b"\0" not in name)
PATHS = st.lists(st.sampled_from([b"a", b"b", b"..", b".", b"", b"up", b"abs"]), max_size=8).map(b"/".join)


LINKED = images.of(
    {
        b"a": trees.directory(
            {b"b": trees.directory({b"up": trees.symlink(b"../..")}), b"abs": trees.symlink(b"/a")}
        ),
        b"b": trees.file(b"x"),
    }
)


@given(PATHS)
def test_every_path_ends_inside(path: bytes) -> None:
    """What the kernel makes of it with the image's root as its own is the model."""
    browser = Browser(images.opened(LINKED), "it")
    found: bytes | None
    try:
        found = browser.find(path).path
    except SourceError:
        found = None
    assert found == model(
        path, {b"": "d", b"a": "d", b"b": "f", b"a/b": "d"}, {b"a/b/up": b"../..", b"a/abs": b"/a"}
    )


def model(path: bytes, kinds: dict[bytes, str], links: dict[bytes, bytes]) -> bytes | None:
    """Return where a path leads, by rewriting its text alone."""
    done: list[bytes] = []
    rest = path.split(b"/")
    while rest:
        name = rest.pop(0)
        if kinds.get(b"/".join(done)) != "d":
            return None
        if name in (b"", b"."):
            continue
        if name == b"..":
            done = done[:-1]
            continue
        place = b"/".join([*done, name])
        if place in links:
            target = links[place]
            done = [] if target.startswith(b"/") else done
            rest = target.split(b"/") + rest
            continue
        if place not in kinds:
            return None
        done.append(name)
    return b"/".join(done)


def damaged_image() -> bytearray:
    entries = {
        name: inode
        for name, inode in everything(1024).items()
        if name not in (b"large", b"index", b"slowest")
    }
    entries[b"d"] = trees.directory({b"%d" % n: trees.symlink(b"../%d" % n) for n in range(30)})
    return images.of(entries, block_size=1024)


IMAGE = damaged_image()
USED = [at for at in range(0, len(IMAGE), 16) if any(IMAGE[at : at + 16])]


@given(
    st.lists(
        st.tuples(st.sampled_from(USED), st.integers(0, 15), st.integers(0, 255)), min_size=1, max_size=8
    ),
    st.booleans(),
)
def test_bytes_changed_anywhere(changes: list[tuple[int, int, int]], to_disk: bool) -> None:
    """Whatever an image says, it is listed, extracted and described, or refused; and nothing is outside."""
    content = bytearray(IMAGE)
    for at, within, value in changes:
        content[at + within] = value
    for action in (_describe, _list, _extract if to_disk else _pack):
        try:
            action(content)
        except (FormatError, SourceError) as error:
            assert "\n" not in str(error)


def _browser(content: bytearray) -> Browser:
    return Browser(images.opened(content), "it")


def _describe(content: bytearray) -> None:
    json.dumps(file_systems.document(images.opened(content)))


def _list(content: bytearray) -> None:
    for listing in listings(_browser(content), [b"/"], long=True, itself=False, recursive=True):
        for line in (*json_lines(listing), *text(listing, long=True, titled=True)):
            assert line.isprintable() or not line


def _small(inventory: Inventory) -> Inventory:
    """Let no file be of a size that takes long to read: a damaged i_size may say anything."""
    for inode in inventory.inodes:
        if inode.size > 1 << 24:
            inode.size, inode.data, inode.runs = 0, None, None
    return inventory


def _pack(content: bytearray) -> None:
    volume = archive(_small(select(_browser(content)))).volume
    tarball.read(io.BytesIO(volume.read(0, volume.size)), SourceRules(xattrs=XattrPolicy.parse("all")))


def _extract(content: bytearray) -> None:
    inventory = _small(select(_browser(content)))
    with tempfile.TemporaryDirectory() as folder:
        done = unpack(inventory, os.fsencode(folder) + b"/in/out", owners=False)
        assert os.listdir(folder) == ["in"] and os.listdir(Path(folder) / "in") == ["out"]
        assert done.names <= inventory.names
