"""What names lead to, against the inodes: link counts, parents, and what no name leads to.

::

    root ── name ──> directory ── name ──> file     a directory has one name, and its '..' leads back
                        └ '..' ──> root             i_links_count is the number of names, with '.' and '..'

Spec: kernel Documentation/filesystems/ext4/inodes.rst, directory.rst.
"""

from __future__ import annotations

import stat

from imgwriter.ext4 import features as f
from imgwriter.ext4.format import EXT4_EA_INODE_FL, EXT4_LINK_MAX, EXT4_ROOT_INO
from imgwriter.verify.ext4 import sections
from imgwriter.verify.ext4.record import decode
from imgwriter.verify.ext4.subject import Subject

_NUMBERS = (
    "s_journal_inum",
    "s_orphan_file_inum",
    "s_usr_quota_inum",
    "s_grp_quota_inum",
    "s_prj_quota_inum",
)


def verify_links(subject: Subject, parents: dict[int, int], dotdots: dict[int, int]) -> None:
    """Compare what directories say with the inodes.

    Args:
        parents: The directory that has a name for each directory, by inode number.
        dotdots: Where each directory's ``..`` leads.
    """
    _root(subject)
    _parents(subject, parents, dotdots)
    _connected(subject, parents)
    _counts(subject, parents)


def _root(subject: Subject) -> None:
    packed = subject.inodes.get(EXT4_ROOT_INO)
    if packed is None or not stat.S_ISDIR(packed & 0xFFFF):
        offset = subject.inode_offset(EXT4_ROOT_INO)
        found = "not in use" if packed is None else f"{packed & 0xFFFF:#o}"
        subject.remarks.find(
            "ext4 inode 2", "i_mode", offset, "a directory, the root", found, sections.SPECIAL
        )


def _parents(subject: Subject, parents: dict[int, int], dotdots: dict[int, int]) -> None:
    for number, dotdot in dotdots.items():
        expected = EXT4_ROOT_INO if number == EXT4_ROOT_INO else parents.get(number)
        if expected is not None and dotdot != expected:
            _find(subject, number, "ext4 directory, inode", "inode", f"{expected:,} in '..'", f"{dotdot:,}")


def _connected(subject: Subject, parents: dict[int, int]) -> None:
    """Find directories from which no way leads up to the root: those that are each other's parents."""
    rooted = {EXT4_ROOT_INO}
    for number in parents:
        way = []
        seen = set()
        while number not in rooted and number in parents and number not in seen:
            way.append(number)
            seen.add(number)
            number = parents[number]
        if number in seen:
            _find(subject, number, "ext4 inode", "..", "a way up to the root", "a circle")
        rooted.update(way)


def _counts(subject: Subject, parents: dict[int, int]) -> None:
    """Compare i_links_count with the names, and find what has none."""
    sb = subject.superblock
    special = {int(sb.fields[name]) for name in _NUMBERS}
    for number, packed in subject.inodes.items():
        mode, links = packed & 0xFFFF, packed >> 16
        names = subject.names[number]
        if number in special or (number < sb.first_inode and number != EXT4_ROOT_INO):
            if links != 1:
                _find(
                    subject,
                    number,
                    "ext4 inode",
                    "i_links_count",
                    "1, as the superblock has it",
                    f"{links:,}",
                )
            continue
        if number in subject.orphans and not links:
            continue
        if number != EXT4_ROOT_INO and number not in parents and (stat.S_ISDIR(mode) or not names):
            if not _is_value(subject, number):
                _find(
                    subject,
                    number,
                    "ext4 inode",
                    "i_links_count",
                    "0 without a name, or a name",
                    f"{links:,}",
                )
            continue
        if stat.S_ISDIR(mode) and names > EXT4_LINK_MAX and sb.features.has(f.RoCompat.DIR_NLINK):
            names = 1
        if names != links:
            _find(
                subject, number, "ext4 inode", "i_links_count", f"{names:,}, as there are names", f"{links:,}"
            )


def _is_value(subject: Subject, number: int) -> bool:
    """Return whether an inode is the value of an attribute, which has no name."""
    content = subject.inode_bytes(number)
    return content is not None and decode(content, number, 0, subject.superblock).has(EXT4_EA_INODE_FL)


def _find(subject: Subject, number: int, what: str, field: str, expected: str, found: str) -> None:
    section = sections.DIRECTORY if "directory" in what else sections.INODES
    subject.remarks.find(f"{what} {number}", field, subject.inode_offset(number), expected, found, section)
