"""Deviations of the MBR before a GPT: protective, hybrid, missing, another one.

Whether there is a GPT at all hangs on sector 0, and readers differ most here. Linux and EDK II want a record
of type 0xEE that starts at sector 1; libblkid wants the type alone; partitioning tools take a GPT without it.
Where the specification does not decide between them, neither does the catalogue.

Spec: UEFI 2.10, 5.2.3 (protective MBR) and 5.2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from imgwriter import mbr
from imgwriter.fuzz.deviation import Deviation, Sight, TableKind, as_declared
from imgwriter.fuzz.file_systems import fat12_volume
from imgwriter.fuzz.image import Verdict
from imgwriter.fuzz.tables import GptDisk, Row, gpt_disk

SECTION = "UEFI 2.10, 5.2.3"
_OPEN = f"{SECTION}; Linux and EDK II then see no GPT, libblkid does"
_MOST = 0xFFFF_FFFF


def protective_deviations() -> Iterator[Deviation]:
    """Yield them: the record's fields, its slot, its absence, and what is beside it."""
    yield from _fields()
    yield from _sector()
    yield from _slots()
    yield from _hybrids()


def _deviation(
    name: str,
    description: str,
    change: Callable[[GptDisk], GptDisk],
    verdict: Verdict | None = "accept",
    section: str = SECTION,
    table: TableKind | None = None,
    sees: Sight = as_declared,
) -> Deviation:
    return Deviation(
        f"gpt.protective.{name}", section, description, verdict, gpt_disk, change, table=table, sees=sees
    )


def _record(
    name: str,
    description: str,
    verdict: Verdict | None = "accept",
    section: str = SECTION,
    **fields: int | bytes,
) -> Deviation:
    return _deviation(
        name, description, lambda disk: disk.with_record("mbr.record1", **fields), verdict, section
    )


def _fields() -> Iterator[Deviation]:
    yield _record("boot_indicator.active", "the protective record is active, as some BIOSes want it", boot_indicator=0x80)
    yield _record("boot_indicator.garbage", "the protective record's BootIndicator is 0x01", boot_indicator=1)
    yield _record("starting_chs.zero", "the protective record's StartingCHS is zeros", starting_chs=bytes(3))
    yield _record("starting_chs.ones", "the protective record's StartingCHS is FF FF FF", starting_chs=b"\xff" * 3)
    yield _record("ending_chs.zero", "the protective record's EndingCHS is zeros", ending_chs=bytes(3))
    yield _record("starting_lba.zero", "the protective record starts at sector 0", None, _OPEN, starting_lba=0)
    yield _record("starting_lba.two", "the protective record starts at sector 2", None, _OPEN, starting_lba=2)
    yield _record("starting_lba.largest", "the protective record starts at sector 2^32 - 1", None, _OPEN, starting_lba=_MOST)
    yield _record("size_in_lba.zero", "the protective record has no sectors", size_in_lba=0)
    yield _record("size_in_lba.one", "the protective record has one sector", size_in_lba=1)
    yield _deviation("size_in_lba.half", "the protective record has half of the disk", lambda disk: disk.with_record("mbr.record1", size_in_lba=disk.sectors // 2))
    yield _deviation("size_in_lba.whole_disk", "the protective record has one sector more than there are after it", lambda disk: disk.with_record("mbr.record1", size_in_lba=disk.sectors))
    yield _record("size_in_lba.largest", "the protective record has 2^32 - 1 sectors on a small disk, as Windows writes it", size_in_lba=_MOST)


def _sector() -> Iterator[Deviation]:
    yield _deviation("boot_code.present", "the protective MBR has boot code", lambda disk: disk.with_record("mbr", boot_code=b"\xeb\xfe".ljust(440, b"\x90")))
    yield _deviation("unique_mbr_disk_signature.present", "the protective MBR has a disk signature", lambda disk: disk.with_record("mbr", unique_mbr_disk_signature=0x1234_5678))
    yield _deviation("unknown.present", "the protective MBR has bytes in Unknown", lambda disk: disk.with_record("mbr", unknown=0x5A5A))
    yield _deviation("signature.zero", "sector 0 does not end in 55 AA", lambda disk: disk.with_record("mbr", signature=0), None, "UEFI 2.10, 5.2.3; Linux then sees no GPT, partitioning tools do")
    yield _deviation("signature.swapped", "sector 0 ends in AA 55", lambda disk: disk.with_record("mbr", signature=0x55AA), None, "UEFI 2.10, 5.2.3; Linux then sees no GPT, partitioning tools do")
    yield _deviation("missing.zeros", "sector 0 is zeros", _no_mbr, None, _OPEN.replace(", libblkid does", ", partitioning tools do"))
    yield _deviation("missing.empty", "sector 0 is an MBR without records", lambda disk: disk.with_sector("mbr", 0, []), None, _OPEN.replace(", libblkid does", ", partitioning tools do"))
    for name, os_type, what in (
        ("linux", mbr.OS_TYPE_LINUX, "Linux"),
        ("efi", 0xEF, "an EFI system partition"),
        ("neighbour", 0xED, "0xED, one bit off"),
    ):
        yield _deviation(
            f"os_type.{name}",
            f"the record over the disk is of type {what}: an MBR with one partition, and a GPT behind it",
            partial(_with_type, os_type=os_type),
            section="UEFI 2.10, 5.2.1",
            table="mbr",
            sees=lambda disk, verdict: disk.primaries(),
        )
    yield _deviation(
        "stale.partitions",
        "the MBR has partitions, and the GPT is what is left of an earlier table",
        lambda disk: disk.with_sector("mbr", 0, [Row(0x83, 64, 500), Row(0x0C, 600, 900)]),
        section="UEFI 2.10, 5.2.1",
        table="mbr",
        sees=lambda disk, verdict: disk.primaries(),
    )
    yield _deviation(
        "stale.fat",
        "sector 0 is a FAT boot sector, and the GPT is what is left of an earlier table",
        lambda disk: disk.with_bytes(0, fat12_volume()["boot"].content),
        "refuse",
        "UEFI 2.10, 5.2.3: no protective record; Linux and EDK II see no table",
    )


def _no_mbr(disk: GptDisk) -> GptDisk:
    return disk.without("mbr", *(f"mbr.record{n}" for n in range(1, 5)))


def _slots() -> Iterator[Deviation]:
    for number in (2, 3, 4):
        yield _deviation(f"slot.{number}", f"the protective record is record {number}", partial(_in_slot, number=number))
    yield _deviation("twice.same", "there are two protective records", lambda disk: disk.with_row("mbr", 2, _guard(disk)))
    yield _deviation("twice.four", "all four records are protective", lambda disk: disk.with_sector("mbr", 0, [_guard(disk)] * 4))
    yield _deviation("twice.halves", "two protective records share the disk", lambda disk: disk.with_sector("mbr", 0, [Row(0xEE, 1, 1023), Row(0xEE, 1024, 1024)]))
    yield _deviation("unused.garbage", "an unused record has bytes", lambda disk: disk.with_record("mbr.record3", boot_indicator=0x55, starting_lba=77, starting_chs=b"abc"))


def _with_type(disk: GptDisk, os_type: int) -> GptDisk:
    return disk.with_record("mbr.record1", os_type=os_type)


def _in_slot(disk: GptDisk, number: int) -> GptDisk:
    return _with_rows(disk, [Row(0, 0, 0)] * (number - 1) + [_guard(disk)])


def _with_rows(disk: GptDisk, rows: Sequence[Row]) -> GptDisk:
    return disk.with_sector("mbr", 0, rows)


def _guard(disk: GptDisk) -> Row:
    return Row(mbr.OS_TYPE_GPT_PROTECTIVE, 1, disk.sectors - 1)


def _hybrids() -> Iterator[Deviation]:
    section = "UEFI 2.10, 5.2.3: the other records must be zeros; hybrid MBRs have partitions there"
    for name, rows, description in (
        ("same", [Row(0xEE, 1, 63), Row(0x83, 128, 128, 0x80)], "a partition of the GPT is one of the MBR, too"),
        ("protective_last", [Row(0x83, 128, 128), Row(0, 0, 0), Row(0, 0, 0), Row(0xEE, 1, 63)], "the protective record is the last one"),
        ("other", [Row(0xEE, 1, 63), Row(0x0C, 100, 300)], "the MBR has a partition across two of the GPT's"),
        ("on_gpt", [Row(0xEE, 1, 2047), Row(0x83, 1, 33)], "the MBR has a partition on the GPT's own sectors"),
        ("beyond", [Row(0xEE, 1, 63), Row(0x83, 1 << 31, 1 << 31)], "the MBR has a partition beyond the disk"),
        ("extended", [Row(0xEE, 1, 63), Row(0x05, 600, 100)], "the MBR has an extended partition without an EBR"),
        ("loop", [Row(0xEE, 1, 63), Row(0x05, 0, 2048)], "the MBR has an extended partition that is the disk: it is its own EBR"),
    ):
        yield _deviation(f"hybrid.{name}", f"hybrid: {description}", partial(_with_rows, rows=rows), section=section)
