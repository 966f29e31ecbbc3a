"""``imgwriter ls``: files of an image, listed."""

from __future__ import annotations

import argparse
import os
from typing import Any

from imgwriter import exit_status
from imgwriter.collection import collection_paused
from imgwriter.commands.image import WHICH_FILE_SYSTEM, add_paths, add_reading, browser
from imgwriter.terminal import printed

USAGE = "imgwriter ls IMAGE [PATH...] [options]"

DESCRIPTION = f"""\
List files of an image, sorted by the bytes of their names, one a line. Names
that begin with a dot are listed too. What cannot be printed is shown as \\xNN.
{WHICH_FILE_SYSTEM}"""

EPILOG = """\
examples
  imgwriter ls nixos.img
  imgwriter ls -l nixos.img /etc /etc/passwd
  imgwriter ls -R --partition 1 nixos.img
  imgwriter ls -R --json nixos.img | jq -r 'select(.mode[0:1] == "4").path'

exit status
  0 done; 1 there is no such path, or the image is damaged;
  2 the command line could not be understood
"""


def add_ls(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ls",
        help="list files of an image",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.intermixed = True
    parser.set_defaults(run=run)
    add_paths(parser, "*", "what to list (default: the root)")
    add = parser.add_argument_group("what is said").add_argument
    add(
        "-l",
        "--long",
        action="store_true",
        help="mode, links, owner, size, time (UTC), and where symlinks point",
    )
    add("-R", "--recursive", action="store_true", help="what is in directories below, too")
    add("-d", "--directory", action="store_true", help="directories themselves, not what is in them")
    add("--json", action="store_true", help="a JSON object a line for each file, with everything")
    add_reading(parser, partition=True)


def run(arguments: argparse.Namespace) -> int:
    """List files of the image, and return the exit status."""
    from imgwriter.examine import listing

    with collection_paused():
        files = browser(arguments)
        paths = [os.fsencode(path) for path in arguments.paths] or [b"/"]
        titled = arguments.recursive or len(paths) > 1
        listings = listing.listings(
            files, paths, long=arguments.long, itself=arguments.directory, recursive=arguments.recursive
        )
        for number, each in enumerate(listings):
            if arguments.json:
                lines = listing.json_lines(each)
            else:
                lines = listing.text(each, long=arguments.long, titled=titled)
                lines = [*([""] if number else []), *lines]
            if lines:
                printed("\n".join(lines))
    return exit_status.DONE
