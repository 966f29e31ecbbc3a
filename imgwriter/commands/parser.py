"""The parser's own manners, and the options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn, TypeVar

from imgwriter.errors import SpecError
from imgwriter.values import parse_size_in_bytes, parse_time

T = TypeVar("T")


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help whose descriptions begin in one column, near the options.

    Args:
        prog: What the help is of.
        width: Columns; those of the terminal when None.
    """

    def __init__(self, prog: str, width: int | None = None) -> None:
        super().__init__(prog, max_help_position=26, width=width)

    def add_argument(self, action: argparse.Action) -> None:
        """Make room for an option, or for the commands: that these stand further in, argparse forgets."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


@cache
def _unseen(prog: str) -> Formatter:
    """Return a formatter whose text nobody sees.

    argparse wants one for each argument that is added, to look whether its metavar can be formatted. One that
    asks for the terminal's width imports shutil: a tenth of ``--version``.
    """
    return Formatter(prog, width=80)


class HelpAsked(Exception):
    """``--help`` was given.

    Attributes:
        text: The help.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class _Help(argparse.Action):
    """Hands the help over: argparse would print it itself, and not tell when that fails."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise HelpAsked(parser.format_help().rstrip("\n"))


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence and whose exit status is 2.

    Attributes:
        intermixed: Whether options may stand between paths, as in ``ls IMAGE --partition 1 PATH``.
    """

    intermixed = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(add_help=False, allow_abbrev=False, formatter_class=_unseen, **settings)
        self.add_argument(
            "-h", "--help", action=_Help, nargs=0, default=argparse.SUPPRESS, help="show this help and exit"
        )

    def format_help(self) -> str:
        self.formatter_class = Formatter
        return super().format_help()

    def parse_known_args(  # type: ignore[override]  # argparse's overloads tell apart what is Any here
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        if not self.intermixed:
            return super().parse_known_args(args, namespace)
        self.intermixed = False  # what is called next comes back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.intermixed = True

    def refuse(self, arguments: argparse.Namespace, words: Sequence[str]) -> NoReturn:
        """Say that words of a command line are not known, in the name of the command that was given them.

        Args:
            arguments: What was made of the words that are known.
            words: The others.
        """
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen = action.choices.get(getattr(arguments, action.dest))
                if chosen is not None:
                    chosen.refuse(arguments, words)
        options = [word.split("=")[0] for word in words if word.startswith("-")]
        if not options:
            self.error(f"{words[0]!r} is one word too many")
        from difflib import get_close_matches

        known = [name for action in self._actions for name in action.option_strings]
        near = get_close_matches(options[0], known, n=1)
        self.error(f"there is no option {options[0]}" + (f"; {near[0]} is the nearest" if near else ""))

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return ``parse`` with its SpecError told as argparse wants it, so that the sentence is shown."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def one_of(*words: T, explain: Callable[[str], object] | None = None) -> Callable[[str], T]:
    """Return what takes one of the words (or numbers) and nothing else.

    Args:
        words: All that there are; tests/unit/test_commands.py compares them with what the request allows.
        explain: Raises a SpecError that says more of a word that is known but not taken.
    """

    def choose(text: str) -> T:
        for word in words:
            if str(word) == text:
                return word
        if explain is not None:
            explain(text)
        raise SpecError(f"{text!r} is unknown; use one of {', '.join(map(str, words))}")

    return typed(choose)


def words(*allowed: str | int) -> dict[str, Any]:
    """Return what makes an option one of the words: keywords of add_argument, which show them in its help."""
    return {"type": one_of(*allowed), "metavar": "|".join(map(str, allowed))}


def positive(text: str) -> int:
    """Return a number that is 1 or more.

    Raises:
        SpecError: The text is none.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) < 1:
        raise SpecError(f"{text!r} is not a positive number; give one")
    return int(text)


def output_format() -> Callable[[str], str]:
    """Return what takes the name of a container that is written."""
    return one_of("raw", "qcow2", "qcow2-compressed", "vpc", "vdi", explain=_explain_format)


def input_format() -> Callable[[str], str]:
    """Return what takes the name of a container that is read."""
    return one_of("raw", "qcow2", "vpc", "vdi")


def _explain_format(text: str) -> None:
    from imgwriter.container import check_format

    check_format(text)


def partition_number(text: str) -> int:
    """Return the number of a partition; 0 is a disk without a table.

    Raises:
        SpecError: The text is none.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise SpecError(f"partition {text!r} is not a number; 'imgwriter inspect' lists them")
    return int(text)


def add_container(add: Callable[..., argparse.Action]) -> None:
    """Add what says how an image is contained; :func:`container_options` reads it.

    Args:
        add: The add_argument of a group.
    """
    add(
        "--cluster-size",
        type=typed(parse_size_in_bytes),
        metavar="SIZE",
        help="of a qcow2: 512 B to 2 MiB, a power of two (default 64 KiB)",
    )
    add("--qcow2-compat", **words("1.1", "0.10"), help="qcow2 of version 3 (default) or 2")
    add("--compression", **words("zlib", "zstd"), help="of qcow2-compressed (default zlib)")
    add("--compression-level", type=int, metavar="N", help="its level (default: the best bargain)")
    add("--vhd-subformat", **words("dynamic", "fixed"), help="of a vpc (default dynamic)")
    add(
        "--force-size",
        action=argparse.BooleanOptionalAction,
        help="a vpc of exactly the size, in whole MiB as Azure wants it (default: as CHS rounds it up)",
    )
    add("--vdi-subformat", **words("dynamic", "static"), help="of a vdi (default dynamic)")


def container_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a ContainerOptions, less the format."""
    names = (
        "cluster_size", "qcow2_compat", "compression", "compression_level", "vhd_subformat", "force_size",
        "vdi_subformat",
    )  # fmt: skip
    return {name: getattr(arguments, name) for name in names}


def add_writing(add: Callable[..., argparse.Action]) -> None:
    """Add what says how a file is written."""
    add("--sync", action=argparse.BooleanOptionalAction, help="return only when the image is on the disk")
    add(
        "--workers",
        "--threads",
        type=typed(positive),
        metavar="N",
        help="processes that write (default 2) or compress (default: one a core); the bytes are the same",
    )


def add_time(add: Callable[..., argparse.Action]) -> None:
    """Add the time of what imgwriter makes itself."""
    add(
        "--time",
        type=typed(parse_time),
        metavar="SECONDS",
        help="the time on what imgwriter makes itself (default SOURCE_DATE_EPOCH, else 1)",
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add what says what is printed."""
    add = parser.add_argument_group("what is said").add_argument
    add("--dry-run", action="store_true", default=False, help="print the plan and write nothing")
    add("--json", action="store_true", default=False, help="print the report as JSON on standard output")
    add("--quiet", action="store_true", default=False, help="print errors and warnings alone")
    add("--debug", action="store_true", default=False, help="show a traceback with an error")
