"""The commands, each in a module: its help and options, how they become a request, and what it does.

::

    make_parser() ──> Parser ──> arguments ──> arguments.run(arguments) ──> exit status

A module's ``add_...`` declares the command and names its ``run``; :mod:`imgwriter.cli` calls that. What an
argument's text means is said by :mod:`imgwriter.values`; whether the request makes sense is decided by
:class:`~imgwriter.spec.ImageSpec` and its like. Defaults that are more than "not given" live there too.

The package imports nothing heavy: it is on the way to ``imgwriter --version``. What a command works with, its
``run`` imports.
"""

from __future__ import annotations

from imgwriter.commands.build import add_build
from imgwriter.commands.cat import add_cat
from imgwriter.commands.convert import add_convert
from imgwriter.commands.diff import add_diff
from imgwriter.commands.extract import add_extract
from imgwriter.commands.fuzz import add_fuzz
from imgwriter.commands.inspect import add_inspect
from imgwriter.commands.ls import add_ls
from imgwriter.commands.map import add_map
from imgwriter.commands.parser import HelpAsked, Parser
from imgwriter.commands.schema import add_schema
from imgwriter.commands.verify import add_verify

__all__ = ["HelpAsked", "Parser", "make_parser"]

DESCRIPTION = """\
Make disk images from trees of files, and look into any image, without root:
partition tables (MBR, GPT), ext4 and FAT, in raw, qcow2, VHD and VDI images.
"""

EPILOG = """\
examples
  imgwriter build --tree rootfs
      a directory becomes a disk image: nixos-disk-image/nixos.img
  imgwriter build --tree rootfs.tar --partition-table efi --format qcow2
      a tar becomes a qcow2 with a GPT and an EFI system partition
  imgwriter inspect disk.qcow2
      what is in an image, whoever made it
  imgwriter extract disk.qcow2 /etc --output part
      files of it
  imgwriter verify disk.img && imgwriter diff disk.img other.img
      is it sound, and in what does it differ from another

'imgwriter COMMAND --help' lists what a command takes, with more examples.
"""


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="imgwriter",
        usage="imgwriter COMMAND ...\n       imgwriter --version",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(prog="imgwriter", dest="command", metavar="COMMAND", title="commands")
    # In the order of the help: what makes images, what looks into them, what is for other programs.
    add_build(commands)
    add_convert(commands)
    add_inspect(commands)
    add_ls(commands)
    add_cat(commands)
    add_extract(commands)
    add_verify(commands)
    add_diff(commands)
    add_map(commands)
    add_fuzz(commands)
    add_schema(commands)
    return parser
