"""Changes gathered to what a person can read: by layer, kind of structure and field, the first of each.

A build with other times changes a field of every inode: that is one line with a count, and some examples.
Memory goes with the number of structures that differ, not with the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from imgwriter.diff.changes import Change


@dataclass(slots=True)
class Example:
    """One structure's change of one field; pieces of one file are added up.

    Attributes:
        subject: Which structure.
        offset: Its first differing byte, on disk A.
        count: Differing bytes.
        a, b: The values, of the first piece.
        where: The first differing byte counted in a file, or -1.
    """

    subject: str
    offset: int
    count: int
    a: str
    b: str
    where: int


@dataclass(slots=True)
class Group:
    """All changes of one field, in one layer.

    Attributes:
        kind: Of structure.
        field_name: In the specification's words, or "".
        ignored: Whether it counts as no difference.
        count: Differing bytes.
        subjects: How many structures have it.
        examples: The first of them.
    """

    kind: str
    field_name: str
    ignored: bool
    count: int = 0
    examples: dict[str, Example] = field(default_factory=dict)
    _others: set[str] = field(default_factory=set)

    @property
    def subjects(self) -> int:
        """How many structures differ in it."""
        return len(self.examples) + len(self._others)

    def add(self, change: Change, most: int) -> None:
        """Take another change of this field."""
        count = change.size
        self.count += count
        example = self.examples.get(change.subject)
        if example is not None:
            example.count += count
        elif len(self.examples) < most:
            self.examples[change.subject] = Example(
                change.subject, change.first, count, change.a, change.b, change.where
            )
        else:
            self._others.add(change.subject)


@dataclass(slots=True)
class Summary:
    """Everything that was found, in the order of the disk.

    Attributes:
        layers: By name, then by (kind, field).
        first: The first change that counts.
    """

    layers: dict[str, dict[tuple[str, str], Group]] = field(default_factory=dict)
    first: Change | None = None

    @property
    def count(self) -> int:
        """Differing bytes that count."""
        return sum(g.count for groups in self.layers.values() for g in groups.values() if not g.ignored)

    @property
    def ignored(self) -> int:
        """Differing bytes that were not to count."""
        return sum(g.count for groups in self.layers.values() for g in groups.values() if g.ignored)


def gather(changes: Iterable[Change], ignore: frozenset[str], most: int) -> Summary:
    """Return the summary of changes.

    Args:
        changes: In any number; they are not kept.
        ignore: The classes that are no difference.
        most: Examples of each field.
    """
    summary = Summary()
    for change in changes:
        ignored = change.group in ignore
        if summary.first is None and not ignored:
            summary.first = change
        groups = summary.layers.setdefault(change.layer, {})
        key = change.kind, change.field
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(change.kind, change.field, ignored)
        group.add(change, most)
    return summary
