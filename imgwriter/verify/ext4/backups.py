"""Backups of the superblock and of the group descriptors, against the primary ones.

A kernel writes backups only where the file system's shape changes. So counts, times and states of a backup
may be old; what says where things are may not.

Spec: kernel Documentation/filesystems/ext4/blockgroup.rst, super.rst, group_descr.rst.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.errors import FormatError
from imgwriter.ext4.format import SUPERBLOCK_SIZE
from imgwriter.ext4.group_layout import (
    descriptor_backups,
    descriptor_block,
    descriptor_checksum,
    descriptors_per_block,
    group_start,
    groups_with_super,
    unpack_descriptor,
)
from imgwriter.ext4.superblock_reader import SuperblockValues, superblock_values
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.subject import Subject
from imgwriter.verify.ext4.superblock import differing_features
from imgwriter.verify.remarks import MOST_ALIKE

# The field's name, and the attribute that has it.
_SHAPE = (
    ("s_blocks_count", "blocks"),
    ("s_log_block_size", "block_size"),
    ("s_log_cluster_size", "cluster_size"),
    ("s_first_data_block", "first_data_block"),
    ("s_blocks_per_group", "blocks_per_group"),
    ("s_inodes_per_group", "inodes_per_group"),
    ("s_inodes_count", "inodes"),
    ("s_inode_size", "inode_size"),
    ("s_first_ino", "first_inode"),
    ("s_desc_size", "desc_size"),
)
_SAME = (
    "s_uuid",
    "s_rev_level",
    "s_reserved_gdt_blocks",
    "s_first_meta_bg",
    "s_log_groups_per_flex",
    "s_backup_bgs",
    "s_hash_seed",
    "s_checksum_seed",
    "s_journal_inum",
)
_WORDS = ("s_feature_compat", "s_feature_incompat", "s_feature_ro_compat")


def verify_backups(subject: Subject, blocks: list[int]) -> None:
    """Compare every backup; so many that differ are enough, then the others are left.

    Args:
        blocks: The blocks of descriptors that there are, by their order.
    """
    differing = 0
    for group in groups_with_super(subject.superblock):
        if group and subject.has_block(group_start(subject.superblock, group)):
            differing += not _superblock_agrees(subject, group)
            if differing >= MOST_ALIKE:
                return _stopped(subject, "superblocks")
    differing = 0
    for nth in blocks:
        primary = subject.device.block(descriptor_block(subject.superblock, nth))
        for group, block in descriptor_backups(subject.superblock, nth):
            if block < subject.superblock.blocks and subject.has_block(block):
                differing += not _descriptors_agree(subject, nth, primary, group, block)
            if differing >= MOST_ALIKE:
                return _stopped(subject, "group descriptors")
    return None


def _stopped(subject: Subject, what: str) -> None:
    subject.remarks.note(
        f"ext4 backup {what}", "", subject.device.offset, "all compared",
        f"{MOST_ALIKE} differ, the others were not looked at", sections.BLOCKGROUP,
    )  # fmt: skip


def _superblock_agrees(subject: Subject, group: int) -> bool:
    sb, device, find = subject.superblock, subject.device, subject.remarks.find
    place = group_start(sb, group) * sb.block_size
    structure = f"ext4 backup superblock, group {group}"
    content = device.read(place, SUPERBLOCK_SIZE)
    try:
        backup = superblock_values(content, device.offset, place, sb.size, verify=True, any_features=True)
    except FormatError as error:
        field = error.where.partition(", ")[2]
        found = str(error).partition(";")[0]
        find(structure, field, device.offset + place, "as in the primary", found, sections.SUPER)
        return False
    right = True
    for field, expected, found in _differences(sb, backup, group):
        find(structure, field, device.offset + place, f"{expected}, as in the primary", found, sections.SUPER)
        right = False
    return right


def _differences(
    sb: SuperblockValues, backup: SuperblockValues, group: int
) -> Iterator[tuple[str, str, str]]:
    """Yield (field, expected, found) of what says where things are, and differs."""
    for field, name in _SHAPE:
        if getattr(sb, name) != getattr(backup, name):
            yield field, f"{getattr(sb, name):,}", f"{getattr(backup, name):,}"
    for field in _SAME:
        if sb.fields[field] != backup.fields[field]:
            yield field, _shown(sb.fields[field]), _shown(backup.fields[field])
    for field, bits in zip(_WORDS, differing_features(sb.features, backup.features), strict=True):
        if bits:
            yield field, f"{sb.fields[field]:#x}", f"{backup.fields[field]:#x}"
    number = backup.fields["s_block_group_nr"]
    if number != group & 0xFFFF:
        yield "s_block_group_nr", f"{group & 0xFFFF}", f"{number}"


def _shown(value: object) -> str:
    """Return a field's value on one line: of bytes in hexadecimal, of several words each."""
    if isinstance(value, bytes):
        return value.hex()
    return " and ".join(map(_shown, value)) if isinstance(value, list) else str(value)


def _descriptors_agree(subject: Subject, nth: int, primary: bytes, group: int, block: int) -> bool:
    """Compare one backup of a block of descriptors; one finding for each of its descriptors that differs."""
    sb, device = subject.superblock, subject.device
    content = device.block(block)
    if content == primary:
        return True
    first = nth * descriptors_per_block(sb)
    right = True
    for place in range(min(descriptors_per_block(sb), sb.groups - first)):
        at = place * sb.desc_size
        field = _differing_field(
            sb, first + place, primary[at : at + sb.desc_size], content[at : at + sb.desc_size]
        )
        if field:
            subject.remarks.find(
                f"ext4 backup group descriptor {first + place}, in group {group}",
                field[0], device.block_offset(block) + at, field[1], field[2], sections.BLOCKGROUP,
            )  # fmt: skip
            right = False
            if not any(content):
                break
    return right


def _differing_field(
    sb: SuperblockValues, group: int, primary: bytes, backup: bytes
) -> tuple[str, str, str] | None:
    """Return (field, expected, found) of the first difference that may not be."""
    mine, theirs = unpack_descriptor(primary, 0, sb.desc_size), unpack_descriptor(backup, 0, sb.desc_size)
    for name in ("block_bitmap", "inode_bitmap", "inode_table"):
        if getattr(mine, name) != getattr(theirs, name):
            return f"bg_{name}", f"{getattr(mine, name):,}, as in the primary", f"{getattr(theirs, name):,}"
    computed = descriptor_checksum(sb, group, backup)
    if computed is not None and computed != theirs.checksum:
        return "bg_checksum", f"{computed:#06x}, as its bytes give", f"{theirs.checksum:#06x}"
    return None
