"""fsck.fat: the checker of FAT12, FAT16 and FAT32."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.oracles.tools import Result, attempt


class Summary(NamedTuple):
    """fsck.fat's last line."""

    files: int
    clusters_used: int
    clusters: int


def slice_of(image: Path, offset: int, size: int, target: Path) -> Path:
    """Copy [offset, offset + size) of an image to a file of its own: fsck.fat knows no offsets."""
    with image.open("rb") as source, target.open("wb") as sink:
        source.seek(offset)
        remaining = size
        while remaining:
            piece = source.read(min(remaining, 1 << 20))
            assert piece, f"{image} ends before {offset + size}"
            sink.write(piece)
            remaining -= len(piece)
    return target


def raw(volume: Path) -> Result:
    """Run ``fsck.fat -n`` and return what it said."""
    return attempt("fsck.fat", "-n", volume)


def check(volume: Path) -> Summary:
    """Assert that fsck.fat says nothing but its banner and its summary."""
    result = raw(volume)
    lines = [line for line in result.text.splitlines()[1:-1] if not line.startswith("fsck.fat ")]
    assert result.status == 0 and len(lines) == 1, result.text
    match = re.fullmatch(r".*: (\d+) files, (\d+)/(\d+) clusters", lines[0])
    assert match, result.text
    return Summary(int(match[1]), int(match[2]), int(match[3]))
