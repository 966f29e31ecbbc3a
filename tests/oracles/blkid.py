"""blkid (libblkid): what every Linux system takes a file system for."""

from __future__ import annotations

from pathlib import Path

from tests.oracles.tools import attempt


def probe(image: Path, offset: int = 0) -> dict[str, str]:
    """Return what blkid says of the file system at ``offset`` bytes of an image; {} where it sees none."""
    result = attempt("blkid", "-p", "-o", "export", "-O", str(offset), image)
    assert result.status in (0, 2) and not result.err, result.text
    return dict(line.split("=", 1) for line in result.out.splitlines() if "=" in line)
