"""Journals as the specification describes them, to be replayed.

::

    descriptor | data ... | revoke | commit        one transaction, from position on, round the ring

Spec: kernel Documentation/filesystems/ext4/journal.rst. tests/compat/test_ext4_reader.py has e2fsck replay
some of these.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from imgwriter.ext4.checksum import crc32c
from tests.unit.ext4.images import SUPER, block_size, first_block, get, inode_at, put

MAGIC = 0xC03B3998
DESCRIPTOR, COMMIT, REVOKE = 1, 2, 5
ESCAPE, SAME_UUID, LAST_TAG = 1, 2, 8
UUID = bytes(range(100, 116))

VERSIONS = ("none", "v1", "v2", "v3")


class Transaction(NamedTuple):
    """What is written to which block, and which blocks are revoked."""

    writes: Sequence[tuple[int, bytes]] = ()
    revokes: Sequence[int] = ()
    time: int = 1_700_000_000


class Log:
    """The journal of an image, inode 8.

    Args:
        version: Kind of checksum: one of VERSIONS.
        wide: Block numbers have 64 bits.
        start: s_start: the position of the first transaction; None: after the superblock.
        sequence: s_sequence.
        length: s_maxlen: how much of the journal is used; None: all.
    """

    def __init__(
        self,
        image: bytearray,
        version: str = "v3",
        wide: bool = True,
        start: int | None = None,
        sequence: int = 7,
        length: int | None = None,
    ) -> None:
        self.image = image
        self.version = version
        self.wide = wide
        self.block = block_size(image)
        self.base = first_block(image, 8)
        self.length = length or get(image, self.base + 16, ">I")
        self.position = start or 1
        self.sequence = sequence
        self.sealed = version in ("v2", "v3")
        self.seed = crc32c(UUID)
        self._superblock(start or 1)
        incompat = get(image, SUPER + 0x60, "<I") | 4
        put(image, SUPER + 0x60, "<I", incompat)
        seal_superblock(image)

    def add(self, transaction: Transaction) -> None:
        """Append a committed transaction."""
        self.begin(transaction)
        self.commit(transaction)

    def begin(self, transaction: Transaction) -> None:
        """Append all of a transaction but its commit."""
        self.crc = 0xFFFFFFFF
        capacity = (self.block - 12 - 16 - 4) // 16
        writes = list(transaction.writes)
        for first in range(0, len(writes), capacity):
            self._descriptor(writes[first : first + capacity])
        if transaction.revokes:
            self._revoke(transaction.revokes)

    def commit(self, transaction: Transaction) -> None:
        """Append the commit of what was begun."""
        block = bytearray(self.block)
        struct.pack_into(">III", block, 0, MAGIC, COMMIT, self.sequence)
        struct.pack_into(">QI", block, 48, transaction.time, 5)
        if self.version == "v1":
            struct.pack_into(">BB2xI", block, 12, 1, 4, self.crc)
        if self.sealed:
            struct.pack_into(">I", block, 16, crc32c(bytes(block), self.seed))
        self._append(block)
        self.sequence = (self.sequence + 1) % (1 << 32)

    def offset(self, position: int) -> int:
        """Return where a block of the journal is in the image, by its extents or direct blocks."""
        at = inode_at(self.image, 8) + 0x28
        if get(self.image, at - 8, "<I") & 0x80000:
            for extent in range(at + 12, at + 60, 12):
                logical, length, _, start = struct.unpack_from("<IHHI", self.image, extent)
                if logical <= position < logical + length:
                    return int(start + position - logical) * self.block
        assert position < 12
        return get(self.image, at + 4 * position, "<I") * self.block

    def _superblock(self, start: int) -> None:
        compat = 1 if self.version == "v1" else 0
        incompat = 1 | (2 if self.wide else 0) | {"v2": 8, "v3": 16}.get(self.version, 0)
        block = bytearray(1024)
        fields = (MAGIC, 4, 0, self.block, self.length, 1, self.sequence, start, 0, compat, incompat, 0)
        struct.pack_into(">12I16sI", block, 0, *fields, UUID, 1)
        if self.sealed:
            block[0x50] = 4
            struct.pack_into(">I", block, 0xFC, crc32c(bytes(block)))
        self.image[self.base : self.base + 1024] = block

    def _descriptor(self, writes: Sequence[tuple[int, bytes]]) -> None:
        block = bytearray(self.block)
        struct.pack_into(">III", block, 0, MAGIC, DESCRIPTOR, self.sequence)
        at = 12
        data = []
        for index, (number, content) in enumerate(writes):
            flags = (SAME_UUID if index else 0) | (LAST_TAG if index == len(writes) - 1 else 0)
            if content[:4] == MAGIC.to_bytes(4, "big"):
                flags |= ESCAPE
                content = bytes(4) + content[4:]
            checksum = crc32c(content, crc32c(self.sequence.to_bytes(4, "big"), self.seed))
            at = self._tag(block, at, number, flags, checksum)
            if not index:
                block[at : at + 16] = UUID
                at += 16
            data.append(content)
        self._tail(block)
        for content in (block, *data):
            self.crc = crc32_be(content, self.crc)
            self._append(content)

    def _tag(self, block: bytearray, at: int, number: int, flags: int, checksum: int) -> int:
        low, high = number & 0xFFFFFFFF, number >> 32
        if self.version == "v3":
            struct.pack_into(">IIII", block, at, low, flags, high, checksum)
            return at + 16
        struct.pack_into(">IHH", block, at, low, checksum & 0xFFFF if self.sealed else 0, flags)
        at += 8
        if self.wide:
            struct.pack_into(">I", block, at, high)
            at += 4
        # Version 2 left a hole of two bytes in its tags, for good.
        return at + 2 if self.version == "v2" else at

    def _revoke(self, numbers: Sequence[int]) -> None:
        block = bytearray(self.block)
        form = ">Q" if self.wide else ">I"
        size = struct.calcsize(form)
        struct.pack_into(">IIII", block, 0, MAGIC, REVOKE, self.sequence, 16 + size * len(numbers))
        for index, number in enumerate(numbers):
            struct.pack_into(form, block, 16 + size * index, number)
        self._tail(block)
        self._append(block)

    def _tail(self, block: bytearray) -> None:
        if self.sealed:
            struct.pack_into(">I", block, len(block) - 4, crc32c(bytes(block), self.seed))

    def _append(self, content: bytes | bytearray) -> None:
        at = self.offset(self.position)
        self.image[at : at + self.block] = content
        self.position += 1
        if self.position == self.length:
            self.position = 1


def crc32_be(content: bytes | bytearray, crc: int) -> int:
    """Return the kernel's crc32_be, from zlib's, which has every bit the other way round."""
    mirrored = int(f"{crc:032b}"[::-1], 2) ^ 0xFFFFFFFF
    found = zlib.crc32(bytes(_MIRROR[byte] for byte in content), mirrored) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)


_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def seal_superblock(image: bytearray) -> None:
    """Give the superblock its checksum again, with metadata_csum."""
    if get(image, SUPER + 0x64, "<I") & 0x400:
        put(image, SUPER + 1020, "<I", crc32c(bytes(image[SUPER : SUPER + 1020])))


def replayed(image: bytes | bytearray, transactions: Sequence[Transaction]) -> bytes:
    """Return the image as it is when the transactions have been written to it, by their definition."""
    size = block_size(image)
    result = bytearray(image)
    for nth, transaction in enumerate(transactions):
        for number, content in transaction.writes:
            if not any(number in later.revokes for later in transactions[nth:]):
                result[number * size : (number + 1) * size] = content
    return bytes(result)
