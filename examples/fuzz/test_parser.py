"""The parser before Hypothesis: ``pytest examples/fuzz/test_parser.py`` fails, and says by what."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from parser import NoTable, read_gpt

from imgwriter.fuzz import strategies
from imgwriter.fuzz.deviation import Case


@given(strategies.cases("gpt"))
def test_no_disk_crashes_the_parser(case: Case) -> None:
    with suppress(NoTable):
        read_gpt(case.image.content())


@given(strategies.named("gpt"))
def test_the_parser_comes_to_the_verdict(case: Case) -> None:
    if case.verdict == "accept" and case.image.sector_size == 512 and case.table == "gpt":
        assert read_gpt(case.image.content())[0] == "primary"
