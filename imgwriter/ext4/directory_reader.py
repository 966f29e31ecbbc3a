"""Directories of a file system that is read: the names in a block, and where each leads.

An htree is read as the linear directory that it also is: its index stands where old kernels see an unused
entry, and so is passed over. The same is true of the tail that holds a block's checksum.

Spec: kernel Documentation/filesystems/ext4/directory.rst.
"""

from __future__ import annotations

from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.device import damaged
from imgwriter.ext4.directory import ENTRY, ENTRY_TAIL, EXT4_FT_DIR_CSUM
from imgwriter.ext4.format import EXT4_INDEX_FL
from imgwriter.ext4.htree import DX_COUNTLIMIT, DX_ENTRY, DX_ROOT_INFO, DX_TAIL
from imgwriter.ext4.inode_reader import InodeRecord

_ALIGNED = 3
_DOT_SIZE = 12
"""Bytes of the entry "."; in dx_root, dx_root_info follows the first so many of ".."."""
DX_ROOT_COUNT = 2 * _DOT_SIZE + DX_ROOT_INFO.size
"""Where dx_root has its dx_countlimit."""
DX_NODE_COUNT = ENTRY.size
"""Where dx_node has its: after an entry without a name."""


def names(content: bytes, inodes: int, number: int, offset: int) -> list[tuple[bytes, int]]:
    """Return (name, inode number) of every entry in use, in the block's order, ``.`` and ``..`` included.

    Args:
        content: A block, or inline data: a chain of entries that reaches its end.
        inodes: Inodes of the file system.
        number: The directory's inode, for messages.
        offset: Of the block, in the Volume.

    Raises:
        FormatError: The chain is broken, or an entry cannot be.
    """
    found = []
    at, end = 0, len(content)
    head, unpack = ENTRY.size, ENTRY.unpack_from
    while at < end:
        if end - at < head:
            raise _damaged(f"an entry begins {end - at} bytes before the end", number, offset + at)
        inode, rec_len, name_len, _ = unpack(content, at)
        after = at + rec_len
        if rec_len < head + name_len or rec_len & _ALIGNED or after > end:
            message = (
                f"an entry with a name of {name_len} bytes has rec_len {rec_len:,}, {end - at:,} are left"
            )
            raise _damaged(message, number, offset + at)
        if inode:
            name = content[at + head : at + head + name_len]
            if inode > inodes:
                message = f"an entry leads to inode {inode:,}, of {inodes:,}"
                raise _damaged(message, number, offset + at)
            if not name or b"/" in name or b"\0" in name:
                raise _damaged(f"an entry has the name {name!r}", number, offset + at)
            found.append((name, inode))
        at = after
    return found


def verify_block(content: bytes, seed: int, inode: InodeRecord, logical: int, offset: int) -> None:
    """Check the checksum of a directory's block: a leaf, or part of an htree's index.

    Args:
        content: The block.
        seed: ``checksum.inode_seed`` of the directory.
        inode: The directory.
        logical: The block's place in the directory, in blocks.
        offset: Of the block, in the Volume.

    Raises:
        FormatError: It is wrong, or there is no place for it.

    Spec: checksums.rst; fs/ext4/namei.c, __ext4_read_dirblock().
    """
    of_index = bool(inode.flags & EXT4_INDEX_FL) and (logical == 0 or _is_dx_node(content))
    found = block_checksum(content, seed, of_index)
    if found is None:
        raise _damaged("a block has no place for its checksum", inode.number, offset)
    stored, computed = found
    if stored != computed:
        message = f"a block's checksum is {stored:#010x}, its bytes give {computed:#010x}"
        raise _damaged(message, inode.number, offset)


def block_checksum(content: bytes, seed: int, of_index: bool) -> tuple[int, int] | None:
    """Return the checksum that a directory's block has, and the one that its bytes give.

    Which kind of block it is cannot be told by its end: where a kernel makes the first block of a directory
    the root of an index, dt_reserved keeps the rec_len and the type of the tail that was there.

    Args:
        content: The block.
        seed: ``checksum.inode_seed`` of the directory.
        of_index: The block is part of an htree's index, and no leaf.

    Returns:
        None where the block has no place for one.

    Spec: checksums.rst; fs/ext4/namei.c, ext4_dirblock_csum_verify(), ext4_dx_csum(), make_indexed_dir().
    """
    if of_index:
        return _index_checksum(content, seed)
    if not has_tail(content):
        return None
    at = len(content) - ENTRY_TAIL.size
    return ENTRY_TAIL.unpack_from(content, at)[4], crc32c(content[:at], seed)


def has_tail(content: bytes) -> bool:
    """Return whether a leaf ends in a checksum; a block of an index may end as if it did."""
    zero1, rec_len, zero2, kind, _ = ENTRY_TAIL.unpack_from(content, len(content) - ENTRY_TAIL.size)
    return (zero1, rec_len, zero2, kind) == (0, ENTRY_TAIL.size, 0, EXT4_FT_DIR_CSUM)


def _is_dx_node(content: bytes) -> bool:
    """Return whether a block is one unused entry; a leaf with a checksum has a tail besides."""
    return ENTRY.unpack_from(content)[:2] == (0, len(content))


def _index_checksum(content: bytes, seed: int) -> tuple[int, int] | None:
    rec_len = ENTRY.unpack_from(content)[1]
    count_at = DX_NODE_COUNT if rec_len == len(content) else DX_ROOT_COUNT
    limit, count = DX_COUNTLIMIT.unpack_from(content, count_at)
    tail_at = count_at + limit * DX_ENTRY.size
    if (
        (count_at == DX_ROOT_COUNT and rec_len != _DOT_SIZE)
        or count > limit
        or tail_at + DX_TAIL.size > len(content)
    ):
        return None
    reserved, stored = DX_TAIL.unpack_from(content, tail_at)
    used = content[: count_at + count * DX_ENTRY.size]
    return stored, crc32c(DX_TAIL.pack(reserved, 0), crc32c(used, seed))


def _damaged(what: str, number: int, offset: int) -> Exception:
    return damaged(f"in the directory inode {number:,} {what}", f"ext4 directory, inode {number}", offset)
