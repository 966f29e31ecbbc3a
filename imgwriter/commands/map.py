"""``imgwriter map``: its options."""

from __future__ import annotations

import argparse
from typing import Any

from imgwriter.commands.parser import Formatter

USAGE = "imgwriter map IMAGE [--svg FILE] [--html FILE] [options]"

DESCRIPTION = """\
Draw what is where on a disk: its partitions, and in each file system the
superblocks, descriptors, bitmaps, inode tables, journal, directories, files
and what is unused. Hovering over a run says what it is.

The SVG is one picture. The HTML page can be zoomed, and finds where a path
is. Either is one file that needs no network and nothing else.
"""

EPILOG = """\
examples
  imgwriter map nixos.img --html map.html
  imgwriter map nixos.qcow2 --svg - > map.svg

exit status
  0 done, also where a file system is damaged: what can be read is drawn;
  1 the image cannot be opened, or a picture cannot be written; 2 wrong usage
"""


def add_map(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "map",
        help="draw what is where on a disk",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("image", metavar="IMAGE", help="the image to draw")
    add = parser.add_argument_group("pictures").add_argument
    add("--svg", metavar="FILE", help="write the picture there; - for standard output")
    add("--html", metavar="FILE", help="write the page there; - for standard output")
    add = parser.add_argument_group("the image").add_argument
    add("--input-format", metavar="FORMAT", help="raw, qcow2, vpc or vdi (default: by the content)")
    add("--debug", action="store_true", default=False, help="show a traceback with an error")
