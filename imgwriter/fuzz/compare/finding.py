"""Find out who can be asked: which parsers are installed, and of what versions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imgwriter import __version__
from imgwriter.errors import SpecError
from imgwriter.fuzz.compare import dissect, kernel, own
from imgwriter.fuzz.compare.parsers.program import Program, shown
from imgwriter.fuzz.compare.run import run

_SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PLAIN = {"LC_ALL": "C", "TZ": "UTC", "PATH": _SYSTEM_DIRECTORIES}
"""What programs find in their environment: their words are read, so they have to be always the same."""

_VERSION_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Parsers:
    """Who is asked.

    Attributes:
        programs: With the path of each.
        versions: Of all, by name, in the order of reports.
        missing: Names of those that would be asked if they were there.
        guests: The kernel's.
        dissect, own: Whether these are asked.
    """

    programs: tuple[tuple[Program, str], ...]
    versions: Mapping[str, str]
    missing: tuple[str, ...] = ()
    guests: tuple[kernel.Guest, ...] = ()
    dissect: bool = False
    own: bool = False


def find_parsers(
    programs: Sequence[Program],
    wanted: Sequence[str] | None = None,
    guests: Sequence[kernel.Guest] = (),
    templates: Sequence[Program] = (),
) -> Parsers:
    """Find out who can be asked, and their versions.

    Args:
        programs: Those that are known.
        wanted: Names of those to ask; all that are there when None.
        guests: The kernel's.
        templates: Those that the user described; asked always.

    Raises:
        SpecError: One that is wanted is not known or not there, two have one name, or nobody is left.
    """
    known = [own.NAME, *(p.name for p in programs), dissect.NAME, *kernel.NAMES]
    _check_names([*known, *(p.name for p in templates)], wanted or ())
    chosen = set(known if wanted is None else wanted)
    versions = {own.NAME: __version__} if own.NAME in chosen else {}
    found = []
    for program in (*(p for p in programs if p.name in chosen), *templates):
        path = shutil.which(program.program) or shutil.which(program.program, path=_SYSTEM_DIRECTORIES)
        if path is not None:
            found.append((program, path))
            versions[program.name] = _version(program, path)
    if dissect.NAME in chosen and (version := dissect.version()):
        versions[dissect.NAME] = version
    asked = tuple(guest for guest in guests if guest.name in chosen)
    versions |= {guest.name: guest.version for guest in asked}
    by_name = [*(wanted or ()), *(p.name for p in templates)]
    chosen.update(by_name)
    missing = tuple(name for name in dict.fromkeys([*known, *by_name]) if name in chosen - versions.keys())
    _refuse_missing([name for name in missing if name in by_name])
    if not versions:
        raise SpecError("nobody is asked; name parsers with --parsers, or describe one with --parser")
    return Parsers(
        tuple(found),
        versions,
        tuple(name for name in missing if name not in kernel.NAMES),
        asked,
        dissect.NAME in versions,
        own.NAME in versions,
    )


def _check_names(names: Sequence[str], wanted: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"two parsers are called {name}; give yours another name")
    for name in wanted:
        if name not in names:
            raise SpecError(f"there is no parser {name!r}; choose of {', '.join(names)}")


def _refuse_missing(missing: Sequence[str]) -> None:
    for name in missing:
        if name in kernel.NAMES:
            raise SpecError(f"the parser {name} is a kernel in a guest; give one with --vm-kernel")
        raise SpecError(f"the parser {name} is not installed; install it, or leave it out of --parsers")


def _version(program: Program, path: str) -> str:
    """Return the first word with a digit of what a program says of its version; "" where it says none."""
    if not program.version:
        return ""
    ended = run([path, *program.version], _VERSION_TIMEOUT, PLAIN)
    words = (ended.out + ended.err).replace("(", " ").replace(")", " ").split()
    return shown(next((word for word in words if word[0].isdigit()), "").rstrip(","))
