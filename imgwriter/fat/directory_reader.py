"""A directory's bytes become names and entries, as Linux's vfat reads them.

::

    ├ long, order 42 ┼ long, order 01 ┼ short ┤
         second 13        first 13      8 + 3 bytes, whose checksum both long ones have

A long name counts when all of its entries are there, in order, with the right checksum; else the short one.

An entry whose first byte is 0 ends the directory, as the specification has it; Linux reads on.

Spec: FAT specification, 6 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.fat.structures import (
    ATTR_LONG_NAME,
    ATTR_LONG_NAME_MASK,
    ATTR_VOLUME_ID,
    DOT,
    DOT_DOT,
    END_OF_DIRECTORY,
    ENTRY_SIZE,
    FREE_ENTRY,
    LAST_LONG_ENTRY,
    ShortEntry,
    checksum,
    parse_long,
    parse_short,
)

_MOST_SLOTS = 20
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10
_KANJI_E5 = b"\x05"
"""Stands for a first byte of E5, which would mean a free entry."""

CODE_PAGE = "cp437"
"""Of short names: Linux's default, and what mkfs.fat and mtools assume."""


class Named(NamedTuple):
    """One file or directory of a directory.

    Attributes:
        name: The long name, or the short one where there is none that counts, as UTF-8. Lone surrogates of a
            long name are encoded like other characters, which is not valid UTF-8 but loses nothing.
        entry: The directory entry.
        position: Where it is in the directory, in bytes.
    """

    name: bytes
    entry: ShortEntry
    position: int


def named_entries(content: bytes) -> Iterator[Named]:
    """Yield what a directory holds, without ``.``, ``..``, the volume label and free entries."""
    slots = _Slots()
    for position, first, attributes in _used(content):
        if attributes & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME:
            slots.add(content, position)
            continue
        units = slots.take(content[position : position + 11])
        if attributes & ATTR_VOLUME_ID or first == FREE_ENTRY:
            continue
        entry = parse_short(content, position)
        if entry.name not in (DOT, DOT_DOT):
            yield Named(_long_name(units) or short_name(entry), entry, position)


def volume_label(content: bytes) -> bytes | None:
    """Return the 11 bytes of a root directory's volume label, None where it has none."""
    for position, first, attributes in _used(content):
        is_long = attributes & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME
        if first != FREE_ENTRY and attributes & ATTR_VOLUME_ID and not is_long:
            return content[position : position + 11]
    return None


def _used(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (position, first byte, attributes) of the entries before the end of the directory."""
    for position in range(0, len(content) - ENTRY_SIZE + 1, ENTRY_SIZE):
        first = content[position]
        if first == END_OF_DIRECTORY:
            return
        yield position, first, content[position + 11]


class _Slots:
    """The long-name entries since the last short one, as far as they make a name."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.missing = 0
        self.checksum = 0

    def add(self, content: bytes, position: int) -> None:
        """Take the next entry: the first of a name, or the one that follows; anything else spoils it."""
        slot = parse_long(content, position)
        number = slot.order & ~LAST_LONG_ENTRY
        if slot.order & LAST_LONG_ENTRY and slot.order != FREE_ENTRY:
            self.parts = []
            self.missing = number if 0 < number <= _MOST_SLOTS else 0
            self.checksum = slot.checksum
        elif not self.missing or number != self.missing or slot.checksum != self.checksum:
            self.missing = 0
        if self.missing == number and self.missing:
            self.parts.append(slot.name1 + slot.name2 + slot.name3)
            self.missing -= 1
        else:
            self.parts = []

    def take(self, short: bytes) -> bytes:
        """Return the name's UTF-16 units, empty where it is not whole or not of this short name."""
        parts, missing = self.parts, self.missing
        self.parts, self.missing = [], 0
        if not parts or missing or short[0] == FREE_ENTRY or checksum(short) != self.checksum:
            return b""
        return b"".join(reversed(parts))


def _long_name(units: bytes) -> bytes:
    """Return a long name as UTF-8; empty where it is none that a directory could hold."""
    for end in range(0, len(units), 2):
        if units[end : end + 2] == b"\0\0":
            units = units[:end]
            break
    name = units.decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")
    return b"" if name in (b".", b"..") or b"/" in name else name


def short_name(entry: ShortEntry) -> bytes:
    """Return a short name as UTF-8, in lower case where DIR_NTRes says so."""
    raw = b"\xe5" + entry.name[1:] if entry.name[:1] == _KANJI_E5 else entry.name
    base, extension = raw[:8].decode(CODE_PAGE).rstrip(" "), raw[8:].decode(CODE_PAGE).rstrip(" ")
    if entry.nt_res & _LOWER_BASE:
        base = _lower(base)
    if entry.nt_res & _LOWER_EXTENSION:
        extension = _lower(extension)
    return (f"{base}.{extension}" if extension else base).encode()


def _lower(text: str) -> str:
    """Return lower case, character by character: in no context."""
    return "".join(c.lower() for c in text)
