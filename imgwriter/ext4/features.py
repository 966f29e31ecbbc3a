"""ext4's feature flags: which are set, which can be, which are read, which are refused, and why.

The defaults are those of mke2fs 1.47.0 with Debian 12's mke2fs.conf, for ext4, ext3 and ext2.

Spec: kernel Documentation/filesystems/ext4/super.rst, s_feature_compat, s_feature_incompat,
s_feature_ro_compat; names as in mke2fs's -O.
"""

from __future__ import annotations

import re
from enum import IntFlag
from typing import NamedTuple

from imgwriter.errors import SpecError


class Compat(IntFlag):
    """s_feature_compat: a kernel without them may still read and write."""

    DIR_PREALLOC = 0x1
    IMAGIC_INODES = 0x2
    HAS_JOURNAL = 0x4
    EXT_ATTR = 0x8
    RESIZE_INODE = 0x10
    DIR_INDEX = 0x20
    LAZY_BG = 0x40
    EXCLUDE_BITMAP = 0x100
    SPARSE_SUPER2 = 0x200
    FAST_COMMIT = 0x400
    STABLE_INODES = 0x800
    ORPHAN_FILE = 0x1000


class Incompat(IntFlag):
    """s_feature_incompat: a kernel without them must not mount."""

    COMPRESSION = 0x1
    FILETYPE = 0x2
    RECOVER = 0x4
    JOURNAL_DEV = 0x8
    META_BG = 0x10
    EXTENTS = 0x40
    BIT64 = 0x80
    MMP = 0x100
    FLEX_BG = 0x200
    EA_INODE = 0x400
    DIRDATA = 0x1000
    CSUM_SEED = 0x2000
    LARGEDIR = 0x4000
    INLINE_DATA = 0x8000
    ENCRYPT = 0x10000
    CASEFOLD = 0x20000


class RoCompat(IntFlag):
    """s_feature_ro_compat: a kernel without them must not write."""

    SPARSE_SUPER = 0x1
    LARGE_FILE = 0x2
    HUGE_FILE = 0x8
    GDT_CSUM = 0x10
    DIR_NLINK = 0x20
    EXTRA_ISIZE = 0x40
    HAS_SNAPSHOT = 0x80
    QUOTA = 0x100
    BIGALLOC = 0x200
    METADATA_CSUM = 0x400
    REPLICA = 0x800
    READONLY = 0x1000
    PROJECT = 0x2000
    SHARED_BLOCKS = 0x4000
    VERITY = 0x8000
    ORPHAN_PRESENT = 0x10000


Flag = Compat | Incompat | RoCompat

NAMES: dict[str, Flag] = {
    "has_journal": Compat.HAS_JOURNAL,
    "ext_attr": Compat.EXT_ATTR,
    "resize_inode": Compat.RESIZE_INODE,
    "dir_index": Compat.DIR_INDEX,
    "orphan_file": Compat.ORPHAN_FILE,
    "filetype": Incompat.FILETYPE,
    "extent": Incompat.EXTENTS,
    "64bit": Incompat.BIT64,
    "flex_bg": Incompat.FLEX_BG,
    "metadata_csum_seed": Incompat.CSUM_SEED,
    "large_dir": Incompat.LARGEDIR,
    "sparse_super": RoCompat.SPARSE_SUPER,
    "large_file": RoCompat.LARGE_FILE,
    "huge_file": RoCompat.HUGE_FILE,
    "dir_nlink": RoCompat.DIR_NLINK,
    "extra_isize": RoCompat.EXTRA_ISIZE,
    "metadata_csum": RoCompat.METADATA_CSUM,
}
"""Every feature that imgwriter writes, by mke2fs's name, in dumpe2fs's order."""

REFUSED: dict[str, str] = {
    "bigalloc": "blocks are allocated one by one, not in clusters",
    "casefold": "names are kept as bytes and compared as bytes",
    "dirdata": "no Linux kernel reads it",
    "ea_inode": "an attribute that fits neither the inode nor a block is refused instead",
    "encrypt": "an image cannot be encrypted without keys",
    "fast_commit": "its blocks are made by the kernel (tune2fs -O fast_commit adds it later)",
    "inline_data": "GRUB cannot read it and old kernels damaged it",
    "journal_dev": "an image is one device",
    "meta_bg": "groups are laid out with resize_inode; online growth past it turns meta_bg on by itself",
    "mmp": "an image is not mounted while it is made",
    "project": "a tree has no project identifiers",
    "quota": "usage files are made by the kernel (tune2fs -O quota adds it later)",
    "read-only": "it would forbid what an installed system does",
    "shared_blocks": "it makes a file system read-only",
    "sparse_super2": "backups stand where every tool looks for them",
    "stable_inodes": "it forbids shrinking",
    "uninit_bg": "metadata_csum does the same and more",
    "verity": "no Merkle trees are made",
}
"""Features of mke2fs's -O that are not written, and why."""

READ: dict[str, Flag] = {
    **NAMES,
    "dir_prealloc": Compat.DIR_PREALLOC,
    "imagic_inodes": Compat.IMAGIC_INODES,
    "lazy_bg": Compat.LAZY_BG,
    "snapshot_bitmap": Compat.EXCLUDE_BITMAP,
    "sparse_super2": Compat.SPARSE_SUPER2,
    "fast_commit": Compat.FAST_COMMIT,
    "stable_inodes": Compat.STABLE_INODES,
    "needs_recovery": Incompat.RECOVER,
    "meta_bg": Incompat.META_BG,
    "mmp": Incompat.MMP,
    "ea_inode": Incompat.EA_INODE,
    "inline_data": Incompat.INLINE_DATA,
    "encrypt": Incompat.ENCRYPT,
    "casefold": Incompat.CASEFOLD,
    "uninit_bg": RoCompat.GDT_CSUM,
    "quota": RoCompat.QUOTA,
    "bigalloc": RoCompat.BIGALLOC,
    "read-only": RoCompat.READONLY,
    "project": RoCompat.PROJECT,
    "verity": RoCompat.VERITY,
    "orphan_present": RoCompat.ORPHAN_PRESENT,
}
"""Every feature of a file system that is read, by e2fsprogs' name."""

NOT_READ: dict[str, tuple[Flag, str]] = {
    "compression": (Incompat.COMPRESSION, "no Linux kernel reads it"),
    "journal_dev": (Incompat.JOURNAL_DEV, "it is the journal of another file system; give that one"),
    "dirdata": (Incompat.DIRDATA, "no Linux kernel reads it"),
    "snapshot": (RoCompat.HAS_SNAPSHOT, "no Linux kernel reads it"),
    "replica": (RoCompat.REPLICA, "no Linux kernel knows it"),
    "shared_blocks": (RoCompat.SHARED_BLOCKS, "files share blocks; run e2fsck -E unshare_blocks on a copy"),
}
"""Features that are known and not read: the flag, and why."""

_BASE = "sparse_super large_file filetype resize_inode dir_index ext_attr"
DEFAULTS: dict[str, str] = {
    "ext2": _BASE,
    "ext3": _BASE + " has_journal",
    "ext4": _BASE + " has_journal extent huge_file flex_bg metadata_csum 64bit dir_nlink extra_isize",
}


class Features(NamedTuple):
    """The three feature words of a superblock."""

    compat: Compat
    incompat: Incompat
    ro_compat: RoCompat

    def __str__(self) -> str:
        return " ".join(name for name, flag in NAMES.items() if self.has(flag))

    def has(self, flag: Flag) -> bool:
        """Return whether ``flag`` is set."""
        if isinstance(flag, Compat):
            return flag in self.compat
        return flag in (self.incompat if isinstance(flag, Incompat) else self.ro_compat)

    def without(self, name: str) -> Features:
        """Return these features less the one of that name."""
        return _from_names(str(self).split(), drop=name)


def _from_names(names: list[str], drop: str = "") -> Features:
    compat, incompat, ro_compat = Compat(0), Incompat(0), RoCompat(0)
    for name in names:
        if name == drop:
            continue
        flag = NAMES[name]
        if isinstance(flag, Compat):
            compat |= flag
        elif isinstance(flag, Incompat):
            incompat |= flag
        else:
            ro_compat |= flag
    return Features(compat, incompat, ro_compat)


def parse(fs_type: str, text: str = "") -> Features:
    """Return the features of a file system type, changed by ``text`` in mke2fs's -O syntax.

    Args:
        fs_type: "ext4", "ext3" or "ext2".
        text: Names separated by commas or spaces; ``^`` or ``-`` before a name leaves it off,
            ``none`` clears all that came before.

    Raises:
        SpecError: A name is unknown or refused, or a feature lacks one that it needs.
    """
    names = DEFAULTS[fs_type].split()
    for word in re.split(r"[,\s]+", text.strip()):
        name = word.lstrip("^-+")
        if word == "none":
            names = []
        elif name in REFUSED:
            if word[0] not in "^-":
                raise SpecError(f"feature {name} is not written: {REFUSED[name]}; leave it out")
        elif name and name not in NAMES:
            raise SpecError(f"unknown feature {name!r}; use those of {', '.join(NAMES)}")
        elif name and word[0] in "^-":
            names = [n for n in names if n != name]
        elif name and name not in names:
            names.append(name)
    features = _from_names(names)
    _check(features)
    return features


def names_of(features: Features) -> tuple[str, ...]:
    """Return the names of the features that are set and known, in dumpe2fs's order."""
    words = (Compat, Incompat, RoCompat)
    flags = sorted(READ.items(), key=lambda item: (words.index(type(item[1])), item[1]))
    return tuple(name for name, flag in flags if features.has(flag))


def name_of(flag: Flag) -> str:
    """Return e2fsprogs' name of a feature that is read; flags of two words may be equal as numbers."""
    return next(name for name, known in READ.items() if type(known) is type(flag) and known == flag)


def refusals(features: Features) -> list[str]:
    """Return a phrase for each feature with which a file system is not read: its name, and why.

    A feature without a name is called as e2fsprogs does: FEATURE_I20 is bit 20 of s_feature_incompat. Unknown
    ones of the other two words are no reason: who only reads may do so without knowing them (super.rst).
    """
    found = [f"{name} ({why})" for name, (flag, why) in NOT_READ.items() if features.has(flag)]
    return found + [f"{name} (not known)" for name in unknown(features.incompat)]


def unknown(word: Flag) -> list[str]:
    """Return what e2fsprogs calls the flags of a feature word that have no name here."""
    named = 0
    for flag in (*READ.values(), *(flag for flag, _ in NOT_READ.values())):
        if type(flag) is type(word):
            named |= int(flag)
    letter = {Compat: "C", Incompat: "I", RoCompat: "R"}[type(word)]
    bits = int(word) & ~named
    return [f"FEATURE_{letter}{bit}" for bit in range(32) if bits >> bit & 1]


_NEEDS = (
    ("metadata_csum_seed", "metadata_csum"),
    ("orphan_file", "has_journal"),
    ("large_dir", "dir_index"),
    ("resize_inode", "sparse_super"),
    ("resize_inode", "large_file"),  # its own size is beyond 2 GiB
    ("64bit", "extent"),
)


def _check(features: Features) -> None:
    for name, needed in _NEEDS:
        if features.has(NAMES[name]) and not features.has(NAMES[needed]):
            raise SpecError(f"feature {name} needs {needed}; add {needed} or leave off {name}")
