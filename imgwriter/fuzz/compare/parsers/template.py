"""A parser that the user names: ``NAME=COMMAND``, whose words may hold ``{image}`` and ``{sector_size}``.

What it answers is either its exit status alone, 0 for "there is a table", any other for "there is none"; or
lines of JSON on its standard output, one for the table and one for each partition, in bytes:

::

    {"table": "gpt", "used": "primary"}
    {"number": 1, "start": 1048576, "size": 8388608}

``table`` is "gpt", "mbr" or "none", ``used`` is "primary" or "backup"; what is left out is not told. Without
a line about the table none of the partitions is looked at.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from typing import Any

from imgwriter.errors import SpecError
from imgwriter.fuzz.compare.parsers.program import Program, remark, shown
from imgwriter.fuzz.compare.run import Ended
from imgwriter.fuzz.compare.values import Part, View

_IMAGE = b"{image}"
_SECTOR_SIZE = b"{sector_size}"


def program_of(text: str) -> Program:
    """Return the parser that ``NAME=COMMAND`` describes.

    Raises:
        SpecError: It has no name, no command, or the command has no ``{image}``.
    """
    name, equals, command = text.partition("=")
    try:
        words = [os.fsencode(word) for word in shlex.split(command)]
    except ValueError as error:
        raise SpecError(
            f"the parser {text!r} cannot be taken apart ({error}); quote it as for a shell"
        ) from error
    if not name.isidentifier() or not equals or not words:
        raise SpecError(f"{text!r} describes no parser; give NAME=COMMAND, with a word for a name")
    if not any(_IMAGE in word for word in words[1:]):
        raise SpecError(f"the parser {name} is not told what to read; put {{image}} among its arguments")

    def arguments(path: bytes, sector_size: int) -> list[str | bytes]:
        size = str(sector_size).encode()
        return [word.replace(_SECTOR_SIZE, size).replace(_IMAGE, path) for word in words[1:]]

    return Program(name, os.fsdecode(words[0]), arguments, read, version=(), inherits=True)


def read(ended: Ended, _sector_size: int) -> View:
    """Return what such a parser saw."""
    said = remark(ended)
    if ended.status:
        return View("none", said=said)
    rows = list(_rows(ended.out))
    tables = [row for row in rows if "table" in row]
    if not tables:
        return View("table", said=said)
    kind, used = tables[0]["table"], tables[0].get("used")
    if kind == "none":
        return View("none", said=said)
    try:
        parts = [
            Part(
                int(row["start"]), int(row["size"]), None if row.get("number") is None else int(row["number"])
            )
            for row in rows
            if "table" not in row
        ]
    except (KeyError, TypeError, ValueError):
        return View("crash", said="a partition of its answer lacks start or size, or has none of a number")
    return View(
        "table",
        None if kind is None else shown(str(kind)),
        None if used is None else shown(str(used)),
        tuple(parts),
        said,
    )


def _rows(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row
