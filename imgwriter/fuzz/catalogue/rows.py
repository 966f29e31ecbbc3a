"""Deviations that set one field of a record, or a few together: a table's row each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from imgwriter.fuzz.deviation import Deviation
from imgwriter.fuzz.image import Image, Verdict

Fields: TypeAlias = Mapping[str, int | bytes]


class Row(NamedTuple):
    """A deviation that sets fields of a record.

    Attributes:
        name: The field, a dot, and what is done to it; the record and the kind come before.
        verdict: What a correct reader does.
        description: What is wrong.
        fields: The fields' values.
        section: Where the rule stands, if not where most of the table's do.
        sealed: Whether checksums are made right afterwards.
    """

    name: str
    verdict: Verdict | None
    description: str
    fields: Fields
    section: str | None = None
    sealed: bool = True


def deviations_of(
    kind: str,
    records: Sequence[str],
    base: Callable[[], Image],
    section: str,
    rows: Iterable[Row],
    called: str | None = None,
) -> Iterator[Deviation]:
    """Yield the deviations of a table.

    Args:
        kind: The kind of image.
        records: The records that are set, all in the same way.
        base: Makes the image that is right.
        section: Where the rules stand.
        rows: The table.
        called: What the records are called in a deviation's name; the first one's name if not given.
    """
    for row in rows:
        yield Deviation(
            f"{kind}.{called or records[0]}.{row.name}",
            row.section or section,
            row.description,
            row.verdict,
            base,
            _setter(records, row.fields),
            row.sealed,
        )


def _setter(names: Sequence[str], fields: Fields) -> Callable[[Any], Any]:
    def change(image: Image) -> Image:
        for name in names:
            image = image.with_record(name, **fields)
        return image

    return change


ImageRow: TypeAlias = tuple[str, Verdict | None, str, Callable[[Any], Image]]
"""(name less the kind, verdict, description, change of the whole image)."""


def of_images(
    kind: str,
    base: Callable[[], Image],
    section: str,
    rows: Iterable[ImageRow],
    *,
    sealed: bool = True,
) -> Iterator[Deviation]:
    """Yield deviations that change more than fields.

    Args:
        kind, base, section, sealed: As of :func:`deviations_of`.
        rows: (name less the kind, verdict, description, change).
    """
    for name, verdict, description, change in rows:
        yield Deviation(f"{kind}.{name}", section, description, verdict, base, change, sealed)
