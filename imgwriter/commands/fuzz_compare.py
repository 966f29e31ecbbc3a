"""``imgwriter fuzz compare``: where parsers of partition tables disagree."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from imgwriter import exit_status, progress
from imgwriter.commands.parser import typed
from imgwriter.errors import SpecError
from imgwriter.terminal import as_json, printed

if TYPE_CHECKING:
    from imgwriter.fuzz.compare.request import Request

USAGE = "imgwriter fuzz compare DIR [options]"

DESCRIPTION = """\
Have many parsers of partition tables look at the images of DIR, and say where
they disagree: with the verdict of the manifest that 'imgwriter fuzz corpus'
wrote, or, where there is none, with each other. Parsers see copies; one that
crashes, hangs, or writes to its image is a result.

Parsers: imgwriter, sgdisk, parted, sfdisk (fdisk for sectors that are not 512
bytes), partx, blkid, grub (grub-fstest), mmls, dissect (dissect.volume), and
with --vm-kernel linux and linux-gpt, a kernel in a guest without and with
"gpt" on its command line. What is not installed is left out, and named.
"""

EPILOG = """\
a parser of your own
  --parser 'mine=./mine --sectors {sector_size} {image}' is started once for
  each image. Exit status 0 says that there is a table, any other that there is
  none; it may say more in lines of JSON on standard output, in bytes:
    {"table": "gpt", "used": "primary"}
    {"number": 1, "start": 1048576, "size": 8388608}
  "table" is gpt, mbr or none, "used" is primary or backup; what is left out is
  not compared.

examples
  imgwriter fuzz corpus --kind gpt --output corpus
  imgwriter fuzz compare corpus
  imgwriter fuzz compare corpus --vm-kernel vmlinuz --vm-modules lib/modules
  imgwriter fuzz compare corpus --parsers imgwriter,sgdisk --groups all
  imgwriter fuzz compare corpus --parser 'mine=./mine {image}' --json

exit status
  0 all agree; 1 some do not; 2 wrong usage, or they could not be asked;
  3 a bug in imgwriter
"""


def add_compare(subcommands: argparse._SubParsersAction[Any]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "compare",
        help="say where parsers disagree about a corpus",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.set_defaults(run=run, status_of_errors=exit_status.USAGE)
    parser.add_argument("directory", metavar="DIR", help="a corpus, or any folder of raw images")
    add = parser.add_argument_group("who is asked").add_argument
    add("--parsers", metavar="A,B,C", help="these alone (default: all that are installed)")
    add(
        "--parser",
        action="append",
        default=[],
        dest="templates",
        metavar="NAME=COMMAND",
        help="one more, with {image} for the path; may be given again",
    )
    add("--timeout", type=float, metavar="SECONDS", help="for one parser and one image (default 2)")
    add("--jobs", type=typed(_positive), metavar="N", help="programs at a time (default: one a core)")
    add(
        "--sector-size",
        type=int,
        choices=(512, 1024, 2048, 4096),
        default=512,
        metavar="BYTES",
        help="of images without a manifest: 512 (default), 1024, 2048 or 4096",
    )
    add = parser.add_argument_group("the Linux kernel").add_argument
    add(
        "--kernel",
        action=argparse.BooleanOptionalAction,
        help="ask it (default: where --vm-kernel says which)",
    )
    add("--vm-kernel", metavar="FILE", help="the kernel of the guest")
    add("--vm-modules", metavar="DIR", help="its modules: lib/modules/VERSION (default: the host's)")
    add("--vm-busybox", metavar="FILE", help="a static busybox (default: the host's)")
    add("--vm-qemu", metavar="FILE", help="QEMU (default: qemu-system-x86_64 or -aarch64 from PATH)")
    add("--vm-timeout", type=float, metavar="SECONDS", help="for 500 images (default 600)")
    add = parser.add_argument_group("what is said").add_argument
    add(
        "--groups",
        type=typed(_groups),
        default=10,
        metavar="N",
        help="groups that are shown: a number (10), or all",
    )
    add("--json", action="store_true", help="print everything that was seen as JSON")
    add("--quiet", action="store_true", help="print errors alone")
    add("--debug", action="store_true", help="show a traceback with an error")


def to_request(arguments: argparse.Namespace) -> Request:
    """Return what the command line asks for.

    Raises:
        SpecError: It contradicts itself.
    """
    from imgwriter.fuzz.compare.request import Request

    if arguments.kernel and arguments.vm_kernel is None:
        raise SpecError("--kernel does not say which; give the file with --vm-kernel")
    with_kernel = arguments.vm_kernel is not None and arguments.kernel is not False
    paths = {
        name: None if (path := getattr(arguments, f"vm_{name}")) is None else os.fsencode(path)
        for name in ("modules", "busybox", "qemu")
    }
    parsers = arguments.parsers
    return Request(
        directory=os.fsencode(arguments.directory),
        parsers=None if parsers is None else tuple(name for name in parsers.split(",") if name),
        templates=tuple(arguments.templates),
        jobs=arguments.jobs,
        timeout=arguments.timeout,
        sector_size=arguments.sector_size,
        vm_kernel=os.fsencode(arguments.vm_kernel) if with_kernel else None,
        vm_timeout=arguments.vm_timeout,
        **{f"vm_{name}": path for name, path in paths.items()},
    )


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:5]) <= 1024:
        raise SpecError(f"{text!r} is no number of programs; give 1 to 1,024")
    return int(text)


def _groups(text: str) -> int | None:
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise SpecError(f"{text!r} is no number of groups; give one, or all")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Compare the parsers, and return the exit status."""
    from imgwriter.fuzz.compare import report
    from imgwriter.fuzz.compare.request import run_request

    with progress.count("asking", "answers", quiet=arguments.quiet) as show_count:
        comparison = run_request(to_request(arguments), show_count)
    if arguments.json:
        printed(as_json(report.document(comparison)))
    elif not arguments.quiet:
        printed(report.text(comparison, arguments.groups))
    return exit_status.DONE if report.agrees(comparison) else exit_status.REFUSED
