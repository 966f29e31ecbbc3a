"""What is known of a parser that is a program, and what the answers of all have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imgwriter.fuzz.compare.run import Ended
from imgwriter.fuzz.compare.values import View

KINDS = {"gpt": "gpt", "dos": "mbr", "msdos": "mbr"}
"""What programs call the two kinds of tables; other tables keep their names."""

MAX_SAID = 200
"""Characters of a remark that are kept."""

_REMARK = re.compile(
    r"caution|warning|problem:|error|invalid|cannot|failed|corrupt|mismatch|terminate", re.IGNORECASE
)
_BY_SIGNAL = range(129, 160)
_NOT_STARTED = (126, 127)
"""A shell's status where a program cannot be started."""


@dataclass(frozen=True, slots=True)
class Program:
    """A parser.

    Attributes:
        name: What it is called in reports and by ``--parsers``.
        program: The file that is started.
        arguments: From the path of an image and its sector size to the program's arguments.
        read: From how it ended and the sector size to what it saw. Only called where it ended by itself.
        sector_sizes: Those that it can be told; of others it is not asked.
        version: The arguments by which it says its version.
        environment: Variables for a sector size.
        inherits: Whether it is given this process's environment, rather than one that is always the same.
    """

    name: str
    program: str
    arguments: Callable[[bytes, int], list[str | bytes]]
    read: Callable[[Ended, int], View]
    sector_sizes: tuple[int, ...] = (512, 1024, 2048, 4096)
    version: tuple[str, ...] = ("--version",)
    environment: Callable[[int], Mapping[str, str]] = field(default=lambda sector_size: {})
    inherits: bool = False


def view_of(program: Program, ended: Ended, sector_size: int) -> View:
    """Return what a program saw, however it ended."""
    if ended.status is None:
        return View("timeout", said=remark(ended))
    if ended.status in _NOT_STARTED:
        return View("crash", said=remark(ended) or "it cannot be started")
    # A shell script tells of its child's signal by 128 and the number.
    number = -ended.status if ended.status < 0 else ended.status - 128 if ended.status in _BY_SIGNAL else 0
    if number:
        words = last_words(ended)
        return View("crash", said=f"signal {number}: {words}" if words else f"signal {number}")
    return program.read(ended, sector_size)


def remark(ended: Ended) -> str:
    """Return the first line that warns or complains; of one that failed else the first line at all."""
    lines = [line.strip() for text in (ended.err, ended.out) for line in text.splitlines() if line.strip()]
    found = next((line for line in lines if _REMARK.search(line)), "")
    if not found and ended.status and lines:
        found = lines[0]
    return shown(found)


def last_words(ended: Ended) -> str:
    """Return the last line that complains: why it died, where it says so."""
    lines = [line for text in (ended.out, ended.err) for line in text.splitlines() if _REMARK.search(line)]
    return shown(lines[-1]) if lines else ""


def shown(text: str) -> str:
    """Return a remark as one line that can be printed: sgdisk's begin with a bell."""
    return "".join(c for c in text if c.isprintable())[:MAX_SAID].strip()


def flowing(text: str) -> str:
    """Return a text whose lines were broken for a terminal as one line."""
    return " ".join(text.split())
