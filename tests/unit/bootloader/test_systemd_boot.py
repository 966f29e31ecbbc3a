"""systemd-boot on ESP and XBOOTLDR: the program, loader.conf, and an entry for each kernel.

Spec: Boot Loader Specification, "Type #1 Boot Loader Entries".
"""

from __future__ import annotations

import pytest

from imgwriter.bootloader.loaders import install
from imgwriter.bootloader.target import LoaderOptions
from imgwriter.errors import SourceError
from tests.unit.bootloader import grubs
from tests.unit.bootloader.targets import ROOT_UUID, target, trees
from tests.unit.tree.graph import at, shape, tree

PROGRAM = b"MZ systemd-boot"
ENTRY = f"""\
title Debian GNU/Linux 12
version 6.1.0-9-amd64
sort-key debian
options root=UUID={ROOT_UUID} ro quiet
linux /debian/6.1.0-9-amd64/linux
initrd /debian/6.1.0-9-amd64/initrd
""".encode()
LOADER = {"EFI": {"systemd": {"systemd-bootx64.efi": PROGRAM}, "BOOT": {"BOOTX64.EFI": PROGRAM}}}
KERNELS = {"debian": {"6.1.0-9-amd64": {"linux": b"kernel", "initrd": b"initramfs"}}}
ENTRIES = {"entries.srel": b"type1\n", "entries": {"debian-6.1.0-9-amd64.conf": ENTRY}}


def installed(table, root=None, options=None, **more):
    into = trees(table, root or grubs.debian(), **more)
    install("systemd-boot", into, target(table), options or LoaderOptions(kernel_parameters="quiet"))
    return into


@pytest.mark.parametrize("table", ["efi", "hybrid"])
def test_all_on_the_esp(table):
    into = installed(table)
    loader = {"loader": {"loader.conf": b"timeout 5\n", **ENTRIES}}
    assert shape(into["esp"]) == {**LOADER, **KERNELS, **loader}
    assert shape(into["root"]) == shape(grubs.debian())


def test_kernels_on_xbootldr():
    into = installed("efixbootldr", options=LoaderOptions(kernel_parameters="quiet", timeout=0))
    assert shape(into["esp"]) == {**LOADER, "loader": {"loader.conf": b"timeout 0\n"}}
    assert shape(into["boot"]) == {**KERNELS, "loader": ENTRIES}


def test_a_loader_conf_that_is_there_is_kept():
    into = installed("efi", esp=tree({"loader": {"loader.conf": b"mine"}}))
    assert shape(at(into["esp"], "loader"))["loader.conf"] == b"mine"


def test_two_kernels_and_one_without_initramfs():
    boot = {"vmlinuz-6.10": b"new", "vmlinuz-6.9": b"old", "initrd.img-6.9": b"i"}
    into = installed("efi", grubs.debian(boot=boot))
    entries = shape(at(into["esp"], "loader/entries"))
    assert entries.keys() == {"debian-6.10.conf", "debian-6.9.conf"}
    assert b"initrd" not in entries["debian-6.10.conf"] and b"root=PARTUUID=" in entries["debian-6.10.conf"]
    assert b"initrd /debian/6.9/initrd\n" in entries["debian-6.9.conf"]


def test_a_machine_of_another_kind():
    """The tree has the loader that its architecture has."""
    program = {"systemd": {"boot": {"efi": {"systemd-bootaa64.efi": b"MZ arm"}}}}
    into = installed("efi", grubs.debian(usr={"lib": program}))
    assert shape(at(into["esp"], "EFI")) == {
        "systemd": {"systemd-bootaa64.efi": b"MZ arm"}, "BOOT": {"BOOTAA64.EFI": b"MZ arm"},
    }  # fmt: skip


def test_an_entry_that_is_there_already():
    with pytest.raises(SourceError, match=r"entries.srel cannot be put on the ESP"):
        installed("efi", esp=tree({"loader": {"entries.srel": b"type1\n"}}))
