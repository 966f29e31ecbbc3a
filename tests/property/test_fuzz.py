"""Laws of the fuzzing kit: what is drawn is what it says, shrinks to a name, and crashes none of ours."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from imgwriter.errors import ImgwriterError
from imgwriter.fuzz import strategies
from imgwriter.fuzz.catalogue import KINDS, deviations
from imgwriter.fuzz.deviation import Case, Deviation, changed
from imgwriter.fuzz.mutations import mixed_case
from imgwriter.fuzz.mutator import MOST_SEALED, mend, mutate
from imgwriter.tables_reader import read_table
from tests.fuzz.targets import TARGETS, seeds, volume_of
from tests.unit.fuzz.judges import judge

pytestmark = pytest.mark.property


@given(st.sampled_from(["gpt", "mbr"]).flatmap(strategies.valid))
def test_what_is_right_is_read_as_it_is_and_without_a_word(case: Case) -> None:
    table = read_table(case.image.volume(), 512)
    assert table.findings == ()
    assert judge(case) == ("accept", case.kind, tuple(sorted(tuple(p) for p in case.partitions or ())))


@given(st.sampled_from(KINDS).flatmap(strategies.cases))
def test_no_case_crashes_a_reader_and_a_known_verdict_holds(case: Case) -> None:
    found = judge(case)
    assert case.verdict in (None, found.verdict)
    assert len(case.deviations) == len(set(case.deviations)) or "=" in "".join(case.deviations)


@given(strategies.disks(), st.sampled_from([None, 512, 4096]))
def test_no_disk_crashes_the_reader_of_tables(disk: bytes, sector_size: int | None) -> None:
    read_table(volume_of(disk), sector_size)


@pytest.mark.parametrize(
    ("kind", "verdict", "names"),
    [
        ("gpt", "backup", "gpt.primary."),
        ("gpt", "refuse", "gpt."),
        ("ext4", "refuse", "ext4."),
        ("vhd", "backup", "vhd."),
    ],
)
def test_a_failure_shrinks_to_one_deviation_with_a_name(kind: str, verdict: str, names: str) -> None:
    """What a user sees whose parser cannot bear that the backup is to be used."""
    case = find(strategies.cases(kind), lambda case: judge(case).verdict == verdict)
    assert len(case.deviations) == 1
    assert case.deviations[0] in {d.name for d in deviations(kind)}
    assert repr(case) == f"Case({kind}: {case.deviations[0]})"
    assert case.deviations[0].startswith(names)


def test_a_failure_of_two_deviations_shrinks_to_two() -> None:
    def both(case: Case) -> bool:
        table = read_table(case.image.volume(), 512)
        fields = {finding.field for finding in table.findings}
        return table.used == "backup" and {"my_lba", "alternate_lba"} <= fields

    case = find(strategies.nearly_valid("gpt"), both, settings=settings(max_examples=20_000))
    assert 1 <= len(case.deviations) <= 2


@given(st.sampled_from([d for kind in KINDS for d in deviations(kind)]))
def test_a_deviation_is_a_pure_function(deviation: Deviation) -> None:
    base = deviation.base()
    before = base.content()
    first, second = changed(base, [deviation]), changed(deviation.base(), [deviation])
    assert first.content() == second.content()
    assert base.content() == before
    assert (first.content(), first.sector_size) != (before, base.sector_size)


@given(st.sampled_from(KINDS), st.integers(0, 1 << 40), st.integers(0, 1 << 20))
def test_mixed_cases_deviate_and_crash_nothing(kind: str, seed: int, number: int) -> None:
    case = mixed_case(kind, seed, number)
    assert case.deviations and case.verdict is None
    assert case.deviations == mixed_case(kind, seed, number).deviations
    judge(case)


@given(st.sampled_from(sorted(TARGETS)), st.data())
def test_mutated_inputs_crash_no_reader(target: str, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(seeds(target)))
    mutated = bytes(mutate(content, MOST_SEALED, Random(data.draw(st.integers(0, 1 << 64)))))
    try:
        TARGETS[target](mutated)
    except ImgwriterError as error:
        assert str(error)


@given(st.sampled_from(sorted(TARGETS)), st.data())
def test_mending_twice_is_mending_once(target: str, data: st.DataObject) -> None:
    """But where entries and headers lie on each other, whose checksums then cover each other."""
    content = bytearray(data.draw(st.sampled_from(seeds(target))))
    if content:
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    once = mend(content)
    assert len(once) == len(content)
    if target != "tables":
        assert mend(once) == once
