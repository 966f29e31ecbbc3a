"""``dissect.volume``, a reader in Python: one interpreter looks at many images.

It is started anew behind an image that it died of, or did not end with.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import metadata, resources

from imgwriter.fuzz.compare.parsers.program import shown
from imgwriter.fuzz.compare.run import Ended, run
from imgwriter.fuzz.compare.values import Case, Part, View

NAME = "dissect"

_START = 20.0
"""Seconds for the interpreter and its imports, on a busy machine."""

_OUTPUT_OF_ONE = 128 << 10


def version() -> str | None:
    """Return the version of the package; None where it is not installed."""
    try:
        return metadata.version("dissect.volume")
    except metadata.PackageNotFoundError:
        return None


def views(cases: Sequence[Case], timeout: float) -> list[View]:
    """Return what it sees of each case. It only opens them for reading.

    Args:
        cases: The images.
        timeout: Seconds for each.

    Raises:
        OSError: Python cannot be started.
    """
    seen: list[View] = []
    while len(seen) < len(cases):
        rest = cases[len(seen) :]
        ended = _run(rest, timeout)
        answered = [_view(json.loads(line)) for line in ended.out.splitlines() if line.endswith("}")]
        seen += answered[: len(rest)]
        if len(answered) < len(rest):
            seen.append(_of_the_one_it_died_of(ended))
    return seen


def _run(cases: Sequence[Case], timeout: float) -> Ended:
    worker = resources.files("imgwriter.fuzz.compare.parsers").joinpath("dissect_worker.py")
    words: list[str | bytes] = [sys.executable, str(worker), str(timeout)]
    for case in cases:
        words += [str(case.sector_size), os.path.abspath(case.path)]
    return run(words, _START + timeout * len(cases), max_output=_OUTPUT_OF_ONE * len(cases))


def _of_the_one_it_died_of(ended: Ended) -> View:
    if ended.status in (None, -signal.SIGALRM):
        return View("timeout")
    last = ended.err.strip().splitlines()[-1:] or [f"exit status {ended.status}"]
    return View("crash", said=f"signal {-ended.status}" if (ended.status or 0) < 0 else shown(last[0]))


def _view(answer: dict[str, object]) -> View:
    kind, rows = answer["table"], answer.get("partitions", ())
    if kind is None or not isinstance(rows, list):
        return View("none", said=shown(str(answer.get("said", ""))))
    return View("table", str(kind), None, tuple(Part(*row) for row in rows))
