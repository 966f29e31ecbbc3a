"""The superblock and its backups.

Spec: kernel Documentation/filesystems/ext4/super.rst; values that the specification leaves open are
mke2fs 1.47.0's.
"""

from __future__ import annotations

from imgwriter.ext4 import features as f
from imgwriter.ext4.allocation import Allocation
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.demand import Demand
from imgwriter.ext4.format import (
    DX_HASH_HALF_MD4,
    EXT2_FLAGS_SIGNED_HASH,
    EXT4_CRC32C_CHKSUM,
    EXT4_DEFM_ACL,
    EXT4_DEFM_XATTR_USER,
    EXT4_DYNAMIC_REV,
    EXT4_ERRORS_CONTINUE,
    EXT4_FIRST_INO,
    EXT4_JOURNAL_INO,
    EXT4_OS_LINUX,
    EXT4_SUPER_MAGIC,
    EXT4_VALID_FS,
    INODE_EXTRA_ISIZE,
    INODE_SIZE,
    SUPERBLOCK_ZERO,
    Superblock,
)
from imgwriter.ext4.geometry import LOG_GROUPS_PER_FLEX, Geometry
from imgwriter.ext4.groups import Groups
from imgwriter.ext4.inodes import SpecialInode

_NEVER = 0xFFFF
"""s_max_mnt_count -1: no check after so many mounts, as `tune2fs -c 0`."""
_JOURNAL_BACKUP_BLOCKS = 1
"""s_jnl_backup_type: s_jnl_blocks holds the journal inode's i_block and size."""


class SuperblockEncoder:
    """Encodes the primary superblock and every backup of one file system."""

    def __init__(
        self,
        demand: Demand,
        geometry: Geometry,
        allocation: Allocation,
        groups: Groups,
        journal: SpecialInode | None,
        fs_seed: int | None,
    ) -> None:
        self.csum = fs_seed is not None
        self.fields = SUPERBLOCK_ZERO | _sizes(geometry, groups)
        self.fields |= _identity(demand, geometry)
        self.fields |= _structures(demand, geometry, allocation, journal, fs_seed)

    def encode(self, group: int) -> bytes:
        """Return the 1,024 bytes of the superblock in ``group``.

        A backup says its group and is not marked clean, as mke2fs writes it: a file system that is
        recovered from a backup is checked.

        Left at zero: s_mtime, s_mnt_count, s_last_mounted (never mounted), s_checkinterval (no
        check after some time), s_kbytes_written (a statistic of the kernel), s_raid_*, s_mmp_*,
        quota, snapshot, encryption, encoding (features that are not written), s_error_*,
        s_lpf_ino (lost+found is found by its name).
        """
        fields = self.fields | {"s_block_group_nr": min(group, 0xFFFF)}
        if group:
            fields["s_state"] = 0
        content = bytes(Superblock.build(fields))
        if self.csum:
            content = content[:-4] + crc32c(content[:-4]).to_bytes(4, "little")
        return content


def _sizes(geometry: Geometry, groups: Groups) -> dict[str, object]:
    reserved = geometry.reserved_blocks
    log_block_size = geometry.block_size.bit_length() - 11
    return {
        "s_inodes_count": geometry.inodes,
        "s_blocks_count_lo": geometry.blocks & 0xFFFFFFFF,
        "s_blocks_count_hi": geometry.blocks >> 32,
        "s_r_blocks_count_lo": reserved & 0xFFFFFFFF,
        "s_r_blocks_count_hi": reserved >> 32,
        "s_free_blocks_count_lo": groups.free_blocks & 0xFFFFFFFF,
        "s_free_blocks_count_hi": groups.free_blocks >> 32,
        "s_free_inodes_count": groups.free_inodes,
        "s_first_data_block": geometry.first_data_block,
        "s_log_block_size": log_block_size,
        "s_log_cluster_size": log_block_size,
        "s_blocks_per_group": geometry.blocks_per_group,
        "s_clusters_per_group": geometry.blocks_per_group,
        "s_inodes_per_group": geometry.inodes_per_group,
        "s_reserved_gdt_blocks": geometry.reserved_gdt_blocks,
        "s_desc_size": geometry.desc_size if geometry.features.has(f.Incompat.BIT64) else 0,
        "s_log_groups_per_flex": LOG_GROUPS_PER_FLEX if geometry.flex_groups > 1 else 0,
    }


def _identity(demand: Demand, geometry: Geometry) -> dict[str, object]:
    parameters = demand.parameters
    low, high = parameters.time & 0xFFFFFFFF, parameters.time >> 32
    return {
        # resize2fs asks for a check first when s_mtime is after s_lastcheck: never mounted is not.
        "s_wtime": low,
        "s_wtime_hi": high,
        "s_lastcheck": low,
        "s_lastcheck_hi": high,
        "s_mkfs_time": low,
        "s_mkfs_time_hi": high,
        "s_max_mnt_count": _NEVER,
        "s_magic": EXT4_SUPER_MAGIC,
        "s_state": EXT4_VALID_FS,
        "s_errors": EXT4_ERRORS_CONTINUE,
        "s_creator_os": EXT4_OS_LINUX,
        "s_rev_level": EXT4_DYNAMIC_REV,
        "s_uuid": parameters.uuid,
        "s_volume_name": parameters.label.ljust(16, b"\0"),
        "s_feature_compat": int(geometry.features.compat),
        "s_feature_incompat": int(geometry.features.incompat),
        "s_feature_ro_compat": int(geometry.features.ro_compat),
        "s_default_mount_opts": EXT4_DEFM_XATTR_USER | EXT4_DEFM_ACL,
        # Pinned, though it is a property of the architecture that made the image: names with bytes of
        # 128 and more must hash to the same everywhere.
        "s_flags": EXT2_FLAGS_SIGNED_HASH,
        "s_def_hash_version": DX_HASH_HALF_MD4,
        "s_hash_seed": parameters.hash_seed,
    }


def _structures(
    demand: Demand,
    geometry: Geometry,
    allocation: Allocation,
    journal: SpecialInode | None,
    fs_seed: int | None,
) -> dict[str, object]:
    features = geometry.features
    fields: dict[str, object] = {
        "s_first_ino": EXT4_FIRST_INO,
        "s_inode_size": INODE_SIZE,
        "s_min_extra_isize": INODE_EXTRA_ISIZE,
        "s_want_extra_isize": INODE_EXTRA_ISIZE,
        "s_overhead_clusters": _overhead(geometry, allocation),
    }
    if features.has(f.RoCompat.METADATA_CSUM):
        fields["s_checksum_type"] = EXT4_CRC32C_CHKSUM
    if features.has(f.Incompat.CSUM_SEED) and fs_seed is not None:
        fields["s_checksum_seed"] = fs_seed
    if allocation.orphan is not None:
        fields["s_orphan_file_inum"] = demand.last_inode
    if journal is not None:
        size = journal.size
        sizes = (size >> 32).to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
        fields["s_journal_inum"] = EXT4_JOURNAL_INO
        fields["s_jnl_backup_type"] = _JOURNAL_BACKUP_BLOCKS
        fields["s_jnl_blocks"] = journal.i_block.ljust(60, b"\0") + sizes
    return fields


def _overhead(geometry: Geometry, allocation: Allocation) -> int:
    """Return the blocks that are never a file's: backups, tables, the journal's data."""
    supers = geometry.super_blocks * (1 + len(geometry.backup_groups))
    tables = sum(end - start for start, end in geometry.tables.ranges)
    journal = sum(p.length for p in allocation.journal.pieces) if allocation.journal else 0
    return geometry.first_data_block + supers + tables + journal
