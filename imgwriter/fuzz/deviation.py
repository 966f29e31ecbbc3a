"""A deviation: one thing that is not as a specification has it, with a name and with what follows from it.

How verdicts are argued:

accept
    What the specification has to be tested for holds, and the structure can be read. Whatever else is not as
    it must be is for a checker to report, and no reason to lose the partitions.
backup
    The copy that comes first fails such a test, or cannot be read; the other one is whole.
refuse
    Nothing is left that could be read.
None
    The specification leaves it open, and readers that are in use differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from imgwriter.fuzz.image import Image, Seen, Verdict

TableKind: TypeAlias = Literal["gpt", "mbr", "none"]

Sight: TypeAlias = Callable[[Any, Verdict], Sequence[Seen] | None]
"""What partitions a correct reader sees, of the changed image; None where that is left open."""


def as_declared(image: Image, verdict: Verdict) -> Sequence[Seen] | None:
    """Return the partitions that the image's records have."""
    return image.seen(verdict)


def uncertain(image: Image, verdict: Verdict) -> None:
    """Say that readers may differ about the partitions, though not about the table."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """One deviation from a specification, or from what everybody does where there is none.

    Attributes:
        name: The kind of image, the structure, the field (where it is one) and what is done to it, such as
            "gpt.primary.my_lba.zero".
        section: Where the rule stands that is broken, or kept at its limit.
        description: What is wrong, in a sentence.
        verdict: What a correct reader does; None where the specification leaves that open.
        base: Makes the image that is right.
        change: Makes it wrong; called with the base, or with an image that deviates already.
        sealed: Whether checksums are made right after the change: then it is the meaning that is wrong.
        table: The kind of table that a correct reader sees where it is not the usual one of the kind.
        sees: The partitions that it sees.
    """

    name: str
    section: str
    description: str
    verdict: Verdict | None
    base: Callable[[], Any]
    change: Callable[[Any], Any]
    sealed: bool = True
    table: TableKind | None = None
    sees: Sight = as_declared

    @property
    def kind(self) -> str:
        """The kind of image: "mbr", "gpt", "fat", "ext4", "qcow2" or "vhd"."""
        return self.name.partition(".")[0]

    def __repr__(self) -> str:
        return f"<{self.name}>"


@dataclass(frozen=True, slots=True)
class Case:
    """An image, and what is wrong with it.

    Attributes:
        kind: "mbr", "gpt", "fat", "ext4", "qcow2" or "vhd".
        image: It, checksums and all.
        deviations: Their names: none for an image that is right.
        description, section: Of the deviations.
        verdict: What a correct reader does, or None where that is not known.
        table: The kind of partition table that a correct reader sees; None where that is not known, or the
            image has none.
        partitions: Those that it sees: the extended ones, too. None as for ``table``.
    """

    kind: str
    image: Image
    deviations: tuple[str, ...]
    description: str
    section: str
    verdict: Verdict | None = None
    table: TableKind | None = None
    partitions: tuple[Seen, ...] | None = None

    def __repr__(self) -> str:
        return f"Case({self.kind}: {', '.join(self.deviations) or 'nothing wrong'})"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """Say the same to Hypothesis and IPython, who would list a dataclass's fields."""
        printer.text(repr(self))


def case_of(deviation: Deviation) -> Case:
    """Return the case of one deviation alone."""
    image = changed(deviation.base(), [deviation])
    case = Case(
        deviation.kind, image, (deviation.name,), deviation.description, deviation.section, deviation.verdict
    )
    return _with_view(case, deviation.table, deviation.sees)


def valid_case(kind: str, image: Image, description: str, section: str) -> Case:
    """Return the case of an image with nothing wrong."""
    return _with_view(Case(kind, image, (), description, section, "accept"), None, as_declared)


def combined(deviations: Sequence[Deviation]) -> Case:
    """Return the case of several deviations of one base, one after the other; its verdict is not known."""
    return Case(
        deviations[0].kind,
        changed(deviations[0].base(), deviations),
        tuple(d.name for d in deviations),
        "; ".join(d.description for d in deviations),
        "; ".join(dict.fromkeys(d.section for d in deviations)),
    )


def changed(image: Image, deviations: Sequence[Deviation]) -> Image:
    """Return an image with deviations: checksums are made right before those that concern checksums."""
    for deviation in deviations:
        if deviation.sealed:
            image = deviation.change(image)
    if any(deviation.sealed for deviation in deviations):
        image = image.sealed()
    for deviation in deviations:
        if not deviation.sealed:
            image = deviation.change(image)
    return image


def _with_view(case: Case, table: TableKind | None, sees: Sight) -> Case:
    """Return the case with the table and partitions that follow from its verdict."""
    if case.kind not in ("mbr", "gpt") or case.verdict is None:
        return case
    if case.verdict == "refuse":
        return replace(case, table="none", partitions=())
    seen = sees(case.image, case.verdict)
    usual: TableKind = "gpt" if case.kind == "gpt" else "mbr"
    return replace(case, table=table or usual, partitions=None if seen is None else tuple(seen))
