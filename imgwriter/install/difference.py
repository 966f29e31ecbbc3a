"""What an installer did to a tree: found by comparing, and done to the tree that the image is planned from.

::

    before (sources) ──┐
                       ├─ apply ──> before, changed in place: unchanged files keep their sources
    after  (scratch) ──┘            what is new or another refers to the scratch disk

A file that nobody touched is told by its change time: imgwriter writes it, and the kernel sets it with every
change; no program can set it back. What the kernel may have touched is compared, attributes and contents, so
that only what differs counts. FAT has no such time, and no attributes: names and contents are compared.

Two walks: the first finds which files of the scratch disk are files of the sources, the second changes the
tree. So a file that has another name now stays that file, whichever of its names comes first.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from imgwriter.bootloader.outcome import Change, ChangeKind
from imgwriter.ext4.tree_reader import Node
from imgwriter.extent import Buffer, Data
from imgwriter.install.noise import Noise
from imgwriter.tree.inventory import Inode, Run
from imgwriter.tree.rules import NANOSECOND

FAT_RESOLUTION = 2 * NANOSECOND
"""A time on FAT is of even seconds, rounded down; copied from there, it is so on the root as well."""

LOST_AND_FOUND = b"lost+found"
"""Made with every ext4: it is in no tree that did not bring one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How changes are taken over.

    Attributes:
        noise: What is dropped.
        clock: (first, last) in nanoseconds: what the guest's clock can have shown. Both are the same in each
            build: what a build took would decide about times that were set by hand.
        time_ns: What such times become: those of what imgwriter makes.
        clamp_ns: The latest that other times may be, or None.
        attributes: Whether the file system has owners, modes and change times.
        prefix: Where it is mounted, without a leading slash: b"boot"; b"" is the root.
    """

    noise: Noise
    clock: tuple[int, int]
    time_ns: int
    clamp_ns: int | None = None
    attributes: bool = True
    prefix: bytes = b""

    def is_stamped(self, mtime_ns: int) -> bool:
        """Tell whether a time is the guest's clock's."""
        return self.clock[0] - FAT_RESOLUTION < mtime_ns <= self.clock[1]

    def is_of_guest(self, ctime_ns: int) -> bool:
        """Tell whether a change time is one that the guest's kernel can have set.

        It sets none of the clock's first moment, which is over before anything is mounted, and is what all
        times are in a tree that is clamped to it.
        """
        return self.clock[0] < ctime_ns <= self.clock[1]

    def settled(self, mtime_ns: int) -> int:
        """Return the time that something with this one gets."""
        if self.is_stamped(mtime_ns):
            return self.time_ns
        return mtime_ns if self.clamp_ns is None else min(mtime_ns, self.clamp_ns)

    def path(self, *names: bytes) -> bytes:
        """Return a path in the running system."""
        return b"/".join(name for name in (self.prefix, *names) if name)


def apply(before: Inode, after: Inode, rules: Rules) -> list[Change]:
    """Change ``before`` into what ``after`` is, but for noise.

    Args:
        before: The root directory that the scratch disk was written from; changed in place.
        after: The root directory that was read from it. Parts of it become parts of ``before``.
        rules: How.

    Returns:
        What was changed, in the order of paths.

    Raises:
        SourceError, FormatError: A source or the scratch disk cannot be read.
    """
    application = _Application(rules)
    application.match(before, after)
    return application.directory(before, after)


class _Application:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.changes: list[Change] = []
        # What an inode of the scratch disk is in the result: names of one file stay names of one file.
        self.known: dict[int, Inode] = {}

    def match(self, before: Inode, after: Inode) -> None:
        """Find the files of the scratch disk that are files of the sources, each one of another."""
        taken: set[int] = set()
        for ours, theirs, path in _in_both(before, after):
            if id(theirs) in self.known or id(ours) in taken or self._drops(path, theirs):
                continue
            if _same(ours, theirs, self.rules):
                self.known[id(theirs)] = ours
                taken.add(id(ours))

    def directory(self, before: Inode, after: Inode) -> list[Change]:
        pending = [(before, after, b"")]
        while pending:
            old, new, path = pending.pop()
            pending += reversed(self._one_directory(old, new, path))
        return sorted(self.changes, key=lambda change: change.path)

    def _one_directory(self, old: Inode, new: Inode, path: bytes) -> list[tuple[Inode, Inode, bytes]]:
        """Compare the names of a directory; return the subdirectories that both have."""
        entries, found = old.entries, new.entries
        assert entries is not None and found is not None
        below: list[tuple[Inode, Inode, bytes]] = []
        touched = False
        for name in sorted(entries.keys() | found.keys()):
            ours, theirs = entries.get(name), found.get(name)
            full = path + b"/" + name if path else name
            if theirs is None:
                self._note("removed", full)
                del entries[name]
                touched = True
            elif ours is not None and ours.entries is not None and theirs.entries is not None:
                below.append((ours, theirs, full))
            elif not self._drops(full, theirs):
                result = self.known.get(id(theirs)) or self._adopted(theirs, full)
                if result is not ours:
                    self._note("changed" if ours is not None else "made", full)
                    entries[name] = result
                    touched = True
        self._settle_directory(old, new, path, touched)
        return below

    def _drops(self, path: bytes, inode: Inode) -> bool:
        if path == LOST_AND_FOUND and self.rules.attributes and not self.rules.prefix:
            return True
        return self.rules.noise.drops(self.rules.path(path), inode.entries is not None)

    def _adopted(self, inode: Inode, path: bytes) -> Inode:
        """Return an inode of the scratch disk as it goes into the tree, with all that is below it."""
        pending = [(inode, path)]
        while pending:
            each, at = pending.pop()
            each.mtime_ns = self.rules.settled(each.mtime_ns)
            self.known[id(each)] = each
            entries = {} if each.entries is None else each.entries
            for name, child in list(entries.items()):
                full = at + b"/" + name
                known = self.known.get(id(child))
                if self._drops(full, child):
                    del entries[name]
                elif known is None:
                    pending.append((child, full))
                else:
                    entries[name] = known
        return inode

    def _settle_directory(self, old: Inode, new: Inode, path: bytes, touched: bool) -> None:
        """Take over a directory's own attributes; its time only where its names or they are others."""
        if not self.rules.attributes:
            if touched:
                old.mtime_ns, old.implicit = self.rules.settled(new.mtime_ns), False
            return
        if self.rules.noise.drops(self.rules.path(path), True) and path:
            return
        other = (old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid) or not _equal(
            old.xattrs, new.xattrs
        )
        set_by_hand = new.mtime_ns != old.mtime_ns and not self.rules.is_stamped(new.mtime_ns)
        if other:
            old.mode, old.uid, old.gid, old.xattrs = new.mode, new.uid, new.gid, new.xattrs
        if other or set_by_hand:
            self._note("changed", path)
        if other or set_by_hand or touched:
            old.mtime_ns, old.implicit = self.rules.settled(new.mtime_ns), False

    def _note(self, kind: ChangeKind, path: bytes) -> None:
        self.changes.append(Change(kind, self.rules.path(path)))


def _in_both(before: Inode, after: Inode) -> Iterator[tuple[Inode, Inode, bytes]]:
    """Yield (one's, the other's, path) of the names that both trees have, and of no directory."""
    pending = [(before, after, b"")]
    while pending:
        old, new, path = pending.pop()
        found = new.entries or {}
        for name, ours in (old.entries or {}).items():
            theirs = found.get(name)
            full = path + b"/" + name if path else name
            if theirs is None:
                continue
            if ours.entries is None and theirs.entries is None:
                yield ours, theirs, full
            elif ours.entries is not None and theirs.entries is not None:
                pending.append((ours, theirs, full))


def _same(ours: Inode, theirs: Inode, rules: Rules) -> bool:
    """Tell whether a file is what it was: no difference but the time at which the guest wrote the same."""
    if stat.S_IFMT(ours.mode) != stat.S_IFMT(theirs.mode) or ours.size != theirs.size:
        return False
    if rules.attributes:
        own = (ours.mode, ours.uid, ours.gid)
        if own != (theirs.mode, theirs.uid, theirs.gid):
            return False
        if theirs.mtime_ns == ours.mtime_ns:
            if (
                isinstance(theirs, Node)
                and theirs.ctime_ns == ours.mtime_ns
                and not rules.is_of_guest(theirs.ctime_ns)
            ):
                return True
        elif not rules.is_stamped(theirs.mtime_ns):
            return False
        if ours.target != theirs.target or ours.rdev != theirs.rdev or not _equal(ours.xattrs, theirs.xattrs):
            return False
    # What is a hole in both is zeros in both, however large.
    runs = _either(ours.data_runs(), theirs.data_runs())
    return all(same_bytes(ours.data, theirs.data, start, stop) for start, stop in runs)


def _equal(one: Mapping[bytes, bytes], other: Mapping[bytes, bytes]) -> bool:
    return dict(one) == dict(other)


def _either(one: Sequence[Run], other: Sequence[Run]) -> list[Run]:
    """Return the intervals that one or the other has."""
    joined: list[Run] = []
    for start, stop in sorted((*one, *other)):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def same_bytes(one: Data | None, other: Data | None, start: int, stop: int) -> bool:
    """Tell whether two contents are equal from ``start`` to ``stop``; None is nothing but zeros.

    Raises:
        SourceError, FormatError: One of them cannot be read.
    """
    if one is None or other is None:
        given = one if one is not None else other
        pieces = () if given is None else given.chunks(start, stop)
        return all(bytes(piece).count(0) == len(piece) for piece in pieces)
    first, second = one.chunks(start, stop), other.chunks(start, stop)
    left: Buffer = b""
    right: Buffer = b""
    for mine, theirs in zip_longest(first, second, fillvalue=b""):
        left, right = _joined(left, mine), _joined(right, theirs)
        length = min(len(left), len(right))
        if bytes(left[:length]) != bytes(right[:length]):
            return False
        # A piece is valid until the next one is asked for.
        left, right = bytes(left[length:]), bytes(right[length:])
    return not left and not right


def _joined(rest: Buffer, piece: Buffer) -> Buffer:
    return bytes(rest) + bytes(piece) if rest else piece
