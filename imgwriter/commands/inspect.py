"""``imgwriter inspect``: what is in an image."""

from __future__ import annotations

import argparse
from typing import Any

import imgwriter
from imgwriter.commands.image import add_reading, opened
from imgwriter.terminal import as_json, printed

USAGE = "imgwriter inspect IMAGE [options]"

DESCRIPTION = """\
Say what is in an image: its container, its partition table, and of each file
system what it says of itself. Nothing is written, and nothing is judged:
'imgwriter verify' does that.
"""

EPILOG = """\
examples
  imgwriter inspect nixos.qcow2
  imgwriter inspect --json disk.img | jq '.partitions[].file_system.uuid'

exit status
  0 done, also where a file system is damaged or not known, which is said;
  1 the image cannot be read; 2 the command line could not be understood
"""


def add_inspect(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "inspect",
        help="say what is in an image",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.intermixed = True
    parser.set_defaults(run=run)
    parser.add_argument("image", metavar="IMAGE", help="the image to look at")
    add = parser.add_argument_group("what is said").add_argument
    add("--json", action="store_true", help="print one JSON document, with everything")
    add_reading(parser)


def run(arguments: argparse.Namespace) -> int:
    """Inspect the image, and return the exit status."""
    from imgwriter.examine.inspection import document
    from imgwriter.examine.inspection_text import text

    found = document(opened(arguments))
    if not arguments.json:
        return printed(text(found))
    return printed(as_json({"schema": 1, "imgwriter": imgwriter.__version__} | found))
