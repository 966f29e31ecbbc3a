"""Deviations of ext4's superblock and group descriptor; checksums are right where they are not what is wrong.

"accept" means that the file system can be opened to be read, checksums and all, and its files listed.

Spec: kernel Documentation/filesystems/ext4/super.rst and group_descr.rst; what is refused is what the kernel
refuses, fs/ext4/super.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.fuzz.catalogue.rows import ImageRow, Row, deviations_of, of_images
from imgwriter.fuzz.deviation import Deviation
from imgwriter.fuzz.file_systems import ext4_volume

SUPER = "ext4/super.rst"
GROUP = "ext4/group_descr.rst"
_KERNEL = f"{SUPER}; the kernel refuses it, for what a reader need not look at"
_READ_ONLY = f"{GROUP}; the kernel warns of it, and reads"
_MOST = 0xFFFF_FFFF


def ext4_deviations() -> Iterator[Deviation]:
    """Yield them: the superblock, the descriptor of group 0, and file systems as a whole."""
    yield from deviations_of("ext4", ["superblock"], ext4_volume, SUPER, _SUPERBLOCK)
    yield from deviations_of("ext4", ["group0"], ext4_volume, GROUP, _GROUP)
    rows: tuple[ImageRow, ...] = (
        ("superblock.lost", "refuse", "the superblock is zeros", lambda v: v.with_bytes(1024, bytes(1024))),
        ("size.zero", "refuse", "there are no bytes", lambda v: v.with_size(0)),
        ("size.within_superblock", "refuse", "the file system ends within its superblock", lambda v: v.with_size(2047)),
        ("size.superblock_alone", "refuse", "the file system ends after its superblock", lambda v: v.with_size(2048)),
        ("size.one_block_less", "refuse", "the last block is missing", lambda v: v.with_size(v.size - 4096)),
    )
    yield from of_images("ext4", ext4_volume, SUPER, rows, sealed=False)


_SUPERBLOCK = (
    Row("s_magic.zero", "refuse", "s_magic is 0", {"s_magic": 0}),
    Row("s_magic.swapped", "refuse", "s_magic is in the other byte order", {"s_magic": 0x53EF}),
    Row("s_inodes_count.zero", "refuse", "s_inodes_count is 0", {"s_inodes_count": 0}),
    Row("s_inodes_count.one_more", "refuse", "s_inodes_count is not that of all groups", {"s_inodes_count": 2049}),
    Row("s_inodes_count.largest", "refuse", "s_inodes_count is 2^32 - 1", {"s_inodes_count": _MOST}),
    Row("s_blocks_count.zero", "refuse", "s_blocks_count is 0", {"s_blocks_count_lo": 0}),
    Row("s_blocks_count.one_more", "refuse", "there is one block less than s_blocks_count", {"s_blocks_count_lo": 2049}),
    Row("s_blocks_count.largest", "refuse", "s_blocks_count is 2^32 - 1", {"s_blocks_count_lo": _MOST}),
    Row("s_blocks_count.high", "refuse", "s_blocks_count_hi is 1", {"s_blocks_count_hi": 1}),
    Row("s_free_blocks_count.largest", "accept", "more blocks are free than there are", {"s_free_blocks_count_lo": _MOST}),
    Row("s_free_inodes_count.largest", "accept", "more inodes are free than there are", {"s_free_inodes_count": _MOST}),
    Row("s_first_data_block.largest", "refuse", "s_first_data_block is 2^32 - 1", {"s_first_data_block": _MOST}),
    Row("s_log_block_size.small", "refuse", "blocks are of 1,024 bytes, with groups for larger ones", {"s_log_block_size": 0, "s_log_cluster_size": 0}),
    Row("s_log_block_size.too_large", "refuse", "blocks are of 128 KiB", {"s_log_block_size": 7, "s_log_cluster_size": 7}),
    Row("s_log_block_size.shift_32", "refuse", "s_log_block_size is 22: the block size is 2^32, 0 in 32 bits", {"s_log_block_size": 22, "s_log_cluster_size": 22}),
    Row("s_log_block_size.largest", "refuse", "s_log_block_size is 2^32 - 1", {"s_log_block_size": _MOST}),
    Row("s_log_cluster_size.differs", "refuse", "clusters are larger than blocks, without bigalloc", {"s_log_cluster_size": 4}),
    Row("s_blocks_per_group.zero", "refuse", "s_blocks_per_group is 0", {"s_blocks_per_group": 0}),
    Row("s_blocks_per_group.one_more", "refuse", "a group has more blocks than its bitmap has bits", {"s_blocks_per_group": 32769}),
    Row("s_blocks_per_group.largest", "refuse", "s_blocks_per_group is 2^32 - 1", {"s_blocks_per_group": _MOST}),
    Row("s_inodes_per_group.zero", "refuse", "s_inodes_per_group is 0", {"s_inodes_per_group": 0}),
    Row("s_inodes_per_group.one_more", "refuse", "a group has more inodes than its bitmap has bits", {"s_inodes_per_group": 32769, "s_inodes_count": 32769}),
    Row("s_inodes_per_group.largest", "refuse", "s_inodes_per_group is 2^32 - 1", {"s_inodes_per_group": _MOST}),
    Row("s_state.zero", "accept", "the file system was not unmounted, says s_state", {"s_state": 0}),
    Row("s_state.errors", "accept", "the file system has errors, says s_state", {"s_state": 3}),
    Row("s_mnt_count.largest", "accept", "s_mnt_count is 65,535", {"s_mnt_count": 0xFFFF}),
    Row("s_errors.unknown", "accept", "s_errors is 9, which is nothing", {"s_errors": 9}),
    Row("s_wtime.largest", "accept", "s_wtime is 2^32 - 1", {"s_wtime": _MOST}),
    Row("s_rev_level.two", None, "s_rev_level is 2", {"s_rev_level": 2}, f"{SUPER}; the kernel reads it, and does not write"),
    Row("s_first_ino.low", "refuse", "s_first_ino is 10, among the reserved ones", {"s_first_ino": 10}),
    Row("s_inode_size.zero", "refuse", "s_inode_size is 0", {"s_inode_size": 0}),
    Row("s_inode_size.half", "refuse", "s_inode_size is 64", {"s_inode_size": 64}),
    Row("s_inode_size.no_power", "refuse", "s_inode_size is 192", {"s_inode_size": 192}),
    Row("s_inode_size.too_large", "refuse", "s_inode_size is more than a block", {"s_inode_size": 8192}),
    Row("s_desc_size.zero", "refuse", "s_desc_size is 0, with 64bit", {"s_desc_size": 0}),
    Row("s_desc_size.narrow", "refuse", "s_desc_size is 32, with 64bit", {"s_desc_size": 32}),
    Row("s_desc_size.no_power", "refuse", "s_desc_size is 96", {"s_desc_size": 96}),
    Row("s_desc_size.too_large", "refuse", "s_desc_size is 2,048", {"s_desc_size": 2048}),
    Row("s_feature_compat.unknown", "accept", "there is an unknown compatible feature", {"s_feature_compat": 0x8000_003C}),
    Row("s_feature_ro_compat.unknown", "accept", "there is an unknown feature that forbids writing", {"s_feature_ro_compat": 0x8000_046B}),
    Row("s_feature_incompat.unknown", "refuse", "there is an unknown incompatible feature", {"s_feature_incompat": 0x8000_02C2}),
    Row("s_feature_incompat.compression", "refuse", "there is compression, which nobody has", {"s_feature_incompat": 0x2C3}),
    Row("s_feature_incompat.journal_dev", "refuse", "this is a journal's device", {"s_feature_incompat": 0x2CA}),
    Row("s_volume_name.full", "accept", "s_volume_name has no terminator", {"s_volume_name": b"x" * 16}),
    Row("s_volume_name.binary", "accept", "s_volume_name is no text", {"s_volume_name": b"\xff\xfe\n\x1b[31m".ljust(16, b"\x80")}),
    Row("s_journal_inum.zero", None, "there is a journal, and it has no inode; it is not needed", {"s_journal_inum": 0}, _KERNEL),
    Row("s_journal_inum.beyond", None, "the journal's inode is none; it is not needed", {"s_journal_inum": _MOST}, _KERNEL),
    Row("s_reserved.ones", "accept", "s_reserved is not zero", {"s_reserved": b"\xff" * 376}),
    Row("s_checksum_type.unknown", "refuse", "s_checksum_type is 2", {"s_checksum_type": 2}),
    Row("s_checksum.zero", "refuse", "s_checksum is 0", {"s_checksum": 0}, sealed=False),
    Row("s_checksum.one_bit", "refuse", "s_checksum has a wrong bit", {"s_checksum": 0x8DB6_BEC3}, sealed=False),
)

_GROUP = (
    Row("bg_inode_table.zero", "refuse", "the inode table is on the superblock", {"bg_inode_table_lo": 0}),
    Row("bg_inode_table.on_descriptor", "refuse", "the inode table is on the descriptors", {"bg_inode_table_lo": 1}),
    Row("bg_inode_table.beyond", "refuse", "the inode table ends beyond the file system", {"bg_inode_table_lo": 2047}),
    Row("bg_inode_table.largest", "refuse", "bg_inode_table_lo is 2^32 - 1", {"bg_inode_table_lo": _MOST}),
    Row("bg_inode_table.high", "refuse", "bg_inode_table_hi is 1", {"bg_inode_table_hi": 1}),
    Row("bg_block_bitmap.zero", None, "the block bitmap is on the superblock", {"bg_block_bitmap_lo": 0}, _KERNEL),
    Row("bg_block_bitmap.beyond", None, "the block bitmap is beyond the file system", {"bg_block_bitmap_lo": 2048}, _KERNEL),
    Row("bg_inode_bitmap.beyond", None, "the inode bitmap is beyond the file system", {"bg_inode_bitmap_lo": 2048}, _KERNEL),
    Row("bg_free_blocks_count.largest", "accept", "more blocks are free than there are", {"bg_free_blocks_count_lo": 0xFFFF}),
    Row("bg_used_dirs_count.largest", "accept", "there are 65,535 directories", {"bg_used_dirs_count_lo": 0xFFFF}),
    Row("bg_flags.unknown", "accept", "bg_flags has bits that nobody knows", {"bg_flags": 0xFFF4}),
    Row("bg_reserved.ones", "accept", "bg_reserved is not zero", {"bg_reserved": _MOST}),
    Row("bg_checksum.zero", None, "bg_checksum is 0", {"bg_checksum": 0}, _READ_ONLY, False),
    Row("bg_checksum.largest", None, "bg_checksum is 65,535", {"bg_checksum": 0xFFFF}, _READ_ONLY, False),
)
