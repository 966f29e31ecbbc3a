"""The kernels of a tree: where they are, in which order, with which initramfs, and how they find the root."""

from __future__ import annotations

import pytest

from imgwriter.bootloader import kernels
from imgwriter.bootloader.kernels import Kernel, Release
from imgwriter.errors import SourceError, SpecError
from tests.unit.bootloader.targets import target
from tests.unit.tree.graph import tree


def found(shape):
    return kernels.find_kernels(tree(shape))


def test_the_newest_comes_first():
    names = (
        "vmlinuz-6.9.1",
        "vmlinuz-6.10.1",
        "vmlinuz-6.10.0-rc1",
        "vmlinuz-6.10.1.old",
        "initrd.img-6.9.1",
    )
    assert [each.version for each in found({"boot": dict.fromkeys(names, b"x")})] == [
        "6.10.1",
        "6.10.0-rc1",
        "6.9.1",
    ]


@pytest.mark.parametrize("name", ["initrd.img-6.1", "initramfs-6.1.img", "initrd-6.1"])
def test_an_initramfs_as_distributions_name_it(name):
    assert found({"boot": {"vmlinuz-6.1": b"k", name: b"i"}}) == [
        Kernel("6.1", b"boot/vmlinuz-6.1", b"boot/" + name.encode())
    ]


def test_modules_have_their_kernel_beside_them():
    shape = {
        "lib": "usr/lib",
        "boot": {"vmlinuz-6.1": b"k"},
        "usr": {
            "lib": {
                "modules": {"6.1": {"vmlinuz": b"k"}, "6.2": {"vmlinuz": b"k", "initrd": b"i"}, "6.3": {}}
            }
        },
    }
    assert found(shape) == [
        Kernel("6.2", b"lib/modules/6.2/vmlinuz", b"lib/modules/6.2/initrd"),
        Kernel("6.1", b"boot/vmlinuz-6.1", None),
    ]


def test_a_kernel_without_a_version():
    assert found({"boot": {"vmlinuz": b"k", "initrd.img": b"i"}}) == [
        Kernel("", b"boot/vmlinuz", b"boot/initrd.img")
    ]


@pytest.mark.parametrize("shape", [{}, {"boot": {}}, {"boot": {"vmlinuz-1": "nowhere"}}, {"boot": b"x"}])
def test_a_tree_without_a_kernel(shape):
    with pytest.raises(SourceError, match=r"no kernel in boot or usr/lib/modules.*install one"):
        found(shape)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (
            b'NAME="A"\nPRETTY_NAME="A \\"b\\" \'c\'"\nID=a\nVERSION_ID=\'1\'\n',
            Release("A \"b\" 'c'", "a", "1"),
        ),
        (b"# PRETTY_NAME=x\nNAME=A B\nID=a", Release("A", "a", "")),
        (b"", Release("Linux", "linux", "")),
        (b'PRETTY_NAME="open\nID=a\n', Release("Linux", "a", "")),
    ],
)
def test_what_the_system_calls_itself(text, release):
    assert kernels.release(tree({"etc": {"os-release": text}})) == release
    assert kernels.release(tree({"usr": {"lib": {"os-release": text}}})) == release
    assert kernels.release(tree({})) == Release("Linux", "linux", "")


def test_the_root_by_its_uuid_or_its_partition():
    """Only an initramfs knows file systems by their UUID."""
    with_initrd, without = (
        Kernel("1", b"boot/vmlinuz", b"boot/initrd.img"),
        Kernel("1", b"boot/vmlinuz", None),
    )
    legacy = target("legacy")
    assert (
        kernels.parameters(with_initrd, legacy, " quiet  x=y ")
        == f"root=UUID={legacy.root_uuid} ro quiet x=y"
    )
    assert kernels.parameters(without, legacy, "") == "root=PARTUUID=00000123-01 ro"
    with pytest.raises(SpecError, match="has no initramfs"):
        kernels.parameters(without, target("none"), "")


def test_a_file_that_is_too_large_to_be_what_it_should_be():
    (inode,) = tree({"etc": b"x" * 100}).entries.values()
    assert kernels.read(inode, b"etc", 100) == b"x" * 100
    with pytest.raises(SourceError, match="has 100 bytes, more than the 99"):
        kernels.read(inode, b"etc", 99)
