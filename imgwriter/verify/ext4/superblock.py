"""Which superblock is believed: the primary, or the backup where that is lost.

::

    primary ── right ──────────────────────────────> what the file system says of itself
       └─ wrong: a finding, then its backup ── right ──^      (or as much of the primary as can be true)

A superblock that is right but for its size is right: the end of the file system is missing. So is one with
features that are not read. Either is taken where no backup says otherwise; the caller says it.

Spec: kernel Documentation/filesystems/ext4/super.rst; fs/ext4/super.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imgwriter.errors import FormatError
from imgwriter.ext4 import features as f
from imgwriter.ext4.device import Device
from imgwriter.ext4.format import EXT4_SUPER_MAGIC, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE
from imgwriter.ext4.params import BLOCK_SIZES
from imgwriter.ext4.superblock_reader import (
    SuperblockValues,
    features_of,
    parse_superblock,
    read_superblock,
    superblock_checksum,
    superblock_values,
)
from imgwriter.units import div_ceil
from imgwriter.verify.ext4 import sections
from imgwriter.verify.remarks import Remarks

STRUCTURE = "ext4 superblock"
_MOST_LOG_BLOCK_SIZE = 6
"""Of blocks of 64 KiB (EXT4_MAX_BLOCK_LOG_SIZE)."""
_ANY_SIZE = 1 << 80
"""Bytes that no file system exceeds: 2^64 blocks of 64 KiB."""


def find_superblock(device: Device, remarks: Remarks) -> SuperblockValues:
    """Return what the file system says of itself, as far as it can be believed.

    Args:
        device: The file system; its block size does not matter.
        remarks: Gets a finding where the primary superblock cannot be.

    Returns:
        Its values, also where the file system is larger than the device, or has features that are not read.

    Raises:
        FormatError: There is no ext4, or no superblock of it is right.
    """
    at = device.offset + SUPERBLOCK_OFFSET
    if device.size < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE:
        return read_superblock(device, verify=True)  # refuses it
    content = device.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
    try:
        return superblock_values(content, device.offset, SUPERBLOCK_OFFSET, device.size, True)
    except FormatError as error:
        wrong = error
    raw = parse_superblock(content)
    sealed = raw["s_checksum"] == superblock_checksum(content)
    if not sealed or not f.refusals(features_of(raw)) or raw["s_magic"] != EXT4_SUPER_MAGIC:
        backup = _first_backup(device, raw, device.size, any_features=False)
        if backup is not None:
            _wrong(remarks, wrong, raw, content, at)
            return _believed(device, content, backup)
    try:
        return superblock_values(
            content, device.offset, SUPERBLOCK_OFFSET, _ANY_SIZE, verify=True, any_features=True
        )
    except FormatError as error:
        if ", feature " in wrong.where:
            wrong = error
    values = _first_backup(device, raw, _ANY_SIZE, any_features=True)
    if values is None:
        try:
            values = _of_primary(device, content, raw)
        except FormatError:
            raise wrong from None
    _wrong(remarks, wrong, raw, content, at)
    return values


def unread(device: Device) -> tuple[str, str]:
    """Return (field, what it has) of a file system of a kind that is not verified; empty of any other."""
    if device.size < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE:
        return "", ""
    raw = parse_superblock(device.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE))
    if raw["s_magic"] != EXT4_SUPER_MAGIC:
        return "", ""
    # mke2fs -O journal_dev makes one without inodes.
    if features_of(raw).has(f.Incompat.JOURNAL_DEV) and not raw["s_inodes_count"]:
        return "s_feature_incompat", "journal_dev: the journal of another file system"
    log = raw["s_log_block_size"]
    if len(BLOCK_SIZES) <= log <= _MOST_LOG_BLOCK_SIZE and raw["s_log_cluster_size"] == log:
        return "s_log_block_size", f"{log}: blocks of {1024 << log:,} bytes"
    return "", ""


def _of_primary(device: Device, content: bytes, raw: Mapping[str, Any]) -> SuperblockValues:
    """Return what a primary says whose checksum is wrong, as far as its place reaches.

    Raises:
        FormatError: It cannot be believed at all.
    """
    claimed = (raw["s_blocks_count_lo"] | raw["s_blocks_count_hi"] << 32) << (
        10 + min(raw["s_log_block_size"], 6)
    )
    values = superblock_values(
        content, device.offset, SUPERBLOCK_OFFSET, max(claimed, device.size), verify=False, any_features=True
    )
    blocks = min(values.blocks, device.size // values.block_size)
    groups = div_ceil(max(blocks - values.first_data_block, 1), values.blocks_per_group)
    return replace(values, blocks=blocks, groups=groups)


def _first_backup(
    device: Device, primary: Mapping[str, Any], available: int, *, any_features: bool
) -> SuperblockValues | None:
    """Return the first right backup, at the places that mke2fs gives it.

    Args:
        available: Bytes that the file system may have.
        any_features: Whether it may have some that are not read.
    """
    for block_size in BLOCK_SIZES:
        per_groups = {8 * block_size}
        if 0 < primary["s_blocks_per_group"] <= 8 * block_size:
            per_groups.add(primary["s_blocks_per_group"])
        for per_group in sorted(per_groups):
            for first in (0, 1) if block_size == BLOCK_SIZES[0] else (0,):
                place = (per_group + first) * block_size
                if place + SUPERBLOCK_SIZE > device.size:
                    continue
                content = device.read(place, SUPERBLOCK_SIZE)
                try:
                    values = superblock_values(
                        content, device.offset, place, available, verify=True, any_features=any_features
                    )
                except FormatError:
                    continue
                if values.fields["s_block_group_nr"] == 1 and values.block_size == block_size:
                    return values
    return None


def _believed(device: Device, content: bytes, backup: SuperblockValues) -> SuperblockValues:
    """Return the primary's values where they have the backup's shape, else the backup's."""
    try:
        primary = superblock_values(content, device.offset, SUPERBLOCK_OFFSET, device.size, verify=False)
    except FormatError:
        return backup
    same = all(
        getattr(primary, name) == getattr(backup, name)
        for name in (
            "block_size",
            "blocks",
            "blocks_per_group",
            "inodes",
            "inode_size",
            "desc_size",
            "uuid",
            "seed",
        )
    )
    return primary if same and not _differing(primary.features, backup.features) else backup


# Features that come and go while the backups stay as they are.
VOLATILE = (
    f.Incompat.RECOVER,
    f.RoCompat.LARGE_FILE,
    f.RoCompat.ORPHAN_PRESENT,
    f.Compat.EXT_ATTR,
    f.Compat.DIR_INDEX,
    f.RoCompat.DIR_NLINK,
    f.RoCompat.HUGE_FILE,
    f.RoCompat.EXTRA_ISIZE,
    f.RoCompat.VERITY,
)


def _differing(one: f.Features, other: f.Features) -> bool:
    return any(differing_features(one, other))


def differing_features(one: f.Features, other: f.Features) -> tuple[int, int, int]:
    """Return the bits in which two superblocks' feature words differ, and may not."""
    result = []
    for mine, theirs in zip(one, other, strict=True):
        allowed = sum(int(flag) for flag in VOLATILE if isinstance(flag, type(mine)))
        result.append((int(mine) ^ int(theirs)) & ~allowed)
    return result[0], result[1], result[2]


def _wrong(remarks: Remarks, error: FormatError, raw: Mapping[str, Any], content: bytes, at: int) -> None:
    """Make a finding of what a reader would refuse."""
    field = error.where.partition(", ")[2]
    if field == "s_checksum":
        found = f"{raw['s_checksum']:#010x}"
        expected = f"{superblock_checksum(content):#010x}, as its bytes give"
        remarks.find(STRUCTURE, field, at, expected, found, sections.CHECKSUMS)
        return
    found = raw.get(field, raw.get(f"{field}_lo", str(error)))
    remarks.find(
        STRUCTURE, field, at, "a value that can be: " + str(error).partition(";")[0], found, sections.SUPER
    )
