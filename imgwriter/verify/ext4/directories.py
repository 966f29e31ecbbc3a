"""Directories: their blocks, entries and checksums, and where each name leads.

::

    directory ── blocks ──> chain of entries ──> name ──> an inode in use, of that type
                   └── htree ──> which hashes the names of a leaf may have

What leads where is counted in the subject; :mod:`links <imgwriter.verify.ext4.links>` compares it with the
inodes afterwards.

Spec: kernel Documentation/filesystems/ext4/directory.rst; fs/ext4/dir.c, __ext4_check_dir_entry().
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from imgwriter.errors import show
from imgwriter.ext4.checksum import inode_seed
from imgwriter.ext4.directory import (
    ENTRY_TAIL,
)
from imgwriter.ext4.directory_reader import block_checksum, has_tail
from imgwriter.ext4.format import (
    EXT2_FLAGS_SIGNED_HASH,
    EXT4_CASEFOLD_FL,
    EXT4_ENCRYPT_FL,
    EXT4_INDEX_FL,
)
from imgwriter.units import counted, div_ceil
from imgwriter.verify.ext4 import hashes, sections
from imgwriter.verify.ext4.entries import LEAST_REC_LEN, Chain, Entry, chain
from imgwriter.verify.ext4.htree import Index, IndexWalk, Interval
from imgwriter.verify.ext4.inodes import Directory
from imgwriter.verify.ext4.mapping import Mapping
from imgwriter.verify.ext4.names import Names
from imgwriter.verify.ext4.record import Record
from imgwriter.verify.ext4.subject import Subject

_PARENT_SIZE = 4


class DirectoryPass:
    """Checks the directories of one file system.

    Attributes:
        names: Where the names were found to lead.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._signed = bool(subject.superblock.fields["s_flags"] & EXT2_FLAGS_SIGNED_HASH)
        self.names = Names(subject)

    def run(self, directories: Sequence[Directory], progress: Callable[[int], None]) -> None:
        """Check all of them; ``progress`` is called with how many are done."""
        for done, directory in enumerate(directories, 1):
            if directory.mapping is None:
                self._inline(directory)
            elif self._subject.has_runs(directory.mapping.runs):
                self._in_blocks(directory.inode, directory.mapping)
            progress(done)

    # --- blocks ---

    def _inline(self, directory: Directory) -> None:
        """An inline directory has its parent's number instead of the first two entries."""
        inode = directory.inode
        block = inode.fields.block
        self.names.lead_dots(inode.number, int.from_bytes(block[:_PARENT_SIZE], "little"))
        names: set[bytes] = set()
        for content in (block[_PARENT_SIZE:], directory.inline_data):
            self._entries(inode, chain(content, len(content)), inode.offset, names)

    def _in_blocks(self, inode: Record, mapping: Mapping) -> None:
        count = min(inode.size // self._subject.superblock.block_size, mapping.end)
        index = None
        if inode.has(EXT4_INDEX_FL) and count:
            places = _Places(mapping)
            read = partial(self._read_at, inode, places)
            index = IndexWalk(self._subject, inode.number, count, read).run()
        names: set[bytes] = set()
        hashed: list[tuple[Entry, Interval, int]] = []
        for logical, number in self._present(inode, mapping, count):
            block = index.blocks.get(logical) if index else None
            block = block or self._read(inode, number)
            if block is not None:
                self._block(inode, logical, block, index, names, hashed)
        if index is not None:
            self._check_hashes(inode, index.version, hashed)

    def _present(self, inode: Record, mapping: Mapping, count: int) -> Iterator[tuple[int, int]]:
        """Yield (logical block, block) of a directory's first ``count`` blocks that the image has."""
        where = f"ext4 directory, inode {inode.number}"
        size, device = self._subject.superblock.block_size, self._subject.device
        end = 0
        for logical, start, length in mapping.pieces:
            if logical > end:
                self._find(where, "i_block", inode.offset, f"a block {end:,}", "a hole")
            length = min(length, count - logical)
            end = logical + length
            present = 0
            for low, high in device.allocated(start * size, max(length, 0) * size):
                for block in range(max(low // size, start + present), div_ceil(high, size)):
                    yield logical + block - start, block
                present = div_ceil(high, size) - start
            if length > 0 and not present:
                found = f"{counted(length, 'block')} of zeros"
                self._find(where, "rec_len", device.block_offset(start), "entries", found)

    def _read_at(self, inode: Record, places: _Places, logical: int) -> tuple[bytes, int] | None:
        """Return the block of that place in a directory, for its index."""
        block = places.block(logical)
        if block is None:
            where = f"ext4 directory, inode {inode.number}"
            self._find(where, "i_block", inode.offset, f"a block {logical:,}", "a hole")
            return None
        return self._read(inode, block)

    def _read(self, inode: Record, block: int) -> tuple[bytes, int] | None:
        """Return a block of a directory and its place; None where it was read for something else."""
        where = f"ext4 directory, inode {inode.number}"
        if not self._subject.first_read(block):
            found = f"block {block:,}, which has another"
            self._find(where, "i_block", inode.offset, "a block with one use", found)
            return None
        return self._subject.device.block(block), self._subject.device.block_offset(block)

    def _block(
        self,
        inode: Record,
        logical: int,
        block: tuple[bytes, int],
        index: Index | None,
        names: set[bytes],
        hashed: list[tuple[Entry, Interval, int]],
    ) -> None:
        """Check one block; what of its names is to be hashed goes into ``hashed``."""
        content, offset = block
        of_index = index is not None and logical in index.blocks
        self._checksum(inode, content, offset, of_index)
        if of_index:
            if logical:
                return
            entries = self._dots_of_root(inode, content, offset)
        else:
            end = len(content)
            if self._subject.seed is not None and has_tail(content):
                end -= ENTRY_TAIL.size
            found = chain(content, end)
            entries = found.entries
            self._fault(inode, found, offset)
        if logical == 0:
            entries = self.names.dots(inode, entries, offset)
        self.names.check(inode, entries, offset, names)
        if index is None or of_index:
            return
        interval = index.leaves.get(logical)
        if interval is None:
            where = f"ext4 htree, inode {inode.number}"
            self._find(
                where,
                "block",
                offset,
                "every block in the index",
                f"block {logical:,} in none",
                sections.HTREE,
            )
        else:
            hashed += [(entry, interval, offset) for entry in entries]

    def _checksum(self, inode: Record, content: bytes, offset: int, of_index: bool) -> None:
        seed = self._subject.seed
        if seed is None:
            return
        where = f"ext4 {'htree' if of_index else 'directory'}, inode {inode.number}"
        field = "dt_checksum" if of_index else "det_checksum"
        own = inode_seed(seed, inode.number, inode.fields.generation)
        found = block_checksum(content, own, of_index)
        if found is None:
            self._find(where, field, offset, "a checksum at the block's end", "none", sections.CHECKSUMS)
        elif found[0] != found[1]:
            expected = f"{found[1]:#010x}, as its bytes give"
            self._find(where, field, offset, expected, f"{found[0]:#010x}", sections.CHECKSUMS)

    # --- entries ---

    def _entries(self, inode: Record, found: Chain, offset: int, names: set[bytes]) -> None:
        self._fault(inode, found, offset)
        self.names.check(inode, found.entries, offset, names)

    def _fault(self, inode: Record, found: Chain, offset: int) -> None:
        if found.fault:
            at, expected, wrong = found.fault
            self._find(f"ext4 directory, inode {inode.number}", "rec_len", offset + at, expected, wrong)

    def _dots_of_root(self, inode: Record, content: bytes, offset: int) -> list[Entry]:
        """Return the two entries with which an index's root begins; the second reaches the block's end."""
        found = chain(content, len(content))
        self._fault(inode, found, offset)
        right = len(found.entries) > 1 and found.entries[1].rec_len == len(content) - LEAST_REC_LEN
        if not right and not found.fault:
            where = f"ext4 htree, inode {inode.number}"
            expected = f"{len(content) - LEAST_REC_LEN:,} in dotdot"
            self._find(where, "rec_len", offset, expected, "something else", sections.HTREE)
        return found.entries[:2]

    def _check_hashes(self, inode: Record, version: int, hashed: list[tuple[Entry, Interval, int]]) -> None:
        """Compare the hash of each name with what the index says of its leaf."""
        if inode.has(EXT4_CASEFOLD_FL) or inode.has(EXT4_ENCRYPT_FL) or version not in hashes.VERSIONS:
            return
        known = [item for item in hashed if item[0].name]
        seed = self._subject.superblock.fields["s_hash_seed"]
        values = hashes.hash_names([e.name for e, _, _ in known], version, seed, signed=self._signed)
        for (entry, interval, offset), value in zip(known, values, strict=True):
            if not interval.has(value):
                where = f"ext4 htree, inode {inode.number}"
                expected = f"names with hashes from {interval.low & ~1:#x} to {interval.high - 1:#x}"
                found = f"{value:#x} ({show(entry.name)!r})"
                self._find(where, "hash", offset + entry.place, expected, found, sections.HTREE)

    def _find(
        self,
        where: str,
        field: str,
        offset: int,
        expected: str,
        found: str,
        section: str = sections.DIRECTORY,
    ) -> None:
        self._subject.remarks.find(where, field, offset, expected, found, section)


class _Places:
    """Finds a directory's block by its place."""

    def __init__(self, mapping: Mapping) -> None:
        self._pieces = sorted(mapping.pieces)
        self._starts = [piece.logical for piece in self._pieces]

    def block(self, logical: int) -> int | None:
        """Return which block is at that place; None where there is none."""
        at = bisect_right(self._starts, logical) - 1
        if at < 0:
            return None
        piece = self._pieces[at]
        return piece.start + logical - piece.logical if logical < piece.logical + piece.length else None
