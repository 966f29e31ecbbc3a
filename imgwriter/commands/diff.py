"""``imgwriter diff``: its options."""

from __future__ import annotations

import argparse
from typing import Any

from imgwriter.commands.parser import Formatter

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
        formatter_class=Formatter,
        allow_abbrev=False,
    )
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
    add("--input-format-a", metavar="FORMAT", help="raw, qcow2, vpc or vdi (default: by the content of A)")
    add("--input-format-b", metavar="FORMAT", help="the same of B")
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
