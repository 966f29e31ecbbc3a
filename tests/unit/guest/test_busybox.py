"""Which busybox goes into the initramfs."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from imgwriter.errors import SourceError
from imgwriter.guest.busybox import MAX_BUSYBOX, find_busybox
from tests.unit.guest.elves import AARCH64, PT_INTERP, PT_LOAD, elf
from tests.unit.guest.privileges import unprivileged
from tests.unit.tree.graph import tree

STATIC = elf(programs=(PT_LOAD,))
DYNAMIC = elf(programs=(PT_LOAD, PT_INTERP))
FOREIGN = elf(AARCH64, programs=(PT_LOAD,))


@pytest.fixture
def host(tmp_path):
    """Put a program into a directory of the host's PATH."""

    def put(content, name="busybox"):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o755)
        return str(tmp_path)

    return put


def test_the_trees_own(host):
    root = tree({"bin": "usr/bin", "usr": {"bin": {"busybox": STATIC + b"tree"}}})
    assert find_busybox(root, "x86_64", search=host(STATIC + b"host")) == (
        STATIC + b"tree",
        "the tree, bin/busybox",
    )


@pytest.mark.parametrize("unfit", [DYNAMIC, FOREIGN, b"#!/bin/sh"])
def test_the_hosts_where_the_trees_does_not_fit(host, unfit):
    search = host(STATIC + b"host")
    hosts = (STATIC + b"host", os.path.join(search, "busybox"))
    assert find_busybox(tree({"bin": {"busybox": unfit}}), "x86_64", search=search) == hosts
    assert find_busybox(None, "x86_64", search=search) == hosts


def test_none_that_fits(host):
    with pytest.raises(SourceError, match=r"neither the tree nor the host has one; install busybox-static"):
        find_busybox(tree({}), "x86_64", search=os.devnull)
    root = tree({"bin": {"busybox": FOREIGN}})
    with pytest.raises(
        SourceError, match=r"bin/busybox is for aarch64, .*busybox is not static; .*--vm-busybox"
    ):
        find_busybox(root, "x86_64", search=host(DYNAMIC))


def test_one_that_is_given_and_no_other(host):
    search = host(STATIC)
    given = os.fsencode(os.path.join(search, "other"))
    with pytest.raises(SourceError, match="is no file"):
        find_busybox(tree({"bin": {"busybox": STATIC}}), "x86_64", given, search)
    for content, why in [(DYNAMIC, "is not static"), (FOREIGN, "is for aarch64"), (b"", "is no program")]:
        host(content, "other")
        with pytest.raises(SourceError, match=why) as caught:
            find_busybox(tree({"bin": {"busybox": STATIC}}), "x86_64", given, search)
        assert caught.value.path == given
    host(FOREIGN, "other")
    assert find_busybox(None, "aarch64", given, search) == (FOREIGN, os.fsdecode(given))


@pytest.fixture
def folders():
    """Directories of a PATH that everybody may look into, the first with a busybox that nobody may read."""
    with TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        made = [Path(top, name) for name in ("first", "second", "third")]
        for folder in made:
            folder.mkdir()
            folder.chmod(0o755)
        _put(made[0], STATIC).chmod(0o111)
        yield made


def _put(folder, content, name="busybox"):
    (folder / name).write_bytes(content)
    (folder / name).chmod(0o755)
    return folder / name


@pytest.mark.parametrize("name", ["busybox", "busybox.static"])
def test_the_next_of_the_path_where_one_cannot_be_read_or_is_not_static(folders, name):
    _put(folders[1], DYNAMIC)
    static = _put(folders[2], STATIC, name)
    search = os.pathsep.join(map(str, folders))
    with unprivileged():
        assert find_busybox(None, "x86_64", search=search) == (STATIC, str(static))


@pytest.mark.parametrize("size", [MAX_BUSYBOX, MAX_BUSYBOX + 1])
def test_the_next_where_one_is_too_large(folders, size):
    """Bytes after a program do not matter to it."""
    large, small = _put(folders[1], STATIC), _put(folders[2], STATIC)
    os.truncate(large, size)
    with unprivileged():
        found = find_busybox(None, "x86_64", search=os.pathsep.join(map(str, folders)))
    assert found.name == str(large if size == MAX_BUSYBOX else small)


def test_all_of_the_path_are_named_where_none_fits(folders):
    _put(folders[1], DYNAMIC)
    _put(folders[2], FOREIGN, "busybox.static")
    search = os.pathsep.join(map(str, [*folders, folders[1]]))
    with unprivileged(), pytest.raises(SourceError) as caught:
        find_busybox(None, "x86_64", search=search)
    first, second, third = folders
    assert str(caught.value).startswith(
        f"the guest needs a static busybox for x86_64: {first}/busybox cannot be read (Permission denied),"
        f" {second}/busybox is not static, {third}/busybox.static is for aarch64; install busybox-static"
    )
