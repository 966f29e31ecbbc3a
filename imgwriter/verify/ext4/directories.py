"""Directories: their blocks, entries and checksums, and where each name leads.

::

    directory ── blocks ──> chain of entries ──> name ──> an inode in use, of that type
                   └── htree ──> which hashes the names of a leaf may have

What leads where is counted in the subject; :mod:`links <imgwriter.verify.ext4.links>` compares it with the
inodes afterwards.

Spec: kernel Documentation/filesystems/ext4/directory.rst; fs/ext4/dir.c, __ext4_check_dir_entry().
"""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from imgwriter.errors import show
from imgwriter.ext4 import features as f
from imgwriter.ext4.checksum import inode_seed
from imgwriter.ext4.directory import (
    ENTRY_TAIL,
    EXT4_FT_BLKDEV,
    EXT4_FT_CHRDEV,
    EXT4_FT_DIR,
    EXT4_FT_FIFO,
    EXT4_FT_REG_FILE,
    EXT4_FT_SOCK,
    EXT4_FT_SYMLINK,
)
from imgwriter.ext4.directory_reader import block_checksum, has_tail
from imgwriter.ext4.format import (
    EXT2_FLAGS_SIGNED_HASH,
    EXT4_CASEFOLD_FL,
    EXT4_ENCRYPT_FL,
    EXT4_INDEX_FL,
    EXT4_ROOT_INO,
)
from imgwriter.units import div_ceil
from imgwriter.verify.ext4 import hashes, sections
from imgwriter.verify.ext4.entries import LEAST_REC_LEN, Chain, Entry, chain
from imgwriter.verify.ext4.htree import Index, IndexWalk, Interval
from imgwriter.verify.ext4.inodes import Directory
from imgwriter.verify.ext4.mapping import Mapping
from imgwriter.verify.ext4.record import Record
from imgwriter.verify.ext4.subject import Subject

_PARENT_SIZE = 4
_FILE_TYPES = {
    stat.S_IFREG: EXT4_FT_REG_FILE,
    stat.S_IFDIR: EXT4_FT_DIR,
    stat.S_IFCHR: EXT4_FT_CHRDEV,
    stat.S_IFBLK: EXT4_FT_BLKDEV,
    stat.S_IFIFO: EXT4_FT_FIFO,
    stat.S_IFSOCK: EXT4_FT_SOCK,
    stat.S_IFLNK: EXT4_FT_SYMLINK,
}


class DirectoryPass:
    """Checks the directories of one file system.

    Attributes:
        parents: The directory that has a name for each directory, by inode number.
        dotdots: Where each directory's ``..`` leads.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._with_types = subject.superblock.features.has(f.Incompat.FILETYPE)
        self._signed = bool(subject.superblock.fields["s_flags"] & EXT2_FLAGS_SIGNED_HASH)
        self.parents: dict[int, int] = {}
        self.dotdots: dict[int, int] = {}

    def run(self, directories: Sequence[Directory], progress: Callable[[int], None]) -> None:
        """Check all of them; ``progress`` is called with how many are done."""
        for done, directory in enumerate(directories, 1):
            if directory.mapping is None:
                self._inline(directory)
            else:
                self._in_blocks(directory.inode, directory.mapping)
            progress(done)

    # --- blocks ---

    def _inline(self, directory: Directory) -> None:
        """An inline directory has its parent's number instead of the first two entries."""
        inode = directory.inode
        block = inode.fields.block
        self._lead(inode.number, inode.number)
        parent = int.from_bytes(block[:_PARENT_SIZE], "little")
        self._lead(inode.number, parent)
        self.dotdots[inode.number] = parent
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
                self._find(
                    where, "rec_len", device.block_offset(start), "entries", f"{length:,} blocks of zeros"
                )

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
            entries = self._dots(inode, entries, offset)
        self._names(inode, entries, offset, names)
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
        found = block_checksum(content, own, of_index) if of_index != has_tail(content) else None
        if found is None:
            self._find(where, field, offset, "a checksum at the block's end", "none", sections.CHECKSUMS)
        elif found[0] != found[1]:
            expected = f"{found[1]:#010x}, as its bytes give"
            self._find(where, field, offset, expected, f"{found[0]:#010x}", sections.CHECKSUMS)

    # --- entries ---

    def _entries(self, inode: Record, found: Chain, offset: int, names: set[bytes]) -> None:
        self._fault(inode, found, offset)
        self._names(inode, found.entries, offset, names)

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

    def _dots(self, inode: Record, entries: list[Entry], offset: int) -> list[Entry]:
        """Check the first two entries of a directory, and return those that follow."""
        where = f"ext4 directory, inode {inode.number}"
        for position, name in enumerate((b".", b"..")):
            entry = entries[position] if position < len(entries) else None
            if entry is None or entry.name != name:
                found = f"{show(entry.name)!r}" if entry else "none"
                self._find(where, "name", offset, f"{name.decode()!r} as entry {position + 1}", found)
                return [e for e in entries[position:] if e.name not in (b".", b"..")]
            self._file_type(inode, entry, stat.S_IFDIR, offset)
            if position == 0:
                if entry.place or entry.inode != inode.number:
                    self._find(
                        where,
                        "inode",
                        offset,
                        f"{inode.number:,} in '.', at 0",
                        f"{entry.inode:,} at {entry.place}",
                    )
                if entry.rec_len != LEAST_REC_LEN:
                    self._find(where, "rec_len", offset, f"{LEAST_REC_LEN} in '.'", f"{entry.rec_len}")
            else:
                self.dotdots[inode.number] = entry.inode
            self._lead(inode.number, entry.inode)
        return entries[2:]

    def _lead(self, directory: int, number: int) -> None:
        self._subject.names[number] += 1

    def _names(self, inode: Record, entries: list[Entry], offset: int, names: set[bytes]) -> None:
        where = f"ext4 directory, inode {inode.number}"
        encrypted = inode.has(EXT4_ENCRYPT_FL)
        inodes, counted = self._subject.inodes, self._subject.names
        for entry in entries:
            name, number = entry.name, entry.inode
            if not name or (not encrypted and (b"/" in name or b"\0" in name or name in (b".", b".."))):
                found = repr(show(name))
                self._find(where, "name", offset + entry.place, "a name without '/' and zeros", found)
            if name in names:
                found = f"{show(name)!r} twice"
                self._find(where, "name", offset + entry.place, "each name once", found)
            names.add(name)
            packed = inodes.get(number)
            if packed is None or number == EXT4_ROOT_INO or number < self._subject.superblock.first_inode:
                self._nowhere(where, entry, offset)
                if packed is None:
                    continue
            counted[number] += 1
            kind = stat.S_IFMT(packed & 0xFFFF)
            if kind == stat.S_IFDIR:
                self._subdirectory(inode.number, entry, offset)
            if not self._with_types or entry.file_type != _FILE_TYPES.get(kind):
                self._file_type(inode, entry, kind, offset)

    def _nowhere(self, where: str, entry: Entry, offset: int) -> None:
        inodes = self._subject.superblock.inodes
        expected = f"an inode in use, up to {inodes:,}"
        found = f"{entry.inode:,} ({show(entry.name)!r})"
        if entry.inode == EXT4_ROOT_INO:
            expected = "a name other than the root's"
        elif 0 < entry.inode < self._subject.superblock.first_inode:
            expected = "an inode that is not reserved"
        self._find(where, "inode", offset + entry.place, expected, found)

    def _subdirectory(self, parent: int, entry: Entry, offset: int) -> None:
        before = self.parents.get(entry.inode)
        if before is None:
            self.parents[entry.inode] = parent
            return
        where = f"ext4 directory, inode {parent}"
        found = f"directory {entry.inode:,}, which inode {before:,} has too"
        self._find(where, "inode", offset + entry.place, "one name for each directory", found)

    def _file_type(self, inode: Record, entry: Entry, kind: int, offset: int) -> None:
        expected = _FILE_TYPES.get(kind, 0) if self._with_types else 0
        if entry.file_type != expected:
            where = f"ext4 directory, inode {inode.number}"
            found = f"{entry.file_type} ({show(entry.name)!r})"
            self._find(
                where, "file_type", offset + entry.place, f"{expected}, as inode {entry.inode:,} is", found
            )

    def _check_hashes(self, inode: Record, version: int, hashed: list[tuple[Entry, Interval, int]]) -> None:
        """Compare the hash of each name with what the index says of its leaf."""
        if (
            inode.has(EXT4_CASEFOLD_FL)
            or inode.has(EXT4_ENCRYPT_FL)
            or version % 3 not in hashes.KNOWN
            or version > 5
        ):
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
