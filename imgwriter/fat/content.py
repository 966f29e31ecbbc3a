"""An Inventory seen with FAT's eyes: every name checked and given its form, every cost counted.

FAT holds directories and regular files, and nothing else: what has no form is refused here, with its path.
A file with several names is counted, and later written, once a name: FAT has no hard links.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import NamedTuple

from imgwriter.errors import UnrepresentableError, show
from imgwriter.fat.names import Name, directory_names
from imgwriter.fat.structures import ENTRY_SIZE
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.units import div_ceil

MAX_FILE_SIZE = 0xFFFFFFFF
"""Bytes of the largest file: DIR_FileSize has 32 bits."""

MAX_DIRECTORY_ENTRIES = 65_536
"""Entries of a directory, long-name entries counted: 2 MiB, where Linux and Windows stop reading."""

_DOT_ENTRIES = 2

_KINDS = {
    stat.S_IFLNK: "symlinks",
    stat.S_IFCHR: "character devices",
    stat.S_IFBLK: "block devices",
    stat.S_IFIFO: "FIFOs",
    stat.S_IFSOCK: "sockets",
}


class Directory(NamedTuple):
    """A directory with its names in FAT form.

    Attributes:
        inode: The directory itself.
        parent: Index of its parent in ``Content.directories``; 0 for the root.
        names, inodes: What it holds, side by side, in the order of the names' bytes.
        slots: How many entries it takes; the root's label counts, and the other's ``.`` and ``..``.
    """

    inode: Inode
    parent: int
    names: Sequence[Name]
    inodes: Sequence[Inode]
    slots: int


class Content(NamedTuple):
    """What goes into a volume.

    Attributes:
        directories: The root first, parents before children.
        numbers: Place of a directory in ``directories``, by ``id`` of its inode.
        file_sizes: Bytes of every file that is not empty, once a name.
    """

    directories: Sequence[Directory]
    numbers: dict[int, int]
    file_sizes: Sequence[int]

    @property
    def root_slots(self) -> int:
        """Entries of the root directory."""
        return self.directories[0].slots

    def clusters(self, cluster_size: int, root_in_clusters: bool) -> int:
        """Return how many clusters of ``cluster_size`` bytes the content takes."""
        files = sum([-(-size // cluster_size) for size in self.file_sizes])
        directories = self.directories if root_in_clusters else self.directories[1:]
        return files + sum(directory_clusters(d, cluster_size) for d in directories)


def directory_clusters(directory: Directory, cluster_size: int) -> int:
    """Return the clusters of a directory: an empty root has one, too."""
    return max(1, div_ceil(directory.slots * ENTRY_SIZE, cluster_size))


def survey(inventory: Inventory, labelled: bool) -> Content:
    """Return the content of a tree, each name in its FAT form.

    Args:
        inventory: The tree.
        labelled: Whether the root holds a volume label.

    Raises:
        UnrepresentableError: A name, a type, a size or a directory has no form in FAT.
    """
    numbers = {id(inode): number for number, inode in enumerate(inventory.directories)}
    directories = [_directory(inode, numbers, labelled) for inode in inventory.directories]
    sizes = [i.size for d in directories for i in d.inodes if i.size and i.entries is None]
    return Content(directories, numbers, sizes)


def _directory(inode: Inode, numbers: dict[int, int], labelled: bool) -> Directory:
    entries = inode.entries or {}
    path = inode.path
    for name, child in entries.items():
        if not (stat.S_ISREG(child.mode) or stat.S_ISDIR(child.mode)) or child.size > MAX_FILE_SIZE:
            _refuse(path + b"/" + name if path else name, child)
    names = directory_names(entries, path)
    own = labelled if inode.parent is None else _DOT_ENTRIES
    slots = own + sum([name.slots for name in names])
    if slots > MAX_DIRECTORY_ENTRIES:
        raise UnrepresentableError(
            f"{show(path) or '/'}: the directory needs {slots:,} entries for {len(names):,} names, "
            f"FAT has room for {MAX_DIRECTORY_ENTRIES:,}; spread them over several directories",
            path,
        )
    parent = numbers[id(inode.parent)] if inode.parent is not None else 0
    return Directory(inode, parent, names, list(entries.values()), slots)


def _refuse(path: bytes, inode: Inode) -> None:
    if stat.S_ISREG(inode.mode):
        raise UnrepresentableError(
            f"{show(path)}: the file has {inode.size:,} bytes, FAT holds {MAX_FILE_SIZE:,}; "
            "split or exclude it",
            path,
        )
    kind = _KINDS.get(stat.S_IFMT(inode.mode), "such files")
    raise UnrepresentableError(f"{show(path)}: FAT has no {kind}; exclude it", path)
