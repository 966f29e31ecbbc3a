"""What differs in the structures of ext4."""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.diff import contents, layouts
from imgwriter.diff.changes import Change
from imgwriter.diff.fields import hexadecimal, raw
from imgwriter.diff.units import Explainer, Unit
from imgwriter.errors import show
from imgwriter.examine.owners import Kind
from imgwriter.ext4.format import EXT4_GOOD_OLD_INODE_SIZE
from imgwriter.ext4.xattr import XATTR_HEADER, XATTR_IBODY_HEADER

_I_FLAGS_AT, _EXTRA_ISIZE_AT = 0x20, 0x80


def _superblock(unit: Unit) -> Iterator[Change | None]:
    note = unit.of_a.note
    subject = f"ext4 superblock, {note}" if note else "ext4 superblock"
    kind = "backup superblock" if note else "superblock"
    yield from unit.field_changes(kind, subject, layouts.superblock())


def _descriptor(unit: Unit) -> Iterator[Change | None]:
    note, kind = unit.of_a.note, "group descriptor"
    subject = f"group descriptor {unit.record_number}" + (f", {note}" if note else "")
    fields = layouts.group_descriptor(len(unit.a))
    yield from unit.field_changes(f"backup {kind}" if note else kind, subject, fields)


def _block_bitmap(unit: Unit) -> Iterator[Change | None]:
    subject = f"block bitmap, {unit.of_a.note}"
    a, b = contents.bitmaps(unit.a, unit.b, unit.of_a.number)
    yield unit.change("block bitmap", subject, "", 0, len(unit.a), a, b)


def _inode_bitmap(unit: Unit) -> Iterator[Change | None]:
    a, b = contents.bitmaps(unit.a, unit.b, unit.of_a.number)
    yield unit.change("inode bitmap", f"inode bitmap, {unit.of_a.note}", "", 0, len(unit.a), a, b)


def _inode(unit: Unit) -> Iterator[Change | None]:
    number = unit.record_number
    path = unit.of_a.names.get(number)
    path = unit.of_b.names.get(number) if path is None else path
    subject = f"inode {number:,}" if path is None else f"inode {number:,} ({show(path) or '/'})"
    fields = layouts.inode(len(unit.a))
    for change in unit.field_changes("inode", subject, fields):
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
        yield unit.rest_change("inode", subject, at)
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
    yield from unit.field_changes("extent tree", subject, layouts.extent_block(len(unit.a), depth))


def _journal(unit: Unit) -> Iterator[Change | None]:
    place = (unit.at_a - unit.of_a.start + unit.of_a.logical) // max(unit.of_a.block, 1)
    if place == 0:
        kind, fields = "journal superblock", layouts.journal_superblock(len(unit.a))
        yield from unit.field_changes(kind, kind, fields)
        return
    a, b = raw(unit.a), raw(unit.b)
    yield unit.change("journal", f"journal, block {place:,}", "", 0, len(unit.a), a, b)


EXPLAINERS: dict[Kind, Explainer] = {
    Kind.SUPERBLOCK: _superblock,
    Kind.DESCRIPTORS: _descriptor,
    Kind.BLOCK_BITMAP: _block_bitmap,
    Kind.INODE_BITMAP: _inode_bitmap,
    Kind.INODE_TABLE: _inode,
    Kind.DIRECTORY: _directory,
    Kind.XATTR: _xattr_block,
    Kind.EXTENT_TREE: _extent_block,
    Kind.JOURNAL: _journal,
}
