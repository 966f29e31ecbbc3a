"""What is said: every disagreement is in it once, whatever parsers saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.fuzz.compare.classify import CATEGORIES, judge
from imgwriter.fuzz.compare.report import agrees, document, text
from imgwriter.fuzz.compare.session import Comparison
from imgwriter.fuzz.compare.values import Case, Corpus, Expected, Part, View

PARTS = (Part(1024, 512, 1), Part(2048, 512, 2))
GOOD = View("table", "gpt", "primary", PARTS)


def comparison(*rows: tuple[Case, dict[str, View]]) -> Comparison:
    names = list(rows[0][1])
    cases = tuple(case for case, _ in rows)
    return Comparison(
        Corpus(b"corpus", "gpt", "0", cases),
        dict.fromkeys(names, "1.0"),
        ("mmls",),
        tuple(v for _, v in rows),
    )


ACCEPT = Case(
    "a.img",
    b"a.img",
    512,
    512,
    ("gpt.x",),
    "what is wrong",
    "UEFI 2.10, 5.3.2",
    Expected("accept", "gpt", PARTS),
)
OPEN = Case("b.img", b"b.img", 512)


def test_the_text():
    said = text(
        comparison(
            (ACCEPT, {"p": GOOD, "q": View("none", said="error: no")}),
            (OPEN, {"p": GOOD, "q": GOOD._replace(used="backup")}),
        )
    ).splitlines()
    assert said == [
        "corpus: 2 cases, 2 with a disagreement",
        "",
        "parser  asked  agrees  open  refuses",
        "p           2       1     1",
        "q           2             1        1",
        "",
        "p 1.0, q 1.0",
        "",
        "refuses: refuses what the specification accepts",
        "",
        "not installed, and left out: mmls",
        "",
        "q refuses, 1: such as gpt.x",
        "",
        "1. refuses: q: 1 case",
        "   a.img  gpt.x",
        "   what is wrong (UEFI 2.10, 5.3.2)",
        "   expected    the table is to be taken; 1: 1,024+512 2: 2,048+512",
        '   q           no table; "error: no"',
        "   as expected p",
        "",
        "2. GPT, primary: p; GPT, backup: q: 1 case",
        "   b.img",
        "   expected    open",
        "   p           GPT, primary; 1: 1,024+512 2: 2,048+512",
        "   q           GPT, backup; 1: 1,024+512 2: 2,048+512",
    ]


def everything_wrong(*names: str) -> Comparison:
    """Return a comparison in which each parser does each thing that it can do wrong."""
    seen = {
        "accepts": (ACCEPT._replace(expected=Expected("refuse", "none", ())), GOOD),
        "refuses": (ACCEPT, View("none")),
        "copy": (ACCEPT, GOOD._replace(used="backup")),
        "partitions": (ACCEPT, GOOD._replace(partitions=())),
        "kind": (ACCEPT, GOOD._replace(kind="mbr")),
        "crash": (ACCEPT, View("crash")),
        "timeout": (ACCEPT, View("timeout")),
        "writes": (ACCEPT, GOOD._replace(wrote=True)),
        "open": (OPEN, GOOD),
    }
    made = comparison(*((case, dict.fromkeys(names, view)) for case, view in seen.values()))
    return made._replace(versions=dict.fromkeys(names, "2.06-13+deb12u2"))


def test_the_table_fits_a_terminal_whatever_the_parsers_do():
    made = everything_wrong(*(f"parser-{n}" for n in range(12)))
    lines = text(made, 0).splitlines()
    head = next(line for line in lines if line.startswith("parser  "))
    assert head.split() == ["parser", "asked", "agrees", "open", *CATEGORIES]
    table = lines[: lines.index("accepts: accepts what the specification refuses")]
    assert max(map(len, table)) <= 100
    for name in ("parser-0", "parser-11"):
        assert f"{name} 2.06-13+deb12u2" in "\n".join(table)


def test_a_table_with_long_names_is_split_into_parts_that_fit():
    made = everything_wrong("p" * 60, "q")
    lines = text(made, 0).splitlines()
    table = lines[: lines.index("accepts: accepts what the specification refuses")]
    assert max(map(len, table)) <= 100
    heads = [line.split()[1:] for line in table if line.startswith("parser ")]
    assert len(heads) > 1
    assert [word for head in heads for word in head] == ["asked", "agrees", "open", *CATEGORIES]


@pytest.mark.parametrize(("length", "fits"), [(99, True), (100, False), (101, False)])
def test_a_line_of_versions_that_a_comma_ends_fits_too(length, fits):
    """Two parsers with their versions have so many characters, and a third follows."""
    versions = {"first": "1" * 40, "second": "2" * (length - len("first , second ") - 40), "third": "3"}
    lines = text(everything_wrong(*versions)._replace(versions=versions), 0).splitlines()
    (line,) = [line for line in lines if line.startswith("first 1")]
    assert len(line) <= 100
    assert ("second" in line) is fits


def test_where_all_agree_there_are_no_groups():
    same = comparison((ACCEPT, {"p": GOOD, "q": GOOD}))
    assert agrees(same) and "\n1. " not in text(same)
    assert document(same)["groups"] == []


numbers = st.integers(-1, 3)
parts = st.lists(st.builds(Part, numbers, numbers, st.none() | numbers), max_size=3).map(tuple)
views = st.builds(
    View,
    st.sampled_from(["table", "none", "crash", "timeout", "unasked"]),
    st.sampled_from([None, "gpt", "mbr", "mac"]),
    st.sampled_from([None, "primary", "backup"]),
    st.none() | parts,
    st.sampled_from(["", "Warning: x"]),
    st.booleans(),
)
expected = st.builds(
    Expected,
    st.sampled_from(["accept", "backup", "refuse", None]),
    st.sampled_from(["gpt", "mbr", "none"]),
    st.none() | parts,
)
cases = st.builds(
    lambda e, n, s: Case(f"{n}-{s}.img", b"", s, expected=e), expected, st.integers(0, 9), st.integers(0, 9)
)
rows = st.lists(st.tuples(cases, st.fixed_dictionaries(dict.fromkeys("pqrs", views))), min_size=1, max_size=6)


@pytest.mark.property
@given(rows)
def test_every_disagreement_is_in_one_group(given_rows: list[tuple[Case, dict[str, View]]]):
    given_rows = [(case._replace(name=f"{i}-{case.name}"), seen) for i, (case, seen) in enumerate(given_rows)]
    made = comparison(*given_rows)
    told = json.loads(json.dumps(document(made)))
    grouped = [name for group in told["groups"] for name in group["cases"]]
    assert len(grouped) == len(set(grouped))
    judged = {
        case.name for case, seen in given_rows if any(judge(view, case.expected) for view in seen.values())
    }
    assert judged <= set(grouped)
    assert all(group["smallest"] in group["cases"] for group in told["groups"])
    assert agrees(made) == (not grouped)
    for parser in told["parsers"]:
        counts = dict(parser["counts"])
        asked = counts.pop("asked", 0)
        assert asked == sum(counts.values()) and set(counts) <= {*CATEGORIES, "agrees", "open"}
    assert text(made).count("\n   expected ") == len(told["groups"])
    assert text(made, 0).count("\n   expected ") == 0


def test_the_schema_of_docs_is_that_of_the_document():
    """docs/command-line.md names every key."""
    told = document(comparison((ACCEPT, {"p": GOOD}), (OPEN, {"p": GOOD})))
    page = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text()
    section = page.partition("## imgwriter fuzz compare")[2]
    keys = {"parsers", "missing", "groups", "cases", *told["cases"][0]["views"]["p"]}
    assert keys > {"wrote", "said"}
    assert [key for key in sorted(keys) if key not in section] == []
