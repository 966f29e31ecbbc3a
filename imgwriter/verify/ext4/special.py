"""Inodes and blocks that are the file system's own: journal, resize inode, multi-mount protection.

Spec: kernel Documentation/filesystems/ext4/special_inodes.rst, journal.rst, mmp.rst; fs/ext4/resize.c.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from imgwriter.ext4 import features as f
from imgwriter.ext4.block_map_walk import little_endian
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.format import (
    EXT4_JOURNAL_INO,
    EXT4_MMP_CHECKSUM_OFFSET,
    EXT4_MMP_MAGIC,
    EXT4_RESIZE_INO,
    JBD2_CRC32C_CHKSUM,
    JBD2_MAGIC_NUMBER,
    JBD2_SUPERBLOCK_V1,
    JBD2_SUPERBLOCK_V2,
    JOURNAL_SUPERBLOCK_CHECKSUM_OFFSET,
    SUPERBLOCK_OFFSET,
    JournalSuperblock,
)
from imgwriter.ext4.group_layout import descriptor_blocks, groups_with_super
from imgwriter.ext4.journal_reader import MIN_JOURNAL_BLOCKS, JournalCompat, JournalIncompat
from imgwriter.units import counted
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.mapping import Mapping
from imgwriter.verify.ext4.record import Record
from imgwriter.verify.ext4.subject import Subject

Check = Callable[[Record, Mapping], None]
_JOURNAL = "ext4 journal superblock"
_RESIZE = "ext4 resize inode"
_DIND = 13
"""Index of the double indirect pointer in i_block."""
_BACKUP_WORDS = 17
"""s_jnl_blocks: i_block, then i_size_high and i_size_lo of the journal's inode."""
_MAX_USERS = 48


def special_checks(subject: Subject) -> dict[int, Check]:
    """Return what checks the inodes that are the file system's own, by number."""
    checks: dict[int, Check] = {}
    features = subject.superblock.features
    if features.has(f.Compat.HAS_JOURNAL) and subject.superblock.fields["s_journal_inum"] == EXT4_JOURNAL_INO:
        checks[EXT4_JOURNAL_INO] = lambda inode, mapping: _Journal(subject, inode, mapping).run()
    if features.has(f.Compat.RESIZE_INODE):
        checks[EXT4_RESIZE_INO] = lambda inode, mapping: _resize(subject, inode, mapping)
    return checks


class _Rule(NamedTuple):
    field: str
    right: bool
    expected: str
    found: str


class _Journal:
    """The journal's inode, its copy in the superblock, and the journal's own superblock."""

    def __init__(self, subject: Subject, inode: Record, mapping: Mapping) -> None:
        self._subject = subject
        self._inode = inode
        self._mapping = mapping

    def run(self) -> None:
        """Check all of it."""
        self._check_inode()
        first = next((p for p in sorted(self._mapping.pieces) if p.logical == 0), None)
        if first is None or not self._subject.first_read(first.start):
            return
        content = self._subject.device.block(first.start)
        offset = self._subject.device.block_offset(first.start)
        raw: Any = JournalSuperblock.parse(content)
        for rule in self._rules(raw, content):
            if not rule.right:
                self._subject.remarks.find(
                    _JOURNAL, rule.field, offset, rule.expected, rule.found, sections.JOURNAL
                )
        self._note_features(raw, offset)
        if raw.s_errno:
            found = f"{raw.s_errno:#x}, an error that a kernel noted"
            self._subject.remarks.note(_JOURNAL, "s_errno", offset, "0", found, sections.JOURNAL)

    def _note_features(self, raw: Any, offset: int) -> None:
        """Note the features that are not known here: a kernel that knows them may have set them."""
        if raw.h_magic != JBD2_MAGIC_NUMBER or raw.h_blocktype != JBD2_SUPERBLOCK_V2:
            return
        known = (sum(map(int, JournalCompat)), sum(map(int, JournalIncompat)), 0)
        for word, allowed in zip(("compat", "incompat", "ro_compat"), known, strict=True):
            if unknown := raw[f"s_feature_{word}"] & ~allowed:
                expected, found = "features that are known here", f"{unknown:#x} besides"
                self._subject.remarks.note(
                    _JOURNAL, f"s_feature_{word}", offset, expected, found, sections.JOURNAL
                )

    def _check_inode(self) -> None:
        inode, mapping, find = self._inode, self._mapping, self._subject.remarks.find
        if inode.kind != stat.S_IFREG:
            find(
                inode.where,
                "i_mode",
                inode.offset,
                "a file, the journal",
                f"{inode.fields.mode:#o}",
                sections.JOURNAL,
            )
        size = self._subject.superblock.block_size
        blocks = sum(p.length for p in mapping.pieces)
        if mapping.whole and (blocks != mapping.end or inode.size > blocks * size or mapping.unwritten):
            expected = f"a journal without holes for i_size {inode.size:,}"
            find(inode.where, "i_block", inode.offset, expected, counted(blocks, "block"), sections.JOURNAL)
        fields = self._subject.superblock.fields
        if fields["s_jnl_backup_type"] != 1:
            return
        words = little_endian(fields["s_jnl_blocks"])
        own = [*little_endian(inode.fields.block), inode.fields.size_high, inode.fields.size_lo]
        if list(words[:_BACKUP_WORDS]) != own:
            at = self._subject.device.offset + SUPERBLOCK_OFFSET
            expected = "i_block and i_size of the journal's inode"
            find("ext4 superblock", "s_jnl_blocks", at, expected, "something else", sections.SUPER)

    def _rules(self, raw: Any, content: bytes) -> Iterator[_Rule]:
        """What has to be true of the journal's superblock."""
        sb = self._subject.superblock
        yield _Rule(
            "h_magic", raw.h_magic == JBD2_MAGIC_NUMBER, f"{JBD2_MAGIC_NUMBER:#x}", f"{raw.h_magic:#x}"
        )
        kinds = (JBD2_SUPERBLOCK_V1, JBD2_SUPERBLOCK_V2)
        yield _Rule("h_blocktype", raw.h_blocktype in kinds, "3 or 4", f"{raw.h_blocktype}")
        if raw.h_magic != JBD2_MAGIC_NUMBER or raw.h_blocktype not in kinds:
            return
        size = sb.block_size
        yield _Rule("s_blocksize", raw.s_blocksize == size, f"{size:,}", f"{raw.s_blocksize:,}")
        blocks = self._inode.size // size
        if self._mapping.whole:
            blocks = min(blocks, self._mapping.end)
        right = MIN_JOURNAL_BLOCKS <= raw.s_maxlen <= blocks
        yield _Rule("s_maxlen", right, f"{MIN_JOURNAL_BLOCKS:,} to {blocks:,}", f"{raw.s_maxlen:,}")
        yield _Rule(
            "s_first", 0 < raw.s_first < raw.s_maxlen, f"1 to {raw.s_maxlen - 1:,}", f"{raw.s_first:,}"
        )
        right = raw.s_start == 0 or raw.s_first <= raw.s_start < raw.s_maxlen
        expected = f"0, or {raw.s_first:,} to {raw.s_maxlen - 1:,}"
        yield _Rule("s_start", right, expected, f"{raw.s_start:,}")
        recover = sb.features.has(f.Incompat.RECOVER)
        right = recover or raw.s_start == 0 or not right
        yield _Rule("s_start", right, "0 without needs_recovery", f"{raw.s_start:,}")
        if raw.h_blocktype == JBD2_SUPERBLOCK_V2:
            yield from self._rules_of_version_2(raw, content)

    def _rules_of_version_2(self, raw: Any, content: bytes) -> Iterator[_Rule]:
        incompat = JournalIncompat(raw.s_feature_incompat & sum(map(int, JournalIncompat)))
        both = JournalIncompat.CSUM_V2 | JournalIncompat.CSUM_V3
        one = both not in incompat and not (incompat & both and raw.s_feature_compat & JournalCompat.CHECKSUM)
        yield _Rule("s_feature_incompat", one, "one kind of checksums", f"{raw.s_feature_incompat:#x}")
        right = raw.s_nr_users <= _MAX_USERS
        yield _Rule("s_nr_users", right, f"{_MAX_USERS} at most", f"{raw.s_nr_users:,}")
        if JournalIncompat.FAST_COMMIT in incompat:
            right = raw.s_num_fc_blks < raw.s_maxlen
            yield _Rule("s_num_fc_blks", right, f"below {raw.s_maxlen:,}", f"{raw.s_num_fc_blks:,}")
        if incompat & both:
            kind = raw.s_checksum_type
            yield _Rule(
                "s_checksum_type", kind == JBD2_CRC32C_CHKSUM, f"{JBD2_CRC32C_CHKSUM}, crc32c", f"{kind}"
            )
            at, end = JOURNAL_SUPERBLOCK_CHECKSUM_OFFSET, JournalSuperblock.sizeof()
            computed = crc32c(content[:at] + bytes(4) + content[at + 4 : end])
            expected = f"{computed:#010x}, as its bytes give"
            yield _Rule("s_checksum", raw.s_checksum == computed, expected, f"{raw.s_checksum:#010x}")


def _resize(subject: Subject, inode: Record, mapping: Mapping) -> None:
    """Compare the resize inode's map with the blocks that are reserved behind each descriptor table."""
    sb, find = subject.superblock, subject.remarks.find
    if inode.kind != stat.S_IFREG:
        find(inode.where, "i_mode", inode.offset, "a file", f"{inode.fields.mode:#o}", sections.SPECIAL)
    words = little_endian(inode.fields.block)
    double = words[_DIND]
    for place, word in enumerate(words):
        if word and place != _DIND:
            expected = f"0, as it has i_block[{_DIND}] alone"
            find(inode.where, f"i_block[{place}]", inode.offset, expected, f"{word:,}", sections.SPECIAL)
    if not subject.is_run(double, 1):
        find(
            inode.where,
            "i_block[13]",
            inode.offset,
            "a double indirect block",
            f"{double:,}",
            sections.SPECIAL,
        )
        return
    clusters = subject.usage.add(EXT4_RESIZE_INO, [(double, double + 1)])
    offset = subject.device.block_offset(double)
    reserved, found = _reserved(subject), little_endian(subject.device.block(double))
    backups = [group for group in groups_with_super(sb) if group]
    for place, block in enumerate(found):
        wanted = reserved.get(place, 0)
        if block != wanted:
            what = f"{wanted:,} at place {place:,}"
            find(_RESIZE, "double indirect block", offset, what, f"{block:,}", sections.SPECIAL)
            continue
        if block:
            _copies(subject, block, backups)
    # With bigalloc each of its blocks counts as a cluster, though they stand side by side.
    owned = (clusters + len(reserved) * (1 + len(backups))) * sb.cluster_size
    if inode.allocated != owned:
        what = f"{owned // 512:,}, as it has blocks"
        find(inode.where, "i_blocks", inode.offset, what, f"{inode.allocated // 512:,}", sections.INODES)


def _copies(subject: Subject, block: int, backups: list[int]) -> None:
    """Compare the block that lists the copies of a reserved block, one in each group with a backup."""
    sb = subject.superblock
    for place, found in enumerate(little_endian(subject.device.block(block))):
        wanted, what = 0, "behind the last copy"
        if place < len(backups):
            wanted = block + backups[place] * sb.blocks_per_group
            what = f"the copy of block {block:,} in group {backups[place]:,}"
        if found != wanted:
            at, expected = subject.device.block_offset(block), f"{wanted:,} at place {place:,}, {what}"
            subject.remarks.find(_RESIZE, "indirect block", at, expected, f"{found:,}", sections.SPECIAL)
            return


def _reserved(subject: Subject) -> dict[int, int]:
    """Return the reserved blocks of group 0 by their place in the double indirect block."""
    sb = subject.superblock
    used = descriptor_blocks(sb)
    first = SUPERBLOCK_OFFSET // sb.block_size + 1
    pointers = sb.block_size // 4
    return {
        (used + n) % pointers: first + used + n
        for n in range(min(sb.fields["s_reserved_gdt_blocks"], pointers))
    }


def verify_mmp(subject: Subject) -> None:
    """Check the block of multi-mount protection."""
    sb, find = subject.superblock, subject.remarks.find
    block = int(sb.fields["s_mmp_block"])
    if not sb.features.has(f.Incompat.MMP) or not sb.is_block(block):
        return
    content, offset = subject.device.block(block), subject.device.block_offset(block)
    magic = int.from_bytes(content[:4], "little")
    if magic != EXT4_MMP_MAGIC:
        find("ext4 MMP block", "mmp_magic", offset, f"{EXT4_MMP_MAGIC:#x}", f"{magic:#x}", sections.MMP)
    elif subject.seed is not None:
        at = EXT4_MMP_CHECKSUM_OFFSET
        computed, stored = crc32c(content[:at], subject.seed), int.from_bytes(content[at : at + 4], "little")
        if computed != stored:
            expected = f"{computed:#010x}, as its bytes give"
            find("ext4 MMP block", "mmp_checksum", offset, expected, f"{stored:#010x}", sections.CHECKSUMS)
