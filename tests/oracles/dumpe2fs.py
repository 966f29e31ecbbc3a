"""dumpe2fs: superblock and group descriptors, in e2fsprogs' words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.oracles.e2fsck import at
from tests.oracles.tools import Result, attempt


class Group(NamedTuple):
    """What dumpe2fs says of one block group; block intervals are as printed, ends inclusive."""

    number: int
    first_block: int
    last_block: int
    flags: frozenset[str]
    free_blocks: int
    free_inodes: int
    directories: int
    unused_inodes: int
    text: str


def raw(image: Path, *options: str, offset: int = 0) -> Result:
    """Run dumpe2fs and return what it said."""
    return attempt("dumpe2fs", *options, at(image, offset))


def header(image: Path, offset: int = 0) -> dict[str, str]:
    """Return ``dumpe2fs -h`` as {"Block count": "8192", ...}, the journal's lines included."""
    result = raw(image, "-h", offset=offset)
    assert result.status == 0, result.text
    pairs = (line.partition(":") for line in result.out.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def features(image: Path, offset: int = 0) -> set[str]:
    """Return the names of the feature flags; dumpe2fs says "(none)" where there are none."""
    return set(header(image, offset)["Filesystem features"].split()) - {"(none)"}


def groups(image: Path, offset: int = 0) -> list[Group]:
    """Return every block group."""
    result = raw(image, offset=offset)
    assert result.status == 0, result.text
    parts = re.split(r"(?m)^(?=Group \d+:)", result.out)[1:]
    return [_group(part) for part in parts]


def _group(text: str) -> Group:
    head = re.match(r"Group (\d+): \(Blocks (\d+)-(\d+)\)([^\n]*)", text)
    counts = re.search(
        r"(\d+) free blocks, (\d+) free inodes, (\d+) directories(?:, (\d+) unused inodes)?", text
    )
    assert head and counts, text
    flags = re.search(r"\[([A-Z_, ]*)\]", head[4])
    return Group(
        int(head[1]),
        int(head[2]),
        int(head[3]),
        frozenset(flags[1].split(", ")) - {""} if flags else frozenset(),
        int(counts[1]),
        int(counts[2]),
        int(counts[3]),
        int(counts[4] or 0),
        text,
    )
