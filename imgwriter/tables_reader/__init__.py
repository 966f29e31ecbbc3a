"""Read partition tables: MBR with logical partitions, GPT from either copy, hybrid ones.

::

    volume ── sector size: where "EFI PART" is ──> sector 0 ┬ a protective record ──> both GPT copies ┐
                                                            └ else ──> MBR, EBR chain ────────────────┴> Table

:func:`read_table` reads what is there and says what is wrong with it: damage is in ``Table.findings``, and
nothing of a disk raises. The records are those of ``imgwriter.mbr`` and ``imgwriter.gpt``, which write them.

Spec: UEFI 2.10, 5.2 and 5.3. Which table counts, and what ends a chain: docs/formats/tables-reading.md.
"""

from __future__ import annotations

import zlib

from imgwriter import gpt, mbr
from imgwriter.errors import SpecError
from imgwriter.extent import Volume
from imgwriter.findings import Finding
from imgwriter.tables_reader import gpt_copies, mbr_chain
from imgwriter.tables_reader.gpt_copies import Disk, examine_copy
from imgwriter.tables_reader.mbr_chain import Record, records_of
from imgwriter.tables_reader.values import (
    HEADER_SECTION,
    MBR_SECTION,
    PROTECTIVE_SECTION,
    GptCopy,
    Kind,
    Partition,
    Role,
    Table,
    Which,
)
from imgwriter.window import Window

__all__ = ["GptCopy", "Kind", "Partition", "Role", "Table", "Which", "read_table"]

SECTOR_SIZES = (512, 4096)
"""What is tried, in this order, where none is given."""


def read_table(volume: Volume, sector_size: int | None = None) -> Table:
    """Return what a disk's partition table says, and what is wrong with it.

    Args:
        volume: The disk.
        sector_size: Bytes; None to tell by where a GPT header stands, 512 where there is none.

    Raises:
        SpecError: There is no such sector size.
        SourceError: The image's file cannot be read.
        FormatError: A compressed cluster of the image is damaged. No table is cause for one.
    """
    if sector_size is not None and sector_size not in (512, 1024, 2048, 4096):
        raise SpecError(f"sectors of {sector_size:,} bytes are not read; give 512, 1024, 2048 or 4096")
    window = Window(volume)
    disk = Disk(window, sector_size or _sector_size(window))
    sector = disk.sector(0, "MBR")
    records = records_of(sector, 0)
    if any(r.fields.os_type == mbr.OS_TYPE_GPT_PROTECTIVE for r in records):
        return _guarded(disk, sector, records)
    primary, backup = _both_copies(disk)
    is_mbr = bool(records) and mbr_chain.is_table(sector, records, disk.sectors)
    if is_mbr and any(r.used for r in records):
        return _mbr(disk, sector, records, (primary, backup))
    # Nothing leads to a GPT behind a file system on the whole disk: it is what is left of an earlier table.
    if primary.usable and not mbr_chain.is_boot_sector(sector):
        return _unguarded(disk, (primary, backup), records)
    if is_mbr:
        return _mbr(disk, sector, records, (primary, backup))
    return Table("none", disk.sector_size, disk.sectors, notes=_remains((primary, backup), disk))


def _sector_size(window: Window) -> int:
    """Return the sector size at which a GPT header stands best: whole before damaged, primary first."""
    best, chosen = 0, SECTOR_SIZES[0]
    for size in SECTOR_SIZES:
        for lba, preference in ((1, 1), (window.size // size - 1, 0)):
            score = 2 * _header_quality(window, lba, size) + preference
            # A signature that does not name its own place is no reason to think so.
            if score > max(best, 1):
                best, chosen = score, size
    return chosen


def _header_quality(window: Window, lba: int, size: int) -> int:
    """Return 2 for a header that is whole and names its own place, 1 for a signature, 0 for neither."""
    sector = Disk(window, size).sector(lba, "GPT header") if lba > 0 else b""
    if sector[:8] != gpt.SIGNATURE:
        return 0
    fields = gpt.HEADER.parse(sector)
    covered = bytearray(sector[: min(fields.header_size, size)])
    covered[16:20] = bytes(4)
    return 2 if fields.my_lba == lba and zlib.crc32(covered) == fields.header_crc32 else 1


def _both_copies(disk: Disk) -> tuple[GptCopy, GptCopy]:
    """Return the primary, and the backup: at the disk's end, or where the primary says that it is.

    A disk that was made larger has its backup where its end was.
    """
    primary = examine_copy(disk, "primary", 1)
    backup = examine_copy(disk, "backup", disk.sectors - 1)
    if backup.header is None and primary.header is not None:
        other = primary.header.alternate_lba
        if 1 < other < disk.sectors - 1:
            elsewhere = examine_copy(disk, "backup", other)
            if elsewhere.header is not None:
                backup = elsewhere
    return primary, backup


def _guarded(disk: Disk, sector: bytes, records: list[Record]) -> Table:
    """Return the table of a disk whose MBR has a protective record."""
    findings, notes = mbr_chain.check_protective(records, disk)
    values = mbr_chain.values_of(sector, records)
    return _gpt(disk, _both_copies(disk), findings, notes, values)


def _unguarded(disk: Disk, copies: tuple[GptCopy, GptCopy], records: list[Record]) -> Table:
    """Return the table of a disk with a GPT whose MBR is gone, or empty."""
    found = "an MBR without one" if records else "no MBR"
    finding = Finding("MBR", "os_type", 446, "a protective record, type 0xee", found, PROTECTIVE_SECTION)
    return _gpt(disk, copies, [finding], [], None)


def _gpt(
    disk: Disk,
    copies: tuple[GptCopy, GptCopy],
    findings: list[Finding],
    notes: list[Finding],
    values: mbr.Mbr | None,
) -> Table:
    primary, backup = copies
    for copy in copies:
        findings += copy.findings
        notes += copy.notes
    findings += _elsewhere(disk, copies)
    findings += gpt_copies.compare_copies(primary, backup, disk)
    partitions: list[Partition] = []
    chosen = primary if primary.usable else backup if backup.usable else None
    if chosen is not None:
        partitions, of_entries, few = gpt_copies.partitions_of(chosen, disk)
        findings += of_entries
        notes += few
        if chosen is primary and backup.usable and backup.array != primary.array:
            _, of_entries, few = gpt_copies.partitions_of(backup, disk)
            findings += of_entries
            notes += few
    return Table(
        "gpt",
        disk.sector_size,
        disk.sectors,
        tuple(partitions),
        chosen.header.disk_guid if chosen is not None and chosen.header is not None else None,
        chosen.which if chosen is not None else None,
        copies,
        values,
        tuple(findings),
        tuple(notes),
    )


def _elsewhere(disk: Disk, copies: tuple[GptCopy, GptCopy]) -> list[Finding]:
    """Return findings where headers stand as on a disk with other sectors, or not at the end."""
    primary, backup = copies
    findings = []
    for size in SECTOR_SIZES:
        if primary.header is None and size != disk.sector_size and _header_quality(disk.window, 1, size) == 2:
            found = f"at byte {size:,}: the disk has sectors of {size:,} bytes"
            expected = f"a header at byte {disk.sector_size:,}"
            findings.append(Finding("GPT primary header", "signature", size, expected, found, HEADER_SECTION))
    if backup.lba != disk.sectors - 1:
        offset = backup.lba * disk.sector_size
        expected = f"in the last sector, LBA {disk.sectors - 1:,}"
        found = f"at LBA {backup.lba:,}"
        findings.append(Finding("GPT backup header", "my_lba", offset, expected, found, HEADER_SECTION))
    return findings


def _mbr(disk: Disk, sector: bytes, records: list[Record], copies: tuple[GptCopy, GptCopy]) -> Table:
    partitions, findings, notes = mbr_chain.partitions_of(records, disk)
    values = mbr_chain.values_of(sector, records)
    for copy in copies:
        if copy.usable:
            found = f"a usable GPT {copy.which} header at LBA {copy.lba:,}"
            expected = "no GPT where sector 0 has no protective record"
            findings.append(Finding("MBR", "os_type", 446, expected, found, MBR_SECTION))
    return Table(
        "mbr",
        disk.sector_size,
        disk.sectors,
        tuple(partitions),
        values.disk_signature,
        mbr=values,
        findings=tuple(findings),
        notes=tuple(notes),
    )


def _remains(copies: tuple[GptCopy, GptCopy], disk: Disk) -> tuple[Finding, ...]:
    """Return notes about headers of a table that nothing else of is left."""
    return tuple(
        Finding(
            f"GPT {copy.which} header",
            "",
            copy.lba * disk.sector_size,
            "a protective MBR and a primary GPT",
            "a header that nothing leads to",
            HEADER_SECTION,
        )
        for copy in copies
        if copy.header is not None
    )
