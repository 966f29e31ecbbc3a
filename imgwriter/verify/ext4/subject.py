"""What every check of one file system has at hand: its blocks, what it says of itself, and what was found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from imgwriter.ext4 import features as f
from imgwriter.ext4.device import Device
from imgwriter.ext4.group_layout import Descriptor, inode_table_blocks
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.verify.ext4.cut import Cut
from imgwriter.verify.ext4.usage import Runs, Usage
from imgwriter.verify.remarks import Remarks


@dataclass
class Subject:
    """One file system that is verified.

    Attributes:
        device: Its blocks, what its journal has newer included.
        superblock: What it says of itself; from a backup, where the primary is lost.
        remarks: Where findings and notes go.
        usage: Which blocks are whose.
        groups: The descriptors that are there, by group; a place that cannot be is 0.
        read_blocks: Blocks that were read as part of some structure: each is read once.
        inodes: The inodes in use, by number: mode, and i_links_count above 16 bits.
        orphans: Inodes in use that a mount would remove or cut off.
        names: How many entries of directories lead to each inode.
        cut: What is there, where the end of the file system is missing; None where all of it is there.
        in_use_unclean: It was not unmounted, or its primary superblock is lost: the sums may be old.
    """

    device: Device
    superblock: SuperblockValues
    remarks: Remarks
    usage: Usage
    in_use_unclean: bool = False
    groups: dict[int, Descriptor] = field(default_factory=dict)
    read_blocks: set[int] = field(default_factory=set)
    inodes: dict[int, int] = field(default_factory=dict)
    orphans: set[int] = field(default_factory=set)
    names: Counter[int] = field(default_factory=Counter)
    cut: Cut | None = None

    @property
    def seed(self) -> int | None:
        """The seed of the checksums of all structures; None where they have none."""
        return self.superblock.seed if self.superblock.metadata_csum else None

    @property
    def ratio(self) -> int:
        """Blocks in a cluster."""
        return self.superblock.cluster_size // self.superblock.block_size

    @property
    def lazy(self) -> bool:
        """Whether groups may be left uninitialised: their descriptors have checksums."""
        sb = self.superblock
        return sb.metadata_csum or sb.features.has(f.RoCompat.GDT_CSUM)

    def inode_offset(self, number: int) -> int:
        """Return where an inode is in the Volume; 0 where its group's table is lost."""
        sb = self.superblock
        group, index = divmod(number - 1, sb.inodes_per_group)
        descriptor = self.groups.get(group)
        if descriptor is None or not descriptor.inode_table:
            return 0
        return self.device.block_offset(descriptor.inode_table) + index * sb.inode_size

    def inode_bytes(self, number: int) -> bytes | None:
        """Return the bytes of an inode, used or not; None where there is none, or its place is missing."""
        sb = self.superblock
        if not 1 <= number <= sb.inodes or self.lacks_inode(number):
            return None
        offset = self.inode_offset(number)
        return self.device.read(offset - self.device.offset, sb.inode_size) if offset else None

    def has_block(self, block: int) -> bool:
        """Return whether a block of the file system is there, and not behind the end of a cut off image."""
        return self.cut is None or block < self.cut.here

    def has_runs(self, runs: Runs) -> bool:
        """Return whether all of some blocks are there."""
        return self.cut is None or all(stop <= self.cut.here for _, stop in runs)

    def lacks_inode(self, number: int) -> bool:
        """Return whether an inode could be, and its place in the table is missing with the image's end."""
        sb = self.superblock
        if self.cut is None or not 1 <= number <= sb.inodes:
            return False
        group, index = divmod(number - 1, sb.inodes_per_group)
        descriptor = self.groups.get(group)
        if descriptor is None:
            return True
        return not self.has_block(descriptor.inode_table + index * sb.inode_size // sb.block_size)

    def is_run(self, start: int, length: int) -> bool:
        """Return whether blocks can hold something of a file."""
        return self.superblock.is_block(start) and start + length <= self.superblock.blocks

    def first_read(self, block: int) -> bool:
        """Return whether a block is read for the first time; from then on it is not."""
        if block in self.read_blocks:
            return False
        self.read_blocks.add(block)
        return True

    @property
    def table_blocks(self) -> int:
        """Blocks of a group's inode table."""
        return inode_table_blocks(self.superblock)
