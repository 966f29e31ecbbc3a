"""``imgwriter inspect``, ``ls``, ``cat`` and ``extract``: the commands that look inside an image."""

from __future__ import annotations

import argparse
from typing import Any

from imgwriter.commands.parser import Formatter, Parser, partition_number, typed
from imgwriter.values import parse_size_in_bytes

_WHICH = """
Which file system is meant: the only one; else the root, which is the ext4,
ext3 or ext2 (of several the largest). --partition says another. Paths begin
at its root; symlinks on the way are followed inside the image.
"""

INSPECT = """\
Say what is in an image: its container, its partition table, and of each file
system what it says of itself. Nothing is written, and nothing is judged:
'imgwriter verify' does that.
"""

INSPECT_EPILOG = """\
examples
  imgwriter inspect nixos.qcow2
  imgwriter inspect --json disk.img | jq '.partitions[].file_system.uuid'

exit status
  0 done, also where a file system is damaged or not known, which is said;
  1 the image cannot be read; 2 the command line could not be understood
"""

LS = f"""\
List files of an image, sorted by the bytes of their names, one a line. Names
that begin with a dot are listed too. What cannot be printed is shown as \\xNN.
{_WHICH}"""

LS_EPILOG = """\
examples
  imgwriter ls nixos.img
  imgwriter ls -l nixos.img /etc /etc/passwd
  imgwriter ls -R --partition 1 nixos.img
  imgwriter ls -R --json nixos.img | jq -r 'select(.mode[0:1] == "4").path'

exit status
  0 done; 1 there is no such path, or the image is damaged;
  2 the command line could not be understood
"""

CAT = f"""\
Write files of an image to standard output, one after the other.
{_WHICH}"""

CAT_EPILOG = """\
examples
  imgwriter cat nixos.img /etc/os-release
  imgwriter cat nixos.qcow2 boot/vmlinuz > vmlinuz

exit status
  0 done; 1 there is no such file, or the image is damaged;
  2 the command line could not be understood
"""

EXTRACT = f"""\
Write a file system's tree, or parts of it, into a directory or a tar. Nothing
is written outside, whatever names and links the image has. Files keep modes,
times, extended attributes, hard links and holes; a PATH keeps its place, below
the directories that lead to it. Owners, devices and what else takes root are
left out, counted and told where there is no root.
{_WHICH}"""

EXTRACT_EPILOG = """\
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


def add_inspect(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``inspect``."""
    parser = _parser(
        commands,
        "inspect",
        "say what is in an image",
        "imgwriter inspect IMAGE [options]",
        INSPECT,
        INSPECT_EPILOG,
    )
    parser.add_argument("image", metavar="IMAGE", help="the image to look at")
    add = parser.add_argument_group("what is said").add_argument
    add("--json", action="store_true", help="print one JSON document, with everything")
    _add_reading(parser)


def add_ls(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``ls``."""
    parser = _parser(
        commands, "ls", "list files of an image", "imgwriter ls IMAGE [PATH...] [options]", LS, LS_EPILOG
    )
    _add_paths(parser, "*", "what to list (default: the root)")
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
    _add_reading(parser, partition=True)


def add_cat(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``cat``."""
    parser = _parser(
        commands,
        "cat",
        "write files of an image to standard output",
        "imgwriter cat IMAGE PATH... [options]",
        CAT,
        CAT_EPILOG,
    )
    _add_paths(parser, "+", "a regular file")
    _add_reading(parser, partition=True)


def add_extract(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``extract``."""
    usage = "imgwriter extract IMAGE [PATH...] (--output DIR|--to-tar FILE) [options]"
    parser = _parser(
        commands,
        "extract",
        "write files of an image into a directory or a tar",
        usage,
        EXTRACT,
        EXTRACT_EPILOG,
    )
    _add_paths(parser, "*", "what to extract (default: everything)")
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
    _add_reading(parser, partition=True)


def _parser(
    commands: argparse._SubParsersAction[Any],
    name: str,
    help_: str,
    usage: str,
    description: str,
    epilog: str,
) -> Parser:
    parser: Parser = commands.add_parser(
        name,
        help=help_,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.intermixed = True
    return parser


def _add_paths(parser: argparse.ArgumentParser, count: str, help_: str) -> None:
    parser.add_argument("image", metavar="IMAGE", help="the image to read")
    parser.add_argument("paths", metavar="PATH", nargs=count, default=[], help=help_)


def _add_reading(parser: argparse.ArgumentParser, *, partition: bool = False) -> None:
    """Add what says how the image is read.

    Args:
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
    add("--input-format", metavar="FORMAT", help="raw, qcow2, vpc or vdi (default: by the content of IMAGE)")
    add(
        "--sector-size",
        type=typed(parse_size_in_bytes),
        metavar="SIZE",
        help="of the partition table: 512 to 4096 bytes (default: by the content)",
    )
    add("--debug", action="store_true", help="show a traceback with an error")
