"""A disk that ends before its table says: said once, with what is missing.

::

    by its table   ├ MBR, GPT ├ partition 1 ┤ partition 2        ┤ backup GPT ┤
    there          ├ MBR, GPT ├ partition 1 ┤ partit│
                                                    └ zeros, as far as the table is concerned

The table is read once more on a disk of the size that it says, with zeros for what is missing: so all
partitions are known, and what was only found because the disk is too short is gone.

Of an MBR the size is what its partitions need; of a GPT it is where the primary header has the backup, if
that header is right and there is no backup where the disk ends. A disk that ends before that header does has
nothing but a protective MBR, which may not know the size.
"""

from __future__ import annotations

from typing import NamedTuple

from imgwriter import gpt
from imgwriter.extent import Volume
from imgwriter.findings import Finding
from imgwriter.tables_reader import Partition, Table, read_table
from imgwriter.tables_reader.values import HEADER_SECTION, MBR_SECTION

_ALTERNATE_LBA_AT = 32
_LARGEST = 1 << 63
"""Bytes of a disk that a kernel can have: a table that says more is damaged."""
_MOST_NAMED = 4
_GET_WHOLE = "get the whole of the image"


class CutOff(NamedTuple):
    """A disk of which the end is missing.

    Attributes:
        table: As it would be on the whole disk.
        finding: What is wrong with it.
        message: The same as a sentence.
    """

    table: Table
    finding: Finding
    message: str


def cut_off(volume: Volume, table: Table) -> CutOff | None:
    """Return what is missing of a disk by its table, None where nothing is.

    Args:
        volume: The disk.
        table: Its table, as :func:`read_table` gave it.

    Raises:
        SourceError: The image's file cannot be read.
        FormatError: A compressed cluster of the image is damaged.
    """
    is_gpt = table.kind == "gpt"
    if is_gpt and volume.size < 2 * table.sector_size:
        return _without_header(volume.size, table)
    size = _size_by_gpt(table) if is_gpt else _size_by_mbr(table)
    end = volume.size
    if not end < size <= _LARGEST:
        return None
    whole = read_table(Volume(size, volume.extents), table.sector_size)
    if whole.kind != table.kind:
        return None
    missing = _missing(whole, end)
    if is_gpt:
        finding = _of_gpt(table, size, missing)
        message = f"the image is cut off: its GPT is of a disk of {size:,} bytes; {missing}; {_GET_WHOLE}"
    else:
        finding = _of_mbr(table, end, missing)
        message = f"the image is cut off, or its MBR is wrong; {missing}; {_GET_WHOLE}, or correct its table"
    there = tuple(f for f in whole.findings if f.offset < end and not _of_missing_entries(f, whole, end))
    notes = tuple(f for f in whole.notes if f.offset < end)
    return CutOff(whole._replace(findings=there, notes=notes, sectors=table.sectors), finding, message)


def _without_header(end: int, table: Table) -> CutOff:
    at = table.sector_size
    found = f"the end of the disk, which is cut off after {end:,} bytes"
    expected = f"a header of {gpt.HEADER_SIZE} bytes: {_GET_WHOLE}"
    finding = Finding("GPT primary header", "signature", at, expected, found, HEADER_SECTION)
    message = f"the image is cut off: it ends after {end:,} bytes, in or before its GPT; {_GET_WHOLE}"
    return CutOff(table._replace(findings=()), finding, message)


def _size_by_gpt(table: Table) -> int:
    if not table.copies:
        return 0
    primary, backup = table.copies
    wrong = {f.field for f in primary.findings} & {"header_crc32", "my_lba", "header_size"}
    # Of a disk of two sectors the last one is the primary header's.
    has_backup = backup.header is not None and backup.lba != primary.lba
    if primary.header is None or wrong or has_backup:
        return 0
    return (primary.header.alternate_lba + 1) * table.sector_size


def _size_by_mbr(table: Table) -> int:
    return max((p.end for p in table.partitions), default=0)


def _missing(table: Table, end: int) -> str:
    """Return what is missing, in the disk's order."""
    beyond = sorted((p for p in table.partitions if p.end > end), key=lambda p: p.start)
    # An extended partition is named where nothing in it is.
    parts = [p for p in beyond if p.role != "extended"] or beyond
    named = [_named(p, end) for p in parts[:_MOST_NAMED]]
    if len(parts) > _MOST_NAMED:
        named.append(f"{len(parts) - _MOST_NAMED:,} more")
    if table.kind == "gpt":
        named = [*_entries(table, end), *named, "the backup GPT"]
    return f"from byte {end:,} on are missing: {', '.join(named)}"


def _of_missing_entries(finding: Finding, table: Table, end: int) -> bool:
    return finding.field == "partition_entry_array_crc32" and bool(_entries(table, end))


def _entries(table: Table, end: int) -> list[str]:
    """Return what is missing of the primary GPT's entries."""
    header = table.copies[0].header
    if header is None:
        return []
    start = header.partition_entry_lba * table.sector_size
    size = header.number_of_partition_entries * header.size_of_partition_entry
    if start + size <= end:
        return []
    return ["entries of the GPT" + (f" from their byte {end - start:,} on" if start < end else "")]


def _named(p: Partition, end: int) -> str:
    return f"partition {p.number}" + (f" from its byte {end - p.start:,} on" if p.start < end else "")


def _of_gpt(table: Table, size: int, missing: str) -> Finding:
    last = size // table.sector_size - 1
    expected = f"{table.sectors - 1:,}, the last sector that there is: {_GET_WHOLE}"
    found = f"{last:,}, of a disk of {size:,} bytes, which is cut off; {missing}"
    at = table.sector_size + _ALTERNATE_LBA_AT
    return Finding("GPT primary header", "alternate_lba", at, expected, found, HEADER_SECTION)


def _of_mbr(table: Table, end: int, missing: str) -> Finding:
    """Return the finding about the record that reaches furthest, in place of those about each."""
    last = max(table.partitions, key=lambda p: p.end)
    said = next(
        (f for f in table.findings if f.field == "size_in_lba" and f.structure.endswith(f" {last.number}")),
        Finding("MBR", "size_in_lba", 446, "", "", MBR_SECTION),
    )
    sectors = max(end - last.start, 0) // table.sector_size
    expected = f"at most {sectors:,}: {_GET_WHOLE}, or correct its table"
    found = f"{last.size // table.sector_size:,}: the disk is cut off, or the record is wrong; {missing}"
    return said._replace(expected=expected, found=found)
