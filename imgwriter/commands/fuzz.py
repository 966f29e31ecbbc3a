"""``imgwriter fuzz``: its subcommands, for people who fuzz partition code."""

from __future__ import annotations

import argparse
from typing import Any

from imgwriter.commands.fuzz_compare import add_compare
from imgwriter.commands.fuzz_corpus import add_corpus
from imgwriter.commands.fuzz_dictionary import add_dictionary

USAGE = "imgwriter fuzz COMMAND [options]"

DESCRIPTION = """\
Material for fuzzing programs that read partition tables, file systems and
disk images: every image is wrong in a way that has a name.
"""

EPILOG = """\
examples
  imgwriter fuzz corpus --kind gpt --output corpus
  imgwriter fuzz compare corpus
  imgwriter fuzz dictionary > imgwriter.dict

'imgwriter fuzz COMMAND --help' lists what a command takes.
"""


def add_fuzz(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its subcommands."""
    parser = commands.add_parser(
        "fuzz",
        help="make material for fuzzing readers of tables and images",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    subcommands = parser.add_subparsers(
        prog="imgwriter fuzz", dest="fuzz_command", metavar="COMMAND", title="commands", required=True
    )
    add_corpus(subcommands)
    add_dictionary(subcommands)
    add_compare(subcommands)
