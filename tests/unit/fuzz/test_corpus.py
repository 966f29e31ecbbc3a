"""fuzz.corpus: the same bytes always, a manifest that holds, a folder replaced whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import imgwriter
from imgwriter import cli
from imgwriter.errors import OutputError, SpecError
from imgwriter.fuzz.catalogue import KINDS, cases, deviations
from imgwriter.fuzz.chance import Chance
from imgwriter.fuzz.corpus import CorpusSpec, plan_corpus, write_corpus

FILE_NAME = r"^(mbr|gpt|fat|ext4|qcow2|vhd)-\d{4,}-[a-z0-9-]+\.(img|qcow2|vhd)$"

# docs/fuzzing.md, "The manifest".
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["version", "kind", "seed", "imgwriter", "cases"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": 1},
        "kind": {"enum": [*KINDS, "all"]},
        "seed": {"type": "integer", "minimum": 0},
        "imgwriter": {"const": imgwriter.__version__},
        "cases": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [
                    "file", "size", "sector_size", "deviations", "description", "section", "verdict", "table",
                    "partitions", "sha256",
                ],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string", "pattern": FILE_NAME},
                    "size": {"type": "integer", "minimum": 0},
                    "sector_size": {"enum": [512, 4096]},
                    "deviations": {"type": "array", "items": {"type": "string"}},
                    "description": {"type": "string", "minLength": 1},
                    "section": {"type": "string"},
                    "verdict": {"enum": ["accept", "backup", "refuse", None]},
                    "table": {"enum": ["gpt", "mbr", "none", None]},
                    "partitions": {
                        "type": ["array", "null"],
                        "items": {
                            "type": "object",
                            "required": ["number", "start", "size"],
                            "additionalProperties": False,
                            "properties": {
                                "number": {"type": "integer", "minimum": 1},
                                "start": {"type": "integer", "minimum": 0},
                                "size": {"type": "integer", "minimum": 1},
                            },
                        },
                    },
                    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
            },
        },
    },
}  # fmt: skip


def made(folder: Path, kind: str = "mbr", seed: int = 0, count: int | None = None) -> dict[str, Any]:
    write_corpus(CorpusSpec(kind, bytes(folder), seed, count))
    document: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return document


def contents(folder: Path) -> dict[str, str]:
    """Return sums: where two differ, pytest would spell out every byte."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_manifest_describes_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    document = made(folder, "all", 3, 700)
    jsonschema.validate(document, SCHEMA)
    assert [case["file"] for case in document["cases"]] + ["manifest.json"] == sorted(
        os.listdir(folder), key=lambda name: (name == "manifest.json", name.partition("-")[2])
    )
    for case in document["cases"]:
        content = (folder / case["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (case["size"], case["sha256"])
        if case["verdict"] == "refuse" and case["file"][:3] in ("mbr", "gpt"):
            assert (case["table"], case["partitions"]) == ("none", [])
        if case["verdict"] is None or case["file"][:3] not in ("mbr", "gpt"):
            assert (case["table"], case["partitions"]) == (None, None)


def test_without_a_count_each_deviation_comes_once(tmp_path: Path) -> None:
    for kind in ("qcow2", "vhd"):
        document = made(tmp_path / kind, kind)
        named = [case["deviations"] for case in document["cases"] if case["deviations"]]
        assert named == [[d.name] for d in deviations(kind)]
        assert document["cases"][0]["verdict"] == "accept"


def test_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """Whatever the hash seed, and whatever was made before."""
    made(tmp_path / "here", "gpt", 5, 450)
    command = [
        sys.executable,
        "-m",
        "imgwriter",
        "fuzz",
        "corpus",
        "--kind",
        "gpt",
        "--seed",
        "5",
        "--count",
        "450",
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "99"}
    subprocess.run(
        [*command, "--output", tmp_path / "there"], check=True, env=environment, capture_output=True
    )
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_a_longer_corpus_begins_with_a_shorter_one() -> None:
    short = list(plan_corpus(CorpusSpec("mbr", "x", 1, 150)))
    longer = list(plan_corpus(CorpusSpec("mbr", "x", 1, 170)))
    assert [c.deviations for c in longer[:150]] == [c.deviations for c in short]
    other = list(plan_corpus(CorpusSpec("mbr", "x", 2, 150)))
    assert [c.deviations for c in other] != [c.deviations for c in short]
    assert [c.deviations for c in other[:128]] == [c.deviations for c in short[:128]]


def test_fewer_than_the_catalogue_are_drawn_from_it() -> None:
    drawn = [c.deviations for c in plan_corpus(CorpusSpec("gpt", "x", 1, 20))]
    known = [c.deviations for c in cases("gpt")]
    assert len(drawn) == 20
    assert sorted(drawn, key=known.index) == drawn
    assert drawn != [c.deviations for c in plan_corpus(CorpusSpec("gpt", "x", 2, 20))]


def test_images_are_sparse(tmp_path: Path) -> None:
    """Blocks as stat counts them, of 512 bytes: 16 KiB for an image is not much."""
    folder = tmp_path / "corpus"
    made(folder, "all", 0, 500)
    images = [path.stat() for path in folder.iterdir() if path.suffix != ".json"]
    assert sum(i.st_size for i in images) > 400 << 20
    assert sum(i.st_blocks for i in images) * 512 < len(images) * (64 << 10)


def test_an_earlier_corpus_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    made(folder, "gpt", 0, 10)
    made(folder, "mbr", 0, 5)
    assert len(os.listdir(folder)) == 6
    assert all(name.startswith(("mbr", "manifest")) for name in os.listdir(folder))
    assert os.listdir(tmp_path) == ["corpus"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    made(folder, "mbr", 0, 5)
    assert len(os.listdir(folder)) == 6
    assert os.listdir(tmp_path) == ["corpus"]


@pytest.mark.parametrize("content", ["", "[]", '{"cases": 1}', '{"cases": [{"file": "other"}]}', "{" * 9999])
def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "precious").write_text("x")
    (folder / "manifest.json").write_text(content)
    with pytest.raises(OutputError, match="has files that are not an earlier corpus's, such as "):
        made(folder)
    assert sorted(os.listdir(folder)) == ["manifest.json", "precious"]
    assert os.listdir(tmp_path) == ["corpus"]


def test_what_is_no_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("file", "link"):
        with pytest.raises(OutputError, match="is no folder"):
            made(tmp_path / name)
    with pytest.raises(OutputError, match="make the directory first"):
        made(tmp_path / "missing" / "corpus")
    assert os.listdir(tmp_path / "folder") == []


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "corpus"
    made(folder, "mbr", 0, 5)
    before = contents(folder)

    class Stop(BaseException):
        pass

    def stop(done: object, total: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        write_corpus(CorpusSpec("gpt", bytes(folder), 0, 5), stop)
    assert contents(folder) == before
    assert os.listdir(tmp_path) == ["corpus"]


def test_a_file_that_was_put_there_meanwhile_stays(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    made(folder, "mbr", 0, 5)

    def intrude(done: object, total: object) -> None:
        (folder / "precious").write_text("x")

    with pytest.raises(OutputError, match="1 file of others, such as 'precious'"):
        write_corpus(CorpusSpec("mbr", bytes(folder), 0, 5), intrude)
    assert (folder / "precious").exists()
    assert len(os.listdir(folder)) == 7
    assert os.listdir(tmp_path) == ["corpus"]


@pytest.mark.parametrize(
    "words", [["--kind", "xfs"], ["--seed", "-1"], ["--count", "many"], ["--seed", "1_0"]]
)
def test_wrong_words_are_refused(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["fuzz", "corpus", "--output", str(tmp_path / "x"), *words])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("imgwriter fuzz corpus: ")


@pytest.mark.parametrize("count", [0, 1_000_001])
def test_counts_have_limits(count: int) -> None:
    with pytest.raises(SpecError, match="ask for 1 to 1,000,000"):
        CorpusSpec("gpt", "x", 0, count)


def test_the_command_says_what_was_made(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    arguments = ["fuzz", "corpus", "--kind", "mbr", "--count", "3", "--output", str(tmp_path / "c")]
    assert cli.main([*arguments, "--json"]) == 0
    document = json.loads(capfdbinary.readouterr().out)
    assert document["cases"] == {"mbr": 3}
    assert document["manifest"] == str(tmp_path / "c" / "manifest.json")
    assert cli.main([*arguments, "--quiet"]) == 0
    assert capfdbinary.readouterr().out == b""
    assert cli.main(arguments) == 0
    assert b"3 cases (mbr 3)" in capfdbinary.readouterr().out


def test_chance_is_sha_256() -> None:
    """The first choice is the first word of SHA-256("7\\0x" "\\0" "1"), scaled."""
    first = int(hashlib.sha256(b"7\0x\0" + b"1").hexdigest(), 16)
    assert Chance(7, "x").below(1000) == first * 1000 >> 256
    chance = Chance("seed")
    assert {chance.below(3) for _ in range(50)} == {0, 1, 2}
    assert chance.sample(range(5), 5) == [0, 1, 2, 3, 4]  # type: ignore[arg-type]
