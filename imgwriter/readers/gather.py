"""Collects what the tables of an image say into extents, in memory that goes with the tables.

::

    few runs     │ slice │        │ slice │          an extent each: the kernel can copy them
    short runs   │ Clusters                  │       one extent: a few bytes for each cluster
                   ├ here ┤ zeros ┤ here ┤

An extent takes some 300 bytes, an entry of a table 4 to 16: a file of nothing but tables and holes would take
hundreds of times what is stored of it. So only the first MOST_EXTENTS are made as the tables have them; from
then on an extent stands for at least LEAST_ENTRIES entries.
"""

from __future__ import annotations

from array import array

from imgwriter.extent import CHUNK, Extent
from imgwriter.filedata import PACK_LIMIT
from imgwriter.qcow2 import OFLAG_COMPRESSED
from imgwriter.readers.clusters import ALL_PARTS, Clusters, Decoder, bit_runs, rising
from imgwriter.readers.raw import MOST_EXTENTS

LEAST_ENTRIES = 16
"""Entries of a table that an extent stands for, holes among them, once there are MOST_EXTENTS."""

MOST_RUNS = 4
"""Runs of a cluster's parts that are slices; where there are more the cluster is read whole, and cleared."""

_LABEL = "guest disk"


class Gatherer:
    """Takes the clusters of a disk in its order, and makes extents of them.

    Args:
        decoder: Of the image; it has the cluster size.
        size: Bytes of the disk; what is beyond is left out.
    """

    def __init__(self, decoder: Decoder, size: int) -> None:
        self.decoder = decoder
        self.size = size
        self.bits = decoder.cluster_bits
        self.extents: list[Extent] = []
        # Clusters that await their neighbours: compressed, incomplete, and plain ones in short runs.
        self._waiting = array("Q")
        self._parts = array("I")
        self._first = 0

    def plain(self, first: int, count: int, host: int) -> None:
        """Add a run of ``count`` clusters, the first at ``host`` in the file."""
        length = count << self.bits
        if length < PACK_LIMIT or (self._many() and count < LEAST_ENTRIES):
            self.wait(first, array("Q", range(host, host + length, 1 << self.bits)))
        else:
            self.flush()
            self._slice(first << self.bits, host, length)

    def parts(self, first: int, host: int, allocated: int) -> None:
        """Add a cluster of 32 parts, of which those with a bit in ``allocated`` are there."""
        edges = (allocated ^ (allocated << 1)).bit_count()
        if edges > 2 * MOST_RUNS or self._many():
            self.wait(first, array("Q", (host,)), allocated)
            return
        self.flush()
        size = (1 << self.bits) // 32
        for low, high in bit_runs(allocated):
            start = (first << self.bits) + low * size
            if host + low * size < self.decoder.file.size and start < self.size:
                self._slice(start, host + low * size, (high - low) * size)

    def wait(self, first: int, entries: array[int], allocated: int = ALL_PARTS) -> None:
        """Add clusters one by one, to be read together with their neighbours: see :class:`Clusters`."""
        gap = first - self._first - len(self._waiting)
        if self._many() and self._waiting and 0 < gap < LEAST_ENTRIES:
            absent = min(gap, self._most() - len(self._waiting))
            self._waiting.extend([0] * absent)
            self._parts.extend([0] * absent)
            gap -= absent
        if gap or len(self._waiting) >= self._most():
            self.flush()
        done = 0
        while done < len(entries):
            if not self._waiting:
                self._first = first + done
            some = entries[done : done + self._most() - len(self._waiting)]
            self._waiting.extend(some)
            self._parts.extend([allocated] * len(some))
            done += len(some)
            if len(self._waiting) >= self._most():
                self.flush()

    def flush(self) -> None:
        """Make an extent of the clusters that wait."""
        entries, self._waiting = self._waiting, array("Q")
        parts, self._parts = self._parts, array("I")
        if not entries:
            return
        start = self._first << self.bits
        length = min(len(entries) << self.bits, self.size - start)
        whole = parts.count(ALL_PARTS) == len(parts)
        plain = whole and not entries[0] & OFLAG_COMPRESSED
        if plain and rising(entries, 0, 1 << self.bits) == len(entries):
            self._slice(start, entries[0], length)
        else:
            # Copied, since an array that has grown keeps room for more.
            data = Clusters(self.decoder, entries[:], length, None if whole else parts[:])
            self.extents.append(Extent(start, length, data, 0, _LABEL))

    def _slice(self, start: int, host: int, length: int) -> None:
        length = min(length, self.size - start)
        self.extents.append(self.decoder.file.extent(start, host, length, _LABEL))

    def _many(self) -> bool:
        return len(self.extents) >= MOST_EXTENTS

    def _most(self) -> int:
        """Return how many clusters a group has at most."""
        return max(CHUNK >> self.bits, LEAST_ENTRIES if self._many() else 1)
