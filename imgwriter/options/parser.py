"""The parser's own manners, and the options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from imgwriter.errors import SpecError
from imgwriter.values import parse_size_in_bytes, parse_time

T = TypeVar("T")


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help whose descriptions begin in one column, near the options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence and whose exit status is 2.

    Attributes:
        intermixed: Whether options may stand between paths, as in ``ls IMAGE --partition 1 PATH``.
    """

    intermixed = False

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
    add("--qcow2-compat", metavar="1.1|0.10", help="qcow2 of version 3 (default) or 2")
    add("--compression", metavar="zlib|zstd", help="of qcow2-compressed (default zlib)")
    add("--compression-level", type=int, metavar="N", help="its level (default: the best bargain)")
    add("--vhd-subformat", metavar="dynamic|fixed", help="of a vpc (default dynamic)")
    add(
        "--force-size",
        action=argparse.BooleanOptionalAction,
        help="a vpc of exactly the size, in whole MiB as Azure wants it (default: as CHS rounds it up)",
    )
    add("--vdi-subformat", metavar="dynamic|static", help="of a vdi (default dynamic)")


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
        type=int,
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
