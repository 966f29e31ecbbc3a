"""Which structures the differing bytes of two disks belong to: every byte to exactly one.

::

    differing grains    ░░░░████░░░░░██░░░
    owners of A         ├ inode table ┼ usr/bin/x ┤        alike: decoded by one record, fields named
    owners of B         ├ inode table ┼ usr/bin/y ┤        not alike: what is there on each

A *unit* is what is explained at once: one record, one block of a directory, or a piece of a file. Units
follow each other, each is taken once, and its changes account for all of its differing bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from imgwriter.diff import contents, layouts
from imgwriter.diff.changes import UNUSED, Change, class_of
from imgwriter.diff.fields import Field, hexadecimal, raw
from imgwriter.diff.ranges import STEP, Side, differing, xor
from imgwriter.errors import show
from imgwriter.examine.owners import Kind, Region, RegionMap
from imgwriter.ext4.format import EXT4_GOOD_OLD_INODE_SIZE
from imgwriter.ext4.xattr import XATTR_HEADER, XATTR_IBODY_HEADER
from imgwriter.fat.structures import ATTR_VOLUME_ID, ENTRY_SIZE

_I_FLAGS_AT, _EXTRA_ISIZE_AT = 0x20, 0x80
_MOST_SLOTS = 21
_PAIR_SIZE = 3
_LABEL = bytes([ATTR_VOLUME_ID])


class Sides(NamedTuple):
    """Both disks, their owners, and where what is compared begins on each."""

    a: Side
    b: Side
    owners_a: RegionMap
    owners_b: RegionMap


class Unit(NamedTuple):
    """What is explained at once.

    Attributes:
        a, b: The bytes.
        at_a, at_b: Where they are on each disk.
        of_a, of_b: Whose they are.
    """

    a: bytes
    b: bytes
    at_a: int
    at_b: int
    of_a: Region
    of_b: Region

    def change(
        self, kind: str, subject: str, field: str, low: int, high: int, a: str, b: str
    ) -> Change | None:
        """Return the change of the bytes [low, high), None where they are equal."""
        one, two = self.a[low:high], self.b[low:high]
        if one == two:
            return None
        layer = self.of_a.layer
        return Change(layer, kind, subject, field, self.at_a + low, xor(one, two), a, b, class_of(field))


Explainer = Callable[[Unit], Iterator[Change | None]]


def explain(sides: Sides, start_a: int, start_b: int, length: int) -> Iterator[Change]:
    """Yield the changes in ``length`` bytes, in the order of the disk.

    Args:
        sides: The disks.
        start_a, start_b: Where the bytes begin on each.
        length: How many.
    """
    done = 0
    for start, end in differing(sides.a, sides.b, start_a, start_b, length):
        position = max(start, done)
        while position < end:
            unit = _unit(sides, start_a + position, start_b + position, end - position, length - position)
            yield from _changes(unit)
            position += len(unit.a) - (start_a + position - unit.at_a)
        done = position


def _unit(sides: Sides, at_a: int, at_b: int, window: int, most: int) -> Unit:
    """Return the unit of a byte: a whole structure where both sides have it, else a piece of one owner's."""
    of_a, of_b = sides.owners_a.at(at_a), sides.owners_b.at(at_b)
    ahead = min(of_a.end - at_a, of_b.end - at_b, most)
    low, high = 0, min(ahead, window, STEP)
    if are_alike(of_a, of_b, at_a, at_b):
        size = _unit_size(of_a)
        if size:
            into = (at_a - of_a.start) % size
            # Where damage cut off a structure's beginning, its bytes are told by pieces.
            if into <= at_b - of_b.start:
                low, high = -into, min(size - into, ahead)
    one, two = sides.a.read(at_a + low, high - low), sides.b.read(at_b + low, high - low)
    return Unit(one, two, at_a + low, at_b + low, of_a, of_b)


def _unit_size(region: Region) -> int:
    """Return the bytes of the structures that a region is made of; 0 where it is told by pieces."""
    if region.unit:
        return region.unit
    if region.kind in _WHOLE:
        return region.size
    return region.block if region.kind in _BY_BLOCK else 0


def are_alike(a: Region, b: Region, at_a: int, at_b: int) -> bool:
    """Return whether both sides have the same part of the same structure at two places."""
    if (a.kind, a.unit, a.note, a.block) != (b.kind, b.unit, b.note, b.block):
        return False
    into_a, into_b = at_a - a.start, at_b - b.start
    if a.kind in _OF_INODES:
        return (
            a.path == b.path
            and (a.logical < 0) == (b.logical < 0)
            and into_a + a.logical == into_b + b.logical
        )
    if a.unit:
        nth_a, rest_a = divmod(into_a, a.unit)
        nth_b, rest_b = divmod(into_b, b.unit)
        return rest_a == rest_b and a.number + nth_a == b.number + nth_b
    return a.kind not in _WHOLE or into_a == into_b


def _changes(unit: Unit) -> Iterator[Change]:
    if unit.a == unit.b:
        return
    if are_alike(unit.of_a, unit.of_b, unit.at_a, unit.at_b):
        explainer = _EXPLAINERS.get(unit.of_a.kind, _piece)
    else:
        explainer = _elsewhere
    for change in explainer(unit):
        if change is not None:
            yield change


def _fields(unit: Unit, kind: str, subject: str, fields: Sequence[Field]) -> Iterator[Change | None]:
    """Yield a change for each field that differs; the fields cover the unit."""
    for name, at, size, form in fields:
        one, two = unit.a[at : at + size], unit.b[at : at + size]
        if one != two:
            a, b = form(one), form(two)
            if a == b:
                a, b = raw(one), raw(two)
            yield unit.change(kind, subject, name, at, at + size, a, b)


def _rest(unit: Unit, kind: str, subject: str, at: int) -> Iterator[Change | None]:
    """Yield the change of what a record has behind its fields."""
    if at < len(unit.a):
        name = f"bytes {at} to {len(unit.a) - 1}"
        yield unit.change(kind, subject, name, at, len(unit.a), raw(unit.a[at:]), raw(unit.b[at:]))


# --- Tables ---


def _mbr(unit: Unit) -> Iterator[Change | None]:
    kind = str(unit.of_a.kind)
    subject = f"EBR at {unit.of_a.note}" if unit.of_a.kind is Kind.EBR else "MBR"
    yield from _fields(unit, kind, subject, layouts.mbr_sector())


def _gpt_header(unit: Unit) -> Iterator[Change | None]:
    subject = f"GPT {unit.of_a.note} header"
    yield from _fields(unit, subject, subject, layouts.gpt_header(len(unit.a)))


def _number(unit: Unit) -> int:
    """Return the number of the record that a unit is."""
    return unit.of_a.number + (unit.at_a - unit.of_a.start) // unit.of_a.unit


def _gpt_entry(unit: Unit) -> Iterator[Change | None]:
    kind = "GPT entry" if unit.of_a.note == "primary" else "GPT backup entry"
    yield from _fields(unit, kind, f"{kind} {_number(unit)}", layouts.gpt_entry(len(unit.a)))


# --- ext4 ---


def _superblock(unit: Unit) -> Iterator[Change | None]:
    note = unit.of_a.note
    subject = f"ext4 superblock, {note}" if note else "ext4 superblock"
    yield from _fields(unit, "backup superblock" if note else "superblock", subject, layouts.superblock())


def _descriptor(unit: Unit) -> Iterator[Change | None]:
    note, kind = unit.of_a.note, "group descriptor"
    subject = f"group descriptor {_number(unit)}" + (f", {note}" if note else "")
    fields = layouts.group_descriptor(len(unit.a))
    yield from _fields(unit, f"backup {kind}" if note else kind, subject, fields)


def _block_bitmap(unit: Unit) -> Iterator[Change | None]:
    subject = f"block bitmap, {unit.of_a.note}"
    a, b = contents.bitmaps(unit.a, unit.b, 0)
    yield unit.change("block bitmap", subject, "", 0, len(unit.a), a, b)


def _inode_bitmap(unit: Unit) -> Iterator[Change | None]:
    a, b = contents.bitmaps(unit.a, unit.b, 1)
    yield unit.change("inode bitmap", f"inode bitmap, {unit.of_a.note}", "", 0, len(unit.a), a, b)


def _inode(unit: Unit) -> Iterator[Change | None]:
    number = _number(unit)
    path = unit.of_a.names.get(number)
    path = unit.of_b.names.get(number) if path is None else path
    subject = f"inode {number:,}" if path is None else f"inode {number:,} ({show(path) or '/'})"
    fields = layouts.inode(len(unit.a))
    for change in _fields(unit, "inode", subject, fields):
        if change is not None and change.field == "i_block":
            a, b = (
                contents.block_map(
                    side[0x28:0x64], int.from_bytes(side[_I_FLAGS_AT : _I_FLAGS_AT + 4], "little")
                )
                for side in (unit.a, unit.b)
            )
            change = change if a == b else change._replace(a=a, b=b)
        yield change
    yield from _inode_tail(unit, subject, fields[-1].end if fields else 0)


def _inode_tail(unit: Unit, subject: str, at: int) -> Iterator[Change | None]:
    """Yield what differs behind the fields: attributes, where both sides have them in one place."""
    starts = [
        EXT4_GOOD_OLD_INODE_SIZE
        + int.from_bytes(side[_EXTRA_ISIZE_AT : _EXTRA_ISIZE_AT + 2], "little")
        + XATTR_IBODY_HEADER.size
        for side in (unit.a, unit.b)
    ]
    start = starts[0]
    if starts[0] != starts[1] or not at <= start <= len(unit.a):
        yield from _rest(unit, "inode", subject, at)
        return
    a, b = contents.attributes(unit.a[start:], unit.b[start:], 0)
    yield unit.change("inode", subject, "extended attributes", at, len(unit.a), a, b)


def _directory(unit: Unit) -> Iterator[Change | None]:
    path = show(unit.of_a.path or b"") or "/"
    place = (unit.at_a - unit.of_a.start + unit.of_a.logical) // max(unit.of_a.block, 1)
    subject = f"directory {path}, block {place}"
    a, b = contents.directories(unit.a, unit.b)
    sealed = contents.directory_checksum(unit.a)
    if sealed is None or sealed != contents.directory_checksum(unit.b):
        yield unit.change("directory", subject, "entries", 0, len(unit.a), a, b)
        return
    at, name = sealed
    end = at + 4
    yield unit.change("directory", subject, "entries", 0, at, a, b)
    yield unit.change(
        "directory", subject, name, at, end, *(hexadecimal(side[at:end]) for side in (unit.a, unit.b))
    )
    yield unit.change("directory", subject, "entries", end, len(unit.a), a, b)


def _xattr_block(unit: Unit) -> Iterator[Change | None]:
    subject = f"extended attributes of {show(unit.of_a.path or b'') or '/'}"
    names = ("h_magic", "h_refcount", "h_blocks", "h_hash", "h_checksum")
    for index, name in enumerate(names):
        one, two = (side[4 * index : 4 * index + 4] for side in (unit.a, unit.b))
        a, b = (f"{int.from_bytes(value, 'little'):#x}" for value in (one, two))
        yield unit.change("attribute block", subject, name, 4 * index, 4 * index + 4, a, b)
    a, b = contents.attributes(unit.a, unit.b, XATTR_HEADER.size)
    yield unit.change("attribute block", subject, "attributes", 4 * len(names), len(unit.a), a, b)


def _extent_block(unit: Unit) -> Iterator[Change | None]:
    subject = f"extent tree of {show(unit.of_a.path or b'') or '/'}"
    depth = int.from_bytes(unit.a[6:8], "little")
    yield from _fields(unit, "extent tree", subject, layouts.extent_block(len(unit.a), depth))


def _journal(unit: Unit) -> Iterator[Change | None]:
    place = (unit.at_a - unit.of_a.start + unit.of_a.logical) // max(unit.of_a.block, 1)
    if place == 0:
        yield from _fields(
            unit, "journal superblock", "journal superblock", layouts.journal_superblock(len(unit.a))
        )
        return
    a, b = raw(unit.a), raw(unit.b)
    yield unit.change("journal", f"journal, block {place:,}", "", 0, len(unit.a), a, b)


# --- FAT ---


def _boot_sector(unit: Unit) -> Iterator[Change | None]:
    subject = "backup boot sector" if unit.of_a.note else "boot sector"
    wide = unit.a[22:24] == b"\0\0"  # BPB_FATSz16
    yield from _fields(unit, subject, subject, layouts.boot_sector(wide))


def _fsinfo(unit: Unit) -> Iterator[Change | None]:
    subject = "backup FSInfo" if unit.of_a.note else "FSInfo"
    yield from _fields(unit, subject, subject, layouts.fsinfo())


def _fat(unit: Unit) -> Iterator[Change | None]:
    number = _number(unit)
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
    yield from _fields(unit, "directory entry", subject, layouts.directory_entry(long[0]))


def _path_of_entry(region: Region, at: int) -> bytes | None:
    """Return whose entry is at an offset: its own, or the one that a long name's part stands before."""
    for offset in range(at, min(at + _MOST_SLOTS * ENTRY_SIZE, region.end), ENTRY_SIZE):
        if offset in region.names:
            return region.names[offset]
    return None


# --- What is told by its bytes ---


def _piece(unit: Unit) -> Iterator[Change | None]:
    """Yield the difference of a file's content, or of bytes that have no structure."""
    region = unit.of_a
    difference = xor(unit.a, unit.b)
    low = len(difference) - len(difference.lstrip(b"\0"))
    a, b = raw(unit.a[low : low + 8]), raw(unit.b[low : low + 8])
    group = UNUSED if region.kind in (Kind.UNUSED, Kind.GAP) else ""
    if region.logical >= 0:
        where = region.logical + unit.at_a - region.start + low
        yield Change(region.layer, _kind(region), region.title, "", unit.at_a, difference, a, b, group, where)
    else:
        yield Change(region.layer, _kind(region), region.title, "", unit.at_a, difference, a, b, group)


def _kind(region: Region) -> str:
    return "content" if region.kind in (Kind.FILE, Kind.SYSTEM_FILE, Kind.SYMLINK) else str(region.kind)


def _elsewhere(unit: Unit) -> Iterator[Change | None]:
    """Yield the difference of a place that is not the same on both sides."""
    a, b = _part(unit.of_a), _part(unit.of_b)
    subject = f"{a} / {b}"
    difference = xor(unit.a, unit.b)
    yield Change(unit.of_a.layer, "placement", subject, "", unit.at_a, difference, a, b)


def _part(region: Region) -> str:
    return "unused" if region.kind is Kind.UNUSED else region.title


_WHOLE = frozenset({Kind.MBR, Kind.EBR, Kind.GPT_HEADER, Kind.SUPERBLOCK, Kind.BOOT_SECTOR, Kind.FSINFO})
"""Regions that are one record."""
_BY_BLOCK = frozenset(
    {Kind.DIRECTORY, Kind.JOURNAL, Kind.XATTR, Kind.EXTENT_TREE, Kind.BLOCK_BITMAP, Kind.INODE_BITMAP}
)
"""Regions whose blocks are structures."""
_OF_INODES = frozenset(
    {Kind.DIRECTORY, Kind.FAT_DIRECTORY, Kind.FILE, Kind.SYMLINK, Kind.SYSTEM_FILE, Kind.JOURNAL, Kind.XATTR}
    | {Kind.EXTENT_TREE, Kind.BLOCK_MAP, Kind.RESIZE, Kind.UNWRITTEN}
)
"""Regions that belong to an inode, and are alike where its path and place are."""

_EXPLAINERS: dict[Kind, Explainer] = {
    Kind.MBR: _mbr,
    Kind.EBR: _mbr,
    Kind.GPT_HEADER: _gpt_header,
    Kind.GPT_ENTRIES: _gpt_entry,
    Kind.SUPERBLOCK: _superblock,
    Kind.DESCRIPTORS: _descriptor,
    Kind.BLOCK_BITMAP: _block_bitmap,
    Kind.INODE_BITMAP: _inode_bitmap,
    Kind.INODE_TABLE: _inode,
    Kind.DIRECTORY: _directory,
    Kind.XATTR: _xattr_block,
    Kind.EXTENT_TREE: _extent_block,
    Kind.JOURNAL: _journal,
    Kind.BOOT_SECTOR: _boot_sector,
    Kind.FSINFO: _fsinfo,
    Kind.FAT: _fat,
    Kind.FAT_DIRECTORY: _fat_directory,
}
