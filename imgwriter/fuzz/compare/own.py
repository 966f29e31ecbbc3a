"""imgwriter's own reader, in this process."""

from __future__ import annotations

from imgwriter.extent import Volume
from imgwriter.fuzz.compare.parsers.program import shown
from imgwriter.fuzz.compare.values import Part, View
from imgwriter.tables_reader import read_table

NAME = "imgwriter"


def view(volume: Volume, sector_size: int) -> View:
    """Return what imgwriter sees on a disk. Whatever it raises is a bug of its own, told like another's."""
    try:
        table = read_table(volume, sector_size)
    except Exception as error:  # nothing of a disk raises: that is what is tried here
        return View("crash", said=shown(f"{type(error).__name__}: {error}"))
    said = shown(str(table.findings[0])) if table.findings else ""
    if table.kind == "none" or (table.kind == "gpt" and table.used is None):
        return View("none", said=said)
    parts = tuple(Part(p.start, p.size, p.number) for p in table.partitions if p.role != "extended")
    return View("table", table.kind, table.used, parts, said)
