"""What stands twice on a FAT volume, or says what can be counted: backup, FATs, FSInfo, entries 0 and 1.

::

    ├ boot ┼ FSInfo ┼ .. ┼ boot ┼ FSInfo ┼ .. ┼ FAT 1 ┼ FAT 2 ┤
         └───── equal ─────┘                      └ equal ┘
             free count = entries that are 0;  entries 0 and 1: media, end mark with two bits of state

Spec: FAT specification, 3.6 (backup), 4 (FAT), 5 (FSInfo).
"""

from __future__ import annotations

from imgwriter.fat.boot_reader import BOOT_SIZE, read_boot_sector, read_fsinfo
from imgwriter.fat.geometry import FIRST_CLUSTER
from imgwriter.fat.reader import FileSystem
from imgwriter.fat.structures import parse_fsinfo
from imgwriter.verify.fat.boot import BACKUP, EXTENDED_32
from imgwriter.verify.remarks import Remarks

ENTRIES = "FAT specification, 4"
FSINFO = "FAT specification, 5"

_UNKNOWN = 0xFFFF_FFFF
_PIECE = 1 << 20
_NOT_MIRRORED = 0x80
# The field's name of the specification, pyfatfs's, offset, value.
_SIGNATURES = (
    ("FSI_LeadSig", "FSI_LeasSig", 0, 0x4161_5252),
    ("FSI_StrucSig", "FSI_StrucSig", 484, 0x6141_7272),
    ("FSI_TrailSig", "FSI_TrailSig", 508, 0xAA55_0000),
)
_RESERVED = (("FSI_Reserved1", 4, 484), ("FSI_Reserved2", 496, 508))
_STATE_AT = 0x41
"""BS_Reserved1 of FAT32: changed at each mount, in the first boot sector alone."""


def check_backup(file_system: FileSystem, remarks: Remarks) -> None:
    """Check FAT32's copy of the boot sector: equal but for the state."""
    boot, layout, window = file_system.boot, file_system.layout, file_system.window
    start = boot.number("BPB_BkBootSec") * layout.sector_size
    if not boot.wide or not 0 < start < layout.fat_start:
        return
    first, copy = (bytearray(window.read(at, BOOT_SIZE, "FAT boot sector")) for at in (0, start))
    first[_STATE_AT] = copy[_STATE_AT] = 0
    if first == copy:
        return
    where = "FAT backup boot sector"
    other = read_boot_sector(window, start)
    differing = [name for name, value in boot.fields.items() if other.fields.get(name) != value]
    different = next(at for at in range(BOOT_SIZE) if first[at] != copy[at])
    field = differing[0] if len(differing) == 1 else ""
    what = ", ".join(differing) or ("boot code" if different < BOOT_SIZE - 2 else "Signature_word")
    found = f"another {what}"
    remarks.find(where, field, window.offset + start + different, "the boot sector again", found, BACKUP)


def check_tables(file_system: FileSystem, remarks: Remarks) -> None:
    """Check that all FATs are equal, where they are to be."""
    layout, table = file_system.layout, file_system.table
    if file_system.boot.number("BPB_ExtFlags") & _NOT_MIRRORED and layout.bits == 32:
        found = f"FAT {layout.active_fat + 1} alone is in use"
        at = file_system.window.offset + 40
        remarks.note("FAT boot sector", "BPB_ExtFlags", at, "all FATs alike", found, EXTENDED_32)
        return
    used = -(-table.limit * layout.bits // 8)
    for number in range(1, layout.fats):
        for start in range(0, used, _PIECE):
            _compare(file_system, number, start, min(start + _PIECE, used), remarks)


def _compare(file_system: FileSystem, number: int, start: int, stop: int, remarks: Remarks) -> None:
    """Compare [start, stop) of a FAT with the same of the first, entry by entry where they differ."""
    layout, window = file_system.layout, file_system.window
    low = layout.fat_start + number * layout.fat_size
    if not window.has_data(layout.fat_start + start, layout.fat_start + stop) and not window.has_data(
        low + start, low + stop
    ):
        return
    first = window.read(layout.fat_start + start, stop - start, "FAT 1")
    other = window.read(low + start, stop - start, f"FAT {number + 1}")
    if first == other:
        return
    end = 0
    for at in range(len(first)):
        if first[at] == other[at] or start + at < end:
            continue
        cluster = (start + at) * 8 // layout.bits
        end = -(-(cluster + 1) * layout.bits // 8)
        offset = window.offset + low + start + at
        expected, found = f"{first[at]:#04x}, as in FAT 1", f"{other[at]:#04x}"
        remarks.find(f"FAT {number + 1}", f"FAT[{cluster:,}]", offset, expected, found, ENTRIES)


def check_reserved_entries(file_system: FileSystem, remarks: Remarks) -> None:
    """Check FAT[0] and FAT[1]: the media, and an end mark in which two bits tell of the last use."""
    table, bits = file_system.table, file_system.layout.bits
    width = min(bits, 28)
    all_set = (1 << width) - 1
    media = all_set & ~0xFF | file_system.boot.number("BPB_Media")
    first, second = table.entry(0), table.entry(1)
    if first != media:
        remarks.find("FAT", "FAT[0]", table.offset(0), f"{media:#x}", f"{first:#x}", ENTRIES)
    clean, sound = (1 << width - 1, 1 << width - 2) if bits > 12 else (0, 0)
    if second | clean | sound < table.end_mark:
        expected = f"an end mark, {table.end_mark:#x} to {all_set:#x}"
        remarks.find("FAT", "FAT[1]", table.offset(1), expected, f"{second:#x}", ENTRIES)
    elif second & clean != clean:
        found = "bit ClnShutBitMask clear: not unmounted"
        remarks.note("FAT", "FAT[1]", table.offset(1), "cleanly unmounted", found, ENTRIES)
    if second & sound != sound:
        found = "bit HrdErrBitMask clear: the disk had errors"
        remarks.note("FAT", "FAT[1]", table.offset(1), "no errors met", found, ENTRIES)


def check_fsinfo(file_system: FileSystem, free: int, remarks: Remarks) -> None:
    """Check FAT32's FSInfo against the FAT.

    Args:
        free: Clusters that are free.
    """
    boot, layout, window = file_system.boot, file_system.layout, file_system.window
    info = read_fsinfo(boot, layout, window)
    if info is None:
        return
    where, offset = "FSInfo", window.offset + info.offset
    sector = window.read(info.offset, BOOT_SIZE, where)
    for name, field, at, value in _SIGNATURES:
        if info.fields[field] != value:
            remarks.find(where, name, offset + at, f"{value:#010x}", f"{info.fields[field]:#010x}", FSINFO)
    for name, low, high in _RESERVED:
        if any(sector[low:high]):
            remarks.find(where, name, offset + low, "zeros", "other bytes", FSINFO)
    _check_counts(file_system, info.fields["FSI_Free_Count"], info.fields["FSI_Nxt_Free"], free, remarks)
    copy = boot.number("BPB_BkBootSec") * layout.sector_size + info.offset
    if copy > info.offset and copy + BOOT_SIZE <= layout.fat_start:
        fields = parse_fsinfo(window.read(copy, BOOT_SIZE, where))
        whole = all(fields[field] == value for _, field, _, value in _SIGNATURES)
        if not whole:
            at = window.offset + copy
            remarks.note("FSInfo copy", "", at, "FSInfo's signatures", "other bytes", BACKUP)


def _check_counts(file_system: FileSystem, count: int, following: int, free: int, remarks: Remarks) -> None:
    info, table = file_system.fsinfo, file_system.table
    assert info is not None
    offset = file_system.window.offset + info.offset
    if count == _UNKNOWN:
        remarks.note("FSInfo", "FSI_Free_Count", offset + 488, f"{free:,}", "not known", FSINFO)
    elif count != free:
        expected = f"{free:,}, the free clusters of the FAT"
        remarks.find("FSInfo", "FSI_Free_Count", offset + 488, expected, f"{count:,}", FSINFO)
    # A hint, "typically the last cluster that the driver allocated": it may be in use.
    if following != _UNKNOWN and not FIRST_CLUSTER <= following < table.limit:
        expected = f"a cluster, 2 to {table.limit - 1:,}"
        remarks.find("FSInfo", "FSI_Nxt_Free", offset + 492, expected, f"{following:,}", FSINFO)
