"""The chains of a FAT volume: each cluster in one, each with an end, each as long as its file.

::

    entry ── first cluster ── FAT[first] ── ... ── end mark
                                 └ met before: a loop in its own chain, a cross link in another's

Spec: FAT specification, 4 and 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeAlias

from imgwriter.errors import show
from imgwriter.fat.chains import Claims, Stop
from imgwriter.fat.reader import FileSystem
from imgwriter.fat.structures import ShortEntry
from imgwriter.units import counted, div_ceil
from imgwriter.verify.fat.entries import ENTRY, Flaw, first_cluster
from imgwriter.verify.remarks import MOST_ALIKE, Remarks

CHAINS = "FAT specification, 4"

_SHOWN_DEPTH = 32

Runs: TypeAlias = list[tuple[int, int]]


class Path(NamedTuple):
    """Where something is in the tree; made into text only for a message."""

    parent: Path | None
    name: bytes
    depth: int

    def __str__(self) -> str:
        parts: list[str] = []
        at: Path | None = self
        while at is not None and at.parent is not None and len(parts) < _SHOWN_DEPTH:
            parts.append(show(at.name))
            at = at.parent
        start = "/" if at is None or at.parent is None else ".../"
        return start + "/".join(reversed(parts))


class Chains:
    """The chains of one volume.

    Args:
        file_system: The volume.
        remarks: What is wrong goes there.

    Attributes:
        claims: The clusters that are in some chain so far.
        claimed: How many they are.
        exact: Whether none of them is free or bad by its own entry.
        crossed: Clusters at which a chain runs into another's, with the paths that do.
        owners: The paths in whose chains the clusters of ``watch`` are: what a second walk is for.
    """

    def __init__(self, file_system: FileSystem, remarks: Remarks, watch: Collection[int] = ()) -> None:
        self.layout = file_system.layout
        self.table = file_system.table
        self.remarks = remarks
        self.claims = Claims()
        self.claimed = 0
        self.exact = True
        self.crossed: dict[int, list[Path]] = {}
        self.owners: dict[int, Path] = {}
        self._watch = watch
        self._crossings = 0

    def chain(self, path: Path, first: int, offset: int) -> Runs:
        """Follow a chain, as far as it goes, and say why it has no end where it has none.

        Args:
            path: Whose it is.
            first: Its first cluster.
            offset: Where the directory entry is that leads to it, in bytes from the start of the disk.
        """
        runs, stop = self._follow(path, first)
        if stop is not None:
            self._stopped(path, runs, stop, offset)
        return runs

    def root(self, first: int) -> Runs:
        """Follow the chain of FAT32's root; a first cluster that is none was found in the boot sector."""
        path = Path(None, b"", 0)
        runs, stop = self._follow(path, first)
        if stop is not None and stop.cluster:
            self._stopped(path, runs, stop, 0)
        return runs

    def file(self, path: Path, entry: ShortEntry, offset: int) -> None:
        """Follow a file's chain, which is as long as its size wants it."""
        first, size = first_cluster(entry, self.layout.bits), entry.file_size
        if not first:
            if size:
                found = f"0, for {counted(size, 'byte')}"
                self.find(path, Flaw("DIR_FstClusLO", "a cluster", found, ENTRY), offset)
            return
        runs, stop = self._follow(path, first)
        if stop is not None:
            self._stopped(path, runs, stop, offset)
        needed, held = div_ceil(size, self.layout.cluster_size), count(runs)
        if held > needed or (held < needed and stop is None):
            expected = f"{held:,} clusters' worth, as its chain has" if held else "0, as it has no clusters"
            found = f"{counted(size, 'byte')}, {counted(needed, 'cluster')}"
            self.find(path, Flaw("DIR_FileSize", expected, found, ENTRY), offset)

    def find(self, path: Path, flaw: Flaw, offset: int) -> None:
        """Say what is wrong with an entry at an offset of the disk."""
        remark = self.remarks.find if flaw.damage else self.remarks.note
        structure = f"FAT entry {path}"
        remark(structure, flaw.field, offset + flaw.at, flaw.expected, flaw.found, flaw.section)

    def say_crossed(self, owners: Mapping[int, Path]) -> None:
        """Make the findings of cross links.

        Args:
            owners: The paths that had the clusters before.
        """
        for cluster, paths in self.crossed.items():
            found = f"cluster {cluster:,} in a cross link: {owners.get(cluster, 'another chain')} has it too"
            for path in paths:
                self._say(path, cluster, "", "each cluster in one chain", found)

    def _follow(self, path: Path, first: int) -> tuple[Runs, Stop | None]:
        runs, stop = self.table.follow(first, self.claims)
        self.claimed += count(runs)
        for cluster in self._watch:
            if cluster not in self.owners and any(low <= cluster < high for low, high in runs):
                self.owners[cluster] = path
        return runs, stop

    def _stopped(self, path: Path, runs: Runs, stop: Stop, offset: int) -> None:
        """Say why a chain has no end."""
        table = self.table
        clusters = f"2 to {table.limit - 1:,}"
        if not stop.cluster:
            flaw = Flaw("DIR_FstClusLO", f"a cluster, {clusters}", f"{stop.value:,}", CHAINS)
            self.find(path, flaw, offset)
            return
        if not stop.again:
            self.exact = False
            found = f"{stop.value:#x}{_meaning(stop.value, table.end_mark)}"
            self._say(path, stop.cluster, f"FAT[{stop.cluster:,}]", f"{clusters}, or an end mark", found)
        elif any(low <= stop.cluster < high for low, high in runs):
            found = f"cluster {stop.cluster:,} in a loop: its own chain has it already"
            self._say(path, stop.cluster, "", "each cluster in one chain", found)
        elif self._crossings < MOST_ALIKE:
            self._crossings += 1
            self.crossed.setdefault(stop.cluster, []).append(path)
        else:
            self._say(
                path, stop.cluster, "", "each cluster in one chain", f"cluster {stop.cluster:,} in others too"
            )

    def _say(self, path: Path, cluster: int, field: str, expected: str, found: str) -> None:
        where = self.table.offset(cluster)
        self.remarks.find(f"FAT chain of {path}", field, where, expected, found, CHAINS)


def count(runs: Runs) -> int:
    """Return how many clusters there are."""
    return sum(high - low for low, high in runs)


def _meaning(value: int, end_mark: int) -> str:
    if value == end_mark - 1:
        return ", a bad cluster"
    return ", a free cluster" if value == 0 else ""
