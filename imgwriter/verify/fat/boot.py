"""The boot sector's fields, each against what the specification lets it be.

All of them are looked at, whatever the others say. Whether areas follow from them is asked of the reader:
what it refuses is damage, and nothing behind the boot sector can then be found.

Spec: FAT specification, 3.
"""

from __future__ import annotations

from typing import NamedTuple

from imgwriter.errors import FormatError
from imgwriter.fat.boot_reader import SECTOR_SIZES, BootSector, Layout, layout_of
from imgwriter.fat.geometry import FAT32, FAT_TYPES, FIRST_CLUSTER, MAX_CLUSTER_SIZE
from imgwriter.fat.structures import ENTRY_SIZE, boot_offsets
from imgwriter.units import counted
from imgwriter.verify.remarks import Remarks
from imgwriter.window import Window

COMMON = "FAT specification, 3.1"
EXTENDED = "FAT specification, 3.2"
EXTENDED_32 = "FAT specification, 3.3"
TYPE = "FAT specification, 3.5"
BACKUP = "FAT specification, 3.6"

DIRTY, ERRORS = 1, 2
"""Bits of BS_Reserved1 in which Windows and Linux keep that a volume was not unmounted, or had errors."""

_STRUCTURE = "FAT boot sector"
_BACKUP_SECTORS = (0, 6)
_MIRRORING = 0x8F
"""The bits of BPB_ExtFlags that are defined."""


class Place(NamedTuple):
    """Where a volume is.

    Attributes:
        window: From the volume's start to the end of the disk.
        size: Bytes that it may have, as of its partition.
        in_partition: Whether there is a partition: BPB_HiddSec counts the sectors before it.
        known_cut: Whether it was found already that the disk is cut off.
    """

    window: Window
    size: int
    in_partition: bool
    known_cut: bool = False


def check_boot_sector(boot: BootSector, place: Place, remarks: Remarks) -> Layout | None:
    """Check a boot sector; return the areas, None where they do not follow from it."""
    check = _Check(boot, place.window.offset, remarks)
    check.common()
    check.sizes()
    check.wide() if boot.wide else check.narrow()
    check.identity()
    check.hidden(place)
    if not check.is_whole(place):
        return None
    try:
        layout = layout_of(boot, place.window)
    except FormatError as error:
        check.refused(error)
        return None
    _check_type(check, layout, place)
    return layout


class _Check:
    """The fields of one boot sector."""

    def __init__(self, boot: BootSector, offset: int, remarks: Remarks) -> None:
        self.boot = boot
        self.offset = offset
        self.remarks = remarks
        self.at = boot_offsets(boot.wide)
        self.damaged: set[str] = set()

    def require(
        self, holds: bool, field: str, expected: object, found: object, section: str = COMMON
    ) -> None:
        if not holds and field not in self.damaged:
            self.damaged.add(field)
            self.remarks.find(_STRUCTURE, field, self.offset + self.at[field], expected, found, section)

    def note(self, holds: bool, field: str, expected: object, found: object, section: str = COMMON) -> None:
        if not holds:
            self.remarks.note(_STRUCTURE, field, self.offset + self.at[field], expected, found, section)

    def number(self, field: str, holds: bool, expected: object, section: str = COMMON) -> None:
        self.require(holds, field, expected, f"{self.boot.number(field):,}", section)

    def common(self) -> None:
        """Check what is no size."""
        boot = self.boot
        jump = _bytes(boot, "BS_jmpBoot")
        holds = (jump[0] == 0xEB and jump[2] == 0x90) or jump[0] == 0xE9
        self.require(holds, "BS_jmpBoot", "eb ?? 90 or e9 ?? ??", jump.hex(" "))
        media = boot.number("BPB_Media")
        self.require(media == 0xF0 or media >= 0xF8, "BPB_Media", "0xf0, or 0xf8 to 0xff", f"{media:#04x}")
        for field in ("BPB_SecPerTrk", "BPB_NumHeads"):
            self.note(boot.number(field) > 0, field, "more than 0: mtools refuses it", 0)
        if not boot.signed:
            self.remarks.find(_STRUCTURE, "Signature_word", self.offset + 510, "55 aa", "other bytes", COMMON)

    def sizes(self) -> None:
        """Check the sizes of sectors, clusters and areas."""
        boot = self.boot
        number = boot.number
        size, per_cluster = number("BPB_BytsPerSec"), number("BPB_SecPerClus")
        self.number("BPB_BytsPerSec", size in SECTOR_SIZES, "512, 1,024, 2,048 or 4,096")
        power = 0 < per_cluster <= 128 and per_cluster & (per_cluster - 1) == 0
        self.number("BPB_SecPerClus", power, "a power of two from 1 to 128")
        cluster = size * per_cluster
        self.note(
            not power or cluster <= MAX_CLUSTER_SIZE,
            "BPB_SecPerClus",
            f"clusters of at most {MAX_CLUSTER_SIZE:,} bytes",
            f"{cluster:,} bytes",
        )
        self.number("BPB_RsvdSecCnt", number("BPB_RsvdSecCnt") > 0, "1 or more")
        fats = number("BPB_NumFATs")
        self.number("BPB_NumFATs", fats > 0, "2, or 1")
        self.note(fats in (0, 1, 2), "BPB_NumFATs", "2, or 1", fats)
        entries = number("BPB_RootEntCnt")
        if boot.wide:
            self.number("BPB_RootEntCnt", entries == 0, "0: FAT32 has no fixed root", COMMON)
        elif size in SECTOR_SIZES:
            fills = entries > 0 and entries * ENTRY_SIZE % size == 0
            self.number("BPB_RootEntCnt", fills, f"a multiple of {size // ENTRY_SIZE:,}, not 0")
        short, long = number("BPB_TotSec16"), number("BPB_TotSec32")
        if boot.wide:
            self.number("BPB_TotSec16", short == 0, "0: FAT32 has its size in BPB_TotSec32")
        self.number(
            "BPB_TotSec32", bool(short) != bool(long), "0 where BPB_TotSec16 is not, else the sectors"
        )

    def wide(self) -> None:
        """Check what FAT32 alone has."""
        boot = self.boot
        flags, version = boot.number("BPB_ExtFlags"), boot.number("BPB_FSVer")
        undefined = flags & ~_MIRRORING
        self.require(not undefined, "BPB_ExtFlags", "bits 4 to 6, 8 to 15 zero", f"{flags:#06x}", EXTENDED_32)
        self.require(version == 0, "BPB_FSVer", "0.0", f"{version >> 8}.{version & 255}", EXTENDED_32)
        rest = _bytes(boot, "BPB_Reserved")
        self.require(not any(rest), "BPB_Reserved", "zeros", rest.hex(), EXTENDED_32)
        self.number("BPB_FATSz32", boot.number("BPB_FATSz32") > 0, "1 or more", EXTENDED_32)
        backup, reserved = boot.number("BPB_BkBootSec"), boot.number("BPB_RsvdSecCnt")
        inside = f"a reserved sector, 0 to {reserved - 1:,}"
        self.number("BPB_BkBootSec", backup < max(reserved, 1), inside, BACKUP)
        self.note(backup in _BACKUP_SECTORS, "BPB_BkBootSec", "6, or 0 without a copy", f"{backup:,}", BACKUP)
        info = boot.number("BPB_FSInfo")
        self.number("BPB_FSInfo", info == 0xFFFF or info < max(reserved, 1), inside, EXTENDED_32)
        self.note(info not in (0, 0xFFFF), "BPB_FSInfo", "1", "none", EXTENDED_32)

    def narrow(self) -> None:
        """Check what concerns FAT12 and FAT16 alone."""
        self.number("BPB_FATSz16", self.boot.number("BPB_FATSz16") > 0, "1 or more")

    def identity(self) -> None:
        """Check the drive's number, serial number and texts."""
        boot = self.boot
        section = EXTENDED_32 if boot.wide else EXTENDED
        drive, state, mark = (boot.number(f"BS_{name}") for name in ("DrvNum", "Reserved1", "BootSig"))
        self.note(drive in (0, 0x80), "BS_DrvNum", "0x80 or 0x00", f"{drive:#04x}", section)
        unknown = state & ~(DIRTY | ERRORS)
        self.require(not unknown, "BS_Reserved1", "bits 2 to 7 zero", f"{state:#04x}", section)
        self.note(not state & DIRTY, "BS_Reserved1", "cleanly unmounted", "the dirty bit", section)
        self.note(not state & ERRORS, "BS_Reserved1", "no errors met", "the bit for a surface test", section)
        self.require(mark in (0x28, 0x29), "BS_BootSig", "0x29", f"{mark:#04x}", section)
        if mark == 0x29:
            text = _bytes(boot, "BS_FilSysType")
            holds = text in {b"FAT     ", *(f"FAT{bits}   ".encode() for bits in FAT_TYPES)}
            self.note(holds, "BS_FilSysType", "the type as text", text, section)

    def hidden(self, place: Place) -> None:
        """Check the sectors before the volume: boot code starts from them, and nothing else looks at them."""
        size, hidden = self.boot.number("BPB_BytsPerSec"), self.boot.number("BPB_HiddSec")
        if place.in_partition and size in SECTOR_SIZES and place.window.offset % size == 0:
            before = place.window.offset // size
            self.note(hidden == before, "BPB_HiddSec", f"{before:,}, the partition's first", f"{hidden:,}")

    def is_whole(self, place: Place) -> bool:
        """Return whether the disk has all the sectors: else nothing behind the boot sector is looked at."""
        size = self.boot.number("BPB_BytsPerSec")
        field = "BPB_TotSec16" if self.boot.number("BPB_TotSec16") else "BPB_TotSec32"
        total = self.boot.number(field)
        if size not in SECTOR_SIZES or total <= place.window.size // size:
            return True
        there = place.window.size // size
        expected = f"{there:,} at most, the sectors that there are: get the whole of the image"
        found = (
            f"{total:,}: the end is missing, from byte {self.offset + there * size:,} on; nothing behind the"
        )
        found += " boot sector is looked at"
        say = self.note if place.known_cut else self.require
        say(False, field, expected, found, COMMON)
        return False

    def refused(self, error: FormatError) -> None:
        """Make a finding of what the reader refuses, where none says it yet."""
        if error.where not in self.damaged:
            offset = self.offset if error.offset is None else error.offset
            field = error.where if error.where in self.at else ""
            self.remarks.find(_STRUCTURE, field, offset, "areas that fit", error, COMMON)


def _check_type(check: _Check, layout: Layout, place: Place) -> None:
    """Check the counts: of clusters against the type, of sectors against the partition."""
    boot = check.boot
    total = "BPB_TotSec16" if boot.number("BPB_TotSec16") else "BPB_TotSec32"
    most = f"at most {place.size // layout.sector_size:,}, the sectors of the partition"
    check.number(total, layout.size <= place.size, most)
    sectors = (layout.size - layout.data_start) // layout.cluster_size
    enough = sectors <= layout.clusters
    needed = -(-(sectors + FIRST_CLUSTER) * layout.bits // 8 // layout.sector_size)
    field = "BPB_FATSz32" if boot.wide else "BPB_FATSz16"
    check.number(field, enough, f"{needed:,} or more, for {counted(sectors, 'cluster')}", TYPE)
    kind = FAT_TYPES[layout.bits]
    least, greatest = kind.minimum_clusters, kind.maximum_clusters
    check.require(
        least <= sectors <= greatest,
        total,
        f"{least:,} to {greatest:,} clusters for FAT{layout.bits}",
        f"{counted(sectors, 'cluster')}, which are FAT{layout.bits_by_count} to other readers",
        TYPE,
    )
    root = layout.root_cluster
    inside = FIRST_CLUSTER <= root < FIRST_CLUSTER + layout.clusters
    if kind is FAT32:
        check.number("BPB_RootClus", inside, f"2 to {layout.clusters + 1:,}", EXTENDED_32)
    text = boot.fields.get("BS_FilSysType", b"")
    if boot.number("BS_BootSig") == 0x29 and isinstance(text, bytes) and text[3:5].strip():
        same = text == f"FAT{layout.bits}   ".encode()
        check.note(same, "BS_FilSysType", f"FAT{layout.bits}", text, EXTENDED_32 if boot.wide else EXTENDED)


def _bytes(boot: BootSector, field: str) -> bytes:
    value = boot.fields.get(field, b"")
    return value if isinstance(value, bytes) else b""
