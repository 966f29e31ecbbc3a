"""The clusters that no chain has: free, bad, or lost.

Spec: FAT specification, 4.
"""

from __future__ import annotations

from array import array

from imgwriter.fat.chains import PAGE, Claims, Table
from imgwriter.verify.remarks import Remarks

ENTRIES = "FAT specification, 4"


def check_lost(table: Table, claims: Claims, remarks: Remarks, *, exact: bool) -> None:
    """Check that every entry that is neither 0 nor the mark of a bad cluster is in a chain.

    Args:
        table: The FAT.
        claims: The clusters of all chains.
        exact: Whether no free or bad cluster is among them: then equal counts are enough.
    """
    bad_mark = table.end_mark - 1
    bad = 0
    run: tuple[int, int] | None = None
    for first, entries in table.stored():
        claimed = claims.bits(first // PAGE) >> first % PAGE
        bad_here = entries.count(bad_mark)
        bad += bad_here
        if exact and len(entries) - entries.count(0) - bad_here == claimed.bit_count():
            continue
        for cluster in _lost(first, entries, claimed, bad_mark):
            if run is not None and run[1] == cluster:
                run = run[0], cluster + 1
                continue
            _say(run, table, remarks)
            run = cluster, cluster + 1
    _say(run, table, remarks)
    if bad:
        remarks.note("FAT", "", table.offset(2), "no bad clusters", f"{bad:,} marked bad", ENTRIES)


def _lost(first: int, entries: array[int], claimed: int, bad_mark: int) -> list[int]:
    return [
        first + index
        for index, entry in enumerate(entries)
        if entry and entry != bad_mark and not claimed >> index & 1
    ]


def _say(run: tuple[int, int] | None, table: Table, remarks: Remarks) -> None:
    if run is None:
        return
    low, high = run
    found = f"cluster {low:,}" if high == low + 1 else f"clusters {low:,} to {high - 1:,}"
    remarks.find("FAT", f"FAT[{low:,}]", table.offset(low), "0, or in a chain", f"{found} lost", ENTRIES)
