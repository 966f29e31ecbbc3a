"""Ask all parsers about all cases.

::

    threads, one a processor    a case at a time: copy it, run each program on the copy, look at the copy
    this thread, meanwhile      the guest, some hundred cases at a time

Threads: what takes the time is other processes. The copies are in a directory of their own, so that a parser
that looks for ``IMAGE1`` beside its image finds nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

from imgwriter import sink
from imgwriter.errors import SourceChangedError, show
from imgwriter.extent import Volume
from imgwriter.fuzz.compare import dissect, kernel, own
from imgwriter.fuzz.compare.finding import PLAIN, Parsers
from imgwriter.fuzz.compare.normal import Records, normal, normal_expected, records_of
from imgwriter.fuzz.compare.parsers.program import Program, view_of
from imgwriter.fuzz.compare.run import run
from imgwriter.fuzz.compare.values import UNASKED, Case, Corpus, View
from imgwriter.readers import open_image

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many answers are there, and how many there will be."""

DEFAULT_TIMEOUT = 2.0
"""Seconds for one parser and one image; the slowest that was measured takes 0.01."""

_DISSECT_BATCH = 100

_COPY = "disk"


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
        parsers: From :func:`imgwriter.fuzz.compare.finding.find_parsers`.
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
    environment = None if program.inherits else {**PLAIN, **program.environment(sector_size)}
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
