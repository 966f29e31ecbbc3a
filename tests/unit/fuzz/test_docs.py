"""docs/fuzzing.md and docs/fuzzing-catalogue.md say what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from imgwriter import cli
from imgwriter.fuzz.catalogue import KINDS, cases, deviations
from tests.fuzz.catalogue_table import table
from tests.fuzz.targets import TARGETS
from tests.unit.fuzz.test_corpus import SCHEMA

DOCS = Path(__file__).resolve().parents[3] / "docs"
GUIDE = (DOCS / "fuzzing.md").read_text()


def test_the_catalogue_is_the_catalogue() -> None:
    """Where it is not: python -m tests.fuzz.catalogue_table > docs/fuzzing-catalogue.md"""
    assert (DOCS / "fuzzing-catalogue.md").read_text() == table()


def test_the_numbers_of_deviations_are_right() -> None:
    for kind in KINDS:
        assert f"| `{kind}` | {len(deviations(kind))} |" in GUIDE


def test_the_results_are_of_this_catalogue() -> None:
    """Where they are not: compare again, and write down what is measured then."""
    results = " ".join((DOCS / "fuzzing-results.md").read_text().split())
    verdicts = {kind: [case.verdict for case in cases(kind)] for kind in ("gpt", "mbr")}
    known = {kind: len(found) - found.count(None) for kind, found in verdicts.items()}
    assert f"{len(verdicts['gpt'])} cases of GPT, {len(verdicts['mbr'])} of MBR" in results
    assert f"Cases with a verdict: {known['gpt']} of GPT, {known['mbr']} of MBR" in results
    assert f"{verdicts['gpt'].count(None)} + {verdicts['mbr'].count(None)} cases have no verdict" in results
    named = set(re.findall(r"`((?:gpt|mbr)\.[A-Za-z0-9_.]+)`", results))
    assert named <= {d.name for kind in KINDS for d in deviations(kind)}
    # imgwriter comes to every verdict, by another test.
    assert f"| imgwriter | {known['gpt']} | | | | | | {known['mbr']} |" in results


def test_every_key_of_the_manifest_is_described() -> None:
    case = SCHEMA["properties"]["cases"]["items"]["properties"]
    for key in [*SCHEMA["properties"], *case]:
        assert f"| `{key}` |" in GUIDE, key


def test_every_deviation_that_is_named_exists() -> None:
    known = {d.name for kind in KINDS for d in deviations(kind)}
    named = set(re.findall(rf"\b(?:{'|'.join(KINDS)})(?:\.[A-Za-z0-9_]+){{2,4}}\b(?!=)", GUIDE))
    assert len(named) >= 2
    assert named <= known


def test_every_reader_of_ours_is_in_the_table_of_campaigns() -> None:
    for target in TARGETS:
        assert re.search(rf"^\| {target} \| [\d,]+ \|", GUIDE, re.M), target


def test_the_example_of_the_manifest_is_one(tmp_path: Path) -> None:
    """The text of the case is what the command writes."""
    cli.main(["fuzz", "corpus", "--kind", "gpt", "--output", str(tmp_path / "corpus"), "--quiet"])
    cases = json.loads((tmp_path / "corpus" / "manifest.json").read_text())["cases"]
    example = re.search(r"```json\n(.*?)```", GUIDE, re.S)
    assert example
    assert json.loads(example[1]) in cases
