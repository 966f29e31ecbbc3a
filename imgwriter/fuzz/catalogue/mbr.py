"""Deviations of an MBR: signature, boot indicators, sectors, types, and boot sectors that look like one.

Spec: UEFI 2.10, 5.2.1. Whether sector 0 is an MBR or the boot sector of a file system without a table is
nowhere said; what Linux and libblkid do is named as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from imgwriter import mbr
from imgwriter.fuzz.deviation import Deviation, Sight, TableKind, as_declared
from imgwriter.fuzz.file_systems import fat12_volume, fat32_volume
from imgwriter.fuzz.image import Verdict
from imgwriter.fuzz.tables import MbrDisk, Row, mbr_disk

SECTION = "UEFI 2.10, 5.2.1"
FOLKLORE = "no specification; Linux block/partitions/msdos.c, libblkid"
_OPEN = f"{SECTION}: must not be; EDK II then refuses the table, Linux takes it"
NO_TYPE = f"{SECTION}: it may be ignored; Linux and libblkid list it, parted, GRUB and imgwriter do not"
_MOST = 0xFFFF_FFFF
_SECTORS = 2048

PARTITIONS = (Row(0x0C, 64, 192, mbr.ACTIVE), Row(0x83, 256, 768), Row(0x82, 1024, 1024))


def primary_disk() -> MbrDisk:
    """Return a disk of 1 MiB with three partitions up to its end, the first of them active."""
    return mbr_disk(PARTITIONS, _SECTORS * 512, disk_signature=0xF022_0001)


def mbr_deviations() -> Iterator[Deviation]:
    """Yield them: the sector, the fields of records, records beside each other, boot sectors, sizes."""
    yield from _sector()
    yield from _indicators()
    yield from _places()
    yield from _types()
    yield from _overlaps()
    yield from _boot_sectors()
    yield from _sizes()


def _deviation(
    name: str,
    description: str,
    change: Callable[[MbrDisk], MbrDisk],
    verdict: Verdict | None = "accept",
    section: str = SECTION,
    sees: Sight = as_declared,
    table: TableKind | None = None,
) -> Deviation:
    return Deviation(
        f"mbr.{name}", section, description, verdict, primary_disk, change, table=table, sees=sees
    )


def _record(
    name: str,
    description: str,
    verdict: Verdict | None = "accept",
    section: str = SECTION,
    sees: Sight = as_declared,
    *,
    number: int = 3,
    **fields: int | bytes,
) -> Deviation:
    """Return what sets fields of a record: of the last partition, where nothing else is said."""
    return _deviation(
        f"record{number}.{name}",
        description,
        lambda disk: disk.with_record(f"mbr.record{number}", **fields),
        verdict,
        section,
        sees,
    )


def _with_sector(disk: MbrDisk, fields: Mapping[str, int | bytes]) -> MbrDisk:
    return disk.with_record("mbr", **fields)


def _sector() -> Iterator[Deviation]:
    for name, value, description in (
        ("zero", 0, "the sector does not end in 55 AA"),
        ("swapped", 0x55AA, "the sector ends in AA 55"),
        ("half", 0x0055, "the sector ends in 55 00"),
    ):
        yield _deviation(f"signature.{name}", description, partial(_with_sector, fields={"signature": value}), "refuse")
    fields: Mapping[str, int | bytes]
    for name, fields, description in (
        ("unique_mbr_disk_signature.zero", {"unique_mbr_disk_signature": 0}, "there is no disk signature"),
        ("unknown.copy_protected", {"unknown": 0x5A5A}, "the disk is marked as copy-protected, as Windows had it"),
        ("unknown.largest", {"unknown": 0xFFFF}, "Unknown is FF FF"),
        ("boot_code.present", {"boot_code": b"\x33\xc0\x8e\xd0".ljust(440, b"\x90")}, "there is boot code"),
        ("boot_code.efi_part", {"boot_code": b"EFI PART".ljust(440, b"\0")}, "the boot code begins with the signature of a GPT"),
    ):
        yield _deviation(name, description, partial(_with_sector, fields=fields))
    yield _deviation("empty", "there is no partition", lambda disk: disk.with_sector("mbr", 0, []))
    yield _deviation("zeros", "the disk is zeros", lambda disk: disk.without(*disk.records), "refuse")


def _indicators() -> Iterator[Deviation]:
    section = f"{SECTION}: firmware must not use it; Linux takes the sector for no MBR"
    for name, value in (("one", 1), ("below", 0x7F), ("above", 0x81), ("ones", 0xFF)):
        yield _record(f"boot_indicator.{name}", f"BootIndicator is {value:#04x}", None, section, boot_indicator=value)
    yield _record("boot_indicator.inactive", "no partition is active", number=1, boot_indicator=0)
    yield _record("boot_indicator.second", "two partitions are active", boot_indicator=mbr.ACTIVE)
    yield _deviation("boot_indicators.all_active", "all records are active, the unused one, too", partial(_with_all, boot_indicator=mbr.ACTIVE))
    yield _deviation("boot_indicators.garbage", "no BootIndicator is 0x00 or 0x80", partial(_with_all, boot_indicator=0x20), None, section)
    yield _record("boot_indicator.unused", "the unused record's BootIndicator is 0x20", None, section, number=4, boot_indicator=0x20)


def _with_all(disk: MbrDisk, boot_indicator: int) -> MbrDisk:
    for number in range(1, mbr.RECORDS + 1):
        disk = disk.with_record(f"mbr.record{number}", boot_indicator=boot_indicator)
    return disk


def _places() -> Iterator[Deviation]:
    yield _record("starting_lba.zero", "StartingLBA is 0: the MBR is in the partition", None, _OPEN, number=1, starting_lba=0, size_in_lba=64)
    yield _record("starting_lba.one", "StartingLBA is 1, right after the MBR", number=1, starting_lba=1, size_in_lba=255)
    yield _record("starting_lba.last", "the partition is the disk's last sector", starting_lba=_SECTORS - 1, size_in_lba=1)
    yield _record("starting_lba.beyond", "StartingLBA is the first sector beyond the disk", None, _OPEN, starting_lba=_SECTORS, size_in_lba=1)
    yield _record("starting_lba.largest", "StartingLBA is 2^32 - 1", None, _OPEN, starting_lba=_MOST, size_in_lba=1)
    yield _record("starting_lba.wrapping", "StartingLBA and SizeInLBA add up to more than 32 bits", None, _OPEN, starting_lba=_MOST - 9, size_in_lba=1024)
    yield _record("size_in_lba.one_more", "the partition ends one sector beyond the disk", None, _OPEN, size_in_lba=1025)
    yield _record("size_in_lba.twice", "the partition ends far beyond the disk", None, _OPEN, size_in_lba=2 * _SECTORS)
    yield _record("size_in_lba.largest", "SizeInLBA is 2^32 - 1", None, _OPEN, size_in_lba=_MOST)
    yield _record("size_in_lba.signed_32", "SizeInLBA is 2^31, negative with a sign", None, _OPEN, size_in_lba=1 << 31)
    yield _record("size_in_lba.one", "the partition has one sector", size_in_lba=1)
    unused = f"{SECTION}; nobody takes a record without sectors for a partition"
    yield _record("size_in_lba.zero", "the record has a type and no sectors", section=unused, size_in_lba=0)
    yield _record("sectors.zero", "the record has a type, and neither start nor sectors", section=unused, starting_lba=0, size_in_lba=0)
    yield _record("starting_chs.zero", "StartingCHS is zeros", starting_chs=bytes(3))
    yield _record("starting_chs.other", "StartingCHS says another sector than StartingLBA", starting_chs=mbr.chs(63))
    yield _record("ending_chs.other", "EndingCHS says another sector than the LBAs", ending_chs=mbr.chs(99))
    yield _record("ending_chs.sector_zero", "EndingCHS has sector 0, which there is not", ending_chs=b"\xfe\x00\x00")


def _types() -> Iterator[Deviation]:
    yield _record("os_type.zero", "the record has sectors and no type", None, NO_TYPE, os_type=0)
    yield _record("os_type.efi", "OSType is 0xEF, an EFI system partition", os_type=0xEF)
    yield _record("os_type.largest", "OSType is 0xFF", os_type=0xFF)
    yield _record("os_type.hidden", "OSType is 0x1C, hidden FAT32", os_type=0x1C)
    protective = "UEFI 2.10, 5.2.3; with no GPT, Linux sees no table, EDK II the MBR's partitions"
    yield _deviation("protective.alone", "the MBR is protective, and there is no GPT", partial(_with_rows, rows=[Row(0xEE, 1, _SECTORS - 1)]), "refuse", protective)
    yield _deviation("protective.hybrid", "the MBR is hybrid, and there is no GPT", partial(_with_rows, rows=[Row(0xEE, 1, 255), PARTITIONS[1]]), None, protective)
    yield _deviation("protective.sectors_zero", "the protective record has no sectors, and there is no GPT", partial(_with_rows, rows=[PARTITIONS[1], Row(0xEE, 0, 0)]), None, protective)


def _with_rows(disk: MbrDisk, rows: Sequence[Row]) -> MbrDisk:
    return disk.with_sector("mbr", 0, rows)


def _overlaps() -> Iterator[Deviation]:
    yield _record("overlap.one_sector", "two partitions share a sector", None, _OPEN, number=1, size_in_lba=193)
    yield _record("overlap.same", "two partitions have the same sectors", None, _OPEN, number=1, starting_lba=256, size_in_lba=768)
    yield _record("overlap.inside", "a partition lies in another", None, _OPEN, number=1, starting_lba=300, size_in_lba=10)
    yield _record("overlap.disk", "a partition is the whole disk, MBR and all", None, _OPEN, number=1, starting_lba=0, size_in_lba=_SECTORS)
    first, second, third = PARTITIONS
    unused = Row(0, 0, 0)
    for name, rows, description in (
        ("order.reversed", [third, second, first], "the records are in the reverse order of the partitions"),
        ("order.gap", [first, unused, unused, third], "the records between the first and the last are unused"),
        ("order.last", [unused, unused, unused, second], "the last record alone is used"),
        ("order.full", [first, second, third._replace(size_in_lba=500), Row(0x83, 1600, 100)], "all four records are used"),
    ):
        yield _deviation(name, description, partial(_with_rows, rows=rows))


def _boot_sectors() -> Iterator[Deviation]:
    section = f"{FOLKLORE}: a boot sector has the same signature"
    unused = (Row(0, 0, 0),) * 4
    for name, content, description in (
        ("fat12", fat12_volume()["boot"].content, "FAT12"),
        ("fat32", fat32_volume()["boot"].content, "FAT32"),
        ("fat_text", _with_text(fat12_volume()["boot"].content), "FAT12, with a message where an MBR has its records"),
        ("ntfs", _oem(b"\xeb\x52\x90NTFS    "), "NTFS"),
        ("exfat", _oem(b"\xeb\x76\x90EXFAT   "), "exFAT"),
        ("bitlocker", _oem(b"\xeb\x58\x90-FVE-FS-"), "BitLocker"),
    ):
        yield _deviation(f"boot_sector.{name}", f"sector 0 is the boot sector of {description}: no table", partial(_covered, content=content), "refuse", section)
    yield _deviation("boot_sector.with_records", "sector 0 is both a FAT boot sector and an MBR with partitions", partial(_boot_sector_and_records, rows=PARTITIONS), None, section)
    yield _deviation("boot_sector.with_unused", "sector 0 is both a FAT boot sector and an MBR without partitions", partial(_boot_sector_and_records, rows=unused), "refuse", section)


def _with_text(sector: bytes) -> bytes:
    text = b"Remove disks or other media.\xff\r\nDisk error\xff\r\nPress any key to restart\r\n"
    return sector[:446] + text[:64].ljust(64, b"\0") + sector[510:]


def _oem(start: bytes) -> bytes:
    return start.ljust(510, b"\0") + b"\x55\xaa"


def _covered(disk: MbrDisk, content: bytes) -> MbrDisk:
    return disk.with_bytes(0, content)


def _boot_sector_and_records(disk: MbrDisk, rows: Sequence[Row]) -> MbrDisk:
    boot_code = fat12_volume()["boot"].content[:440]
    return disk.with_sector("mbr", 0, rows).with_record("mbr", boot_code=boot_code)


def _sizes() -> Iterator[Deviation]:
    yield _deviation("size.zero", "the disk has no bytes", lambda disk: disk.with_size(0), "refuse")
    yield _deviation("size.less_than_mbr", "the disk has 511 bytes", lambda disk: disk.with_size(511), "refuse")
    yield _deviation("size.one_sector", "the disk has the MBR alone: its partitions are beyond", lambda disk: disk.with_size(512), None, _OPEN)
    yield _deviation("size.one_sector_empty", "the disk has the MBR alone, without partitions", lambda disk: disk.with_sector("mbr", 0, []).with_size(512))
    yield _deviation("size.cut_off", "the disk ends within its last partition", lambda disk: disk.with_size(1500 * 512), None, _OPEN)
    yield _deviation("size.odd", "the disk has 511 bytes after its last whole sector", lambda disk: disk.with_size(disk.size + 511))
