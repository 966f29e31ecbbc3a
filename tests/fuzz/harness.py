"""One of imgwriter's readers under atheris, that is libFuzzer, with coverage and with checksums kept right.

::

    python -m tests.fuzz.harness READER [libFuzzer's options and folders]
    python -m tests.fuzz.harness tables -runs=100000 -max_len=65536 -dict=imgwriter.dict corpus/

Needs ``pip install atheris``, which is no dependency of imgwriter's. Any exception but an ImgwriterError ends
the run, and leaves its input in a file.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["imgwriter"]):
    from imgwriter.errors import ImgwriterError
    from imgwriter.fuzz.mutator import custom_mutator
    from tests.fuzz.targets import TARGETS, seeds


def main() -> None:
    """Fuzz the reader that the first argument names."""
    name, *options = sys.argv[1:] or [""]
    if name not in TARGETS:
        sys.exit(
            f"usage: python -m tests.fuzz.harness READER [options]; READER is one of {', '.join(TARGETS)}"
        )
    target, given = TARGETS[name], iter(seeds(name))

    def one_input(data: bytes) -> None:
        with suppress(ImgwriterError):
            target(data)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        # libFuzzer knows no input at first: it is given ours.
        first = next(given, None)
        return first[:max_size] if first is not None else mutate(data, max_size, seed)

    # Looked up at each call: atheris puts another function there when it begins.
    mutate = custom_mutator(lambda data, size: atheris.Mutate(data, size))
    atheris.Setup([sys.argv[0], *options], one_input, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
