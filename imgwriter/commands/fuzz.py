"""``imgwriter fuzz``: its subcommands for people who fuzz partition code, and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from imgwriter.commands.fuzz_compare import add_compare
from imgwriter.commands.parser import Formatter, typed
from imgwriter.errors import SpecError

if TYPE_CHECKING:
    from imgwriter.fuzz.corpus import CorpusSpec

KINDS = ("mbr", "gpt", "fat", "ext4", "qcow2", "vhd", "all")

USAGE = "imgwriter fuzz COMMAND [options]"

DESCRIPTION = """\
Material for fuzzing programs that read partition tables, file systems and
disk images: every image is wrong in a way that has a name.
"""

CORPUS_USAGE = "imgwriter fuzz corpus --output DIR [options]"

CORPUS_DESCRIPTION = """\
Write a corpus: small sparse images that deviate from a specification, each
in a way that is named, and manifest.json, which says of each what a correct
reader makes of it. The same options give the same bytes, always.
"""

CORPUS_EPILOG = """\
examples
  imgwriter fuzz corpus --output corpus
  imgwriter fuzz corpus --kind all --output corpus
  imgwriter fuzz corpus --kind gpt --seed 7 --count 2000 --output corpus

DIR is made, or is empty, or holds an earlier corpus and nothing else, which
is replaced. docs/fuzzing.md describes the manifest and lists the deviations.

exit status
  0 done; 1 refused; 2 wrong usage; 3 a bug
"""

DICTIONARY_DESCRIPTION = """\
Print the words of all formats (signatures, magic numbers, type GUIDs, sizes
at their limits) as a dictionary for AFL++ (-x) and libFuzzer (-dict=).
"""

DICTIONARY_EPILOG = """\
examples
  imgwriter fuzz dictionary > imgwriter.dict
  afl-fuzz -x imgwriter.dict -i seeds -o findings -- ./parser @@
"""

EPILOG = """\
examples
  imgwriter fuzz corpus --kind gpt --output corpus
  imgwriter fuzz compare corpus
  imgwriter fuzz dictionary > imgwriter.dict

'imgwriter fuzz COMMAND --help' lists what a command takes.
"""


def add_fuzz(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its subcommands."""
    parser = commands.add_parser(
        "fuzz",
        help="make material for fuzzing readers of tables and images",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    subcommands = parser.add_subparsers(
        prog="imgwriter fuzz", dest="fuzz_command", metavar="COMMAND", title="commands", required=True
    )
    _add_corpus(subcommands)
    _add_dictionary(subcommands)
    add_compare(subcommands)


def _add_corpus(subcommands: argparse._SubParsersAction[Any]) -> None:
    parser = subcommands.add_parser(
        "corpus",
        help="write a folder of images that deviate, with a manifest",
        usage=CORPUS_USAGE,
        description=CORPUS_DESCRIPTION,
        epilog=CORPUS_EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--output", metavar="DIR", required=True, help="the folder to make or to replace")
    add("--kind", choices=KINDS, default="gpt", metavar="KIND", help=f"{', '.join(KINDS)} (default gpt)")
    add(
        "--seed",
        type=typed(_natural),
        default=0,
        metavar="N",
        help="of the cases beyond the catalogue (default 0)",
    )
    add(
        "--count",
        type=typed(_natural),
        metavar="M",
        help="cases (default: each deviation of the catalogue once); those beyond combine and mutate",
    )
    add_said(parser)


def _add_dictionary(subcommands: argparse._SubParsersAction[Any]) -> None:
    parser = subcommands.add_parser(
        "dictionary",
        help="print a dictionary for AFL++ and libFuzzer",
        usage="imgwriter fuzz dictionary",
        description=DICTIONARY_DESCRIPTION,
        epilog=DICTIONARY_EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")


def add_said(parser: argparse.ArgumentParser) -> None:
    """Add what says what is printed."""
    add: Callable[..., argparse.Action] = parser.add_argument_group("what is said").add_argument
    add("--json", action="store_true", help="print the report as JSON on standard output")
    add("--quiet", action="store_true", help="print errors alone")
    add("--debug", action="store_true", help="show a traceback with an error")


def _natural(text: str) -> int:
    # int() would also take "1_000", " 7" and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise SpecError(f"{text!r} is no number from 0 on; give one of at most 18 digits")
    return int(text)


def to_corpus_spec(arguments: argparse.Namespace) -> CorpusSpec:
    """Return what ``fuzz corpus`` asks for.

    Raises:
        SpecError: It contradicts itself.
    """
    from imgwriter.fuzz.corpus import CorpusSpec

    return CorpusSpec(arguments.kind, arguments.output, arguments.seed, arguments.count)
