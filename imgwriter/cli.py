"""The command line: arguments in, exit status out; the only module that prints or reads the environment.

Standard output carries what was asked for (the table, or the document of ``--json``), standard error the
rest. What takes time to import is imported by the command that needs it: ``imgwriter --version`` loads
argparse and nothing more.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import imgwriter
from imgwriter import commands
from imgwriter.errors import (
    CapacityError,
    FormatError,
    GuestError,
    ImgwriterError,
    OutputError,
    PlanInvariantError,
    show,
)

if TYPE_CHECKING:
    from imgwriter.build import Progress
    from imgwriter.examine.browse import Browser
    from imgwriter.examine.opening import OpenedDisk
    from imgwriter.filedata import Amount

DONE = 0
REFUSED = 1
USAGE = 2
BUG = 3
SIGNALLED = 128
"""Added to a signal's number, as a shell reports it."""

STANDARD_OUTPUT = 1
STANDARD_ERROR = 2

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
    parser = commands.make_parser()
    try:
        arguments, unknown = parser.parse_known_args(argv)
    except commands.HelpAsked as asked:
        text = asked.text
        return _guarded(Namespace(command=None), lambda _: _printed(text))
    if unknown:
        parser.refuse(arguments, unknown)
    if arguments.version:
        return _guarded(arguments, _version)
    if arguments.command is None:
        parser.error("no command is given")
    return _guarded(arguments, _COMMANDS[arguments.command])


def _version(_arguments: Namespace) -> int:
    return _printed(f"imgwriter {imgwriter.__version__}")


def run() -> NoReturn:
    """Run the command line as a program, and end the process."""
    _occupy_standard_streams()
    gc.set_threshold(_OBJECTS)
    try:
        status = main()
    except SystemExit as end:  # argparse: words it cannot read
        status = end.code if isinstance(end.code, int) else USAGE
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # The interpreter would now free every object, one by one, which takes a fifth of a build's time.
    os._exit(status)


def _occupy_standard_streams() -> None:
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


def _guarded(arguments: Namespace, command: Callable[[Namespace], int]) -> int:
    """Run a command; turn what ends it into a sentence and an exit status."""
    debug = getattr(arguments, "debug", False)  # --version has none
    refused = _status_of_errors(arguments)
    try:
        with _signals_raise():
            return command(arguments)
    except Stopped as stop:
        name = signal.Signals(stop.number).name
        _complain(f"stopped by {name}; {_notes(stop) or 'no unfinished file is left behind'}")
        return SIGNALLED + stop.number
    except BrokenPipeError:
        _forget_stdout()
        return SIGNALLED + signal.SIGPIPE
    except PlanInvariantError as error:
        return _bug(error, debug)
    except ImgwriterError as error:
        _show_traceback(debug)
        _complain(_which(arguments, error) + str(error))
        if isinstance(error, CapacityError) and error.largest:
            print(_largest(error.largest), file=sys.stderr)
        if isinstance(error, GuestError) and error.log:
            print(
                "\n".join(["the guest's last lines:", *(f"  {line}" for line in error.log)]), file=sys.stderr
            )
        if notes := _notes(error):
            _complain(notes)
        return refused
    except MemoryError:
        _show_traceback(debug)
        _complain("there is not enough memory; end other programs, raise `ulimit -v`, or try --workers 1")
        return refused
    except Exception as error:  # the last resort: any other error is a bug, and the user is told so
        return _bug(error, debug)


def _status_of_errors(arguments: Namespace) -> int:
    """Return the exit status of an error: where 1 is an answer (they differ, there are findings), another."""
    answers = arguments.command in ("diff", "verify") or getattr(arguments, "fuzz_command", None) == "compare"
    return USAGE if answers else REFUSED


def _which(arguments: Namespace, error: ImgwriterError) -> str:
    """Return which image is damaged, to stand before what is wrong with it: a script may have several."""
    image = getattr(arguments, "image", None)
    return f"{show(os.fsencode(image))}: " if image and isinstance(error, FormatError) else ""


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


def _build(arguments: Namespace) -> int:
    from imgwriter.commands.build import to_spec

    spec = to_spec(arguments, dict(os.environ))
    # Only after the request is known to make sense: it takes longer than all before.
    from imgwriter import report
    from imgwriter.build import install_boot_loader, plan_image, write_image

    with _collection_paused():
        started = time.monotonic()
        plan = plan_image(spec)
        for warning in plan.warnings:
            _complain(f"warning: {warning}")
        result = None
        if not arguments.dry_run:
            if spec.streams:
                _refuse_terminal()
            known = len(plan.warnings)
            with _stages(arguments) as stages:
                plan = install_boot_loader(plan, stages)
            for warning in plan.warnings[known:]:
                _complain(f"warning: {warning}")
            with _progress(arguments, "writing") as progress:
                result = write_image(plan, progress, started)
        text, document = report.text(plan, result), report.document(plan, result)
        return _report(arguments, text, document, spec.streams and result is not None)


def _convert(arguments: Namespace) -> int:
    from imgwriter.commands.convert import to_spec

    spec = to_spec(arguments, dict(os.environ))
    from imgwriter import report
    from imgwriter.convert import convert_image, plan_conversion

    conversion = plan_conversion(spec)
    for warning in conversion.warnings:
        _complain(f"warning: {warning}")
    converted = None
    if not arguments.dry_run:
        if spec.streams:
            _refuse_terminal()
        with _progress(arguments, "converting") as progress:
            converted = convert_image(conversion, progress)
    text, document = (
        report.conversion(conversion, converted),
        report.conversion_document(conversion, converted),
    )
    return _report(arguments, text, document, spec.streams and converted is not None)


def _schema(_arguments: Namespace) -> int:
    import json

    from imgwriter.schema import json_schema

    return _printed(json.dumps(json_schema(), indent=2, sort_keys=True))


def _diff(arguments: Namespace) -> int:
    if arguments.limit < 0:
        _complain(f"--limit is {arguments.limit}; give 0 for all, or a number of lines")
        return USAGE
    from imgwriter.diff import report
    from imgwriter.diff.compare import compare_disks, differ

    with _collection_paused():
        a = _named(arguments.a, arguments.input_format_a)
        b = _named(arguments.b, arguments.input_format_b)
        if arguments.brief and not (arguments.files or arguments.ignore):
            return _differ(arguments, not differ(a, b))
        comparison = compare_disks(
            a,
            b,
            files=arguments.files,
            ignore=frozenset(arguments.ignore),
            examples=arguments.limit or sys.maxsize,
        )
    if arguments.brief:
        return _differ(arguments, comparison.same)
    if arguments.json:
        import json

        _printed(json.dumps(report.document(comparison, imgwriter.__version__), indent=2))
    else:
        _printed(report.text(comparison, arguments.limit or None))
    if comparison.unread:
        return USAGE
    return DONE if comparison.same else REFUSED


def _named(path: str, input_format: str | None) -> OpenedDisk:
    """Open one of several images; an error says which it is of."""
    from imgwriter.examine.opening import open_disk

    try:
        return open_disk(os.fsencode(path), input_format)
    except FormatError as error:
        raise FormatError(f"{show(os.fsencode(path))}: {error}", error.where, error.offset) from error


def _differ(arguments: Namespace, same: bool) -> int:
    if same:
        return DONE
    _printed(f"{show(os.fsencode(arguments.a))} and {show(os.fsencode(arguments.b))} differ")
    return REFUSED


def _map(arguments: Namespace) -> int:
    asked = [path for path in (arguments.svg, arguments.html) if path is not None]
    if not asked or asked == ["-", "-"]:
        _complain("give --svg FILE, --html FILE or both; one of them may be - for standard output")
        return USAGE
    if "-" in asked:
        _refuse_terminal()
    from imgwriter.examine.opening import open_disk
    from imgwriter.map.model import map_disk
    from imgwriter.map.output import write_picture
    from imgwriter.map.page import make_page
    from imgwriter.map.svg import draw

    with _collection_paused():
        drawn = map_disk(open_disk(os.fsencode(arguments.image), arguments.input_format))
        for path, make in ((arguments.svg, draw), (arguments.html, make_page)):
            if path is not None:
                write_picture(STANDARD_OUTPUT if path == "-" else os.fsencode(path), make(drawn))
    return DONE


def _fuzz(arguments: Namespace) -> int:
    return _FUZZ[arguments.fuzz_command](arguments)


def _fuzz_corpus(arguments: Namespace) -> int:
    from imgwriter.commands.fuzz import to_corpus_spec
    from imgwriter.fuzz.corpus import write_corpus

    spec = to_corpus_spec(arguments)
    with _progress(arguments, "writing") as progress:
        corpus = write_corpus(spec, progress)
    return _report(arguments, corpus.text(), corpus.document(), streamed=False)


def _fuzz_dictionary(_arguments: Namespace) -> int:
    from imgwriter.fuzz.dictionary import dictionary

    return _printed(dictionary())


def _fuzz_compare(arguments: Namespace) -> int:
    from imgwriter.commands.fuzz_compare import to_request
    from imgwriter.fuzz.compare import report
    from imgwriter.fuzz.compare.request import run_request

    with _count(arguments, "asking", "answers") as progress:
        comparison = run_request(to_request(arguments), progress)
    if arguments.json:
        import json

        _printed(json.dumps(report.document(comparison), indent=2))
    elif not arguments.quiet:
        _printed(report.text(comparison, arguments.groups))
    return DONE if report.agrees(comparison) else REFUSED


_FUZZ = {"corpus": _fuzz_corpus, "dictionary": _fuzz_dictionary, "compare": _fuzz_compare}


def _verify(arguments: Namespace) -> int:
    from imgwriter.verify import report
    from imgwriter.verify.image import verify_image

    with _progress(arguments, "verifying") as progress:
        verified = verify_image(
            os.fsencode(arguments.image),
            arguments.input_format,
            sector_size=arguments.sector_size,
            partition=arguments.partition,
            progress=progress,
        )
    if arguments.json:
        import json

        _printed(json.dumps(report.document(verified, imgwriter.__version__), indent=2))
    elif not arguments.quiet:
        _printed(report.text(verified))
    if verified.error:
        _complain(f"{show(os.fsencode(arguments.image))}: {verified.error}")
    if verified.findings:
        return REFUSED
    return USAGE if verified.error else DONE


def _inspect(arguments: Namespace) -> int:
    from imgwriter.examine.inspection import document
    from imgwriter.examine.inspection_text import text

    found = document(_opened(arguments))
    if not arguments.json:
        return _printed(text(found))
    import json

    return _printed(json.dumps({"schema": 1, "imgwriter": imgwriter.__version__} | found, indent=2))


def _ls(arguments: Namespace) -> int:
    from imgwriter.examine import listing

    with _collection_paused():
        browser = _browser(arguments)
        paths = [os.fsencode(path) for path in arguments.paths] or [b"/"]
        titled = arguments.recursive or len(paths) > 1
        listings = listing.listings(
            browser, paths, long=arguments.long, itself=arguments.directory, recursive=arguments.recursive
        )
        for number, each in enumerate(listings):
            if arguments.json:
                lines = listing.json_lines(each)
            else:
                lines = listing.text(each, long=arguments.long, titled=titled)
                lines = [*([""] if number else []), *lines]
            if lines:
                _printed("\n".join(lines))
    return DONE


def _cat(arguments: Namespace) -> int:
    from imgwriter import sink
    from imgwriter.examine.contents import concatenated

    paths = [os.fsencode(path) for path in arguments.paths]
    sink.stream(concatenated(_browser(arguments), paths), STANDARD_OUTPUT)
    return DONE


def _extract(arguments: Namespace) -> int:
    from imgwriter.examine.extraction import check_target, to_directory, to_tar
    from imgwriter.examine.selection import select

    to_stdout = arguments.to_tar == "-"
    if arguments.to_tar is not None and (arguments.owner or arguments.overwrite):
        _complain("--owner and --overwrite are of a directory; a tar has the image's owners: leave them out")
        return USAGE
    if to_stdout:
        _refuse_terminal()
    elif arguments.to_tar is not None:
        check_target(os.fsencode(arguments.image), os.fsencode(arguments.to_tar))
    with _collection_paused():
        inventory = select(_browser(arguments), [os.fsencode(path) for path in arguments.paths])
        with _progress(arguments, "extracting") as progress:
            if arguments.to_tar is not None:
                target = STANDARD_OUTPUT if to_stdout else os.fsencode(arguments.to_tar)
                extracted = to_tar(inventory, target, progress)
            else:
                extracted = to_directory(
                    inventory,
                    os.fsencode(arguments.output),
                    owner=arguments.owner,
                    overwrite=arguments.overwrite,
                    progress=progress,
                )
    for warning in extracted.warnings:
        _complain(f"warning: {warning}")
    if arguments.quiet:
        return DONE
    return (_told if to_stdout else _printed)(extracted.summary)


def _opened(arguments: Namespace) -> OpenedDisk:
    from imgwriter.examine.opening import open_disk

    return open_disk(os.fsencode(arguments.image), arguments.input_format, sector_size=arguments.sector_size)


def _browser(arguments: Namespace) -> Browser:
    from imgwriter.examine.browse import Browser
    from imgwriter.examine.choice import choose

    area, file_system = choose(_opened(arguments), arguments.partition)
    return Browser(file_system, f"{area.name} of {show(os.fsencode(arguments.image))}")


_COMMANDS = {
    "build": _build,
    "cat": _cat,
    "convert": _convert,
    "diff": _diff,
    "extract": _extract,
    "fuzz": _fuzz,
    "inspect": _inspect,
    "ls": _ls,
    "map": _map,
    "schema": _schema,
    "verify": _verify,
}


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Keep the cyclic garbage collector out of the way.

    A build makes hundreds of thousands of objects that live to its end, and no garbage in cycles: looking
    for some again and again would cost a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _report(arguments: Namespace, text: str, document: Mapping[str, object], streamed: bool) -> int:
    """Print what is said at the end: on standard error where standard output is the image."""
    tell = _told if streamed else _printed
    if arguments.json:
        import json

        return tell(json.dumps(document, indent=2))
    if arguments.quiet and not getattr(arguments, "dry_run", False):
        return DONE
    return tell(text)


@contextmanager
def _progress(arguments: Namespace, verb: str) -> Iterator[Progress | None]:
    """Give a progress bar's function on a terminal, else None; ``verb`` is what it says besides files."""
    if arguments.quiet or not sys.stderr.isatty():
        yield None
        return
    # rich takes a fifth of a second to import, so only where a bar is seen.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )
    # Drawn when the writer calls, not by a thread: a process with threads could not fork workers.
    with Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task(verb, total=None)

        def show_progress(done: Amount, total: Amount) -> None:
            files = f"{verb}, {done.files:,} of {total.files:,} files" if total.files else verb
            bar.update(task, description=files, completed=done.bytes, total=total.bytes, refresh=True)

        yield show_progress


@contextmanager
def _stages(arguments: Namespace) -> Iterator[Callable[[str], None] | None]:
    """Give a function that shows the stage of a guest on a terminal, else None."""
    if arguments.quiet or not sys.stderr.isatty():
        yield None
        return

    def show_stage(stage: str) -> None:
        # One line that each stage takes over: carriage return, erase to its end (ECMA-48, EL).
        sys.stderr.write(f"\r\x1b[Kguest: {stage} ...")
        sys.stderr.flush()

    try:
        yield show_stage
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


@contextmanager
def _count(arguments: Namespace, verb: str, what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows on a terminal how many of how many are done, else one that does nothing."""
    if arguments.quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return

    def show_count(done: int, total: int) -> None:
        sys.stderr.write(f"\r{verb}: {done:,} of {total:,} {what} ")
        sys.stderr.flush()

    try:
        yield show_count
    finally:
        sys.stderr.write("\r\x1b[K")


def _printed(text: str) -> int:
    """Print to standard output, all of it, and return DONE.

    Raises:
        OutputError: It takes no more.
        BrokenPipeError: Nobody reads it.
    """
    try:
        # A path may hold bytes that are no text: they go out as they came in.
        sys.stdout.buffer.write(os.fsencode(text) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"standard output takes no more bytes: {error.strerror}; look at what reads it"
        raise OutputError(message, "-") from error
    return DONE


def _told(text: str) -> int:
    """Print to standard error, and return DONE."""
    sys.stderr.buffer.write(os.fsencode(text) + b"\n")
    return DONE


def _refuse_terminal() -> None:
    if sys.stdout.isatty():
        raise OutputError("standard output is a terminal; send it to a file or a pipe", "-")


def _complain(message: str) -> None:
    print(f"imgwriter: {show(os.fsencode(message))}", file=sys.stderr)


def _notes(error: BaseException) -> str:
    """Return what was added to an error on its way: what was left behind."""
    return "; ".join(getattr(error, "__notes__", ()))


def _largest(largest: Sequence[tuple[int, bytes]]) -> str:
    from imgwriter.units import format_size

    return "\n".join(
        ["the largest files:", *(f"{format_size(size):>12}  {show(path)}" for size, path in largest)]
    )


def _bug(error: BaseException, debug: bool) -> int:
    _show_traceback(debug)
    remedy = "please report it" if debug else "please report it with the output of --debug"
    _complain(f"this is a bug in imgwriter, {remedy}: {type(error).__name__}: {error}")
    return BUG


def _show_traceback(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()


def _forget_stdout() -> None:
    """Let Python end without writing to a pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
