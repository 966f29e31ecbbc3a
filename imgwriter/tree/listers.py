"""List directories in two processes: this one, and a forked one that sends what it found.

::

    directories to list ─┬─> here      ─────────────┬─> (directory, its rows)
                         └─> a worker: rows, marshalled ┘

System calls about names are most of a scan's time, and need nothing but a path. Who lists a directory does
not show: rows come with the directory they belong to. Whatever goes wrong in the worker, the directory is
listed here again, and the error is raised here; where there can be no worker, or it is killed, all is listed
here.
"""

from __future__ import annotations

import marshal
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import chain
from typing import Generic, TypeVar

from imgwriter.errors import ImgwriterError, OutputError
from imgwriter.tree.listing import Directory, Row, list_directory
from imgwriter.tree.rules import SourceRules
from imgwriter.worker import Link, Message, Worker, forked, may_fork

T = TypeVar("T")

_BATCH = 64
"""Directories given away at a time, at most: many, since this process has the inodes to make as well."""

_WORTH = 8
"""Directories that are worth a message."""

_BATCHES = 2
"""Batches that are given away and not back: the next one is there when the worker is through with one."""

_PAYS_FROM = 64
"""Directories to list that are worth a fork: some thousand files."""

_LIST, _ROWS = 0, 1


class Listers(Generic[T]):
    """Directories to list, each with what its rows are for.

    Args:
        rules: What is left out.
    """

    def __init__(self, rules: SourceRules) -> None:
        self._rules = rules
        self._todo: deque[tuple[T, Directory]] = deque()
        self._away: deque[list[tuple[T, Directory]]] = deque()
        self._workers: list[Worker] = []
        self._may_fork = True

    def add(self, owner: T, directory: Directory) -> None:
        """Have a directory listed; to be called between two turns of :meth:`listed`, too."""
        self._todo.append((owner, directory))

    def listed(self) -> Iterator[tuple[T, Directory, list[Row]]]:
        """Yield each directory with its rows, in any order, until there are no more.

        Level by level, roughly: so there are soon enough to share.

        Raises:
            SourceError: One cannot be read, or (SourceChangedError) changed meanwhile.
        """
        with ExitStack() as stack:
            while self._todo or self._away:
                self._give_away(stack)
                if self._todo:
                    owner, directory = self._todo.popleft()
                    yield owner, directory, list_directory(directory, self._rules)
                if self._away:
                    yield from self._taken_back(0 if self._todo else None)

    def _give_away(self, stack: ExitStack) -> None:
        if self._may_fork and len(self._todo) >= _PAYS_FROM:
            self._may_fork = False
            with suppress(OutputError):  # there can be no more processes
                if may_fork():
                    self._workers = stack.enter_context(forked([self._work], "the listing of a tree"))
        while self._workers and len(self._away) < _BATCHES:
            # Half of what there is: neither has nothing to do while the other has much.
            size = min(_BATCH, len(self._todo) // 2)
            if size < _WORTH:
                return
            batch = [self._todo.popleft() for _ in range(size)]
            self._away.append(batch)
            payload = marshal.dumps([(d.path, d.inside, tuple(d.before)) for _, d in batch])
            self._workers[0].order(Message(_LIST, 0, 0, payload))

    def _taken_back(self, timeout: float | None) -> Iterator[tuple[T, Directory, list[Row]]]:
        try:
            messages = [message for _, message in Worker.wait(self._workers, timeout)]
        except OutputError:  # it was killed: what it did not tell is to be done again
            self._workers = []
            self._todo.extend(chain.from_iterable(self._away))
            self._away.clear()
            return
        for message in messages:
            batch = self._away.popleft()
            for (owner, directory), rows in zip(batch, marshal.loads(message.payload), strict=True):
                yield owner, directory, list_directory(directory, self._rules) if rows is None else rows

    def _work(self, link: Link) -> None:
        for order in link.orders():
            found = [self._rows(Directory(*words)) for words in marshal.loads(order.payload)]
            link.tell(Message(_ROWS, 0, 0, marshal.dumps(found)))

    def _rows(self, directory: Directory) -> list[Row] | None:
        try:
            return list_directory(directory, self._rules)
        except ImgwriterError:
            return None
