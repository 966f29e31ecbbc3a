"""What is drawn in which colour: a few categories, told apart with impaired colour vision too.

The hues are those of Okabe and Ito, with the tints that neighbouring files alternate between. Light and dark
pages have the same hues on other grounds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from imgwriter.examine.owners import Kind


class Category(StrEnum):
    """A category: its value is the class of its elements."""

    TABLE = "table"
    SUPER = "super"
    BITMAP = "bitmap"
    INODES = "inodes"
    MAPPING = "mapping"
    JOURNAL = "journal"
    DIRECTORY = "directory"
    FILE = "file"
    FRAGMENT = "fragment"
    UNWRITTEN = "unwritten"
    OPAQUE = "opaque"
    GAP = "gap"
    FREE = "free"


class Style(NamedTuple):
    """How a category looks: its names, of all and of one, and its colours on a light and on a dark ground."""

    name: str
    one: str
    light: str
    dark: str


STYLES: dict[Category, Style] = {
    Category.TABLE: Style("partition tables", "partition table", "#33373d", "#d5dae1"),
    Category.SUPER: Style(
        "superblocks, descriptors, boot sectors", "superblock, descriptors, boot sector", "#c8501e", "#f0783c"
    ),
    Category.BITMAP: Style("bitmaps, FATs", "bitmap or FAT", "#dcb400", "#f0d24b"),
    Category.INODES: Style("inode tables", "inode table", "#00966e", "#2fc79c"),
    Category.MAPPING: Style(
        "extent trees, attributes, growth", "extent tree, attributes, growth", "#8c5a3c", "#c79a7d"
    ),
    Category.JOURNAL: Style("journal", "journal", "#c35f96", "#e591be"),
    Category.DIRECTORY: Style("directories", "directory", "#eb9600", "#ffb43c"),
    Category.FILE: Style("files in one piece", "file in one piece", "#4b8fd2", "#5fa5eb"),
    Category.FRAGMENT: Style("files in fragments", "file in fragments", "#5b4bb4", "#9b8cf5"),
    Category.UNWRITTEN: Style("preallocated", "preallocated", "#a0c8c8", "#6ba5ab"),
    Category.OPAQUE: Style("not read", "not read", "#aaa0b4", "#9a8fa8"),
    Category.GAP: Style("in no partition", "in no partition", "#dcdfe4", "#3a3f47"),
    Category.FREE: Style("unused", "unused", "#f0f2f4", "#262a30"),
}

FILE_TINTS = (("#4b8fd2", "#5fa5eb"), ("#73aae1", "#4687cd"), ("#326eb4", "#82bef5"))
"""Neighbouring files take turns: (light, dark)."""

OF_KIND: dict[Kind, Category] = {
    Kind.MBR: Category.TABLE,
    Kind.EBR: Category.TABLE,
    Kind.GPT_HEADER: Category.TABLE,
    Kind.GPT_ENTRIES: Category.TABLE,
    Kind.BOOT_BLOCK: Category.SUPER,
    Kind.SUPERBLOCK: Category.SUPER,
    Kind.DESCRIPTORS: Category.SUPER,
    Kind.BOOT_SECTOR: Category.SUPER,
    Kind.FSINFO: Category.SUPER,
    Kind.BLOCK_BITMAP: Category.BITMAP,
    Kind.INODE_BITMAP: Category.BITMAP,
    Kind.FAT: Category.BITMAP,
    Kind.INODE_TABLE: Category.INODES,
    Kind.EXTENT_TREE: Category.MAPPING,
    Kind.BLOCK_MAP: Category.MAPPING,
    Kind.XATTR: Category.MAPPING,
    Kind.RESIZE: Category.MAPPING,
    Kind.JOURNAL: Category.JOURNAL,
    Kind.DIRECTORY: Category.DIRECTORY,
    Kind.FAT_DIRECTORY: Category.DIRECTORY,
    Kind.FILE: Category.FILE,
    Kind.SYMLINK: Category.FILE,
    Kind.SYSTEM_FILE: Category.MAPPING,
    Kind.UNWRITTEN: Category.UNWRITTEN,
    Kind.OPAQUE: Category.OPAQUE,
    Kind.GAP: Category.GAP,
    Kind.UNUSED: Category.FREE,
}


def colours(dark: bool) -> str:
    """Return CSS declarations of the variables that the pictures use."""
    chosen = [f"--{category}:{style.dark if dark else style.light}" for category, style in STYLES.items()]
    chosen += [f"--file{n}:{tint[dark]}" for n, tint in enumerate(FILE_TINTS)]
    return ";".join(chosen)
