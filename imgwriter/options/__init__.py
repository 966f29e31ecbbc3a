"""The command line: its declaration, and how its words become values.

What an argument's text means is decided here and nowhere else; whether the request makes sense is decided by
:class:`~imgwriter.spec.ImageSpec` and its like. Defaults that are more than "not given" live there too. The
package imports nothing heavy: it is on the way to ``imgwriter --version``.
"""

from __future__ import annotations

from imgwriter.options.build import add_build
from imgwriter.options.convert import add_convert
from imgwriter.options.diff import add_diff
from imgwriter.options.examine import add_cat, add_extract, add_inspect, add_ls
from imgwriter.options.fuzz import add_fuzz
from imgwriter.options.map import add_map
from imgwriter.options.parser import Parser
from imgwriter.options.schema import add_schema
from imgwriter.options.verify import add_verify

__all__ = ["Parser", "make_parser"]


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="imgwriter",
        description="Make disk images from trees of files, without root.",
        epilog="'imgwriter COMMAND --help' lists what a command takes.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    add_build(commands)
    add_convert(commands)
    add_diff(commands)
    add_fuzz(commands)
    add_inspect(commands)
    add_ls(commands)
    add_map(commands)
    add_cat(commands)
    add_extract(commands)
    add_schema(commands)
    add_verify(commands)
    return parser
