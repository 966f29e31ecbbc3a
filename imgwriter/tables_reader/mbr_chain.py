"""Sector 0 as an MBR, and the extended boot records that hold an MBR's logical partitions.

::

    MBR ─ record of type 05, 0F or 85: the extended partition
           │
           ├ EBR ─ logical 5 ┼ EBR ─ logical 6 ┼ EBR ─ logical 7 ┤
           │    └── link ────┘    └── link ────┘
           └ links count from here, logical partitions from their own EBR

No specification has the chain; it is followed as Linux and libblkid do where they agree, but for records
without a type, which UEFI lets a reader ignore. A link to a sector that was met before ends it, as it does
for libblkid, and so does one that leads out of the extended partition.

Spec: UEFI 2.10, 5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imgwriter import mbr
from imgwriter.findings import Finding
from imgwriter.tables_reader.gpt_copies import Disk
from imgwriter.tables_reader.remarks import Fields, Remarks
from imgwriter.tables_reader.values import EBR_SECTION, MBR_SECTION, PROTECTIVE_SECTION, Partition, Role

EXTENDED_TYPES = frozenset((0x05, 0x0F, 0x85))
"""DOS extended, extended with LBA, Linux extended: what Linux follows."""

MOST_LOGICAL = 4_096
"""Extended boot records that are followed; Linux follows about 250."""

_RECORDS_AT = 446
_RECORD_SIZE = 16
_SIGNATURE = b"\x55\xaa"
_INDICATORS = (0, mbr.ACTIVE)
_BOOT_SECTORS = (b"NTFS    ", b"EXFAT   ", b"-FVE-FS-", b"ReFS\0\0\0\0")


class Record(NamedTuple):
    """A partition record, 1 to 4 of its sector, with its place on the disk in bytes."""

    number: int
    offset: int
    fields: Fields

    @property
    def used(self) -> bool:
        """Whether it is a partition."""
        return bool(self.fields.os_type and self.fields.size_in_lba)

    @property
    def extended(self) -> bool:
        """Whether it holds, or links to, an extended boot record."""
        return self.used and self.fields.os_type in EXTENDED_TYPES


def records_of(sector: bytes, offset: int) -> list[Record]:
    """Return the four records of an MBR or EBR at ``offset``; none where it has no signature."""
    if sector[510:512] != _SIGNATURE:
        return []
    rows = mbr.MBR.parse(sector[: mbr.MBR.sizeof()]).partition_record
    return [Record(i + 1, offset + _RECORDS_AT + _RECORD_SIZE * i, row) for i, row in enumerate(rows)]


def is_table(sector: bytes, records: list[Record], sectors: int) -> bool:
    """Return whether a sector with 55 AA at 510 is an MBR, rather than the boot sector of a file system.

    The latter has the same signature, and code, text or zeros where an MBR has its records.
    """
    if all(record.fields.boot_indicator in _INDICATORS for record in records):
        return any(record.used for record in records) or not is_boot_sector(sector)
    return any(_is_plausible(record, sectors) for record in records) and not is_boot_sector(sector)


def _is_plausible(record: Record, sectors: int) -> bool:
    fields = record.fields
    return record.used and fields.boot_indicator in _INDICATORS and 0 < fields.starting_lba < sectors


def is_boot_sector(sector: bytes) -> bool:
    """Return whether a sector looks like the boot sector of NTFS, exFAT, BitLocker, ReFS or FAT."""
    if sector[3:11] in _BOOT_SECTORS:
        return True
    sector_size, cluster_sectors = int.from_bytes(sector[11:13], "little"), sector[13]
    return (
        sector[0] in (0xEB, 0xE9)
        and sector_size in (512, 1024, 2048, 4096)
        and cluster_sectors > 0
        and cluster_sectors & (cluster_sectors - 1) == 0
        and sector[16] in (1, 2)
        and (sector[21] == 0xF0 or sector[21] >= 0xF8)
    )


def values_of(sector: bytes, records: list[Record]) -> mbr.Mbr:
    """Return the sector's records as the writer has them: those that are partitions."""
    found = {
        r.number: mbr.PartitionRecord(
            r.fields.starting_lba,
            r.fields.size_in_lba,
            r.fields.os_type,
            r.fields.boot_indicator == mbr.ACTIVE,
        )
        for r in records
        if r.used
    }
    return mbr.Mbr(mbr.MBR.parse(sector[: mbr.MBR.sizeof()]).unique_mbr_disk_signature, found)


def check_protective(records: list[Record], disk: Disk) -> tuple[list[Finding], list[Finding]]:
    """Return the findings and notes about an MBR with a protective record.

    Spec: UEFI 2.10, 5.2.3, tables 5.3 and 5.4.
    """
    findings: list[Finding] = []
    notes: list[Finding] = []
    guards = [r for r in records if r.fields.os_type == mbr.OS_TYPE_GPT_PROTECTIVE]
    for record in records:
        remarks = Remarks(f"MBR record {record.number}", record.offset, PROTECTIVE_SECTION)
        if record is guards[0]:
            hybrid = any(r.used for r in records if r not in guards)
            _check_guard(remarks, record.fields, disk.sectors, hybrid)
        elif record in guards:
            remarks.require(False, "os_type", 4, "one protective record", "another one")
        elif record.used:
            found = f"a partition of type {record.fields.os_type:#04x}: a hybrid MBR"
            remarks.note(False, "os_type", 4, "zeros", found)
        else:
            rest = mbr.PARTITION_RECORD.build(record.fields)
            remarks.require(not any(rest), "", 0, "zeros, as it is not used", rest.hex())
        findings += remarks.findings
        notes += remarks.notes
    return findings, notes


def _check_guard(remarks: Remarks, fields: Fields, sectors: int, hybrid: bool) -> None:
    indicator = f"{fields.boot_indicator:#04x}"
    remarks.require(fields.boot_indicator in _INDICATORS, "boot_indicator", 0, "0x00", indicator)
    # What `parted disk_set pmbr_boot on` sets, for BIOSes that boot nothing else.
    remarks.note(fields.boot_indicator != mbr.ACTIVE, "boot_indicator", 0, "0x00", indicator)
    remarks.require(fields.starting_lba == 1, "starting_lba", 8, 1, f"{fields.starting_lba:,}")
    greatest = mbr.SECTORS_LIMIT - 1
    size, found = min(sectors - 1, greatest), fields.size_in_lba
    # A hybrid MBR protects what lies before its first partition; Windows writes the greatest size always.
    remark = remarks.note if hybrid or found == greatest else remarks.require
    remark(found == size, "size_in_lba", 12, f"{size:,}", f"{found:,}")
    start = fields.starting_chs
    remarks.note(start == mbr.chs(1), "starting_chs", 1, mbr.chs(1).hex(), start.hex())


def partitions_of(records: list[Record], disk: Disk) -> tuple[list[Partition], list[Finding], list[Finding]]:
    """Return the partitions of an MBR, the logical ones too, and the findings and notes about them."""
    findings: list[Finding] = []
    notes: list[Finding] = []
    partitions: list[Partition] = []
    for record in records:
        remarks = Remarks(f"MBR record {record.number}", record.offset, MBR_SECTION)
        _check_record(remarks, record, disk.sectors)
        findings += remarks.findings
        notes += remarks.notes
        if record.used:
            partitions.append(_partition(record.number, record, 0, disk.sector_size))
    active = [p.number for p in partitions if p.active]
    if len(active) > 1:
        remarks = Remarks("MBR", 0, MBR_SECTION)
        remarks.note(False, "boot_indicator", _RECORDS_AT, "one active partition", f"{len(active)}")
        notes += remarks.notes
    findings += _overlaps(
        [(p, records[p.number - 1].offset) for p in partitions], disk, "MBR record", MBR_SECTION
    )
    walk = _Walk(disk)
    for record in records:
        if record.extended:
            walk.follow(record)
    logical = [p for p, _ in walk.logical]
    findings += walk.findings + _overlaps(walk.logical, disk, "logical partition", EBR_SECTION)
    return partitions + logical, findings, notes + walk.notes


def _check_record(remarks: Remarks, record: Record, sectors: int) -> None:
    fields = record.fields
    indicator = f"{fields.boot_indicator:#04x}"
    remarks.require(fields.boot_indicator in _INDICATORS, "boot_indicator", 0, "0x00 or 0x80", indicator)
    if record.used:
        start, size = fields.starting_lba, fields.size_in_lba
        remarks.require(start > 0, "starting_lba", 8, "1 or more", start)
        most = max(sectors - start, 0)
        remarks.require(size <= most, "size_in_lba", 12, f"at most {most:,}", f"{size:,}")
    else:
        remarks.note(not fields.os_type, "size_in_lba", 12, "more than 0, as it has a type", 0)
        size = f"{fields.size_in_lba:,}"
        remarks.note(not fields.size_in_lba, "os_type", 4, f"a type, as it has {size} sectors", "0x00")


def _partition(number: int, record: Record, base: int, sector_size: int) -> Partition:
    fields = record.fields
    role: Role = "extended" if record.extended else "primary"
    return Partition(
        number,
        (base + fields.starting_lba) * sector_size,
        fields.size_in_lba * sector_size,
        fields.os_type,
        "logical" if number > mbr.RECORDS else role,
        active=fields.boot_indicator == mbr.ACTIVE,
    )


def _overlaps(placed: list[tuple[Partition, int]], disk: Disk, what: str, section: str) -> list[Finding]:
    """Return a finding for each partition that begins before those left of it have ended.

    Args:
        placed: Partitions with the offsets of their records.
    """
    findings: list[Finding] = []
    furthest: Partition | None = None
    for partition, offset in sorted(placed, key=lambda p: p[0].start):
        if furthest is not None and partition.start < furthest.end:
            expected = f"{furthest.end // disk.sector_size:,} or more, after partition {furthest.number}"
            found = f"{partition.start // disk.sector_size:,}"
            structure = f"{what} {partition.number}"
            findings.append(Finding(structure, "starting_lba", offset + 8, expected, found, section))
        furthest = partition if furthest is None else max(furthest, partition, key=lambda p: p.end)
    return findings


class _Walk:
    """The chains of extended boot records of one disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.logical: list[tuple[Partition, int]] = []
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []
        self.seen: set[int] = set()

    def follow(self, extended: Record) -> None:
        """Add the logical partitions of an extended partition."""
        first = extended.fields.starting_lba
        limit = first + extended.fields.size_in_lba
        lba, length, link = first, extended.fields.size_in_lba, extended
        while True:
            problem = self._problem(lba, first, limit)
            if problem:
                self._add_finding(link, *problem)
                return
            self.seen.add(lba)
            offset = lba * self.disk.sector_size
            sector = self.disk.sector(lba, "EBR")
            records = records_of(sector, offset)
            if not records:
                found = sector[510:512].hex()
                self.findings.append(
                    Finding(f"EBR at LBA {lba:,}", "signature", offset + 510, "55aa", found, EBR_SECTION)
                )
                return
            for record in self._data(records, lba, length, first, limit):
                number = mbr.RECORDS + 1 + len(self.logical)
                self.logical.append((_partition(number, record, lba, self.disk.sector_size), record.offset))
            following = next((r for r in records if r.extended), None)
            if following is None:
                return
            link = following
            lba, length = first + link.fields.starting_lba, link.fields.size_in_lba

    def _problem(self, lba: int, first: int, limit: int) -> tuple[str, str] | None:
        """Return what was expected and found where a link cannot be followed."""
        if lba in self.seen:
            return "a sector that is no EBR yet", f"LBA {lba:,} again: a loop"
        if not first <= lba < min(limit, self.disk.sectors):
            return f"{first:,} to {limit - 1:,}, in the extended partition and on the disk", f"LBA {lba:,}"
        if len(self.seen) >= MOST_LOGICAL:
            return f"{MOST_LOGICAL:,} EBRs at most", "another one"
        return None

    def _add_finding(self, link: Record, expected: str, found: str) -> None:
        at = link.offset - _RECORDS_AT - _RECORD_SIZE * (link.number - 1)
        structure = f"EBR at LBA {at // self.disk.sector_size:,}" if at else "MBR"
        structure = f"{structure} record {link.number}"
        self.findings.append(
            Finding(structure, "starting_lba", link.offset + 8, expected, found, EBR_SECTION)
        )

    def _data(self, records: list[Record], lba: int, length: int, first: int, limit: int) -> Iterator[Record]:
        """Yield the records of an EBR that are logical partitions.

        The third and fourth are taken for garbage where they do not lie where they should, as Linux does.
        """
        for record in records:
            fields = record.fields
            if not record.used or record.extended:
                continue
            start = lba + fields.starting_lba
            end = start + fields.size_in_lba
            if record.number > 2 and not (
                fields.starting_lba + fields.size_in_lba <= length and first <= start and end <= limit
            ):
                continue
            self._check_logical(record, start, end, first, limit)
            yield record

    def _check_logical(self, record: Record, start: int, end: int, first: int, limit: int) -> None:
        remarks = Remarks(
            f"logical partition {mbr.RECORDS + 1 + len(self.logical)}", record.offset, EBR_SECTION
        )
        fields = record.fields
        indicator = f"{fields.boot_indicator:#04x}"
        remarks.require(fields.boot_indicator in _INDICATORS, "boot_indicator", 0, "0x00 or 0x80", indicator)
        remarks.require(fields.starting_lba > 0, "starting_lba", 8, "1 or more", fields.starting_lba)
        bounds = f"{first:,} to {limit - 1:,}"
        remarks.require(
            first <= start and end <= limit, "size_in_lba", 12, bounds, f"{start:,} to {end - 1:,}"
        )
        remarks.note(record.number == 1, "partition_record", 0, "the first record", f"record {record.number}")
        self.findings += remarks.findings
        self.notes += remarks.notes
