"""ext4's on-disk structures: field names of the kernel's documentation, in its order; no logic.

Structures that occur a few times are construct declarations; those that occur once per inode, per
group or per extent are :class:`struct.Struct`, which is a hundred times faster.

The same declarations serve the writer and the reader, which needs a few more: the journal's blocks.

Spec: kernel Documentation/filesystems/ext4: super.rst, group_descr.rst, inodes.rst, ifork.rst, journal.rst.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import construct as c

EXT4_SUPER_MAGIC = 0xEF53
SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_SIZE = 1024

EXT4_BAD_INO = 1
EXT4_ROOT_INO = 2
EXT4_USR_QUOTA_INO = 3
EXT4_GRP_QUOTA_INO = 4
EXT4_BOOT_LOADER_INO = 5
EXT4_RESIZE_INO = 7
EXT4_JOURNAL_INO = 8
EXT4_FIRST_INO = 11
"""The first inode that is not reserved; mke2fs gives it to lost+found."""

EXT4_LINK_MAX = 65000
EXT4_NDIR_BLOCKS = 12
EXT4_N_BLOCKS = 15

EXT4_COMPR_FL = 0x4
EXT4_ENCRYPT_FL = 0x800
EXT4_INDEX_FL = 0x1000
EXT4_IMAGIC_FL = 0x2000
EXT4_HUGE_FILE_FL = 0x40000
EXT4_EXTENTS_FL = 0x80000
EXT4_VERITY_FL = 0x100000
EXT4_EA_INODE_FL = 0x200000
EXT4_INLINE_DATA_FL = 0x10000000
EXT4_CASEFOLD_FL = 0x40000000

EXT4_BG_INODE_UNINIT = 0x1
EXT4_BG_BLOCK_UNINIT = 0x2
EXT4_BG_INODE_ZEROED = 0x4

EXT4_VALID_FS = 0x1
EXT4_ERROR_FS = 0x2
EXT4_ORPHAN_FS = 0x4
EXT4_ERRORS_CONTINUE = 1
EXT4_OS_LINUX = 0
EXT4_GOOD_OLD_REV = 0
EXT4_DYNAMIC_REV = 1
EXT4_GOOD_OLD_INODE_SIZE = 128
"""Bytes of an inode in ext2, and of the part that INODE has before i_extra_isize."""
EXT4_CRC32C_CHKSUM = 1
EXT4_DEFM_XATTR_USER = 0x4
EXT4_DEFM_ACL = 0x8
EXT2_FLAGS_SIGNED_HASH = 0x1
EXT2_FLAGS_UNSIGNED_HASH = 0x2
DX_HASH_LEGACY = 0
DX_HASH_HALF_MD4 = 1
DX_HASH_TEA = 2
DX_HASH_SIPHASH = 6

JBD2_MAGIC_NUMBER = 0xC03B3998
JBD2_DESCRIPTOR_BLOCK = 1
JBD2_COMMIT_BLOCK = 2
JBD2_SUPERBLOCK_V1 = 3
JBD2_SUPERBLOCK_V2 = 4
JBD2_REVOKE_BLOCK = 5
JBD2_FLAG_ESCAPE = 0x1
JBD2_FLAG_SAME_UUID = 0x2
JBD2_FLAG_LAST_TAG = 0x8
JBD2_CRC32_CHKSUM = 1
JBD2_CRC32C_CHKSUM = 4
JBD2_DEFAULT_FAST_COMMIT_BLOCKS = 256

EXT4_FC_TAG_HEAD = 9

EXT4_MMP_MAGIC = 0x004D4D50
EXT4_MMP_CHECKSUM_OFFSET = 1020
"""Of mmp_checksum in struct mmp_struct, which has 1,024 bytes."""

EXT4_ORPHAN_BLOCK_MAGIC = 0x0B10CA04

INODE_SIZE = 256
INODE_EXTRA_ISIZE = 32
"""Bytes that INODE has beyond the 128 of ext2: i_extra_isize to i_projid."""

Superblock = c.Struct(
    "s_inodes_count" / c.Int32ul,
    "s_blocks_count_lo" / c.Int32ul,
    "s_r_blocks_count_lo" / c.Int32ul,
    "s_free_blocks_count_lo" / c.Int32ul,
    "s_free_inodes_count" / c.Int32ul,
    "s_first_data_block" / c.Int32ul,
    "s_log_block_size" / c.Int32ul,
    "s_log_cluster_size" / c.Int32ul,
    "s_blocks_per_group" / c.Int32ul,
    "s_clusters_per_group" / c.Int32ul,
    "s_inodes_per_group" / c.Int32ul,
    "s_mtime" / c.Int32ul,
    "s_wtime" / c.Int32ul,
    "s_mnt_count" / c.Int16ul,
    "s_max_mnt_count" / c.Int16ul,
    "s_magic" / c.Int16ul,
    "s_state" / c.Int16ul,
    "s_errors" / c.Int16ul,
    "s_minor_rev_level" / c.Int16ul,
    "s_lastcheck" / c.Int32ul,
    "s_checkinterval" / c.Int32ul,
    "s_creator_os" / c.Int32ul,
    "s_rev_level" / c.Int32ul,
    "s_def_resuid" / c.Int16ul,
    "s_def_resgid" / c.Int16ul,
    "s_first_ino" / c.Int32ul,
    "s_inode_size" / c.Int16ul,
    "s_block_group_nr" / c.Int16ul,
    "s_feature_compat" / c.Int32ul,
    "s_feature_incompat" / c.Int32ul,
    "s_feature_ro_compat" / c.Int32ul,
    "s_uuid" / c.Bytes(16),
    "s_volume_name" / c.Bytes(16),
    "s_last_mounted" / c.Bytes(64),
    "s_algorithm_usage_bitmap" / c.Int32ul,
    "s_prealloc_blocks" / c.Int8ul,
    "s_prealloc_dir_blocks" / c.Int8ul,
    "s_reserved_gdt_blocks" / c.Int16ul,
    "s_journal_uuid" / c.Bytes(16),
    "s_journal_inum" / c.Int32ul,
    "s_journal_dev" / c.Int32ul,
    "s_last_orphan" / c.Int32ul,
    "s_hash_seed" / c.Bytes(16),
    "s_def_hash_version" / c.Int8ul,
    "s_jnl_backup_type" / c.Int8ul,
    "s_desc_size" / c.Int16ul,
    "s_default_mount_opts" / c.Int32ul,
    "s_first_meta_bg" / c.Int32ul,
    "s_mkfs_time" / c.Int32ul,
    "s_jnl_blocks" / c.Bytes(68),
    "s_blocks_count_hi" / c.Int32ul,
    "s_r_blocks_count_hi" / c.Int32ul,
    "s_free_blocks_count_hi" / c.Int32ul,
    "s_min_extra_isize" / c.Int16ul,
    "s_want_extra_isize" / c.Int16ul,
    "s_flags" / c.Int32ul,
    "s_raid_stride" / c.Int16ul,
    "s_mmp_interval" / c.Int16ul,
    "s_mmp_block" / c.Int64ul,
    "s_raid_stripe_width" / c.Int32ul,
    "s_log_groups_per_flex" / c.Int8ul,
    "s_checksum_type" / c.Int8ul,
    "s_reserved_pad" / c.Int16ul,
    "s_kbytes_written" / c.Int64ul,
    "s_snapshot_inum" / c.Int32ul,
    "s_snapshot_id" / c.Int32ul,
    "s_snapshot_r_blocks_count" / c.Int64ul,
    "s_snapshot_list" / c.Int32ul,
    "s_error_count" / c.Int32ul,
    "s_first_error_time" / c.Int32ul,
    "s_first_error_ino" / c.Int32ul,
    "s_first_error_block" / c.Int64ul,
    "s_first_error_func" / c.Bytes(32),
    "s_first_error_line" / c.Int32ul,
    "s_last_error_time" / c.Int32ul,
    "s_last_error_ino" / c.Int32ul,
    "s_last_error_line" / c.Int32ul,
    "s_last_error_block" / c.Int64ul,
    "s_last_error_func" / c.Bytes(32),
    "s_mount_opts" / c.Bytes(64),
    "s_usr_quota_inum" / c.Int32ul,
    "s_grp_quota_inum" / c.Int32ul,
    "s_overhead_clusters" / c.Int32ul,
    "s_backup_bgs" / c.Int32ul[2],
    "s_encrypt_algos" / c.Bytes(4),
    "s_encrypt_pw_salt" / c.Bytes(16),
    "s_lpf_ino" / c.Int32ul,
    "s_prj_quota_inum" / c.Int32ul,
    "s_checksum_seed" / c.Int32ul,
    "s_wtime_hi" / c.Int8ul,
    "s_mtime_hi" / c.Int8ul,
    "s_mkfs_time_hi" / c.Int8ul,
    "s_lastcheck_hi" / c.Int8ul,
    "s_first_error_time_hi" / c.Int8ul,
    "s_last_error_time_hi" / c.Int8ul,
    "s_first_error_errcode" / c.Int8ul,
    "s_last_error_errcode" / c.Int8ul,
    "s_encoding" / c.Int16ul,
    "s_encoding_flags" / c.Int16ul,
    "s_orphan_file_inum" / c.Int32ul,
    "s_reserved" / c.Bytes(94 * 4),
    "s_checksum" / c.Int32ul,
)

SUPERBLOCK_ZERO: dict[str, object] = dict(Superblock.parse(bytes(SUPERBLOCK_SIZE)))
"""Every field at zero: the encoder names the fields it sets, and why the rest stays."""

JournalSuperblock = c.Struct(
    "h_magic" / c.Int32ub,
    "h_blocktype" / c.Int32ub,
    "h_sequence" / c.Int32ub,
    "s_blocksize" / c.Int32ub,
    "s_maxlen" / c.Int32ub,
    "s_first" / c.Int32ub,
    "s_sequence" / c.Int32ub,
    "s_start" / c.Int32ub,
    "s_errno" / c.Int32ub,
    "s_feature_compat" / c.Int32ub,
    "s_feature_incompat" / c.Int32ub,
    "s_feature_ro_compat" / c.Int32ub,
    "s_uuid" / c.Bytes(16),
    "s_nr_users" / c.Int32ub,
    "s_dynsuper" / c.Default(c.Int32ub, 0),
    "s_max_transaction" / c.Default(c.Int32ub, 0),
    "s_max_trans_data" / c.Default(c.Int32ub, 0),
    "s_checksum_type" / c.Default(c.Int8ub, 0),
    "s_padding2" / c.Padding(3),
    "s_num_fc_blks" / c.Default(c.Int32ub, 0),
    "s_head" / c.Default(c.Int32ub, 0),
    "s_padding" / c.Padding(40 * 4),
    "s_checksum" / c.Default(c.Int32ub, 0),
    "s_users" / c.Padding(16 * 48),
)
"""jbd2's superblock, version 2. Big-endian, unlike all of ext4."""

JOURNAL_SUPERBLOCK_CHECKSUM_OFFSET = 0xFC

JOURNAL_HEADER = struct.Struct(">III")
"""struct journal_header_s: h_magic, h_blocktype, h_sequence."""
JOURNAL_TAG = struct.Struct(">IHHI")
"""struct journal_block_tag_s: t_blocknr, t_checksum, t_flags, t_blocknr_high; the last with 64bit only."""
JOURNAL_TAG3 = struct.Struct(">IIII")
"""struct journal_block_tag3_s: t_blocknr, t_flags, t_blocknr_high, t_checksum."""
JOURNAL_TAG_UUID_SIZE = 16
"""Bytes after a tag that has no JBD2_FLAG_SAME_UUID."""
JOURNAL_TAIL = struct.Struct(">I")
"""struct jbd2_journal_block_tail: t_checksum, at the end of descriptor and revoke blocks."""
JOURNAL_REVOKE_HEADER = struct.Struct(">IIII")
"""struct jbd2_journal_revoke_header_s: JOURNAL_HEADER, then r_count, bytes in use."""
JOURNAL_COMMIT = struct.Struct(">IIIBB2xI28xQI")
"""struct commit_header: JOURNAL_HEADER, then h_chksum_type, h_chksum_size, h_chksum[0], h_commit_sec,
h_commit_nsec."""
JOURNAL_COMMIT_CHECKSUM_OFFSET = 16
FAST_COMMIT_HEAD = struct.Struct("<HHII")
"""struct ext4_fc_tl and struct ext4_fc_head: fc_tag, fc_len, fc_features, fc_tid. Little-endian."""

GROUP_DESC_32 = struct.Struct("<IIIHHHHIHHHH")
"""bg_block_bitmap_lo, bg_inode_bitmap_lo, bg_inode_table_lo, bg_free_blocks_count_lo,
bg_free_inodes_count_lo, bg_used_dirs_count_lo, bg_flags, bg_exclude_bitmap_lo,
bg_block_bitmap_csum_lo, bg_inode_bitmap_csum_lo, bg_itable_unused_lo, bg_checksum."""

GROUP_DESC_64 = struct.Struct("<IIIHHHHIHHHHIIIHHHHIHHI")
"""GROUP_DESC_32, then bg_block_bitmap_hi, bg_inode_bitmap_hi, bg_inode_table_hi,
bg_free_blocks_count_hi, bg_free_inodes_count_hi, bg_used_dirs_count_hi, bg_itable_unused_hi,
bg_exclude_bitmap_hi, bg_block_bitmap_csum_hi, bg_inode_bitmap_csum_hi, bg_reserved."""

GROUP_DESC_CHECKSUM_OFFSET = 30

INODE = struct.Struct("<HHIIIIIHHIII60sIIIIHHHHHHHHIIIIIII")
"""i_mode, i_uid, i_size_lo, i_atime, i_ctime, i_mtime, i_dtime, i_gid, i_links_count, i_blocks_lo,
i_flags, l_i_version, i_block[15], i_generation, i_file_acl_lo, i_size_high, i_obso_faddr,
l_i_blocks_high, l_i_file_acl_high, l_i_uid_high, l_i_gid_high, l_i_checksum_lo, l_i_reserved,
i_extra_isize, i_checksum_hi, i_ctime_extra, i_mtime_extra, i_atime_extra, i_crtime,
i_crtime_extra, i_version_hi, i_projid. The xattr area follows, to INODE_SIZE."""


class InodeFields(NamedTuple):
    """INODE's values by name; i_ and l_i_ are left off."""

    mode: int
    uid: int
    size_lo: int
    atime: int
    ctime: int
    mtime: int
    dtime: int
    gid: int
    links_count: int
    blocks_lo: int
    flags: int
    version: int
    block: bytes
    generation: int
    file_acl_lo: int
    size_high: int
    obso_faddr: int
    blocks_high: int
    file_acl_high: int
    uid_high: int
    gid_high: int
    checksum_lo: int
    reserved: int
    extra_isize: int
    checksum_hi: int
    ctime_extra: int
    mtime_extra: int
    atime_extra: int
    crtime: int
    crtime_extra: int
    version_hi: int
    projid: int


INODE_CHECKSUM_LO_OFFSET = 0x7C
INODE_CHECKSUM_HI_OFFSET = 0x82
INODE_XATTR_OFFSET = 128 + INODE_EXTRA_ISIZE

EXTENT_MAGIC = 0xF30A
EXTENT_HEADER = struct.Struct("<HHHHI")
"""eh_magic, eh_entries, eh_max, eh_depth, eh_generation."""
EXTENT = struct.Struct("<IHHI")
"""ee_block, ee_len, ee_start_hi, ee_start_lo."""
EXTENT_IDX = struct.Struct("<IIHH")
"""ei_block, ei_leaf_lo, ei_leaf_hi, ei_unused."""
EXTENT_TAIL = struct.Struct("<I")
"""et_checksum."""
EXTENT_MAX_LEN = 32768
"""Blocks in an initialized ext4_extent; a larger ee_len means unwritten."""

ORPHAN_TAIL = struct.Struct("<II")
"""ob_magic, ob_checksum."""
