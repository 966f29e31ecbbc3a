"""What the commands that look inside one image share: their options, and how the image is opened."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from imgwriter.commands.parser import input_format, partition_number, typed
from imgwriter.errors import show
from imgwriter.values import parse_size_in_bytes

if TYPE_CHECKING:
    from imgwriter.examine.browse import Browser
    from imgwriter.examine.opening import OpenedDisk

WHICH_FILE_SYSTEM = """
Which file system is meant: the only one; else the root, which is the ext4,
ext3 or ext2 (of several the largest). --partition says another. Paths begin
at its root; symlinks on the way are followed inside the image.
"""


def add_paths(parser: argparse.ArgumentParser, count: str, help_: str) -> None:
    """Add the image, and paths inside it.

    Args:
        parser: Of the command.
        count: How many paths: argparse's ``nargs``.
        help_: What they are.
    """
    parser.add_argument("image", metavar="IMAGE", help="the image to read")
    parser.add_argument("paths", metavar="PATH", nargs=count, default=[], help=help_)


def add_reading(parser: argparse.ArgumentParser, *, partition: bool = False) -> None:
    """Add what says how the image is read.

    Args:
        parser: Of the command.
        partition: Whether one file system of it is meant.
    """
    add = parser.add_argument_group("the image").add_argument
    if partition:
        add(
            "--partition",
            type=typed(partition_number),
            metavar="N",
            help="the partition whose file system is meant; 0: a disk without a table",
        )
    add(
        "--input-format",
        type=input_format(),
        metavar="FORMAT",
        help="raw, qcow2, vpc or vdi (default: by the content of IMAGE)",
    )
    add(
        "--sector-size",
        type=typed(parse_size_in_bytes),
        metavar="SIZE",
        help="of the partition table: 512 to 4096 bytes (default: by the content)",
    )
    add("--debug", action="store_true", help="show a traceback with an error")


def opened(arguments: argparse.Namespace) -> OpenedDisk:
    """Open the image.

    Raises:
        ImgwriterError: As :func:`~imgwriter.examine.opening.open_disk`.
    """
    from imgwriter.examine.opening import open_disk

    return open_disk(os.fsencode(arguments.image), arguments.input_format, sector_size=arguments.sector_size)


def browser(arguments: argparse.Namespace) -> Browser:
    """Open the image and the file system of it that is meant.

    Raises:
        ImgwriterError: As :func:`opened` and :func:`~imgwriter.examine.choice.choose`.
    """
    from imgwriter.examine.browse import Browser
    from imgwriter.examine.choice import choose

    area, file_system = choose(opened(arguments), arguments.partition)
    return Browser(file_system, f"{area.name} of {show(os.fsencode(arguments.image))}")
