"""Whole processes, timed in turn, round after round: a machine that gets slower gets slower for all."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MiB = 1 << 20
ROOT = Path(__file__).resolve().parent.parent
SEARCH = os.environ["PATH"] + ":/usr/sbin:/sbin"


class Sample(NamedTuple):
    """One process: wall clock in seconds, peak resident memory in bytes (its largest child's, too)."""

    seconds: float
    memory: int


class Contestant(NamedTuple):
    """A name, what to run, and the output to remove before each run."""

    name: str
    command: Sequence[str]
    output: Path


def imgwriter(name: str, tree: Path, output: Path, *options: str, suffix: str = "img") -> Contestant:
    """Return a build of a tree."""
    command = [sys.executable, "-m", "imgwriter", "build", "--tree", str(tree), "--output", str(output)]
    return Contestant(name, [*command, "--quiet", *options], output / f"nixos.{suffix}")


def rounds(
    contestants: Sequence[Contestant], work: Path, runs: int, keep: bool = False
) -> dict[str, list[Sample]]:
    """Run all in turn, ``runs`` times; keep the last outputs when asked to."""
    results: dict[str, list[Sample]] = {each.name: [] for each in contestants}
    for number in range(runs):
        for each in contestants:
            results[each.name].append(measure(each, work))
            if not (keep and number == runs - 1):
                each.output.unlink(missing_ok=True)
    return results


def measure(contestant: Contestant, work: Path) -> Sample:
    """Run one process and wait for it.

    Not on its time: its output is removed first, and what others wrote goes to the disk, so that one of a
    second does not share the machine with what one of forty left to be written.
    """
    contestant.output.unlink(missing_ok=True)
    os.sync()
    environment = {**os.environ, "PATH": SEARCH, "PYTHONPATH": str(ROOT)}
    with (work / "messages").open("wb") as messages:
        started = time.perf_counter()
        process = subprocess.Popen(contestant.command, env=environment, stdout=messages, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{contestant.name} failed:\n{(work / 'messages').read_text(errors='replace')}")
    return Sample(seconds, usage.ru_maxrss * 1024)


def share(ratio: float) -> str:
    return f"1/{1 / ratio:.1f}" if ratio < 1 else f"{ratio:.2f} x"


def verdict(value: float, goal: float, least: float) -> str:
    return "met" if value <= goal else "least met" if value <= least else "missed"


def median(samples: Sequence[Sample]) -> float:
    """Return the median of the seconds."""
    return statistics.median(sample.seconds for sample in samples)


def memory(samples: Sequence[Sample]) -> float:
    """Return the peak of the memory, in MiB."""
    return max(sample.memory for sample in samples) / MiB
