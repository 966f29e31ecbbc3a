"""The file allocation table, read: from cluster to cluster, each of them once.

::

    entry   2   3   4   5   6   7
          ├ 3 ┼ 4 ┼ 7 ┼ 0 ┼ 0 ┼ end ┤        the chain of 2 is two runs: [2, 5) and [7, 8)

A chain comes out as runs, since most files lie in one. A cluster belongs to one chain: what is met twice is
a loop or a cross-link. So all chains together cost about as many steps as there are clusters.

Spec: FAT specification, 4.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.errors import FormatError
from imgwriter.fat.geometry import FIRST_CLUSTER
from imgwriter.window import Window

PAGE = 4096
"""Entries that are read at a time."""

_MOST_PAGES = 8192
"""Pages that are kept: 128 MiB of FAT32's entries, all of a FAT that is not of the largest."""

_STEPS = 64
_WHERE = "FAT"
_REMEDY = "the file system is damaged: repair a copy with fsck.fat"


class Claims:
    """Which clusters are in a chain already: a bit each, in pages."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, int] = {}

    def claim(self, start: int, stop: int) -> int | None:
        """Take the clusters [start, stop), up to the first that is taken; return that one."""
        while start < stop:
            number, low = divmod(start, PAGE)
            high = min(low + stop - start, PAGE)
            bits = ((1 << high - low) - 1) << low
            taken = self._pages.get(number, 0)
            both = taken & bits
            if both:
                first = (both & -both).bit_length() - 1
                self._pages[number] = taken | bits & (1 << first) - 1
                return number * PAGE + first
            self._pages[number] = taken | bits
            start += high - low
        return None

    def bits(self, number: int) -> int:
        """Return the bits of the clusters [number * PAGE, (number + 1) * PAGE), the first the lowest."""
        return self._pages.get(number, 0)


class Stop(NamedTuple):
    """Why a chain does not go on to an end mark.

    Attributes:
        cluster: The one that is met again where ``again``, else the one whose entry leads nowhere; 0 where
            the first cluster is none.
        value: That entry, or the first cluster.
        again: Whether the cluster was in a chain already.
    """

    cluster: int
    value: int
    again: bool


class Table:
    """One FAT of a volume.

    Args:
        window: The volume.
        start: Where the FAT begins, in bytes.
        bits: 12, 16 or 32, of an entry.
        clusters: Of the volume; the entries are two more.
    """

    __slots__ = ("bits", "end_mark", "limit", "pages", "start", "window")

    def __init__(self, window: Window, start: int, bits: int, clusters: int) -> None:
        self.window = window
        self.start = start
        self.bits = bits
        self.limit = clusters + FIRST_CLUSTER
        # FAT32's entries have 28 bits.
        self.end_mark = (1 << min(bits, 28)) - 8
        self.pages: dict[int, array[int]] = {}

    def entry(self, cluster: int) -> int:
        """Return the entry of a cluster below ``limit``; FAT32's without its four reserved bits."""
        return self._page(cluster // PAGE)[cluster % PAGE]

    def chain(self, first: int, claims: Claims, what: object, offset: int) -> list[tuple[int, int]]:
        """Return the clusters of a chain as half-open runs, in the chain's order.

        Args:
            first: Its first cluster.
            claims: Of all chains of the volume; this one's are added.
            what: Whose it is; made into text only for a message.
            offset: Where the first cluster stands, in bytes from the start of the disk.

        Raises:
            FormatError: It leads to a cluster that does not exist, is free or bad, or was met before.
        """
        runs, stop = self.follow(first, claims)
        if stop is not None:
            raise self._refusal(stop, what, offset)
        return runs

    def follow(self, first: int, claims: Claims) -> tuple[list[tuple[int, int]], Stop | None]:
        """Return a chain as far as it goes: its runs, and why it ends without an end mark, if it does.

        Args:
            first: Its first cluster.
            claims: Of all chains of the volume; those of the runs are added.
        """
        runs: list[tuple[int, int]] = []
        if not FIRST_CLUSTER <= first < self.limit:
            return runs, Stop(0, first, False)
        cluster, count = first, 0
        while True:
            # In growing portions: what is walked in vain is no more than what was claimed before.
            end, following = self._run(cluster, max(count, _STEPS))
            taken = claims.claim(cluster, end)
            until = end if taken is None else taken
            if runs and runs[-1][1] == cluster:
                runs[-1] = runs[-1][0], until
            elif cluster < until:
                runs.append((cluster, until))
            if taken is not None:
                return runs, Stop(taken, self.entry(taken), True)
            if following >= self.end_mark:
                return runs, None
            if not FIRST_CLUSTER <= following < self.limit:
                return runs, Stop(end - 1, following, False)
            count += end - cluster
            cluster = following

    def _refusal(self, stop: Stop, what: object, offset: int) -> FormatError:
        clusters = f"one of {FIRST_CLUSTER} to {self.limit - 1:,}"
        if stop.again:
            message = f"its chain has cluster {stop.cluster:,}, which is in a chain already"
        elif stop.cluster:
            message = (
                f"the entry of its cluster {stop.cluster:,} is {stop.value:#x}, neither {clusters} nor an end"
            )
        else:
            message = f"its chain begins at cluster {stop.value:,}, not {clusters}"
            return FormatError(f"{what}: {message}; {_REMEDY}", "DIR_FstClusLO", offset)
        return FormatError(f"{what}: {message}; {_REMEDY}", _WHERE, self.offset(stop.cluster))

    def free(self) -> int:
        """Return how many clusters are free."""
        used = sum(len(entries) - entries.count(0) for _, entries in self.stored())
        return self.limit - FIRST_CLUSTER - used

    def stored(self) -> Iterator[tuple[int, array[int]]]:
        """Yield (cluster of the first, entries) of all stretches, within a page each, that are not a hole."""
        for number in range((self.limit - 1) // PAGE + 1):
            first, last = max(number * PAGE, FIRST_CLUSTER), min((number + 1) * PAGE, self.limit)
            if self.bits == 12 or self.window.has_data(self._place(first), self._place(last)):
                yield first, self._load(number)[first % PAGE : last - number * PAGE]

    def _run(self, cluster: int, steps: int) -> tuple[int, int]:
        """Return the end of the run that begins with a cluster, at most so many of it, and what follows."""
        page = self._page(cluster // PAGE)
        index = cluster % PAGE
        shift = cluster - index + 1
        stop = min(index + steps, len(page))
        following = page[index]
        while following == index + shift and index + 1 < stop:
            index += 1
            following = page[index]
        return index + shift, following

    def _page(self, number: int) -> array[int]:
        page = self.pages.get(number)
        if page is None:
            if len(self.pages) >= _MOST_PAGES:
                del self.pages[next(iter(self.pages))]
            page = self.pages[number] = self._load(number)
        return page

    def _load(self, number: int) -> array[int]:
        first = number * PAGE
        last = min(first + PAGE, self.limit)
        low, high = self._place(first), self._place(last)
        content = self.window.read(low, high - low, _WHERE)
        if self.bits == 12:
            return array("H", (_entry12(content, index) for index in range(last - first)))
        if self.bits == 32:
            content = _without_reserved(content)
        page = array("I" if self.bits == 32 else "H", content)
        if sys.byteorder == "big":
            page.byteswap()
        return page

    def _place(self, cluster: int) -> int:
        """Return where a cluster's entry begins, or with 12 bits the byte after the entries before it."""
        return self.start + (cluster * self.bits + 7) // 8

    def offset(self, cluster: int) -> int:
        """Return where a cluster's entry is, in bytes from the start of the disk."""
        return self.window.offset + self.start + cluster * self.bits // 8


def _entry12(content: bytes, index: int) -> int:
    at = index * 3 // 2
    pair = int.from_bytes(content[at : at + 2], "little")
    return pair >> 4 if index % 2 else pair & 0xFFF


_LOW_NIBBLE = bytes(byte & 15 for byte in range(256))


def _without_reserved(content: bytes) -> bytes:
    """Clear the four highest bits of each entry. Spec: FAT specification, 4: they are reserved."""
    cleared = bytearray(content)
    cleared[3::4] = cleared[3::4].translate(_LOW_NIBBLE)
    return bytes(cleared)
