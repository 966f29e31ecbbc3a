"""Deviations of FAT's boot sector and FSInfo. "accept" means that the file system can be opened and listed.

Spec: FAT specification, 3 (boot sector and BPB) and 5 (FSInfo). Linux, where it is named, is fs/fat/inode.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.fuzz.catalogue.rows import Row, deviations_of, of_images
from imgwriter.fuzz.deviation import Deviation
from imgwriter.fuzz.file_systems import fat12_volume, fat32_volume

BOOT = "FAT specification, 3.1"
BOOT_32 = "FAT specification, 3.3"
INFO = "FAT specification, 5"
_LINUX_DIFFERS = "; Linux takes it all the same"


def fat_deviations() -> Iterator[Deviation]:
    """Yield them: a FAT12's boot sector, a FAT32's, FSInfo, and volumes as a whole."""
    yield from deviations_of("fat", ["boot"], fat12_volume, BOOT, _BOOT_12)
    yield from deviations_of("fat", ["boot"], fat32_volume, BOOT_32, _BOOT_32)
    yield from deviations_of("fat", ["fsinfo"], fat32_volume, INFO, _FSINFO)
    yield from of_images(
        "fat",
        fat32_volume,
        BOOT_32,
        (
            (
                "boot.lost",
                "refuse",
                "sector 0 is zeros: its copy is for repair",
                lambda v: v.with_bytes(0, bytes(512)),
            ),
            (
                "backup_boot.lost",
                "accept",
                "the boot sector's copy is zeros",
                lambda v: v.with_bytes(6 * 512, bytes(512)),
            ),
            ("fsinfo.lost", "accept", "FSInfo is zeros", lambda v: v.with_bytes(512, bytes(512))),
            (
                "backup_boot.differs",
                "accept",
                "the boot sector's copy says another size",
                lambda v: v.with_record("backup_boot", BPB_TotSec32=70000),
            ),
        ),
    )
    yield from of_images(
        "fat",
        fat12_volume,
        BOOT,
        (
            ("size.zero", "refuse", "there are no bytes", lambda v: v.with_size(0)),
            ("size.less_than_boot_sector", "refuse", "there are 511 bytes", lambda v: v.with_size(511)),
        ),
    )
    cut_off = ("size.cut_off", None, "the second half is missing", lambda v: v.with_size(v.size // 2))
    yield from of_images("fat", fat12_volume, BOOT + _LINUX_DIFFERS, [cut_off])


_BOOT_12 = (
    Row("BS_jmpBoot.zero", "accept", "BS_jmpBoot is zeros: no driver looks at it", {"BS_jmpBoot": bytes(3)}),
    Row("BS_OEMName.zero", "accept", "BS_OEMName is zeros", {"BS_OEMName": bytes(8)}),
    Row("BPB_BytsPerSec.zero", "refuse", "BPB_BytsPerSec is 0", {"BPB_BytsPerSec": 0}),
    Row("BPB_BytsPerSec.one", "refuse", "BPB_BytsPerSec is 1", {"BPB_BytsPerSec": 1}),
    Row("BPB_BytsPerSec.half", "refuse", "BPB_BytsPerSec is 256", {"BPB_BytsPerSec": 256}),
    Row("BPB_BytsPerSec.one_more", "refuse", "BPB_BytsPerSec is 513", {"BPB_BytsPerSec": 513}),
    Row("BPB_BytsPerSec.too_large", "refuse", "BPB_BytsPerSec is 8,192", {"BPB_BytsPerSec": 8192}),
    Row("BPB_BytsPerSec.largest", "refuse", "BPB_BytsPerSec is 65,535", {"BPB_BytsPerSec": 0xFFFF}),
    Row("BPB_SecPerClus.zero", "refuse", "BPB_SecPerClus is 0", {"BPB_SecPerClus": 0}),
    Row("BPB_SecPerClus.three", "refuse", "BPB_SecPerClus is 3, no power of two", {"BPB_SecPerClus": 3}),
    Row("BPB_SecPerClus.largest", "refuse", "BPB_SecPerClus is 255", {"BPB_SecPerClus": 255}),
    Row("BPB_RsvdSecCnt.zero", "refuse", "BPB_RsvdSecCnt is 0: no boot sector", {"BPB_RsvdSecCnt": 0}),
    Row("BPB_RsvdSecCnt.largest", "refuse", "BPB_RsvdSecCnt is more than there are", {"BPB_RsvdSecCnt": 0xFFFF}),
    Row("BPB_NumFATs.zero", "refuse", "BPB_NumFATs is 0", {"BPB_NumFATs": 0}),
    Row("BPB_RootEntCnt.part", "refuse", "the root ends within a sector", {"BPB_RootEntCnt": 17}),
    Row("BPB_RootEntCnt.too_many", "refuse", "the root is larger than the volume", {"BPB_RootEntCnt": 0xFFF0}),
    Row("BPB_TotSec16.none", "refuse", "BPB_TotSec16 and BPB_TotSec32 are 0", {"BPB_TotSec16": 0}),
    Row("BPB_TotSec16.one", "refuse", "BPB_TotSec16 is 1", {"BPB_TotSec16": 1}),
    Row("BPB_TotSec16.no_data", "refuse", "no sector is left for a cluster", {"BPB_TotSec16": 39}),
    Row("BPB_TotSec16.wide", "accept", "BPB_TotSec32 has the size of a small volume", {"BPB_TotSec16": 0, "BPB_TotSec32": 1024}),
    Row("BPB_TotSec16.both", "accept", "both fields have the size", {"BPB_TotSec32": 1024}, f"{BOOT}: one must be 0"),
    Row("BPB_TotSec16.beyond", None, "the volume has one sector more than there are", {"BPB_TotSec16": 1025}, BOOT + _LINUX_DIFFERS),
    Row("BPB_Media.zero", "refuse", "BPB_Media is 0", {"BPB_Media": 0}),
    Row("BPB_Media.below", "refuse", "BPB_Media is 0xF7", {"BPB_Media": 0xF7}),
    Row("BPB_Media.removable", "accept", "BPB_Media is 0xF0, and FAT[0] says 0xF8", {"BPB_Media": 0xF0}),
    Row("BPB_FATSz16.zero", "refuse", "BPB_FATSz16 is 0: FAT32's fields, which are none here", {"BPB_FATSz16": 0}),
    Row("BPB_FATSz16.largest", "refuse", "the FATs are larger than the volume", {"BPB_FATSz16": 0xFFFF}),
    Row("BPB_SecPerTrk.zero", "accept", "BPB_SecPerTrk is 0", {"BPB_SecPerTrk": 0}),
    Row("BPB_NumHeads.zero", "accept", "BPB_NumHeads is 0", {"BPB_NumHeads": 0}),
    Row("BPB_HiddSec.largest", "accept", "BPB_HiddSec is 2^32 - 1", {"BPB_HiddSec": 0xFFFF_FFFF}),
    Row("BS_Reserved1.dirty", "accept", "the volume was not unmounted", {"BS_Reserved1": 1}),
    Row("BS_BootSig.zero", "accept", "there are no volume ID, label and type", {"BS_BootSig": 0}),
    Row("BS_VolLab.binary", "accept", "BS_VolLab is no text", {"BS_VolLab": bytes(range(1, 12))}),
    Row("BS_FilSysType.other", "accept", 'BS_FilSysType is "FAT32", which decides nothing', {"BS_FilSysType": b"FAT32   "}),
    Row("signature.zero", None, "the sector does not end in 55 AA", {"signature": 0}, BOOT + _LINUX_DIFFERS),
)

_BOOT_32 = (
    Row("BPB_FATSz32.zero", "refuse", "BPB_FATSz32 is 0", {"BPB_FATSz32": 0}),
    Row("BPB_FATSz32.largest", "refuse", "BPB_FATSz32 is 2^32 - 1", {"BPB_FATSz32": 0xFFFF_FFFF}),
    Row("BPB_TotSec32.largest", None, "BPB_TotSec32 is 2^32 - 1", {"BPB_TotSec32": 0xFFFF_FFFF}, BOOT + _LINUX_DIFFERS),
    Row("BPB_ExtFlags.second_fat", "accept", "the second FAT alone counts; it is as the first", {"BPB_ExtFlags": 0x81}),
    Row("BPB_ExtFlags.no_fat", None, "the FAT that counts is the 16th of two", {"BPB_ExtFlags": 0x8F}, BOOT_32 + _LINUX_DIFFERS),
    Row("BPB_FSVer.newer", None, "BPB_FSVer is 0.1", {"BPB_FSVer": 1}, BOOT_32 + _LINUX_DIFFERS),
    Row("BPB_RootClus.zero", "refuse", "BPB_RootClus is 0", {"BPB_RootClus": 0}),
    Row("BPB_RootClus.one", "refuse", "BPB_RootClus is 1", {"BPB_RootClus": 1}),
    Row("BPB_RootClus.beyond", "refuse", "BPB_RootClus is above the last cluster", {"BPB_RootClus": 0x11000}),
    Row("BPB_RootClus.largest", "refuse", "BPB_RootClus is 2^32 - 1", {"BPB_RootClus": 0xFFFF_FFFF}),
    Row("BPB_FSInfo.zero", "accept", "BPB_FSInfo is 0, the boot sector itself", {"BPB_FSInfo": 0}),
    Row("BPB_FSInfo.largest", "accept", "BPB_FSInfo is 65,535: there is none", {"BPB_FSInfo": 0xFFFF}),
    Row("BPB_FSInfo.in_fat", "accept", "BPB_FSInfo is a sector of the FAT", {"BPB_FSInfo": 40}),
    Row("BPB_BkBootSec.zero", "accept", "BPB_BkBootSec is 0: there is no copy", {"BPB_BkBootSec": 0}),
    Row("BPB_BkBootSec.beyond", "accept", "BPB_BkBootSec is outside the reserved sectors", {"BPB_BkBootSec": 0xFFF0}),
    Row("BPB_Reserved.ones", "accept", "BPB_Reserved is not zero", {"BPB_Reserved": b"\xff" * 12}),
)

_FSINFO = (
    *(
        Row(f"{name}.zero", "accept", f"{name} is 0: FSInfo is none, and is a hint anyway", {name: 0})
        for name in ("FSI_LeasSig", "FSI_StrucSig", "FSI_TrailSig")
    ),
    Row("FSI_Free_Count.zero", "accept", "no cluster is said to be free", {"FSI_Free_Count": 0}),
    Row("FSI_Free_Count.more", "accept", "more clusters are said to be free than there are", {"FSI_Free_Count": 0x7FFF_FFFF}),
    Row("FSI_Free_Count.unknown", "accept", "the free clusters are said to be unknown", {"FSI_Free_Count": 0xFFFF_FFFF}),
    Row("FSI_Nxt_Free.zero", "accept", "the next free cluster is said to be 0", {"FSI_Nxt_Free": 0}),
    Row("FSI_Nxt_Free.used", "accept", "the next free cluster is the root's", {"FSI_Nxt_Free": 2}),
    Row("FSI_Nxt_Free.beyond", "accept", "the next free cluster is above the last", {"FSI_Nxt_Free": 0x7FFF_FFFF}),
)
