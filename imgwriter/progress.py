"""How far long work is, on standard error: seen on a terminal alone, and gone when the work is done.

Each of these is a block's context manager, and gives what the work calls with how far it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgwriter.units import counted

if TYPE_CHECKING:
    from imgwriter.build import Progress
    from imgwriter.filedata import Amount

# One line that each message takes over: carriage return, erase to its end (ECMA-48, EL).
_ANEW = "\r\x1b[K"


@contextmanager
def bar(verb: str, *, quiet: bool) -> Iterator[Progress | None]:
    """Give the function of a bar of bytes and files, None where nobody sees one.

    Args:
        verb: What is being done: "writing".
        quiet: Whether nothing is to be seen.
    """
    if not _seen(quiet):
        yield None
        return
    # rich takes a fifth of a second to import, so only where a bar is seen.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )
    # Drawn when the writer calls, not by a thread: a process with threads could not fork workers.
    with Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as drawn:
        task = drawn.add_task(verb, total=None)

        def show_progress(done: Amount, total: Amount) -> None:
            files = f"{verb}, {done.files:,} of {counted(total.files, 'file')}" if total.files else verb
            drawn.update(task, description=files, completed=done.bytes, total=total.bytes, refresh=True)

        yield show_progress


@contextmanager
def stages(*, quiet: bool) -> Iterator[Callable[[str], None] | None]:
    """Give a function that shows the stage of a guest, None where nobody sees it."""
    if not _seen(quiet):
        yield None
        return

    def show_stage(stage: str) -> None:
        sys.stderr.write(f"{_ANEW}guest: {stage} ...")
        sys.stderr.flush()

    try:
        yield show_stage
    finally:
        sys.stderr.write(_ANEW)
        sys.stderr.flush()


@contextmanager
def count(verb: str, what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many of how many are done; it does nothing where nobody sees it.

    Args:
        verb: What is being done: "asking".
        what: What is counted: "answers".
        quiet: Whether nothing is to be seen.
    """
    if not _seen(quiet):
        yield lambda done, total: None
        return

    def show_count(done: int, total: int) -> None:
        sys.stderr.write(f"\r{verb}: {done:,} of {total:,} {what} ")
        sys.stderr.flush()

    try:
        yield show_count
    finally:
        sys.stderr.write(_ANEW)


def _seen(quiet: bool) -> bool:
    return not quiet and sys.stderr.isatty()
