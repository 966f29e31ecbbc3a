"""As much of ELF as tells what a program or a kernel module is.

::

    0 e_ident  18 e_machine  32 e_phoff  40 e_shoff  54 e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    program headers:  p_type, ..., p_offset, p_filesz     PT_INTERP: it wants a dynamic linker
                                                          PT_NOTE: where a kernel says how it can be entered
    section headers:  sh_name, ..., sh_offset, sh_size    ".modinfo": what a module says of itself

Spec: System V ABI, "Object Files". 64 bits, little-endian: what runs in the guests that there are. Every
offset is compared with the file's size before it is followed; nothing is made larger than the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from imgwriter.errors import FormatError

MACHINES = {62: "x86_64", 183: "aarch64"}
"""e_machine, and what the machine is called here."""

_HEADER = struct.Struct("<4s5B7x2HI3QI6H")
_IDENTITY = (2, 1)  # ELFCLASS64, ELFDATA2LSB
_PROGRAM = struct.Struct("<I4xQ8x4Q")  # p_type, p_offset, p_paddr, p_filesz, p_memsz, p_align
_SECTION = struct.Struct("<I20x2Q24x")  # sh_name, sh_offset, sh_size
_NOTE = struct.Struct("<3I")  # namesz, descsz, type
_PT_LOAD, _PT_INTERP, _PT_NOTE = 1, 3, 4
_MAX_NOTES = 1 << 20
"""Bytes of notes that are looked at: Debian's kernels have some hundred."""


class Elf:
    """An ELF file in memory.

    Args:
        content: The whole file.
        origin: What to call it in messages.

    Attributes:
        machine: e_machine by its name here, else None.

    Raises:
        FormatError: It is no 64-bit little-endian ELF file.
    """

    __slots__ = ("_content", "_origin", "_programs", "_sections", "_strings", "machine")

    def __init__(self, content: bytes, origin: str) -> None:
        self._content = content
        self._origin = origin
        if len(content) < _HEADER.size or not content.startswith(b"\x7fELF"):
            raise self._damaged("is no ELF file", "e_ident", 0)
        fields = _HEADER.unpack_from(content)
        if fields[1:3] != _IDENTITY:
            raise self._damaged("is no 64-bit little-endian ELF file", "e_ident", 4)
        machine, e_phoff, e_shoff = fields[7], fields[10], fields[11]
        phentsize, phnum, shentsize, shnum, self._strings = fields[14:19]
        self.machine = MACHINES.get(machine)
        self._programs = self._table("e_phoff", e_phoff, phentsize, phnum, _PROGRAM)
        self._sections = self._table("e_shoff", e_shoff, shentsize, shnum, _SECTION)

    def _table(self, field: str, offset: int, size: int, count: int, record: struct.Struct) -> range:
        """Return the offsets of a table's entries."""
        if count == 0:
            return range(0)
        if size != record.size or offset + count * size > len(self._content):
            raise self._damaged(f"has a table of {count} entries that does not lie in it", field, offset)
        return range(offset, offset + count * size, size)

    @property
    def is_static(self) -> bool:
        """Whether it runs without a dynamic linker."""
        return all(_PROGRAM.unpack_from(self._content, at)[0] != _PT_INTERP for at in self._programs)

    @property
    def end(self) -> int:
        """The physical address behind the last segment that is loaded; 0 where none is."""
        programs = (_PROGRAM.unpack_from(self._content, at) for at in self._programs)
        return max((start + size for kind, _, start, _, size, _ in programs if kind == _PT_LOAD), default=0)

    def section(self, wanted: bytes) -> bytes:
        """Return the bytes of the first section of that name; b"" where there is none.

        Raises:
            FormatError: A section or its name lies outside the file.
        """
        if not self._sections:
            return b""
        if self._strings >= len(self._sections):
            raise self._damaged("has no table of its sections' names", "e_shstrndx", 62)
        names = self._bytes(*self._place(self._sections[self._strings]))
        for at in self._sections:
            name: int = _SECTION.unpack_from(self._content, at)[0]
            if names[name : name + len(wanted) + 1] == wanted + b"\0":
                return self._bytes(*self._place(at))
        return b""

    def notes(self) -> Iterator[tuple[bytes, int]]:
        """Yield (name, type) of each note of the first segment that holds notes.

        Raises:
            FormatError: The segment lies outside the file.

        Spec: System V ABI, "Note Section"; p_align says to what the parts of a note are padded.
        """
        for at in self._programs:
            kind, offset, _, size, _, align = _PROGRAM.unpack_from(self._content, at)
            if kind == _PT_NOTE:
                segment = self._bytes(offset, min(size, _MAX_NOTES), "segment of notes", "p_offset")
                yield from _notes(segment, 8 if align == 8 else 4)
                return

    def _place(self, at: int) -> tuple[int, int]:
        _, offset, size = _SECTION.unpack_from(self._content, at)
        return offset, size

    def _bytes(self, offset: int, size: int, what: str = "section", field: str = "sh_offset") -> bytes:
        if offset + size > len(self._content):
            raise self._damaged(f"has a {what} of {size} bytes that does not lie in it", field, offset)
        return self._content[offset : offset + size]

    def _damaged(self, how: str, where: str, offset: int) -> FormatError:
        return FormatError(f"{self._origin} {how}; get a whole copy of it", where, offset)


def _notes(segment: bytes, alignment: int) -> Iterator[tuple[bytes, int]]:
    at = 0
    while at + _NOTE.size <= len(segment):
        name_size, content_size, kind = _NOTE.unpack_from(segment, at)
        at += _NOTE.size
        yield segment[at : at + name_size].rstrip(b"\0"), kind
        at += sum(-(-size // alignment) * alignment for size in (name_size, content_size))


def strings(section: bytes) -> Iterator[tuple[str, str]]:
    """Yield (key, value) of ``.modinfo``: ``key=value``, each ended by a NUL."""
    for line in section.split(b"\0"):
        key, separator, value = line.decode("utf-8", "backslashreplace").partition("=")
        if separator:
            yield key, value
