"""Spread a Volume's extents over a few processes.

::

    extents ──jobs──> jobs ──share──┬─> this process        ──┐ pwrite, copy_file_range
                                    └─> a forked child, ... ──┴──> the file
                                         └─ a pipe: bytes done, at the end "done" or the error

Making metadata and reading small files is work for the interpreter, of which a process does one piece
at a time: two threads take longer than one, two processes little more than half. A child inherits the
plan and the open output, writes its share, and ends; the shares are fixed before the fork, by an
estimate of their cost, so that nothing is shared but the file. Each byte is written at its own offset:
who writes it does not show.

Forking is only safe in a process without other threads (a lock that one of them holds would stay
locked in the child), so where there are some, everything is done here, one job after the other.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, TypeAlias

from imgwriter.errors import ImgwriterError, OutputError, PlanInvariantError
from imgwriter.extent import CHUNK, Buffer, Data, Extent, Volume
from imgwriter.filedata import FILE_BACKED, Packed
from imgwriter.sink.target import IOV_MAX, Abilities, Target

Progress: TypeAlias = Callable[[int], None]
Job: TypeAlias = Sequence[Extent]

WORKERS = 2
"""Processes by default. More do not pay: the kernel lets one at a time write into a file."""

_INTERVAL = 0.2
"""Seconds between two calls of ``progress``."""

_SMALL = 8 << 20
"""Bytes that are not worth a fork."""

# Nanoseconds, to share out the work: measured on /usr/share, warm; only their proportions matter.
_COST_PART = 6000
_COST_COPIED = 0.7
_COST_COMPUTED = 15

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_COUNT = struct.Struct("=q")
_DONE, _FAILED = -1, -2


def write_extents(fd: int, volume: Volume, name: str, progress: Progress | None, workers: int) -> None:
    """Write every extent of ``volume`` at its offset in ``fd``; the file's size is set already.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    if volume.allocated < _SMALL or not _may_fork():
        workers = 1
    own, *others = share(jobs(volume.extents), workers)
    tally = _Tally(progress)
    children: list[_Child] = []
    try:
        for each in others:
            with _signals_held() as usual:  # until the child is noted down
                children.append(_fork(fd, name, each, usual))
            tally.watch(children[-1])
        _run(fd, name, own, tally.add)
        for child in children:
            while not child.finished:
                tally.poll(_INTERVAL)
    finally:
        for child in children:
            child.end()
    tally.report(final=True)


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
        return any(_is_backed(part) for _, part, _ in data.parts[:1])
    return isinstance(data, FILE_BACKED)


def _may_fork() -> bool:
    """Return whether this process has no other threads, the interpreter's or anybody's."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


class _Tally:
    """Adds up what all workers have written, and tells ``progress``."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.done = 0
        self.children: list[_Child] = []
        self.told = time.monotonic()

    def watch(self, child: _Child) -> None:
        self.children.append(child)

    def add(self, count: int) -> None:
        """Count bytes that this process wrote; hear what the others did."""
        self.done += count
        self.poll(0)

    def poll(self, timeout: float) -> None:
        """Wait for the children's news, at most ``timeout`` seconds; raise the first error of any."""
        waiting = [c for c in self.children if not c.finished]
        if waiting:
            ready, _, _ = select.select(waiting, [], [], timeout)
            for child in ready:
                self.done += child.hear()
        self.report()

    def report(self, final: bool = False) -> None:
        now = time.monotonic()
        if self.progress and (final or now - self.told >= _INTERVAL):
            self.told = now
            self.progress(self.done)


class _Child:
    """A forked worker, seen from its parent."""

    def __init__(self, pid: int, pipe: int, name: str) -> None:
        self.pid = pid
        self.pipe = pipe
        self.name = name
        self.finished = False
        self._unread = b""

    def fileno(self) -> int:
        """The pipe, for select."""
        return self.pipe

    def hear(self) -> int:
        """Read what it has to say; return the bytes that it wrote meanwhile, or raise its error."""
        news = os.read(self.pipe, 65536)
        self._unread += news
        if not news:
            raise self._last_words()
        count = 0
        while len(self._unread) >= _COUNT.size:
            (value,) = _COUNT.unpack_from(self._unread)
            if value == _DONE:
                self.finished = True
                break
            if value == _FAILED:
                break  # the error follows, up to the end of the file
            count += value
            self._unread = self._unread[_COUNT.size :]
        return count

    def _last_words(self) -> BaseException:
        self.finished = True
        if self._unread[: _COUNT.size] == _COUNT.pack(_FAILED):
            error: BaseException = pickle.loads(self._unread[_COUNT.size :])
            return error
        return OutputError(
            f"{self.name}: a process that wrote it was ended from outside, perhaps for want of memory;"
            " build again, with --workers 1 if it goes on",
            self.name,
        )

    def end(self) -> None:
        """Make sure that it is gone; one that is not finished is of no use any more."""
        if not self.finished:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.pipe)
        os.waitpid(self.pid, 0)


@contextmanager
def _signals_held() -> Iterator[set[signal.Signals | int]]:
    """Keep the signals that end a build waiting; yield the mask that was before."""
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield usual
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)


def _fork(fd: int, name: str, todo: Sequence[Job], usual: set[signal.Signals | int]) -> _Child:
    mine, theirs = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(mine)
        os.close(theirs)
        raise OutputError(
            f"{name}: no second process can be had ({error.strerror}); use --workers 1", name
        ) from error
    if pid == 0:
        _child(fd, name, todo, theirs, parent, usual)
    os.close(theirs)
    return _Child(pid, mine, name)


def _child(
    fd: int, name: str, todo: Sequence[Job], pipe: int, parent: int, usual: set[signal.Signals | int]
) -> NoReturn:
    """Do the jobs and end the process; nothing of the parent's is run or cleaned up here."""
    status = 1
    try:
        gc.disable()
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)

        def tell(count: int) -> None:
            if os.getppid() != parent:
                os._exit(1)  # the parent was killed: nobody wants this file any more
            os.write(pipe, _COUNT.pack(count))

        try:
            _run(fd, name, todo, tell)
            os.write(pipe, _COUNT.pack(_DONE))
            status = 0
        except BaseException as error:  # the parent raises it
            _tell_error(pipe, error)
    finally:
        os._exit(status)


def _tell_error(pipe: int, error: BaseException) -> None:
    if not isinstance(error, ImgwriterError):
        # A bug: its traceback is lost with this process, so its text goes along.
        error = PlanInvariantError(f"{type(error).__name__} in a worker: {error}")
    view = memoryview(_COUNT.pack(_FAILED) + pickle.dumps(error))
    while view:
        view = view[os.write(pipe, view) :]


def _run(fd: int, name: str, todo: Sequence[Job], check: Callable[[int], None]) -> None:
    target = Target(fd, name, Abilities(), check)
    try:
        writer = _ExtentWriter(target)
        for job in todo:
            writer.run(job)
    finally:
        target.close()


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
            if isinstance(e.data, FILE_BACKED):
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
