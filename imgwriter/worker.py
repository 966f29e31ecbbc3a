"""Forked processes that do part of the work, and what they and their parent tell each other.

::

    parent ── orders: (code, first, second) and a payload ──> worker
           <── news:   (code, first, second) and a payload ──

Making metadata, reading small files and compressing are work for the interpreter, of which a process does
one piece at a time: two threads take longer than one, two processes little more than half. A worker inherits
the plan and the open output; it sends what it has done, at the end DONE, or FAILED and the error.

Forking is only safe in a process without other threads (a lock that one of them holds would stay locked in
the child): :func:`may_fork` says so.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from imgwriter.errors import ImgwriterError, OutputError, PlanInvariantError
from imgwriter.filedata import Amount

DONE, FAILED, COUNT = -1, -2, -3
"""Codes: nothing follows (of news and of orders); the payload is the error; first bytes and second files are
written. Others, from 0 on, are the business of parent and worker."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HEAD = struct.Struct("=qqqq")
_READ = 1 << 16


class Message(NamedTuple):
    """One message: a code, two numbers and bytes, whose meaning the code tells."""

    code: int
    first: int
    second: int
    payload: bytes

    def packed(self) -> bytes:
        """Return it as it goes through a pipe."""
        return _HEAD.pack(self.code, self.first, self.second, len(self.payload)) + self.payload


class _Inbox:
    """Puts messages together again from what comes out of a pipe."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def add(self, news: bytes) -> Iterator[Message]:
        """Yield the messages that are complete now."""
        self._unread += news
        while len(self._unread) >= _HEAD.size:
            code, first, second, length = _HEAD.unpack_from(self._unread)
            end = _HEAD.size + length
            if len(self._unread) < end:
                return
            payload = bytes(self._unread[_HEAD.size : end])
            del self._unread[:end]
            yield Message(code, first, second, payload)


class Link:
    """A worker's side: what it hears from its parent, and tells it."""

    def __init__(self, orders: int, news: int, parent: int) -> None:
        self._orders = orders
        self._news = news
        self._parent = parent
        self._inbox = _Inbox()

    def tell(self, message: Message) -> None:
        """Tell the parent; end the process if it was killed: nobody wants this output any more."""
        if os.getppid() != self._parent:
            os._exit(1)
        view = memoryview(message.packed())
        while view:
            view = view[os.write(self._news, view) :]

    def count(self, done: Amount) -> None:
        """Tell that so much more is written."""
        self.tell(Message(COUNT, done.bytes, done.files, b""))

    def orders(self) -> Iterator[Message]:
        """Yield the parent's orders, until it dismisses the worker or is gone."""
        while piece := os.read(self._orders, _READ):
            for message in self._inbox.add(piece):
                if message.code == DONE:
                    return
                yield message


class Worker:
    """A forked process, seen from its parent.

    Attributes:
        finished: Whether it has said that all is done.
    """

    def __init__(self, pid: int, orders: int, news: int, name: str) -> None:
        self.pid = pid
        self.finished = False
        self._orders = orders
        self._news = news
        self._name = name
        self._inbox = _Inbox()
        self._outbox = bytearray()
        # A worker that is telling does not listen: to wait for it while it waits for us would never end.
        os.set_blocking(orders, False)

    def order(self, message: Message) -> None:
        """Give an order; it goes out when the pipe has room."""
        self._outbox += message.packed()
        self._send()

    def dismiss(self) -> None:
        """Say that no more orders come."""
        self.order(Message(DONE, 0, 0, b""))

    def _send(self) -> None:
        try:
            del self._outbox[: os.write(self._orders, self._outbox)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._outbox.clear()  # its last words say why

    def _hear(self) -> Iterator[Message]:
        news = os.read(self._news, _READ)
        if not news:
            self.finished = True
            raise OutputError(
                f"{self._name}: a process at work on it was ended from outside, perhaps for want of memory;"
                " try again, with --workers 1 if it goes on",
                self._name,
            )
        for message in self._inbox.add(news):
            if message.code == FAILED:
                error: BaseException = pickle.loads(message.payload)
                raise error
            if message.code == DONE:
                self.finished = True
            yield message

    def end(self) -> None:
        """Make sure that it is gone; one that is not finished is of no use any more."""
        if not self.finished:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self._orders)
        os.close(self._news)
        os.waitpid(self.pid, 0)

    @staticmethod
    def wait(workers: Sequence[Worker], timeout: float | None) -> Iterator[tuple[Worker, Message]]:
        """Yield what the workers say within ``timeout`` seconds (None: as soon as one says something).

        Orders that did not go out yet do so meanwhile.

        Raises:
            ImgwriterError: What ended one of them.
        """
        busy = {w._news: w for w in workers if not w.finished}
        owed = {w._orders: w for w in busy.values() if w._outbox}
        if not busy:
            return
        events = select.poll()  # select(2) knows no descriptor from 1,024 on
        for descriptor in busy:
            events.register(descriptor, select.POLLIN)
        for descriptor in owed:
            events.register(descriptor, select.POLLOUT)
        ready = [descriptor for descriptor, _ in events.poll(None if timeout is None else timeout * 1000)]
        for descriptor in ready:
            if descriptor in owed:
                owed[descriptor]._send()
        for descriptor in ready:
            if descriptor in busy:
                for message in busy[descriptor]._hear():
                    yield busy[descriptor], message


def may_fork() -> bool:
    """Return whether this process has no other threads, the interpreter's or anybody's."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


@contextmanager
def forked(works: Sequence[Callable[[Link], None]], name: str) -> Iterator[list[Worker]]:
    """Run each of ``works`` in a forked process; after the block, none of the processes is there any more.

    Args:
        works: What each process does with its link; then it says DONE and ends.
        name: What the output is called in messages.

    Raises:
        OutputError: There can be no more processes.
    """
    workers: list[Worker] = []
    try:
        for work in works:
            with _signals_held() as usual:  # until the worker is noted down
                workers.append(_fork(work, name, usual))
        yield workers
    finally:
        for worker in workers:
            worker.end()


@contextmanager
def _signals_held() -> Iterator[set[signal.Signals | int]]:
    """Keep the signals that end a build waiting; yield the mask that was before."""
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield usual
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)


def _fork(work: Callable[[Link], None], name: str, usual: set[signal.Signals | int]) -> Worker:
    parent = os.getpid()
    pipes: list[int] = []
    try:
        pipes += os.pipe()
        pipes += os.pipe()
        pid = os.fork()
    except OSError as error:
        for descriptor in pipes:
            os.close(descriptor)
        raise OutputError(
            f"{name}: no second process can be had ({error.strerror}); use --workers 1", name
        ) from error
    heard, order, hear, told = pipes
    if pid == 0:
        # The parent's ends are the parent's alone: else who waits at a pipe would not learn that it is gone.
        os.close(order)
        os.close(hear)
        _child(work, Link(heard, told, parent), usual)
    os.close(heard)
    os.close(told)
    return Worker(pid, order, hear, name)


def _child(work: Callable[[Link], None], link: Link, usual: set[signal.Signals | int]) -> NoReturn:
    """Do the work and end the process; nothing of the parent's is run or cleaned up here."""
    status = 1
    try:
        gc.disable()
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        try:
            work(link)
            link.tell(Message(DONE, 0, 0, b""))
            status = 0
        except BaseException as error:  # the parent raises it
            link.tell(Message(FAILED, 0, 0, pickle.dumps(_sendable(error))))
    finally:
        os._exit(status)


def _sendable(error: BaseException) -> BaseException:
    if isinstance(error, ImgwriterError | MemoryError):
        return error
    # A bug: its traceback is lost with this process, so its text goes along.
    return PlanInvariantError(f"{type(error).__name__} in a worker: {error}")
