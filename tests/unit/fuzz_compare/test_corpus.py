"""Which images there are, and what is expected of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imgwriter.errors import FormatError, SourceError
from imgwriter.fuzz.compare.corpus import read_corpus
from imgwriter.fuzz.compare.values import Case, Expected, Part
from imgwriter.fuzz.corpus import CorpusSpec, write_corpus

ROW = {
    "file": "a.img", "size": 3, "sector_size": 4096, "deviations": ["gpt.x"], "description": "what",
    "section": "UEFI", "verdict": "backup", "table": "gpt",
    "partitions": [{"number": 1, "start": 512, "size": 1024}], "sha256": "",
}  # fmt: skip


def manifest(folder: Path, *rows: dict, **more) -> bytes:
    (folder / "a.img").write_bytes(b"abc")
    document = {"version": 1, "kind": "gpt", "seed": 7, "cases": list(rows), **more}
    (folder / "manifest.json").write_text(json.dumps(document))
    return bytes(folder)


def test_cases_are_those_of_the_manifest(tmp_path: Path):
    (tmp_path / "other.img").write_bytes(b"")
    corpus = read_corpus(manifest(tmp_path, ROW))
    assert (corpus.kind, corpus.seed) == ("gpt", "7")
    expected = Expected("backup", "gpt", (Part(512, 1024, 1),))
    assert corpus.cases == (
        Case("a.img", bytes(tmp_path / "a.img"), 3, 4096, ("gpt.x",), "what", "UEFI", expected),
    )


def test_what_the_kit_writes_can_be_read(tmp_path: Path):
    written = write_corpus(CorpusSpec("gpt", str(tmp_path), count=20))
    corpus = read_corpus(bytes(tmp_path))
    assert len(corpus.cases) == written.cases["gpt"] == 20
    assert all(case.deviations or case.name.endswith("-valid.img") for case in corpus.cases)


def test_without_a_manifest_all_files_are_cases(tmp_path: Path):
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(b"12")
    (tmp_path / "folder").mkdir()
    corpus = read_corpus(bytes(tmp_path), 4096)
    assert [(case.name, case.size, case.sector_size) for case in corpus.cases] == [
        ("a", 2, 4096),
        ("b", 2, 4096),
    ]
    assert all(case.expected == Expected(None, None, None) for case in corpus.cases)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"file": "../a.img"}, FormatError),
        ({"file": "missing.img"}, SourceError),
        ({"size": 4}, SourceError),
        ({"verdict": "perhaps"}, FormatError),
        ({"partitions": [{"number": 1}]}, FormatError),
        ({"partitions": 5}, FormatError),
        ({"partitions": [{"number": 1, "start": "x", "size": 1}]}, FormatError),
        ({"partitions": [{"number": True, "start": 1, "size": 1}]}, FormatError),
        ({"file": "a\0.img"}, FormatError),
        ({"sector_size": 513}, FormatError),
        ({"sector_size": "512"}, FormatError),
        ({"table": "apm"}, FormatError),
        ({"deviations": 1}, FormatError),
    ],
)
def test_a_damaged_manifest_is_refused(change: dict, error: type[Exception], tmp_path: Path):
    with pytest.raises(error):
        read_corpus(manifest(tmp_path, {**ROW, **change}))


def test_another_version_is_refused(tmp_path: Path):
    with pytest.raises(FormatError, match="version 2"):
        read_corpus(manifest(tmp_path, ROW, version=2))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"version": 1}', "\xff", '{"version": 1, "cases": [1]}', "[" * 100_000]
)
def test_what_is_no_manifest_is_refused(text: str, tmp_path: Path):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(FormatError, match="no manifest"):
        read_corpus(bytes(tmp_path))


def test_a_directory_without_images_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match="no images"):
        read_corpus(bytes(tmp_path))
    with pytest.raises(SourceError, match="cannot be read"):
        read_corpus(bytes(tmp_path / "missing"))


def test_a_verdict_about_something_else_than_a_table_is_none(tmp_path: Path):
    (case,) = read_corpus(manifest(tmp_path, {**ROW, "table": None, "verdict": "refuse"})).cases
    assert case.expected == Expected()
