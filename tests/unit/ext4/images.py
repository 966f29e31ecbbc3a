"""File systems in memory for the reader's tests, and their fields by the specification's places.

Trees go in through imgwriter's writer; what the reader gives has to be the tree. Damage is done by offset,
with the layouts of the kernel's documentation, not with the reader's own records.
"""

from __future__ import annotations

import struct
from typing import Any

from imgwriter.ext4 import minimum_size, plan
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.reader import FileSystem, read_file_system
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.tree.inventory import Inode, Inventory
from tests import trees
from tests.unit.ext4.support import parameters

SUPER = 1024
"""Where the superblock is."""


def image(tree: Inventory, size: int | None = None, **asked: Any) -> bytearray:
    """Return a file system that holds ``tree``, the smallest or of ``size`` bytes."""
    wanted = parameters(**asked)
    volume = plan(tree, wanted, minimum_size(tree, wanted) if size is None else size).volume()
    return bytearray(volume.read(0, volume.size))


def of(entries: dict[bytes, Inode], **asked: Any) -> bytearray:
    """Return the smallest file system whose root has ``entries``."""
    return image(trees.inventory(entries), **asked)


def volume(content: bytes | bytearray) -> Volume:
    """Return a Volume of those bytes."""
    return Volume(len(content), [extent(0, Bytes(bytes(content)), "image")])


def opened(content: bytes | bytearray, verify: bool = False) -> FileSystem:
    """Open a file system in memory."""
    return read_file_system(volume(content), verify=verify)


def root(content: bytes | bytearray, verify: bool = False) -> Inode:
    """Return the root directory of a file system in memory."""
    return opened(content, verify).tree()


def get(content: bytes | bytearray, at: int, form: str) -> int:
    """Return a field."""
    (value,) = struct.unpack_from(form, content, at)
    return int(value)


def put(content: bytearray, at: int, form: str, *values: int | bytes) -> None:
    """Set a field."""
    struct.pack_into(form, content, at, *values)


def block_size(content: bytes | bytearray) -> int:
    """Return the bytes of a block: s_log_block_size at 0x18."""
    return 1024 << get(content, SUPER + 0x18, "<I")


def inode_at(content: bytes | bytearray, number: int) -> int:
    """Return where an inode is: bg_inode_table_lo at 8 of a descriptor; s_inodes_per_group at 0x28."""
    per_group = get(content, SUPER + 0x28, "<I")
    group, index = divmod(number - 1, per_group)
    wide = get(content, SUPER + 0x60, "<I") & 0x80
    table = SUPER // block_size(content) + 1
    at = table * block_size(content) + group * (64 if wide else 32)
    return get(content, at + 8, "<I") * block_size(content) + index * 256


def number_of(content: bytes | bytearray, name: bytes, directory: int = 2) -> int:
    """Return the inode number of a name in a directory whose entries are in its first block."""
    at = first_block(content, directory)
    entry = content.index(name, at) - 8
    return get(content, entry, "<I")


def first_block(content: bytes | bytearray, number: int) -> int:
    """Return where the first block of an inode is: ee_start_lo of its first extent, or i_block[0]."""
    at = inode_at(content, number)
    extents = get(content, at + 0x20, "<I") & 0x80000
    return get(content, at + 0x28 + (20 if extents else 0), "<I") * block_size(content)


def entry_at(content: bytes | bytearray, name: bytes, directory: int = 2) -> int:
    """Return where the entry of a name is: its inode; rec_len follows at 4, name_len at 6."""
    return content.index(name, first_block(content, directory)) - 8


def index_by_the_kernel(content: bytearray, number: int) -> None:
    """Give the root of a directory's index the dt_reserved that a kernel leaves in it, and its checksum.

    fs/ext4/namei.c, make_indexed_dir(), makes the root where the first leaf was, and ext4_dx_csum_set() sets
    dt_checksum alone: dt_reserved keeps det_rec_len 12, det_reserved_zero2 0 and det_reserved_ft 0xDE of the
    leaf's tail, and the four bytes before are those of an entry that is not used yet, 0.
    Linux 6.18 leaves ``0c 00 00 de`` there.
    """
    at, size = first_block(content, number), block_size(content)
    put(content, at + size - 8, "<I", 0xDE00000C)
    count = get(content, at + 0x22, "<H")
    seed = crc32c(content[SUPER + 0x68 : SUPER + 0x78])
    generation = get(content, inode_at(content, number) + 0x64, "<I")
    seed = crc32c(struct.pack("<II", number, generation), seed)
    seed = crc32c(bytes(content[at : at + 0x20 + 8 * count]), seed)
    put(content, at + size - 4, "<I", crc32c(struct.pack("<II", 0xDE00000C, 0), seed))
