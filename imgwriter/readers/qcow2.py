"""The guest disk of a qcow2: two levels of tables say where each cluster of it is in the file.

::

    L1 table            L2 table            file
    ├ entry ────────────> entry ──────────────> cluster          a run of neighbours is one slice of the file
    ├ 0: all zeros       ├ compressed ────────> some sectors     grouped: see readers/gather.py
    └ ...                ├ zero flag            nothing
                         └ 0: zeros             nothing

Every table, cluster and header of a sound image without snapshots is in a place of its own. That is checked,
and it is what bounds the work: a file has no more tables than fit into it, and each is read once.

Spec: docs/interop/qcow2.txt.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Mapping

from imgwriter import qcow2
from imgwriter.errors import FormatError
from imgwriter.extent import Volume
from imgwriter.readers.clusters import ALL_PARTS, Decoder, rising
from imgwriter.readers.gather import Gatherer
from imgwriter.readers.hostfile import CUT_OFF, HostFile, Used, joined
from imgwriter.readers.qcow2_header import Header, read_header
from imgwriter.readers.qcow2_refcounts import is_in_use
from imgwriter.units import div_ceil

_NOT_ZERO = re.compile(rb"[^\0]")
_L1 = "qcow2 L1 table"
_L2 = "qcow2 L2 table"
_REMEDY = "the image is damaged: repair it (qemu-img check -r all), or get it anew"


def read(file: HostFile) -> tuple[Volume, Mapping[str, str | int]]:
    """Return the guest disk of a qcow2, and what the header says of version, clusters and compression.

    Raises:
        FormatError: The image is damaged, or has what is not read: see docs/formats/reading.md.
        SourceError: The file cannot be read.
    """
    header = read_header(file)
    tables = _l2_tables(file, header)
    disk = _Disk(file, header)
    disk.reserve(tables)
    entry_size = 16 if header.extended_l2 else 8
    per_table = header.cluster_size // entry_size
    clusters = div_ceil(header.size, header.cluster_size)
    for index, offset in tables:
        first = index * per_table
        size = min(per_table, clusters - first) * entry_size
        if file.is_hole(offset, size):
            continue
        table = file.read(offset, size, _L2)
        if header.extended_l2:
            disk.add_extended(first, table, offset)
        else:
            disk.add(first, table, offset)
    details: dict[str, str | int] = {
        "version": header.version,
        "cluster_size": header.cluster_size,
        "compression": header.compression.name.lower(),
        "refcount_bits": header.refcount_bits,
        "extended_l2": header.extended_l2,
    }
    return disk.volume(), details


def _l2_tables(file: HostFile, header: Header) -> list[tuple[int, int]]:
    """Return (index, offset in the file) of the L2 tables that the disk's size asks for and that exist."""
    entries = _big_endian(file.read(header.l1_table_offset, 8 * header.l1_needed, _L1))
    mask = qcow2.L1E_OFFSET_MASK
    tables = [(index, entry & mask) for index, entry in enumerate(entries) if entry & mask]
    for index, offset in tables:
        if offset % header.cluster_size or offset + header.cluster_size > file.size:
            remedy = _remedy(file, header, offset)
            raise FormatError(
                f"entry {index:,} of the {_L1} has the L2 table at {offset:,}, which is not a cluster of the"
                f" file's {file.size:,} bytes; {remedy}",
                _L1,
                header.l1_table_offset + 8 * index,
            )
    return tables


def _remedy(file: HostFile, header: Header, offset: int) -> str:
    """Return what to do where a table leads to an offset at which there is nothing, or not all of it."""
    beyond = (offset & -header.cluster_size) + header.cluster_size > file.size
    return CUT_OFF if beyond and is_in_use(file, header, offset) else _REMEDY


class _Disk:
    """Collects the extents of the guest disk, in its order."""

    def __init__(self, file: HostFile, header: Header) -> None:
        self.file = file
        self.header = header
        self.step = header.cluster_size
        self.bits = header.cluster_bits
        self.used = Used()
        decoder = Decoder(file, header.cluster_bits, header.compression)
        self.gatherer = Gatherer(decoder, header.size)

    def reserve(self, tables: list[tuple[int, int]]) -> None:
        """Note where header and tables are, before any table is read.

        Raises:
            FormatError: Two are in one place.
        """
        header = self.header
        self.used.add(0, self.step)
        self.used.add(header.l1_table_offset, header.l1_table_offset + 8 * header.l1_size)
        refcounts = header.refcount_table_offset
        self.used.add(refcounts, refcounts + header.refcount_table_clusters * self.step)
        for _, offset in tables:
            self.used.add(offset, offset + self.step)
        self.used.refuse_overlaps(_L1)

    def add(self, first: int, table: bytes, offset: int) -> None:
        """Add what an L2 table of plain entries says of the clusters from ``first`` on."""
        entries = _big_endian(table)
        index = 0
        while found := _NOT_ZERO.search(table, 8 * index):
            index = found.start() // 8
            entry = entries[index]
            count = 1
            if entry & qcow2.OFLAG_COMPRESSED:
                count = _compressed_run(entries, index)
                self._compressed(first + index, entries[index : index + count], offset + 8 * index)
            elif entry & qcow2.OFLAG_ZERO:
                self._check_zero(entry, offset + 8 * index)
            elif entry & qcow2.L2E_OFFSET_MASK:
                count = rising(entries, index, self.step)
                self._plain(first + index, count, entry, offset + 8 * index)
            index += count

    def add_extended(self, first: int, table: bytes, offset: int) -> None:
        """Add what an L2 table of extended entries says: clusters of 32 parts, each with its own state."""
        both = _big_endian(table)
        entries, bitmaps = both[::2], both[1::2]
        index = 0
        while found := _NOT_ZERO.search(table, 16 * index):
            index = found.start() // 16
            at = offset + 16 * index
            count = 1
            if entries[index] & qcow2.OFLAG_COMPRESSED:
                count = _compressed_run(entries, index)
                self._compressed(first + index, entries[index : index + count], at)
            else:
                self._subclusters(first + index, entries[index], bitmaps[index], at)
            index += count

    def volume(self) -> Volume:
        """Return the disk, after checking that no two clusters are in one place."""
        self.gatherer.flush()
        self.used.refuse_overlaps(_L2)
        return Volume(self.header.size, joined(self.gatherer.extents))

    def _plain(self, first: int, count: int, entry: int, at: int) -> None:
        host = self._checked(entry, count, at)
        self.used.add(host, host + (count << self.bits))
        self.gatherer.plain(first, count, host)

    def _compressed(self, first: int, entries: array[int], at: int) -> None:
        for entry in entries:
            offset, stop = qcow2.compressed_place(entry, self.bits)
            if offset >= self.file.size:
                raise self._outside("compressed cluster", offset, at)
            # Where in its last sector it ends is not said: the next may begin there.
            self.used.add(offset, max(offset + 1, stop - 511))
        self.gatherer.wait(first, entries)

    def _subclusters(self, first: int, entry: int, bitmap: int, at: int) -> None:
        allocated, zero = bitmap & ALL_PARTS, bitmap >> 32
        if allocated & zero or (allocated and not entry & qcow2.L2E_OFFSET_MASK):
            raise FormatError(
                f"the extended L2 entry at {at:,} has subclusters of two kinds at once, or without a place:"
                f" {entry:#018x} {bitmap:#018x}; {_REMEDY}",
                _L2,
                at,
            )
        if allocated == ALL_PARTS:
            self._plain(first, 1, entry, at)
        elif allocated:
            host = self._checked(entry, 1, at)
            self.used.add(host, host + self.step)
            self.gatherer.parts(first, host, allocated)

    def _checked(self, entry: int, count: int, at: int) -> int:
        """Return the place of a run of clusters, each of which begins within the file."""
        host = entry & qcow2.L2E_OFFSET_MASK
        last = host + ((count - 1) << self.bits)
        if host % self.step or last >= self.file.size:
            raise self._outside("cluster", host if host % self.step else last, at)
        return host

    def _check_zero(self, entry: int, at: int) -> None:
        if self.header.version < 3:
            message = f"the L2 entry at {at:,} has the zero flag, which version 2 does not have; {_REMEDY}"
            raise FormatError(message, _L2, at)
        host = entry & qcow2.L2E_OFFSET_MASK
        if host % self.step:
            raise self._outside("cluster", host, at)

    def _outside(self, what: str, host: int, at: int) -> FormatError:
        return FormatError(
            f"the L2 entry at {at:,} has a {what} at {host:,}, which is not a place for one in the file's"
            f" {self.file.size:,} bytes; {_remedy(self.file, self.header, host)}",
            _L2,
            at,
        )


def _big_endian(table: bytes) -> array[int]:
    entries = array("Q", table)
    if sys.byteorder == "little":
        entries.byteswap()
    return entries


def _compressed_run(entries: array[int], first: int) -> int:
    for index in range(first, len(entries)):
        if not entries[index] & qcow2.OFLAG_COMPRESSED:
            return index - first
    return len(entries) - first
