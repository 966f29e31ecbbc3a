"""Which busybox goes into the initramfs."""

from __future__ import annotations

import os

import pytest

from imgwriter.errors import SourceError
from imgwriter.guest.busybox import find_busybox
from tests.unit.guest.elves import AARCH64, PT_INTERP, PT_LOAD, elf
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
