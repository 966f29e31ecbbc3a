"""Run N mutated inputs through each of imgwriter's readers, and print how they fared.

::

    python -m tests.fuzz.run --inputs 20000 [READER ...]

Needs no other package: tests/fuzz/harness.py has atheris, tests/fuzz/by_hypothesis.py Hypothesis. What is
counted, and what a crash is: tests/fuzz/campaign.py. Inputs that crash are written to --crashes.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from random import Random

from imgwriter.fuzz.mutator import mutate
from tests.fuzz.campaign import Tally, command
from tests.fuzz.targets import seeds

MOST_INPUT = 1 << 20
POOL = 256


def campaign(tally: Tally, inputs: int, seed: int) -> None:
    """Run inputs that derive from the seeds; those that are accepted become seeds, too."""
    random = Random(f"{seed} {tally.target}")
    first = seeds(tally.target)
    pool = list(first)
    for number in range(inputs):
        drawn = bytes(mutate(random.choice(pool), MOST_INPUT, random))
        data = first[number] if number < len(first) else drawn
        with suppress(Exception):  # the tally has it
            if tally.run(data) and random.randrange(16) == 0:
                pool[random.randrange(len(pool))] = data
                pool.extend([data] if len(pool) < POOL else [])


if __name__ == "__main__":
    sys.exit(command(campaign, __doc__))
