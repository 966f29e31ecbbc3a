"""docs/formats/ext4.md has a row for each feature, and none for one that is not known."""

from __future__ import annotations

import re
from pathlib import Path

from imgwriter.ext4.features import DEFAULTS, NAMES, REFUSED

TEXT = (Path(__file__).parents[3] / "docs" / "formats" / "ext4.md").read_text()
WRITTEN, REFUSALS = TEXT.split("## Features")[1].split("## What dumpe2fs says")[0].split("Refused by name")
DEFAULT_WORDS = {"all": {"ext2", "ext3", "ext4"}, "-": set[str]()}


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells after a table's first, by the name in it."""
    found = re.findall(r"(?m)^\| `([^`]+)` \|(.*)\|$", text)
    assert len(found) == len(dict(found)), "a name twice"
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in found}


def test_every_feature_has_its_row() -> None:
    assert list(rows(WRITTEN)) == list(NAMES)
    assert list(rows(REFUSALS)) == list(REFUSED)
    assert all(all(cells) for cells in (*rows(WRITTEN).values(), *rows(REFUSALS).values()))


def test_the_defaults_are_those_of_the_code() -> None:
    for name, (types, *_) in rows(WRITTEN).items():
        said = DEFAULT_WORDS.get(types, set(types.split(", ")))
        assert said == {kind for kind, features in DEFAULTS.items() if name in features.split()}, name
