"""Standard output and standard error: what was asked for goes to the one, the rest to the other.

A path may hold bytes that are no text: they go out as they came in.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping

from imgwriter.errors import OutputError, show
from imgwriter.exit_status import DONE

STANDARD_OUTPUT = 1
STANDARD_ERROR = 2


def printed(text: str) -> int:
    """Print to standard output, all of it, and return DONE.

    Raises:
        OutputError: It takes no more.
        BrokenPipeError: Nobody reads it.
    """
    try:
        sys.stdout.buffer.write(os.fsencode(text) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"standard output takes no more bytes: {error.strerror}; look at what reads it"
        raise OutputError(message, "-") from error
    return DONE


def told(text: str) -> int:
    """Print to standard error, and return DONE."""
    sys.stderr.buffer.write(os.fsencode(text) + b"\n")
    return DONE


def reported(arguments: Namespace, text: str, document: Mapping[str, object], *, streamed: bool) -> int:
    """Print what is said at the end, as text or as JSON, and return DONE.

    Args:
        arguments: Of a command with ``--json`` and ``--quiet``.
        text: For people.
        document: For programs.
        streamed: Whether standard output has the image: standard error is written to then.

    Raises:
        OutputError, BrokenPipeError: As :func:`printed`.
    """
    tell = told if streamed else printed
    if arguments.json:
        return tell(as_json(document))
    if arguments.quiet and not getattr(arguments, "dry_run", False):
        return DONE
    return tell(text)


def as_json(document: Mapping[str, object]) -> str:
    """Return a document of ``--json``."""
    import json

    return json.dumps(document, indent=2)


def complain(message: str) -> None:
    """Say on standard error what is wrong; what a terminal would obey is escaped."""
    print(f"imgwriter: {show(os.fsencode(message))}", file=sys.stderr)


def refuse_terminal() -> None:
    """Refuse to send bytes that are no text to a terminal.

    Raises:
        OutputError: Standard output is one.
    """
    if sys.stdout.isatty():
        raise OutputError("standard output is a terminal; send it to a file or a pipe", "-")


def occupy_standard_streams() -> None:
    """Open the standard streams that are closed: a file opened later would get their numbers, and our words.

    They are opened the wrong way round, so that reading and writing them fails as it did; only what is said
    to a closed standard error is lost without a word.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == STANDARD_OUTPUT else os.O_WRONLY)  # the lowest free
    # They stay open as long as the process, so that no block closes them (SIM115).
    if sys.stdout is None:
        sys.stdout = open(STANDARD_OUTPUT, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(STANDARD_ERROR, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115


def forget_standard_output() -> None:
    """Let Python end without writing to a pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
