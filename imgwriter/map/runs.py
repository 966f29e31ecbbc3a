"""Runs of a panel: what is too small to be seen merged, rows, and how an area begins.

::

    regions      │a│b│c│    usr/lib/large     │d│e│          unused            │
    runs         │ 3 files │                  │ 2 │

A run shorter than the picture's resolution is merged with its neighbours; so there are at most twice as many
runs as resolutions in the size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from imgwriter.examine.owners import Region
from imgwriter.map.model import DiskMap, Panel, Part
from imgwriter.map.palette import Category
from imgwriter.units import div_ceil, format_size

RUNS = 3000
"""Runs of all panels of a picture together, before doubling."""
_COLLAPSED = 3
"""Rows of one run that are drawn as one."""


class Run(NamedTuple):
    """Neighbouring regions that are drawn as one.

    Attributes:
        start, end: Bytes of the disk.
        category: What most of its bytes are.
        tint: Which of its colours.
        pieces: Regions in it.
        first, last: Titles of the first and the last.
    """

    start: int
    end: int
    category: Category
    tint: int
    pieces: int
    first: str
    last: str

    @property
    def text(self) -> str:
        """What hovering shows."""
        size, place = format_size(self.end - self.start), f"at {self.start:,}"
        if self.pieces == 1:
            return f"{self.first}\n{size} {place}"
        return f"{self.pieces:,} runs: {self.first} … {self.last}\n{size} {place}"


def beginning(drawn: DiskMap, panel: Panel, most: int) -> list[Part]:
    """Return how an area begins: its first structures, those of one kind together, and the rest."""
    parts: list[Part] = []
    kind = None
    for region, category in _within(drawn, panel.start, panel.end):
        if region.kind is kind:
            last = parts[-1]
            parts[-1] = last._replace(end=region.end, name=f"{kind}: {region.title} and others before")
            continue
        if len(parts) == most:
            parts.append(Part(region.start, panel.end, Category.FREE, "all that follows", "...", None))
            break
        kind = region.kind
        parts.append(Part(region.start, region.end, category, region.title, str(kind), None))
    return parts


class Row(NamedTuple):
    """A row of a panel's picture: the bytes [start, end); ``rows`` is more than 1 where it is many in one."""

    start: int
    end: int
    rows: int


def rows_of(panel: Panel, runs: Sequence[Run]) -> list[Row]:
    """Return a panel's rows; three or more that lie in one run are one."""
    rows: list[Row] = []
    index = 0
    start = panel.start
    while start < panel.end:
        while runs[index].end <= start:
            index += 1
        whole = (min(runs[index].end, panel.end) - start) // panel.row
        if runs[index].end >= panel.end:
            whole = div_ceil(panel.end - start, panel.row)
        count = whole if whole >= _COLLAPSED else 1
        end = min(start + count * panel.row, panel.end)
        rows.append(Row(start, end, count))
        start = end
    return rows


def runs_of(drawn: DiskMap, start: int, end: int, resolution: int) -> list[Run]:
    """Return the runs of [start, end): what is shorter than ``resolution`` is merged with its neighbours.

    Args:
        drawn: The disk.
        start, end: Bytes of the disk.
        resolution: Bytes.
    """
    runs: list[Run] = []
    batch: list[tuple[Region, Category]] = []
    held = 0
    for region, category in _within(drawn, start, end):
        if batch and (held >= resolution or region.size >= resolution):
            runs.append(_merged(batch))
            batch, held = [], 0
        batch.append((region, category))
        held += region.size
    if batch:
        runs.append(_merged(batch))
    return runs


def _within(drawn: DiskMap, start: int, end: int) -> Iterator[tuple[Region, Category]]:
    for region, category in zip(drawn.regions, drawn.categories, strict=True):
        if region.end > start and region.start < end:
            low, high = max(region.start, start), min(region.end, end)
            yield region._replace(start=low, end=high), category


def _merged(batch: Iterable[tuple[Region, Category]]) -> Run:
    regions = [region for region, _ in batch]
    sizes: Counter[Category] = Counter()
    for region, category in batch:
        sizes[category] += region.size
    category = max(sizes, key=lambda c: (sizes[c], c))
    return Run(
        regions[0].start, regions[-1].end, category, regions[0].number % 3, len(regions), regions[0].title,
        regions[-1].title,
    )  # fmt: skip
