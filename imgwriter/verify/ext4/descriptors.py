"""Group descriptors: each one's checksum and fields, and where a group's tables may be.

Blocks of descriptors that the image has nothing for are found once each, not a group at a time: a superblock
may speak of a billion groups.

Spec: kernel Documentation/filesystems/ext4/group_descr.rst, blockgroup.rst.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.ext4 import features as f
from imgwriter.ext4.format import (
    EXT4_BG_BLOCK_UNINIT,
    EXT4_BG_INODE_UNINIT,
    EXT4_BG_INODE_ZEROED,
)
from imgwriter.ext4.group_layout import (
    Descriptor,
    descriptor_block,
    descriptor_blocks,
    descriptor_checksum,
    descriptors_per_block,
    group_end,
    group_start,
    own_range,
    unpack_descriptor,
)
from imgwriter.units import counted, div_ceil
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.subject import Subject
from imgwriter.verify.ext4.usage import OF_THE_FILE_SYSTEM, Runs

_FLAGS = EXT4_BG_BLOCK_UNINIT | EXT4_BG_INODE_UNINIT | EXT4_BG_INODE_ZEROED


def read_descriptors(subject: Subject) -> list[int]:
    """Check the descriptors, and keep them in the subject.

    Returns:
        Which blocks of descriptors there are, by their order.
    """
    sb = subject.superblock
    per_block = descriptors_per_block(sb)
    found = []
    expected = 0
    for nth in _blocks_with_data(subject):
        block = descriptor_block(sb, nth)
        content = subject.device.block(block)
        if not any(content):
            continue
        _missing(subject, expected, nth)
        expected = nth + 1
        found.append(nth)
        offset = subject.device.block_offset(block)
        for place in range(min(per_block, sb.groups - nth * per_block)):
            at = place * sb.desc_size
            _descriptor(subject, nth * per_block + place, content[at : at + sb.desc_size], offset + at)
    _missing(subject, expected, descriptor_blocks(sb))
    return found


def _blocks_with_data(subject: Subject) -> Iterator[int]:
    """Yield the blocks of descriptors, by their order, that the image has something for; rising."""
    sb, device = subject.superblock, subject.device
    count = descriptor_blocks(sb)
    old = count
    if sb.features.has(f.Incompat.META_BG):
        old = min(max(int(sb.fields["s_first_meta_bg"]), 1), count)
    first = descriptor_block(sb, 0)
    size = sb.block_size
    last = -1
    for low, high in device.allocated(first * size, old * size):
        for nth in range(max(low // size - first, last + 1), min(div_ceil(high, size) - first, old)):
            yield nth
            last = nth
    if old == count:
        return
    # One block in each metagroup, at its start or behind a superblock there.
    stride = descriptors_per_block(sb) * sb.blocks_per_group
    for low, high in device.allocated(0, sb.size):
        start = (low // size - sb.first_data_block - 1) // stride
        stop = (div_ceil(high, size) - sb.first_data_block) // stride + 1
        for nth in range(max(start, old, last + 1), min(stop, count)):
            if low < (descriptor_block(sb, nth) + 1) * size and descriptor_block(sb, nth) * size < high:
                yield nth
                last = nth


def _missing(subject: Subject, first: int, stop: int) -> None:
    """Make one finding for blocks of descriptors [first, stop) that are zeros."""
    if first >= stop:
        return
    sb = subject.superblock
    per_block = descriptors_per_block(sb)
    groups = f"{first * per_block:,} to {min(stop * per_block, sb.groups) - 1:,}"
    subject.remarks.find(
        f"ext4 group descriptors {groups}",
        "",
        subject.device.block_offset(descriptor_block(sb, first)),
        "descriptors",
        "zeros",
        sections.GROUP_DESC,
    )


def structure_of(group: int) -> str:
    """Return what a finding calls a group's descriptor."""
    return f"ext4 group descriptor {group}"


def _descriptor(subject: Subject, group: int, content: bytes, offset: int) -> None:
    sb, find = subject.superblock, subject.remarks.find
    where = structure_of(group)
    descriptor = unpack_descriptor(content, 0, sb.desc_size)
    computed = descriptor_checksum(sb, group, content)
    if computed is not None and computed != descriptor.checksum:
        found = f"{descriptor.checksum:#06x}"
        find(where, "bg_checksum", offset, f"{computed:#06x}, as its bytes give", found, sections.CHECKSUMS)
    subject.groups[group] = _with_possible_places(subject, group, descriptor, offset)
    flags = descriptor.flags
    # The kernel says of every group that its table is zeroed, whether or not it may be left as it is.
    allowed = _FLAGS if subject.lazy else EXT4_BG_INODE_ZEROED
    if flags & ~allowed:
        find(where, "bg_flags", offset, f"no bits but {allowed:#x}", f"{flags:#x}", sections.GROUP_DESC)
    blocks = (group_end(sb, group) - group_start(sb, group)) // subject.ratio + 1
    for name, value, most in (
        ("bg_free_blocks_count", descriptor.free_blocks_count, blocks),
        ("bg_free_inodes_count", descriptor.free_inodes_count, sb.inodes_per_group),
        ("bg_used_dirs_count", descriptor.used_dirs_count, sb.inodes_per_group),
        ("bg_itable_unused", descriptor.itable_unused, sb.inodes_per_group if subject.lazy else 0),
    ):
        if value > most:
            find(where, name, offset, f"{most:,} at most", f"{value:,}", sections.GROUP_DESC)


def _with_possible_places(subject: Subject, group: int, descriptor: Descriptor, offset: int) -> Descriptor:
    """Return a descriptor whose places are in the file system, the others 0; without flex_bg in its group."""
    sb = subject.superblock
    low, high = sb.first_data_block, sb.blocks
    if not sb.features.has(f.Incompat.FLEX_BG):
        low, high = group_start(sb, group), group_end(sb, group)
    changed: dict[str, int] = {}
    for name, length in (("block_bitmap", 1), ("inode_bitmap", 1), ("inode_table", subject.table_blocks)):
        start = getattr(descriptor, name)
        if low <= start and start + length <= high and start:
            continue
        expected = f"{counted(length, 'block')} from {low:,} to {high - 1:,}"
        subject.remarks.find(
            structure_of(group), f"bg_{name}", offset, expected, f"{start:,}", sections.GROUP_DESC
        )
        if not subject.is_run(start, length):
            changed[name] = 0
    return descriptor._replace(**changed) if changed else descriptor


def claim_tables(subject: Subject) -> None:
    """Note the blocks of superblocks, descriptors, bitmaps and inode tables as the file system's own."""
    sb = subject.superblock
    runs: Runs = []
    for group, descriptor in subject.groups.items():
        start, stop = own_range(sb, group)
        if start < stop:
            runs.append((start, min(stop, sb.blocks)))
            _miss(subject, runs[-1], f"the superblock and descriptors in group {group:,}")
        for what, first, length in (
            ("block bitmap", descriptor.block_bitmap, 1),
            ("inode bitmap", descriptor.inode_bitmap, 1),
            ("inode table", descriptor.inode_table, subject.table_blocks),
        ):
            if first:
                runs.append((first, first + length))
                _miss(subject, runs[-1], f"the {what} of group {group:,}")
    if sb.features.has(f.Incompat.MMP) and sb.is_block(int(sb.fields["s_mmp_block"])):
        block = int(sb.fields["s_mmp_block"])
        runs.append((block, block + 1))
    subject.usage.add(OF_THE_FILE_SYSTEM, runs)


def _miss(subject: Subject, run: tuple[int, int], owner: str) -> None:
    if subject.cut is not None:
        subject.cut.miss(*run, owner)
