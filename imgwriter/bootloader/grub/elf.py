"""GRUB's kernel.img: an ELF file becomes the bytes that stand in memory, and where it may be moved.

::

    i386-pc       executable     sections at sh_addr - 0x9000        nothing to relocate
    x86_64-efi    relocatable    code, data, .bss of zeros, in       relocations applied here; words that
                                 pages                               hold whole addresses become fixups

The file is the tree's, and nothing in it is believed: every offset is compared with the file's size before it
is followed, every place with the image's.

Spec: System V ABI, "Object Files"; its supplements for Intel386 and AMD64, "Relocation".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from imgwriter.errors import FormatError
from imgwriter.units import align_up

LINK_ADDRESS = 0x9000
"""Where i386-pc's kernel is linked to run.

Spec: GRUB, include/grub/offsets.h, GRUB_KERNEL_I386_PC_LINK_ADDR.
"""

_SIZE_LIMIT = 64 << 20  # of what a kernel occupies in memory: real ones take 120 KiB

_SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS = 2, 4, 8
_SHF_ALLOC, _SHF_EXECINSTR = 2, 4
_SHN_ABS = 0xFFF1
_R_X86_64_64, _R_X86_64_PC32, _R_X86_64_PLT32 = 1, 2, 4

_SYMBOL = struct.Struct("<IBBHQQ")  # st_name, st_info, st_other, st_shndx, st_value, st_size
_RELA = struct.Struct("<QQq")  # r_offset, r_info, r_addend


class _Class(NamedTuple):
    """A width of ELF: where the header has what is needed of it, and its section header."""

    e_shoff: tuple[str, int]
    e_shentsize: int
    section: struct.Struct


_CLASSES = {
    1: _Class(("<I", 0x20), 0x2E, struct.Struct("<10I")),
    2: _Class(("<Q", 0x28), 0x3A, struct.Struct("<2I4Q2I2Q")),
}
"""By EI_CLASS."""


class Section(NamedTuple):
    """A section header, by the specification's names."""

    sh_name: int
    sh_type: int
    sh_flags: int
    sh_addr: int
    sh_offset: int
    sh_size: int
    sh_link: int
    sh_info: int
    sh_addralign: int
    sh_entsize: int

    @property
    def is_loaded(self) -> bool:
        """Whether it occupies memory."""
        return bool(self.sh_flags & _SHF_ALLOC)


@dataclass(frozen=True, slots=True)
class Relocated:
    """A kernel that can be loaded anywhere.

    Attributes:
        image: Its bytes from ``base`` on.
        code_size: How many of them are code, whole pages.
        entry: Address of its first instruction.
        fixups: Addresses of the 64-bit words that hold addresses, sorted.
    """

    image: bytes
    code_size: int
    entry: int
    fixups: tuple[int, ...]


class ElfFile:
    """An ELF file of 32 or 64 bits, little-endian.

    Args:
        content: The whole file.
        name: What to call it in messages.

    Raises:
        FormatError: It is none, or its sections lie outside of it.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self._content = content
        self._name = name
        if content[:4] != b"\x7fELF" or len(content) < 64 or content[5] != 1 or content[4] not in _CLASSES:
            raise self.damaged("is no little-endian ELF file", "e_ident", 0)
        self.bits = 32 * content[4]
        layout = _CLASSES[content[4]]
        start: int = struct.unpack_from(layout.e_shoff[0], content, layout.e_shoff[1])[0]
        size, count = struct.unpack_from("<2H", content, layout.e_shentsize)
        if size != layout.section.size or start + count * size > len(content):
            raise self.damaged(f"has {count} section headers that do not lie in it", "e_shoff", start)
        offsets = range(start, start + count * size, size)
        self.sections = [Section(*layout.section.unpack_from(content, at)) for at in offsets]

    def content_of(self, section: Section) -> bytes:
        """Return what a section holds.

        Raises:
            FormatError: It lies outside the file.
        """
        end = section.sh_offset + section.sh_size
        if end > len(self._content):
            raise self.damaged(f"has a section that ends at {end:,}", "sh_offset", section.sh_offset)
        return self._content[section.sh_offset : end]

    def damaged(self, how: str, where: str, offset: int) -> FormatError:
        """Return the error that says what is wrong with the file."""
        return FormatError(f"{self._name} {how}; install GRUB in the tree again", where, offset)


def load_fixed(content: bytes, name: str) -> tuple[bytes, int]:
    """Return the bytes of a kernel that is linked to run at LINK_ADDRESS, and those it needs in memory.

    Raises:
        FormatError: It is no such kernel.
    """
    elf = ElfFile(content, name)
    if elf.bits != 32:
        raise elf.damaged("is no 32-bit ELF file", "e_ident", 4)
    loaded = [section for section in elf.sections if section.is_loaded]
    ends = [section.sh_addr + section.sh_size - LINK_ADDRESS for section in loaded]
    if not loaded or min(s.sh_addr for s in loaded) < LINK_ADDRESS or max(ends) > _SIZE_LIMIT:
        raise elf.damaged(f"is not linked to run at {LINK_ADDRESS:#x}", "sh_addr", 0)
    image = bytearray()
    for section in loaded:
        if section.sh_type != _SHT_NOBITS:
            start = section.sh_addr - LINK_ADDRESS
            image.extend(bytes(max(start + section.sh_size - len(image), 0)))
            image[start : start + section.sh_size] = elf.content_of(section)
    return bytes(image), max(ends)


def load_relocatable(content: bytes, name: str, base: int, page: int) -> Relocated:
    """Return a relocatable kernel laid out from the address ``base`` on, code and data in whole pages.

    Raises:
        FormatError: It is no such kernel, or has a relocation of an unknown type.
    """
    elf = ElfFile(content, name)
    if elf.bits != 64:
        raise elf.damaged("is no 64-bit ELF file", "e_ident", 4)
    places, code_size, size = _place(elf, page)
    image = bytearray(size)
    for index, place in places.items():
        section = elf.sections[index]
        if section.sh_type != _SHT_NOBITS:
            image[place : place + section.sh_size] = elf.content_of(section)
    symbols, entry = _symbols(elf, {index: base + place for index, place in places.items()})
    fixups = _relocate(elf, image, places, symbols, base)
    return Relocated(bytes(image), code_size, entry, tuple(sorted(fixups)))


def _place(elf: ElfFile, page: int) -> tuple[dict[int, int], int, int]:
    """Return the offset of each loaded section, the size of the code, and the size of all."""
    loaded = [(index, section) for index, section in enumerate(elf.sections) if section.is_loaded]
    code = [each for each in loaded if each[1].sh_flags & _SHF_EXECINSTR]
    data = [each for each in loaded if not each[1].sh_flags & _SHF_EXECINSTR]
    places: dict[int, int] = {}
    size = code_size = 0
    for group in (code, data):
        for index, section in group:
            places[index] = align_up(size, max(section.sh_addralign, 1))
            size = places[index] + section.sh_size
            if size > _SIZE_LIMIT:
                raise elf.damaged(f"needs {size:,} bytes of memory", "sh_size", section.sh_offset)
        size = align_up(size, page)
        code_size = code_size or size
    return places, code_size, size


def _symbols(elf: ElfFile, addresses: dict[int, int]) -> tuple[list[int | None], int]:
    """Return the address of each symbol, None where it has none, and that of _start."""
    tables = [section for section in elf.sections if section.sh_type == _SHT_SYMTAB]
    if len(tables) != 1 or tables[0].sh_link >= len(elf.sections):
        raise elf.damaged("has no table of symbols", "sh_type", 0)
    names = elf.content_of(elf.sections[tables[0].sh_link])
    values: list[int | None] = []
    entry: int | None = None
    for st_name, _, _, st_shndx, st_value, _ in _records(_SYMBOL, elf.content_of(tables[0])):
        start = 0 if st_shndx == _SHN_ABS else addresses.get(st_shndx)
        values.append(None if start is None else start + st_value)
        if names[st_name : st_name + 7] == b"_start\0":
            entry = values[-1]
    if entry is None:
        raise elf.damaged("has no symbol _start", "st_name", tables[0].sh_offset)
    return values, entry


def _relocate(
    elf: ElfFile, image: bytearray, places: dict[int, int], symbols: list[int | None], base: int
) -> Iterable[int]:
    """Apply every relocation; return the addresses of the words that depend on ``base``."""
    fixups = []
    for section in elf.sections:
        if section.sh_type != _SHT_RELA or section.sh_info not in places:
            continue
        start, end = places[section.sh_info], elf.sections[section.sh_info].sh_size
        for r_offset, r_info, r_addend in _records(_RELA, elf.content_of(section)):
            kind, index = r_info & 0xFFFFFFFF, r_info >> 32
            value = symbols[index] if index < len(symbols) else None
            width = 8 if kind == _R_X86_64_64 else 4
            if value is None or r_offset + width > end:
                raise elf.damaged("has a relocation that leads nowhere", "r_offset", section.sh_offset)
            at = start + r_offset
            if kind == _R_X86_64_64:
                fixups.append(base + at)
                struct.pack_into("<Q", image, at, (value + r_addend) % (1 << 64))
            elif kind in (_R_X86_64_PC32, _R_X86_64_PLT32):
                struct.pack_into("<I", image, at, (value + r_addend - base - at) % (1 << 32))
            else:
                raise elf.damaged(f"has a relocation of type {kind}", "r_info", section.sh_offset)
    return fixups


def _records(record: struct.Struct, content: bytes) -> Iterator[tuple[int, ...]]:
    """Yield the whole records of a table."""
    return record.iter_unpack(content[: len(content) // record.size * record.size])
