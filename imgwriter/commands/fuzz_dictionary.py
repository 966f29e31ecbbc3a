"""``imgwriter fuzz dictionary``: the words of all formats, for AFL++ and libFuzzer."""

from __future__ import annotations

import argparse
from typing import Any

from imgwriter.terminal import printed

DESCRIPTION = """\
Print the words of all formats (signatures, magic numbers, type GUIDs, sizes
at their limits) as a dictionary for AFL++ (-x) and libFuzzer (-dict=).
"""

EPILOG = """\
examples
  imgwriter fuzz dictionary > imgwriter.dict
  afl-fuzz -x imgwriter.dict -i seeds -o findings -- ./parser @@
"""


def add_dictionary(subcommands: argparse._SubParsersAction[Any]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "dictionary",
        help="print a dictionary for AFL++ and libFuzzer",
        usage="imgwriter fuzz dictionary",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")


def run(_arguments: argparse.Namespace) -> int:
    """Print the dictionary, and return the exit status."""
    from imgwriter.fuzz.dictionary import dictionary

    return printed(dictionary())
