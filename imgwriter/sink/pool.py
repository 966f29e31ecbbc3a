"""Spread a Volume's extents over a few threads.

::

    extents ──jobs()──┬─> computed  ─┬─ worker 0: computed first, then file-backed
                      └─> file-backed┴─ worker 1: file-backed first, then computed

Reading and writing are system calls, which release the interpreter's lock: one worker copies files
while the other produces metadata. Only one of them writes at a time (Abilities.writing): a file has
one lock in the kernel, and waiting for that one burns a processor. The main thread only waits, so a
signal's exception arises there at once; it, and the first error of any worker, stops all of them at
their next step.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from imgwriter.errors import PlanInvariantError
from imgwriter.extent import CHUNK, Buffer, Data, Extent, Volume
from imgwriter.filedata import FileSlice, HandleSlice, Packed
from imgwriter.sink.target import IOV_MAX, Abilities, Stopped, Target

Progress: TypeAlias = Callable[[int], None]
Job: TypeAlias = Sequence[Extent]

THREADS = 2
"""Workers by default: one that copies, one that computes."""

_INTERVAL = 0.2
"""Seconds between two calls of ``progress``."""


def write_extents(fd: int, volume: Volume, name: str, progress: Progress | None, threads: int) -> None:
    """Write every extent of ``volume`` at its offset in ``fd``; the file's size is set already.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    computed, backed = jobs(volume.extents)
    shared = _Shared((deque(computed), deque(backed)))
    workers = [
        threading.Thread(target=_work, args=(shared, index, fd, name), name=f"sink-{index}", daemon=True)
        for index in range(max(threads, 1))
    ]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(_INTERVAL)
                if progress:
                    progress(sum(shared.done.values()))
    finally:
        shared.stop = True
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    if shared.error is not None:
        raise shared.error
    if progress:
        progress(sum(shared.done.values()))


def jobs(extents: Sequence[Extent]) -> tuple[list[Job], list[Job]]:
    """Return (computed, file-backed) jobs of up to CHUNK bytes or IOV_MAX extents each, in disk order.

    A larger extent is a job of its own.
    """
    computed: list[Job] = []
    backed: list[Job] = []
    for is_backed, into in ((False, computed), (True, backed)):
        batch: list[Extent] = []
        size = 0
        for e in extents:
            if _is_backed(e.data) is not is_backed:
                continue
            if batch and (size + e.length > CHUNK or len(batch) == IOV_MAX):
                into.append(batch)
                batch, size = [], 0
            batch.append(e)
            size += e.length
        if batch:
            into.append(batch)
    return computed, backed


def _is_backed(data: Data) -> bool:
    if isinstance(data, Packed):
        return any(_is_backed(part) for _, part, _ in data.parts[:1])
    return isinstance(data, FileSlice | HandleSlice)


class _Shared:
    """What the workers of one write have in common."""

    __slots__ = ("abilities", "done", "error", "queues", "stop")

    def __init__(self, queues: tuple[deque[Job], deque[Job]]) -> None:
        self.queues = queues
        self.abilities = Abilities()
        self.done: dict[int, int] = {}
        self.error: BaseException | None = None
        self.stop = False


def _work(shared: _Shared, index: int, fd: int, name: str) -> None:
    """Run jobs until there are none left, or until the write is stopped."""

    def check(count: int) -> None:
        shared.done[index] = shared.done.get(index, 0) + count
        if shared.stop:
            raise Stopped

    try:
        target = Target(fd, name, shared.abilities, check)
        try:
            writer = _ExtentWriter(target)
            for queue in (shared.queues[index % 2], shared.queues[1 - index % 2]):
                for job in _drain(queue):
                    writer.run(job)
        finally:
            target.close()
    except Stopped:
        pass
    except BaseException as error:  # the calling thread raises it
        shared.error = shared.error or error
        shared.stop = True


def _drain(queue: deque[Job]) -> Iterator[Job]:
    while True:
        try:
            yield queue.popleft()
        except IndexError:
            return


class _ExtentWriter:
    """One worker's way of writing extents, with its buffers."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.buffer = memoryview(b"")
        self.pending: list[Buffer] = []
        self.pending_start = 0
        self.pending_end = 0

    def run(self, job: Job) -> None:
        """Write all extents of a job."""
        for e in job:
            if isinstance(e.data, FileSlice | HandleSlice):
                self.target.copy(e.data, e.data_start, e.length, e.start)
            elif isinstance(e.data, Packed) and e.length == e.data.length:
                self._write_packed(e.data, e.start)
            else:
                self._write_chunks(e)
        self._flush()

    def _write_packed(self, data: Packed, start: int) -> None:
        if len(self.buffer) < data.length:
            self.buffer = memoryview(bytearray(data.length))
        view = self.buffer[: data.length]
        data.read_into(view)
        self.target.write((view,), start)
        self.target.check(data.length)

    def _write_chunks(self, e: Extent) -> None:
        """Collect what one piece holds; write longer data piece by piece, as a piece lives till the next."""
        position = e.start
        for piece in e.data.chunks(e.data_start, e.data_start + e.length):
            if len(piece) > e.end - position:
                raise PlanInvariantError(f"{e.label} gave more than its {e.length} bytes")
            self._append(piece, position)
            position += len(piece)
            if len(piece) < e.length:
                self._flush()
        if position != e.end:
            raise PlanInvariantError(f"{e.label} gave {position - e.start} of its {e.length} bytes")

    def _append(self, piece: Buffer, start: int) -> None:
        if start != self.pending_end or len(self.pending) == IOV_MAX:
            self._flush()
        if not self.pending:
            self.pending_start = start
        self.pending.append(piece)
        self.pending_end = start + len(piece)

    def _flush(self) -> None:
        if self.pending:
            self.target.write(self.pending, self.pending_start)
            self.target.check(self.pending_end - self.pending_start)
            self.pending = []
