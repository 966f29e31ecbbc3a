"""``imgwriter convert``: a disk from one container to another."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from imgwriter import progress
from imgwriter.commands.parser import (
    add_container,
    add_report,
    add_time,
    add_writing,
    container_options,
    input_format,
    output_format,
)
from imgwriter.terminal import complain, refuse_terminal, reported
from imgwriter.values import source_date_epoch

if TYPE_CHECKING:
    from imgwriter.convert import ConvertSpec

USAGE = "imgwriter convert IN OUT [options]"

DESCRIPTION = """\
Convert a disk image from one container to another. The disk stays the same,
byte for byte; holes stay holes, and runs of zeros become holes. What IN is
is told by its content, unless --input-format says it.
"""

EPILOG = """\
examples
  imgwriter convert nixos.img nixos.qcow2
  imgwriter convert nixos.img small.qcow2 --format qcow2-compressed \\
                    --compression zstd
  imgwriter convert nixos.qcow2 azure.vhd --vhd-subformat fixed --force-size
  imgwriter convert untrusted.img - --input-format raw --format raw | upload

exit status
  0 done; 1 refused, or IN is damaged: OUT is as it was; 2 wrong usage;
  129, 130, 143 stopped by SIGHUP, Ctrl-C or SIGTERM; nothing is left behind
"""


def add_convert(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "convert",
        help="convert a disk image",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("source", metavar="IN", help="the image to read")
    parser.add_argument("output", metavar="OUT", help="the file to write, replaced when it is there; or -")
    add = parser.add_argument_group("formats").add_argument
    add(
        "--format",
        type=output_format(),
        metavar="FORMAT",
        help="raw, qcow2, qcow2-compressed, vpc or vdi (default: by the name of OUT)",
    )
    add(
        "--input-format",
        type=input_format(),
        metavar="FORMAT",
        help="raw, qcow2, vpc or vdi (default: by the content of IN)",
    )
    add_container(add)
    add = parser.add_argument_group("the new image").add_argument
    add("--seed", metavar="TEXT", help="what identifiers of the container derive from (a stable default)")
    add_time(add)
    add("--sha256", action="store_true", help="write the image's checksum beside it")
    add_writing(add)
    add_report(parser)
    parser.set_defaults(run=run, force_size=False, sync=False)


def to_spec(arguments: argparse.Namespace, environ: dict[str, str]) -> ConvertSpec:
    """Return what the command line asks for.

    Args:
        arguments: What the parser made of ``convert``.
        environ: The environment; SOURCE_DATE_EPOCH is all that is looked at.

    Raises:
        SpecError: The request contradicts itself, or SOURCE_DATE_EPOCH is no time.
    """
    from imgwriter.convert import ConvertSpec, format_of

    given = arguments.time if arguments.time is not None else source_date_epoch(environ)
    return ConvertSpec(
        source=arguments.source,
        output=arguments.output,
        format=arguments.format or format_of(arguments.output),
        input_format=arguments.input_format,
        **container_options(arguments),
        seed=arguments.seed,
        time=1 if given is None else given,
        sha256=arguments.sha256,
        sync=arguments.sync,
        workers=arguments.workers,
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert the image, and return the exit status."""
    spec = to_spec(arguments, dict(os.environ))
    from imgwriter import report
    from imgwriter.convert import convert_image, plan_conversion

    conversion = plan_conversion(spec)
    for warning in conversion.warnings:
        complain(f"warning: {warning}")
    converted = None
    if not arguments.dry_run:
        if spec.streams:
            refuse_terminal()
        with progress.bar("converting", quiet=arguments.quiet) as show_progress:
            converted = convert_image(conversion, show_progress)
    return reported(
        arguments,
        report.conversion(conversion, converted),
        report.conversion_document(conversion, converted),
        streamed=spec.streams and converted is not None,
    )
