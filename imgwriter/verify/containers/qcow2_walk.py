"""The tables of a qcow2, read as far as they lead somewhere, and what they refer to.

::

    header ─┬─ L1 ──> L2 tables ──> clusters
            ├─ refcount table ──> blocks
            ├─ snapshots ──> their L1, L2 ──> clusters
            └─ bitmap directory ──> tables ──> clusters

Each table is read once, however many entries lead to it: work goes with what is stored in the file.

Spec: docs/interop/qcow2.txt.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from imgwriter import qcow2
from imgwriter.findings import Finding
from imgwriter.qcow2 import IncompatibleFeatures
from imgwriter.readers.clusters import rising
from imgwriter.readers.hostfile import HostFile, Used
from imgwriter.units import align_up, counted, div_ceil
from imgwriter.verify.containers.beyond import Beyond
from imgwriter.verify.containers.qcow2_header import Tables
from imgwriter.verify.containers.qcow2_references import References
from imgwriter.verify.remarks import Remarks

MAPPING = 'qcow2.txt, "Cluster mapping"'
MANAGEMENT = 'qcow2.txt, "Host cluster management"'
SNAPSHOTS = 'qcow2.txt, "Snapshots"'
BITMAPS = 'qcow2.txt, "Bitmaps"'

L1, L2 = "qcow2 L1 table", "qcow2 L2 table"
REFCOUNT_TABLE = "qcow2 refcount table"

_NOT_ZERO = re.compile(rb"[^\0]")
_RESERVED_L1 = ~(qcow2.OFLAG_COPIED | qcow2.L1E_OFFSET_MASK) & (1 << 64) - 1
_MOST_SNAPSHOTS = 65_536
_MOST_BITMAPS = 65_535
"""QEMU's limits."""


class Item(NamedTuple):
    """Neighbouring entries of an L2 table: a run of plain ones whose clusters follow each other, or one.

    Attributes:
        first: The first, in its table.
        length: How many.
        entry: The first one's 64 bits.
        bitmap: Of subclusters; 0 where entries are not extended.
    """

    first: int
    length: int
    entry: int
    bitmap: int


class Walk:
    """The tables of one image.

    Attributes:
        elsewhere: Whether the disk's clusters are in an external data file, and have no refcounts.
        references: What was referred to so far.
        sole: The part of it that should have no other reference: all but compressed clusters.
        packed: Where compressed clusters are, but for those of snapshots.
        lost: Whether there is a table that was not read: clusters may have references that were not counted.
        beyond: Entries that lead behind the end of the file.
        cut_off: Whether clusters of the disk would be there.
    """

    def __init__(self, file: HostFile, tables: Tables, remarks: Remarks) -> None:
        self.file = file
        self.tables = tables
        self.fields = tables.fields
        self.step = tables.cluster_size
        self.bits = tables.fields.cluster_bits
        self.entry_size = 16 if tables.extended else 8
        self.elsewhere = bool(self.fields.incompatible_features & IncompatibleFeatures.EXTERNAL_DATA_FILE)
        self.remarks = remarks
        self.references = References()
        self.sole = References()
        self.packed = Used()
        self.lost = False
        self.beyond = Beyond()
        self.cut_off = False
        self._budget = 64 * file.size
        self._told = False

    def count_fixed(self) -> None:
        """Count what the header names itself."""
        fields = self.fields
        self.refer(0, self.step)
        self.refer(fields.l1_table_offset, 8 * fields.l1_size)
        self.refer(fields.refcount_table_offset, fields.refcount_table_clusters * self.step)

    def refer(self, offset: int, length: int, *, shared: bool = False) -> None:
        low, high = offset // self.step, div_ceil(offset + length, self.step)
        if length:
            self.references.add(low, high)
            if not shared:
                self.sole.add(low, high)

    def blocks(self) -> tuple[array[int], bytearray]:
        """Return the offsets of the refcount blocks, and which cannot be read; 0 where there is none."""
        fields = self.fields
        size = fields.refcount_table_clusters * self.step
        entries = big_endian(self.file.read(fields.refcount_table_offset, size, REFCOUNT_TABLE))
        unread = bytearray(len(entries))
        seen: set[int] = set()
        for index, entry in enumerate(entries):
            if not entry:
                continue
            at = fields.refcount_table_offset + 8 * index
            offset = entry & qcow2.REFT_OFFSET_MASK
            if entry != offset:
                self.find(REFCOUNT_TABLE, index, at, "bits 0 to 8 zero", f"{entry:#x}", MANAGEMENT)
            entries[index] = 0
            if not offset:
                continue
            if self.is_place(offset, REFCOUNT_TABLE, index, at, MANAGEMENT):
                self.refer(offset, self.step)
                # The same block for two ranges: that it is used twice is said where references are compared.
                if offset not in seen:
                    entries[index] = offset
                    seen.add(offset)
            if not entries[index]:
                # The block that the entry should lead to has a refcount itself.
                unread[index], self.lost = 1, True
        return entries, unread

    def l2_tables(self, start: int, count: int, structure: str) -> list[tuple[int, int]]:
        """Return (index, offset) of the L2 tables of an L1 table that can be read, each once."""
        tables: dict[int, int] = {}
        content = self.file.read(start, 8 * count, structure)
        entries = big_endian(content)
        index = 0
        while found := _NOT_ZERO.search(content, 8 * index):
            index = found.start() // 8
            entry, at = entries[index], start + 8 * index
            offset = entry & qcow2.L1E_OFFSET_MASK
            if entry & _RESERVED_L1:
                self.find(structure, index, at, "bits 0 to 8, 56 to 62 zero", f"{entry:#018x}", MAPPING)
            if not offset:
                expected = "an offset, or no flag"
                if entry & qcow2.OFLAG_COPIED:
                    self.find(structure, index, at, expected, f"{entry:#018x}", MAPPING)
            elif self.is_place(offset, structure, index, at, MAPPING):
                self.refer(offset, self.step)
                tables.setdefault(offset, index)
            else:
                self.lost = True
            index += 1
        return [(index, offset) for offset, index in tables.items()]

    def count_table(self, offset: int, *, active: bool = False) -> None:
        """Count the references of an L2 table; ``active`` tells the disk's own from a snapshot's."""
        self._budget -= self.step
        if self.elsewhere:
            return
        for item in self.items(offset):
            if item.entry & qcow2.OFLAG_COMPRESSED:
                place = qcow2.compressed_place(item.entry, self.bits)
                self.cut_off |= place.offset >= self.file.size
                if place.offset < self.file.size:
                    start = place.offset // qcow2.COMPRESSED_SECTOR * qcow2.COMPRESSED_SECTOR
                    self.refer(start, place.stop - start, shared=True)
                    if active:
                        # Where in its last sector it ends is not said: the next may begin there.
                        self.packed.add(place.offset, max(place.offset + 1, place.stop - 511))
                continue
            host = item.entry & qcow2.L2E_OFFSET_MASK
            if host and host % self.step == 0:
                self.cut_off |= host >= self.file.size
                if host < self.file.size:
                    self.refer(host, item.length << self.bits)

    def items(self, offset: int) -> Iterator[Item]:
        """Yield the entries of an L2 table that are not 0."""
        if self.file.is_hole(offset, self.step):
            return
        content = self.file.read(offset, self.step, L2)
        entries, bitmaps = big_endian(content), array("Q")
        if self.tables.extended:
            entries, bitmaps = entries[::2], entries[1::2]
        index = 0
        while found := _NOT_ZERO.search(content, self.entry_size * index):
            index = found.start() // self.entry_size
            entry, count = entries[index], 1
            bitmap = bitmaps[index] if bitmaps else 0
            plain = not entry & (qcow2.OFLAG_COMPRESSED | qcow2.OFLAG_ZERO)
            if plain and not bitmaps and entry & qcow2.L2E_OFFSET_MASK:
                last = (self.file.size - 1 - (entry & qcow2.L2E_OFFSET_MASK)) >> self.bits
                count = max(min(rising(entries, index, self.step), last + 1), 1)
            yield Item(index, count, entry, bitmap)
            index += count

    def count_snapshots(self) -> None:
        """Count what snapshots refer to. Spec: "Snapshots"."""
        fields = self.fields
        at = fields.snapshots_offset
        if not fields.nb_snapshots:
            return
        structure = "qcow2 snapshot table"
        for number in range(min(fields.nb_snapshots, _MOST_SNAPSHOTS)):
            size = qcow2.SNAPSHOT.sizeof()
            if at % 8 or not 0 < at <= self.file.size - size:
                self.find(structure, number, at, "a place in the file", f"{at:,}", SNAPSHOTS)
                self.lost = True
                return
            record = qcow2.SNAPSHOT.parse(self.file.read(at, size, structure))
            length = 8 * record.l1_size
            start = record.l1_table_offset
            inside = start % self.step == 0 and length <= qcow2.MAX_L1_SIZE
            if inside and start + length <= self.file.size:
                self.refer(start, length)
                self._budget -= length
                for _, offset in self.l2_tables(start, record.l1_size, f"{L1} of snapshot {number + 1}"):
                    # Snapshots share tables; so many that all of the file is read over and over are none.
                    if not self._spent(structure, at):
                        self.count_table(offset)
            else:
                self.lost = True
                found = f"{length:,} bytes at {start:,}"
                self.find(structure, number, at, "an L1 table in the file", found, SNAPSHOTS)
            at += align_up(size + record.extra_data_size + record.id_str_size + record.name_size, 8)
        self.refer(fields.snapshots_offset, at - fields.snapshots_offset)

    def count_bitmaps(self) -> None:
        """Count what persistent bitmaps refer to. Spec: "Bitmaps"."""
        if self.tables.bitmaps is None:
            return
        start, size, count = self.tables.bitmaps
        self.refer(start, size)
        structure = "qcow2 bitmap directory"
        directory = self.file.read(start, size, structure)
        at = 0
        for number in range(min(count, _MOST_BITMAPS)):
            if at + qcow2.BITMAP.sizeof() > size:
                expected, found = counted(count, "bitmap"), f"{number:,} in {size:,} bytes"
                self.remarks.find(structure, "nb_bitmaps", start, expected, found, BITMAPS)
                self.lost = True
                break
            record = qcow2.BITMAP.parse(directory[at:])
            self._count_bitmap(record.bitmap_table_offset, record.bitmap_table_size, start + at)
            at += align_up(qcow2.BITMAP.sizeof() + record.extra_data_size + record.name_size, 8)

    def _count_bitmap(self, start: int, entries: int, at: int) -> None:
        structure = "qcow2 bitmap table"
        if start % self.step or not 0 < 8 * entries <= self.file.size - start:
            expected, found = "a place in the file, at a cluster", f"{8 * entries:,} bytes at {start:,}"
            self.remarks.find("qcow2 bitmap directory", "bitmap_table_offset", at, expected, found, BITMAPS)
            self.lost = True
            return
        self.refer(start, 8 * entries)
        self._budget -= 8 * entries
        if self._spent("qcow2 bitmap directory", at):
            return
        for index, entry in enumerate(big_endian(self.file.read(start, 8 * entries, structure))):
            offset = entry & qcow2.L2E_OFFSET_MASK
            if offset and self.is_place(offset, structure, index, start + 8 * index, BITMAPS):
                self.refer(offset, self.step)

    def _spent(self, structure: str, at: int) -> bool:
        """Return whether no more tables are read: of snapshots and bitmaps there may be many of the same."""
        if self._budget > 0:
            return False
        if not self._told:
            found = "tables that are not counted: there would be 64 times the file's size of them"
            self.remarks.note(structure, "", at, "tables in places of their own", found, MANAGEMENT)
        self._told = self.lost = True
        return True

    def is_place(
        self, offset: int, structure: str, index: int, at: int, section: str, *, whole: bool = True
    ) -> bool:
        """Return whether an offset is a cluster's; one that need not be whole may be cut off."""
        end = offset + (self.step if whole else 1)
        holds = offset % self.step == 0 and end <= self.file.size
        if not holds:
            expected = f"a multiple of {self.step:,}, in the file's {self.file.size:,} bytes"
            finding = Finding(structure, f"entry {index:,}", at, expected, f"{offset:,}", section)
            if offset % self.step:
                self.remarks.find(*finding)
            else:
                self.beyond.add(finding, offset, offset + self.step)
        return holds

    def find(self, structure: str, index: int, at: int, expected: str, found: str, section: str) -> None:
        self.remarks.find(structure, f"entry {index:,}", at, expected, found, section)


def big_endian(table: bytes) -> array[int]:
    entries = array("Q", table)
    if sys.byteorder == "little":
        entries.byteswap()
    return entries
