"""GRUB's kernels out of ELF: places, relocations by the ABI's formulas, and no byte believed."""

from __future__ import annotations

import struct

import pytest

from imgwriter.bootloader.grub.elf import load_fixed, load_relocatable
from imgwriter.errors import FormatError
from tests.unit.bootloader import grubs
from tests.unit.bootloader.grubs import ALLOC, DATA, EXEC, NOBITS, PROGBITS, R_64, R_PC32, R_PLT32, TEXT, Part

BASE, PAGE = 0x1000, 0x1000
DATA_AT = BASE + PAGE  # code takes one page
BSS_AT = DATA_AT + 64  # 32 bytes of data, then aligned to 64


def relocatable(*relocations, **more):
    return load_relocatable(grubs.efi_kernel(*relocations, **more), "kernel.img", BASE, PAGE)


def test_fixed():
    """Sections stand where they are linked to; .bss takes memory, and no byte of the image."""
    image, memory = load_fixed(grubs.pc_kernel(), "kernel.img")
    assert image == TEXT + bytes(16) + DATA
    assert memory == 0x40 + 64


@pytest.mark.parametrize("address", [0x8FFF, 0x9000 + (64 << 20)])
def test_fixed_where_it_cannot_be(address):
    with pytest.raises(FormatError, match="is not linked to run at 0x9000"):
        load_fixed(grubs.elf32(Part(PROGBITS, ALLOC, b"x", address=address)), "kernel.img")


def test_fixed_of_nothing():
    with pytest.raises(FormatError, match="is not linked"):
        load_fixed(grubs.elf32(), "kernel.img")


def test_each_kind_of_kernel_is_of_one_width():
    with pytest.raises(FormatError, match="is no 32-bit ELF file"):
        load_fixed(grubs.efi_kernel(), "kernel.img")
    with pytest.raises(FormatError, match="is no 64-bit ELF file"):
        load_relocatable(grubs.pc_kernel(), "kernel.img", BASE, PAGE)


def test_relocatable_places():
    kernel = relocatable()
    assert kernel.code_size == PAGE
    assert kernel.image[:16] == TEXT
    assert kernel.image[PAGE : PAGE + 32] == DATA
    # 5,000 bytes of .bss after 64 of data fill one page and go into another.
    assert len(kernel.image) == 3 * PAGE
    assert not any(kernel.image[PAGE + 32 :])
    assert kernel.entry == BASE + 4
    assert kernel.fixups == ()


@pytest.mark.parametrize("size", [PAGE - 1, PAGE, PAGE + 1])
def test_code_takes_whole_pages(size):
    assert relocatable(code=b"\x90" * size).code_size == (PAGE if size <= PAGE else 2 * PAGE)


def test_whole_addresses():
    """R_X86_64_64 is S + A, and has to be moved with the image."""
    kernel = relocatable(grubs.rela(24, R_64, 2, 5), grubs.rela(0, R_64, 3, -4))
    assert struct.unpack_from("<Q", kernel.image, PAGE + 24)[0] == DATA_AT + 8 + 5
    assert struct.unpack_from("<Q", kernel.image, PAGE)[0] == BSS_AT + 4 - 4
    assert kernel.fixups == (DATA_AT, DATA_AT + 24)


@pytest.mark.parametrize("kind", [R_PC32, R_PLT32])
def test_relative_addresses(kind):
    """R_X86_64_PC32 is S + A - P: the same wherever the image is."""
    kernel = relocatable(grubs.rela(28, kind, 1, -4))
    assert struct.unpack_from("<i", kernel.image, PAGE + 28)[0] == BASE + 4 - 4 - (DATA_AT + 28)
    assert kernel.fixups == ()


def test_absolute_symbols():
    symbols = grubs.symbol(0, 0) + grubs.symbol(1, 0, 1) + grubs.symbol(grubs.ABSOLUTE, 0x1234)
    kernel = relocatable(grubs.rela(0, R_64, 2), symbols=symbols)
    assert struct.unpack_from("<Q", kernel.image, PAGE)[0] == 0x1234


@pytest.mark.parametrize(("offset", "kind"), [(24, R_64), (28, R_PC32)])
def test_the_last_word_of_a_section(offset, kind):
    relocatable(grubs.rela(offset, kind, 1))
    with pytest.raises(FormatError, match="leads nowhere"):
        relocatable(grubs.rela(offset + 1, kind, 1))


@pytest.mark.parametrize("symbol", [0, 4, 0xFFFFFFFF])
def test_symbols_that_are_nowhere(symbol):
    with pytest.raises(FormatError, match="leads nowhere"):
        relocatable(grubs.rela(0, R_64, symbol))


def test_a_relocation_of_another_type():
    with pytest.raises(FormatError, match="of type 10"):
        relocatable(grubs.rela(0, 10, 1))


def test_without_start():
    with pytest.raises(FormatError, match="has no symbol _start"):
        relocatable(symbols=grubs.symbol(0, 0))


def test_without_symbols():
    with pytest.raises(FormatError, match="has no table of symbols"):
        load_relocatable(grubs.elf64(Part(PROGBITS, ALLOC | EXEC, TEXT)), "kernel.img", BASE, PAGE)


@pytest.mark.parametrize("size", [1 << 26, 1 << 40, (1 << 64) - 1])
def test_more_memory_than_any_kernel_needs(size):
    file = grubs.elf64(Part(NOBITS, ALLOC, size=size))
    if size == 1 << 26:
        with pytest.raises(FormatError, match="no table of symbols"):
            load_relocatable(file, "kernel.img", BASE, PAGE)
    else:
        with pytest.raises(FormatError, match="bytes of memory"):
            load_relocatable(file, "kernel.img", BASE, PAGE)


@pytest.mark.parametrize("load", [load_fixed, lambda c, n: load_relocatable(c, n, BASE, PAGE)])
@pytest.mark.parametrize("whole", [grubs.pc_kernel(), grubs.efi_kernel(grubs.rela(0, R_64, 1))])
def test_cut_short_anywhere(load, whole):
    """The table of sections comes last, so that no part of a file is a whole one."""
    for length in range(len(whole)):
        with pytest.raises(FormatError):
            load(whole[:length], "kernel.img")
