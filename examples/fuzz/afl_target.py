"""The parser as a program for AFL++ or honggfuzz: a crash is an exception, which ends it with a signal.

AFL_PYTHON_MODULE=imgwriter.fuzz.mutator py-afl-fuzz -i seeds -o findings -- python afl_target.py
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from parser import NoTable, read_gpt


def main() -> None:
    """Read a disk from standard input; end by SIGABRT where the parser fails."""
    try:
        with suppress(NoTable):
            read_gpt(sys.stdin.buffer.read())
    except Exception:
        os.kill(os.getpid(), signal.SIGABRT)


if __name__ == "__main__":
    main()
