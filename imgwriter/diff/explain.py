"""Which structures the differing bytes of two disks belong to: every byte to exactly one.

::

    differing grains    ░░░░████░░░░░██░░░
    owners of A         ├ inode table ┼ usr/bin/x ┤        alike: decoded by one record, fields named
    owners of B         ├ inode table ┼ usr/bin/y ┤        not alike: what is there on each

A *unit* is what is explained at once: one record, one block of a directory, or a piece of a file. Units
follow each other, each is taken once, and its changes account for all of its differing bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.diff import of_ext4, of_fat, of_tables
from imgwriter.diff.changes import UNUSED, Change
from imgwriter.diff.fields import raw
from imgwriter.diff.ranges import STEP, Side, differing, xor
from imgwriter.diff.units import Explainer, Unit
from imgwriter.examine.owners import Kind, Region, RegionMap


class Sides(NamedTuple):
    """Both disks, their owners, and where what is compared begins on each."""

    a: Side
    b: Side
    owners_a: RegionMap
    owners_b: RegionMap


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

_EXPLAINERS: dict[Kind, Explainer] = {**of_tables.EXPLAINERS, **of_ext4.EXPLAINERS, **of_fat.EXPLAINERS}
