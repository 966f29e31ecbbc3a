"""Everything that is on a disk, as compact data for the page's script.

::

    runs     [length, kind, label, length, kind, label, ...]    in the order of the disk, without gap
    labels   [shared, rest, shared, rest, ...]                  each shares its beginning with the one before

Where there are more runs than a page can hold, neighbours that are small are merged, and ``merged`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from imgwriter.examine.owners import Region
from imgwriter.map.model import DiskMap, Panel
from imgwriter.map.palette import STYLES, Category
from imgwriter.map.runs import runs_of

MOST_RUNS = 200_000
"""Runs that a page holds; a hundred bytes each in a browser."""


def page_data(drawn: DiskMap, most: int = MOST_RUNS) -> dict[str, Any]:
    """Return the data of a page.

    Args:
        drawn: The disk.
        most: Runs, about.
    """
    kinds = [[str(category), STYLES[category].name, STYLES[category].one] for category in Category]
    index = {category: number for number, category in enumerate(Category)}
    merged = len(drawn.regions) > most
    rows = list(_merged(drawn, most) if merged else _single(drawn.regions, drawn.categories))
    order = sorted({(area, text) for _, _, area, text in rows})
    numbers = {label: number for number, label in enumerate(order)}
    runs: list[int] = []
    for size, category, area, text in rows:
        runs += (size, index[category], numbers[area, text])
    return {
        "title": drawn.title,
        "size": drawn.size,
        "kinds": kinds,
        "areas": [_area(panel) for panel in drawn.panels],
        "runs": runs,
        "labels": list(_front_coded([text for _, text in order])),
        "merged": merged,
    }


_Row = tuple[int, Category, int, str]


def _single(regions: Sequence[Region], categories: Sequence[Category]) -> Iterator[_Row]:
    for region, category in zip(regions, categories, strict=True):
        yield region.size, category, -1 if region.area is None else region.area, region.title


def _merged(drawn: DiskMap, most: int) -> Iterator[_Row]:
    for run in runs_of(drawn, 0, drawn.size, max(drawn.size * 2 // most, 1)):
        text = run.first if run.pieces == 1 else f"{run.pieces:,} runs: {run.first} … {run.last}"
        yield run.end - run.start, run.category, -1, text


def _area(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "facts": panel.facts,
        "start": panel.start,
        "end": panel.end,
        "row": panel.row,
        "groups": panel.row_groups,
    }


def _front_coded(texts: Sequence[str]) -> Iterator[int | str]:
    """Yield what each text shares with the one before, in UTF-16 units as scripts count, and its rest."""
    before = ""
    for text in texts:
        shared = next((n for n, (x, y) in enumerate(zip(before, text, strict=False)) if x != y), None)
        if shared is None:
            shared = min(len(before), len(text))
        yield len(text[:shared].encode("utf-16-le")) // 2
        yield text[shared:]
        before = text
