"""Disks with a partition table, every field of which may be set: MBR, its chain of EBRs, GPT.

::

    MbrDisk   mbr  mbr.record1 .. 4       ebr1  ebr1.record1 .. 4   ebr2 ...
    GptDisk   mbr  mbr.record1 .. 4       primary  primary.entry1 ...       backup.entry1 ...  backup

These are the names of the records. ``sealed()`` makes the checksums of both copies of a GPT right for
whatever they say: first those of the entries, then those of the headers, as a reader would compute them.

Spec: UEFI 2.10, 5.2 and 5.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import UUID

from imgwriter import gpt, mbr
from imgwriter.fuzz.image import Image, Placed, Seen, Verdict
from imgwriter.fuzz.record import Layout, Record, layout_of

MBR = layout_of(mbr.MBR)
MBR_RECORD = layout_of(mbr.PARTITION_RECORD)
HEADER = layout_of(gpt.HEADER)
ENTRY = layout_of(gpt.ENTRY)

RECORDS_AT = MBR["partition_record"].offset
RECORD_SIZE = mbr.PARTITION_RECORD.sizeof()

COPIES = ("primary", "backup")

EXAMPLE_GUID = UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
EXAMPLE_ENTRIES = {
    1: gpt.Entry(gpt.TYPE_ESP, UUID("0a0b0c0d-0001-4000-8000-000000000001"), 64, 127, "ESP"),
    2: gpt.Entry(gpt.TYPE_LINUX_DATA, UUID("0a0b0c0d-0002-4000-8000-000000000002"), 128, 255, "root"),
    4: gpt.Entry(gpt.TYPE_LINUX_DATA, UUID("0a0b0c0d-0004-4000-8000-000000000004"), 320, 447, "home"),
}
"""Three partitions, with a gap on the disk and one among the numbers."""

MOST_SEALED = 8 << 20
"""Bytes of entries that are summed up, at most."""


class Row(NamedTuple):
    """A partition record of an MBR or EBR, in sectors."""

    os_type: int
    starting_lba: int
    size_in_lba: int
    boot_indicator: int = 0


def _fields(row: Row) -> dict[str, int | bytes]:
    """Return a partition record's fields, CHS fields as the writer has them; zeros where it has no type."""
    first, last = row.starting_lba, row.starting_lba + row.size_in_lba - 1
    places = {"starting_chs": mbr.chs(first), "ending_chs": mbr.chs(max(last, 0))} if row.os_type else {}
    return {**row._asdict(), **places}


def _sector(name: str, offset: int, rows: Sequence[Row]) -> dict[str, Placed]:
    """Return the records of an MBR or EBR that stands at ``offset``."""
    records = {name: Placed(offset, Record(MBR, mbr.encode([], disk_signature=0)))}
    unused = Record(MBR_RECORD, bytes(RECORD_SIZE))
    for index in range(mbr.RECORDS):
        record = unused.replace(**_fields(rows[index])) if index < len(rows) else unused
        place = Placed(offset + RECORDS_AT + index * RECORD_SIZE, record)
        records[f"{name}.record{index + 1}"] = place
    return records


@dataclass(frozen=True)
class MbrDisk(Image):
    """A disk with an MBR, and with EBRs where one of its partitions is an extended one."""

    def with_row(self, sector: str, number: int, row: Row) -> Self:
        """Return the disk with a whole partition record in an MBR or EBR, CHS fields as the writer has them.

        Args:
            sector: "mbr", "ebr1", ...
            number: 1 to 4.
        """
        return self.with_record(f"{sector}.record{number}", **_fields(row))

    def with_sector(self, name: str, lba: int, rows: Sequence[Row]) -> Self:
        """Return the disk with an MBR or EBR at a sector, over all that is there.

        Args:
            name: "mbr", "ebr1", ...
            rows: Its partition records, at most four.
        """
        return self.with_sectors({name: (lba, rows)})

    def with_sectors(self, sectors: Mapping[str, tuple[int, Sequence[Row]]]) -> Self:
        """Return the disk with MBRs or EBRs, as :meth:`with_sector` for each, but all records copied once."""
        records: dict[str, Placed] = {}
        for name, (lba, rows) in sectors.items():
            records.update(_sector(name, lba * self.sector_size, rows))
        return self.with_records(records)

    def seen(self, verdict: Verdict) -> list[Seen] | None:
        count = sum(name.startswith("ebr") and "." not in name for name in self.records)
        return self.primaries() + self.logicals(*range(1, count + 1))

    def primaries(self) -> list[Seen]:
        """Return what the MBR has of partitions, extended ones among them."""
        rows = [(n, self[f"mbr.record{n}"]) for n in range(1, mbr.RECORDS + 1)]
        return [
            Seen(n, row["starting_lba"] * self.sector_size, row["size_in_lba"] * self.sector_size)
            for n, row in rows
            if row["os_type"] and row["size_in_lba"]
        ]

    def logicals(self, *numbers: int) -> list[Seen]:
        """Return the partitions in the first records of EBRs, in the order of the EBRs' numbers given."""
        found = []
        for position, number in enumerate(numbers):
            row, at = self[f"ebr{number}.record1"], self.offset_of(f"ebr{number}")
            start = at + row["starting_lba"] * self.sector_size
            found.append(Seen(mbr.RECORDS + 1 + position, start, row["size_in_lba"] * self.sector_size))
        return found


@dataclass(frozen=True)
class GptDisk(MbrDisk):
    """A disk with both copies of a GPT."""

    @property
    def sectors(self) -> int:
        """Whole sectors."""
        return self.size // self.sector_size

    def lba(self, which: str) -> int:
        """Return where the header of a copy stands."""
        return self.offset_of(which) // self.sector_size

    def with_entry(self, number: int, copies: Sequence[str] = COPIES, /, **fields: int | bytes) -> Self:
        """Return the disk with other values in an entry, of both copies where nothing else is said.

        An entry that was unused is made where the header's fields say that it is.
        """
        disk = self
        for which in copies:
            name = f"{which}.entry{number}"
            if name not in disk.records:
                header = disk[which]
                at = header["partition_entry_lba"] * disk.sector_size
                at += (number - 1) * header["size_of_partition_entry"]
                disk = disk.placed(name, at, Record(ENTRY, bytes(gpt.ENTRY_SIZE)))
            disk = disk.with_record(name, **fields)
        return disk

    def with_array(self, which: str, lba: int, stride: int = gpt.ENTRY_SIZE) -> Self:
        """Return the disk with a copy's entries at another sector, or as far apart as ``stride`` bytes.

        The header says so, too.
        """
        disk = self.with_record(which, partition_entry_lba=lba, size_of_partition_entry=stride)
        for number in self.numbers(which):
            disk = disk.moved(f"{which}.entry{number}", lba * self.sector_size + (number - 1) * stride)
        return disk

    def numbers(self, which: str) -> list[int]:
        """Return the numbers of a copy's entries that were placed."""
        prefix = f"{which}.entry"
        return sorted(int(name.removeprefix(prefix)) for name in self.records if name.startswith(prefix))

    def seen(self, verdict: Verdict) -> list[Seen] | None:
        return self.partitions("backup" if verdict == "backup" else "primary")

    def partitions(self, which: str) -> list[Seen]:
        """Return the used entries of a copy, as far as its header counts them."""
        count = self[which]["number_of_partition_entries"]
        found = []
        for number in self.numbers(which):
            entry = self[f"{which}.entry{number}"]
            if number <= count and any(entry.raw("partition_type_guid")):
                start, end = entry["starting_lba"], entry["ending_lba"] + 1
                found.append(Seen(number, start * self.sector_size, (end - start) * self.sector_size))
        return found

    def sealed(self) -> Self:
        """Return the disk with the checksums of both copies right for what they say."""
        disk = self
        for which in COPIES:
            if which in disk.records:
                disk = disk.with_record(which, partition_entry_array_crc32=array_crc(disk, which))
        for which in COPIES:
            if which in disk.records:
                disk = disk.with_record(which, header_crc32=header_crc(disk, which))
        return disk


def array_crc(disk: GptDisk, which: str) -> int:
    """Return the checksum of the entries that a header leads to.

    Where they cannot lie on the disk, it is that of what a reader sees whose numbers overflow: an offset of
    64 bits and a size of 32.
    """
    header = disk[which]
    start = (header["partition_entry_lba"] * disk.sector_size) & 0xFFFF_FFFF_FFFF_FFFF
    length = header["number_of_partition_entries"] * header["size_of_partition_entry"]
    if start + length > disk.size:
        length &= 0xFFFF_FFFF
    length = min(length, max(disk.size - start, 0), MOST_SEALED)
    return zlib.crc32(disk.volume().read(start, length))


def header_crc(disk: GptDisk, which: str) -> int:
    """Return the checksum of as many bytes as the header says that it has, as far as there are any."""
    size = disk[which]["header_size"]
    start = disk.offset_of(which)
    length = min(size, max(disk.size - start, 0), MOST_SEALED)
    covered = bytearray(disk.volume().read(start, length))
    at = HEADER["header_crc32"]
    covered[at.offset : at.end] = bytes(len(covered[at.offset : at.end]))
    return zlib.crc32(covered)


def mbr_disk(rows: Sequence[Row], size: int, *, sector_size: int = 512, disk_signature: int = 0) -> MbrDisk:
    """Return a disk with an MBR.

    Args:
        rows: Its partition records, at most four.
        size: Bytes of the disk.
        sector_size: Bytes in a sector.
        disk_signature: The NT disk signature.
    """
    disk = MbrDisk(size, sector_size).with_sector("mbr", 0, rows)
    return disk.with_record("mbr", unique_mbr_disk_signature=disk_signature)


def gpt_disk(
    entries: Mapping[int, gpt.Entry] = EXAMPLE_ENTRIES, size: int = 1 << 20, sector_size: int = 512
) -> GptDisk:
    """Return a disk with a GPT of the writer's: everything in it is right.

    Args:
        entries: By partition number, 1 to 128.
        size: Bytes of the disk.
        sector_size: Bytes in a sector.
    """
    volume = gpt.encode(entries, disk_guid=EXAMPLE_GUID, disk_size=size, sector_size=sector_size)
    geometry = gpt.Geometry(size // sector_size, sector_size)
    records: dict[str, Placed] = {}

    def place(name: str, layout: Layout, offset: int, length: int) -> None:
        records[name] = Placed(offset, Record(layout, volume.read(offset, length)))

    place("mbr", MBR, 0, mbr.MBR.sizeof())
    for number in range(1, mbr.RECORDS + 1):
        at = RECORDS_AT + (number - 1) * RECORD_SIZE
        place(f"mbr.record{number}", MBR_RECORD, at, RECORD_SIZE)
    places = {"primary": (1, 2), "backup": (geometry.backup_header_lba, geometry.backup_array_lba)}
    for which, (header_lba, array_lba) in places.items():
        place(which, HEADER, header_lba * sector_size, gpt.HEADER_SIZE)
        for number in entries:
            at = array_lba * sector_size + (number - 1) * gpt.ENTRY_SIZE
            place(f"{which}.entry{number}", ENTRY, at, gpt.ENTRY_SIZE)
    return GptDisk(size, sector_size, records)
