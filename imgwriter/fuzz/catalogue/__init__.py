"""The catalogue of deviations: one thing wrong in each, by name, with what a correct reader makes of it.

One module for each structure; :data:`KINDS` has them by the kind of image, in a fixed order, which is that of
the files of a corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from imgwriter.errors import SpecError
from imgwriter.fuzz.catalogue.ebr import chain_disk, ebr_deviations
from imgwriter.fuzz.catalogue.gpt_array import array_deviations
from imgwriter.fuzz.catalogue.gpt_disk import disk_deviations, gpt_disk_4096
from imgwriter.fuzz.catalogue.gpt_entry import entry_deviations
from imgwriter.fuzz.catalogue.gpt_header import header_deviations
from imgwriter.fuzz.catalogue.gpt_protective import protective_deviations
from imgwriter.fuzz.catalogue.mbr import mbr_deviations, primary_disk
from imgwriter.fuzz.deviation import Case, Deviation, case_of, valid_case
from imgwriter.fuzz.tables import gpt_disk


def _mbr() -> Iterator[Deviation]:
    yield from mbr_deviations()
    yield from ebr_deviations()


def _gpt() -> Iterator[Deviation]:
    yield from header_deviations()
    yield from array_deviations()
    yield from entry_deviations()
    yield from protective_deviations()
    yield from disk_deviations()


_SOURCES: Mapping[str, Callable[[], Iterator[Deviation]]] = {"mbr": _mbr, "gpt": _gpt}

KINDS = tuple(_SOURCES)
"""The kinds of image, in the order of the corpus."""


@cache
def deviations(kind: str) -> tuple[Deviation, ...]:
    """Return the deviations of a kind of image.

    Raises:
        SpecError: There is no such kind.
    """
    if kind not in _SOURCES:
        raise SpecError(f"there is no kind {kind!r} of image here; there are {', '.join(KINDS)}")
    return tuple(_SOURCES[kind]())


def deviation(name: str) -> Deviation:
    """Return a deviation by its name.

    Raises:
        SpecError: There is none.
    """
    kind = name.partition(".")[0]
    for found in deviations(kind):
        if found.name == name:
            return found
    raise SpecError(f"there is no deviation {name!r}; 'imgwriter fuzz corpus' lists them in its manifest")


def valid_cases(kind: str) -> list[Case]:
    """Return the images of a kind with nothing wrong: what the deviations start from."""
    section = {"mbr": "UEFI 2.10, 5.2.1", "gpt": "UEFI 2.10, 5.3"}
    if kind == "mbr":
        return [
            valid_case(kind, primary_disk(), "an MBR with three partitions", section[kind]),
            valid_case(kind, chain_disk(), "an MBR with three logical partitions", section[kind]),
        ]
    return [
        valid_case(kind, gpt_disk(), "a GPT with three partitions", section[kind]),
        valid_case(kind, gpt_disk_4096(), "a GPT on a disk with sectors of 4,096 bytes", section[kind]),
    ]


def cases(kind: str) -> list[Case]:
    """Return the images of a kind with nothing wrong, then one for each deviation."""
    return valid_cases(kind) + [case_of(d) for d in deviations(kind)]
