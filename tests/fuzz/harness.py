"""One of imgwriter's readers under atheris, that is libFuzzer, with coverage and with checksums kept right.

::

    python -m tests.fuzz.harness READER --inputs 20000 [libFuzzer's options and folders]
    python -m tests.fuzz.harness tables --inputs 1000000 -dict=imgwriter.dict corpus/

Needs ``pip install atheris``, which is no dependency of imgwriter's. A crash ends the run, and leaves its
input in a file, as libFuzzer does. What is counted, and what a crash is: tests/fuzz/campaign.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["imgwriter"]):
    from imgwriter.fuzz.mutator import custom_mutator
    from tests.fuzz.campaign import HEADINGS, Tally
    from tests.fuzz.targets import TARGETS, seeds


def main() -> None:
    """Fuzz the reader that the first argument names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reader", metavar="READER", choices=TARGETS, help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--crashes", type=Path, default=Path("crashes"))
    arguments, options = parser.parse_known_args()
    tally = Tally(arguments.reader, arguments.crashes)
    given = iter(seeds(arguments.reader))

    def one_input(data: bytes) -> None:
        try:
            tally.run(data)
        finally:
            # The last one, or a crash: libFuzzer ends the process itself.
            if tally.inputs == arguments.inputs or tally.outcome().crashes:
                print(f"{HEADINGS}\n{tally.outcome().row()}", flush=True)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        # libFuzzer knows no input at first: it is given ours.
        first = next(given, None)
        return first[:max_size] if first is not None else mutate(data, max_size, seed)

    # Looked up at each call: atheris puts another function there when it begins.
    mutate = custom_mutator(lambda data, size: atheris.Mutate(data, size))
    longest = max(map(len, seeds(arguments.reader)))
    usual = [f"-runs={arguments.inputs}", f"-max_len={longest}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *usual, *options], one_input, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
