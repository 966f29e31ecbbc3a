"""Reads ext4, ext3 and ext2 from a Volume, as the kernel would see it after a mount.

::

    Volume ── superblock_reader ──> SuperblockValues
       └── needs_recovery: journal_reader ──> an overlay of newer blocks
    FileSystem.tree() ── tree_reader ──> Inode tree, contents left where they are
                            └── inode_reader, directory_reader, map_reader, xattr_reader

The records are those that the writer uses. An image comes from anywhere: whatever is in it, the answer is a
tree or a FormatError with the structure and its place, for work and memory in proportion to the file system's
size. See docs/formats/ext4-reading.md.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

from imgwriter.errors import FormatError
from imgwriter.ext4 import features as f
from imgwriter.ext4.device import Device, damaged
from imgwriter.ext4.format import SUPERBLOCK_OFFSET
from imgwriter.ext4.inode_reader import InodeReader
from imgwriter.ext4.journal_reader import JournalReader, Recovery
from imgwriter.ext4.map_reader import Claims, MapReader
from imgwriter.ext4.superblock_reader import SuperblockValues, read_superblock
from imgwriter.ext4.tree_reader import TreeReader
from imgwriter.extent import Volume
from imgwriter.tree.inventory import Inode

__all__ = ["FileSystem", "Recovery", "SuperblockValues", "read_file_system"]


@dataclass(frozen=True)
class FileSystem:
    """A file system that was opened for reading.

    Attributes:
        superblock: What its superblock says, after recovery.
        boot_code: Its first 1,024 bytes, which are a boot loader's.
        recovery: What was taken from the journal, or None where none was needed.
        device: Its blocks.
        verify: Whether checksums are checked.
    """

    superblock: SuperblockValues
    boot_code: bytes
    recovery: Recovery | None
    device: Device
    verify: bool

    def tree(self, origin: str = "ext4") -> Inode:
        """Return the root directory, with all that is below it; contents are read when they are asked for.

        Hard links are names of one Inode. What an unwritten extent covers is a hole. ``runs`` says what the
        file system has blocks for, whatever the Volume has there.

        Args:
            origin: Where the inodes come from, for messages (``Inode.origin``).

        Raises:
            FormatError: It is damaged, or a file is encrypted; ``offset`` counts from the Volume's start.
            SourceError: The volume cannot be read, or changed meanwhile.
        """
        return self.browse(origin).read()

    def browse(self, origin: str = "ext4") -> TreeReader:
        """Return a reader of those directories that are asked for; arguments are those of :meth:`tree`."""
        return TreeReader(self.device, self.superblock, origin, self.verify)


def read_file_system(
    volume: Volume, offset: int = 0, size: int | None = None, *, verify: bool = False
) -> FileSystem:
    """Open the ext4, ext3 or ext2 at ``offset`` bytes of a volume.

    Where it was not unmounted its journal is read, and what was committed there counts; the volume stays as
    it is.

    Args:
        volume: A disk, or the file system alone.
        offset: Where the file system begins, in bytes.
        size: Bytes that it may have, such as those of its partition; None: up to the volume's end.
        verify: Check the checksums of all that is read (metadata_csum, uninit_bg). The journal's are always.

    Raises:
        FormatError: There is none, it is damaged, or it has a feature that is not read; ``where`` names it.
        SourceError: The volume cannot be read, or changed meanwhile.
    """
    available = max(volume.size - offset, 0)
    if size is not None:
        available = min(size, available)
    superblock = read_superblock(Device(volume, offset, available), verify)
    device = Device(volume, offset, available, superblock.block_size)
    recovery = None
    if superblock.features.has(f.Incompat.RECOVER) and superblock.features.has(f.Compat.HAS_JOURNAL):
        recovery = recover(device, superblock, verify)
        device = Device(volume, offset, available, superblock.block_size, recovery.newer)
        superblock = read_superblock(device, verify)
    return FileSystem(superblock, device.read(0, SUPERBLOCK_OFFSET), recovery, device, verify)


def recover(device: Device, superblock: SuperblockValues, verify: bool) -> Recovery:
    """Read the journal of a file system that was not unmounted."""
    number = superblock.fields["s_journal_inum"]
    where = "ext4 superblock, s_journal_inum"
    at = device.offset + SUPERBLOCK_OFFSET
    if not number:
        message = (
            "the file system needs recovery from a journal on another device; run e2fsck with that device"
        )
        raise FormatError(message, where, at)
    if number > superblock.inodes:
        raise damaged(f"s_journal_inum is {number:,}, of {superblock.inodes:,} inodes", where, at)
    inode = InodeReader(device, superblock, verify).read(number)
    if not stat.S_ISREG(inode.mode) or not inode.links:
        message = f"the journal's inode {number:,} has mode {inode.mode:#o} and {inode.links} links"
        raise damaged(message, f"ext4 inode {number}", inode.offset)
    pieces = MapReader(device, superblock, Claims(device), verify).pieces(inode)
    return JournalReader(device, superblock, inode.offset, pieces).recover()
