"""The master boot record: four partitions in sector 0, or the protective one before a GPT.

::

    0            440          444   446                     510  512        sector size
    ├─ boot code ┼─ signature ┼─ 0 ─┼─ 4 records x 16 B ────┼─55AA┼─ zeros ─┤

A record counts in sectors of the disk, with 32 bits: at 512 bytes a sector it reaches 2 TiB, at 4,096
bytes 16 TiB. The CHS fields are what BIOSes of the 1990s read; they are filled as sfdisk 2.38 does,
for 255 heads and 63 sectors, and stand at 254/63/1023 (bytes FE FF FF) where they cannot reach.

Invariants: the boot code is zeros (a boot loader's installer puts its own there); the sector ends in
55 AA at 510 whatever the sector's size; a record's last LBA is below 2^32.

Spec: UEFI 2.10, 5.2 (MBR and protective MBR).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from construct import Array, Bytes, Const, Int8ul, Int16ul, Int32ul, Struct

from imgwriter.errors import FormatError, SpecError

RECORDS = 4
"""Partition records in an MBR."""

SECTORS_LIMIT = 1 << 32
"""Sectors that an MBR can address."""

ACTIVE = 0x80
OS_TYPE_FAT32_LBA = 0x0C
OS_TYPE_LINUX = 0x83
OS_TYPE_GPT_PROTECTIVE = 0xEE

HEADS = 255
SECTORS_PER_TRACK = 63
TRACKS = 1024
BEYOND_CHS = b"\xfe\xff\xff"
"""Head 254, sector 63, track 1023: what stands for every sector that CHS cannot address."""

PARTITION_RECORD = Struct(
    "boot_indicator" / Int8ul,
    "starting_chs" / Bytes(3),  # StartHead, StartSector, StartTrack
    "os_type" / Int8ul,
    "ending_chs" / Bytes(3),  # EndHead, EndSector, EndTrack
    "starting_lba" / Int32ul,
    "size_in_lba" / Int32ul,
)
"""Spec: UEFI 2.10, 5.2.1, table 5.2."""

MBR = Struct(
    "boot_code" / Bytes(440),
    "unique_mbr_disk_signature" / Int32ul,
    "unknown" / Int16ul,
    "partition_record" / Array(RECORDS, PARTITION_RECORD),
    "signature" / Const(0xAA55, Int16ul),
)
"""Spec: UEFI 2.10, 5.2.1, table 5.1."""

_UNUSED = {
    "boot_indicator": 0,
    "starting_chs": bytes(3),
    "os_type": 0,
    "ending_chs": bytes(3),
    "starting_lba": 0,
    "size_in_lba": 0,
}


class PartitionRecord(NamedTuple):
    """One partition of an MBR, in sectors of the disk.

    Attributes:
        starting_lba: First sector.
        size_in_lba: Number of sectors.
        os_type: What it holds, such as ``OS_TYPE_LINUX``.
        active: Whether the boot indicator is set (a BIOS boots from it).
    """

    starting_lba: int
    size_in_lba: int
    os_type: int
    active: bool = False


class Mbr(NamedTuple):
    """What an MBR says: its disk signature and its records by number (1 to 4), unused ones left out."""

    disk_signature: int
    records: dict[int, PartitionRecord]


def chs(lba: int) -> bytes:
    """Return the three CHS bytes (head, sector with the track's high bits, track) of a sector.

    As sfdisk 2.38.1 writes them, for 255 heads and 63 sectors a track; FE FF FF beyond.
    """
    track, rest = divmod(lba, HEADS * SECTORS_PER_TRACK)
    if track >= TRACKS:
        return BEYOND_CHS
    head, sector = divmod(rest, SECTORS_PER_TRACK)
    return bytes((head, (track >> 8) << 6 | (sector + 1), track & 0xFF))


def encode(records: Sequence[PartitionRecord], *, disk_signature: int, sector_size: int = 512) -> bytes:
    """Return sector 0 with the given partitions, as partitions 1, 2, ...

    Args:
        records: At most four, in number order.
        disk_signature: The NT disk signature, on which Linux builds the PARTUUIDs.
        sector_size: Bytes in a sector; the result has as many.

    Left at zero: boot_code (a boot loader installs its own), unknown (reserved), unused records, and
    the bytes after 512.

    Raises:
        SpecError: More than four partitions, or one that starts or ends beyond sector 2^32.

    Spec: UEFI 2.10, 5.2.1.
    """
    if len(records) > RECORDS:
        raise SpecError(f"an MBR holds {RECORDS} partitions, not {len(records)}; use a GPT table")
    for number, record in enumerate(records, 1):
        _check_reach(number, record, sector_size)
    rows = [_record(r, chs(r.starting_lba), chs(r.starting_lba + r.size_in_lba - 1)) for r in records]
    return _sector(rows, disk_signature, sector_size)


def protective(disk_sectors: int, sector_size: int = 512) -> bytes:
    """Return sector 0 of a GPT disk: one record over everything, which keeps MBR tools away.

    A disk of more than 2^32 sectors is covered as far as the field reaches. The ending CHS is FF FF FF,
    not FE FF FF, where it cannot reach: the protective MBR has a rule of its own.

    Args:
        disk_sectors: Sectors of the disk.
        sector_size: Bytes in a sector; the result has as many.

    Left at zero: boot_code, unique_mbr_disk_signature and unknown, as the specification demands.

    Spec: UEFI 2.10, 5.2.3, tables 5.3 and 5.4.
    """
    record = PartitionRecord(1, min(disk_sectors - 1, SECTORS_LIMIT - 1), OS_TYPE_GPT_PROTECTIVE)
    reaches = disk_sectors <= HEADS * SECTORS_PER_TRACK * TRACKS
    ending_chs = chs(disk_sectors - 1) if reaches else b"\xff\xff\xff"
    return _sector([_record(record, chs(1), ending_chs)], 0, sector_size)


def parse(sector: bytes) -> Mbr:
    """Return what sector 0 says.

    Args:
        sector: The sector, at least 512 bytes.

    Raises:
        FormatError: It is too short, does not end in 55 AA, or has a boot indicator that is neither
            00 nor 80 (then it is a boot sector of a file system, not an MBR).
    """
    if len(sector) < MBR.sizeof():
        raise FormatError(f"an MBR is 512 bytes, here are {len(sector)}", "MBR", 0)
    if sector[510:512] != b"\x55\xaa":
        raise FormatError(f"sector 0 ends in {sector[510:512].hex()}, an MBR in 55aa", "MBR signature", 510)
    fields = MBR.parse(sector[:512])
    records = {}
    for number, row in enumerate(fields.partition_record, 1):
        if row.boot_indicator not in (0, ACTIVE):
            offset = 446 + 16 * (number - 1)
            message = f"MBR partition {number} has boot indicator {row.boot_indicator:#04x}, not 0x00 or 0x80"
            raise FormatError(message, "MBR boot_indicator", offset)
        if row.os_type and row.size_in_lba:
            active = row.boot_indicator == ACTIVE
            records[number] = PartitionRecord(row.starting_lba, row.size_in_lba, row.os_type, active)
    return Mbr(fields.unique_mbr_disk_signature, records)


def _check_reach(number: int, record: PartitionRecord, sector_size: int) -> None:
    end_lba = record.starting_lba + record.size_in_lba
    if end_lba > SECTORS_LIMIT:
        reach = SECTORS_LIMIT * sector_size >> 40
        raise SpecError(
            f"partition {number} would end at sector {end_lba:,}, an MBR reaches sector {SECTORS_LIMIT:,}"
            f" ({reach} TiB of {sector_size:,}-byte sectors); make the disk smaller or use a GPT table"
        )


def _record(record: PartitionRecord, starting_chs: bytes, ending_chs: bytes) -> dict[str, int | bytes]:
    return {
        "boot_indicator": ACTIVE if record.active else 0,
        "starting_chs": starting_chs,
        "os_type": record.os_type,
        "ending_chs": ending_chs,
        "starting_lba": record.starting_lba,
        "size_in_lba": record.size_in_lba,
    }


def _sector(rows: list[dict[str, int | bytes]], disk_signature: int, sector_size: int) -> bytes:
    fields = {
        "boot_code": bytes(440),
        "unique_mbr_disk_signature": disk_signature,
        "unknown": 0,
        "partition_record": [*rows, *[_UNUSED] * (RECORDS - len(rows))],
        "signature": 0xAA55,
    }
    return MBR.build(fields).ljust(sector_size, b"\0")
