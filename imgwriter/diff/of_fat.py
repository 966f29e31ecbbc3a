"""What differs in the structures of FAT."""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.diff import layouts
from imgwriter.diff.changes import Change
from imgwriter.diff.fields import raw
from imgwriter.diff.units import Explainer, Unit
from imgwriter.errors import show
from imgwriter.examine.owners import Kind, Region
from imgwriter.fat.structures import ATTR_VOLUME_ID, ENTRY_SIZE

_MOST_SLOTS = 21
"""Entries of a file: twenty of its long name, and its own."""
_PAIR_SIZE = 3
_LABEL = bytes([ATTR_VOLUME_ID])


def _boot_sector(unit: Unit) -> Iterator[Change | None]:
    subject = "backup boot sector" if unit.of_a.note else "boot sector"
    wide = unit.a[22:24] == b"\0\0"  # BPB_FATSz16
    yield from unit.field_changes(subject, subject, layouts.boot_sector(wide))


def _fsinfo(unit: Unit) -> Iterator[Change | None]:
    subject = "backup FSInfo" if unit.of_a.note else "FSInfo"
    yield from unit.field_changes(subject, subject, layouts.fsinfo())


def _fat(unit: Unit) -> Iterator[Change | None]:
    number = unit.record_number
    if unit.of_a.unit == _PAIR_SIZE:
        # Two entries of 12 bits share a byte: they are told together.
        subject = f"{unit.of_a.note}, entries {2 * number:,} and {2 * number + 1:,}"
        a, b = (_pair(side) for side in (unit.a, unit.b))
    else:
        subject = f"{unit.of_a.note}, entry {number:,}"
        a, b = (f"{int.from_bytes(side, 'little'):#x}" for side in (unit.a, unit.b))
    yield unit.change(unit.of_a.note, subject, "", 0, len(unit.a), a, b)


def _pair(content: bytes) -> str:
    value = int.from_bytes(content, "little")
    return f"{value & 0xFFF:#x} and {value >> 12:#x}"


def _fat_directory(unit: Unit) -> Iterator[Change | None]:
    directory = show(unit.of_a.path or b"") or "/"
    path = _path_of_entry(unit.of_a, unit.at_a)
    path = _path_of_entry(unit.of_b, unit.at_b) if path is None else path
    place = (unit.at_a - unit.of_a.start + max(unit.of_a.logical, 0)) // ENTRY_SIZE
    subject = f"entry {place:,} of {directory}" if path is None else f"entry of {show(path)}"
    if unit.a[11:12] == unit.b[11:12] == _LABEL:
        subject = f"volume label of {directory}"
    long = [layouts.is_long(side) for side in (unit.a, unit.b)]
    if len(unit.a) < ENTRY_SIZE or long[0] != long[1]:
        kinds = [
            "part of a long name" if flag else raw(side)
            for flag, side in zip(long, (unit.a, unit.b), strict=True)
        ]
        yield unit.change("directory entry", subject, "", 0, len(unit.a), *kinds)
        return
    yield from unit.field_changes("directory entry", subject, layouts.directory_entry(long[0]))


def _path_of_entry(region: Region, at: int) -> bytes | None:
    """Return whose entry is at an offset: its own, or the one that a long name's part stands before."""
    for offset in range(at, min(at + _MOST_SLOTS * ENTRY_SIZE, region.end), ENTRY_SIZE):
        if offset in region.names:
            return region.names[offset]
    return None


EXPLAINERS: dict[Kind, Explainer] = {
    Kind.BOOT_SECTOR: _boot_sector,
    Kind.FSINFO: _fsinfo,
    Kind.FAT: _fat,
    Kind.FAT_DIRECTORY: _fat_directory,
}
