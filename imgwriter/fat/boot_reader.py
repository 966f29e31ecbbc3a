"""The boot sector and FSInfo of a FAT volume, and the areas that follow from them.

What Linux's driver refuses is refused: a volume is read only where its areas are certain.

Spec: FAT specification, 3 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from imgwriter.errors import FormatError
from imgwriter.fat.geometry import FAT12, FAT16, FIRST_CLUSTER
from imgwriter.fat.structures import ENTRY_SIZE, boot_code, boot_offsets, parse_boot_sector, parse_fsinfo
from imgwriter.window import Window

SECTOR_SIZES = (512, 1024, 2048, 4096)
BOOT_SIZE = 512

_HAS_ID = (0x28, 0x29)
_HAS_LABEL = 0x29
_NOT_MIRRORED = 0x80
_NO_SECTOR = 0xFFFF
_REMEDY = "it is no FAT file system, or is damaged"
_FSI_SIGNATURES = {"FSI_LeasSig": 0x41615252, "FSI_StrucSig": 0x61417272, "FSI_TrailSig": 0xAA550000}


class BootSector(NamedTuple):
    """A boot sector as it stands.

    Attributes:
        fields: By the specification's names, such as "BPB_BytsPerSec"; bytes where the field is text.
        code: The boot code, to the signature.
        signed: Whether the sector ends in 55 AA at 510; Linux does not ask.
    """

    fields: Mapping[str, int | bytes]
    code: bytes
    signed: bool

    def number(self, name: str) -> int:
        """Return a field that is a number; 0 where this type's boot sector has no such field."""
        value = self.fields.get(name, 0)
        return value if isinstance(value, int) else 0

    @property
    def wide(self) -> bool:
        """Whether it is FAT32's."""
        return "BPB_FATSz32" in self.fields

    @property
    def volume_id(self) -> int | None:
        """The serial number, None where there is none."""
        return self.number("BS_VolID") if self.number("BS_BootSig") in _HAS_ID else None

    @property
    def label(self) -> bytes | None:
        """The 11 bytes of the label here, None where there is no such field; the root's is what counts."""
        value = self.fields.get("BS_VolLab")
        return value if isinstance(value, bytes) and self.number("BS_BootSig") == _HAS_LABEL else None


class Layout(NamedTuple):
    """Where the areas of a volume are, in bytes from its start.

    Attributes:
        bits: 12, 16 or 32: FAT32 where BPB_FATSz16 is zero, as in Linux, else by the count of clusters.
        sector_size, cluster_size: Bytes.
        clusters: How many there are; the first has the number 2.
        fat_start, fat_size, fats: The first FAT, the bytes of each, and how many there are.
        active_fat: The FAT that counts, from 0: the first unless BPB_ExtFlags says otherwise.
        root_start, root_size: The fixed root directory; size 0 on FAT32.
        root_cluster: FAT32's root directory, else 0.
        data_start: Cluster 2.
        size: Of the volume.
    """

    bits: int
    sector_size: int
    cluster_size: int
    clusters: int
    fat_start: int
    fat_size: int
    fats: int
    active_fat: int
    root_start: int
    root_size: int
    root_cluster: int
    data_start: int
    size: int

    @property
    def bits_by_count(self) -> int:
        """The type by the count of clusters alone: Microsoft's rule, UEFI's and mtools'."""
        if self.clusters <= FAT12.maximum_clusters:
            return 12
        return 16 if self.clusters <= FAT16.maximum_clusters else 32

    def cluster_offset(self, cluster: int) -> int:
        """Return where a cluster begins."""
        return self.data_start + (cluster - FIRST_CLUSTER) * self.cluster_size


class FsInfo(NamedTuple):
    """FAT32's FSInfo sector as it stands.

    Attributes:
        fields: By the specification's names, such as "FSI_Free_Count".
        offset: Where it is, from the start of the volume.
    """

    fields: Mapping[str, int]
    offset: int

    @property
    def valid(self) -> bool:
        """Whether all three signatures are there."""
        return all(self.fields[name] == value for name, value in _FSI_SIGNATURES.items())


def read_boot_sector(window: Window, offset: int = 0) -> BootSector:
    """Return the boot sector at ``offset`` of a volume: 0, or that of the backup.

    Raises:
        FormatError: The volume is too small for one.
    """
    sector = window.read(offset, BOOT_SIZE, "FAT boot sector")
    fields = parse_boot_sector(sector)
    return BootSector(fields, boot_code(sector, "BPB_FATSz32" in fields), sector[510:512] == b"\x55\xaa")


def looks_like_fat(window: Window) -> bool:
    """Return whether a volume has a boot sector from which its areas follow."""
    try:
        layout_of(read_boot_sector(window), window)
    except FormatError:
        return False
    return True


def layout_of(boot: BootSector, window: Window) -> Layout:
    """Return where the areas are.

    Raises:
        FormatError: A field is not as it has to be, or the areas do not fit into the volume.
    """
    check = _Check(boot, window)
    sector_size = check.among("BPB_BytsPerSec", SECTOR_SIZES)
    cluster_sectors = check.among("BPB_SecPerClus", (1, 2, 4, 8, 16, 32, 64, 128))
    reserved = check.positive("BPB_RsvdSecCnt")
    fats = check.positive("BPB_NumFATs")
    check.media()
    fat_sectors = check.positive("BPB_FATSz32" if boot.wide else "BPB_FATSz16")
    root_size = boot.number("BPB_RootEntCnt") * ENTRY_SIZE
    if root_size % sector_size:
        raise check.refusal("BPB_RootEntCnt", f"a multiple of {sector_size // ENTRY_SIZE:,}")
    total_field = "BPB_TotSec16" if boot.number("BPB_TotSec16") else "BPB_TotSec32"
    total = boot.number(total_field)
    if total * sector_size > window.size:
        raise check.refusal(
            total_field, f"at most {window.size // sector_size:,}, the sectors that there are"
        )
    fat_start, fat_size = reserved * sector_size, fat_sectors * sector_size
    root_start = fat_start + fats * fat_size
    data_start = root_start + root_size
    cluster_size = cluster_sectors * sector_size
    counted = (total * sector_size - data_start) // cluster_size
    if counted < 1:
        raise check.refusal(
            total_field, f"more than the {data_start // sector_size:,} before the first cluster"
        )
    bits = 32 if boot.wide else 12 if counted <= FAT12.maximum_clusters else 16
    # A FAT that is too short has no entries for the last clusters: like Linux, do without those.
    clusters = min(counted, fat_size * 8 // bits - FIRST_CLUSTER)
    greatest = 0x0FFF_FFF5 if boot.wide else FAT16.maximum_clusters
    if not 1 <= clusters <= greatest:
        raise check.refusal(total_field, f"a number that gives 1 to {greatest:,} clusters, not {clusters:,}")
    return Layout(
        bits,
        sector_size,
        cluster_size,
        clusters,
        fat_start,
        fat_size,
        fats,
        check.active_fat(fats),
        root_start,
        root_size,
        boot.number("BPB_RootClus"),
        data_start,
        total * sector_size,
    )


def read_fsinfo(boot: BootSector, layout: Layout, window: Window) -> FsInfo | None:
    """Return FAT32's FSInfo; None on other types, and where no reserved sector is named as it."""
    number = boot.number("BPB_FSInfo")
    if not boot.wide or number == 0 or number == _NO_SECTOR:
        return None
    offset = number * layout.sector_size
    if offset + BOOT_SIZE > layout.fat_start:
        return None
    return FsInfo(parse_fsinfo(window.read(offset, BOOT_SIZE, "FSInfo")), offset)


class _Check:
    """Fields of a boot sector that have to be something."""

    def __init__(self, boot: BootSector, window: Window) -> None:
        self.boot = boot
        self.window = window

    def among(self, name: str, allowed: tuple[int, ...]) -> int:
        value = self.boot.number(name)
        if value not in allowed:
            raise self.refusal(name, f"one of {', '.join(map(str, allowed))}")
        return value

    def positive(self, name: str) -> int:
        value = self.boot.number(name)
        if not value:
            raise self.refusal(name, "1 or more")
        return value

    def media(self) -> None:
        value = self.boot.number("BPB_Media")
        if value != 0xF0 and value < 0xF8:
            raise self.refusal("BPB_Media", "240, or 248 to 255")

    def active_fat(self, fats: int) -> int:
        """Return the number of the FAT that counts. Spec: FAT specification, 3.3, BPB_ExtFlags."""
        flags = self.boot.number("BPB_ExtFlags")
        active = flags & 15 if flags & _NOT_MIRRORED else 0
        if active >= fats:
            raise self.refusal("BPB_ExtFlags", f"an active FAT of 0 to {fats - 1}")
        return active

    def refusal(self, name: str, expected: str) -> FormatError:
        value = self.boot.number(name)
        return FormatError(
            f"the FAT boot sector has {name} {value:,}, not {expected}; {_REMEDY}",
            name,
            self.window.offset + boot_offsets(self.boot.wide)[name],
        )
