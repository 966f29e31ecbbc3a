"""Verify ext4, ext3 and ext2: every checksum, and everything that is said twice, against the other.

::

    superblock ── journal ──> what a mount would see
       ├── descriptors ── backups
       ├── inodes ── attributes, maps ──> which block is whose            (usage)
       ├── directories ── htrees ──> which name leads where               (names)
       └── links, bitmaps, counts: what was said against what was found

A pass makes findings of what is wrong and goes on with what can still be believed. Each structure is read
once, and what the image has no bytes for is not gone through, so that time and memory go with what is stored,
whatever an image says of its size.

Where the end of the file system is missing, that is one finding, and what would only follow from it is none
(:mod:`cut <imgwriter.verify.ext4.cut>`). Of a file system with features that are not read, superblock and
descriptors are checked, with their backups; the rest is a note.

See docs/formats/ext4-reading.md for the list of what is checked.
"""

from __future__ import annotations

from collections.abc import Callable

from imgwriter.errors import FormatError
from imgwriter.ext4 import features as f
from imgwriter.ext4.device import Device
from imgwriter.ext4.format import EXT4_VALID_FS, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE
from imgwriter.ext4.reader import recover
from imgwriter.ext4.superblock_reader import SuperblockValues, superblock_values
from imgwriter.extent import Volume
from imgwriter.units import counted
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.backups import verify_backups
from imgwriter.verify.ext4.bitmaps import BitmapPass
from imgwriter.verify.ext4.cut import cut_of, missing, up_to
from imgwriter.verify.ext4.descriptors import claim_tables, read_descriptors
from imgwriter.verify.ext4.directories import DirectoryPass
from imgwriter.verify.ext4.inodes import InodePass
from imgwriter.verify.ext4.links import verify_links
from imgwriter.verify.ext4.orphans import find_orphans
from imgwriter.verify.ext4.special import special_checks, verify_mmp
from imgwriter.verify.ext4.subject import Subject
from imgwriter.verify.ext4.superblock import STRUCTURE, find_superblock, unread
from imgwriter.verify.ext4.superblock_rules import verify_superblock
from imgwriter.verify.ext4.usage import OF_THE_FILE_SYSTEM, Usage
from imgwriter.verify.remarks import Remarks
from imgwriter.verify.values import Result

__all__ = ["verify_ext4"]

_PASSES = 3
Progress = Callable[[int, int], None]


def verify_ext4(
    volume: Volume, offset: int, size: int, progress: Progress | None = None, *, known_cut: bool = False
) -> Result:
    """Check the file system at ``offset`` bytes of a volume.

    Args:
        volume: A disk, or the file system alone.
        offset: Where the file system begins, in bytes.
        size: Bytes that it may have, such as those of its partition.
        progress: Called with how much is done, and of how much; one unit is an arbitrary share of the work.
        known_cut: That the volume is cut off was found already: what of the file system is missing is a note.

    Returns:
        Findings: what is damaged. Notes: what is allowed and rare, and what was not looked at.

    Raises:
        FormatError: There is none, or none of its superblocks is right.
        SourceError: The volume cannot be read, or changed meanwhile.
    """
    remarks = Remarks(sections.SUPER)
    device = Device(volume, offset, max(min(size, volume.size - offset), 0))
    try:
        superblock = find_superblock(device, remarks)
    except FormatError:
        field, found = unread(device)
        if not found:
            raise
        at = offset + SUPERBLOCK_OFFSET
        remarks.note(STRUCTURE, field, at, "a file system that is verified", found, sections.SUPER)
        return remarks.result()
    device = Device(volume, offset, device.size, superblock.block_size)
    cut = cut_of(device, superblock)
    if cut is not None:
        remarks.end = device.block_offset(cut.here)
        volume = up_to(volume, remarks.end)
        device = Device(volume, offset, device.size, superblock.block_size)
    device, superblock = _recovered(volume, device, superblock, remarks)
    usage = Usage(superblock.first_data_block, superblock.cluster_size // superblock.block_size)
    subject = Subject(device, superblock, remarks, usage, in_use_unclean=_is_unclean(superblock), cut=cut)
    content = device.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
    _Checks(subject, content, progress or (lambda done, total: None)).run()
    result = remarks.result()
    if cut is None:
        return result
    said, left_out = missing(cut, device, superblock)
    if known_cut:
        return Result(result.findings, (said, left_out, *result.notes))
    return Result((said, *result.findings), (left_out, *result.notes))


def _is_unclean(superblock: SuperblockValues) -> bool:
    """Return whether the sums of a superblock may be old: it is of a mounted file system, or a backup."""
    recover = superblock.features.has(f.Incompat.RECOVER)
    fields = superblock.fields
    return recover or not fields["s_state"] & EXT4_VALID_FS or fields["s_block_group_nr"] != 0


def _recovered(
    volume: Volume, device: Device, superblock: SuperblockValues, remarks: Remarks
) -> tuple[Device, SuperblockValues]:
    """Return the file system as a mount would see it: with what was committed to its journal."""
    features = superblock.features
    if not (features.has(f.Incompat.RECOVER) and features.has(f.Compat.HAS_JOURNAL)):
        return device, superblock
    if f.refusals(features):
        return device, superblock
    where = "ext4 journal"
    here = device.size // superblock.block_size
    try:
        recovery = recover(device, superblock, verify=False)
    except FormatError as error:
        # A feature is no damage, and neither is what follows from a part that is missing.
        excused = ", feature " in error.where or superblock.blocks > here
        say = remarks.note if excused else remarks.find
        found = str(error).partition(";")[0]
        say(where, "", error.offset or device.offset, "a log that can be replayed", found, sections.JOURNAL)
        return device, superblock
    readable = {block: newer for block, newer in recovery.newer.items() if newer.block < here}
    found = (
        f"{counted(recovery.transactions, 'transaction')} in its journal, with"
        f" {counted(len(recovery.newer), 'newer block')}"
    )
    remarks.note(where, "needs_recovery", device.offset, "unmounted", found, sections.JOURNAL)
    newer = Device(volume, device.offset, device.size, superblock.block_size, readable)
    try:
        content = newer.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
        available = max(device.size, superblock.size)
        superblock = superblock_values(content, device.offset, SUPERBLOCK_OFFSET, available, verify=True)
    except FormatError as error:
        expected = "a superblock that can be"
        remarks.find(where, "", error.offset or device.offset, expected, str(error), sections.JOURNAL)
    return newer, superblock


class _Checks:
    """All passes over one file system, in the order in which they need each other."""

    def __init__(self, subject: Subject, content: bytes, progress: Progress) -> None:
        self._subject = subject
        self._content = content
        self._progress = progress

    def run(self) -> None:
        """Make all findings."""
        subject, progress = self._subject, self._progress
        verify_superblock(subject, self._content)
        blocks = read_descriptors(subject)
        verify_backups(subject, blocks)
        if f.refusals(subject.superblock.features):
            progress(1, 1)
            return
        claim_tables(subject)
        verify_mmp(subject)
        find_orphans(subject)
        groups = max(subject.groups, default=0) + 1
        inodes = InodePass(subject, special_checks(subject))
        inodes.run(lambda group: progress(group + 1, _PASSES * groups))
        directories = DirectoryPass(subject)
        count = len(inodes.directories)
        directories.run(
            inodes.directories, lambda done: progress(groups + groups * done // count, _PASSES * groups)
        )
        _conflicts(subject)
        if subject.cut is not None:
            BitmapPass(subject).run_alone()
            progress(1, 1)
            return
        verify_links(subject, directories.names.parents, directories.names.dotdots)
        BitmapPass(subject).run(lambda group: progress(2 * groups + group + 1, _PASSES * groups))


def _conflicts(subject: Subject) -> None:
    """Make a finding of each block with two owners."""
    subject.usage.settle()
    for block, *owners in subject.usage.conflicts:
        other, owner = sorted(owners)  # an inode is named before the group's tables
        subject.remarks.find(
            _named(owner),
            "i_block" if owner else "bg_inode_table",
            subject.device.block_offset(block),
            "blocks that nothing else has",
            f"block {block:,}, which {'has two uses' if other == owner else f'is {_named(other)!r} too'}",
            sections.BITMAPS,
        )


def _named(owner: int) -> str:
    return "ext4 group tables" if owner == OF_THE_FILE_SYSTEM else f"ext4 inode {owner}"
