"""ELF: what is read, and that damage is said and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import FormatError
from imgwriter.guest.elf import Elf, strings
from tests.unit.guest.elves import AARCH64, PT_INTERP, PT_LOAD, PT_NOTE, RISCV, X86_64, elf, module
from tests.unit.guest.kernels import note, vmlinux


@pytest.mark.parametrize(("machine", "name"), [(X86_64, "x86_64"), (AARCH64, "aarch64"), (RISCV, None)])
def test_machine(machine, name):
    assert Elf(elf(machine), "it").machine == name


@pytest.mark.parametrize(
    ("programs", "static"), [((), True), ((PT_LOAD, PT_LOAD), True), ((PT_LOAD, PT_INTERP), False)]
)
def test_a_dynamic_program_names_its_interpreter(programs, static):
    assert Elf(elf(programs=programs), "it").is_static is static


def test_section():
    read = Elf(module("name=it", "depends=a,b"), "it")
    assert read.section(b".modinfo") == b"name=it\0depends=a,b\0"
    assert read.section(b".modinf") == b""  # a part of a name is not the name
    assert read.section(b".text") == b""
    assert Elf(elf(), "it").section(b".modinfo") == b""


def test_strings():
    said = list(strings(b"depends=a,b\0\0\0no value\0alias=x=y\0odd=\xff\0"))
    assert said == [("depends", "a,b"), ("alias", "x=y"), ("odd", "\\xff")]


@pytest.mark.parametrize("align", [4, 8])
def test_notes(align):
    segment = (
        note(b"GNU\0", 3, bytes(20), align) + note(b"Linux\0", 0x100, b"\1", align) + note(padding=align)
    )
    read = Elf(vmlinux(segment, align=align), "it")
    assert list(read.notes()) == [(b"GNU", 3), (b"Linux", 0x100), (b"Xen", 18)]
    assert list(Elf(elf(programs=(PT_LOAD,)), "it").notes()) == []


def test_end():
    assert Elf(vmlinux(address=16 << 20, size=5), "it").end == (16 << 20) + 5
    assert Elf(elf(programs=(PT_INTERP,)), "it").end == 0


@pytest.mark.parametrize(("length", "count"), [(11, 0), (12, 1), (23, 1), (24, 2)])
def test_notes_end_with_their_segment(length, count):
    """A note without a name and content is 12 bytes; what is less is none."""
    assert list(Elf(vmlinux(bytes(length)), "it").notes()) == [(b"", 0)] * count


@pytest.mark.parametrize("field", [0, 4])
def test_a_note_that_says_that_it_is_huge_is_the_last(field):
    segment = bytearray(note(b"GNU\0", 3) + note())
    struct.pack_into("<I", segment, field, 0xFFFFFFFF)
    assert [kind for _, kind in Elf(vmlinux(bytes(segment)), "it").notes()] == [3]


@pytest.mark.parametrize("excess", [0, 1])
def test_notes_lie_in_the_file(excess):
    content = bytearray(vmlinux())
    struct.pack_into("<Q", content, 64 + 56 + 32, len(note()) + excess)  # p_filesz
    read = Elf(bytes(content), "it")
    if not excess:
        assert list(read.notes()) == [(b"Xen", 18)]
        return
    with pytest.raises(FormatError, match="segment of notes") as caught:
        list(read.notes())
    assert caught.value.where == "p_offset"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "e_ident"),
        (b"#!/bin/sh\n" * 10, "e_ident"),
        (elf()[:63], "e_ident"),
        (b"\x7fELF\x01" + elf()[5:], "e_ident"),  # 32 bits
        (b"\x7fELF\x02\x02" + elf()[6:], "e_ident"),  # big-endian
    ],
)
def test_what_is_no_elf_file(content, where):
    with pytest.raises(FormatError) as caught:
        Elf(content, "thing")
    assert caught.value.where == where and "thing" in str(caught.value)


@pytest.mark.parametrize(
    ("at", "form", "value", "where"),
    [
        (32, "<Q", 1 << 63, "e_phoff"),
        (54, "<H", 57, "e_phoff"),
        (40, "<Q", 1 << 40, "e_shoff"),
        (58, "<H", 0, "e_shoff"),
        (60, "<H", 0xFFFF, "e_shoff"),
        (62, "<H", 3, "e_shstrndx"),
        (64 + 56 + 64 + 24, "<Q", 1 << 62, "sh_offset"),  # the first section that is one
        (64 + 56 + 64 + 32, "<Q", 1 << 62, "sh_offset"),
    ],
)
def test_tables_and_sections_lie_in_the_file(at, form, value, where):
    content = bytearray(elf(programs=(PT_LOAD,), modinfo=b"name=it\0"))
    struct.pack_into(form, content, at, value)
    with pytest.raises(FormatError) as caught:
        Elf(bytes(content), "it").section(b".modinfo")
    assert caught.value.where == where


@given(st.binary(max_size=400), st.integers(0, 399))
def test_damage_is_a_format_error(noise, at):
    whole = elf(programs=(PT_LOAD, PT_NOTE), modinfo=b"name=it\0")
    content = whole[:at] + noise + whole[at + len(noise) :]
    try:
        read = Elf(content, "it")
        assert len(read.section(b".modinfo")) <= len(content)
        assert read.is_static in (True, False)
        assert all(len(name) <= len(content) for name, _ in read.notes())
    except FormatError as error:
        assert error.where and error.offset is not None


@given(st.integers(0, 64 + 56 + 3 * 64 + 8 + 19 - 1))
def test_a_file_that_is_cut_off_is_a_format_error(length):
    whole = elf(programs=(PT_LOAD,), modinfo=b"name=it\0")
    with pytest.raises(FormatError):
        Elf(whole[:length], "it").section(b".modinfo")
