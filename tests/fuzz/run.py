"""Run N mutated inputs through each of imgwriter's readers, and print how they fared.

::

    python -m tests.fuzz.run --inputs 20000 [READER ...]

Each reader has a process of its own, so that its memory can be told. Times are the processor's, so that other
work on the machine does not count. A crash is any exception that is no
ImgwriterError; its input is written to --crashes. Needs no other package: tests/fuzz/harness.py has atheris.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sys
import time
import traceback
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from random import Random
from typing import NamedTuple

from imgwriter.errors import ImgwriterError
from imgwriter.fuzz.mutator import mutate
from tests.fuzz.targets import TARGETS, seeds

MOST_INPUT = 1 << 20
POOL = 256
_HEADINGS = "reader      inputs  accepted    CPU s  a second  worst ms  MiB more  crashes"


class Outcome(NamedTuple):
    """How a reader fared: seconds of processor time, also of the worst input; bytes of memory more."""

    target: str
    inputs: int
    accepted: int
    seconds: float
    worst: float
    memory: int
    crashes: dict[str, str]


def campaign(target: str, inputs: int, seed: int, crashes: Path) -> Outcome:
    """Run inputs that derive from the seeds; those that are accepted become seeds, too."""
    random, function = Random(f"{seed} {target}"), TARGETS[target]
    first = seeds(target)
    pool = list(first)
    found: dict[str, str] = {}
    accepted, worst = 0, 0.0
    before = _peak()
    started = time.process_time()
    for number in range(inputs):
        drawn = bytes(mutate(random.choice(pool), MOST_INPUT, random))
        data = first[number] if number < len(first) else drawn
        begun = time.process_time()
        try:
            function(data)
        except ImgwriterError:
            pass
        except Exception:
            report = traceback.format_exc()
            place = report.splitlines()[-3].strip() + ": " + report.splitlines()[-1]
            if place not in found:
                found[place] = _keep(crashes, target, data, report)
        else:
            accepted += 1
            if random.randrange(16) == 0:
                pool[random.randrange(len(pool))] = data
                pool.extend([data] if len(pool) < POOL else [])
        spent = time.process_time() - begun
        if spent > max(worst, 1.0):
            _keep(crashes, f"{target}-slow", data, f"{spent:.2f} s")
        worst = max(worst, spent)
    return Outcome(target, inputs, accepted, time.process_time() - started, worst, _peak() - before, found)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _keep(crashes: Path, target: str, data: bytes, report: str) -> str:
    crashes.mkdir(parents=True, exist_ok=True)
    name = crashes / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
    name.write_bytes(data)
    name.with_suffix(".txt").write_text(report)
    return str(name)


def _child(queue: Queue[Outcome], arguments: tuple[str, int, int, Path]) -> None:
    queue.put(campaign(*arguments))


def main() -> int:
    """Run all readers that are named, or all, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crashes", type=Path, default=Path("crashes"))
    arguments = parser.parse_args()
    context = get_context("spawn")
    print(_HEADINGS, flush=True)
    failed = False
    for target in arguments.readers or TARGETS:
        queue: Queue[Outcome] = context.Queue()
        process = context.Process(
            target=_child, args=(queue, (target, arguments.inputs, arguments.seed, arguments.crashes))
        )
        process.start()
        o = queue.get()
        process.join()
        print(
            f"{o.target:8}{o.inputs:10,}{o.accepted:10,}{o.seconds:9.1f}{o.inputs / o.seconds:10,.0f}"
            f"{o.worst * 1000:10.1f}{o.memory / (1 << 20):10.1f}  {len(o.crashes)}",
            flush=True,
        )
        for place, file in o.crashes.items():
            print(f"    {place}  ({file})", flush=True)
        failed |= bool(o.crashes)
    return int(failed)


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())
