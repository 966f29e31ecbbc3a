"""What of two disks is compared with what: places with places where the layouts agree, else trees with trees.

::

    same table        ├──────────────── the whole disk, byte by byte ────────────────┤
    other table       ├ table ┤  ├ partition 1 ┤   ├ partition 2 ┤        ├ backup GPT ┤  like with like

A file system of another shape has its structures elsewhere: there bytes say nothing, and only its first
structure and its tree are compared. Of what has no tree here (XFS, swap) there are but the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from imgwriter.examine.opening import Area, OpenedDisk
from imgwriter.examine.owners import layer_of
from imgwriter.ext4.format import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE
from imgwriter.ext4.reader import FileSystem as Ext4
from imgwriter.fat.boot_reader import BOOT_SIZE
from imgwriter.fat.reader import FileSystem as Fat
from imgwriter.units import format_size


class Section(NamedTuple):
    """``length`` bytes that are compared, from ``start_a`` and ``start_b`` on."""

    start_a: int
    start_b: int
    length: int


class Sections(NamedTuple):
    """How two disks are compared.

    Attributes:
        sections: In the order of disk A.
        trees: Areas whose file systems are compared by their names and contents.
        notes: What is told and is no difference.
        differences: What is a difference without bytes: sizes, partitions that only one disk has.
    """

    sections: tuple[Section, ...]
    trees: tuple[tuple[Area, Area], ...]
    notes: tuple[str, ...]
    differences: tuple[str, ...]


def plan_sections(a: OpenedDisk, b: OpenedDisk) -> Sections:
    """Return what is compared with what."""
    size_a, size_b = a.image.volume.size, b.image.volume.size
    differences = list(_differences(a, b))
    pairs = match(a, b)
    # What is on a disk without a table begins with it, however long the two are.
    places_a, places_b = ([(x.number, x.start, x.number and x.size) for x in disk.areas] for disk in (a, b))
    same_places = places_a == places_b or is_blank(a) or is_blank(b)
    size = max(size_a, size_b)  # what is beyond a disk's end counts as zeros
    trees = tuple(pair for pair in pairs if not are_comparable(*pair))
    if same_places and not trees:
        return Sections((Section(0, 0, size),), (), (), tuple(differences))
    notes = [
        f"{layer_of(one)} is laid out otherwise: its first structure, its names and contents are compared"
        for one, _ in trees
    ]
    notes += [
        f"{layer_of(one)} of A is compared with {layer_of(two)} of B"
        for one, two in pairs
        if one.number != two.number
    ]
    if same_places:
        return Sections(tuple(_around(pairs, size)), trees, tuple(notes), tuple(differences))
    notes.append("partitions lie elsewhere: tables and partitions are compared, not what lies between")
    sections = [*_tables(a, b), *(section for pair in pairs for section in _of_pair(*pair))]
    inside = [clamped for section in sections if (clamped := _clamped(section, size_a, size_b)).length > 0]
    return Sections(tuple(inside), trees, tuple(notes), tuple(differences))


def _differences(a: OpenedDisk, b: OpenedDisk) -> Iterator[str]:
    size_a, size_b = a.image.volume.size, b.image.volume.size
    if size_a != size_b:
        sizes = f"{size_a:,} and {size_b:,} bytes ({format_size(size_a)} and {format_size(size_b)})"
        yield f"the disks have {sizes}"
    if a.table.kind != b.table.kind:
        yield f"the partition tables are {a.table.kind} and {b.table.kind}"
    pairs = match(a, b)
    for name, disk, matched in (
        ("A", a, {id(x) for x, _ in pairs}),
        ("B", b, {id(y) for _, y in pairs}),
    ):
        for area in disk.areas:
            if id(area) not in matched:
                yield f"only {name} has {layer_of(area) if area.number else 'no table'}"
    for one, two in pairs:
        if one.kind != two.kind:
            yield f"{one.name} holds {one.kind or 'unknown content'} and {two.kind or 'unknown content'}"
        elif where := [
            f"{verb} {x:,} and {y:,}{unit}"
            for verb, x, y, unit in (
                ("lies at", one.start, two.start, ""),
                ("has", one.size, two.size, " bytes"),
            )
            if x != y
        ]:
            yield f"{layer_of(one)} {', and '.join(where)}"


def match(a: OpenedDisk, b: OpenedDisk) -> list[tuple[Area, Area]]:
    """Return which area of B each of A is compared with.

    Of one number and kind first, then of one kind, then of one number: a root file system is compared with
    the other, whatever its partition's number.
    """
    pairs: list[tuple[Area, Area]] = []
    left, right = list(a.areas), list(b.areas)
    rules: tuple[Callable[[Area, Area], bool], ...] = (
        lambda x, y: (x.number, x.kind) == (y.number, y.kind),
        lambda x, y: bool(x.kind) and x.kind == y.kind,
        lambda x, y: x.number == y.number,
    )
    for rule in rules:
        for one in list(left):
            two = next((y for y in right if rule(one, y)), None)
            if two is not None:
                pairs.append((one, two))
                left.remove(one)
                right.remove(two)
    return sorted(pairs, key=lambda pair: pair[0].start)


def is_blank(disk: OpenedDisk) -> bool:
    """Return whether nothing is known of a disk: then it is compared by what is known of the other."""
    return not disk.areas or (disk.table.kind == "none" and is_unknown(disk.areas[0]))


def is_unknown(area: Area) -> bool:
    """Return whether it is not known what an area holds, or damaged; what is only not read is known."""
    return area.file_system is None and (not area.kind or area.error is not None)


def _clamped(section: Section, size_a: int, size_b: int) -> Section:
    """Return what of a section is on the disks."""
    length = min(section.length, size_a - section.start_a, size_b - section.start_b)
    return section._replace(length=length)


def are_comparable(a: Area, b: Area) -> bool:
    """Return whether the bytes of two areas can be compared by their places."""
    one, two = a.file_system, b.file_system
    if isinstance(one, Ext4) and isinstance(two, Ext4):
        return _ext4_shape(one) == _ext4_shape(two)
    if isinstance(one, Fat) and isinstance(two, Fat):
        return one.layout == two.layout
    if one is not None and two is not None:
        return False
    if (a.start, a.size) == (b.start, b.size):
        return True  # the places of one that is not read are taken for the other's
    # Of what has no tree here there are but the bytes; those of one that is damaged say nothing elsewhere.
    no_trees = (one is None and two is None) or a.number == b.number == 0
    return no_trees and a.error is None and b.error is None


def _ext4_shape(fs: Ext4) -> tuple[int, ...]:
    sb = fs.superblock
    return (
        sb.block_size, sb.blocks, sb.first_data_block, sb.blocks_per_group, sb.inodes_per_group,
        sb.inode_size, sb.desc_size, sb.cluster_size,
    )  # fmt: skip


def _around(pairs: list[tuple[Area, Area]], size: int) -> Iterator[Section]:
    """Yield the whole disk, less what cannot be compared by its place."""
    position = 0
    for one, two in pairs:
        if are_comparable(one, two):
            continue
        if one.start > position:
            yield Section(position, position, one.start - position)
        yield from _of_pair(one, two)
        position = max(position, min(max(one.start + one.size, two.start + two.size), size))
    if position < size:
        yield Section(position, position, size - position)


def _of_pair(a: Area, b: Area) -> Iterator[Section]:
    length = min(a.size, b.size)
    if are_comparable(a, b):
        yield Section(a.start, b.start, length)
    elif isinstance(a.file_system, Ext4) and isinstance(b.file_system, Ext4):
        yield Section(a.start + SUPERBLOCK_OFFSET, b.start + SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
    elif isinstance(a.file_system, Fat) and isinstance(b.file_system, Fat):
        yield Section(a.start, b.start, BOOT_SIZE)


def _tables(a: OpenedDisk, b: OpenedDisk) -> Iterator[Section]:
    """Yield what stands before the first partitions, and the backup GPTs."""
    size_a, size_b = a.image.volume.size, b.image.volume.size
    head = min([area.start for disk in (a, b) for area in disk.areas] + [size_a, size_b])
    if a.table.kind != "none" and b.table.kind != "none" and head:
        yield Section(0, 0, head)
    if a.table.kind == b.table.kind == "gpt":
        tail = min(
            size - max([x.start + x.size for x in disk.areas], default=0)
            for disk, size in ((a, size_a), (b, size_b))
        )
        if tail > 0:
            yield Section(size_a - tail, size_b - tail, tail)
