"""Orphans: inodes that were removed or cut off while they were open, which the next mount finishes.

::

    list   s_last_orphan ── inode ── i_dtime ──> inode ── i_dtime ──> 0
    file   s_orphan_file_inum ── blocks │ inode │ 0 │ inode │ ... │ ob_magic │ ob_checksum │

Such an inode is in use without links or a name, or has blocks beyond i_size.

Spec: kernel Documentation/filesystems/ext4/orphan.rst, inodes.rst.
"""

from __future__ import annotations

from imgwriter.errors import FormatError
from imgwriter.ext4 import features as f
from imgwriter.ext4.block_map_walk import little_endian
from imgwriter.ext4.checksum import crc32c, inode_seed
from imgwriter.ext4.extent_tree import Piece
from imgwriter.ext4.format import EXT4_ORPHAN_BLOCK_MAGIC, ORPHAN_TAIL, SUPERBLOCK_OFFSET
from imgwriter.ext4.inode_reader import InodeReader
from imgwriter.ext4.map_reader import Claims, MapReader
from imgwriter.units import counted
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.record import decode
from imgwriter.verify.ext4.subject import Subject

_FILE = "ext4 orphan file"


def find_orphans(subject: Subject) -> None:
    """Note which inodes are orphans, and check what says so."""
    _list(subject)
    _file(subject)
    if subject.orphans:
        at = subject.device.offset + SUPERBLOCK_OFFSET
        found = f"{counted(len(subject.orphans), 'inode')} for the next mount to remove or to cut off"
        subject.remarks.note("ext4 superblock", "s_last_orphan", at, "no orphans", found, sections.ORPHAN)


def _list(subject: Subject) -> None:
    sb = subject.superblock
    number = int(sb.fields["s_last_orphan"])
    while number:
        content = subject.inode_bytes(number)
        if subject.lacks_inode(number):
            return
        if number in subject.orphans or content is None or number < sb.first_inode:
            at = subject.device.offset + SUPERBLOCK_OFFSET
            expected = "inodes, each once, up to 0"
            subject.remarks.find(
                "ext4 superblock", "s_last_orphan", at, expected, f"{number:,}", sections.ORPHAN
            )
            return
        subject.orphans.add(number)
        number = decode(content, number, 0, sb).fields.dtime


def _file(subject: Subject) -> None:
    sb = subject.superblock
    if not sb.features.has(f.Compat.ORPHAN_FILE):
        return
    number = int(sb.fields["s_orphan_file_inum"])
    found: set[int] = set()
    size = sb.block_size
    content = subject.inode_bytes(number)
    if content is None:
        return
    generation = decode(content, number, 0, sb).fields.generation
    for piece in _pieces(subject, number):
        for low, high in subject.device.allocated(piece.start * size, piece.length * size):
            for block in range(low // size, -(-high // size)):
                found.update(_block(subject, block, number, generation))
    present = sb.features.has(f.RoCompat.ORPHAN_PRESENT)
    if found and not present:
        at = subject.inode_offset(number)
        expected = "orphan_present in s_feature_ro_compat, or no entries"
        entries = counted(len(found), "entry", "entries")
        subject.remarks.find(_FILE, "ob_inodes", at, expected, entries, sections.ORPHAN)
    subject.orphans |= found


def _pieces(subject: Subject, number: int) -> list[Piece]:
    """Return where the orphan file is; what is wrong with its map is found with that of every inode."""
    try:
        inode = InodeReader(subject.device, subject.superblock, verify=False).read(number)
        return MapReader(subject.device, subject.superblock, Claims(subject.device), verify=False).pieces(
            inode
        )
    except FormatError:
        return []


def _block(subject: Subject, block: int, number: int, generation: int) -> list[int]:
    """Check a block of the orphan file, and return the inodes in it."""
    sb, remarks = subject.superblock, subject.remarks
    content, offset = subject.device.block(block), subject.device.block_offset(block)
    body = content[: -ORPHAN_TAIL.size]
    magic, stored = ORPHAN_TAIL.unpack_from(content, len(body))
    if magic != EXT4_ORPHAN_BLOCK_MAGIC:
        expected = f"{EXT4_ORPHAN_BLOCK_MAGIC:#010x}"
        remarks.find(_FILE, "ob_magic", offset, expected, f"{magic:#010x}", sections.ORPHAN)
        return []
    if subject.seed is not None:
        seed = crc32c(block.to_bytes(8, "little"), inode_seed(subject.seed, number, generation))
        computed = crc32c(body, seed)
        if computed != stored:
            expected = f"{computed:#010x}, as its bytes give"
            remarks.find(_FILE, "ob_checksum", offset, expected, f"{stored:#010x}", sections.ORPHAN)
    found = []
    for entry in little_endian(body):
        if not entry:
            continue
        if sb.first_inode <= entry <= sb.inodes:
            found.append(entry)
        else:
            expected = f"inodes from {sb.first_inode} to {sb.inodes:,}"
            remarks.find(_FILE, "ob_inodes", offset, expected, f"{entry:,}", sections.ORPHAN)
    return found
