"""``imgwriter extract``: files of an image, into a directory or a tar."""

from __future__ import annotations

import argparse
import os
from typing import Any

from imgwriter import exit_status, progress
from imgwriter.collection import collection_paused
from imgwriter.commands.image import WHICH_FILE_SYSTEM, add_paths, add_reading, browser
from imgwriter.terminal import STANDARD_OUTPUT, complain, printed, refuse_terminal, told

USAGE = "imgwriter extract IMAGE [PATH...] (--output DIR|--to-tar FILE) [options]"

DESCRIPTION = f"""\
Write a file system's tree, or parts of it, into a directory or a tar. Nothing
is written outside, whatever names and links the image has. Files keep modes,
times, extended attributes, hard links and holes; a PATH keeps its place, below
the directories that lead to it. Owners, devices and what else takes root are
left out, counted and told where there is no root.
{WHICH_FILE_SYSTEM}"""

EPILOG = """\
examples
  imgwriter extract nixos.img --output rootfs
  imgwriter extract nixos.img /etc /var/log --output part
  imgwriter extract nixos.qcow2 --to-tar - | ssh host tar xpf - -C /srv/root
  imgwriter extract nixos.img --to-tar root.tar

exit status
  0 done, with warnings on standard error for what was left out; 1 refused, or
  it could not be finished: what is there then is said; 2 the command line
  could not be understood
"""


def add_extract(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "extract",
        help="write files of an image into a directory or a tar",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.intermixed = True
    parser.set_defaults(run=run)
    add_paths(parser, "*", "what to extract (default: everything)")
    where = parser.add_argument_group("where to").add_mutually_exclusive_group(required=True)
    where.add_argument("--output", metavar="DIR", help="a directory, which is missing or empty")
    where.add_argument(
        "--to-tar", metavar="FILE", help="a tar, replaced when it is there; '-': standard output"
    )
    add = parser.add_argument_group("how").add_argument
    add(
        "--owner",
        choices=("image", "caller"),
        help="whose the files are: the image's owners (default for root), or the caller",
    )
    add(
        "--overwrite",
        action="store_true",
        help="also into a directory that is not empty: directories are entered, all else is replaced",
    )
    add("--quiet", action="store_true", help="print errors and warnings alone")
    add_reading(parser, partition=True)


def run(arguments: argparse.Namespace) -> int:
    """Extract the files, and return the exit status."""
    from imgwriter.examine.extraction import check_target, to_directory, to_tar
    from imgwriter.examine.selection import select

    to_stdout = arguments.to_tar == "-"
    if arguments.to_tar is not None and (arguments.owner or arguments.overwrite):
        complain("--owner and --overwrite are of a directory; a tar has the image's owners: leave them out")
        return exit_status.USAGE
    if to_stdout:
        refuse_terminal()
    elif arguments.to_tar is not None:
        check_target(os.fsencode(arguments.image), os.fsencode(arguments.to_tar))
    with collection_paused():
        inventory = select(browser(arguments), [os.fsencode(path) for path in arguments.paths])
        with progress.bar("extracting", quiet=arguments.quiet) as show_progress:
            if arguments.to_tar is not None:
                target = STANDARD_OUTPUT if to_stdout else os.fsencode(arguments.to_tar)
                extracted = to_tar(inventory, target, show_progress)
            else:
                extracted = to_directory(
                    inventory,
                    os.fsencode(arguments.output),
                    owner=arguments.owner,
                    overwrite=arguments.overwrite,
                    progress=show_progress,
                )
    for warning in extracted.warnings:
        complain(f"warning: {warning}")
    if arguments.quiet:
        return exit_status.DONE
    return (told if to_stdout else printed)(extracted.summary)
