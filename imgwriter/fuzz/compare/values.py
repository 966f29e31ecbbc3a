"""What goes in and out: a case of the corpus, and what one parser saw of it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["table", "none", "crash", "timeout", "unasked"]
"""A table; no table, or none that the parser accepts; it died; it did not end; it cannot be asked."""

Verdict: TypeAlias = Literal["accept", "backup", "refuse"]
"""What the specification wants: the table is taken, its backup is, or there is none to take."""


class Part(NamedTuple):
    """A partition. Start and size are bytes.

    Attributes:
        start, size: Bytes.
        number: As Linux numbers it; None where the parser counts otherwise.
    """

    start: int
    size: int
    number: int | None = None


class View(NamedTuple):
    """What one parser saw of one case. None is "it does not tell".

    Attributes:
        state: Whether there is a table.
        kind: "gpt" or "mbr".
        used: "primary" or "backup": the copy of a GPT that the partitions are from.
        partitions: Without extended ones, which parsers list in different ways.
        said: What it remarked, or how it ended; one line.
        wrote: Whether it changed the copy of the image that it was given.
    """

    state: State
    kind: str | None = None
    used: str | None = None
    partitions: tuple[Part, ...] | None = None
    said: str = ""
    wrote: bool = False


UNASKED = View("unasked")


class Expected(NamedTuple):
    """What the manifest says of a case.

    Attributes:
        verdict: None where the specification leaves it open, or nobody knows.
        kind: "gpt", "mbr" or "none"; None where it is not known.
        partitions: None where they are not known.
    """

    verdict: Verdict | None = None
    kind: str | None = None
    partitions: tuple[Part, ...] | None = None


class Case(NamedTuple):
    """One image of a corpus.

    Attributes:
        name: Its file name.
        path: Where it is.
        size: Bytes.
        sector_size: Bytes.
        deviations: What is wrong with it, by name.
        description: The same as a sentence.
        section: Where the specification decides.
        expected: What is to be seen.
    """

    name: str
    path: bytes
    size: int
    sector_size: int = 512
    deviations: tuple[str, ...] = ()
    description: str = ""
    section: str = ""
    expected: Expected = Expected()


class Corpus(NamedTuple):
    """All images of a directory, in the order of the manifest, or of their names.

    Attributes:
        directory: As it was given.
        kind, seed: As the manifest has them; empty where there is none.
        cases: The images.
    """

    directory: bytes
    kind: str
    seed: str
    cases: tuple[Case, ...]
