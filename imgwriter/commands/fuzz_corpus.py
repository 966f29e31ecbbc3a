"""``imgwriter fuzz corpus``: a folder of images that deviate, with a manifest."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from imgwriter import progress
from imgwriter.commands.parser import typed
from imgwriter.errors import SpecError
from imgwriter.terminal import reported

if TYPE_CHECKING:
    from imgwriter.fuzz.corpus import CorpusSpec

KINDS = ("mbr", "gpt", "fat", "ext4", "qcow2", "vhd", "all")

USAGE = "imgwriter fuzz corpus --output DIR [options]"

DESCRIPTION = """\
Write a corpus: small sparse images that deviate from a specification, each
in a way that is named, and manifest.json, which says of each what a correct
reader makes of it. The same options give the same bytes, always.
"""

EPILOG = """\
examples
  imgwriter fuzz corpus --output corpus
  imgwriter fuzz corpus --kind all --output corpus
  imgwriter fuzz corpus --kind gpt --seed 7 --count 2000 --output corpus

DIR is made, or is empty, or holds an earlier corpus and nothing else, which
is replaced. docs/fuzzing.md describes the manifest and lists the deviations.

exit status
  0 done; 1 refused; 2 wrong usage; 3 a bug
"""


def add_corpus(subcommands: argparse._SubParsersAction[Any]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "corpus",
        help="write a folder of images that deviate, with a manifest",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
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
    add = parser.add_argument_group("what is said").add_argument
    add("--json", action="store_true", help="print the report as JSON on standard output")
    add("--quiet", action="store_true", help="print errors alone")
    add("--debug", action="store_true", help="show a traceback with an error")


def _natural(text: str) -> int:
    # int() would also take "1_000", " 7" and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise SpecError(f"{text!r} is no number from 0 on; give one of at most 18 digits")
    return int(text)


def to_spec(arguments: argparse.Namespace) -> CorpusSpec:
    """Return what ``fuzz corpus`` asks for.

    Raises:
        SpecError: It contradicts itself.
    """
    from imgwriter.fuzz.corpus import CorpusSpec

    return CorpusSpec(arguments.kind, arguments.output, arguments.seed, arguments.count)


def run(arguments: argparse.Namespace) -> int:
    """Write the corpus, and return the exit status."""
    from imgwriter.fuzz.corpus import write_corpus

    spec = to_spec(arguments)
    with progress.bar("writing", quiet=arguments.quiet) as show_progress:
        corpus = write_corpus(spec, show_progress)
    return reported(arguments, corpus.text(), corpus.document(), streamed=False)
