"""Paths of inodes, and entries of directories, as far as they can be made out.

A reader that wants a tree refuses a damaged directory; here its whole entries still give names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from imgwriter.ext4.directory import ENTRY
from imgwriter.ext4.format import EXT4_ROOT_INO

_MOST_LEVELS = 4096


class DirEntry(NamedTuple):
    """An entry in use: where it is in its block, and what it says."""

    at: int
    inode: int
    rec_len: int
    file_type: int
    name: bytes


def entries_of(block: bytes) -> Iterator[DirEntry]:
    """Yield the entries of a directory's block that are in use, up to the first that cannot be one."""
    at = 0
    while at + ENTRY.size <= len(block):
        inode, rec_len, name_len, file_type = ENTRY.unpack_from(block, at)
        if rec_len < ENTRY.size + name_len or rec_len & 3 or at + rec_len > len(block):
            return
        if inode and name_len:
            name = block[at + ENTRY.size : at + ENTRY.size + name_len]
            yield DirEntry(at, inode, rec_len, file_type, name)
        at += rec_len


def is_whole(block: bytes) -> bool:
    """Return whether the entries of a directory's block follow each other to its end."""
    at = 0
    while at + ENTRY.size <= len(block):
        _, rec_len, name_len, _ = ENTRY.unpack_from(block, at)
        if rec_len < ENTRY.size + name_len or rec_len & 3:
            return False
        at += rec_len
    return at == len(block)


class Paths:
    """Paths by inode number, from the names that lead to them; the first name of an inode counts.

    Args:
        special: Names of inodes that no directory has.
    """

    def __init__(self, special: Mapping[int, bytes]) -> None:
        self._parents: dict[int, tuple[int, bytes]] = {}
        self._paths: dict[int, bytes] = {EXT4_ROOT_INO: b"", **special}

    def add(self, directory: int, block: bytes) -> None:
        """Take the names of a directory's block."""
        for entry in entries_of(block):
            if entry.name not in (b".", b".."):
                self._parents.setdefault(entry.inode, (directory, entry.name))

    def resolve(self) -> Mapping[int, bytes]:
        """Return the path of every inode that the root leads to, and of the special ones."""
        for number in self._parents:
            self._resolve(number)
        return self._paths

    def _resolve(self, number: int) -> None:
        above: list[tuple[int, bytes]] = []
        while number not in self._paths:
            parent = self._parents.get(number)
            if parent is None or len(above) > _MOST_LEVELS:
                return  # an orphan, or a loop
            above.append((number, parent[1]))
            number = parent[0]
        path = self._paths[number]
        for number, name in reversed(above):
            path = path + b"/" + name if path else name
            self._paths[number] = path
