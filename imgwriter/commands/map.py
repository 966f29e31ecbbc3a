"""``imgwriter map``: a disk as a picture."""

from __future__ import annotations

import argparse
import os
from typing import Any

from imgwriter import exit_status
from imgwriter.collection import collection_paused
from imgwriter.commands.parser import input_format
from imgwriter.terminal import STANDARD_OUTPUT, complain, refuse_terminal

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
    )
    parser.set_defaults(run=run)
    parser.add_argument("image", metavar="IMAGE", help="the image to draw")
    add = parser.add_argument_group("pictures").add_argument
    add("--svg", metavar="FILE", help="write the picture there; - for standard output")
    add("--html", metavar="FILE", help="write the page there; - for standard output")
    add = parser.add_argument_group("the image").add_argument
    add(
        "--input-format",
        type=input_format(),
        metavar="FORMAT",
        help="raw, qcow2, vpc or vdi (default: by the content)",
    )
    add("--debug", action="store_true", default=False, help="show a traceback with an error")


def run(arguments: argparse.Namespace) -> int:
    """Draw the image, and return the exit status."""
    asked = [path for path in (arguments.svg, arguments.html) if path is not None]
    if not asked or asked == ["-", "-"]:
        complain("give --svg FILE, --html FILE or both; one of them may be - for standard output")
        return exit_status.USAGE
    if "-" in asked:
        refuse_terminal()
    from imgwriter.examine.opening import open_disk
    from imgwriter.map.model import map_disk
    from imgwriter.map.output import write_picture
    from imgwriter.map.page import make_page
    from imgwriter.map.svg import draw

    with collection_paused():
        drawn = map_disk(open_disk(os.fsencode(arguments.image), arguments.input_format))
        for path, make in ((arguments.svg, draw), (arguments.html, make_page)):
            if path is not None:
                write_picture(STANDARD_OUTPUT if path == "-" else os.fsencode(path), make(drawn))
    for note in drawn.notes:  # who only keeps the picture should know what it lacks
        complain(f"note: {note}")
    return exit_status.DONE
