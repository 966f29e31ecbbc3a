"""Bitmaps and counts of every group, against what inodes really use.

::

    bitmap of a group  │1110011....01111│        a bit for each block or cluster, for each inode
    in use             │1110001....0    │1111    beyond the group's end every bit is set
                              ^ marked and not used

A group that is not initialised (BLOCK_UNINIT, INODE_UNINIT) has no bitmap: the kernel makes it from where the
group's own structures are, so nothing else may be in use there.

Spec: kernel Documentation/filesystems/ext4/bitmaps.rst, group_descr.rst.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.format import (
    EXT4_BG_BLOCK_UNINIT,
    EXT4_BG_INODE_UNINIT,
    GROUP_DESC_64,
    SUPERBLOCK_OFFSET,
)
from imgwriter.ext4.group_layout import (
    Descriptor,
    descriptor_block,
    descriptors_per_block,
    group_end,
    group_start,
    own_range,
)
from imgwriter.units import counted, div_ceil
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.descriptors import structure_of
from imgwriter.verify.ext4.subject import Subject
from imgwriter.verify.ext4.superblock import STRUCTURE
from imgwriter.verify.ext4.superblock_rules import count_of
from imgwriter.verify.ext4.usage import ones


class _Kind(NamedTuple):
    """What there are two bitmaps for, in a finding's words."""

    name: str
    field: str


_BLOCKS = _Kind("block", "bg_block_bitmap_csum")
_INODES = _Kind("inode", "bg_inode_bitmap_csum")


class BitmapPass:
    """Checks the bitmaps and counts of one file system, once all that is in use is known."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        sb = subject.superblock
        self._inodes: Counter[int] = Counter()  # by group, a bit for each
        self._directories: Counter[int] = Counter()
        reserved = range(1, min(sb.first_inode, sb.inodes + 1))
        for number in (*reserved, *subject.inodes):
            group, index = divmod(number - 1, sb.inodes_per_group)
            self._inodes[group] |= 1 << index
        for number, packed in subject.inodes.items():
            self._directories[(number - 1) // sb.inodes_per_group] += stat.S_ISDIR(packed & 0xFFFF)
        self._free_blocks = 0
        self._free_inodes = 0

    def run(self, progress: Callable[[int], None]) -> None:
        """Check all groups, then the sums; ``progress`` is called with each group that is done."""
        subject = self._subject
        for group in sorted(subject.groups):
            descriptor = subject.groups[group]
            self._block_bitmap(group, descriptor)
            self._inode_bitmap(group, descriptor)
            progress(group)
        if len(subject.groups) == subject.superblock.groups:
            self._sums()

    def run_alone(self) -> None:
        """Check the checksums of those bitmaps that are there, where a part of what they count is missing."""
        subject, sb = self._subject, self._subject.superblock
        sizes = sb.blocks_per_group // subject.ratio // 8, sb.inodes_per_group // 8
        for group, d in sorted(subject.groups.items()):
            for kind, block, stored, size, unused in (
                (_BLOCKS, d.block_bitmap, d.block_bitmap_csum, sizes[0], EXT4_BG_BLOCK_UNINIT),
                (_INODES, d.inode_bitmap, d.inode_bitmap_csum, sizes[1], EXT4_BG_INODE_UNINIT),
            ):
                if block and subject.has_block(block) and not (subject.lazy and d.flags & unused):
                    self._bitmap(group, kind, block, stored, size)

    def _block_bitmap(self, group: int, descriptor: Descriptor) -> None:
        subject, sb = self._subject, self._subject.superblock
        low, high = self._cluster(group_start(sb, group)), self._cluster_end(group_end(sb, group))
        count = high - low
        used = subject.usage.used(low, high)
        free = count - used.bit_count()
        self._free_blocks += free * subject.ratio
        self._count(group, "bg_free_blocks_count", free, descriptor.free_blocks_count)
        if subject.lazy and descriptor.flags & EXT4_BG_BLOCK_UNINIT:
            other = used & ~ones(self._own_clusters(group, descriptor, low, high))
            if other:
                found = f"BLOCK_UNINIT with {other.bit_count():,} in use"
                self._find(group, "bg_flags", "no blocks in use but the group's own structures'", found)
            return
        size = sb.blocks_per_group // subject.ratio // 8
        first = low * subject.ratio + sb.first_data_block
        if descriptor.block_bitmap:
            content = self._bitmap(
                group, _BLOCKS, descriptor.block_bitmap, descriptor.block_bitmap_csum, size
            )
            self._compare(
                group, _BLOCKS, content, descriptor.block_bitmap, used, count, (first, subject.ratio)
            )

    def _inode_bitmap(self, group: int, descriptor: Descriptor) -> None:
        subject, sb = self._subject, self._subject.superblock
        count = sb.inodes_per_group
        used = self._inodes[group]
        free = count - used.bit_count()
        self._free_inodes += free
        self._count(group, "bg_free_inodes_count", free, descriptor.free_inodes_count)
        self._count(group, "bg_used_dirs_count", self._directories[group], descriptor.used_dirs_count)
        if subject.lazy and descriptor.flags & EXT4_BG_INODE_UNINIT:
            if used:
                found = f"INODE_UNINIT with {used.bit_count():,} in use"
                self._find(group, "bg_flags", "no inodes in use", found)
            return
        if subject.lazy and used.bit_length() > count - descriptor.itable_unused:
            found = f"{descriptor.itable_unused:,}"
            self._find(group, "bg_itable_unused", f"{count - used.bit_length():,} at most", found)
        if descriptor.inode_bitmap:
            content = self._bitmap(
                group, _INODES, descriptor.inode_bitmap, descriptor.inode_bitmap_csum, count // 8
            )
            first = group * count + 1
            self._compare(group, _INODES, content, descriptor.inode_bitmap, used, count, (first, 1))

    def _cluster(self, block: int) -> int:
        return (block - self._subject.superblock.first_data_block) // self._subject.ratio

    def _cluster_end(self, block: int) -> int:
        return div_ceil(block - self._subject.superblock.first_data_block, self._subject.ratio)

    def _own_clusters(self, group: int, descriptor: Descriptor, low: int, high: int) -> list[tuple[int, int]]:
        """Return which clusters of a group the kernel marks in a bitmap that it makes."""
        sb = self._subject.superblock
        runs = [own_range(sb, group)]
        for start, length in (
            (descriptor.block_bitmap, 1),
            (descriptor.inode_bitmap, 1),
            (descriptor.inode_table, self._subject.table_blocks),
        ):
            runs.append((start, start + length))
        clusters = [(max(self._cluster(a), low), min(self._cluster_end(b), high)) for a, b in runs if a < b]
        return [(a - low, b - low) for a, b in clusters if a < b]

    def _bitmap(self, group: int, kind: _Kind, block: int, stored: int, size: int) -> bytes:
        """Read a bitmap and check its checksum, which covers ``size`` bytes."""
        subject = self._subject
        content = subject.device.block(block)
        if subject.seed is not None:
            computed = crc32c(content[:size], subject.seed)
            if subject.superblock.desc_size < GROUP_DESC_64.size:
                computed &= 0xFFFF
            if computed != stored:
                expected = f"{computed:#x}, as the bitmap at {subject.device.block_offset(block):,} gives"
                self._find(group, kind.field, expected, f"{stored:#x}", sections.CHECKSUMS)
        return content

    def _compare(
        self,
        group: int,
        kind: _Kind,
        content: bytes,
        block: int,
        used: int,
        count: int,
        numbers: tuple[int, int],
    ) -> None:
        """Compare a bitmap with what is in use; bit n is number ``numbers[0] + n * numbers[1]``."""
        marked = int.from_bytes(content, "little")
        inside = (1 << count) - 1
        first, step = numbers
        where = f"ext4 {kind.name} bitmap, group {group}"
        offset = self._subject.device.block_offset(block)
        for bits, expected, what in (
            (used & ~marked, "1 where in use", "in use and not marked"),
            (marked & inside & ~used, "0 where not in use", "marked and not in use"),
        ):
            if bits:
                number = first + ((bits & -bits).bit_length() - 1) * step
                found = f"{counted(bits.bit_count(), kind.name)} {what}, the first {number:,}"
                self._subject.remarks.find(where, "bits", offset, expected, found, sections.BITMAPS)
        beyond = (1 << 8 * len(content)) - 1 & ~inside & ~marked
        if beyond:
            place = (beyond & -beyond).bit_length() - 1
            found = f"{counted(beyond.bit_count(), 'bit')} clear, the first {place:,}"
            expected = f"1 from bit {count:,} on"
            self._subject.remarks.find(where, "padding", offset, expected, found, sections.BITMAPS)

    def _count(self, group: int, field: str, expected: int, found: int) -> None:
        if expected != found:
            self._find(group, field, f"{expected:,}, as there are", f"{found:,}")

    def _sums(self) -> None:
        """Compare the superblock's counts; a kernel brings them up to date only when it unmounts."""
        subject, sb = self._subject, self._subject.superblock
        remarks = subject.remarks
        say = remarks.note if subject.in_use_unclean else remarks.find
        at = subject.device.offset + SUPERBLOCK_OFFSET
        for field, expected, found in (
            ("s_free_blocks_count", self._free_blocks, count_of(sb.fields, "s_free_blocks_count", sb)),
            ("s_free_inodes_count", self._free_inodes, sb.fields["s_free_inodes_count"]),
        ):
            if expected != found:
                say(STRUCTURE, field, at, f"{expected:,}, as there are", f"{found:,}", sections.SUPER)

    def _find(
        self, group: int, field: str, expected: str, found: str, section: str = sections.GROUP_DESC
    ) -> None:
        sb, device = self._subject.superblock, self._subject.device
        nth, place = divmod(group, descriptors_per_block(sb))
        offset = device.block_offset(descriptor_block(sb, nth)) + place * sb.desc_size
        self._subject.remarks.find(structure_of(group), field, offset, expected, found, section)
