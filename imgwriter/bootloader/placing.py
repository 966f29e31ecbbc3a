"""Put a loader's files into a tree: on ext4 as they are named, on FAT without regard to case.

A file that is there already is kept where it says what its owner wants (grub.cfg, loader.conf), and replaced
where it is the loader's own (GRUB's modules); else the build is refused: two loaders cannot have one name.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Mapping
from typing import Literal

from imgwriter.bootloader.outcome import Change
from imgwriter.bootloader.target import Target
from imgwriter.disk import Role
from imgwriter.errors import SourceError, show
from imgwriter.extent import Bytes
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import Lookup, kind, split

_FILE_MODE = stat.S_IFREG | 0o644


class Destination:
    """One tree that receives files.

    Args:
        root: Its root directory, which is changed in place.
        name: What to call it in messages: "the ESP".
        mtime_ns: The time of what is made here.
        folds_case: Whether two names that differ in the case of letters are one, as on FAT.
        mount: Where the running system has it.

    Attributes:
        changes: What became of which files, as :class:`~imgwriter.bootloader.outcome.Installed` has it.
    """

    __slots__ = ("_folds", "_mount", "_mtime_ns", "changes", "name", "root")

    def __init__(
        self, root: Inode, name: str, mtime_ns: int, *, folds_case: bool, mount: bytes = b"/"
    ) -> None:
        self.root = root
        self.name = name
        self._mtime_ns = mtime_ns
        self._folds = folds_case
        self._mount = mount
        self.changes: list[Change] = []

    def find(self, path: bytes) -> Inode | None:
        """Return what is at a path, symlinks followed, or None."""
        try:
            return Lookup(self.root).follow(self._existing(split(path)))
        except SourceError:
            return None

    def text(self, path: bytes, content: bytes) -> None:
        """Make a file of ``content``; see :meth:`copy`."""
        self._put(path, self.made(content))

    def copy(self, path: bytes, source: Inode) -> None:
        """Make a file that has the bytes and the time of ``source``; owner 0:0, mode 0644.

        Raises:
            SourceError: Something is there already, or the path leads through what is no directory.
        """
        self._put(path, _copy(source))

    def replace(self, path: bytes, source: Inode) -> None:
        """Make a file as :meth:`copy` does, in place of a file that is there: of what is the loader's own."""
        names = self._existing(split(path))
        holder = self.find(b"/".join(names[:-1]))
        entries = {} if holder is None or holder.entries is None else holder.entries
        if names[-1] in entries and stat.S_ISREG(entries[names[-1]].mode):
            self._note("changed", names)
            del entries[names[-1]]
        self.copy(path, source)

    def made(self, content: bytes) -> Inode:
        """Return a file of ``content``, of the time of what is made here."""
        data = Bytes(content) if content else None
        return Inode(_FILE_MODE, mtime_ns=self._mtime_ns, size=len(content), data=data)

    def _put(self, path: bytes, inode: Inode) -> None:
        names = self._existing(split(path))
        inode.origin = "the boot loader"
        self._note("made", self._first_missing(names))
        holder = self._directories(names[:-1])
        assert holder.entries is not None
        there = holder.entries.get(names[-1])
        if there is not None:
            raise SourceError(
                f"the boot loader's {show(path)} cannot be put on {self.name}: a {kind(there)} is there"
                " already; leave one of them out",
                path,
            )
        holder.entries[names[-1]] = inode

    def _first_missing(self, names: list[bytes]) -> list[bytes]:
        """Return the names as far as the first that is not there."""
        counts = range(1, len(names))
        return next((names[:n] for n in counts if self.find(b"/".join(names[:n])) is None), names)

    def _note(self, kind: Literal["made", "changed"], names: list[bytes]) -> None:
        """Note what becomes of a file or directory, unless it is new, or below what is new."""
        path = posixpath.join(self._mount, *names)
        noted = {change.path for change in self.changes}
        above = path
        while len(above) > 1:
            if above in noted:
                return
            above = posixpath.dirname(above)
        self.changes.append(Change(kind, path))

    def _directories(self, names: list[bytes]) -> Inode:
        """Return a directory, made where it is missing; those that nobody described have the build's time."""
        holder = Lookup(self.root).make_directories(names, "the boot loader")
        for count in range(1, len(names) + 1):
            directory = Lookup(self.root).follow(names[:count])
            if directory.implicit:
                directory.mtime_ns = self._mtime_ns
        return holder

    def _existing(self, names: list[bytes]) -> list[bytes]:
        """Return the names with those that are there in the case in which they are."""
        here: Inode | None = self.root
        result = []
        for name in names:
            entries = {} if here is None or here.entries is None else here.entries
            same = name
            if self._folds and name not in entries:
                same = next((each for each in entries if each.upper() == name.upper()), name)
            result.append(same)
            here = entries.get(same)
        return result


def destinations(trees: Mapping[Role, Inode], target: Target) -> dict[Role, Destination]:
    """Return what receives files, by the role of its partition."""
    places: dict[Role, tuple[str, bytes]] = {
        "root": ("the root", b"/"),
        "esp": ("the ESP", target.esp_mount),
        "boot": ("the boot partition", target.boot_mount),
    }
    return {
        role: Destination(
            tree, places[role][0], target.mtime_ns, folds_case=role != "root", mount=places[role][1]
        )
        for role, tree in trees.items()
    }


def changes(places: Mapping[Role, Destination]) -> tuple[Change, ...]:
    """Return what became of the files of all trees, in the order of their paths."""
    return tuple(sorted((each for place in places.values() for each in place.changes), key=_by_path))


def _by_path(change: Change) -> bytes:
    return change.path


def _copy(source: Inode) -> Inode:
    return Inode(_FILE_MODE, mtime_ns=source.mtime_ns, size=source.size, data=source.data, runs=source.runs)
