"""Whose the bytes of partition tables are: MBR, EBRs, and both copies of a GPT."""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter import gpt, mbr
from imgwriter.errors import FormatError
from imgwriter.examine.owners.regions import Kind, Region
from imgwriter.tables_reader import GptCopy, Table
from imgwriter.window import Window

MBR_SIZE = 512
RECORDS_AT = 446
_RECORD_SIZE = mbr.PARTITION_RECORD.sizeof()
_EXTENDED = (0x05, 0x0F, 0x85)
_MOST_EBRS = 256


def table_regions(window: Window, table: Table) -> list[Region]:
    """Return the regions of a disk's partition table.

    Args:
        window: The whole disk.
        table: What its reader made of it.
    """
    if table.kind == "none":
        return []
    regions = [Region(0, min(MBR_SIZE, window.size), Kind.MBR, "MBR")]
    for copy in table.copies:
        regions += _gpt(copy, table.sector_size, window.size)
    if table.kind == "mbr":
        regions += _ebrs(window, table.sector_size)
    return regions


def _gpt(copy: GptCopy, sector_size: int, disk_size: int) -> Iterator[Region]:
    header = copy.header
    start = copy.lba * sector_size
    if header is None or start >= disk_size:
        return
    yield Region(start, start + sector_size, Kind.GPT_HEADER, "GPT", note=copy.which)
    first = header.partition_entry_lba * sector_size
    size = header.size_of_partition_entry
    length = len(copy.array) or size * header.number_of_partition_entries
    if size >= gpt.ENTRY_SIZE and first + length <= disk_size:
        yield Region(first, first + length, Kind.GPT_ENTRIES, "GPT", number=1, unit=size, note=copy.which)


def _ebrs(window: Window, sector_size: int) -> Iterator[Region]:
    """Yield the sectors of each extended partition's chain; a loop ends it."""
    seen: set[int] = set()
    for extended, _ in _links(window, 0):
        lba = extended
        while lba not in seen and len(seen) < _MOST_EBRS:
            seen.add(lba)
            start = lba * sector_size
            if start + MBR_SIZE > window.size:
                break
            yield Region(start, start + MBR_SIZE, Kind.EBR, "MBR", number=lba, note=f"LBA {lba:,}")
            following = _links(window, start)
            if not following:
                break
            lba = extended + following[0][0]


def _links(window: Window, start: int) -> list[tuple[int, int]]:
    """Return (starting_lba, size_in_lba) of the records at ``start`` that lead to an EBR."""
    try:
        sector = window.read(start, MBR_SIZE, "MBR")
    except FormatError:
        return []
    if sector[510:] != b"\x55\xaa":
        return []
    rows = [
        mbr.PARTITION_RECORD.parse(sector[at : at + _RECORD_SIZE])
        for at in range(RECORDS_AT, RECORDS_AT + mbr.RECORDS * _RECORD_SIZE, _RECORD_SIZE)
    ]
    return [(r.starting_lba, r.size_in_lba) for r in rows if r.os_type in _EXTENDED and r.size_in_lba]
