"""The journal of a file system that was not unmounted: which blocks it has newer, as a mount would find them.

::

    inode 8   │ superblock │ ... │ descriptor │ block │ block │ revoke │ commit │ ...  and round again
                 s_start ───────────^  tags: where each belongs     │        └ the transaction counts
                                                                    └ blocks not to be written up to here

Three passes over the log, as the kernel makes them: find the last transaction that was committed, gather
what is revoked, then note where each block's last copy is. Nothing is written and nothing copied: the result
is an overlay (:class:`~imgwriter.ext4.device.Newer`) for whoever reads the file system.

A log that ends within a transaction is what a power cut leaves: what was not committed never happened. One
that is damaged so that the kernel would refuse to mount is refused too.

Spec: kernel Documentation/filesystems/ext4/journal.rst; fs/jbd2/recovery.c, do_one_pass().
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from enum import IntFlag
from typing import Any, NamedTuple, cast

import crcmod

from imgwriter.errors import FormatError
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.device import Device, Newer, damaged
from imgwriter.ext4.extent_tree import Piece
from imgwriter.ext4.format import (
    EXT4_FC_TAG_HEAD,
    FAST_COMMIT_HEAD,
    JBD2_COMMIT_BLOCK,
    JBD2_CRC32_CHKSUM,
    JBD2_CRC32C_CHKSUM,
    JBD2_DEFAULT_FAST_COMMIT_BLOCKS,
    JBD2_DESCRIPTOR_BLOCK,
    JBD2_FLAG_ESCAPE,
    JBD2_FLAG_LAST_TAG,
    JBD2_FLAG_SAME_UUID,
    JBD2_MAGIC_NUMBER,
    JBD2_REVOKE_BLOCK,
    JBD2_SUPERBLOCK_V1,
    JBD2_SUPERBLOCK_V2,
    JOURNAL_COMMIT,
    JOURNAL_COMMIT_CHECKSUM_OFFSET,
    JOURNAL_HEADER,
    JOURNAL_REVOKE_HEADER,
    JOURNAL_SUPERBLOCK_CHECKSUM_OFFSET,
    JOURNAL_TAG,
    JOURNAL_TAG3,
    JOURNAL_TAG_UUID_SIZE,
    JOURNAL_TAIL,
    JournalSuperblock,
)
from imgwriter.ext4.superblock_reader import SuperblockValues

crc32_be = cast("Callable[..., int]", crcmod.mkCrcFun(0x104C11DB7, initCrc=0xFFFFFFFF, rev=False, xorOut=0))
"""The checksum of a whole transaction, before the others: most significant bit first, raw."""

_WHERE = "ext4 journal"
_U32 = 1 << 32
_CRC32_SIZE = 4
MIN_JOURNAL_BLOCKS = 1024
"""Fast commits leave the log at least so many blocks, or have none (JBD2_MIN_JOURNAL_BLOCKS)."""


class JournalCompat(IntFlag):
    """The journal's s_feature_compat."""

    CHECKSUM = 0x1


class JournalIncompat(IntFlag):
    """The journal's s_feature_incompat."""

    REVOKE = 0x1
    BIT64 = 0x2
    ASYNC_COMMIT = 0x4
    CSUM_V2 = 0x8
    CSUM_V3 = 0x10
    FAST_COMMIT = 0x20


class Recovery(NamedTuple):
    """What the journal has that the file system's own blocks have not.

    Attributes:
        newer: Where each block's last copy is.
        transactions: Committed transactions in the log.
        blocks: Blocks that they hold, those included that a later transaction has again.
        revoked: Of those, how many are revoked.
    """

    newer: dict[int, Newer]
    transactions: int
    blocks: int
    revoked: int


class _Tag(NamedTuple):
    """One block of a transaction: where it belongs, how it is kept, and its checksum, if it has one."""

    block: int
    flags: int
    checksum: int | None


class _Header(NamedTuple):
    """What a journal superblock says, checked. Blocks are the journal's own.

    Attributes:
        first, last: The log is the blocks [first, last), a ring.
        start: Where its oldest transaction begins.
        sequence: Of that transaction.
        seed: Of the checksums.
    """

    first: int
    last: int
    start: int
    sequence: int
    compat: JournalCompat
    incompat: JournalIncompat
    seed: int

    @property
    def sealed(self) -> bool:
        """Whether every block has a checksum (version 2 or 3)."""
        return bool(self.incompat & (JournalIncompat.CSUM_V2 | JournalIncompat.CSUM_V3))

    @property
    def wide(self) -> bool:
        """Whether block numbers have 64 bits."""
        return JournalIncompat.BIT64 in self.incompat

    def wrapped(self, position: int) -> int:
        """Return a position in the log: after the last block comes the first."""
        return position if position < self.last else position - (self.last - self.first)


class _Block(NamedTuple):
    """A block of the log that is no data.

    Attributes:
        kind: JBD2_DESCRIPTOR_BLOCK, JBD2_REVOKE_BLOCK or JBD2_COMMIT_BLOCK.
        nth: Its transaction, counted from the log's oldest.
        position: In the journal.
        tags: Of a descriptor: what follows it.
    """

    kind: int
    nth: int
    position: int
    content: bytes
    tags: Sequence[_Tag] = ()


class JournalReader:
    """Reads one journal.

    Args:
        device: The file system, as it is without its journal.
        superblock: Its superblock.
        inode_offset: Of the journal's inode, in the Volume.
        pieces: Where the journal's blocks are.
    """

    def __init__(
        self, device: Device, superblock: SuperblockValues, inode_offset: int, pieces: Sequence[Piece]
    ) -> None:
        self._device = device
        self._superblock = superblock
        self._starts: list[int] = []
        self._shifts: list[int] = []
        self._length = 0
        for logical, start, length in pieces:
            if logical != self._length:
                break
            self._starts.append(logical)
            self._shifts.append(start - logical)
            self._length += length
        if not self._length:
            raise damaged("the journal's inode has no first block", _WHERE, inode_offset)

    def recover(self) -> Recovery:
        """Return what a mount would write.

        Raises:
            FormatError: The log is damaged so that the kernel would not mount the file system, or has fast
                commits.
        """
        header = self._header()
        if header is None:
            return Recovery({}, 0, 0, 0)
        transactions = _Scan(self, header).transactions()
        recovery = self._replay(header, transactions, self._revoked(header, transactions))
        self._refuse_fast_commits(header, transactions)
        return recovery

    def block_number(self, position: int) -> int:
        """Return which block of the file system a block of the journal is."""
        return position + self._shifts[bisect_right(self._starts, position) - 1]

    def offset(self, position: int) -> int:
        """Return where a block of the journal is in the Volume."""
        return self._device.block_offset(self.block_number(position))

    def content(self, position: int) -> bytes:
        """Return a block of the journal."""
        return self._device.block(self.block_number(position))

    def damaged(self, what: str, position: int) -> FormatError:
        """Return the error for a block of the journal."""
        offset = self.offset(position)
        return damaged(f"the journal {what}", _WHERE, offset)

    def _header(self) -> _Header | None:
        """Read the journal's superblock; None where the log is empty."""
        content = self.content(0)[: JournalSuperblock.sizeof()]
        raw: Any = JournalSuperblock.parse(content)
        if raw.h_magic != JBD2_MAGIC_NUMBER or raw.h_blocktype not in (
            JBD2_SUPERBLOCK_V1,
            JBD2_SUPERBLOCK_V2,
        ):
            message = f"has h_magic {raw.h_magic:#x} and h_blocktype {raw.h_blocktype} in its superblock"
            raise self.damaged(message, 0)
        if raw.s_blocksize != self._superblock.block_size:
            raise self.damaged(f"has s_blocksize {raw.s_blocksize:,}, not {self._superblock.block_size:,}", 0)
        compat, incompat = JournalCompat(0), JournalIncompat(0)
        if raw.h_blocktype == JBD2_SUPERBLOCK_V2:
            compat, incompat = self._features(raw)
        seed = crc32c(raw.s_uuid)
        if incompat & (JournalIncompat.CSUM_V2 | JournalIncompat.CSUM_V3):
            self._verify_superblock(raw, content)
        if not raw.s_start:
            return None
        last = raw.s_maxlen
        if JournalIncompat.FAST_COMMIT in incompat:
            fast_commits = raw.s_num_fc_blks or JBD2_DEFAULT_FAST_COMMIT_BLOCKS
            if last - fast_commits >= MIN_JOURNAL_BLOCKS:
                last -= fast_commits
        if not (0 < raw.s_first <= raw.s_start < last and raw.s_maxlen <= self._length):
            message = f"has s_first {raw.s_first:,}, s_start {raw.s_start:,} and s_maxlen {raw.s_maxlen:,}"
            raise self.damaged(f"{message} for {self._length:,} blocks", 0)
        return _Header(raw.s_first, last, raw.s_start, raw.s_sequence, compat, incompat, seed)

    def _features(self, raw: Any) -> tuple[JournalCompat, JournalIncompat]:
        compat, incompat = JournalCompat(raw.s_feature_compat), JournalIncompat(raw.s_feature_incompat)
        known = (compat & ~_all(JournalCompat), incompat & ~_all(JournalIncompat), raw.s_feature_ro_compat)
        for word, letter in zip(known, "CIR", strict=True):
            if word:
                name = f"FEATURE_{letter}{int(word).bit_length() - 1}"
                message = (
                    f"the journal has the feature {name}, which is not known; run e2fsck on a copy of it"
                )
                raise FormatError(message, f"{_WHERE}, feature {name}", self.offset(0))
        if _CSUMS in incompat or (incompat & _CSUMS and JournalCompat.CHECKSUM in compat):
            raise self.damaged("has several kinds of checksums at once", 0)
        return compat, incompat

    def _verify_superblock(self, raw: Any, content: bytes) -> None:
        at = JOURNAL_SUPERBLOCK_CHECKSUM_OFFSET
        found = crc32c(content[:at] + bytes(4) + content[at + 4 :])
        if raw.s_checksum_type != JBD2_CRC32C_CHKSUM or raw.s_checksum != found:
            message = (
                f"has s_checksum {raw.s_checksum:#010x} of type {raw.s_checksum_type}, its superblock gives"
            )
            raise self.damaged(f"{message} {found:#010x} of type {JBD2_CRC32C_CHKSUM}", 0)

    def log(self, header: _Header, transactions: int) -> Iterator[_Block]:
        """Yield the blocks of the log in its order, the data after a descriptor left out.

        The log ends at the first block that is not of its next transaction, and when it has gone round.

        Args:
            transactions: How many of them to read at most.
        """
        left = header.last - header.first
        position = header.start
        nth = 0
        while nth < transactions:
            content = self.content(position)
            magic, kind, sequence = JOURNAL_HEADER.unpack_from(content)
            if magic != JBD2_MAGIC_NUMBER or sequence != (header.sequence + nth) % _U32:
                return
            tags = self._tags(content, header) if kind == JBD2_DESCRIPTOR_BLOCK else []
            left -= 1 + len(tags)
            if left < 0 or kind not in (JBD2_DESCRIPTOR_BLOCK, JBD2_REVOKE_BLOCK, JBD2_COMMIT_BLOCK):
                return
            yield _Block(kind, nth, position, content, tags)
            position = header.wrapped(position + 1 + len(tags))
            nth += kind == JBD2_COMMIT_BLOCK

    def _tags(self, content: bytes, header: _Header) -> list[_Tag]:
        """Return the tags of a descriptor block."""
        version3 = JournalIncompat.CSUM_V3 in header.incompat
        size = JOURNAL_TAG3.size
        if not version3:
            size = JOURNAL_TAG.size + (2 if header.sealed else 0) - (0 if header.wide else 4)
        end = len(content) - (JOURNAL_TAIL.size if header.sealed else 0)
        at = JOURNAL_HEADER.size
        found = []
        while at + size <= end:
            checksum: int | None
            if version3:
                low, flags, high, checksum = JOURNAL_TAG3.unpack_from(content, at)
            else:
                record = content[at : at + JOURNAL_TAG.size].ljust(JOURNAL_TAG.size, b"\0")
                low, short, flags, high = JOURNAL_TAG.unpack(record)
                checksum = short if header.sealed else None
            found.append(_Tag(low | high << 32 if header.wide else low, flags, checksum))
            at += size
            if not flags & JBD2_FLAG_SAME_UUID:
                at += JOURNAL_TAG_UUID_SIZE
            if flags & JBD2_FLAG_LAST_TAG:
                break
        return found

    def _revoked(self, header: _Header, transactions: int) -> dict[int, int]:
        """Return the last transaction that revokes each block."""
        found: dict[int, int] = {}
        size = 8 if header.wide else 4
        for block in self.log(header, transactions):
            if block.kind != JBD2_REVOKE_BLOCK:
                continue
            content = block.content
            count = JOURNAL_REVOKE_HEADER.unpack_from(content)[3]
            end = len(content) - (JOURNAL_TAIL.size if header.sealed else 0)
            if count > end:
                raise self.damaged(
                    f"has a revoke block with r_count {count:,}, more than {end:,}", block.position
                )
            for at in range(JOURNAL_REVOKE_HEADER.size, count - size + 1, size):
                found[int.from_bytes(content[at : at + size], "big")] = block.nth
        return found

    def _replay(self, header: _Header, transactions: int, revoked: dict[int, int]) -> Recovery:
        newer: dict[int, Newer] = {}
        count = left_out = 0
        for block in self.log(header, transactions):
            count += len(block.tags)
            for position, tag in enumerate(block.tags, block.position + 1):
                at = header.wrapped(position)
                if revoked.get(tag.block, -1) >= block.nth:
                    left_out += 1
                    continue
                self._verify_data(tag, at, block.nth, header)
                if tag.block >= self._superblock.blocks:
                    message = f"has block {tag.block:,} of a file system of {self._superblock.blocks:,}"
                    raise self.damaged(message, block.position)
                newer[tag.block] = Newer(self.block_number(at), bool(tag.flags & JBD2_FLAG_ESCAPE))
        return Recovery(newer, transactions, count, left_out)

    def _verify_data(self, tag: _Tag, at: int, nth: int, header: _Header) -> None:
        if tag.checksum is None:
            return
        sequence = (header.sequence + nth) % _U32
        found = crc32c(self.content(at), crc32c(sequence.to_bytes(4, "big"), header.seed))
        if JournalIncompat.CSUM_V3 not in header.incompat:
            found &= 0xFFFF
        if found != tag.checksum:
            message = f"has a copy of block {tag.block:,} with checksum {tag.checksum:#x}, not {found:#x}"
            raise self.damaged(message, at)

    def _refuse_fast_commits(self, header: _Header, transactions: int) -> None:
        """Refuse fast commits that a mount would apply: those after the last transaction."""
        first = header.last + 1
        if JournalIncompat.FAST_COMMIT not in header.incompat or first >= self._length:
            return
        tag, _, _, sequence = FAST_COMMIT_HEAD.unpack_from(self.content(first))
        if tag == EXT4_FC_TAG_HEAD and sequence == (header.sequence + transactions) % _U32:
            message = f"the journal has fast commits for transaction {sequence:,}, which are not read;"
            message += " mount the file system once where it was used, or run e2fsck on a copy of it"
            raise FormatError(message, f"{_WHERE}, feature fast_commit", self.offset(first))


class _Scan:
    """The first pass: how many transactions count."""

    def __init__(self, reader: JournalReader, header: _Header) -> None:
        self._reader = reader
        self._header = header
        self._whole = JournalCompat.CHECKSUM in header.compat
        self._crc = 0xFFFFFFFF

    def transactions(self) -> int:
        """Return the number of whole transactions.

        A wrong checksum may be an older log's, which the new one has not reached; then the time in its commit
        is earlier than that of the commit before it. Otherwise it is damage.

        Raises:
            FormatError: It is damage: the kernel would not mount the file system.
        """
        last_time = nth = 0
        doubtful: int | None = None
        for block in self._reader.log(self._header, _U32):
            if block.kind == JBD2_COMMIT_BLOCK:
                time = JOURNAL_COMMIT.unpack_from(block.content)[6]
                if doubtful is None and not self._commit_is_right(block.content):
                    if JournalIncompat.ASYNC_COMMIT in self._header.incompat:
                        break  # a commit may have been written before its blocks
                    doubtful = block.position
                if doubtful is not None:
                    if time < last_time:
                        break
                    raise self._reader.damaged(
                        f"has a wrong checksum in its transaction {nth + 1:,}", doubtful
                    )
                last_time, nth, self._crc = time, nth + 1, 0xFFFFFFFF
            elif not self._tail_is_right(block.content):
                doubtful = block.position
            elif self._whole and block.kind == JBD2_DESCRIPTOR_BLOCK:
                self._add(block)
        return nth

    def _add(self, block: _Block) -> None:
        """Go on with the checksum of a whole transaction: its descriptors and data."""
        self._crc = crc32_be(block.content, self._crc)
        for position in range(block.position + 1, block.position + 1 + len(block.tags)):
            self._crc = crc32_be(self._reader.content(self._header.wrapped(position)), self._crc)

    def _tail_is_right(self, content: bytes) -> bool:
        """Return whether the checksum at the end of a descriptor or revoke block is right, if any."""
        if not self._header.sealed:
            return True
        at = len(content) - JOURNAL_TAIL.size
        found = crc32c(content[:at] + bytes(JOURNAL_TAIL.size), self._header.seed)
        return bool(JOURNAL_TAIL.unpack_from(content, at)[0] == found)

    def _commit_is_right(self, content: bytes) -> bool:
        _, _, _, kind, size, stored, _, _ = JOURNAL_COMMIT.unpack_from(content)
        if self._whole:
            return (kind, size, stored) in ((0, 0, 0), (JBD2_CRC32_CHKSUM, _CRC32_SIZE, self._crc))
        if not self._header.sealed:
            return True
        at, end = JOURNAL_COMMIT_CHECKSUM_OFFSET, JOURNAL_COMMIT.size
        zeroed = content[:at] + bytes(4) + content[at + 4 :]
        # What is behind the fields may be another block's, as the kernel has it since 5.19.
        alone = zeroed[:end].ljust(len(content), b"\0")
        return stored in (crc32c(zeroed, self._header.seed), crc32c(alone, self._header.seed))


_CSUMS = JournalIncompat.CSUM_V2 | JournalIncompat.CSUM_V3


def _all(kind: type[IntFlag]) -> int:
    return sum(int(flag) for flag in kind)
