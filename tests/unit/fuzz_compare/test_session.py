"""Parsers of our own that crash, hang and write, asked for real; the command from beginning to end."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter import cli
from imgwriter.errors import SpecError
from imgwriter.fuzz.compare import own
from imgwriter.fuzz.compare.corpus import read_corpus
from imgwriter.fuzz.compare.finding import find_parsers
from imgwriter.fuzz.compare.parsers.template import program_of
from imgwriter.fuzz.compare.session import compare
from imgwriter.fuzz.corpus import CorpusSpec, write_corpus

Script = Callable[[str, str], str]


@pytest.fixture
def corpus(tmp_path: Path) -> bytes:
    folder = tmp_path / "corpus"
    write_corpus(CorpusSpec("gpt", str(folder), count=8))
    return bytes(folder)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Return what describes a parser that is a shell script."""

    def make(name: str, text: str) -> str:
        path = tmp_path / f"{name}.sh"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return f"{name}={shlex.quote(str(path))} {{image}} {{sector_size}}"

    return make


def sums(folder: bytes) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(os.fsdecode(folder)).iterdir()}


def asked(corpus: bytes, *templates: str, timeout: float = 20.0):
    parsers = find_parsers((), (own.NAME,), templates=[program_of(text) for text in templates])
    return compare(read_corpus(corpus), parsers, jobs=2, timeout=timeout)


def test_crashes_and_hangs_are_results(corpus: bytes, script: Script):
    for views in asked(corpus, script("crash", "kill -SEGV $$")).views:
        assert (views["crash"].state, views["crash"].said) == ("crash", "signal 11")
        assert views["imgwriter"].state in ("table", "none")
    for views in asked(corpus, script("hang", "sleep 1000"), timeout=0.3).views:
        assert views["hang"].state == "timeout"
        assert views["imgwriter"].state in ("table", "none")


def test_a_parser_that_writes_is_found_out_and_harms_nobody(corpus: bytes, script: Script):
    before = sums(corpus)
    comparison = asked(
        corpus,
        script("writes", 'printf x | dd of="$1" conv=notrunc status=none'),
        script("removes", 'rm "$1"'),
        script("after", f'cmp -s "$1" {shlex.quote(os.fsdecode(corpus))}/*-valid.img'),
    )
    assert sums(corpus) == before
    assert all(views["writes"].wrote and views["removes"].wrote for views in comparison.views)
    assert not any(views["after"].wrote or views["imgwriter"].wrote for views in comparison.views)


def test_parsers_see_what_is_in_the_corpus(corpus: bytes, script: Script):
    comparison = asked(
        corpus, script("sums", 'sha256sum <"$1" | { read sum rest; echo "error $sum" >&2; }; exit 1')
    )
    rows = json.loads((Path(os.fsdecode(corpus)) / "manifest.json").read_text())["cases"]
    assert [views["sums"].said for views in comparison.views] == [f"error {row['sha256']}" for row in rows]


def test_progress_comes_to_its_end(corpus: bytes, script: Script):
    heard: list[tuple[int, int]] = []
    parsers = find_parsers((), (own.NAME,))
    compare(read_corpus(corpus), parsers, jobs=2, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(done, 8) for done in range(1, 9)]


def test_names():
    with pytest.raises(SpecError, match="no parser 'nobody'"):
        find_parsers((), ("nobody",))
    with pytest.raises(SpecError, match="two parsers are called imgwriter"):
        find_parsers((), None, templates=[program_of("imgwriter=true {image}")])
    with pytest.raises(SpecError, match="--vm-kernel"):
        find_parsers((), ("linux",))
    with pytest.raises(SpecError, match="not installed"):
        find_parsers((), ("imgwriter",), templates=[program_of("mine=/nonexistent {image}")])


def test_what_is_not_installed_is_named_and_left_out():
    missing = program_of("mine=/nonexistent {image}")
    parsers = find_parsers([missing], None)
    assert "mine" in parsers.missing and "mine" not in parsers.versions


# The command


def fuzz_compare(*words: str) -> int:
    return cli.main(["fuzz", "compare", *words])


def test_all_agree(corpus: bytes, capsys: pytest.CaptureFixture[str]):
    assert fuzz_compare(os.fsdecode(corpus), "--parsers", "imgwriter") == 0
    assert "8 cases, 0 with a disagreement" in capsys.readouterr().out


def test_some_do_not(corpus: bytes, script: Script, capsys: pytest.CaptureFixture[str]):
    words = [
        os.fsdecode(corpus),
        "--parsers",
        "imgwriter",
        "--parser",
        script("no", "echo error: no; exit 1"),
    ]
    assert fuzz_compare(*words, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    counts = {parser["name"]: parser["counts"] for parser in document["parsers"]}
    assert counts["no"]["asked"] == 8 and counts["no"]["refuses"] >= 1
    view = document["cases"][0]["views"]["no"]
    assert (view["state"], view["said"]) == ("none", "error: no")
    refused = {group["smallest"] for group in document["groups"] if not group["open"]}
    assert refused
    assert fuzz_compare(*words, "--groups", "all") == 1
    said = capsys.readouterr().out
    assert "no refuses" in said and '"error: no"' in said and all(name in said for name in refused)
    assert fuzz_compare(*words, "--groups", "0") == 1
    assert "--groups all" in capsys.readouterr().out
    assert fuzz_compare(*words, "--quiet") == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "words",
    [
        ["--parsers", "nobody"],
        ["--parsers", ","],
        ["--kernel"],
        ["--timeout", "0"],
        ["--parsers", "linux"],
        ["--parser", "x"],
    ],
)
def test_trouble_is_2(words: list[str], corpus: bytes, capsys: pytest.CaptureFixture[str]):
    assert fuzz_compare(os.fsdecode(corpus), *words) == 2
    assert capsys.readouterr().err.startswith("imgwriter: ")


def test_no_corpus_is_trouble(tmp_path: Path):
    assert fuzz_compare(str(tmp_path)) == 2


def test_images_without_a_manifest(tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "zeros").write_bytes(bytes(4096))
    words = [str(tmp_path / "images"), "--parsers", "imgwriter", "--parser"]
    assert fuzz_compare(*words, script("no", "exit 1")) == 0
    assert fuzz_compare(*words, script("yes", "exit 0")) == 1
    assert "no table: imgwriter; a table: yes: 1 case" in capsys.readouterr().out
