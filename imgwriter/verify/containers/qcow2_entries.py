"""The entries of a qcow2's L1 and L2 tables: flags against refcounts, reserved bits, places, compressed data.

Spec: docs/interop/qcow2.txt, "Cluster mapping", "Compressed Clusters Descriptor", "Extended L2 Entries".
"""

from __future__ import annotations

from imgwriter import qcow2
from imgwriter.errors import FormatError
from imgwriter.findings import Finding
from imgwriter.readers.clusters import ALL_PARTS, Decoder
from imgwriter.verify.containers.qcow2_header import HEADER_SECTION
from imgwriter.verify.containers.qcow2_references import Refcounts
from imgwriter.verify.containers.qcow2_walk import L1, L2, MAPPING, Item, Walk, big_endian

DESCRIPTOR = 'qcow2.txt, "Compressed Clusters Descriptor"'
SUBCLUSTERS = 'qcow2.txt, "Extended L2 Entries"'

_FLAGS = qcow2.OFLAG_COPIED | qcow2.OFLAG_COMPRESSED | qcow2.OFLAG_ZERO
_RESERVED = ~(_FLAGS | qcow2.L2E_OFFSET_MASK) & (1 << 64) - 1


class Entries:
    """The entries of one image's active tables.

    Args:
        walk: Its tables.
        refcounts: What its blocks have.
        decompress: Whether compressed clusters are decompressed.
    """

    def __init__(self, walk: Walk, refcounts: Refcounts, *, decompress: bool) -> None:
        self.walk = walk
        self.refcounts = refcounts
        kind = walk.tables.compression or qcow2.CompressionType.ZLIB
        self.decompress = decompress and walk.tables.compression is not None
        self.decoder = Decoder(walk.file, walk.bits, kind)

    def check_l1(self) -> None:
        """Check the flag of each L1 entry; the rest was checked when the tables were looked for."""
        walk, fields = self.walk, self.walk.fields
        content = walk.file.read(fields.l1_table_offset, 8 * fields.l1_size, L1)
        for index, entry in enumerate(big_endian(content)):
            offset = entry & qcow2.L1E_OFFSET_MASK
            if offset and offset % walk.step == 0 and offset < walk.file.size:
                refcount = self.refcounts.at(offset >> walk.bits)
                self._check_copied(L1, index, fields.l1_table_offset + 8 * index, entry, refcount)

    def check_l2(self, table: int, offset: int) -> None:
        """Check the entries of the L2 table with an index, at an offset of the file."""
        walk = self.walk
        for item in walk.items(offset):
            index = table * (walk.step // walk.entry_size) + item.first
            at = offset + item.first * walk.entry_size
            if walk.elsewhere:
                self._check_elsewhere(item, index, at)
            elif item.entry & qcow2.OFLAG_COMPRESSED:
                self._check_compressed(item, index, at)
            else:
                self._check_bits(item, index, at)
                self._check_plain(item, index, at)

    def _check_elsewhere(self, item: Item, index: int, at: int) -> None:
        """Check an entry of a disk in an external data file. Spec: "Header", incompatible_features, bit 2."""
        walk, entry = self.walk, item.entry
        if entry & qcow2.OFLAG_COMPRESSED:
            expected = "no compressed cluster, as the data are in an external file"
            walk.find(L2, index, at, expected, f"{entry:#018x}", HEADER_SECTION)
            return
        self._check_bits(item, index, at)
        host, guest = entry & qcow2.L2E_OFFSET_MASK, index << walk.bits
        if (host or entry & qcow2.OFLAG_COPIED) and host != guest:
            expected = f"{guest:,}, the cluster's place on the disk"
            walk.find(L2, index, at, expected, f"{host:,}", HEADER_SECTION)

    def _check_plain(self, item: Item, index: int, at: int) -> None:
        walk = self.walk
        host, copied = item.entry & qcow2.L2E_OFFSET_MASK, item.entry & qcow2.OFLAG_COPIED
        if not host:
            if copied:
                found = f"{item.entry:#018x}"
                walk.find(L2, index, at, "an offset, or no OFLAG_COPIED", found, MAPPING)
            return
        if not walk.is_place(host, L2, index, at, MAPPING, whole=False):
            return
        first = host >> walk.bits
        if self.refcounts.ones(first, first + item.length) == (item.length if copied else 0):
            return
        for number in range(item.length):
            refcount = self.refcounts.at(first + number)
            self._check_copied(L2, index + number, at + number * walk.entry_size, item.entry, refcount)

    def _check_bits(self, item: Item, index: int, at: int) -> None:
        walk, entry = self.walk, item.entry
        zero_flag = walk.fields.version >= 3 and not walk.tables.extended
        if entry & (_RESERVED if zero_flag else _RESERVED | qcow2.OFLAG_ZERO):
            expected = f"bits {int(zero_flag)} to 8, 56 to 61 zero"
            walk.find(L2, index, at, expected, f"{entry:#018x}", MAPPING)
        allocated, zero = item.bitmap & ALL_PARTS, item.bitmap >> 32
        found = f"{item.bitmap:#018x}"
        if allocated & zero:
            walk.find(L2, index, at + 8, "subclusters allocated or zero, not both", found, SUBCLUSTERS)
        # The first cluster of an external data file is at 0.
        placed = entry & (qcow2.L2E_OFFSET_MASK | (qcow2.OFLAG_COPIED if walk.elsewhere else 0))
        if allocated and not placed:
            expected = "no subcluster allocated, as the entry has no offset"
            walk.find(L2, index, at + 8, expected, found, SUBCLUSTERS)

    def _check_compressed(self, item: Item, index: int, at: int) -> None:
        walk = self.walk
        place = qcow2.compressed_place(item.entry, walk.bits)
        if item.entry & qcow2.OFLAG_COPIED:
            walk.find(L2, index, at, "no OFLAG_COPIED on a compressed cluster", "it is set", MAPPING)
        if item.bitmap:
            expected, found = "no subclusters of a compressed cluster", f"{item.bitmap:#018x}"
            walk.find(L2, index, at + 8, expected, found, SUBCLUSTERS)
        if place.offset >= walk.file.size:
            expected = f"a place in the file's {walk.file.size:,} bytes"
            finding = Finding(L2, f"entry {index:,}", at, expected, f"{place.offset:,}", DESCRIPTOR)
            walk.beyond.add(finding, place.offset, place.stop)
        elif self.decompress:
            try:
                self.decoder.cluster(item.entry & ~qcow2.OFLAG_COPIED)
            except FormatError as error:
                expected = f"a compressed cluster of {walk.step:,} bytes"
                finding = Finding(L2, f"entry {index:,}", at, expected, str(error), DESCRIPTOR)
                if place.stop > walk.file.size:
                    walk.beyond.add(finding, place.offset, place.stop)
                else:
                    walk.remarks.find(*finding)

    def _check_copied(self, structure: str, index: int, at: int, entry: int, refcount: int | None) -> None:
        copied = bool(entry & qcow2.OFLAG_COPIED)
        if self.walk.tables.complete and refcount is not None and copied != (refcount == 1):
            expected = f"OFLAG_COPIED {'set' if refcount == 1 else 'clear'}, as the refcount is {refcount:,}"
            self.walk.find(structure, index, at, expected, "set" if copied else "clear", MAPPING)
