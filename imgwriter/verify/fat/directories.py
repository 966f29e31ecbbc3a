"""The tree of a FAT volume: every directory, every entry, every chain, each cluster once.

::

    root ──> entry ── chain ──> clusters, claimed: met again they are a loop or a cross link
              └ directory ──> . and .. first ── entry ── ...

An entry whose first byte is 0 ends a directory. What stands behind it is no entry to the specification, but
Linux and fsck.fat read on: that there is something is a finding.

Spec: FAT specification, 4 (chains), 6 (directories), 7 (long names).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from imgwriter.errors import show
from imgwriter.fat.content import MAX_DIRECTORY_ENTRIES
from imgwriter.fat.directory_reader import short_name
from imgwriter.fat.reader import MAX_DEPTH, FileSystem
from imgwriter.fat.structures import (
    ATTR_DIRECTORY,
    ATTR_LONG_NAME,
    ATTR_LONG_NAME_MASK,
    ATTR_VOLUME_ID,
    DOT,
    DOT_DOT,
    END_OF_DIRECTORY,
    ENTRY_SIZE,
    FREE_ENTRY,
    ShortEntry,
    parse_long,
    parse_short,
)
from imgwriter.verify.fat.chains import Chains, Path, Runs, count
from imgwriter.verify.fat.entries import DIRECTORIES, ENTRY, LONG, NAMES, Flaw, first_cluster, flaws
from imgwriter.verify.fat.names import LongName, keys, long_name_damage, long_text, short_name_damage
from imgwriter.verify.remarks import Remarks

_PIECE = 64 << 10


class _Directory(NamedTuple):
    """A directory whose entries are to be looked at.

    Attributes:
        cluster: Its first; 0 for the root.
        parent: Its parent's first; 0 where that is the root.
        places: [low, high) of its bytes, from the start of the volume.
    """

    path: Path
    cluster: int
    parent: int
    places: Runs


class Walk:
    """One reading of the tree.

    Args:
        file_system: The volume.
        remarks: What is wrong goes there.
        told: Called with the clusters claimed so far, after each directory.
        watch: Clusters whose owners are looked for.

    Attributes:
        chains: Those of the tree, once :meth:`run` is through.
        labels: Volume labels of the root directory.
    """

    def __init__(
        self,
        file_system: FileSystem,
        remarks: Remarks,
        told: Callable[[int], None],
        watch: Collection[int] = (),
    ) -> None:
        self.layout = file_system.layout
        self.window = file_system.window
        self.remarks = remarks
        self.told = told
        self.chains = Chains(file_system, remarks, watch)
        self.labels: list[bytes] = []
        self._pending: list[_Directory] = []

    def run(self) -> None:
        """Look at everything that the root directory leads to."""
        self._pending.append(_Directory(Path(None, b"", 0), 0, 0, self._root()))
        while self._pending:
            _Scan(self, self._pending.pop()).run()
            self.told(self.chains.claimed)

    def descend(self, path: Path, entry: ShortEntry, offset: int, parent: int) -> None:
        """Follow a directory's chain, and look at what it holds later."""
        first = first_cluster(entry, self.layout.bits)
        runs = self.chains.chain(path, first, offset)
        if not runs:
            return
        if path.depth > MAX_DEPTH:
            found = f"{path.depth:,} directories"
            self.chains.find(
                path, Flaw("DIR_Name", f"a depth of at most {MAX_DEPTH:,}", found, ENTRY), offset
            )
            return
        size = count(runs) * self.layout.cluster_size
        most = max(MAX_DIRECTORY_ENTRIES * ENTRY_SIZE, self.layout.cluster_size)
        if size > most:
            at = self.window.offset + self.layout.cluster_offset(first)
            expected, found = f"at most {most:,} bytes", f"{size:,}"
            self.remarks.find(f"FAT directory {path}", "", at, expected, found, DIRECTORIES)
        self._pending.append(_Directory(path, first, parent, self._places(runs)))

    def _root(self) -> Runs:
        layout = self.layout
        if layout.bits != 32:
            return [(layout.root_start, layout.root_start + layout.root_size)]
        return self._places(self.chains.root(layout.root_cluster))

    def _places(self, runs: Runs) -> Runs:
        return [(self.layout.cluster_offset(low), self.layout.cluster_offset(high)) for low, high in runs]


class _Scan:
    """The entries of one directory."""

    def __init__(self, walk: Walk, directory: _Directory) -> None:
        self.walk = walk
        self.chains = walk.chains
        self.remarks = walk.remarks
        self.directory = directory
        self.is_root = directory.path.parent is None
        self.long = LongName()
        self.seen: dict[str, bytes] = {}
        self.position = 0

    def run(self) -> None:
        """Look at each entry."""
        ended = False
        behind, behind_at = 0, 0
        for offset, raw in self._entries():
            if ended:
                if raw[0] not in (END_OF_DIRECTORY, FREE_ENTRY):
                    behind, behind_at = behind + 1, behind_at or offset
            elif raw[0] == END_OF_DIRECTORY:
                ended = True
            elif raw[0] == FREE_ENTRY:
                self._leftover()
            elif raw[11] & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME:
                for field, expected, found in self.long.add(parse_long(raw, 0), offset):
                    self._find(Flaw(field, expected, found, LONG), offset)
            else:
                self._short(parse_short(raw, 0), offset)
            self.position += 1
        self._leftover()
        if not self.is_root and self.position and not {".", ".."} <= self.seen.keys():
            self._say("its first two entries", "'.' and '..'", "others")
        if behind:
            expected, found = "no entries behind the end", f"{behind:,}"
            structure = f"FAT directory {self.directory.path}"
            self.remarks.find(structure, "DIR_Name", behind_at, expected, found, NAMES)

    def _entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield (offset on the disk, bytes) of the entries; of a stretch of zeros the first only."""
        window = self.walk.window
        remaining = MAX_DIRECTORY_ENTRIES * ENTRY_SIZE
        for low, high in self.directory.places:
            for start in range(low, min(high, low + remaining), _PIECE):
                stop = min(start + _PIECE, high)
                remaining -= stop - start
                if not window.has_data(start, stop):
                    yield window.offset + start, bytes(ENTRY_SIZE)
                    continue
                piece = window.read(start, stop - start, "FAT directory")
                if not any(piece):
                    yield window.offset + start, bytes(ENTRY_SIZE)
                    continue
                for at in range(0, len(piece), ENTRY_SIZE):
                    yield window.offset + start + at, piece[at : at + ENTRY_SIZE]

    def _short(self, entry: ShortEntry, offset: int) -> None:
        name = short_name(entry)
        units, damage = self.long.take(entry.name)
        long = self._long_name(units)
        path = self._path(long.encode("utf-8", "surrogatepass") if long else name)
        at = self.long.offset if units or damage else offset
        for field, expected, found in damage:
            self.chains.find(path, Flaw(field, expected, found, LONG), at)
        for flaw in flaws(entry, self.walk.layout.bits):
            self.chains.find(path, flaw, offset)
        if entry.attributes & ATTR_VOLUME_ID:
            self._label(entry, path, offset)
        elif entry.name in (DOT, DOT_DOT):
            self._dot(entry, path, offset)
        else:
            self._named(entry, path, long, offset)

    def _named(self, entry: ShortEntry, path: Path, long: str, offset: int) -> None:
        for expected, found in short_name_damage(entry.name):
            self.chains.find(path, Flaw("DIR_Name", expected, found, NAMES), offset)
        names = keys(entry, long)
        twin = next((self.seen[key] for key in sorted(names) if key in self.seen), None)
        if twin is not None:
            flaw = Flaw("DIR_Name", "a name of its own", f"that of {show(twin)!r} too", NAMES)
            self.chains.find(path, flaw, offset)
        self.seen.update(dict.fromkeys(names, path.name))
        if entry.attributes & ATTR_DIRECTORY:
            self.walk.descend(path, entry, offset, self.directory.cluster)
        else:
            self.chains.file(path, entry, offset)

    def _long_name(self, units: bytes) -> str:
        for expected, found in long_name_damage(units) if units else ():
            self._find(Flaw("LDIR_Name1", expected, found, LONG), self.long.offset)
        return long_text(units)

    def _dot(self, entry: ShortEntry, path: Path, offset: int) -> None:
        """Check an entry that is ``.`` or ``..``. Spec: 6.5."""
        self_entry = entry.name == DOT
        expected_at = 0 if self_entry else 1
        if self.is_root or self.position != expected_at:
            where = "none in the root" if self.is_root else f"as entry {expected_at + 1}"
            found = f"one as entry {self.position + 1:,}"
            self.chains.find(path, Flaw("DIR_Name", where, found, DIRECTORIES), offset)
        self.seen.setdefault("." if self_entry else "..", path.name)
        if not entry.attributes & ATTR_DIRECTORY:
            found = f"{entry.attributes:#04x}"
            self.chains.find(path, Flaw("DIR_Attr", "a directory", found, DIRECTORIES), offset)
        expected = self.directory.cluster if self_entry else self.directory.parent
        cluster = first_cluster(entry, self.walk.layout.bits)
        if cluster != expected and not self.is_root:
            whose = "the directory's own" if self_entry else "its parent's" if expected else "the root"
            flaw = Flaw("DIR_FstClusLO", f"{expected:,}, {whose}", f"{cluster:,}", DIRECTORIES)
            self.chains.find(path, flaw, offset)

    def _label(self, entry: ShortEntry, path: Path, offset: int) -> None:
        if not self.is_root:
            self.chains.find(path, Flaw("DIR_Attr", "a label in the root alone", "one here", ENTRY), offset)
            return
        self.walk.labels.append(entry.name)
        if len(self.walk.labels) > 1:
            self.chains.find(path, Flaw("DIR_Attr", "one volume label", "another one", ENTRY), offset)

    def _leftover(self) -> None:
        for field, expected, found in self.long.end():
            self._find(Flaw(field, expected, found, LONG), self.long.offset)

    def _path(self, name: bytes) -> Path:
        return Path(self.directory.path, name, self.directory.path.depth + 1)

    def _find(self, flaw: Flaw, offset: int) -> None:
        """Say what is wrong with an entry whose name is not known yet."""
        structure = f"FAT long-name entry in {self.directory.path}"
        self.remarks.find(structure, flaw.field, offset + flaw.at, flaw.expected, flaw.found, flaw.section)

    def _say(self, field: str, expected: str, found: str) -> None:
        low = self.directory.places[0][0]
        structure = f"FAT directory {self.directory.path}"
        at = self.walk.window.offset + low
        self.remarks.find(structure, field, at, expected, found, DIRECTORIES)
