"""``imgwriter diff``: in what two images differ."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

import imgwriter
from imgwriter import exit_status
from imgwriter.collection import collection_paused
from imgwriter.commands.parser import input_format
from imgwriter.errors import FormatError, show
from imgwriter.terminal import as_json, complain, printed

if TYPE_CHECKING:
    from imgwriter.examine.opening import OpenedDisk

USAGE = "imgwriter diff A B [options]"

DESCRIPTION = """\
Compare two disk images and explain in what they differ: partition tables,
superblocks, group descriptors, inodes by number and path, directories,
files, FAT entries, each field by the name that its specification has. What
contains the disks makes no difference: a qcow2 may equal a raw image.

Where partitions or file systems are laid out otherwise, their names and
contents are compared instead of their bytes.
"""

EPILOG = """\
examples
  imgwriter diff nixos.img other.img
  imgwriter diff nixos.img nixos.qcow2 --brief
  imgwriter diff yesterday.img today.img --ignore times --ignore checksums
  imgwriter diff small.img large.img --files

exit status
  0  the disks are the same
  1  they differ
  2  an image cannot be read or is damaged, or the command line is wrong
"""

CLASSES = ("times", "identifiers", "checksums", "unused")
LINES = 40


def add_diff(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diff",
        help="explain in what two images differ",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.set_defaults(run=run, status_of_errors=exit_status.USAGE)
    parser.add_argument("a", metavar="A", help="an image")
    parser.add_argument("b", metavar="B", help="another")
    add = parser.add_argument_group("what is compared").add_argument
    add("--files", action="store_true", help="only what file systems hold: names, metadata, contents")
    add(
        "--ignore",
        action="append",
        default=[],
        choices=CLASSES,
        metavar="CLASS",
        help="times, identifiers, checksums or unused: told as no difference; may be repeated",
    )
    add(
        "--input-format-a",
        type=input_format(),
        metavar="FORMAT",
        help="raw, qcow2, vpc or vdi (default: by the content of A)",
    )
    add("--input-format-b", type=input_format(), metavar="FORMAT", help="the same of B")
    add = parser.add_argument_group("what is said").add_argument
    add("-q", "--brief", action="store_true", help="only whether they differ; the first byte ends it")
    add(
        "--limit",
        type=int,
        default=LINES,
        metavar="N",
        help=f"lines of each layer, and examples of each field (default {LINES}; 0: all)",
    )
    add("--json", action="store_true", default=False, help="print a JSON document on standard output")
    add("--debug", action="store_true", default=False, help="show a traceback with an error")


def run(arguments: argparse.Namespace) -> int:
    """Compare the images, and return the exit status."""
    if arguments.limit < 0:
        complain(f"--limit is {arguments.limit}; give 0 for all, or a number of lines")
        return exit_status.USAGE
    from imgwriter.diff import report
    from imgwriter.diff.compare import compare_disks, differ

    with collection_paused():
        a = _opened(arguments.a, arguments.input_format_a)
        b = _opened(arguments.b, arguments.input_format_b)
        if arguments.brief and not (arguments.files or arguments.ignore):
            return _in_brief(arguments, not differ(a, b))
        comparison = compare_disks(
            a,
            b,
            files=arguments.files,
            ignore=frozenset(arguments.ignore),
            examples=arguments.limit or sys.maxsize,
        )
    if arguments.brief:
        return _in_brief(arguments, comparison.same)
    if arguments.json:
        printed(as_json(report.document(comparison, imgwriter.__version__)))
    else:
        printed(report.text(comparison, arguments.limit or None))
    if comparison.unread:
        return exit_status.USAGE
    return exit_status.DONE if comparison.same else exit_status.REFUSED


def _opened(path: str, input_format: str | None) -> OpenedDisk:
    """Open one of the images; an error says which it is of."""
    from imgwriter.examine.opening import open_disk

    try:
        return open_disk(os.fsencode(path), input_format)
    except FormatError as error:
        raise FormatError(f"{show(os.fsencode(path))}: {error}", error.where, error.offset) from error


def _in_brief(arguments: argparse.Namespace, same: bool) -> int:
    if same:
        return exit_status.DONE
    printed(f"{show(os.fsencode(arguments.a))} and {show(os.fsencode(arguments.b))} differ")
    return exit_status.REFUSED
