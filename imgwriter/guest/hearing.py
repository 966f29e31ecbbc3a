"""What a guest says, as it comes in pieces: lines of status, and the last of a log."""

from __future__ import annotations

import time
from collections.abc import Callable

from imgwriter.errors import show
from imgwriter.guest.request import MAX_LOG
from imgwriter.guest.verdict import Facts

Progress = Callable[[str], None]
"""Called with the name of each stage when it begins."""

_MAX_STATUS = 4096
"""Bytes of a line of status; the rest of a longer one is left out."""

_MAX_STAGES = 64
"""Stages of names of their own that are told; a job has a dozen, and a guest may say what it likes."""

_MARK = b"\x01"
"""What a line of status begins with on a port that it shares with the log."""


class Tail:
    """The last bytes of a stream."""

    def __init__(self, limit: int = MAX_LOG) -> None:
        self._limit = limit
        self._kept = bytearray()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._kept += piece
        if len(self._kept) > 2 * self._limit:  # seldom: each time costs a copy
            del self._kept[: -self._limit]

    def lines(self) -> tuple[str, ...]:
        """Return them as lines that can be printed."""
        kept = bytes(self._kept[-self._limit :])
        return tuple(show(line.rstrip(b"\r")) for line in kept.split(b"\n") if line.strip())


class Status:
    """The lines of the status port: ``stage NAME``, ``failed NAME``, ``exit N``, ``fail WHY``.

    Args:
        facts: Where they are noted down.
        progress: Told of each stage.
    """

    def __init__(self, facts: Facts, progress: Progress | None) -> None:
        self.stages: dict[str, float] = {}
        self._facts = facts
        self._progress = progress
        self._line = bytearray()
        self._since = time.monotonic()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._line += part[:_MAX_STATUS]
            self.hear(bytes(self._line[:_MAX_STATUS]))
            self._line.clear()
        self._line += rest[: _MAX_STATUS - len(self._line)]

    def hear(self, line: bytes) -> None:
        """Note one line down; what is none of these is nothing."""
        word, _, text = line.partition(b" ")
        if word == b"stage":
            name = show(text)
            if name in self.stages or len(self.stages) + 1 < _MAX_STAGES:  # the present one is not there yet
                self.begin(name)
        elif word == b"failed":
            self._facts.failed = show(text)
        elif word == b"fail":
            self._facts.failure = show(text)
        elif word == b"exit" and text.isdigit() and len(text) <= 3:
            self._facts.status = int(text)

    def begin(self, stage: str) -> None:
        """Note down that a stage begins."""
        self.settle()
        self._facts.stage = stage
        if self._progress is not None:
            self._progress(stage)

    def settle(self) -> None:
        """Add the time that has passed to the stage that it belongs to."""
        now = time.monotonic()
        self.stages[self._facts.stage] = self.stages.get(self._facts.stage, 0.0) + now - self._since
        self._since = now


class Shared:
    """A stream of log and status together: a serial port.

    Args:
        log: Where the log goes.
        status: Where the lines of status go.
    """

    def __init__(self, log: Tail, status: Status) -> None:
        self._log = log
        self._status = status
        self._line = bytearray()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._end_line(bytes(self._line + part))
            self._line.clear()
        self._line += rest
        if len(self._line) > MAX_LOG:
            self._end_line(bytes(self._line))
            self._line.clear()

    def _end_line(self, line: bytes) -> None:
        if line.startswith(_MARK):
            self._status.hear(line[1:].rstrip(b"\r")[:_MAX_STATUS])
        else:
            self._log.feed(line + b"\n")
