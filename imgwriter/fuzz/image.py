"""An image made of named records: any of them may be changed, moved or left out.

::

    base      ├─────────── what lies under all records, as a Volume ───────────┤
    records      ├ mbr ┤├ primary ┤├ primary.entry1 ┤        ├ backup ┤            later ones lie over earlier

A value: every method gives a new image. Nothing is checked, as nothing here is to be right; what lies beyond
the image's end is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Self, TypeAlias

from imgwriter.errors import SpecError
from imgwriter.extent import Extent, Patch, Volume, overlay
from imgwriter.fuzz.record import Record
from imgwriter.units import div_ceil

PAGE = 4096
"""Bytes that are written at once where a record is: the block of most file systems, so that holes stay."""

Verdict: TypeAlias = Literal["accept", "backup", "refuse"]
"""What a correct reader does: take the image, take the spare copy of what is damaged, or take nothing."""


class Placed(NamedTuple):
    """A record at its place, in bytes from the image's start."""

    offset: int
    record: Record

    @property
    def end(self) -> int:
        """The offset of the first byte after it."""
        return self.offset + len(self.record)


class Seen(NamedTuple):
    """A partition as a correct reader sees it: its number as Linux counts, start and size in bytes."""

    number: int
    start: int
    size: int


def empty() -> Volume:
    """Return what lies under records that make up everything: nothing."""
    return Volume(0, [])


@dataclass(frozen=True)
class Image:
    """Records over a Volume.

    Attributes:
        size: Bytes of the image.
        sector_size: Bytes in a sector of the disk.
        records: By name, each at its place.
        base: What lies under them.
    """

    size: int
    sector_size: int = 512
    records: Mapping[str, Placed] = field(default_factory=dict)
    base: Volume = field(default_factory=empty, repr=False)

    def __getitem__(self, name: str) -> Record:
        """Return a record.

        Raises:
            SpecError: There is none of that name.
        """
        return self._placed(name).record

    def offset_of(self, name: str) -> int:
        """Return the first byte of a record.

        Raises:
            SpecError: There is none of that name.
        """
        return self._placed(name).offset

    def with_record(self, name: str, **fields: int | bytes) -> Self:
        """Return the image with other values in some fields of a record; checksums stay what they were.

        Raises:
            SpecError: There is no such record or field, or a value does not fit.
        """
        offset, record = self._placed(name)
        return self._with({**self.records, name: Placed(offset, record.replace(**fields))})

    def moved(self, name: str, offset: int) -> Self:
        """Return the image with a record at another place, in bytes from 0 on."""
        return self._with({**self.records, name: Placed(offset, self[name])})

    def placed(self, name: str, offset: int, record: Record) -> Self:
        """Return the image with one more record, or another one of that name, over all others."""
        return self.with_records({name: Placed(offset, record)})

    def with_records(self, records: Mapping[str, Placed]) -> Self:
        """Return the image with more records, or others of those names, over all others."""
        return self._with({n: p for n, p in self.records.items() if n not in records} | dict(records))

    def without(self, *names: str) -> Self:
        """Return the image without some records: zeros, or what lies under them."""
        for name in names:
            self._placed(name)
        gone = frozenset(names)
        return self._with({n: p for n, p in self.records.items() if n not in gone})

    def with_bytes(self, offset: int, content: bytes) -> Self:
        """Return the image with bytes at an offset, over everything else."""
        return self.placed(f"bytes@{offset}", offset, Record({}, content))

    def with_size(self, size: int) -> Self:
        """Return the image cut off at ``size`` bytes, or with zeros up to there."""
        return replace(self, size=size)

    def sealed(self) -> Self:
        """Return the image with every checksum right for what its records say now."""
        return self

    def seen(self, verdict: Verdict) -> list[Seen] | None:
        """Return the partitions that a correct reader finds by a verdict; None where there are none to find.

        They are those that the records have, whatever has been changed in them.
        """
        return None

    def volume(self) -> Volume:
        """Return the image's bytes; pages of it that no record touches are as they are in the base."""
        base = Volume(self.size, _cut(self.base, self.size))
        pages: dict[int, bytearray] = {}
        for offset, record in self.records.values():
            _paint(pages, base, offset, record.content)
        patches = [Patch(number * PAGE, bytes(page), "records") for number, page in pages.items()]
        return overlay(base, patches)

    def content(self) -> bytes:
        """Return the image's bytes, all of them."""
        return self.volume().read(0, self.size)

    def _with(self, records: Mapping[str, Placed]) -> Self:
        return replace(self, records=records)

    def _placed(self, name: str) -> Placed:
        found = self.records.get(name)
        if found is None:
            raise SpecError(f"there is no record {name!r} here; there are {', '.join(self.records)}")
        return found


def _paint(pages: dict[int, bytearray], base: Volume, offset: int, content: bytes) -> None:
    """Put bytes into the pages that they touch; what lies beyond the base's size is left out."""
    end = min(offset + len(content), base.size)
    for number in range(offset // PAGE, div_ceil(end, PAGE) if end > offset else 0):
        start = number * PAGE
        page = pages.get(number)
        if page is None:
            page = pages[number] = bytearray(base.read(start, min(PAGE, base.size - start)))
        low, high = max(offset, start), min(end, start + PAGE)
        page[low - start : high - start] = content[low - offset : high - offset]


def _cut(volume: Volume, size: int) -> list[Extent]:
    return [e._replace(length=min(e.length, size - e.start)) for e in volume.extents if e.start < size]
