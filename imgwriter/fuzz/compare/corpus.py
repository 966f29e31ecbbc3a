"""Find the cases of a directory: by its manifest, or all files in it.

The manifest is what ``imgwriter fuzz corpus`` writes (docs/fuzzing.md). A directory without one is a corpus
of images of which nothing is known.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from imgwriter.errors import FormatError, SourceError, show
from imgwriter.fuzz.compare.parsers.program import shown
from imgwriter.fuzz.compare.values import Case, Corpus, Expected, Part

MANIFEST = b"manifest.json"
VERSION = 1

SECTOR_SIZES = (512, 1024, 2048, 4096)

_VERDICTS = ("accept", "backup", "refuse", None)
_TABLES = ("gpt", "mbr", "none", None)


def read_corpus(directory: bytes, sector_size: int = 512) -> Corpus:
    """Return the cases of a directory.

    Args:
        directory: Its path.
        sector_size: Of images without a manifest.

    Raises:
        SourceError: It cannot be read, holds no image, or an image that its manifest lists is not there.
        FormatError: Its manifest is damaged, or of another version.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise SourceError(
            f"{show(directory)} cannot be read: {error.strerror}; give a directory", directory
        ) from error
    if MANIFEST in names:
        corpus = _with_manifest(directory)
    else:
        found = ((name, _size(os.path.join(directory, name))) for name in names)
        cases = [
            Case(show(name), os.path.join(directory, name), size, sector_size)
            for name, size in found
            if size is not None
        ]
        corpus = Corpus(directory, "", "", tuple(cases))
    if not corpus.cases:
        raise SourceError(f"{show(directory)} holds no images; `imgwriter fuzz corpus` makes some", directory)
    return corpus


def _size(path: bytes) -> int | None:
    """Return the size of a regular file; None of anything else."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _with_manifest(directory: bytes) -> Corpus:
    path = os.path.join(directory, MANIFEST)
    try:
        with open(path, "rb") as file:
            document = json.load(file)
        if document["version"] != VERSION:
            raise FormatError(
                f"{show(path)} is of version {document['version']}, not {VERSION}; make it anew"
            )
        cases = tuple(_case(directory, row) for row in document["cases"])
        return Corpus(directory, str(document.get("kind", "")), str(document.get("seed", "")), cases)
    except OSError as error:
        raise SourceError(f"{show(path)} cannot be read: {error.strerror}; correct its mode", path) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{show(path)} is no manifest of a corpus ({error!r}); make it anew") from error


def _case(directory: bytes, row: dict[str, Any]) -> Case:
    name = str(row["file"])
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no file beside it")
    path = os.path.join(directory, os.fsencode(name))
    size = _size(path)
    if size is None or size != row["size"]:
        found = "is not there" if size is None else f"has {size:,} bytes, not {row['size']:,}"
        raise SourceError(f"{show(path)} {found}; make the corpus anew", path)
    if row["sector_size"] not in SECTOR_SIZES:
        raise ValueError(f"sectors of {row['sector_size']} bytes")
    deviations = tuple(str(each) for each in row["deviations"])
    return Case(
        show(os.fsencode(name)),
        path,
        size,
        row["sector_size"],
        deviations,
        shown(str(row["description"])),
        shown(str(row["section"])),
        _expected(row),
    )


def _expected(row: dict[str, Any]) -> Expected:
    verdict, table, parts = row["verdict"], row["table"], row["partitions"]
    if verdict not in _VERDICTS or table not in _TABLES:
        raise ValueError(f"{verdict!r} is no verdict, or {table!r} no table")
    if table is None:  # the verdict is about a file system, or a container
        return Expected()
    return Expected(verdict, table, None if parts is None else tuple(_part(part) for part in parts))


def _part(row: dict[str, Any]) -> Part:
    numbers = [row[name] for name in ("start", "size", "number")]
    if any(type(number) is not int for number in numbers):
        raise ValueError(f"{row!r} is no partition")
    return Part(*numbers)
