"""Where one side cannot be read, it is compared by the map of the other.

::

    A    ├ superblock ┼ descriptors ┼ ... ┤        opened
    B    ├ superblock ┼ descriptors ┼ ... ┤        cannot be: the places are A's, and fields can be named

A superblock of which one byte is damaged leads nowhere; what differs is still one field of it. The same goes
for a copy of a GPT whose header has lost its signature.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.diff.sections import is_blank, is_unknown, match
from imgwriter.examine.opening import OpenedDisk
from imgwriter.examine.owners import Kind, Region, RegionMap
from imgwriter.examine.owners.regions import clipped


def shared_maps(
    a: OpenedDisk, b: OpenedDisk, of_a: RegionMap, of_b: RegionMap
) -> tuple[RegionMap, RegionMap]:
    """Return the maps by which two disks are compared; both reach the end of the longer disk."""
    size = max(a.image.volume.size, b.image.volume.size)
    one, two = _extended(of_a, size), _extended(of_b, size)
    if is_blank(b) and not is_blank(a):
        return one, one
    if is_blank(a) and not is_blank(b):
        return two, two
    for start, end in _lost_copies(a, b, one):
        two = _with_part(two, one, start, end)
    for start, end in _lost_copies(b, a, two):
        one = _with_part(one, two, start, end)
    for x, y in match(a, b):
        if (x.start, x.size) != (y.start, y.size):
            continue
        if x.file_system is not None and is_unknown(y):
            two = _with_part(two, one, x.start, min(x.start + x.size, size))
        elif y.file_system is not None and is_unknown(x):
            one = _with_part(one, two, x.start, min(x.start + x.size, size))
    return one, two


def _lost_copies(a: OpenedDisk, b: OpenedDisk, of_a: RegionMap) -> Iterator[tuple[int, int]]:
    """Yield where the headers and entries stand of those copies of A's GPT whose headers B has not."""
    there = {(copy.which, copy.lba) for copy in a.table.copies if copy.header is not None}
    lost = {copy.which for copy in b.table.copies if copy.header is None and (copy.which, copy.lba) in there}
    for region in of_a.regions:
        if region.kind in (Kind.GPT_HEADER, Kind.GPT_ENTRIES) and region.note in lost:
            yield region.start, region.end


def _extended(regions: RegionMap, size: int) -> RegionMap:
    """Return a map that goes on to ``size``, where the other disk ends."""
    end = regions.regions[-1].end if regions.regions else 0
    if end >= size:
        return regions
    return RegionMap([*regions.regions, Region(end, size, Kind.GAP, "disk", note="beyond the disk's end")])


def _with_part(regions: RegionMap, other: RegionMap, start: int, end: int) -> RegionMap:
    """Return a map with [start, end) as another has it."""
    before = [clipped(r, r.start, min(r.end, start)) for r in regions.regions if r.start < start]
    inside = [clipped(r, max(r.start, start), min(r.end, end)) for r in other.between(start, end)]
    after = [clipped(r, max(r.start, end), r.end) for r in regions.regions if r.end > end]
    return RegionMap([*before, *inside, *after])
