"""What is a disagreement, and which cases belong together."""

from __future__ import annotations

import pytest

from imgwriter.fuzz.compare.classify import (
    by_parser,
    camps,
    grouped,
    judge,
    same_partitions,
    signature,
    tally,
)
from imgwriter.fuzz.compare.values import UNASKED, Case, Expected, Part, View

A = Part(1024, 512, 1)
B = Part(2048, 512, 2)
ACCEPT = Expected("accept", "gpt", (A, B))
BACKUP = Expected("backup", "gpt", (A, B))
REFUSE = Expected("refuse", "none", ())
OPEN = Expected()
GPT = View("table", "gpt", "primary", (A, B))
NONE = View("none")


@pytest.mark.parametrize(
    ("view", "expected", "verdict"),
    [
        (GPT, ACCEPT, None),
        (GPT._replace(used=None), ACCEPT, None),
        (GPT._replace(kind=None, used=None), ACCEPT, None),
        (GPT._replace(partitions=None), ACCEPT, None),
        (GPT._replace(partitions=(B, A)), ACCEPT, None),
        (GPT._replace(used="backup"), ACCEPT, "copy"),
        (GPT, BACKUP, "copy"),
        (GPT._replace(used="backup"), BACKUP, None),
        (GPT._replace(partitions=(A,)), ACCEPT, "partitions"),
        (GPT._replace(partitions=()), ACCEPT, "partitions"),
        (GPT._replace(partitions=(A, B._replace(number=3))), ACCEPT, "partitions"),
        (GPT._replace(partitions=(A, B._replace(size=1024))), ACCEPT, "partitions"),
        (GPT._replace(partitions=(A, B, B)), ACCEPT._replace(partitions=None), None),
        (View("table", "mbr", None, (A, B)), ACCEPT, "kind"),
        (NONE, ACCEPT, "refuses"),
        (NONE, BACKUP, "refuses"),
        (NONE, REFUSE, None),
        (GPT, REFUSE, "accepts"),
        (GPT._replace(partitions=()), REFUSE, "accepts"),
        (View("crash"), REFUSE, "crash"),
        (View("timeout"), ACCEPT, "timeout"),
        (GPT._replace(wrote=True), ACCEPT, "writes"),
        (View("crash"), OPEN, "crash"),
        (GPT, OPEN, None),
        (UNASKED, ACCEPT, None),
        (UNASKED, REFUSE, None),
    ],
)
def test_judge(view: View, expected: Expected, verdict: str | None):
    assert judge(view, expected) == verdict


def test_who_cannot_tell_an_empty_table_from_none_does_not_refuse_it():
    empty = Expected("accept", "gpt", ())
    assert judge(View("none", partitions=()), empty) is None
    assert judge(View("none"), empty) == "refuses"
    assert judge(View("none", partitions=()), ACCEPT) == "refuses"


def test_a_disk_on_which_no_table_is_to_be_seen():
    bare = Expected("accept", "none", ())
    assert judge(NONE, bare) is None
    assert judge(GPT, bare) == "accepts"


def test_without_numbers_partitions_are_the_same_by_their_places():
    unnumbered = (Part(2048, 512), Part(1024, 512))
    assert same_partitions(unnumbered, (A, B))
    assert not same_partitions(unnumbered, (A,))
    assert not same_partitions((*unnumbered, Part(1024, 512)), (A, B))
    assert same_partitions(None, (A,)) and same_partitions((), ())


def test_camps():
    views = {
        "one": GPT, "two": GPT._replace(used=None), "three": GPT._replace(kind=None, used=None),
        "four": GPT._replace(used="backup"), "five": NONE, "six": View("crash"), "seven": UNASKED,
    }  # fmt: skip
    # "four" tells as much as "one", and comes first by its name: who tells less may have seen what it saw.
    assert camps(views) == [["four", "two", "three"], ["five"], ["one"]]


def test_where_the_verdict_is_open_parsers_disagree_with_each_other():
    views = {"a": GPT, "b": GPT._replace(used=None), "c": NONE, "d": UNASKED, "e": View("timeout")}
    assert signature(views, OPEN) == (
        ("a", "GPT, primary"), ("b", "GPT"), ("c", "no table"), ("e", "timeout"),
    )  # fmt: skip
    assert signature({"a": GPT, "b": GPT, "d": UNASKED}, OPEN) == ()
    assert signature({"a": GPT, "e": View("crash")}, OPEN) == (("e", "crash"),)


def test_camps_that_look_alike_are_told_apart():
    views = {"a": GPT, "b": GPT._replace(partitions=(A,))}
    assert signature(views, OPEN) == (("a", "GPT, primary (a)"), ("b", "GPT, primary (b)"))


def case(name: str, expected: Expected, size: int = 1, deviations: tuple[str, ...] = ("x",)) -> Case:
    return Case(name, name.encode(), size, deviations=deviations, expected=expected)


CASES = [
    case("large", REFUSE, 9),
    case("small", REFUSE, 3),
    case("two", REFUSE, 1, ("x", "y")),
    case("other", ACCEPT),
    case("open", OPEN),
    case("good", ACCEPT),
]
VIEWS = [
    *[{"p": GPT, "q": NONE}] * 3,
    {"p": GPT, "q": NONE},
    {"p": GPT, "q": NONE},
    {"p": GPT, "q": GPT},
]


def test_groups_are_of_one_signature_and_begin_with_their_smallest_case():
    first, second, third = grouped(CASES, VIEWS)
    assert first == ((("p", "accepts"),), False, (1, 0, 2))
    assert second == ((("q", "refuses"),), False, (3,))
    assert third == ((("p", "GPT, primary"), ("q", "no table")), True, (4,))


def test_tally():
    counts = tally(["p", "q"], CASES, VIEWS)
    assert counts["p"] == {"asked": 6, "accepts": 3, "agrees": 2, "open": 1}
    assert counts["q"] == {"asked": 6, "refuses": 1, "agrees": 4, "open": 1}


def test_by_parser():
    assert by_parser(["p", "q"], CASES, VIEWS) == {("p", "accepts"): [1, 0, 2], ("q", "refuses"): [3]}
