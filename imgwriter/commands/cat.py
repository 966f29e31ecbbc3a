"""``imgwriter cat``: files of an image, on standard output."""

from __future__ import annotations

import argparse
import os
from typing import Any

from imgwriter import exit_status
from imgwriter.commands.image import WHICH_FILE_SYSTEM, add_paths, add_reading, browser
from imgwriter.terminal import STANDARD_OUTPUT

USAGE = "imgwriter cat IMAGE PATH... [options]"

DESCRIPTION = f"""\
Write files of an image to standard output, one after the other.
{WHICH_FILE_SYSTEM}"""

EPILOG = """\
examples
  imgwriter cat nixos.img /etc/os-release
  imgwriter cat nixos.qcow2 boot/vmlinuz > vmlinuz

exit status
  0 done; 1 there is no such file, or the image is damaged;
  2 the command line could not be understood
"""


def add_cat(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "cat",
        help="write files of an image to standard output",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.intermixed = True
    parser.set_defaults(run=run)
    add_paths(parser, "+", "a regular file")
    add_reading(parser, partition=True)


def run(arguments: argparse.Namespace) -> int:
    """Write the files to standard output, and return the exit status."""
    from imgwriter import sink
    from imgwriter.examine.contents import concatenated

    paths = [os.fsencode(path) for path in arguments.paths]
    sink.stream(concatenated(browser(arguments), paths), STANDARD_OUTPUT)
    return exit_status.DONE
