"""Tables of a qcow2 as runs of consecutive numbers: a table of a million entries is often one run.

::

    intervals   ├──a──┤ ├b┤├───c───┤          sorted; b touches c
    runs        ├──0──┤ ├────1─────┤          Run(start, length, first): numbered from 0 without gaps
    table       a0 a1 .. 0 .. b0 ...          an entry for each place of a run, 0 between
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from imgwriter.extent import Extent, Generated
from imgwriter.units import div_ceil

ENTRY_SIZE = 8
"""Bytes of an entry of the L1 table, of an L2 table (16 where it is extended), of the refcount table."""

Numbers: TypeAlias = "Callable[[int, int], array[int]]"
"""Returns the entries for the numbers [low, high)."""


class Run(NamedTuple):
    """Places [start, start + length) of some table, which hold the numbers from ``first`` on."""

    start: int
    length: int
    first: int

    @property
    def end(self) -> int:
        """The first place after it."""
        return self.start + self.length


def runs_of(intervals: Iterable[tuple[int, int]]) -> list[Run]:
    """Return what sorted intervals cover, as runs numbered in their order; they may overlap."""
    runs: list[Run] = []
    start = end = number = 0
    for low, high in intervals:
        if low > end:
            if end > start:
                runs.append(Run(start, end - start, number))
                number += end - start
            start = low
        end = max(end, high)
    if end > start:
        runs.append(Run(start, end - start, number))
    return runs


def total(runs: Sequence[Run]) -> int:
    """Return how many numbers the runs have, which count from 0."""
    return runs[-1].first + runs[-1].length if runs else 0


def touched(extents: Iterable[Extent], cluster_size: int) -> list[Run]:
    """Return the guest clusters that have a byte in some extent, numbered in their order from 0."""
    return runs_of((e.start // cluster_size, (e.end - 1) // cluster_size + 1) for e in extents)


def l2_tables(clusters: Iterable[Run], entries: int) -> list[Run]:
    """Return the L2 tables that have an entry of some cluster, by index in L1, numbered from 0.

    Args:
        clusters: Guest clusters.
        entries: Entries of an L2 table.
    """
    return runs_of((run.start // entries, (run.end - 1) // entries + 1) for run in clusters)


def l2_places(clusters: Iterable[Run], tables: Sequence[Run], entries: int) -> Iterator[Run]:
    """Yield the clusters by where their entries are in all the L2 tables, one after the other."""
    remaining = iter(tables)
    group = Run(0, 0, 0)
    for run in clusters:
        while run.start >= group.end * entries:
            group = next(remaining)
        yield run._replace(start=run.start + (group.first - group.start) * entries)


def moved(extents: Iterable[Extent], clusters: Iterable[Run], data_at: int, size: int) -> Iterator[Extent]:
    """Yield the extents where the clusters they touch are in the file.

    Args:
        extents: Of the guest disk, sorted.
        clusters: What they touch.
        data_at: Where the cluster with number 0 is.
        size: Bytes in a cluster.
    """
    remaining = iter(clusters)
    run = Run(0, 0, 0)
    shift = 0
    for e in extents:
        while e.start >= run.end * size:
            run = next(remaining)
            shift = data_at + (run.first - run.start) * size
        yield Extent(e.start + shift, e.length, e.data, e.data_start, e.label)


def consecutive(first: int, step: int) -> Numbers:
    """Return the entries ``first`` + number x ``step``."""

    def entries(low: int, high: int) -> array[int]:
        return array("Q", range(first + low * step, first + high * step, step))

    return entries


def table(length: int, runs: Sequence[Run], numbers: Numbers) -> Generated:
    """Return a table of 64-bit entries: at the places of a run those of its numbers; else 0.

    Args:
        length: Entries.
        runs: Sorted and disjoint.
        numbers: The entries by number.
    """
    return Generated(length * ENTRY_SIZE, partial(_entries, runs, numbers))


def big_endian(entries: array[int]) -> memoryview:
    """Return the bytes of a table, which is changed by this where the machine is little-endian."""
    if sys.byteorder == "little":
        entries.byteswap()
    return memoryview(entries).cast("B")


def _entries(runs: Sequence[Run], numbers: Numbers, start: int, stop: int) -> memoryview:
    """Return the bytes [start, stop) of a table."""
    low, high = start // ENTRY_SIZE, div_ceil(stop, ENTRY_SIZE)
    entries = array("Q", bytes((high - low) * ENTRY_SIZE))
    index = max(bisect_right(runs, low, key=attrgetter("start")) - 1, 0)
    while index < len(runs) and runs[index].start < high:
        run = runs[index]
        begin, end = max(run.start, low), min(run.end, high)
        if begin < end:
            shift = run.first - run.start
            entries[begin - low : end - low] = numbers(begin + shift, end + shift)
        index += 1
    return big_endian(entries)[start - low * ENTRY_SIZE : stop - low * ENTRY_SIZE]
