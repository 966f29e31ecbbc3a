"""The names in directories: what they are, and where each leads.

::

    entry ── inode in use? ── of that file_type? ── a directory: the only name for it?
                └ counted, to be compared with i_links_count

Spec: kernel Documentation/filesystems/ext4/directory.rst; fs/ext4/dir.c, __ext4_check_dir_entry().
"""

from __future__ import annotations

import stat

from imgwriter.errors import show
from imgwriter.ext4 import features as f
from imgwriter.ext4.directory import (
    EXT4_FT_BLKDEV,
    EXT4_FT_CHRDEV,
    EXT4_FT_DIR,
    EXT4_FT_FIFO,
    EXT4_FT_REG_FILE,
    EXT4_FT_SOCK,
    EXT4_FT_SYMLINK,
)
from imgwriter.ext4.format import EXT4_ENCRYPT_FL, EXT4_ROOT_INO
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.entries import LEAST_REC_LEN, Entry
from imgwriter.verify.ext4.record import Record
from imgwriter.verify.ext4.subject import Subject

_FILE_TYPES = {
    stat.S_IFREG: EXT4_FT_REG_FILE,
    stat.S_IFDIR: EXT4_FT_DIR,
    stat.S_IFCHR: EXT4_FT_CHRDEV,
    stat.S_IFBLK: EXT4_FT_BLKDEV,
    stat.S_IFIFO: EXT4_FT_FIFO,
    stat.S_IFSOCK: EXT4_FT_SOCK,
    stat.S_IFLNK: EXT4_FT_SYMLINK,
}


class Names:
    """Checks where names lead.

    Attributes:
        parents: The directory that has a name for each directory, by inode number.
        dotdots: Where each directory's ``..`` leads.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._with_types = subject.superblock.features.has(f.Incompat.FILETYPE)
        self.parents: dict[int, int] = {}
        self.dotdots: dict[int, int] = {}

    def lead_dots(self, number: int, parent: int) -> None:
        """Note what an inline directory has in place of its first two entries."""
        self._subject.names[number] += 1
        self._subject.names[parent] += 1
        self.dotdots[number] = parent

    def dots(self, inode: Record, entries: list[Entry], offset: int) -> list[Entry]:
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
            self._subject.names[entry.inode] += 1
        return entries[2:]

    def check(self, inode: Record, entries: list[Entry], offset: int, names: set[bytes]) -> None:
        """Check the other entries of a block; ``names`` are those of the directory so far."""
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
            if packed is None and self._subject.lacks_inode(number):
                continue
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

    def _find(self, where: str, field: str, offset: int, expected: str, found: str) -> None:
        self._subject.remarks.find(where, field, offset, expected, found, sections.DIRECTORY)
