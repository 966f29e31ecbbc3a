"""mtools: reads a FAT volume without mounting it, at an offset of a disk image."""

from __future__ import annotations

import re
from pathlib import Path

from tests.oracles.tools import Result, attempt


def _at(image: Path, offset: int) -> str:
    return f"{image}@@{offset}"


def raw(tool: str, image: Path, *arguments: str | Path, offset: int = 0) -> Result:
    """Run one of the mtools (``mdir``, ``mcopy``, ``minfo``) on a volume and return what it said."""
    return attempt(tool, "-i", _at(image, offset), *arguments)


def _ask(tool: str, image: Path, *arguments: str | Path, offset: int) -> str:
    result = raw(tool, image, *arguments, offset=offset)
    assert result.status == 0 and not result.err, result.text
    return result.out


def names(image: Path, offset: int = 0) -> set[str]:
    """Return every path, directories with a trailing slash, without the leading one."""
    text = _ask("mdir", image, "-/", "-b", "-a", "::", offset=offset)
    return {line.removeprefix("::/") for line in text.splitlines() if line not in ("", "::/")}


def read(image: Path, path: str, offset: int = 0) -> bytes:
    """Return a file's content."""
    text = _ask("mtype", image, f"::/{path}", offset=offset)
    return text.encode("utf-8", "surrogateescape")


def info(image: Path, offset: int = 0) -> str:
    """Return ``minfo``'s text: geometry, and the boot sector's fields."""
    return _ask("minfo", image, "::", offset=offset)


def label(image: Path, offset: int = 0) -> str:
    """Return the volume label in the root directory, or "" when there is none."""
    text = _ask("mlabel", image, "-s", "::", offset=offset)
    match = re.search(r"Volume label is (.*?)\s*(?:\(abbr=.*\))?\s*$", text)
    return match[1] if match else ""
