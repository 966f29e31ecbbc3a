"""What is written so far, and who wants to know."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from imgwriter.filedata import Amount

Progress: TypeAlias = Callable[[Amount], None]
"""Called with all that is written by now."""

_INTERVAL = 0.2
"""Seconds between two calls of ``progress``."""


class Tally:
    """Adds up what all workers have written, and tells ``progress`` a few times a second."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._bytes = self._files = 0
        self._told = time.monotonic()

    def add(self, size: int, files: int) -> None:
        """Count bytes and files."""
        self._bytes += size
        self._files += files
        if self._progress and time.monotonic() - self._told >= _INTERVAL:
            self.report()

    def report(self) -> None:
        """Tell now."""
        self._told = time.monotonic()
        if self._progress:
            self._progress(Amount(self._bytes, self._files))
