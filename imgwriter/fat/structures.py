"""FAT's on-disk records as bytes, and DOS times: pure functions on pyfatfs's structure classes.

Only the modules of pyfatfs that hold plain structures are used; its file system classes need
PyFilesystem2 and read the clock. Nothing here knows about trees or allocation.

Spec: Microsoft FAT Specification (August 30, 2005) and fatgen103, sections 3 (boot sector and BPB), 4 (FAT),
5 (FSInfo), 6 (directory structure), 7 (long names).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from pyfatfs.BootSectorHeader import FAT12BootSectorHeader, FAT32BootSectorHeader
from pyfatfs.DosDateTime import DosDateTime
from pyfatfs.EightDotThree import EightDotThree
from pyfatfs.FATDirectoryEntry import FATDirectoryEntry, FATLongDirectoryEntry
from pyfatfs.FSInfo import FSInfo

ENTRY_SIZE = 32
"""Bytes of a directory entry, short or long."""

UNITS_PER_SLOT = 13
"""UTF-16 units of a name in one long-name entry."""

ATTR_READ_ONLY: int = FATDirectoryEntry.ATTR_READ_ONLY
ATTR_HIDDEN: int = FATDirectoryEntry.ATTR_HIDDEN
ATTR_SYSTEM: int = FATDirectoryEntry.ATTR_SYSTEM
ATTR_VOLUME_ID: int = FATDirectoryEntry.ATTR_VOLUME_ID
ATTR_DIRECTORY: int = FATDirectoryEntry.ATTR_DIRECTORY
ATTR_ARCHIVE: int = FATDirectoryEntry.ATTR_ARCHIVE
ATTR_LONG_NAME: int = FATDirectoryEntry.ATTR_LONG_NAME
ATTR_LONG_NAME_MASK: int = FATDirectoryEntry.ATTR_LONG_NAME_MASK
LAST_LONG_ENTRY: int = FATLongDirectoryEntry.LAST_LONG_ENTRY
FREE_ENTRY: int = FATDirectoryEntry.FREE_DIR_ENTRY_MARK
END_OF_DIRECTORY: int = FATDirectoryEntry.LAST_DIR_ENTRY_MARK

MEDIA_FIXED = 0xF8
"""BPB_Media of a disk that is not removed; the low byte of FAT entry 0 repeats it."""

FSINFO_SECTOR = 1
BACKUP_SECTOR = 6
NO_LABEL = b"NO NAME    "
DOT = b".          "
DOT_DOT = b"..         "

# Microsoft advises "MSWIN4.1" because old DOS drivers trusted nothing else; no driver of today reads
# the field, and mkfs.fat names itself there too. So it names what wrote the volume, in eight characters.
_OEM_NAME = b"IMGWRITR"

# int 18h hands back to the BIOS, which tries the next device; then halt for ever. A BIOS that is told
# to boot this volume gets a defined answer instead of a run through zeros.
_BOOT_CODE = bytes.fromhex("cd18 f4 ebfd")
_BOOT_SIGNATURE = b"\x55\xaa"
_BOOT_SECTOR_SIZE = 512

_UNKNOWN = 0xFFFFFFFF


class Stamp(NamedTuple):
    """A moment as directory entries hold it: date, time in 2 s, and the rest in 10 ms (0 to 199)."""

    date: int
    time: int
    tenths: int


_FIRST_SECOND = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())
_LAST_SECOND = int(datetime(2107, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_NS = 1_000_000_000


def stamp(time_ns: int) -> Stamp:
    """Return ``time_ns``, nanoseconds since the epoch, as UTC date and time; clamped to 1980..2107.

    DOS times are local times by convention; UTC is the only choice that does not depend on the builder,
    and what Linux assumes with ``tz=UTC``.

    Spec: FAT specification, 6.3 (date and time formats), DIR_CrtTimeTenth.
    """
    time_ns = min(max(time_ns, _FIRST_SECOND * _NS), _LAST_SECOND * _NS + _NS - 1)
    seconds, rest_ns = divmod(time_ns, _NS)
    moment = DosDateTime.fromtimestamp(seconds, tz=UTC)
    tenths = seconds % 2 * 100 + rest_ns // 10_000_000
    return Stamp(moment.serialize_date(), moment.serialize_time(), tenths)


def checksum(short_name: bytes) -> int:
    """Return the checksum of an 11-byte short name that ties long-name entries to it."""
    return int(_eight_dot_three(short_name).checksum())


def directory_entry(
    short_name: bytes, attributes: int, when: Stamp, cluster: int, size: int, long_name: bytes = b""
) -> bytes:
    """Return a directory entry, after the long-name entries it needs.

    Args:
        short_name: The 11 bytes of DIR_Name, padded.
        attributes: DIR_Attr.
        when: Taken for creation, change and (date only) access.
        cluster: The first cluster, 0 when there is none.
        size: DIR_FileSize; 0 for directories and labels.
        long_name: The name in UTF-16LE, or empty where the short name says it all.
    """
    name = _eight_dot_three(short_name)
    entry = FATDirectoryEntry(
        DIR_Name=name,
        DIR_Attr=attributes,
        DIR_NTRes=0,
        DIR_CrtTimeTenth=when.tenths,
        DIR_CrtTime=when.time,
        DIR_CrtDate=when.date,
        DIR_LstAccessDate=when.date,
        DIR_FstClusHI=cluster >> 16,
        DIR_WrtTime=when.time,
        DIR_WrtDate=when.date,
        DIR_FstClusLO=cluster & 0xFFFF,
        DIR_FileSize=size,
        lfn_entry=_long_entries(long_name, name.checksum()) if long_name else None,
    )
    return bytes(entry)


def _eight_dot_three(short_name: bytes) -> EightDotThree:
    name = EightDotThree()
    name.set_byte_name(short_name)
    return name


def _long_entries(long_name: bytes, short_checksum: int) -> FATLongDirectoryEntry:
    """Return the long-name entries. pyfatfs's own maker of them refuses names over 127 characters."""
    slot_size = 2 * UNITS_PER_SLOT
    rest = len(long_name) % slot_size
    if rest:
        long_name += b"\0\0" + b"\xff" * (slot_size - rest - 2)
    entries = FATLongDirectoryEntry()
    count = len(long_name) // slot_size
    for number in range(1, count + 1):
        part = long_name[(number - 1) * slot_size : number * slot_size]
        last = FATLongDirectoryEntry.LAST_LONG_ENTRY if number == count else 0
        entries.add_lfn_entry(
            LDIR_Ord=number | last,
            LDIR_Name1=part[:10],
            LDIR_Attr=ATTR_LONG_NAME,
            LDIR_Type=0,
            LDIR_Chksum=short_checksum,
            LDIR_Name2=part[10:22],
            LDIR_FstClusLO=0,
            LDIR_Name3=part[22:],
        )
    return entries


class BootFields(NamedTuple):
    """What differs from one boot sector to the next.

    Attributes:
        fat_type: 12, 16 or 32.
        sector_size, cluster_size: Bytes.
        reserved_sectors, fat_sectors, total_sectors, hidden_sectors: Sectors.
        root_entries: Entries of the fixed root directory; 0 on FAT32, whose root starts at cluster 2.
        sectors_per_track, heads: The geometry to report.
        volume_id: 32 bits.
        label: 11 bytes, padded.
    """

    fat_type: int
    sector_size: int
    cluster_size: int
    reserved_sectors: int
    fat_sectors: int
    total_sectors: int
    hidden_sectors: int
    root_entries: int
    sectors_per_track: int
    heads: int
    volume_id: int
    label: bytes


def boot_sector(fields: BootFields) -> bytes:
    """Return the first 512 bytes of a boot sector; in a larger sector the rest is zero.

    Spec: FAT specification, 3.1 to 3.3. Left at zero: BPB_ExtFlags (both FATs are kept alike),
    BPB_FSVer (0.0 is the only version), BS_Reserved1 (its bits 0 and 1 mean "not cleanly unmounted").
    """
    wide = fields.fat_type == 32
    header = FAT32BootSectorHeader() if wide else FAT12BootSectorHeader()
    # A volume under 65,536 sectors gives its size in 16 bits, unless it is FAT32.
    short_total = not wide and fields.total_sectors < 0x10000
    header.update(
        BS_jmpBoot=b"\xeb\x58\x90" if wide else b"\xeb\x3c\x90",
        BS_OEMName=_OEM_NAME,
        BPB_BytsPerSec=fields.sector_size,
        BPB_SecPerClus=fields.cluster_size // fields.sector_size,
        BPB_RsvdSecCnt=fields.reserved_sectors,
        BPB_NumFATs=2,
        BPB_RootEntCnt=fields.root_entries,
        BPB_TotSec16=fields.total_sectors if short_total else 0,
        BPB_Media=MEDIA_FIXED,
        BPB_FATSz16=0 if wide else fields.fat_sectors,
        BPB_SecPerTrk=fields.sectors_per_track,
        BPB_NumHeads=fields.heads,
        BPB_HiddSec=fields.hidden_sectors,
        BPB_TotSec32=0 if short_total else fields.total_sectors,
        BS_DrvNum=0x80,
        BS_Reserved1=0,
        BS_BootSig=0x29,
        BS_VolID=fields.volume_id,
        BS_VolLab=fields.label,
        BS_FilSysType=f"FAT{fields.fat_type}   ".encode(),
    )
    if wide:
        header.update(
            BPB_FATSz32=fields.fat_sectors,
            BPB_ExtFlags=0,
            BPB_FSVer=0,
            BPB_RootClus=2,
            BPB_FSInfo=FSINFO_SECTOR,
            BPB_BkBootSec=BACKUP_SECTOR,
            BPB_Reserved=bytes(12),
        )
    code = bytes(header) + _BOOT_CODE
    return code.ljust(_BOOT_SECTOR_SIZE - len(_BOOT_SIGNATURE), b"\0") + _BOOT_SIGNATURE


def fsinfo_sector(free_clusters: int, next_free: int | None) -> bytes:
    """Return the 512 bytes of FAT32's FSInfo.

    Args:
        free_clusters: Clusters that are free.
        next_free: The first free cluster, None when there is none.
    """
    return bytes(FSInfo(free_count=free_clusters, next_free=_UNKNOWN if next_free is None else next_free))


# --- The same records, read ---

_SHORT = struct.Struct(FATDirectoryEntry.FAT_DIRECTORY_LAYOUT)
_LONG = struct.Struct(FATLongDirectoryEntry.FAT_LONG_DIRECTORY_LAYOUT)


class ShortEntry(NamedTuple):
    """A directory entry, in the order of its fields. Spec: FAT specification, 6."""

    name: bytes
    attributes: int
    nt_res: int
    crt_time_tenth: int
    crt_time: int
    crt_date: int
    lst_acc_date: int
    fst_clus_hi: int
    wrt_time: int
    wrt_date: int
    fst_clus_lo: int
    file_size: int


class LongEntry(NamedTuple):
    """A long-name entry, in the order of its fields. Spec: FAT specification, 7."""

    order: int
    name1: bytes
    attributes: int
    type: int
    checksum: int
    name2: bytes
    fst_clus_lo: int
    name3: bytes


def parse_short(data: bytes, offset: int) -> ShortEntry:
    """Return the directory entry at ``offset``."""
    return ShortEntry._make(_SHORT.unpack_from(data, offset))


def parse_long(data: bytes, offset: int) -> LongEntry:
    """Return the long-name entry at ``offset``."""
    return LongEntry._make(_LONG.unpack_from(data, offset))


def parse_boot_sector(sector: bytes) -> Mapping[str, int | bytes]:
    """Return the fields of a boot sector by the specification's names.

    They are FAT32's where BPB_FATSz16 is zero, as in Linux, else FAT12's and FAT16's.
    """
    header = FAT12BootSectorHeader()
    header.parse_header(sector)
    if not header["BPB_FATSz16"]:
        header = FAT32BootSectorHeader()
        header.parse_header(sector)
    return dict(header)


def boot_code(sector: bytes, wide: bool) -> bytes:
    """Return what stands between the fields of a boot sector and its signature."""
    header = FAT32BootSectorHeader() if wide else FAT12BootSectorHeader()
    return sector[len(header) : _BOOT_SECTOR_SIZE - len(_BOOT_SIGNATURE)]


def parse_fsinfo(sector: bytes) -> Mapping[str, int]:
    """Return the fields of an FSInfo sector by the specification's names."""
    fields = FSInfo()
    fields.parse_header(sector)
    return dict(fields)


def boot_offsets(wide: bool) -> Mapping[str, int]:
    """Return where each field of a boot sector is, FAT32's or the others'."""
    header = FAT32BootSectorHeader if wide else FAT12BootSectorHeader
    codes = re.findall(r"\d*[A-Za-z]", header.HEADER_LAYOUT)
    starts = (struct.calcsize("<" + "".join(codes[:i])) for i in range(len(codes)))
    return dict(zip(header.HEADER_VARS, starts, strict=True))


_DAYS_BEFORE_MONTH = (0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 0, 0, 0)
_YEAR_2100 = 120


def moment(date: int, time: int, tenths: int = 0) -> int:
    """Return the nanoseconds since the epoch of a date and time in UTC: the inverse of :func:`stamp`.

    What is no date is taken as Linux takes it: month and day 0 as 1, other numbers at their worth.

    Spec: FAT specification, 6.3.
    """
    year, month, day = date >> 9, max(date >> 5 & 15, 1), max(date & 31, 1) - 1
    leap_days = (year + 3) // 4 - (year > _YEAR_2100)
    if year % 4 == 0 and year != _YEAR_2100 and month > 2:
        leap_days += 1
    days = year * 365 + leap_days + _DAYS_BEFORE_MONTH[month] + day
    seconds = (time & 31) * 2 + (time >> 5 & 63) * 60 + (time >> 11) * 3600
    return (_FIRST_SECOND + days * 86_400 + seconds) * _NS + tenths * 10_000_000
