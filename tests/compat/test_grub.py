"""GRUB's images beside those of grub-mkimage, from the same files; its menu under GRUB's own parser."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from imgwriter.bootloader.grub import core_pc, image_efi
from imgwriter.bootloader.grub.config import MenuItem, grub_cfg
from imgwriter.bootloader.grub.modules import Platform, find_platform
from imgwriter.tree import directory
from imgwriter.tree.rules import SourceRules
from tests.oracles import grub
from tests.oracles.tools import CACHE, require_file

pytestmark = pytest.mark.compat

PREFIX = "(,gpt2)/boot/grub"
# What reaches a root, what is larger, and what hangs together in many ways.
MODULES = [
    ("part_msdos", "ext2"),
    ("part_gpt", "ext2", "fat", "normal", "linux"),
    ("zfs", "lvm", "mdraid1x", "luks2", "gfxterm", "net", "tftp", "search", "regexp"),
    (),
]


@pytest.fixture(scope="module")
def platforms() -> dict[str, Platform]:
    tree = require_file(CACHE / "boot-tree" / ".ready").parent / "root"
    root = directory.read(bytes(tree), SourceRules())
    return {name: find_platform(root, name, "a package") for name in ("i386-pc", "x86_64-efi")}


@pytest.mark.parametrize("modules", MODULES, ids=len)
def test_a_program_for_uefi_has_the_same_bytes(
    platforms: dict[str, Platform], modules: tuple[str, ...], tmp_path: Path
) -> None:
    platform = platforms["x86_64-efi"]
    made = image_efi.image(platform, platform.closure(modules), PREFIX.encode())
    assert made == grub.mkimage("x86_64-efi", PREFIX, modules, tmp_path / "image")


@pytest.mark.parametrize("modules", MODULES, ids=len)
def test_a_core_image_holds_the_same_bytes(
    platforms: dict[str, Platform], modules: tuple[str, ...], tmp_path: Path
) -> None:
    """The encoders of LZMA differ, so that what is compared is what they encode, and all around it."""
    platform = platforms["i386-pc"]
    modules = ("biosdisk", *modules)
    content = core_pc.payload(platform, platform.closure(modules), PREFIX.encode())
    made = core_pc.core_image(platform, content)
    theirs = grub.mkimage("i386-pc", PREFIX, modules, tmp_path / "core.img")
    assert grub.unpack(made) == grub.unpack(theirs) == content
    sizes = slice(512 + 8, 512 + 16)
    decompressor = slice(512, 512 + len(platform.file(b"lzma_decompress.img")))
    assert _without(made, sizes)[decompressor] == _without(theirs, sizes)[decompressor]
    # diskboot.img: all but the number of sectors, which is that of the rest.
    assert _without(made, slice(508, 510))[:512] == _without(theirs, slice(508, 510))[:512]
    for core in (made, theirs):
        assert struct.unpack_from("<H", core, 508)[0] == (len(core) - 1) // 512
    # One more than theirs in a hundred is the price of another encoder.
    assert len(made) <= len(theirs) * 1.01 + 512


def test_a_menu_is_a_script(tmp_path: Path) -> None:
    items = [
        MenuItem(
            'It\'s 100% "quoted" $HOME `x` \\ {}; Linux', b"boot/vmlinuz-1 'a;b", b"boot/init $rd", "a='b c'"
        ),
        MenuItem("Übung", b"boot/vmlinuz", None, "root=UUID=1 ro console=ttyS1,9600n8 x={y} z=a;b"),
    ]
    path = tmp_path / "grub.cfg"
    path.write_bytes(grub_cfg(items, 5))
    grub.script_check(path)


def test_a_quote_that_does_not_end_is_no_script(tmp_path: Path) -> None:
    path = tmp_path / "grub.cfg"
    path.write_bytes(
        grub_cfg([MenuItem("x", b"boot/vmlinuz", None, "ro")], 5).replace(b"menuentry x {", b"menuentry 'x {")
    )
    assert grub.raw_script_check(path).status != 0


def _without(content: bytes, part: slice) -> bytes:
    return content[: part.start] + bytes(part.stop - part.start) + content[part.stop :]
