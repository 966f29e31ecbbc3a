"""Ask all parsers about all cases.

::

    threads, one a processor    a case at a time: copy it, run each program on the copy, look at the copy
    this thread, meanwhile      the guest, some hundred cases at a time

Threads: what takes the time is other processes. The copies are in a directory of their own, so that a parser
that looks for ``IMAGE1`` beside its image finds nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from imgwriter import __version__, sink
from imgwriter.errors import SourceChangedError, SpecError, show
from imgwriter.extent import Volume
from imgwriter.fuzz.compare import dissect, kernel, own
from imgwriter.fuzz.compare.normal import Records, normal, normal_expected, records_of
from imgwriter.fuzz.compare.parsers.program import Program, shown, view_of
from imgwriter.fuzz.compare.run import run
from imgwriter.fuzz.compare.values import UNASKED, Case, Corpus, View
from imgwriter.readers import open_image

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many answers are there, and how many there will be."""

DEFAULT_TIMEOUT = 2.0
"""Seconds for one parser and one image; the slowest that was measured takes 0.01."""

_DISSECT_BATCH = 100
_VERSION_TIMEOUT = 10.0
_SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PLAIN = {"LC_ALL": "C", "TZ": "UTC", "PATH": _SYSTEM_DIRECTORIES}
"""What programs find in their environment: their words are read, so they have to be always the same."""

_COPY = "disk"


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


class Comparison(NamedTuple):
    """What all saw of all.

    Attributes:
        corpus: The cases; what is expected of them is without what is no partition, like the views.
        versions: Of each parser, by name, in the order of reports.
        missing: Parsers that are not installed.
        views: For each case, by parser.
    """

    corpus: Corpus
    versions: Mapping[str, str]
    missing: tuple[str, ...]
    views: tuple[Mapping[str, View], ...]


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
        SpecError: One that is wanted is not known or not there, or two have one name.
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
    missing = tuple(name for name in (*known, *by_name) if name in chosen or name in by_name)
    missing = tuple(dict.fromkeys(name for name in missing if name not in versions))
    _refuse_missing([name for name in missing if name in by_name])
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
    ended = run([path, *program.version], _VERSION_TIMEOUT, _PLAIN)
    words = (ended.out + ended.err).replace("(", " ").replace(")", " ").split()
    return shown(next((word for word in words if word[0].isdigit()), "").rstrip(","))


def compare(
    corpus: Corpus,
    parsers: Parsers,
    *,
    jobs: int,
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Ask all parsers about all cases.

    Args:
        corpus: The cases.
        parsers: From :func:`find_parsers`.
        jobs: Threads; each runs one program at a time.
        timeout: Seconds for one program and one case.
        progress: Called in the calling thread.

    Raises:
        SourceError: An image cannot be read, or (SourceChangedError) changed meanwhile.
        OutputError: A copy cannot be made.
        GuestError: The kernel's guest cannot be run.
    """
    cases = corpus.cases
    before = [_stamp(case.path) for case in cases]
    records = [records_of(_volume(case)) for case in cases]
    views: list[dict[str, View]] = [{} for _ in cases]
    with tempfile.TemporaryDirectory(prefix="imgwriter-compare-") as folder:
        executor = ThreadPoolExecutor(jobs)
        try:
            work = list(_submit(executor, cases, parsers, folder, timeout))
            _gather(work, views, parsers.guests, cases, progress)
        finally:
            executor.shutdown(cancel_futures=True)
    for case, stamp in zip(cases, before, strict=True):
        if _stamp(case.path) != stamp:
            raise SourceChangedError(
                f"{show(case.path)} changed while it was looked at; compare again", case.path
            )
    return _normal_comparison(corpus, parsers, views, records)


def _normal_comparison(
    corpus: Corpus, parsers: Parsers, views: Sequence[Mapping[str, View]], records: Sequence[Records]
) -> Comparison:
    ordered = [
        {name: normal(of_case[name], of_disk) for name in parsers.versions}
        for of_case, of_disk in zip(views, records, strict=True)
    ]
    cases = [
        case._replace(expected=normal_expected(case.expected, of_disk))
        for case, of_disk in zip(corpus.cases, records, strict=True)
    ]
    return Comparison(corpus._replace(cases=tuple(cases)), parsers.versions, parsers.missing, tuple(ordered))


def _volume(case: Case) -> Volume:
    """Return the disk that an image is: always the file as it is, whatever it looks like."""
    return open_image(case.path, "raw").volume


class _Work(NamedTuple):
    """Cases from ``first`` on, and what will be seen of them."""

    first: int
    future: Future[list[dict[str, View]]]


def _submit(
    executor: ThreadPoolExecutor, cases: Sequence[Case], parsers: Parsers, folder: str, timeout: float
) -> Iterator[_Work]:
    for first in range(0, len(cases) if parsers.dissect else 0, _DISSECT_BATCH):
        batch = cases[first : first + _DISSECT_BATCH]
        yield _Work(first, executor.submit(_with_dissect, batch, timeout))
    for index, case in enumerate(cases):
        yield _Work(index, executor.submit(_look, case, parsers, folder, timeout))


def _gather(
    work: Sequence[_Work],
    views: list[dict[str, View]],
    guests: Sequence[kernel.Guest],
    cases: Sequence[Case],
    progress: Progress,
) -> None:
    """Put answers where they belong: the guests', which are run here, then the threads'."""
    total, done = len(work) + len(guests) * len(cases), 0
    for guest in guests:
        for first in range(0, len(cases), kernel.BATCH):
            batch = cases[first : first + kernel.BATCH]
            for index, view in enumerate(guest.views(batch), start=first):
                views[index][guest.name] = view
            done += len(batch)
            progress(done + sum(each.future.done() for each in work), total)
    for each in work:
        for index, seen in enumerate(each.future.result(), start=each.first):
            views[index] |= seen
        done += 1
        progress(done, total)


def _with_dissect(cases: Sequence[Case], timeout: float) -> list[dict[str, View]]:
    return [{dissect.NAME: view} for view in dissect.views(cases, timeout)]


def _look(case: Case, parsers: Parsers, folder: str, timeout: float) -> list[dict[str, View]]:
    """Return what programs, and imgwriter, see of one case."""
    volume = _volume(case)
    seen = {}
    if parsers.own:
        seen[own.NAME] = own.view(volume, case.sector_size)
    with tempfile.TemporaryDirectory(dir=folder) as private:
        copy = os.path.join(private, _COPY)
        stamp: tuple[int, ...] = ()
        for program, path in parsers.programs:
            if case.sector_size not in program.sector_sizes:
                seen[program.name] = UNASKED
                continue
            stamp = stamp or _copied(volume, copy)
            view = _asked(program, path, os.fsencode(copy), case.sector_size, timeout)
            if _stamp(os.fsencode(copy)) != stamp:
                view = view._replace(wrote=True)
                stamp = ()
            seen[program.name] = view
    return [seen]


def _copied(volume: Volume, copy: str) -> tuple[int, ...]:
    sink.write(volume, copy, workers=1)
    return _stamp(os.fsencode(copy))


def _asked(program: Program, path: str, image: bytes, sector_size: int, timeout: float) -> View:
    environment = None if program.inherits else {**_PLAIN, **program.environment(sector_size)}
    ended = run([path, *program.arguments(image, sector_size)], timeout, environment)
    view = view_of(program, ended, sector_size)
    # The copy's name is another one each time.
    return view._replace(said=view.said.replace(os.fsdecode(image), "IMAGE"))


def _stamp(path: bytes) -> tuple[int, ...]:
    """Return what changes when a file is written to; nothing where it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
