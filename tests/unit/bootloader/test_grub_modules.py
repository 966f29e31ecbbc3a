"""Where a tree has GRUB, in which order modules stand, and what an image has behind its kernel."""

from __future__ import annotations

import struct

import pytest

from imgwriter.bootloader.grub.modules import Platform, find_platform, objects
from imgwriter.errors import SourceError
from tests.unit.bootloader import grubs
from tests.unit.tree.graph import tree

HASH = "0" * 32


def platform(**files) -> Platform:
    return Platform(tree({"grub": {**grubs.FILES, **files}}), b"grub", "i386-pc")


def test_what_is_needed_comes_first():
    assert platform().closure(["normal"]) == ["fshelp", "ext2", "extcmd", "normal"]
    assert platform().closure(["ext2", "normal", "ext2"]) == ["fshelp", "ext2", "extcmd", "normal"]


def test_a_circle_comes_to_an_end():
    circle = platform(**{"moddep.lst": b"a: b\nb: a c\nc:\n"})
    assert circle.closure(["a"]) == ["c", "b", "a"]


@pytest.mark.parametrize("name", ["zfs", "", "../kernel"])
def test_a_module_that_is_not_there(name):
    with pytest.raises(SourceError, match="has no module"):
        platform().closure([name])


def test_a_module_whose_file_is_not_there():
    with pytest.raises(SourceError, match=r"has no file zfs\.mod"):
        platform(**{"moddep.lst": b"zfs:\n"}).modules(["zfs"])


@pytest.mark.parametrize(("word", "header"), [(4, "<3I"), (8, "<I4x2Q")])
def test_objects(word, header):
    """The header has the size of all; each object's has its own, padded to a pointer's."""
    made = objects([b"module", b"12345678"], b"(,gpt2)/boot/grub", word)
    magic, offset, size = struct.unpack_from(header, made)
    assert (magic, offset, size) == (0x676D696D, struct.calcsize(header), len(made))
    assert made[:4] == b"mimg"
    found = []
    while offset < size:
        kind, length = struct.unpack_from("<2I", made, offset)
        found.append((kind, made[offset + 8 : offset + length]))
        assert length % word == 0
        offset += length
    assert offset == size
    pad = b"\0\0"
    assert found == [
        (0, b"module" + pad),
        (0, b"12345678"),
        (3, b"(,gpt2)/boot/grub".ljust(24 if word == 8 else 20, b"\0")),
    ]


def test_a_prefix_ends_in_a_nul_also_where_it_fills_its_words():
    assert objects([], b"12345678", 8)[-16:] == b"12345678" + bytes(8)


@pytest.mark.parametrize("place", ["usr/lib/grub", "usr/share/grub2", "lib/grub"])
def test_places_of_distributions(place):
    shape = {"i386-pc": grubs.pc_files()}
    for name in reversed(place.split("/")):
        shape = {name: shape}
    assert find_platform(tree(shape), "i386-pc", "x").directory == f"{place}/i386-pc".encode()


def test_the_newest_of_a_store():
    def package(version):
        return {f"{HASH}-grub-{version}": {"lib": {"grub": {"i386-pc": grubs.pc_files()}}}}

    store = {**package("2.9"), **package("2.12"), f"{HASH}-grub-2.13-theme": {}}
    found = find_platform(tree({"nix": {"store": store}}), "i386-pc", "x")
    assert found.directory == f"nix/store/{HASH}-grub-2.12/lib/grub/i386-pc".encode()


def test_a_tree_without_grub():
    with pytest.raises(
        SourceError, match=r"no usr/lib/grub/i386-pc.*install GRUB in it \(Debian: grub-pc-bin\)"
    ):
        find_platform(tree({"usr": {}}), "i386-pc", "Debian: grub-pc-bin")


def test_a_tree_whose_grub_is_for_arm():
    root = tree({"usr": {"lib": {"grub": {"arm64-efi": {"kernel.img": b"kernel"}}}}})
    with pytest.raises(SourceError, match=r"GRUB is for arm64-efi.*in a guest, with --boot-command"):
        find_platform(root, "x86_64-efi", "Debian: grub-efi-amd64-bin")
