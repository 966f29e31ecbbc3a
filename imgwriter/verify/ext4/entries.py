"""One block of a directory: a chain of entries that covers it, and the entries in use.

Spec: kernel Documentation/filesystems/ext4/directory.rst.
"""

from __future__ import annotations

from typing import NamedTuple

from imgwriter.ext4.directory import ENTRY

LEAST_REC_LEN = 12
_ALIGNED = 3


class Entry(NamedTuple):
    """A name in use.

    Attributes:
        place: Its offset in the block.
        rec_len: Bytes to the next one.
    """

    name: bytes
    inode: int
    file_type: int
    place: int
    rec_len: int


class Chain(NamedTuple):
    """The entries of a block, as far as they follow each other.

    Attributes:
        entries: Those in use, in order.
        fault: (offset in the block, expected, found) of the entry that breaks the chain, or None.
    """

    entries: list[Entry]
    fault: tuple[int, str, str] | None


def chain(content: bytes, end: int) -> Chain:
    """Follow the entries of a block.

    Args:
        content: The block, or inline data.
        end: Where the chain has to end: before the checksum, if there is one.
    """
    found: list[Entry] = []
    at = 0
    head, unpack = ENTRY.size, ENTRY.unpack_from
    while at < end:
        if end - at < LEAST_REC_LEN:
            return Chain(found, (at, f"entries up to {end:,}", f"{end - at} bytes left"))
        inode, rec_len, name_len, file_type = unpack(content, at)
        after = at + rec_len
        if rec_len < LEAST_REC_LEN or rec_len & _ALIGNED or after > end or head + name_len > rec_len:
            least = max(LEAST_REC_LEN, head + name_len + 3 & ~3)
            return Chain(found, (at, f"a multiple of 4 from {least} to {end - at:,}", f"{rec_len:,}"))
        if inode:
            found.append(Entry(content[at + head : at + head + name_len], inode, file_type, at, rec_len))
        at = after
    return Chain(found, None)
