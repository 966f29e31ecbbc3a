"""The two copies of a GPT: each is checked on its own, then against the other.

A copy is usable when the checks of UEFI 2.10, 5.3.2 hold (signature, both checksums, my_lba) and it can be
read within bounds: a header of 92 bytes to a sector, entries of 128 bytes times a power of two, an array of
at most ARRAY_LIMIT on the disk, usable LBAs on the disk. Everything else is a finding, and the copy is read
all the same.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from construct import Construct

from imgwriter import gpt
from imgwriter.findings import Finding
from imgwriter.tables_reader.remarks import Fields, Remarks
from imgwriter.tables_reader.values import ENTRY_SECTION, HEADER_SECTION, GptCopy, Partition, Which
from imgwriter.units import div_ceil
from imgwriter.window import Window

ARRAY_LIMIT = 4 << 20
"""Bytes of entries that are read: Linux's limit (KMALLOC_MAX_SIZE), 32,768 entries of the usual size."""

_HEADER_AT = {
    "signature": 0, "revision": 8, "header_size": 12, "header_crc32": 16, "reserved": 20, "my_lba": 24,
    "alternate_lba": 32, "first_usable_lba": 40, "last_usable_lba": 48, "disk_guid": 56,
    "partition_entry_lba": 72, "number_of_partition_entries": 80, "size_of_partition_entry": 84,
    "partition_entry_array_crc32": 88,
}  # fmt: skip
_SAME_IN_BOTH = (
    "first_usable_lba", "last_usable_lba", "disk_guid", "number_of_partition_entries",
    "size_of_partition_entry", "partition_entry_array_crc32",
)  # fmt: skip

_DEFINED_ATTRIBUTES = 0xFFFF_0000_0000_0007
"""Bits 0 to 2, and 48 to 63 that belong to the type. Spec: UEFI 2.10, 5.3.3, table 5.8."""


_SURROGATE = re.compile(rb"(?s)(?:..)*?.[\xd8-\xdf]")
"""UTF-16 up to a surrogate, alone or not."""


class Disk(NamedTuple):
    """A disk that is looked at in sectors of some size."""

    window: Window
    sector_size: int

    @property
    def sectors(self) -> int:
        """Whole sectors."""
        return self.window.size // self.sector_size

    def sector(self, lba: int, where: str) -> bytes:
        """Return a sector's bytes, or none where it is beyond the disk."""
        if not 0 <= lba < self.sectors:
            return b""
        return self.window.read(lba * self.sector_size, self.sector_size, where)


def examine_copy(disk: Disk, which: Which, lba: int) -> GptCopy:
    """Return the copy whose header should be at ``lba``, whatever is there."""
    remarks = Remarks(f"GPT {which} header", lba * disk.sector_size, HEADER_SECTION)
    sector = disk.sector(lba, remarks.structure)
    signature = sector[:8]
    if not remarks.require(signature == gpt.SIGNATURE, "signature", 0, gpt.SIGNATURE, signature):
        return GptCopy(which, lba, None, b"", False, tuple(remarks.findings), ())
    fields = gpt.HEADER.parse(sector)
    usable = _check_header(remarks, fields, sector, lba)
    length = _check_places(remarks, fields, disk, (which, lba))
    array = (
        disk.window.read(fields.partition_entry_lba * disk.sector_size, length, "GPT entries")
        if length
        else b""
    )
    if array:
        usable &= _crc(remarks, "partition_entry_array_crc32", zlib.crc32(array), fields)
    usable &= bool(array)
    return GptCopy(which, lba, _header(fields), array, usable, tuple(remarks.findings), tuple(remarks.notes))


def _header(fields: Fields) -> gpt.Header:
    values = {name: fields[name] for name in gpt.Header._fields}
    return gpt.Header(**{**values, "disk_guid": UUID(bytes_le=fields.disk_guid)})


def _require(remarks: Remarks, holds: bool, field: str, expected: object, fields: Fields) -> bool:
    return remarks.require(holds, field, _HEADER_AT[field], expected, f"{fields[field]:,}")


def _crc(remarks: Remarks, field: str, expected: int, fields: Fields) -> bool:
    found = fields[field]
    return remarks.require(expected == found, field, _HEADER_AT[field], f"{expected:#010x}", f"{found:#010x}")


def _check_header(remarks: Remarks, fields: Fields, sector: bytes, lba: int) -> bool:
    """Check what concerns the header alone; return whether it may be believed."""
    revision = f"{fields.revision:#010x}"
    remarks.require(fields.revision == gpt.REVISION, "revision", 8, f"{gpt.REVISION:#010x}", revision)
    remarks.require(fields.reserved == 0, "reserved", 20, 0, f"{fields.reserved:#x}")
    good = _require(remarks, fields.my_lba == lba, "my_lba", f"{lba:,}", fields)
    size = fields.header_size
    if not _require(
        remarks,
        gpt.HEADER_SIZE <= size <= len(sector),
        "header_size",
        f"{gpt.HEADER_SIZE} to {len(sector):,}",
        fields,
    ):
        return False
    remarks.note(size == gpt.HEADER_SIZE, "header_size", 12, gpt.HEADER_SIZE, f"{size:,}")
    rest = sector[gpt.HEADER_SIZE :].lstrip(b"\0")
    remarks.require(
        not rest, "reserved", len(sector) - len(rest), "zeros to the end of the sector", "other bytes"
    )
    covered = bytearray(sector[:size])
    covered[16:20] = bytes(4)
    return _crc(remarks, "header_crc32", zlib.crc32(covered), fields) and good


def _check_places(remarks: Remarks, fields: Fields, disk: Disk, copy: tuple[Which, int]) -> int:
    """Check what the header says of the disk; return the bytes of its entries, 0 if they cannot be read."""
    size, number = fields.size_of_partition_entry, fields.number_of_partition_entries
    shaped = _require(
        remarks,
        size >= gpt.ENTRY_SIZE and size & (size - 1) == 0,
        "size_of_partition_entry",
        "128 times a power of two",
        fields,
    )
    limit = f"1 to {ARRAY_LIMIT // max(size, 1):,}"
    shaped &= _require(
        remarks, 0 < number * size <= ARRAY_LIMIT, "number_of_partition_entries", limit, fields
    )
    array = number * size if shaped else 0
    sectors = div_ceil(array, disk.sector_size)
    first, last = fields.first_usable_lba, fields.last_usable_lba
    bounded = _require(
        remarks, first <= last, "first_usable_lba", f"at most last_usable_lba {last:,}", fields
    )
    bounded &= _require(remarks, last < disk.sectors, "last_usable_lba", f"below {disk.sectors:,}", fields)
    start = fields.partition_entry_lba
    if shaped:
        beyond = f"at most {disk.sectors - sectors:,}"
        bounded &= _require(remarks, start + sectors <= disk.sectors, "partition_entry_lba", beyond, fields)
    if not (shaped and bounded):
        return 0
    _check_order(remarks, fields, disk, copy, sectors)
    return array


def _check_order(remarks: Remarks, fields: Fields, disk: Disk, copy: tuple[Which, int], sectors: int) -> None:
    """Check that MBR, headers, arrays and partitions do not lie in each other."""
    first, last, start = fields.first_usable_lba, fields.last_usable_lba, fields.partition_entry_lba
    which, lba = copy
    if which == "primary":
        places = f"2 or more, and with {sectors:,} sectors before first_usable_lba {first:,}"
        ordered = start >= 2 and start + sectors <= first
        least = 2 + div_ceil(gpt.ARRAY_SIZE, disk.sector_size)
        remarks.note(
            first >= least, "first_usable_lba", 40, f"{least} or more: 16 KiB of entries", f"{first:,}"
        )
    else:
        places = f"after last_usable_lba {last:,}, and with {sectors:,} sectors before {lba:,}"
        ordered = last < start and start + sectors <= lba
    _require(remarks, ordered, "partition_entry_lba", places, fields)


def compare_copies(primary: GptCopy, backup: GptCopy, disk: Disk) -> list[Finding]:
    """Return where two copies, each with a header, do not name each other, or say something else."""
    findings: list[Finding] = []
    for copy, other in ((primary, disk.sectors - 1), (backup, 1)):
        if copy.header is not None:
            remarks = Remarks(f"GPT {copy.which} header", copy.lba * disk.sector_size, HEADER_SECTION)
            found = copy.header.alternate_lba
            remarks.require(found == other, "alternate_lba", 32, f"{other:,}", f"{found:,}")
            findings += remarks.findings
    if not (primary.usable and backup.usable):
        return findings
    remarks = Remarks("GPT backup header", backup.lba * disk.sector_size, HEADER_SECTION)
    for field in _SAME_IN_BOTH:
        expected, found = getattr(primary.header, field), getattr(backup.header, field)
        remarks.require(expected == found, field, _HEADER_AT[field], f"{expected}, as in the primary", found)
    return findings + remarks.findings


def partitions_of(copy: GptCopy, disk: Disk) -> tuple[list[Partition], list[Finding], list[Finding]]:
    """Return the partitions of a copy whose array was read, and the findings and notes about its entries.

    An entry whose last LBA is before its first is no partition.
    """
    assert copy.header is not None
    findings: list[Finding] = []
    notes: list[Finding] = []
    partitions: list[Partition] = []
    guids: dict[bytes, int] = {}
    parser = _entry_parser()
    for number, at, row in _used_rows(copy):
        offset = copy.header.partition_entry_lba * disk.sector_size + at
        remarks = Remarks(f"GPT {copy.which} entry {number:,}", offset, ENTRY_SECTION)
        fields = parser.parse(row)
        if _check_entry(remarks, fields, copy.header):
            partitions.append(_partition(number, fields, disk.sector_size))
        guid = fields.unique_partition_guid
        twin = guids.setdefault(guid, number)
        remarks.require(
            twin == number, "unique_partition_guid", 16, "a GUID of its own", f"that of entry {twin:,}"
        )
        _check_reserved(remarks, copy.array, at, copy.header.size_of_partition_entry)
        findings += remarks.findings
        notes += remarks.notes
    findings += _overlaps(partitions, copy, disk)
    return partitions, findings, notes


@cache
def _entry_parser() -> Construct[Any, Any]:
    """Return the entry's record as construct compiles it: a table may have 32,768 of them."""
    return gpt.ENTRY.compile()


def _used_rows(copy: GptCopy) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number, offset in the array, bytes) of the entries that have a type."""
    assert copy.header is not None
    unused = bytes(16)
    for number in range(1, copy.header.number_of_partition_entries + 1):
        at = (number - 1) * copy.header.size_of_partition_entry
        if copy.array[at : at + 16] != unused:
            yield number, at, copy.array[at : at + gpt.ENTRY_SIZE]


def _check_entry(remarks: Remarks, fields: Fields, header: gpt.Header) -> bool:
    """Check what an entry says on its own; return whether its LBAs are an interval."""
    first, last = fields.starting_lba, fields.ending_lba
    low, high = header.first_usable_lba, header.last_usable_lba
    if low <= first <= last <= high and _is_ordinary(fields):
        return True
    remarks.require(any(fields.unique_partition_guid), "unique_partition_guid", 16, "a GUID", "zeros")
    remarks.require(low <= first <= high, "starting_lba", 32, f"{low:,} to {high:,}", f"{first:,}")
    remarks.require(low <= last <= high, "ending_lba", 40, f"{low:,} to {high:,}", f"{last:,}")
    unknown = fields.attributes & ~_DEFINED_ATTRIBUTES
    remarks.require(not unknown, "attributes", 48, "bits 3 to 47 zero", f"{fields.attributes:#018x}")
    name = fields.partition_name
    units = name.decode("utf-16-le", "surrogatepass")
    remarks.note("\0" in units, "partition_name", 56, "a NUL at its end", "36 units without one")
    alone = any("\ud800" <= c <= "\udfff" for c in units.partition("\0")[0])
    remarks.note(not alone, "partition_name", 56, "UTF-16", "a lone surrogate")
    return remarks.require(first <= last, "ending_lba", 40, f"{first:,} or more", f"{last:,}")


def _is_ordinary(fields: Fields) -> bool:
    """Return whether there is nothing to say of an entry besides its LBAs: so it is with nearly all."""
    return bool(
        any(fields.unique_partition_guid)
        and not fields.attributes & ~_DEFINED_ATTRIBUTES
        and fields.partition_name.endswith(b"\0\0")
        and not _SURROGATE.match(fields.partition_name)
    )


def _check_reserved(remarks: Remarks, array: bytes, at: int, size: int) -> None:
    rest = array[at + gpt.ENTRY_SIZE : at + size].lstrip(b"\0")
    remarks.require(not rest, "reserved", size - len(rest), "zeros to the end of the entry", "other bytes")


def _partition(number: int, fields: Fields, sector_size: int) -> Partition:
    return Partition(
        number,
        fields.starting_lba * sector_size,
        (fields.ending_lba - fields.starting_lba + 1) * sector_size,
        UUID(bytes_le=fields.partition_type_guid),
        name=fields.partition_name.decode("utf-16-le", "surrogatepass").partition("\0")[0],
        guid=UUID(bytes_le=fields.unique_partition_guid),
        attributes=fields.attributes,
    )


def _overlaps(partitions: list[Partition], copy: GptCopy, disk: Disk) -> list[Finding]:
    assert copy.header is not None
    findings: list[Finding] = []
    ordered = sorted(partitions, key=lambda p: p.start)
    if not ordered:
        return findings
    furthest = ordered[0]
    for partition in ordered[1:]:
        at = (partition.number - 1) * copy.header.size_of_partition_entry
        offset = copy.header.partition_entry_lba * disk.sector_size + at
        remarks = Remarks(f"GPT {copy.which} entry {partition.number:,}", offset, ENTRY_SECTION)
        end = furthest.end // disk.sector_size
        expected = f"{end:,} or more, after entry {furthest.number:,}"
        found = f"{partition.start // disk.sector_size:,}"
        remarks.require(partition.start >= furthest.end, "starting_lba", 32, expected, found)
        findings += remarks.findings
        furthest = max(furthest, partition, key=lambda p: p.end)
    return findings
