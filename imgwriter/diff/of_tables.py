"""What differs in partition tables."""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter.diff import layouts
from imgwriter.diff.changes import Change
from imgwriter.diff.units import Explainer, Unit
from imgwriter.examine.owners import Kind


def _mbr(unit: Unit) -> Iterator[Change | None]:
    kind = str(unit.of_a.kind)
    subject = f"EBR at {unit.of_a.note}" if unit.of_a.kind is Kind.EBR else "MBR"
    yield from unit.field_changes(kind, subject, layouts.mbr_sector())


def _gpt_header(unit: Unit) -> Iterator[Change | None]:
    subject = f"GPT {unit.of_a.note} header"
    yield from unit.field_changes(subject, subject, layouts.gpt_header(len(unit.a)))


def _gpt_entry(unit: Unit) -> Iterator[Change | None]:
    kind = "GPT entry" if unit.of_a.note == "primary" else "GPT backup entry"
    yield from unit.field_changes(kind, f"{kind} {unit.record_number}", layouts.gpt_entry(len(unit.a)))


EXPLAINERS: dict[Kind, Explainer] = {
    Kind.MBR: _mbr,
    Kind.EBR: _mbr,
    Kind.GPT_HEADER: _gpt_header,
    Kind.GPT_ENTRIES: _gpt_entry,
}
