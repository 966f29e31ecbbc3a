"""``imgwriter verify``: an image, checked against the specifications of all that is in it."""

from __future__ import annotations

import argparse
import os
from typing import Any

import imgwriter
from imgwriter import exit_status, progress
from imgwriter.commands.parser import input_format, partition_number, typed
from imgwriter.errors import show
from imgwriter.terminal import as_json, complain, printed
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
  2  the image, or the disk in it, could not be read; or the command line
     not understood
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
    )
    parser.set_defaults(run=run, status_of_errors=exit_status.USAGE)
    parser.add_argument("image", metavar="IMAGE", help="a file, or a block device")
    add = parser.add_argument_group("what is checked").add_argument
    add(
        "--input-format",
        type=input_format(),
        metavar="FORMAT",
        help="raw, qcow2, vpc or vdi (default: by the content)",
    )
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


def run(arguments: argparse.Namespace) -> int:
    """Verify the image, and return the exit status."""
    from imgwriter.verify import report
    from imgwriter.verify.image import verify_image

    with progress.bar("verifying", quiet=arguments.quiet) as show_progress:
        verified = verify_image(
            os.fsencode(arguments.image),
            arguments.input_format,
            sector_size=arguments.sector_size,
            partition=arguments.partition,
            progress=show_progress,
        )
    if arguments.json:
        printed(as_json(report.document(verified, imgwriter.__version__)))
    elif not arguments.quiet:
        printed(report.text(verified))
    if verified.error:
        complain(f"{show(os.fsencode(arguments.image))}: {verified.error}")
    if verified.findings:
        return exit_status.REFUSED
    return exit_status.USAGE if verified.error else exit_status.DONE
