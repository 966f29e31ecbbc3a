"""What a picture of a disk shows, as values: the parts of the disk, and the panel of each area.

Everything comes from the regions of the disk's owners; how they are merged for drawing is in ``runs``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from imgwriter.errors import FormatError, show
from imgwriter.examine.opening import Area, OpenedDisk
from imgwriter.examine.owners import Kind, Owners, Region, layer_of, owners
from imgwriter.ext4.reader import FileSystem as Ext4
from imgwriter.fat.reader import FileSystem as Fat
from imgwriter.map.palette import OF_KIND, Category
from imgwriter.units import counted, div_ceil, format_size

MOST_PARTS = 120
"""Parts of a disk that are drawn by themselves."""
MOST_PANELS = 24
"""Areas that are drawn from within; the others are parts of the disk alone."""


class Part(NamedTuple):
    """A part of the disk: a partition, a structure of the table, or what lies between.

    Attributes:
        start, end: Bytes of the disk.
        category: Its colour where it is no partition.
        name: What it is called.
        short: The same where there is little room.
        area: Its partition, or None.
    """

    start: int
    end: int
    category: Category
    name: str
    short: str
    area: int | None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Panel:
    """One area seen from within.

    Attributes:
        area: Its partition's number, 0 without a table.
        title, facts: Of its heading.
        start, end: Bytes of the disk.
        row: Bytes of a row of the picture.
        row_groups: Block groups in a row; 0 where rows are just rows.
        totals: Bytes by category.
    """

    area: int
    title: str
    facts: str
    start: int
    end: int
    row: int
    row_groups: int
    totals: dict[Category, int]


@dataclass(frozen=True, slots=True)
class DiskMap:
    """All that a picture needs.

    Attributes:
        title, facts: Of the picture's heading.
        size: Bytes of the disk.
        parts: Everything on the disk, coarsely.
        panels: By start.
        regions: All, with the category of each.
        notes: What could not be read or is not drawn.
    """

    title: str
    facts: str
    size: int
    parts: tuple[Part, ...]
    panels: tuple[Panel, ...]
    regions: Sequence[Region]
    categories: Sequence[Category]
    notes: tuple[str, ...]


def map_disk(disk: OpenedDisk) -> DiskMap:
    """Return what a picture of the disk shows.

    Raises:
        SourceError: The image cannot be read, or changed meanwhile.
    """
    found = owners(disk)
    regions = found.regions.regions
    categories = _categories(regions)
    panels = [
        area for area in disk.areas if any(True for _ in found.regions.between(area.start, area.start + 1))
    ]
    notes = [str(problem) for problem in found.problems[:_MOST_NOTES]]
    if len(found.problems) > _MOST_NOTES:
        notes.append(f"and {counted(len(found.problems) - _MOST_NOTES, 'more problem')}")
    if len(panels) > MOST_PANELS:
        more = counted(len(panels) - MOST_PANELS, "partition more is", "partitions more are")
        notes.append(f"{more} not drawn from within")
    size = disk.image.volume.size
    table = {"none": "no partition table", "mbr": "MBR", "gpt": "GPT"}[disk.table.kind]
    return DiskMap(
        show(disk.path.rpartition(b"/")[2]),
        f"{format_size(size)} · {table} · {disk.image.format}",
        size,
        tuple(_parts(disk, regions)),
        tuple(_panel(area, found, categories) for area in panels[:MOST_PANELS]),
        regions,
        categories,
        tuple(notes),
    )


_MOST_NOTES = 5
_ROWS = 16
_MOST_ROWS = 48


def _categories(regions: Sequence[Region]) -> list[Category]:
    """Return the category of each region: files that have more than one run are in fragments."""
    runs = Counter((r.area, r.number, r.path) for r in regions if r.kind is Kind.FILE)
    return [
        Category.FRAGMENT if r.kind is Kind.FILE and runs[r.area, r.number, r.path] > 1 else OF_KIND[r.kind]
        for r in regions
    ]


def _parts(disk: OpenedDisk, regions: Sequence[Region]) -> Iterator[Part]:
    """Yield the disk's parts in order; where there are too many, the last holds the rest."""
    parts: list[Part] = []
    names = {area.number: layer_of(area) for area in disk.areas}
    for region in regions:
        if region.area is not None:
            if parts and parts[-1].area == region.area and parts[-1].end == region.start:
                parts[-1] = parts[-1]._replace(end=region.end)
            else:
                name = names[region.area]
                short = f"partition {region.area}" if region.area else name
                parts.append(Part(region.start, region.end, Category.FREE, name, short, region.area))
        else:
            category = OF_KIND[region.kind]
            parts.append(Part(region.start, region.end, category, region.title, str(region.kind), None))
    yield from parts[:MOST_PARTS]
    if len(parts) > MOST_PARTS:
        rest = len(parts) - MOST_PARTS
        yield Part(parts[MOST_PARTS].start, parts[-1].end, Category.GAP, f"{rest:,} parts more", "more", None)


def _panel(area: Area, found: Owners, categories: Sequence[Category]) -> Panel:
    regions = found.regions.regions
    end = min(area.start + area.size, regions[-1].end)
    totals: dict[Category, int] = dict.fromkeys(Category, 0)
    files: set[bytes | None] = set()
    for region, category in zip(regions, categories, strict=True):
        low, high = max(region.start, area.start), min(region.end, end)
        if low < high and region.area == area.number:
            totals[category] += high - low
            if region.kind is Kind.FILE:
                files.add(region.path)
    totals = {category: size for category, size in totals.items() if size}
    row, row_groups = _row(area, end - area.start)
    title = layer_of(area) if area.number else f"the whole disk ({layer_of(area)})"
    return Panel(
        area.number, title[0].upper() + title[1:], " · ".join(_facts(area, totals, len(files))), area.start,
        end, row, row_groups, totals,
    )  # fmt: skip


def _row(area: Area, size: int) -> tuple[int, int]:
    """Return the bytes of a row, whole block groups where there are enough of them; and how many."""
    fs = area.file_system
    if isinstance(fs, Ext4) and fs.superblock.groups > 4:
        sb = fs.superblock
        each = div_ceil(sb.groups, _MOST_ROWS)
        return each * sb.blocks_per_group * sb.block_size, each
    return max(div_ceil(size, _ROWS), 1), 0


def _facts(area: Area, totals: dict[Category, int], files: int) -> Iterator[str]:
    fs = area.file_system
    label = _label(fs)
    if label:
        yield f"“{label}”"
    yield f"{format_size(area.size)} at {format_size(area.start)}" if area.start else format_size(area.size)
    if area.error is not None:
        yield "cannot be read"
    if fs is None:
        return
    yield f"{format_size(totals.get(Category.FREE, 0))} unused"
    yield f"{counted(files, 'file')} with data"
    if isinstance(fs, Ext4):
        sb = fs.superblock
        yield f"blocks of {format_size(sb.block_size)}, {counted(sb.groups, 'group')}"
    else:
        yield f"FAT{fs.layout.bits}, clusters of {format_size(fs.layout.cluster_size)}"


def _label(fs: Ext4 | Fat | None) -> str:
    if isinstance(fs, Ext4):
        return show(fs.superblock.label)
    try:
        return show(fs.label().encode("utf-8", "surrogatepass")) if fs is not None else ""
    except FormatError:
        return ""
