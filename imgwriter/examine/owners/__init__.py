"""Whose each byte of an image's disk is: the labels that comparing and drawing share.

::

    OpenedDisk ── tables (MBR, GPT) ──────────┐
               ├─ ext4, of each area ─────────┼──> owners(): RegionMap, every byte once
               └─ fat, of each area ──────────┘

:func:`owners` reads structures, no contents: work and memory go with the inodes in use and the runs of their
blocks. Nothing raises for damage: what cannot be followed is nobody's, and ``Owners.problems`` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgwriter.errors import FormatError
from imgwriter.examine.opening import Area, OpenedDisk
from imgwriter.examine.owners.ext4 import Ext4Owners
from imgwriter.examine.owners.fat import FatOwners
from imgwriter.examine.owners.regions import Kind, Region, RegionMap, tile
from imgwriter.examine.owners.tables import table_regions
from imgwriter.ext4.reader import FileSystem as Ext4
from imgwriter.fat.reader import FileSystem as Fat
from imgwriter.window import Window

__all__ = ["Kind", "Owners", "Region", "RegionMap", "layer_of", "owners"]


@dataclass(frozen=True, slots=True)
class Owners:
    """The owners of a disk.

    Attributes:
        regions: They.
        problems: What could not be followed, in the order met.
    """

    regions: RegionMap
    problems: tuple[FormatError, ...]


def layer_of(area: Area) -> str:
    """Return what the file system of an area is called: "partition 2 (ext4)", "FAT" without a table."""
    kind = {"ext4": "ext4", "fat": "FAT", "": "unknown content"}.get(area.kind, area.kind)
    return f"partition {area.number} ({kind})" if area.number else kind


def owners(disk: OpenedDisk) -> Owners:
    """Return whose each byte of a disk is.

    Raises:
        SourceError: The image cannot be read, or changed meanwhile.
    """
    problems: list[FormatError] = []
    inside: list[Region] = []
    size = disk.image.volume.size
    for area in disk.areas:
        inside += _area(area, size, problems)
    window = Window(disk.image.volume)
    tables = table_regions(window, disk.table)
    filler = Region(0, 0, Kind.GAP, "disk")
    return Owners(RegionMap(tile(0, size, filler, tables, inside)), tuple(problems))


def _area(area: Area, disk_size: int, problems: list[FormatError]) -> list[Region]:
    start, end = area.start, min(area.start + area.size, disk_size)
    if start >= end:
        return []
    layer, fs = layer_of(area), area.file_system
    if area.error is not None:
        problems.append(area.error)
    if isinstance(fs, Ext4):
        of_ext4 = Ext4Owners(fs, start, end, layer, area.number)
        regions = of_ext4.regions()
        problems += of_ext4.problems
        return regions
    if isinstance(fs, Fat):
        of_fat = FatOwners(fs, start, end, layer, area.number)
        regions = of_fat.regions()
        problems += of_fat.problems
        return regions
    return [Region(start, end, Kind.OPAQUE, layer, area.number)]
