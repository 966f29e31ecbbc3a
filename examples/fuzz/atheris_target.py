"""The parser under atheris, that is libFuzzer, with a mutator that keeps checksums right.

pip install atheris
python examples/fuzz/atheris_target.py -runs=20000 -max_len=65536 -dict=imgwriter.dict seeds
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["parser"]):
    from parser import NoTable, read_gpt

from imgwriter.fuzz.mutator import custom_mutator


def one_input(data: bytes) -> None:
    """Read one disk."""
    with suppress(NoTable):
        read_gpt(data)


if __name__ == "__main__":
    # Looked up at each call: atheris puts another function there when it begins.
    mutate = custom_mutator(lambda data, size: atheris.Mutate(data, size))
    atheris.Setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()
