"""The command line: arguments in, exit status out.

::

    run ──> main ──> Parser ──> a command's run ──> exit status
                                    │
                       what ends it otherwise: a sentence on standard error, and a status of its own

What a command does is in :mod:`imgwriter.commands`. What takes time to import is imported by the command that
needs it: ``imgwriter --version`` loads argparse and nothing more.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import imgwriter
from imgwriter import exit_status
from imgwriter.commands import HelpAsked, make_parser
from imgwriter.errors import (
    CapacityError,
    FormatError,
    GuestError,
    ImgwriterError,
    PlanInvariantError,
    show,
)
from imgwriter.terminal import complain, forget_standard_output, occupy_standard_streams, printed

_OBJECTS = 50_000
"""New objects after which garbage is looked for: with the usual 700, a tenth of the start goes into that."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked to stop. Not an Exception: nothing on the way up may take it for an error of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: The arguments without the program's name; the process's own when None.
    """
    parser = make_parser()
    try:
        arguments, unknown = parser.parse_known_args(argv)
    except HelpAsked as asked:
        text = asked.text
        return _guarded(Namespace(), lambda _: printed(text))
    if unknown:
        parser.refuse(arguments, unknown)
    if arguments.version:
        return _guarded(arguments, _version)
    if arguments.command is None:
        parser.error("no command is given")
    return _guarded(arguments, arguments.run)


def _version(_arguments: Namespace) -> int:
    return printed(f"imgwriter {imgwriter.__version__}")


def run() -> NoReturn:
    """Run the command line as a program, and end the process."""
    occupy_standard_streams()
    gc.set_threshold(_OBJECTS)
    try:
        status = main()
    except SystemExit as end:  # argparse: words it cannot read
        status = end.code if isinstance(end.code, int) else exit_status.USAGE
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # The interpreter would now free every object, one by one, which takes a fifth of a build's time.
    os._exit(status)


def _guarded(arguments: Namespace, command: Callable[[Namespace], int]) -> int:
    """Run a command; turn what ends it into a sentence and an exit status."""
    debug = getattr(arguments, "debug", False)  # --version has none
    # Of a command whose 1 is an answer, an error is another.
    refused = getattr(arguments, "status_of_errors", exit_status.REFUSED)
    try:
        with _signals_raise():
            return command(arguments)
    except Stopped as stop:
        name = signal.Signals(stop.number).name
        complain(f"stopped by {name}; {_notes(stop) or 'no unfinished file is left behind'}")
        return exit_status.SIGNALLED + stop.number
    except BrokenPipeError:
        forget_standard_output()
        return exit_status.SIGNALLED + signal.SIGPIPE
    except PlanInvariantError as error:
        return _bug(error, debug)
    except ImgwriterError as error:
        _show_traceback(debug)
        _explain(arguments, error)
        return refused
    except MemoryError:
        _show_traceback(debug)
        complain("there is not enough memory; end other programs, raise `ulimit -v`, or try --workers 1")
        return refused
    except Exception as error:  # the last resort: any other error is a bug, and the user is told so
        return _bug(error, debug)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the block by an exception, so that all is cleaned up."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:  # a second one must not disturb the cleaning up
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    # nohup and background jobs ignore some: that stays.
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    for each, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _explain(arguments: Namespace, error: ImgwriterError) -> None:
    """Say what is wrong, and what helps to find it."""
    complain(_which(arguments, error) + str(error))
    if isinstance(error, CapacityError) and error.largest:
        print(_largest(error.largest), file=sys.stderr)
    if isinstance(error, GuestError) and error.log:
        print("\n".join(["the guest's last lines:", *(f"  {line}" for line in error.log)]), file=sys.stderr)
    if notes := _notes(error):
        complain(notes)


def _which(arguments: Namespace, error: ImgwriterError) -> str:
    """Return which image is damaged, to stand before what is wrong with it: a script may have several."""
    image = getattr(arguments, "image", None)
    return f"{show(os.fsencode(image))}: " if image and isinstance(error, FormatError) else ""


def _largest(largest: Sequence[tuple[int, bytes]]) -> str:
    from imgwriter.units import format_size

    return "\n".join(
        ["the largest files:", *(f"{format_size(size):>12}  {show(path)}" for size, path in largest)]
    )


def _notes(error: BaseException) -> str:
    """Return what was added to an error on its way: what was left behind."""
    return "; ".join(getattr(error, "__notes__", ()))


def _bug(error: BaseException, debug: bool) -> int:
    _show_traceback(debug)
    remedy = "please report it" if debug else "please report it with the output of --debug"
    complain(f"this is a bug in imgwriter, {remedy}: {type(error).__name__}: {error}")
    return exit_status.BUG


def _show_traceback(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
