"""Run inside .venv-ext4: recompute every checksum that the `ext4` package knows, print each failure.

Usage: ext4_validate_script.py IMAGE OFFSET

It covers superblock, group descriptors and inodes. Version 1.4.1 leaves directory blocks alone, and
its rules for extent-tree and xattr blocks are not the kernel's (it objects to mke2fs's own): so those
are left to e2fsck. The last line is "N inodes validated".
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import ext4


def main(image: str, offset: int) -> int:
    failures = 0
    with open(image, "rb") as stream:
        volume = ext4.Volume(stream, offset)
        failures += _differs("superblock", volume.superblock)
        for descriptor in volume.group_descriptors:
            failures += _differs(f"group {descriptor.bg_no}", descriptor)
        count = 0
        for number, inode in _inodes(volume):
            failures += _differs(f"inode {number}", inode)
            count += 1
    print(f"{count} inodes validated")
    return 1 if failures else 0


def _differs(what: str, structure: Any) -> bool:
    """Compare as ``validate()`` of the package's base class does; Inode's own goes on to the extent tree."""
    if structure.checksum == structure.expected_checksum:
        return False
    print(f"{what}: the checksum is {structure.expected_checksum}, computed {structure.checksum}")
    return True


def _inodes(volume: ext4.Volume) -> Iterator[tuple[int, ext4.Inode]]:
    """Yield (number, inode) of the journal and of everything that has a name, each once."""
    numbers = [ext4.EXT4_INO.ROOT]
    if volume.superblock.s_journal_inum:
        numbers.append(volume.superblock.s_journal_inum)
    seen = set(numbers)
    while numbers:
        number = int(numbers.pop())
        inode = volume.inodes[number]
        yield number, inode
        if isinstance(inode, ext4.Directory):
            for entry, _ in inode.opendir():
                if entry.inode and entry.inode not in seen:
                    seen.add(entry.inode)
                    numbers.append(entry.inode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
