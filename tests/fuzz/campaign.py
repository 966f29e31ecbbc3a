"""What all campaigns against imgwriter's readers share: each input is watched, a row says how a reader fared.

::

    run.py            fields set at random ─┐
    by_hypothesis.py  what Hypothesis draws ┼──> Tally.run(input) ──> Outcome ──> row
    harness.py        what libFuzzer finds ─┘

A crash is any exception that is no ImgwriterError; also an input that takes more than a second or more than
256 MiB. Times are the processor's, so that other work on the machine does not count. The memory of an input
is what is resident at the worst moment less what was before it, as Linux tells.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeAlias

from imgwriter.errors import ImgwriterError
from imgwriter.units import MiB
from tests.fuzz.targets import TARGETS, seeds

MOST_SECONDS = 1.0
MOST_MEMORY = 256 * MiB

HEADINGS = "reader      inputs  accepted    CPU s  a second  worst ms  MiB at once  MiB more  crashes"


class TooMuch(Exception):
    """An input took more time or memory than any may."""


class Outcome(NamedTuple):
    """How a reader fared.

    Attributes:
        seconds, worst: Of processor time: of the campaign with what makes the inputs, and of the worst input.
        at_once: Bytes that the process grew by during the input that took the most.
        memory: Bytes between the least and the most that the process had, with what the fuzzer keeps.
        crashes: File of an input for each place that raised.
    """

    target: str
    inputs: int
    accepted: int
    seconds: float
    worst: float
    at_once: int
    memory: int
    crashes: dict[str, str]

    def row(self) -> str:
        """Return the line below HEADINGS, and a line for each crash."""
        row = (
            f"{self.target:8}{self.inputs:10,}{self.accepted:10,}{self.seconds:9.1f}"
            f"{self.inputs / max(self.seconds, 1e-9):10,.0f}{self.worst * 1000:10.1f}"
            f"{self.at_once / MiB:13.1f}{self.memory / MiB:10.1f}  {len(self.crashes)}"
        )
        return "\n".join([row, *(f"    {place}  ({file})" for place, file in self.crashes.items())])


class Tally:
    """Runs inputs through a reader, and counts.

    Args:
        target: The reader's name.
        crashes: The folder for inputs that crash it.
    """

    def __init__(self, target: str, crashes: Path) -> None:
        seeds(target)  # made now: they are no input's
        self.target = target
        self.inputs = self.accepted = 0
        self._function = TARGETS[target]
        self._folder = crashes
        self._crashes: dict[str, str] = {}
        self._worst, self._at_once = 0.0, 0
        self._least = self._most = _resident()
        self._started = time.process_time()

    def run(self, data: bytes) -> bool:
        """Run an input, and return whether the reader accepts it.

        Raises:
            Exception: What the reader raised that is no ImgwriterError, or TooMuch. It is counted.
        """
        self.inputs += 1
        resident, begun = _resident(), time.process_time()
        accepted = True
        try:
            self._function(data)
        except ImgwriterError:
            accepted = False
        except Exception as error:
            self._keep(data, error)
            raise
        spent, grown = time.process_time() - begun, _peak() - resident
        self._worst, self._at_once = max(self._worst, spent), max(self._at_once, grown)
        self._least, self._most = min(self._least, resident), max(self._most, resident + grown)
        if spent > MOST_SECONDS or grown > MOST_MEMORY:
            excess = TooMuch(f"{spent:.2f} s, {grown / MiB:.1f} MiB")
            self._keep(data, excess)
            raise excess
        self.accepted += accepted
        return accepted

    def outcome(self) -> Outcome:
        """Return how the reader has fared so far."""
        seconds, memory = time.process_time() - self._started, self._most - self._least
        return Outcome(
            self.target,
            self.inputs,
            self.accepted,
            seconds,
            self._worst,
            self._at_once,
            memory,
            self._crashes,
        )

    def _keep(self, data: bytes, error: Exception) -> None:
        """Keep the shortest input of those that crash at a place."""
        at = traceback.extract_tb(error.__traceback__)
        where = f"{Path(at[-1].filename).name}:{at[-1].lineno}: " if at else ""
        place = f"{where}{type(error).__name__}" + (f": {error}" if at else "")
        known = self._crashes.get(place)
        if known and Path(known).stat().st_size <= len(data):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        name = self._folder / f"{self.target}-{hashlib.sha256(data).hexdigest()[:12]}"
        name.write_bytes(data)
        name.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))
        self._crashes[place] = str(name)


def _resident() -> int:
    """Return the bytes that are resident now, and count the peak from here on.

    Spec: proc(5), /proc/pid/clear_refs, 5.
    """
    clear_refs = os.open("/proc/self/clear_refs", os.O_WRONLY)
    os.write(clear_refs, b"5")
    os.close(clear_refs)
    return _peak()


def _peak() -> int:
    """Return the bytes that were resident at most since the count began.

    Not getrusage's ru_maxrss: that never falls below what was resident before this program was executed, in
    the process that forked it.
    """
    with open("/proc/self/status", "rb") as status:
        return int(status.read().partition(b"VmHWM:")[2].split(None, 1)[0]) << 10


Campaign: TypeAlias = Callable[[Tally, int, int], None]
"""Runs (so many inputs, from a seed) through a tally's reader."""


def _outcome(campaign: Campaign, arguments: argparse.Namespace, target: str) -> Outcome:
    tally = Tally(target, arguments.crashes)
    campaign(tally, arguments.inputs, arguments.seed)
    return tally.outcome()


def command(campaign: Campaign, description: str) -> int:
    """Run a campaign for all readers that the command line names, or all, one after the other.

    Each reader has a process of its own, so that its memory can be told.

    Returns:
        The exit status: 1 where a reader crashed.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crashes", type=Path, default=Path("crashes"))
    arguments = parser.parse_args()
    os.nice(5)
    print(HEADINGS, flush=True)
    failed = False
    for target in arguments.readers or TARGETS:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            outcome = process.submit(_outcome, campaign, arguments, target).result()
        print(outcome.row(), flush=True)
        failed |= bool(outcome.crashes)
    return int(failed)
