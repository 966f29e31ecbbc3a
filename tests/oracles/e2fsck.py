"""e2fsck: the file system's own checker. Silence beyond its pass lines is the verdict wanted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.oracles.tools import Result, attempt

# e2fsck 1.47.0's own lines for a clean file system, in order.
_PASSES = (
    "Pass 1: Checking inodes, blocks, and sizes",
    "Pass 2: Checking directory structure",
    "Pass 3: Checking directory connectivity",
    "Pass 4: Checking reference counts",
    "Pass 5: Checking group summary information",
)
_SUMMARY = re.compile(r".*: (\d+)/(\d+) files \(([\d.]+)% non-contiguous\), (\d+)/(\d+) blocks")


class Summary(NamedTuple):
    """e2fsck's last line."""

    inodes_used: int
    inodes: int
    noncontiguous_percent: float
    blocks_used: int
    blocks: int


def at(image: Path, offset: int = 0) -> str:
    """Return the name that e2fsprogs' tools give a file system at ``offset`` bytes of a file."""
    return f"{image}?offset={offset}" if offset else str(image)


def raw(image: Path, offset: int = 0) -> Result:
    """Run ``e2fsck -fn`` and return what it said."""
    return attempt("e2fsck", "-fn", at(image, offset))


def check(image: Path, offset: int = 0) -> Summary:
    """Assert that e2fsck has no objection, not even a remark, and return its summary.

    Args:
        image: The file.
        offset: Where the file system starts in it, in bytes.
    """
    result = raw(image, offset)
    assert result.status == 0, result.text
    *passes, last = result.out.splitlines() or [""]
    assert tuple(passes) == _PASSES, result.text
    assert re.fullmatch(r"e2fsck [\d.]+ \(.*\)\n", result.err), result.text
    match = _SUMMARY.fullmatch(last)
    assert match, result.text
    return Summary(int(match[1]), int(match[2]), float(match[3]), int(match[4]), int(match[5]))
