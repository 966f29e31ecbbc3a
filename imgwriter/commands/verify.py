"""``imgwriter verify``: its options."""

from __future__ import annotations

import argparse
from typing import Any

from imgwriter.commands.parser import Formatter, partition_number, typed
from imgwriter.values import parse_size_in_bytes

USAGE = "imgwriter verify IMAGE [options]"

DESCRIPTION = """\
Check an image against the specifications of all that is in it: the container
(raw, qcow2, VHD, VDI), the partition table (MBR, GPT) and the file systems
(ext4, ext3, ext2, FAT). Nothing is changed. What is not as it has to be is a
finding, with its place and the section that says so; what is allowed but rare,
or not looked at, is a note.
"""

EPILOG = """\
examples
  imgwriter verify nixos.img
  imgwriter verify disk.qcow2 --json | jq '.layers[].findings[]'
  imgwriter verify disk.img --partition 2 --quiet && echo sound

exit status
  0  no findings
  1  findings
  2  the image could not be read, or the command line not understood
  3  a bug in imgwriter
"""


def add_verify(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="check an image for damage",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("image", metavar="IMAGE", help="a file, or a block device")
    add = parser.add_argument_group("what is checked").add_argument
    add("--input-format", metavar="FORMAT", help="raw, qcow2, vpc or vdi (default: by the content)")
    add(
        "--sector-size",
        type=typed(parse_size_in_bytes),
        metavar="SIZE",
        help="of the partition table: 512 to 4096 (default: by the content)",
    )
    add(
        "--partition",
        type=typed(partition_number),
        metavar="N",
        help="only the file system of partition N; 0 for a disk without a table",
    )
    add = parser.add_argument_group("what is said").add_argument
    add("--json", action="store_true", default=False, help="print the findings as JSON on standard output")
    add("--quiet", action="store_true", default=False, help="print nothing but errors: the exit status tells")
    add("--debug", action="store_true", default=False, help="show a traceback with an error")
