"""What is explained at once: a piece of both disks with its owners, and how its fields become changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from imgwriter.diff.changes import Change, class_of
from imgwriter.diff.fields import Field, raw
from imgwriter.diff.ranges import xor
from imgwriter.examine.owners import Region


class Unit(NamedTuple):
    """What is explained at once.

    Attributes:
        a, b: The bytes.
        at_a, at_b: Where they are on each disk.
        of_a, of_b: Whose they are.
    """

    a: bytes
    b: bytes
    at_a: int
    at_b: int
    of_a: Region
    of_b: Region

    def change(
        self, kind: str, subject: str, field: str, low: int, high: int, a: str, b: str
    ) -> Change | None:
        """Return the change of the bytes [low, high), None where they are equal."""
        one, two = self.a[low:high], self.b[low:high]
        if one == two:
            return None
        layer = self.of_a.layer
        return Change(layer, kind, subject, field, self.at_a + low, xor(one, two), a, b, class_of(field))

    @property
    def record_number(self) -> int:
        """The number of the record that the unit is."""
        return self.of_a.number + (self.at_a - self.of_a.start) // self.of_a.unit

    def field_changes(self, kind: str, subject: str, fields: Sequence[Field]) -> Iterator[Change | None]:
        """Yield a change for each field that differs; the fields cover the unit."""
        for name, at, size, form in fields:
            one, two = self.a[at : at + size], self.b[at : at + size]
            if one != two:
                a, b = form(one), form(two)
                if a == b:
                    a, b = raw(one), raw(two)
                yield self.change(kind, subject, name, at, at + size, a, b)

    def rest_change(self, kind: str, subject: str, at: int) -> Change | None:
        """Return the change of what a record has behind its fields, None where that is nothing or equal."""
        name = f"bytes {at} to {len(self.a) - 1}"
        return self.change(kind, subject, name, at, len(self.a), raw(self.a[at:]), raw(self.b[at:]))


Explainer: TypeAlias = Callable[[Unit], Iterator[Change | None]]
"""Yields the changes that account for all of a unit's differing bytes; None where a part has none."""
