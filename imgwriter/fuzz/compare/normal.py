"""Take out of a view what parsers tell in ways of their own, so that the rest can be compared.

Extended partitions only hold others, and parsers list them with their whole size, with two sectors or not at
all. A protective record is no partition: an MBR of nothing else is a GPT's, and a parser that falls back to
it has found no table.
"""

from __future__ import annotations

from typing import NamedTuple

from imgwriter import mbr
from imgwriter.extent import Volume
from imgwriter.fuzz.compare.values import Expected, Part, View

_RECORDS_AT = 446
_RECORD_SIZE = 16
_OS_TYPE_AT = 4
_SIGNATURE = b"\x55\xaa"
_EXTENDED = (0x05, 0x0F, 0x85)
"""As Linux has them, block/partitions/msdos.c."""


class Records(NamedTuple):
    """Which records of sector 0 are no partitions.

    Attributes:
        extended, protective: Their numbers, from 1.
    """

    extended: frozenset[int] = frozenset()
    protective: frozenset[int] = frozenset()


def records_of(volume: Volume) -> Records:
    """Return what kinds of records a disk's first 512 bytes have."""
    if volume.size < 512:
        return Records()
    sector = volume.read(0, 512)
    if sector[510:512] != _SIGNATURE:
        return Records()
    types = {i + 1: sector[_RECORDS_AT + _RECORD_SIZE * i + _OS_TYPE_AT] for i in range(mbr.RECORDS)}
    return Records(
        frozenset(number for number, os_type in types.items() if os_type in _EXTENDED),
        frozenset(number for number, os_type in types.items() if os_type == mbr.OS_TYPE_GPT_PROTECTIVE),
    )


def normal(view: View, records: Records) -> View:
    """Return a view without what is no partition, in order."""
    if view.state != "table" or view.partitions is None:
        return view
    # Where the kind is not told, numbers are an MBR's only without a protective record.
    if view.kind == "gpt" or (view.kind is None and records.protective):
        return view._replace(partitions=_without(view.partitions, Records()))
    kept = _without(view.partitions, records)
    if not kept and view.partitions and all(p.number in records.protective for p in view.partitions):
        return View("none", said=view.said or "only a protective record", wrote=view.wrote)
    return view._replace(partitions=kept)


def normal_expected(expected: Expected, records: Records) -> Expected:
    """Return what is to be seen without what is no partition."""
    if expected.kind != "mbr" or expected.partitions is None:
        return expected
    return expected._replace(partitions=_without(expected.partitions, records))


def _without(parts: tuple[Part, ...], records: Records) -> tuple[Part, ...]:
    kept = [part for part in parts if part.number not in records.extended | records.protective]
    return tuple(sorted(kept, key=lambda part: (part.number or 0, part.start)))
