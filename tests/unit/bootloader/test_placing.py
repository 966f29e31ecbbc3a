"""Files of a loader in a tree: times, owners, names on FAT, and what is there already."""

from __future__ import annotations

import stat

import pytest

from imgwriter.bootloader.placing import Destination
from imgwriter.errors import SourceError
from imgwriter.tree.inventory import Inode
from tests.unit.tree.graph import at, shape, tree


def destination(content, *, fat=False) -> Destination:
    return Destination(tree(content), "the ESP", 5, folds_case=fat)


def test_what_is_made_has_the_time_of_the_build():
    to = destination({})
    to.text(b"/boot/grub/grub.cfg", b"text")
    assert shape(to.root) == {"boot": {"grub": {"grub.cfg": b"text"}}}
    made = at(to.root, "boot/grub/grub.cfg")
    assert (made.mode, made.uid, made.gid, made.mtime_ns) == (stat.S_IFREG | 0o644, 0, 0, 5)
    assert [at(to.root, path).mtime_ns for path in ("boot", "boot/grub")] == [5, 5]


def test_a_directory_that_is_there_keeps_its_time():
    to = destination({"boot": {}})
    at(to.root, "boot").mtime_ns = 9
    to.text(b"boot/grub/grub.cfg", b"text")
    assert [at(to.root, path).mtime_ns for path in ("boot", "boot/grub")] == [9, 5]


def test_what_is_copied_keeps_its_time():
    (source,) = tree({"x": b"content"}).entries.values()
    source.mtime_ns, source.mode, source.uid = 7, stat.S_IFREG | 0o4755, 9
    to = destination({})
    to.copy(b"a/b", source)
    made = at(to.root, "a/b")
    assert (made.mode, made.uid, made.mtime_ns, made.size) == (stat.S_IFREG | 0o644, 0, 7, 7)
    assert made is not source


@pytest.mark.parametrize("there", ["EFI/BOOT/BOOTX64.EFI", "efi/boot/bootx64.efi", "Efi/Boot/BootX64.efi"])
def test_fat_knows_no_case(there):
    names = there.split("/")
    to = destination({names[0]: {names[1]: {names[2]: b"mine"}}}, fat=True)
    assert to.find(b"EFI/BOOT/BOOTX64.EFI") is not None
    with pytest.raises(SourceError, match=r"cannot be put on the ESP: a file is there already; leave one"):
        to.text(b"EFI/BOOT/BOOTX64.EFI", b"yours")


def test_fat_directories_are_not_made_twice():
    to = destination({"efi": {}}, fat=True)
    to.text(b"EFI/BOOT/BOOTX64.EFI", b"x")
    assert shape(to.root) == {"efi": {"BOOT": {"BOOTX64.EFI": b"x"}}}


def test_ext4_knows_case():
    to = destination({"Boot": {}})
    to.text(b"boot/x", b"x")
    assert shape(to.root) == {"Boot": {}, "boot": {"x": b"x"}}


def test_symlinks_lead_where_they_do():
    to = destination({"boot": "/usr/boot", "usr": {"boot": {}}})
    to.text(b"boot/grub/x", b"x")
    assert shape(at(to.root, "usr/boot")) == {"grub": {"x": b"x"}}


@pytest.mark.parametrize("there", [{"boot": b"a file"}, {"boot": "nowhere"}])
def test_no_way(there):
    with pytest.raises(SourceError):
        destination(there).text(b"boot/grub/x", b"x")


def test_replaced_is_only_a_file():
    to = destination({"a": b"old", "b": {}, "c": "a"})
    to.replace(b"a", to.made(b"new"))
    assert shape(to.root)["a"] == b"new"
    for name in (b"b", b"c"):
        with pytest.raises(SourceError, match="is there already"):
            to.replace(name, to.made(b"new"))


def test_a_hole_stays_one():
    hole = Inode(stat.S_IFREG | 0o600, size=100)
    to = destination({})
    to.copy(b"x", hole)
    assert (at(to.root, "x").size, at(to.root, "x").data) == (100, None)
