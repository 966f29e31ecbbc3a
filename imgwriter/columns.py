"""Tables for people: columns that stand below each other, and sizes that can be compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from imgwriter.units import MiB, format_size


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return a line for each row, its cells aligned, two spaces between.

    Args:
        rows: Some may be shorter than others.
        right: The columns, from 0, whose cells stand at the right.
    """
    widths: dict[int, int] = {}
    for row in rows:
        for index, cell in enumerate(row):
            widths[index] = max(widths.get(index, 0), len(cell))
    return [
        "  ".join(
            cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def mebibytes(size: int) -> str:
    """Return bytes as MiB, so that a column can be compared: exact, or with one decimal."""
    if size % MiB == 0:
        return f"{size // MiB:,} MiB"
    return f"{size / MiB:,.1f} MiB" if size * 10 >= MiB else format_size(size)
