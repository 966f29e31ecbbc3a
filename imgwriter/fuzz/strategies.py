"""Hypothesis strategies: images that are right, images that deviate, and the bytes of whole disks.

::

    @given(nearly_valid("gpt"))
    def test_my_parser_never_raises(case: Case) -> None:
        my_parser.read(case.image.content())

What is drawn is a :class:`~imgwriter.fuzz.deviation.Case`, whose repr names what deviates. It shrinks to the
fewest deviations, the first ones of the catalogue: a failure reads
``Case(gpt: gpt.primary.my_lba.zero)``.

Needs Hypothesis: ``pip install imgwriter[fuzz]``. No other module of imgwriter does.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from uuid import UUID

from hypothesis import strategies as st

from imgwriter import gpt
from imgwriter.fuzz.catalogue import deviations, valid_cases
from imgwriter.fuzz.deviation import Case, Deviation, case_of, changed, combined, valid_case
from imgwriter.fuzz.image import Image
from imgwriter.fuzz.mutations import MOST_DEVIATIONS, MOST_MUTATIONS, Mutation, applicable, drawable
from imgwriter.fuzz.record import Field
from imgwriter.fuzz.tables import MbrDisk, Row, gpt_disk, mbr_disk

SIZE = 128 << 10
"""Bytes of the disks that are drawn: 256 sectors."""

_SECTORS = SIZE // 512
_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=18)
_TYPES = st.sampled_from([gpt.TYPE_LINUX_DATA, gpt.TYPE_ESP, gpt.TYPE_BIOS_BOOT, gpt.TYPE_XBOOTLDR])


@st.composite
def gpt_entries(draw: st.DrawFn, sectors: int = _SECTORS) -> dict[int, gpt.Entry]:
    """Draw disjoint entries within the usable sectors, in any order of numbers.

    Args:
        sectors: Of the disk, in sectors of 512 bytes.
    """
    cuts = sorted(draw(st.sets(st.integers(34, sectors - 33), max_size=9)))
    numbers = draw(st.lists(st.integers(1, 128), unique=True, min_size=len(cuts), max_size=len(cuts)))
    return {
        number: gpt.Entry(draw(_TYPES), UUID(int=number), low, high - 1, draw(_NAMES))
        for number, (low, high) in zip(numbers, pairwise(cuts), strict=False)
    }


@st.composite
def valid_gpts(draw: st.DrawFn) -> Case:
    """Draw a GPT with nothing wrong."""
    disk = gpt_disk(draw(gpt_entries()), SIZE)
    return valid_case("gpt", disk, "a GPT", "UEFI 2.10, 5.3")


@st.composite
def valid_mbrs(draw: st.DrawFn) -> Case:
    """Draw an MBR with nothing wrong: up to four partitions, or up to three and a chain of logical ones."""
    cuts = sorted(draw(st.sets(st.integers(1, _SECTORS), min_size=2, max_size=5)))
    spans = list(pairwise(cuts))
    rows = [Row(draw(st.sampled_from([0x83, 0x0C, 0x82, 0xEF])), low, high - low) for low, high in spans]
    low, high = spans[-1]
    if high - low >= 2 and draw(st.booleans()):
        rows[-1] = Row(0x05, low, high - low)
        disk = _with_chain(draw, mbr_disk(rows, SIZE), low, high)
    else:
        disk = mbr_disk(rows, SIZE)
    return valid_case("mbr", disk, "an MBR", "UEFI 2.10, 5.2.1")


def _with_chain(draw: st.DrawFn, disk: MbrDisk, low: int, high: int) -> MbrDisk:
    """Return the disk with EBRs in the sectors [low, high), the first of them at ``low``."""
    more = draw(st.sets(st.integers(1, max(high - low - 2, 1)), max_size=4))
    starts = [low, *(low + 2 * step for step in sorted(more) if low + 2 * step + 2 <= high)]
    ends = [*starts[1:], high]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        rows = [Row(0x83, 1, end - start - 1)]
        if end != high:
            rows.append(Row(0x05, end - low, ends[number] - end))
        disk = disk.with_sector(f"ebr{number}", start, rows)
    return disk


def valid(kind: str) -> st.SearchStrategy[Case]:
    """Return what draws images of a kind with nothing wrong: tables of any partitions, else the examples."""
    if kind == "gpt":
        return valid_gpts()
    if kind == "mbr":
        return valid_mbrs()
    return st.sampled_from(valid_cases(kind))


@st.composite
def named(draw: st.DrawFn, kind: str) -> Case:
    """Draw an image with one deviation of the catalogue, and its verdict."""
    return case_of(draw(st.sampled_from(deviations(kind))))


@st.composite
def nearly_valid(draw: st.DrawFn, kind: str) -> Case:
    """Draw an image with a few deviations and a few fields set to anything.

    Its verdict is known where there is one deviation alone.
    """
    first = draw(st.sampled_from(deviations(kind)))
    alike = [d for d in deviations(kind) if d.base is first.base]
    more = draw(st.lists(st.sampled_from(alike), max_size=MOST_DEVIATIONS - 1, unique_by=_name))
    chosen = applicable(first.base(), [first, *(d for d in more if d is not first)])
    image = changed(first.base(), chosen)
    if not drawable(image):
        return case_of(first) if chosen == [first] else combined(chosen)
    mutations = draw(st.lists(mutations_of(image), max_size=MOST_MUTATIONS))
    if not mutations:
        return case_of(first) if chosen == [first] else combined(chosen)
    for mutation in mutations:
        image = mutation.apply(image)
    if draw(st.booleans()):
        image = image.sealed()
    case = combined(chosen)
    return replace(case, image=image, deviations=(*case.deviations, *(m.name(kind) for m in mutations)))


def _name(deviation: Deviation) -> str:
    return deviation.name


@st.composite
def mutations_of(draw: st.DrawFn, image: Image) -> Mutation:
    """Draw a field of an image's records, and a value: at the limits, near what it was, or anything."""
    record = draw(st.sampled_from(drawable(image)))
    field = draw(st.sampled_from(list(image[record].layout)))
    place = image[record].layout[field]
    if place.order is None:
        return Mutation(record, field, draw(st.binary(min_size=place.length, max_size=place.length)))
    return Mutation(record, field, draw(_numbers(place, image[record][field])))


def _numbers(place: Field, value: int) -> st.SearchStrategy[int]:
    most = (1 << 8 * place.length) - 1
    near = {0, 1, most, most >> 1, (most >> 1) + 1, max(value - 1, 0), min(value + 1, most)}
    return st.sampled_from(sorted(near)) | st.integers(0, most)


def cases(kind: str) -> st.SearchStrategy[Case]:
    """Return what draws images of a kind: right ones and nearly right ones."""
    return valid(kind) | named(kind) | nearly_valid(kind)


def disks() -> st.SearchStrategy[bytes]:
    """Return what draws the bytes of whole disks: with a table, a file system, nothing, or anything."""
    tables = st.sampled_from(["gpt", "mbr"]).flatmap(cases)
    return tables.map(lambda case: case.image.content()) | st.binary(max_size=4096)
