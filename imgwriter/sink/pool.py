"""Spread a Volume's extents over a few processes.

::

    extents ──jobs──> jobs ──share──┬─> this process        ──┐ pwrite, copy_file_range
                                    └─> a forked worker, ... ─┴──> the file

The shares are fixed before the fork, by an estimate of their cost, so that nothing is shared but the file.
Each byte is written at its own offset: who writes it does not show. Where this process may not fork,
everything is done here, one job after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

from imgwriter.extent import CHUNK, Data, Extent, Volume
from imgwriter.filedata import FILE_BACKED, Amount, Packed
from imgwriter.sink.tally import Progress, Tally
from imgwriter.sink.target import IOV_MAX
from imgwriter.sink.writer import write_all
from imgwriter.worker import COUNT, Link, Worker, forked, may_fork

Job: TypeAlias = Sequence[Extent]

WORKERS = 2
"""Processes by default. More do not pay: the kernel lets one at a time write into a file."""

_SMALL = 8 << 20
"""Bytes that are not worth a fork."""

# Nanoseconds, to share out the work: measured on /usr/share, warm; only their proportions matter.
_COST_PART = 6000
_COST_COPIED = 0.7
_COST_COMPUTED = 15

_POLL = 0.2
"""Seconds that a worker is waited for at a time, so that ``progress`` is called meanwhile."""


def write_extents(fd: int, volume: Volume, name: str, progress: Progress | None, workers: int) -> None:
    """Write every extent of ``volume`` at its offset in ``fd``; the file's size is set already.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    if volume.allocated < _SMALL or not may_fork():
        workers = 1
    todo = jobs(volume.extents)
    own, *others = share(todo, min(workers, len(todo)))
    tally = Tally(progress)
    with forked([partial(_work, fd, name, each) for each in others], name) as helpers:

        def count(size: int, files: int) -> None:
            tally.add(size, files)
            _hear(helpers, tally, 0)

        write_all(fd, name, own, count)
        while not all(helper.finished for helper in helpers):
            _hear(helpers, tally, _POLL)
    tally.report()


def _work(fd: int, name: str, todo: Sequence[Job], link: Link) -> None:
    write_all(fd, name, todo, lambda size, files: link.count(Amount(size, files)))


def _hear(helpers: Sequence[Worker], tally: Tally, timeout: float) -> None:
    for _, message in Worker.wait(helpers, timeout):
        if message.code == COUNT:
            tally.add(message.first, message.second)
    tally.add(0, 0)


def jobs(extents: Sequence[Extent]) -> list[Job]:
    """Return jobs of up to CHUNK bytes or IOV_MAX extents, of one kind each, computed ones first.

    A larger extent is a job of its own.
    """
    result: list[Job] = []
    for is_backed in (False, True):
        batch: list[Extent] = []
        size = 0
        for e in extents:
            if _is_backed(e.data) is not is_backed:
                continue
            if batch and (size + e.length > CHUNK or len(batch) == IOV_MAX):
                result.append(batch)
                batch, size = [], 0
            batch.append(e)
            size += e.length
        if batch:
            result.append(batch)
    return result


def share(todo: Sequence[Job], workers: int) -> list[list[Job]]:
    """Return each worker's jobs, in disk order: the dearest job first, to whom has the least so far."""
    shares: list[list[tuple[int, Job]]] = [[] for _ in range(max(workers, 1))]
    loads = [0.0] * len(shares)
    costs = [cost(job) for job in todo]
    for index in sorted(range(len(todo)), key=lambda i: -costs[i]):
        least = loads.index(min(loads))
        loads[least] += costs[index]
        shares[least].append((index, todo[index]))
    return [[job for _, job in sorted(each, key=lambda pair: pair[0])] for each in shares]


def cost(job: Job) -> float:
    """Return about how long a job takes, in nanoseconds of some machine."""
    total = 0.0
    for e in job:
        parts = len(e.data.parts) if isinstance(e.data, Packed) else 1
        per_byte = _COST_COPIED if _is_backed(e.data) else _COST_COMPUTED
        total += parts * _COST_PART + e.length * per_byte
    return total


def _is_backed(data: Data) -> bool:
    if isinstance(data, Packed):
        return any(_is_backed(part) for _, _, part, _ in data.parts[:1])
    return isinstance(data, FILE_BACKED)
