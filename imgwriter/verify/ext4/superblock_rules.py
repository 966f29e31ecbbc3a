"""The primary superblock: every field against its range and the others.

Rules are data: each yields what a field would have to be, and whether it is.

Spec: kernel Documentation/filesystems/ext4/super.rst; fs/ext4/super.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from imgwriter.ext4 import features as f
from imgwriter.ext4.format import (
    EXT2_FLAGS_SIGNED_HASH,
    EXT2_FLAGS_UNSIGNED_HASH,
    EXT4_CRC32C_CHKSUM,
    EXT4_ERROR_FS,
    EXT4_GOOD_OLD_INODE_SIZE,
    EXT4_GOOD_OLD_REV,
    EXT4_JOURNAL_INO,
    EXT4_ORPHAN_FS,
    EXT4_SUPER_MAGIC,
    EXT4_VALID_FS,
    SUPERBLOCK_OFFSET,
)
from imgwriter.ext4.group_layout import descriptor_blocks
from imgwriter.ext4.params import BLOCK_SIZES
from imgwriter.ext4.superblock_reader import SuperblockValues, parse_superblock
from imgwriter.units import counted
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.subject import Subject
from imgwriter.verify.ext4.superblock import STRUCTURE

_MAX_OS = 4
_MAX_ERRORS = 3
_MAX_HASH = 5
_MAX_FLEX = 31


class Rule(NamedTuple):
    """What a field has to be.

    Attributes:
        field: Its name.
        right: Whether it is.
        expected: What it would have to be.
        found: What it is; None: as it stands.
    """

    field: str
    right: bool
    expected: str
    found: str | None = None


def verify_superblock(subject: Subject, content: bytes) -> None:
    """Check every field of the primary superblock.

    Args:
        subject: The file system; what is refused by the readers was found already.
        content: The primary's 1,024 bytes, what the journal has newer included.
    """
    sb = subject.superblock
    at = subject.device.offset + SUPERBLOCK_OFFSET
    raw = parse_superblock(content)
    if raw["s_magic"] != EXT4_SUPER_MAGIC:
        return
    for rule in (*_shape(raw, sb), *_counts(raw, sb), *_words(raw, sb), *_features(raw, sb)):
        if not rule.right:
            found = rule.found if rule.found is not None else _shown(raw.get(rule.field, ""))
            subject.remarks.find(STRUCTURE, rule.field, at, rule.expected, found, sections.SUPER)
    _notes(subject, raw, at)


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shape(raw: Mapping[str, Any], sb: SuperblockValues) -> Iterator[Rule]:
    """What decides where everything is."""
    ratio = sb.cluster_size // sb.block_size
    bigalloc = sb.features.has(f.RoCompat.BIGALLOC)
    first = int(sb.block_size == BLOCK_SIZES[0] and not bigalloc)
    yield Rule("s_first_data_block", raw["s_first_data_block"] == first, str(first))
    log = raw["s_log_block_size"]
    if not bigalloc:
        yield Rule("s_log_cluster_size", raw["s_log_cluster_size"] == log, f"{log}, s_log_block_size")
    per_group = raw["s_blocks_per_group"]
    clusters = per_group // ratio
    yield Rule(
        "s_clusters_per_group",
        raw["s_clusters_per_group"] == clusters,
        f"{clusters:,}, from s_blocks_per_group",
    )
    yield Rule("s_blocks_per_group", per_group % (8 * ratio) == 0, f"a multiple of {8 * ratio}")
    per_block = sb.block_size // sb.inode_size
    right = sb.inodes_per_group % 8 == 0 and sb.inodes_per_group >= per_block
    yield Rule("s_inodes_per_group", right, f"a multiple of 8, at least {per_block}")
    old = raw["s_rev_level"] == EXT4_GOOD_OLD_REV
    yield Rule("s_block_group_nr", raw["s_block_group_nr"] == 0, "0 in the primary")
    most = sb.inode_size - EXT4_GOOD_OLD_INODE_SIZE
    for name in ("s_min_extra_isize", "s_want_extra_isize"):
        right = most == 0 or old or (raw[name] <= most and raw[name] % 4 == 0)
        yield Rule(name, right, f"a multiple of 4 up to {most}")
    if not sb.features.has(f.Incompat.BIT64):
        yield Rule("s_desc_size", raw["s_desc_size"] in (0, 32, 64), "0 without 64bit")
    reserved = raw["s_reserved_gdt_blocks"]
    yield Rule("s_reserved_gdt_blocks", reserved <= sb.block_size // 4, f"{sb.block_size // 4:,} at most")
    if reserved:
        yield Rule("s_reserved_gdt_blocks", sb.features.has(f.Compat.RESIZE_INODE), "0 without resize_inode")
    if sb.features.has(f.Incompat.META_BG):
        most = descriptor_blocks(sb)
        yield Rule("s_first_meta_bg", raw["s_first_meta_bg"] <= most, f"{most:,} at most")
    if sb.features.has(f.Incompat.FLEX_BG):
        yield Rule("s_log_groups_per_flex", raw["s_log_groups_per_flex"] <= _MAX_FLEX, f"{_MAX_FLEX} at most")
    if sb.features.has(f.Compat.SPARSE_SUPER2):
        groups = list(raw["s_backup_bgs"])
        yield Rule("s_backup_bgs", max(groups) < sb.groups, f"groups below {sb.groups:,}", str(groups))


def _counts(raw: Mapping[str, Any], sb: SuperblockValues) -> Iterator[Rule]:
    """What counts blocks and inodes, or names one."""
    for name in ("s_free_blocks_count", "s_r_blocks_count"):
        value = count_of(raw, name, sb)
        yield Rule(name, value <= sb.blocks, f"{sb.blocks:,} at most", f"{value:,}")
    yield Rule("s_free_inodes_count", raw["s_free_inodes_count"] <= sb.inodes, f"{sb.inodes:,} at most")
    yield Rule("s_last_orphan", raw["s_last_orphan"] <= sb.inodes, f"an inode up to {sb.inodes:,}, or 0")
    journal = raw["s_journal_inum"]
    if sb.features.has(f.Compat.HAS_JOURNAL):
        right = journal == EXT4_JOURNAL_INO or (journal == 0 and bool(raw["s_journal_dev"]))
        yield Rule("s_journal_inum", right, f"{EXT4_JOURNAL_INO} with has_journal")
    elif raw["s_rev_level"]:
        yield Rule("s_journal_inum", journal == 0, "0 without has_journal")
    for feature, name in (
        (f.Compat.ORPHAN_FILE, "s_orphan_file_inum"),
        (f.RoCompat.QUOTA, "s_usr_quota_inum"),
        (f.RoCompat.QUOTA, "s_grp_quota_inum"),
        (f.RoCompat.PROJECT, "s_prj_quota_inum"),
    ):
        if sb.features.has(feature):
            least = int(name == "s_orphan_file_inum")
            right = least <= raw[name] <= sb.inodes
            yield Rule(name, right, f"an inode from {least} to {sb.inodes:,}")
        elif raw["s_rev_level"]:
            yield Rule(name, raw[name] == 0, f"0 without {f.name_of(feature)}")
    if sb.features.has(f.Incompat.MMP):
        yield Rule("s_mmp_block", sb.is_block(raw["s_mmp_block"]), f"a block below {sb.blocks:,}")


def count_of(raw: Mapping[str, Any], name: str, sb: SuperblockValues) -> int:
    """Return a count of blocks, whose upper half counts with 64bit only."""
    high = raw[f"{name}_hi"] if sb.features.has(f.Incompat.BIT64) else 0
    return int(raw[f"{name}_lo"] | high << 32)


def _words(raw: Mapping[str, Any], sb: SuperblockValues) -> Iterator[Rule]:
    """Fields of few values."""
    known = EXT4_VALID_FS | EXT4_ERROR_FS | EXT4_ORPHAN_FS
    yield Rule("s_state", raw["s_state"] & ~known == 0, "no bits but 1, 2 and 4", f"{raw['s_state']:#x}")
    yield Rule("s_errors", raw["s_errors"] <= _MAX_ERRORS, f"1 to {_MAX_ERRORS}")
    yield Rule("s_creator_os", raw["s_creator_os"] <= _MAX_OS, f"0 to {_MAX_OS}")
    if raw["s_rev_level"] == EXT4_GOOD_OLD_REV:
        return
    yield Rule("s_def_hash_version", raw["s_def_hash_version"] <= _MAX_HASH, f"0 to {_MAX_HASH}")
    yield Rule("s_jnl_backup_type", raw["s_jnl_backup_type"] <= 1, "0 or 1")
    both = EXT2_FLAGS_SIGNED_HASH | EXT2_FLAGS_UNSIGNED_HASH
    yield Rule(
        "s_flags",
        raw["s_flags"] & both != both,
        "signed or unsigned hashes, not both",
        f"{raw['s_flags']:#x}",
    )
    if sb.metadata_csum:
        kind = raw["s_checksum_type"]
        yield Rule("s_checksum_type", kind == EXT4_CRC32C_CHKSUM, f"{EXT4_CRC32C_CHKSUM}, crc32c")
    if sb.features.has(f.Incompat.CASEFOLD):
        yield Rule("s_encoding", raw["s_encoding"] == 1, "1, UTF-8 12.1")


_NEEDS: tuple[tuple[f.Flag, f.Flag], ...] = (
    (f.Incompat.BIT64, f.Incompat.EXTENTS),
    (f.Incompat.CSUM_SEED, f.RoCompat.METADATA_CSUM),
    (f.RoCompat.BIGALLOC, f.Incompat.EXTENTS),
    (f.RoCompat.ORPHAN_PRESENT, f.Compat.ORPHAN_FILE),
    (f.Compat.FAST_COMMIT, f.Compat.HAS_JOURNAL),
    (f.Compat.ORPHAN_FILE, f.Compat.HAS_JOURNAL),
    (f.Incompat.RECOVER, f.Compat.HAS_JOURNAL),
)
_EXCLUDES: tuple[tuple[f.Flag, f.Flag], ...] = (
    (f.RoCompat.GDT_CSUM, f.RoCompat.METADATA_CSUM),
    (f.Compat.RESIZE_INODE, f.Incompat.META_BG),
)
_WORDS = {f.Compat: "s_feature_compat", f.Incompat: "s_feature_incompat", f.RoCompat: "s_feature_ro_compat"}


def _features(raw: Mapping[str, Any], sb: SuperblockValues) -> Iterator[Rule]:
    """Features that need or exclude each other."""
    for flag, other in _NEEDS:
        right = sb.features.has(other) or not sb.features.has(flag)
        expected = f"{f.name_of(other)}, which {f.name_of(flag)} needs"
        yield Rule(_WORDS[type(flag)], right, expected, f"{raw[_WORDS[type(flag)]]:#x}")
    for flag, other in _EXCLUDES:
        right = not (sb.features.has(flag) and sb.features.has(other))
        expected = f"{f.name_of(flag)} or {f.name_of(other)}, not both"
        yield Rule(_WORDS[type(flag)], right, expected, f"{raw[_WORDS[type(flag)]]:#x}")


def _notes(subject: Subject, raw: Mapping[str, Any], at: int) -> None:
    """Note what is allowed, and what is not looked at."""
    sb, note = subject.superblock, subject.remarks.note
    if not raw["s_state"] & EXT4_VALID_FS and not sb.features.has(f.Incompat.RECOVER):
        note(STRUCTURE, "s_state", at, "unmounted", "mounted, or never unmounted", sections.SUPER)
    if raw["s_state"] & EXT4_ERROR_FS or raw["s_error_count"]:
        found = f"{counted(raw['s_error_count'], 'error')}, which a kernel noted"
        note(STRUCTURE, "s_error_count", at, "no errors", found, sections.SUPER)
    if raw["s_overhead_clusters"] > sb.blocks:
        # tune2fs makes such where it takes a journal away; the kernel then computes it.
        found = f"{raw['s_overhead_clusters']:,}"
        note(STRUCTURE, "s_overhead_clusters", at, f"{sb.blocks:,} at most", found, sections.SUPER)
    if any(raw["s_reserved"]):
        note(STRUCTURE, "s_reserved", at, "zeros", "something that is not known", sections.SUPER)
    if raw["s_rev_level"] != EXT4_GOOD_OLD_REV and not any(raw["s_uuid"]):
        note(STRUCTURE, "s_uuid", at, "a UUID", "zeros", sections.SUPER)
    both = EXT2_FLAGS_SIGNED_HASH | EXT2_FLAGS_UNSIGNED_HASH
    if sb.features.has(f.Compat.DIR_INDEX) and not raw["s_flags"] & both:
        note(STRUCTURE, "s_flags", at, "how names are hashed, signed or unsigned", "neither", sections.SUPER)
    for word, bits in (("compat", sb.features.compat), ("ro_compat", sb.features.ro_compat)):
        for name in f.unknown(bits):
            found = f"{name}, which is not known here"
            note(STRUCTURE, f"s_feature_{word}", at, "features that are known", found, sections.SUPER)
    for name in f.refusals(sb.features):
        found = f"{name}: nothing but superblock and group descriptors is verified"
        # One without a name is refused in that word alone.
        flag, _ = f.NOT_READ.get(name.partition(" ")[0], (f.Incompat(0), ""))
        note(STRUCTURE, _WORDS[type(flag)], at, "features that are read", found, sections.SUPER)
    for flag, what in _NOT_VERIFIED:
        if sb.features.has(flag):
            found = f"{f.name_of(flag)}: {what} not verified"
            note(STRUCTURE, _WORDS[type(flag)], at, "a feature that is verified", found, sections.SUPER)


_NOT_VERIFIED: tuple[tuple[f.Flag, str], ...] = (
    (f.RoCompat.QUOTA, "the usage files"),
    (f.RoCompat.PROJECT, "projects and their usage"),
    (f.RoCompat.VERITY, "Merkle trees"),
    (f.Incompat.ENCRYPT, "names of encrypted directories"),
    (f.Incompat.CASEFOLD, "hashes of folded names"),
    (f.Compat.FAST_COMMIT, "the fast commit area"),
    (f.Compat.IMAGIC_INODES, "what it means"),
    (f.Compat.EXCLUDE_BITMAP, "exclude bitmaps"),
)
