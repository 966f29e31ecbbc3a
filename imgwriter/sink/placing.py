"""Write what is Deferred: jobs are made side by side, and placed one after the other.

::

    parent                          workers
      make 0, make 1, ... ────────>   read, compress; keep the bytes
      lengths of 1, of 0  <────────   each job's lengths, whichever is made first
      place 0, then 1 ────────────>   offsets: write the bytes
      count               <────────   bytes done

The parent alone knows where the next job begins, and never sees its bytes. A job is given out only when it is
near enough to those that are placed, so that few wait in memory for an offset.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import partial

from imgwriter.deferred import Deferred, Made, Placer
from imgwriter.errors import PlanInvariantError
from imgwriter.extent import Buffer, Volume
from imgwriter.sink.pool import write_extents
from imgwriter.sink.tally import Progress, Tally
from imgwriter.sink.target import IOV_MAX, Target, Written, set_size
from imgwriter.worker import COUNT, Link, Message, Worker, forked, may_fork

_MAKE, _PLACE, _LENGTHS = 0, 1, 2
"""Codes: make job ``first``; write job ``first`` at the offsets in the payload; these are its lengths."""

_QUEUE = 2
"""Orders to make that a worker has at a time: the next one is there when it is through with one."""

_AHEAD = 4
"""Jobs a worker that may be made or in the making beyond those that are placed."""

_POLL = 0.2


def write_deferred(
    fd: int, deferred: Deferred, name: str, progress: Progress | None, workers: int
) -> Written:
    """Make and write all jobs into an open, empty, regular file, then the rest of it; set its size.

    Args:
        fd: A descriptor open for writing; it stays open.
        deferred: What to write.
        name: What to call the file in messages.
        progress: Called in the calling thread with the share of the input that is written.
        workers: Processes that make jobs; with 1, or where this process may not fork, it does so itself.

    Returns:
        What the file is: its size, and the bytes that were written.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    tally = Tally(progress)
    placed = _Placed(deferred)
    if workers == 1 or deferred.count < 2 or not may_fork():
        rest = _alone(fd, deferred, name, placed, tally)
    else:
        rest = _together(fd, deferred, name, placed, tally, workers)
    set_size(fd, rest.size, name)
    write_extents(fd, rest, name, None, 1)
    tally.report()
    return Written(rest.size, rest.allocated + sum(map(sum, placed.lengths)))


class _Placed:
    """Places jobs in their order, however they come in."""

    def __init__(self, deferred: Deferred) -> None:
        self.lengths: list[Sequence[int]] = []
        self.offsets: list[Sequence[int]] = []
        self._place: Placer = deferred.placer()
        self._waiting: dict[int, Sequence[int]] = {}

    @property
    def count(self) -> int:
        """How many jobs are placed."""
        return len(self.offsets)

    def add(self, job: int, lengths: Sequence[int]) -> range:
        """Take one job's lengths; return the jobs that are placed by it."""
        self._waiting[job] = lengths
        first = self.count
        while self.count in self._waiting:
            ready = self._waiting.pop(self.count)
            self.lengths.append(ready)
            self.offsets.append(self._place(ready))
        return range(first, self.count)


def _alone(fd: int, deferred: Deferred, name: str, placed: _Placed, tally: Tally) -> Volume:
    target = Target(fd, name)
    try:
        for job in range(deferred.count):
            made = deferred.make(job)
            placed.add(job, made.lengths)
            _write(target, made, placed.offsets[job])
            tally.add(*deferred.weight(job))
    finally:
        target.close()
    return deferred.finish(placed.lengths, placed.offsets)


def _together(fd: int, deferred: Deferred, name: str, placed: _Placed, tally: Tally, workers: int) -> Volume:
    todo = deferred.count
    works = [partial(_work, fd, deferred, name)] * min(workers, todo)
    with forked(works, name) as helpers:
        makers: dict[int, Worker] = {}
        queued = dict.fromkeys(range(len(helpers)), 0)
        numbers = {helper.pid: number for number, helper in enumerate(helpers)}

        def hand_out() -> None:
            """Give each worker what it has room for, the next jobs to those with the fewest."""
            while len(makers) < min(todo, placed.count + _AHEAD * len(helpers)):
                number = min(queued, key=lambda n: queued[n])
                if queued[number] == _QUEUE:
                    return
                queued[number] += 1
                job = len(makers)
                makers[job] = helpers[number]
                helpers[number].order(Message(_MAKE, job, 0, b""))

        hand_out()
        while placed.count < todo:
            for helper, message in Worker.wait(helpers, _POLL):
                if message.code == _LENGTHS:
                    queued[numbers[helper.pid]] -= 1
                    for job in placed.add(message.first, array("Q", message.payload)):
                        offsets = array("Q", placed.offsets[job]).tobytes()
                        makers[job].order(Message(_PLACE, job, 0, offsets))
                    hand_out()
                else:
                    _count(message, tally)
            tally.add(0, 0)
        for helper in helpers:
            helper.dismiss()
        # While they write what was placed last.
        rest = deferred.finish(placed.lengths, placed.offsets)
        while not all(helper.finished for helper in helpers):
            for _, message in Worker.wait(helpers, _POLL):
                _count(message, tally)
    return rest


def _count(message: Message, tally: Tally) -> None:
    if message.code == COUNT:
        tally.add(message.first, message.second)


def _work(fd: int, deferred: Deferred, name: str, link: Link) -> None:
    """Do what the parent orders; a job's bytes are kept from when they are made until they are placed."""
    kept: dict[int, Made] = {}
    target = Target(fd, name)
    for order in link.orders():
        job = order.first
        if order.code == _MAKE:
            kept[job] = _owned(deferred.make(job))
            link.tell(Message(_LENGTHS, job, 0, array("Q", kept[job].lengths).tobytes()))
        else:
            _write(target, kept.pop(job), array("Q", order.payload))
            link.count(deferred.weight(job))


def _owned(made: Made) -> Made:
    """Return a job whose bytes stay when the next one is made."""
    return made._replace(buffers=[bytes(b) if isinstance(b, memoryview) else b for b in made.buffers])


def _write(target: Target, made: Made, offsets: Sequence[int]) -> None:
    """Write a job's units at their offsets, those that follow each other in one call."""
    buffers = iter(made.buffers)
    batch: list[Buffer] = []
    start = end = 0
    for length, offset in zip(made.lengths, offsets, strict=True):
        if not length:
            continue
        if batch and (offset != end or len(batch) == IOV_MAX):
            target.write(batch, start)
            batch = []
        if not batch:
            start = offset
        batch.append(_whole(next(buffers), length))
        end = offset + length
    if batch:
        target.write(batch, start)


def _whole(buffer: Buffer, length: int) -> Buffer:
    if len(buffer) != length:
        raise PlanInvariantError(f"a unit of {length} bytes has {len(buffer)}")
    return buffer
