"""The superblock of a file system that is read: what it says, checked as far as a reader relies on it.

Spec: kernel Documentation/filesystems/ext4/super.rst; the checks are those of fs/ext4/super.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from imgwriter.errors import FormatError
from imgwriter.ext4 import features as f
from imgwriter.ext4.checksum import crc32c, fs_seed
from imgwriter.ext4.device import Device, damaged
from imgwriter.ext4.format import (
    EXT4_CRC32C_CHKSUM,
    EXT4_DYNAMIC_REV,
    EXT4_FIRST_INO,
    EXT4_GOOD_OLD_INODE_SIZE,
    EXT4_GOOD_OLD_REV,
    EXT4_SUPER_MAGIC,
    GROUP_DESC_32,
    GROUP_DESC_64,
    SUPERBLOCK_OFFSET,
    SUPERBLOCK_SIZE,
    Superblock,
)
from imgwriter.ext4.params import BLOCK_SIZES
from imgwriter.units import div_ceil

_WHERE = "ext4 superblock"
_LARGEST_CLUSTER = 1 << 29
_LARGEST_DESCRIPTOR = 1024


@dataclass(frozen=True)
class SuperblockValues:
    """What the superblock says of the file system; sizes in bytes where nothing else is said.

    Attributes:
        block_size: 1024, 2048 or 4096.
        cluster_size: What is allocated at once: a block, or more with bigalloc.
        blocks: Blocks of the file system.
        first_data_block: The first block of group 0.
        blocks_per_group, inodes_per_group: As said.
        groups: Block groups.
        inodes: Inodes, used or not.
        inode_size: Bytes of an inode on disk.
        first_inode: The first number that is not reserved.
        desc_size: Bytes of a group descriptor.
        features: The feature flags, all of them known.
        uuid: 16 bytes.
        label: The volume's name, without padding.
        seed: The checksum seed of all metadata, with metadata_csum or metadata_csum_seed; None without.
        fields: Every field by its name in the specification: int or bytes.
    """

    block_size: int
    cluster_size: int
    blocks: int
    first_data_block: int
    blocks_per_group: int
    inodes_per_group: int
    groups: int
    inodes: int
    inode_size: int
    first_inode: int
    desc_size: int
    features: f.Features
    uuid: bytes
    label: bytes
    seed: int | None
    fields: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Bytes of the file system."""
        return self.blocks * self.block_size

    @cached_property
    def metadata_csum(self) -> bool:
        """Whether every structure has a checksum."""
        return self.features.has(f.RoCompat.METADATA_CSUM)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, as dumpe2fs calls and orders them."""
        return f.names_of(self.features)

    def is_block(self, number: int) -> bool:
        """Return whether a block can hold something of a file: it is in a group."""
        return self.first_data_block < number < self.blocks


def read_superblock(device: Device, verify: bool) -> SuperblockValues:
    """Read and check the primary superblock.

    Args:
        device: The file system.
        verify: Check its checksum too.

    Raises:
        FormatError: There is none, it is damaged, or it has a feature that is not read.
    """
    at = device.offset + SUPERBLOCK_OFFSET
    if device.size < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE:
        message = f"{device.size:,} bytes have no room for an ext4 superblock at {SUPERBLOCK_OFFSET:,};"
        raise FormatError(f"{message} name the place where the file system begins", _WHERE, at)
    content = device.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
    return superblock_values(content, device.offset, SUPERBLOCK_OFFSET, device.size, verify)


def superblock_values(
    content: bytes, offset: int, place: int, available: int, verify: bool, *, any_features: bool = False
) -> SuperblockValues:
    """Check a superblock, the primary or a backup, and return what it says.

    Args:
        content: Its 1,024 bytes.
        offset: Where the file system begins, in the Volume.
        place: Where the superblock is, from there.
        available: Bytes that the file system may have.
        verify: Check its checksum too.
        any_features: Take it also with features that are not read, for who does not look at what they change.

    Raises:
        FormatError: It is none, it is damaged, or it has a feature that is not read.
    """
    at = offset + place
    raw = parse_superblock(content)
    if raw["s_magic"] != EXT4_SUPER_MAGIC:
        message = f"no ext2, ext3 or ext4 begins at {offset:,}: s_magic is {raw['s_magic']:#06x}, not"
        message += f" {EXT4_SUPER_MAGIC:#06x}; name the place where the file system begins"
        raise FormatError(message, f"{_WHERE}, s_magic", at)
    if raw["s_rev_level"] not in (EXT4_GOOD_OLD_REV, EXT4_DYNAMIC_REV):
        message = (
            f"s_rev_level is {raw['s_rev_level']}; only 0 and 1 are read: copy its files where it is mounted"
        )
        raise FormatError(message, f"{_WHERE}, s_rev_level", at)
    features = features_of(raw)
    if not any_features and (refused := f.refusals(features)):
        message = (
            f"the file system has features that are not read: {', '.join(refused)}; make an image without"
        )
        raise FormatError(message, f"{_WHERE}, feature {refused[0].partition(' ')[0]}", at)
    if verify and features.has(f.RoCompat.METADATA_CSUM):
        _verify(raw, content, at)
    return _values(raw, features, available, at)


def parse_superblock(content: bytes) -> Mapping[str, Any]:
    """Return every field of a superblock by its name in the specification, unchecked."""
    return {name: value for name, value in Superblock.parse(content).items() if not name.startswith("_")}


def features_of(raw: Mapping[str, Any]) -> f.Features:
    """Return the feature words of a superblock; revision 0 has none, whatever stands there."""
    if raw["s_rev_level"] == EXT4_GOOD_OLD_REV:
        return f.Features(f.Compat(0), f.Incompat(0), f.RoCompat(0))
    return f.Features(
        f.Compat(raw["s_feature_compat"]),
        f.Incompat(raw["s_feature_incompat"]),
        f.RoCompat(raw["s_feature_ro_compat"]),
    )


def superblock_checksum(content: bytes) -> int:
    """Return the s_checksum that a superblock's bytes give."""
    return crc32c(content[:-4])


def _verify(raw: Mapping[str, Any], content: bytes, at: int) -> None:
    if raw["s_checksum_type"] != EXT4_CRC32C_CHKSUM:
        message = f"s_checksum_type is {raw['s_checksum_type']}, not {EXT4_CRC32C_CHKSUM} (crc32c)"
        raise damaged(message, f"{_WHERE}, s_checksum_type", at)
    found = superblock_checksum(content)
    if raw["s_checksum"] != found:
        message = f"s_checksum is {raw['s_checksum']:#010x}, its bytes give {found:#010x}"
        raise damaged(message, f"{_WHERE}, s_checksum", at)


def _values(raw: Mapping[str, Any], features: f.Features, size: int, at: int) -> SuperblockValues:
    block_size = _block_size(raw, at)
    cluster_size = _cluster_size(raw, features, block_size, at)
    inode_size, first_inode = _inode_size(raw, block_size, at)
    wide = features.has(f.Incompat.BIT64)
    blocks = raw["s_blocks_count_lo"] | (raw["s_blocks_count_hi"] << 32 if wide else 0)
    first, per_group, inodes = raw["s_first_data_block"], raw["s_blocks_per_group"], raw["s_inodes_per_group"]
    _within(at, "s_first_data_block", first, 0, 1)
    if blocks > size // block_size:
        message = (
            f"s_blocks_count is {blocks:,}, and {size // block_size:,} blocks of {block_size:,} bytes are"
        )
        message += " there; get the whole of the image, or make its partition as large"
        raise FormatError(message, f"{_WHERE}, s_blocks_count", at)
    _within(at, "s_blocks_count", blocks, first + 1, size // block_size)
    _within(at, "s_blocks_per_group", per_group, 1, 8 * block_size * (cluster_size // block_size))
    _within(at, "s_inodes_per_group", inodes, 1, 8 * block_size)
    groups = div_ceil(blocks - first, per_group)
    _within(at, "s_inodes_count", raw["s_inodes_count"], inodes * groups, inodes * groups)
    desc_size = GROUP_DESC_32.size
    if wide:
        desc_size = raw["s_desc_size"]
        _within(at, "s_desc_size", desc_size, GROUP_DESC_64.size, _LARGEST_DESCRIPTOR, power=True)
    seed = None
    if features.has(f.Incompat.CSUM_SEED):
        seed = raw["s_checksum_seed"]
    elif features.has(f.RoCompat.METADATA_CSUM):
        seed = fs_seed(raw["s_uuid"])
    return SuperblockValues(
        block_size=block_size,
        cluster_size=cluster_size,
        blocks=blocks,
        first_data_block=first,
        blocks_per_group=per_group,
        inodes_per_group=inodes,
        groups=groups,
        inodes=raw["s_inodes_count"],
        inode_size=inode_size,
        first_inode=first_inode,
        desc_size=desc_size,
        features=features,
        uuid=raw["s_uuid"],
        label=raw["s_volume_name"].partition(b"\0")[0],
        seed=seed,
        fields=raw,
    )


def _block_size(raw: Mapping[str, Any], at: int) -> int:
    log = raw["s_log_block_size"]
    if log >= len(BLOCK_SIZES):
        size = f"{1024 << log:,} bytes" if log <= 6 else f"2^{log + 10} bytes"
        message = f"s_log_block_size is {log}: blocks of {size}; blocks of 1,024, 2,048 and 4,096 are read:"
        raise FormatError(f"{message} make an image with one of these", f"{_WHERE}, s_log_block_size", at)
    return BLOCK_SIZES[log]


def _cluster_size(raw: Mapping[str, Any], features: f.Features, block_size: int, at: int) -> int:
    log = raw["s_log_cluster_size"]
    if not features.has(f.RoCompat.BIGALLOC):
        if log != raw["s_log_block_size"]:
            message = f"s_log_cluster_size is {log}, without bigalloc, and s_log_block_size is another"
            raise damaged(message, f"{_WHERE}, s_log_cluster_size", at)
        return block_size
    if log > 19 or not block_size <= 1024 << log <= _LARGEST_CLUSTER:
        message = f"s_log_cluster_size is {log}, which is no cluster size for blocks of {block_size:,} bytes"
        raise damaged(message, f"{_WHERE}, s_log_cluster_size", at)
    return 1024 << int(log)


def _inode_size(raw: Mapping[str, Any], block_size: int, at: int) -> tuple[int, int]:
    """Return the bytes of an inode, and the first number that is not reserved."""
    if raw["s_rev_level"] == EXT4_GOOD_OLD_REV:
        return EXT4_GOOD_OLD_INODE_SIZE, EXT4_FIRST_INO
    size, first = raw["s_inode_size"], raw["s_first_ino"]
    _within(at, "s_inode_size", size, EXT4_GOOD_OLD_INODE_SIZE, block_size, power=True)
    _within(at, "s_first_ino", first, EXT4_FIRST_INO, max(raw["s_inodes_count"], EXT4_FIRST_INO))
    return size, first


def _within(at: int, name: str, value: int, least: int, most: int, power: bool = False) -> None:
    if least <= value <= most and not (power and value & (value - 1)):
        return
    if least == most:
        said = f"{least:,}"
    else:
        said = f"{'a power of two ' if power else ''}from {least:,} to {most:,}"
    raise damaged(f"{name} is {value:,}, not {said}", f"{_WHERE}, {name}", at)
