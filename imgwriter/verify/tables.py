"""A partition table against the disk that it describes: what the table's reader cannot know by itself.

::

    MBR records ── the same places? ── GPT entries          of a hybrid MBR
    types ── what is there? ── file systems
    sector 0 without 55 AA ── records all the same?

The reader collects what is wrong with the table as such.

Spec: UEFI 2.10, 5 (tables), 13.3 (FAT on the EFI system partition).
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from imgwriter import mbr
from imgwriter.examine.opening import Area, OpenedDisk
from imgwriter.fat.reader import looks_like_fat
from imgwriter.findings import Finding
from imgwriter.tables_reader import Table
from imgwriter.tables_reader.values import MBR_SECTION, PROTECTIVE_SECTION
from imgwriter.units import counted
from imgwriter.verify.remarks import Remarks
from imgwriter.verify.values import Result
from imgwriter.window import Window

FILE_SYSTEM_SECTION = "UEFI 2.10, 13.3"

ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
OS_TYPE_ESP = 0xEF
BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
"""GRUB's: it holds code, and no file system."""
FAT_TYPES = (ESP, OS_TYPE_ESP, 0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E)
"""Types of partitions that hold FAT: the EFI system partition, and an MBR's."""

_RECORDS_AT = 446


def verify_table(disk: OpenedDisk, cut_off: Finding | None = None) -> Result:
    """Return what is wrong with the table of a disk; that it is cut off, if so, is said first."""
    remarks = Remarks(MBR_SECTION)
    if cut_off is not None:
        remarks.add(Result((cut_off,)))
    remarks.add(Result(disk.table.findings, disk.table.notes))
    _check_hybrid(disk.table, remarks)
    _check_types(disk.areas, remarks)
    _check_signature(disk, remarks)
    _check_boot_sector(disk, remarks)
    return remarks.result()


def _check_hybrid(table: Table, remarks: Remarks) -> None:
    """Check that the records of a hybrid MBR are partitions of the GPT."""
    if table.kind != "gpt" or table.mbr is None:
        return
    size = table.sector_size
    places = {(p.start // size, p.size // size) for p in table.partitions}
    for number, record in table.mbr.records.items():
        if record.os_type == mbr.OS_TYPE_GPT_PROTECTIVE:
            continue
        if (record.starting_lba, record.size_in_lba) not in places:
            last = record.starting_lba + record.size_in_lba - 1
            at = _RECORDS_AT + 16 * (number - 1) + 8
            found = f"LBA {record.starting_lba:,} to {last:,}"
            remarks.find(
                f"MBR record {number}",
                "starting_lba",
                at,
                "the place of a partition of the GPT",
                found,
                PROTECTIVE_SECTION,
            )


def _check_types(areas: Sequence[Area], remarks: Remarks) -> None:
    """Check that an EFI system partition has FAT, and note where a type says something else than is there."""
    for area in areas:
        if area.partition is None or area.kind == "":
            continue
        kind = area.partition.type
        where = f"partition {area.number}"
        if kind in (ESP, OS_TYPE_ESP) and area.kind != "fat":
            remarks.find(
                where, "", area.start, "FAT on the EFI system partition", area.kind, FILE_SYSTEM_SECTION
            )
        elif kind in FAT_TYPES and area.kind != "fat":
            remarks.note(where, "", area.start, f"FAT, by its type {kind:#04x}", area.kind)


def _check_boot_sector(disk: OpenedDisk, remarks: Remarks) -> None:
    """Note where sector 0 is the boot sector of a file system, too: others may take it for that."""
    if disk.table.partitions and looks_like_fat(Window(disk.image.volume)):
        remarks.note("MBR", "", 0, "a table alone", "the boot sector of a FAT file system, too")


def _check_signature(disk: OpenedDisk, remarks: Remarks) -> None:
    """Look for the records of an MBR where sector 0 does not end as one, and nothing else is known there."""
    if disk.table.kind != "none" or any(area.kind for area in disk.areas):
        return
    window = Window(disk.image.volume)
    if window.size < mbr.MBR.sizeof():
        return
    sector = window.read(0, mbr.MBR.sizeof(), "MBR")
    if sector[510:512] == b"\x55\xaa":
        return
    rows = mbr.MBR.parse(sector[:510] + b"\x55\xaa").partition_record
    used = [row for row in rows if row.os_type or row.size_in_lba or row.starting_lba]
    sectors = window.size // disk.table.sector_size
    plausible = all(
        row.boot_indicator in (0, mbr.ACTIVE)
        and row.os_type
        and 0 < row.starting_lba < row.starting_lba + row.size_in_lba <= sectors
        for row in used
    )
    if used and plausible:
        found = f"{sector[510:512].hex(' ')}, after the records of {counted(len(used), 'partition')}"
        remarks.find("MBR", "signature", 510, "55 aa", found)
