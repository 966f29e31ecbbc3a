"""sgdisk (gdisk): an independent reader and verifier of GPT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.oracles.tools import Result, attempt, run


class Partition(NamedTuple):
    """``sgdisk -i``; both LBAs are inclusive, as on the disk."""

    type_guid: str
    unique_guid: str
    first_lba: int
    last_lba: int
    attributes: int
    name: str


def raw(image: Path) -> Result:
    """Run ``sgdisk -v`` and return what it said."""
    return attempt("sgdisk", "-v", image)


def verify(image: Path) -> None:
    """Assert that sgdisk finds no problem at all: neither an error, nor a caution or warning."""
    result = raw(image)
    assert result.status == 0 and "\nNo problems found." in result.out, result.text
    for word in ("Problem", "Warning", "Caution", "CAUTION", "corrupt", "damaged"):
        assert word not in result.text.replace("No problems found", ""), result.text


def partition(image: Path, number: int) -> Partition:
    """Return what sgdisk reads of one partition."""
    text = run("sgdisk", "-i", str(number), image)

    def field(pattern: str) -> str:
        match = re.search(pattern, text)
        assert match, text
        return match[1]

    return Partition(
        field(r"Partition GUID code: ([0-9A-F-]+)"),
        field(r"Partition unique GUID: ([0-9A-F-]+)"),
        int(field(r"First sector: (\d+)")),
        int(field(r"Last sector: (\d+)")),
        int(field(r"Attribute flags: ([0-9A-F]+)"), 16),
        field(r"Partition name: '(.*)'"),
    )


def disk_guid(image: Path) -> str:
    """Return the disk's GUID."""
    match = re.search(r"Disk identifier \(GUID\): ([0-9A-F-]+)", run("sgdisk", "-p", image))
    assert match
    return match[1]
