"""What a caller asks of an ext4 file system, and what mke2fs would make of it at a given size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from imgwriter.errors import SpecError
from imgwriter.ext4 import features as f
from imgwriter.units import MiB, TiB, counted

BLOCK_SIZES = (1024, 2048, 4096)
FS_TYPES = ("ext4", "ext3", "ext2")
TIME_END = (1 << 31) + 3 * (1 << 32)
"""2446-05-10: the first second that the times of an inode cannot say, though a superblock's could."""
SPARE_INODES_PERCENT = 5
"""Inodes beyond those the tree needs, where mke2fs's ratio gives fewer."""


@dataclass(frozen=True)
class Parameters:
    """What does not depend on the size of the file system.

    Attributes:
        uuid: s_uuid, 16 bytes.
        hash_seed: s_hash_seed, 16 bytes.
        label: s_volume_name, at most 16 bytes.
        time: Seconds since the epoch that imgwriter's own structures carry.
        fs_type: "ext4", "ext3" or "ext2".
        block_size: 1024, 2048 or 4096 bytes.
        inodes: How many inodes at least; None: by inode_ratio.
        inode_ratio: Bytes per inode; None: mke2fs's, which depends on the size.
        features: Changes to the type's features, in mke2fs's -O syntax.
        reserved_percent: Share of the blocks that only root may fill.

    Raises:
        SpecError: A value is out of its range, or features contradict each other.
    """

    uuid: bytes
    hash_seed: bytes
    label: bytes = b""
    time: int = 1
    fs_type: str = "ext4"
    block_size: int = 4096
    inodes: int | None = None
    inode_ratio: int | None = None
    features: str = ""
    reserved_percent: int = 5

    def __post_init__(self) -> None:
        if self.fs_type not in FS_TYPES:
            raise SpecError(
                f"file system type {self.fs_type!r} is not made; use one of {', '.join(FS_TYPES)}"
            )
        if self.block_size not in BLOCK_SIZES:
            raise SpecError(
                f"a block size of {self.block_size} is not possible; use 1024, 2048 or 4096 bytes"
            )
        if len(self.label) > 16:
            raise SpecError(
                f"a label of {len(self.label)} bytes is too long: ext4 has room for 16; shorten it"
            )
        if b"\0" in self.label:
            raise SpecError("a label cannot hold a NUL byte; leave it out")
        if len(self.uuid) != 16 or len(self.hash_seed) != 16:
            uuid, seed = len(self.uuid), len(self.hash_seed)
            raise SpecError(f"uuid and hash seed have {uuid} and {seed} bytes; give 16 of each")
        if not 0 <= self.time < TIME_END:
            raise SpecError(
                f"ext4 cannot say the time {self.time}; give one from 0 to {TIME_END - 1} (the year 2446)"
            )
        if self.inodes is not None and not 1 <= self.inodes < 1 << 32:
            most = (1 << 32) - 1
            raise SpecError(
                f"{counted(self.inodes, 'inode')} cannot be made; give a number from 1 to {most:,}"
            )
        if self.inode_ratio is not None and not 1024 <= self.inode_ratio <= 64 * MiB:
            raise SpecError(
                f"an inode ratio of {self.inode_ratio:,} is not possible; give one from 1,024 to {64 * MiB:,}"
                " bytes per inode"
            )
        f.parse(self.fs_type, self.features)  # refuses here what cannot be

    @cached_property
    def feature_set(self) -> f.Features:
        """The feature flags asked for."""
        return f.parse(self.fs_type, self.features)

    def inode_count(self, blocks: int, needed: int) -> int:
        """Return how many inodes to ask for on ``blocks`` blocks when ``needed`` are used.

        mke2fs's own number by bytes per inode; more when the tree needs more.
        """
        if self.inodes is not None:
            return max(self.inodes, needed)
        size = blocks * self.block_size
        ratio = self.inode_ratio or default_inode_ratio(size)
        count = min(size // max(ratio, self.block_size), 0xFFFFFFFF)
        with_spare = needed * (100 + SPARE_INODES_PERCENT) // 100
        return max(count, with_spare)


def default_inode_ratio(size: int) -> int:
    """Return mke2fs's bytes per inode for a file system of ``size`` bytes.

    Source: Debian 12's /etc/mke2fs.conf (small, floppy, big, huge) and mke2fs 1.47.0's thresholds.
    """
    if size < 3 * MiB:
        return 8192
    if size < 512 * MiB:
        return 4096
    if size < 4 * TiB:
        return 16384
    return 32768 if size < 16 * TiB else 65536


def default_journal_blocks(blocks: int) -> int:
    """Return the journal's length in blocks on a file system of ``blocks`` blocks; 0: no journal.

    Source: measured with mke2fs 1.47.0 at each step's edges.
    """
    if blocks < 2048:
        return 0
    for below, journal in (
        (32 << 10, 1024),
        (256 << 10, 4096),
        (512 << 10, 8192),
        (4 << 20, 16384),
        (8 << 20, 32768),
        (16 << 20, 65536),
        (32 << 20, 131072),
    ):
        if blocks < below:
            return journal
    return 262144


def default_orphan_blocks(blocks: int) -> int:
    """Return the orphan file's length in blocks on a file system of ``blocks`` blocks."""
    if blocks < 128 << 10:
        return 32
    return blocks // 4096 if blocks < 2 << 20 else 512
