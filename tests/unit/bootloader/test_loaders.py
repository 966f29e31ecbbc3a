"""Each loader on each table: what is put where, or the tables that have a place for it."""

from __future__ import annotations

import struct

import pytest

from imgwriter.bootloader.loaders import LOADERS, install
from imgwriter.bootloader.target import LoaderOptions
from imgwriter.errors import SourceError, SpecError
from imgwriter.spec import PARTITION_TABLES
from imgwriter.tree.inventory import Inventory
from tests.unit.bootloader import grubs
from tests.unit.bootloader.targets import ROOT_UUID, TIME, target, trees
from tests.unit.tree.graph import at, content, shape, tree

PLACES = {
    "grub-bios": ("legacy", "legacy+boot", "legacy+gpt", "hybrid"),
    "grub-efi": ("efi", "efixbootldr", "hybrid"),
    "systemd-boot": ("efi", "efixbootldr", "hybrid"),
}
PREFIXES = {
    "legacy": b"(,msdos1)/boot/grub\0", "legacy+boot": b"(,msdos2)/boot/grub\0",
    "legacy+gpt": b"(,gpt2)/boot/grub\0", "hybrid": b"(,gpt3)/boot/grub\0",
    "efi": b"(,gpt2)/boot/grub\0", "efixbootldr": b"(,gpt3)/boot/grub\0",
}  # fmt: skip
OPTIONS = LoaderOptions(kernel_parameters="quiet", timeout=3)


def test_their_names():
    assert set(LOADERS) == PLACES.keys()


@pytest.mark.parametrize("table", PARTITION_TABLES)
@pytest.mark.parametrize("loader", LOADERS)
def test_each_on_each_table(loader, table):
    into = trees(table, grubs.debian())
    if table in PLACES[loader]:
        installed = install(loader, into, target(table), OPTIONS)
        assert (installed.loader, installed.reason, installed.warnings) == (loader, "", ())
        assert bool(installed.patches) == (loader == "grub-bios")
    else:
        places = f"partition table {table!r} has .*; use one of {', '.join(PLACES[loader])}"
        with pytest.raises(SpecError, match=places.replace("+", "\\+")):
            install(loader, into, target(table), OPTIONS)


@pytest.mark.parametrize(
    ("table", "compat", "lba"),
    [
        ("legacy", "seed", 1),
        ("legacy+boot", "seed", 1),
        ("legacy+gpt", "seed", 2048),
        ("hybrid", "seed", 2048),
        ("hybrid", "nixpkgs", 34),
    ],
)
def test_boot_code(table, compat, lba):
    """Sector 0 leads to the core image, and it to its own second sector; nothing else is touched."""
    disk = target(table, compat=compat)
    first, core = install("grub-bios", trees(table, grubs.debian()), disk, OPTIONS).patches
    assert (first.start, len(first.content), core.start) == (0, 440, 512 * lba)
    assert struct.unpack_from("<Q", first.content, 0x5C)[0] == lba
    assert struct.unpack_from("<QHH", core.content, 500) == (lba + 1, len(core.content) // 512 - 1, 0x820)
    (end,) = {p.end for p in disk.layout.partitions if p.role == "bios"} or {1 << 20}
    assert core.end <= end


@pytest.mark.parametrize("table", PLACES["grub-bios"])
def test_a_core_image_knows_its_root(table):
    root = grubs.debian()
    install("grub-bios", trees(table, root), target(table), OPTIONS)
    core = content(at(root, "boot/grub/i386-pc/core.img"))
    unpacked = grubs.unpack(core)
    module = b"part_gpt" if "gpt" in table or table == "hybrid" else b"part_msdos"
    assert PREFIXES[table] in unpacked
    assert all(name in unpacked for name in (b"biosdisk", b"fshelp", b"ext2", module))


@pytest.mark.parametrize("table", PLACES["grub-efi"])
def test_a_program_knows_its_root(table):
    into = trees(table, grubs.debian())
    install("grub-efi", into, target(table), LoaderOptions(grub_modules=("normal",)))
    program = content(at(into["esp"], "EFI/BOOT/BOOTX64.EFI"))
    assert program.startswith(b"MZ") and PREFIXES[table] in program
    assert all(name in program for name in (b"fshelp", b"ext2", b"part_gpt", b"normal"))
    assert b"part_msdos" not in program


def test_what_grub_has_in_the_root():
    root = grubs.debian()
    install("grub-bios", trees("legacy", root), target("legacy"), OPTIONS)
    found = shape(at(root, "boot/grub"))
    assert found.keys() == {"grub.cfg", "i386-pc"}
    modules = grubs.FILES.keys() - {"fdt.lst"}
    assert found["i386-pc"].keys() == modules | {"core.img", "boot.img"}
    assert f"linux /boot/vmlinuz-6.1.0-9-amd64 root=UUID={ROOT_UUID} ro quiet\n" in found["grub.cfg"].decode()
    assert "set timeout=3\n" in found["grub.cfg"].decode()
    assert "menuentry 'Debian GNU/Linux 12, Linux 6.1.0-9-amd64' {" in found["grub.cfg"].decode()
    for inode in Inventory(root).inodes:
        if inode.path.startswith(b"boot/grub/") and inode.name in (b"grub.cfg", b"core.img", b"boot.img"):
            assert inode.mtime_ns == TIME * 10**9


def test_modules_of_another_version_are_replaced():
    """What loads them is made of this version."""
    boot = {"vmlinuz": b"k", "grub": {"i386-pc": {"ext2.mod": b"old", "core.img": b"old", "mine": b"mine"}}}
    root = grubs.debian(boot=boot)
    install("grub-bios", trees("legacy", root), target("legacy"), OPTIONS)
    found = shape(at(root, "boot/grub/i386-pc"))
    assert found["ext2.mod"] == b"ext2" and found["core.img"] != b"old" and found["mine"] == b"mine"


def test_a_grub_cfg_that_is_there_is_kept():
    root = grubs.debian(boot={"grub": {"grub.cfg": b"mine"}})  # and no kernel is asked for
    assert install("grub-bios", trees("legacy", root), target("legacy"), LoaderOptions()).warnings == ()
    assert content(at(root, "boot/grub/grub.cfg")) == b"mine"


@pytest.mark.parametrize("options", [LoaderOptions(kernel_parameters="quiet"), LoaderOptions(timeout=0)])
def test_what_a_grub_cfg_that_is_kept_does_not_heed(options):
    root = grubs.debian(boot={"grub": {"grub.cfg": b"mine"}})
    (warning,) = install("grub-bios", trees("legacy", root), target("legacy"), options).warnings
    assert "grub.cfg is kept" in warning and "have no effect" in warning


def test_a_grub_cfg_that_is_given(tmp_path):
    (tmp_path / "file").write_bytes(b"given")
    (tmp_path / "link").symlink_to("file")
    for there in ({}, {"grub": {"grub.cfg": b"mine"}}):
        root = grubs.debian(boot=there)
        options = LoaderOptions(grub_config=bytes(tmp_path / "link"))
        install("grub-bios", trees("legacy", root), target("legacy"), options)
        assert content(at(root, "boot/grub/grub.cfg")) == b"given"


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_grub_cfg_that_is_no_file(tmp_path, name):
    options = LoaderOptions(grub_config=bytes(tmp_path / name))
    with pytest.raises(SourceError, match=r"correct the source|is no file; give one"):
        install("grub-bios", trees("legacy", grubs.debian()), target("legacy"), options)


def test_both_firmwares_on_one_disk():
    into = trees("hybrid", grubs.debian())
    install("grub-bios", into, target("hybrid"), OPTIONS)
    install("grub-efi", into, target("hybrid"), LoaderOptions())
    assert shape(at(into["root"], "boot/grub")).keys() == {"grub.cfg", "i386-pc", "x86_64-efi"}


def test_large_sectors_are_not_for_a_bios():
    with pytest.raises(SpecError, match="in sectors of 512 bytes, not 4,096"):
        install("grub-bios", trees("hybrid", grubs.debian()), target("hybrid", sector_size=4096), OPTIONS)


def test_a_loader_that_is_there_already():
    into = trees("efi", grubs.debian(), esp=tree({"efi": {"boot": {"bootx64.efi": b"mine"}}}))
    for loader in ("grub-efi", "systemd-boot"):
        with pytest.raises(SourceError, match=r"EFI/BOOT/BOOTX64\.EFI cannot be put on the ESP"):
            install(loader, into, target("efi"), OPTIONS)


@pytest.mark.parametrize(
    ("loader", "missing"),
    [("grub-bios", "grub/i386-pc"), ("grub-efi", "grub/x86_64-efi"), ("systemd-boot", "systemd-bootx64.efi")],
)
def test_a_tree_without_the_loader(loader, missing):
    table = PLACES[loader][0]
    with pytest.raises(SourceError, match=rf"the tree has no usr/lib/.*{missing}.*install .* in it"):
        install(loader, trees(table, tree({"boot": {"vmlinuz": b"k"}})), target(table), OPTIONS)


def changes(loader, table, root=None, **more):
    into = trees(table, root or grubs.debian(), **more)
    return [(c.kind, c.path.decode()) for c in install(loader, into, target(table), OPTIONS).changes]


def test_what_is_told_of_the_files():
    """What is below a directory that was made goes without saying."""
    assert changes("grub-bios", "legacy") == [("made", "/boot/grub")]
    assert changes("grub-efi", "efi") == [("made", "/boot/EFI"), ("made", "/boot/grub")]
    assert changes("systemd-boot", "efi") == [
        ("made", "/boot/EFI"), ("made", "/boot/debian"), ("made", "/boot/loader"),
    ]  # fmt: skip


def test_what_is_told_of_files_beside_others():
    boot = {"vmlinuz": b"k", "grub": {"i386-pc": {"ext2.mod": b"old"}, "grub.cfg": b"mine"}}
    found = changes("grub-bios", "legacy", grubs.debian(boot=boot))
    assert ("changed", "/boot/grub/i386-pc/ext2.mod") in found
    assert ("made", "/boot/grub/i386-pc/ext2.mod") not in found
    assert ("made", "/boot/grub/i386-pc/core.img") in found
    assert not any(path.endswith("grub.cfg") for _, path in found)
    esp = tree({"EFI": {"mine": b"x"}})
    assert ("made", "/boot/EFI/BOOT") in changes("grub-efi", "efi", esp=esp)
