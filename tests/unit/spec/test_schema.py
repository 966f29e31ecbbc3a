"""The JSON Schema of spec files, by a validator: it takes what the reader takes, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from imgwriter.commands.schema import EPILOG
from imgwriter.errors import SpecError
from imgwriter.spec.file import read_fields
from imgwriter.spec.schema import KEYS, json_schema
from tests.unit.spec.test_file import EXAMPLES, GUID, REFUSED, TOPLEVEL

VALIDATOR = Draft202012Validator(json_schema())

VALUES: list[object] = [
    None, True, False, 0, 1, -1, 7, 512, 1.5, "", "x", "auto", "512M", "2GiB", "1.5G", " 5 MiB ", "a\nb",
    "64", [], ["a"], [1], [None], {}, {"1": GUID}, {"0": GUID}, {"1": "x"}, {"1": None},
    GUID, GUID[:-1], "E5DA1041", "123456789", "C44C-7503", "0:0", "0:", "preserve", "2.18", "2.18.1",
    "2", "2.1x",
    [{"source": "a", "target": "b"}], [{"source": "a"}], [{"source": "a", "target": "b", "mode": 5}],
    [{"source": "a", "target": "b", "mode": None}], [{"source": "a", "target": "b", "x": "y"}],
    [{"source": None, "target": "b"}], TOPLEVEL,
]  # fmt: skip


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def test_the_command_prints_it_sorted() -> None:
    command = [sys.executable, "-m", "imgwriter", "schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json_schema() and done.stderr == ""
    assert done.stdout == json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


def test_help_and_documentation_call_the_file_the_same() -> None:
    line = "imgwriter schema > imgwriter.schema.json"
    assert line in EPILOG
    assert line in (Path(__file__).parents[3] / "docs" / "spec-file.md").read_text()


def test_every_key_is_described() -> None:
    properties = json_schema()["properties"]
    assert all(properties[name]["description"] for key in KEYS for name in key.spellings)
    assert "The same as disk_size." in properties["diskSize"]["description"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")) + sorted(EXAMPLES.glob("*.json")), ids=str)
def test_examples_are_valid(path: Path) -> None:
    text = path.read_text()
    document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    "text", [text for text, words in REFUSED if "TOML" not in words and "NUL" not in words]
)
def test_what_the_reader_refuses_is_not_valid(text: str) -> None:
    assert not VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_reader_and_schema_agree(key: Any, tmp_path: Path) -> None:
    """On any value of any key; where there are choices, the reader leaves others to ImageSpec."""
    path = tmp_path / "image.json"
    for name, kind in key.spellings.items():
        for value in VALUES:
            path.write_text(json.dumps({name: value}))
            try:
                read_fields(path)
                read = True
            except SpecError:
                read = False
            valid = VALIDATOR.is_valid({name: value})
            leaves = "enum" in kind.schema or "minimum" in kind.schema
            assert valid == read or (leaves and read), (name, value)


def test_choices_are_those_of_the_specification() -> None:
    assert not VALIDATOR.is_valid({"format": "vmdk"})
    assert not VALIDATOR.is_valid({"partitionTableType": "bsd"})
    assert not VALIDATOR.is_valid({"inodes": 0})
    assert not VALIDATOR.is_valid({"sectorSize": 520})
