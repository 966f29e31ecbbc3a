"""GNU tar and bsdtar (libarchive): what they make of a tar."""

from __future__ import annotations

from pathlib import Path

from tests.oracles.tools import Result, attempt


def gnu(archive: Path, target: Path) -> Result:
    """Extract with GNU tar: owners by number, every extended attribute, ACLs."""
    target.mkdir()
    options = ("--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-xpf")
    return attempt("tar", *options, archive, "-C", target)


def bsd(archive: Path, target: Path) -> Result:
    """Extract with bsdtar: owners by number; attributes and ACLs come with -p."""
    target.mkdir()
    return attempt("bsdtar", "--numeric-owner", "-xpf", archive, "-C", target)
