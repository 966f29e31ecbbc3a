"""GRUB for UEFI: one PE32+ program that holds its kernel, modules and prefix.

::

    0       0x80        0x1000        code          data            modules           size
    ├ stub ─┼ headers ──┼─ .text ─────┼─ .data ─────┼─ "mods" ──────┼─ .reloc ────────┤
                         kernel.img, code and data   behind "mimg"    pages with fixups

Offsets in the file and in memory are the same: every section begins at a page. GRUB finds its modules by the
section's name, and the firmware moves the program by .reloc.

Spec: Microsoft PE and COFF Specification: "COFF File Header", "Optional Header", "Section Table", "The .reloc
Section"; UEFI 2.10, 2.1.1 (UEFI images). GRUB, grub-core/kern/efi/efi.c, for the section "mods".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import groupby

from imgwriter.bootloader.grub import elf
from imgwriter.bootloader.grub.modules import Platform, objects
from imgwriter.units import align_up

PAGE = 0x1000

_WORD = 8
_TIME = 1_420_070_400
"""2015-01-01, the time that grub-mkimage stamps, so that its images repeat."""

# A DOS program that says that it is none: e_magic, ..., e_cparhdr 4, ..., e_sp 0xb8, ..., e_lfarlc 0x40,
# e_lfanew 0x80; then push cs, pop ds, int 21h/09h, int 21h/4c01h, and the text.
_STUB = (
    bytes.fromhex("4d5a90000300000004000000ffff0000b800000000000000400000000000000000").ljust(0x3C, b"\0")
    + struct.pack("<I", 0x80)
    + bytes.fromhex("0e1fba0e00b409cd21b8014ccd21")
    + b"This program cannot be run in DOS mode.\r\r\n$"
).ljust(0x80, b"\0")

_COFF = struct.Struct("<4s2H3I2H")  # signature, Machine, NumberOfSections, TimeDateStamp, -, -, size, flags
_MACHINE_AMD64 = 0x8664
_CHARACTERISTICS = 0x020E  # executable; line numbers, symbols and debugging information stripped
_OPTIONAL = struct.Struct("<HBB5IQ2I6H4I2H4Q2I")
_PE32_PLUS = 0x20B
_EFI_APPLICATION = 10
_STACK = 0x10000
_DIRECTORIES = 16
_DIRECTORY = struct.Struct("<2I")
_BASE_RELOCATION = 5
_SECTION = struct.Struct("<8s6I2HI")
_CODE, _DATA, _DISCARDABLE = 0x60000020, 0xC0000040, 0x42000040
_BLOCK = struct.Struct("<2I")  # page, size of the block
_DIR64 = 10 << 12


def image(platform: Platform, modules: list[str], prefix: bytes) -> bytes:
    """Return the EFI program.

    Args:
        platform: The tree's GRUB for x86_64-efi.
        modules: Names of the modules that it holds, each after what it needs.
        prefix: Where GRUB's directory is, as GRUB names it.

    Raises:
        SourceError: The tree's GRUB lacks a file.
        FormatError: kernel.img is not what it is called.
    """
    kernel = elf.load_relocatable(platform.file(b"kernel.img"), "GRUB's kernel.img", PAGE, PAGE)
    mods = _padded(objects(platform.modules(modules), prefix, _WORD))
    reloc = _base_relocations(kernel.fixups)
    code, data = kernel.image[: kernel.code_size], kernel.image[kernel.code_size :]
    parts = [(b".text", code, _CODE), (b".data", data, _DATA), (b"mods", mods, _DATA)]
    parts.append((b".reloc", reloc, _DISCARDABLE))
    headers = _headers(kernel.entry, parts)
    return b"".join((headers.ljust(PAGE, b"\0"), *(content for _, content, _ in parts)))


def _headers(entry: int, parts: Sequence[tuple[bytes, bytes, int]]) -> bytes:
    sizes = [len(content) for _, content, _ in parts]
    size = PAGE + sum(sizes)
    optional = _OPTIONAL.pack(
        _PE32_PLUS, 0, 0,  # version of the linker
        sizes[0], sizes[1] + sizes[2], 0, entry, PAGE,  # code, data, no uninitialised data; code begins
        0, PAGE, PAGE,  # ImageBase; alignment in memory and in the file
        *bytes(6), 0, size, PAGE, 0,  # versions; -, SizeOfImage, SizeOfHeaders, CheckSum
        _EFI_APPLICATION, 0, _STACK, _STACK, _STACK, _STACK, 0, _DIRECTORIES,
    )  # fmt: skip
    directories = bytearray(_DIRECTORIES * _DIRECTORY.size)
    _DIRECTORY.pack_into(directories, _BASE_RELOCATION * _DIRECTORY.size, size - sizes[3], sizes[3])
    table = b""
    offset = PAGE
    for name, content, flags in parts:
        table += _SECTION.pack(name, len(content), offset, len(content), offset, 0, 0, 0, 0, flags)
        offset += len(content)
    length = _OPTIONAL.size + len(directories)
    coff = _COFF.pack(b"PE\0\0", _MACHINE_AMD64, len(parts), _TIME, 0, 0, length, _CHARACTERISTICS)
    return b"".join((_STUB, coff, optional, bytes(directories), table))


def _base_relocations(fixups: Sequence[int]) -> bytes:
    """Return .reloc: a block for each page with its fixups, and whole pages in all.

    Entries of 0 say nothing; the last block has those that fill its page, as a block of size 0 is an error.
    """
    pages = groupby(fixups, lambda address: address // PAGE * PAGE)
    blocks = [(page, [_DIR64 | address - page for address in addresses]) for page, addresses in pages]
    size = 0
    for _, entries in blocks:
        entries += [0] * (-len(entries) % 4)
        size += _BLOCK.size + 2 * len(entries)
    if blocks:
        blocks[-1][1].extend([0] * ((align_up(size, PAGE) - size) // 2))
    return b"".join(_block(page, entries) for page, entries in blocks)


def _block(page: int, entries: Sequence[int]) -> bytes:
    return _BLOCK.pack(page, _BLOCK.size + 2 * len(entries)) + struct.pack(f"<{len(entries)}H", *entries)


def _padded(content: bytes) -> bytes:
    return content.ljust(align_up(len(content), PAGE), b"\0")
