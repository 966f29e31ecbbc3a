"""File systems whose first structures can be set to anything: FAT's boot sector, ext4's superblock.

::

    FatVolume    boot  fsinfo  backup_boot       over a volume with one file
    Ext4Volume   superblock  group0              over a file system with one file

Spec: FAT specification, 3 and 5; kernel Documentation/filesystems/ext4/super.rst and group_descr.rst.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from functools import cache
from typing import Self

from pyfatfs.BootSectorHeader import FAT12BootSectorHeader, FAT32BootSectorHeader
from pyfatfs.FSInfo import FSInfo

from imgwriter import ext4, fat
from imgwriter.ext4.checksum import crc32c, fs_seed
from imgwriter.ext4.format import GROUP_DESC_64, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock
from imgwriter.extent import Bytes, Volume
from imgwriter.fat.structures import BACKUP_SECTOR, FSINFO_SECTOR
from imgwriter.fuzz.image import Image, Placed
from imgwriter.fuzz.record import Field, Layout, Record, layout_of, layout_of_format
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.units import KiB, MiB

_SECTOR = 512
_SIGNATURE = {"signature": Field(510, 2, "little")}

BOOT_12 = (
    layout_of_format(FAT12BootSectorHeader.HEADER_LAYOUT, FAT12BootSectorHeader.HEADER_VARS) | _SIGNATURE
)
"""FAT12's and FAT16's boot sector."""
BOOT_32 = (
    layout_of_format(FAT32BootSectorHeader.HEADER_LAYOUT, FAT32BootSectorHeader.HEADER_VARS) | _SIGNATURE
)
FSINFO = layout_of_format(FSInfo.HEADER_LAYOUT, FSInfo.HEADER_VARS)

SUPERBLOCK = layout_of(Superblock)
GROUP = layout_of_format(
    GROUP_DESC_64.format,
    (
        "bg_block_bitmap_lo", "bg_inode_bitmap_lo", "bg_inode_table_lo", "bg_free_blocks_count_lo",
        "bg_free_inodes_count_lo", "bg_used_dirs_count_lo", "bg_flags", "bg_exclude_bitmap_lo",
        "bg_block_bitmap_csum_lo", "bg_inode_bitmap_csum_lo", "bg_itable_unused_lo", "bg_checksum",
        "bg_block_bitmap_hi", "bg_inode_bitmap_hi", "bg_inode_table_hi", "bg_free_blocks_count_hi",
        "bg_free_inodes_count_hi", "bg_used_dirs_count_hi", "bg_itable_unused_hi", "bg_exclude_bitmap_hi",
        "bg_block_bitmap_csum_hi", "bg_inode_bitmap_csum_hi", "bg_reserved",
    ),
)  # fmt: skip
"""The names are those of the kernel's documentation."""

EXAMPLE_UUID = bytes.fromhex("6ba7b8119dad41d180b400c04fd430c8")


@dataclass(frozen=True)
class FatVolume(Image):
    """A FAT volume: its boot sector, and FAT32's FSInfo and second boot sector."""


@dataclass(frozen=True)
class Ext4Volume(Image):
    """An ext4 file system of one group: superblock and group descriptor, each with a checksum."""

    def sealed(self) -> Self:
        """Return it with the checksums of superblock and descriptor right for what they say."""
        record = self["superblock"]
        volume = self.with_record("superblock", s_checksum=crc32c(record.content[:-4]))
        seed = crc32c(bytes(4), fs_seed(record.raw("s_uuid")))
        group = self["group0"].replace(bg_checksum=0)
        return volume.with_record("group0", bg_checksum=crc32c(group.content, seed) & 0xFFFF)


@cache
def fat12_volume() -> FatVolume:
    """Return a FAT12 of 512 KiB with one file."""
    parameters = fat.Parameters(label="FUZZ", volume_id=0x1234_5678, fat_type=12)
    volume = fat.plan(_tree(), parameters, 512 * KiB, "the volume").volume()
    return FatVolume(volume.size, _SECTOR, {"boot": _placed(volume, BOOT_12, 0, _SECTOR)}, volume)


@cache
def fat32_volume() -> FatVolume:
    """Return a FAT32 of 34 MiB with one file."""
    parameters = fat.Parameters(label="FUZZ", volume_id=0x1234_5678, fat_type=32)
    volume = fat.plan(_tree(), parameters, 34 * MiB, "the volume").volume()
    records = {
        "boot": _placed(volume, BOOT_32, 0, _SECTOR),
        "fsinfo": _placed(volume, FSINFO, FSINFO_SECTOR * _SECTOR, _SECTOR),
        "backup_boot": _placed(volume, BOOT_32, BACKUP_SECTOR * _SECTOR, _SECTOR),
    }
    return FatVolume(volume.size, _SECTOR, records, volume)


@cache
def ext4_volume() -> Ext4Volume:
    """Return an ext4 of 8 MiB, in blocks of 4,096 bytes, with one file."""
    parameters = ext4.Parameters(uuid=EXAMPLE_UUID, hash_seed=EXAMPLE_UUID, label=b"fuzz")
    volume = ext4.plan(_tree(), parameters, 8 * MiB).volume()
    records = {
        "superblock": _placed(volume, SUPERBLOCK, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE),
        "group0": _placed(volume, GROUP, parameters.block_size, GROUP_DESC_64.size),
    }
    return Ext4Volume(volume.size, _SECTOR, records, volume)


def _placed(volume: Volume, layout: Layout, offset: int, length: int) -> Placed:
    return Placed(offset, Record(layout, volume.read(offset, length)))


def _tree() -> Inventory:
    content = b"a file to find\n"
    file = Inode(stat.S_IFREG | 0o644, size=len(content), data=Bytes(content))
    root = Inode(stat.S_IFDIR | 0o755)
    root.entries = {b"file": file}
    return Inventory(root)
