"""``imgwriter build``: trees of files become a disk image."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgwriter import progress
from imgwriter.collection import collection_paused, keep
from imgwriter.commands.build_options import add_options
from imgwriter.errors import SpecError
from imgwriter.terminal import complain, refuse_terminal, reported
from imgwriter.values import source_date_epoch

if TYPE_CHECKING:
    from uuid import UUID

    from imgwriter.spec import ImageSpec

USAGE = """\
imgwriter build [SPEC] [options]
       imgwriter build (--tree DIR|TAR | --content SOURCE:TARGET)... [options]"""

DESCRIPTION = """\
Make a disk image out of directories, tar files and single paths: partition
table, ext4 root and, where the table has one, an EFI system partition. No
root, no loop device, no other program is needed, and the same input gives the
same bytes.
"""

EPILOG = """\
sizes
  A bare number is MiB; B, KiB, MiB, GiB and TiB may follow: 1200, 64KiB, 2GiB.

examples
  imgwriter build --tree rootfs
      a legacy (MBR) image of a directory: nixos-disk-image/nixos.img
  imgwriter build --tree debian.tar.zst --partition-table efi \\
                  --esp-content boot/EFI:/EFI --disk-size 4GiB
      a tar becomes the root of an EFI disk of 4 GiB, with a loader on its ESP
  imgwriter build --tree base.tar --tree overlay \\
                  --content motd:/etc/motd:0644 --dry-run
      two layers and a file: show the plan and write nothing
  imgwriter build --tree rootfs --boot-loader grub
      an image that boots, of a tree with a kernel and GRUB's files
  imgwriter build image.toml --format qcow2
      what a file says, as another container; docs/spec-file.md has its keys

exit status
  0    done
  1    refused: the sentence on standard error says what, and what to change;
       the image that was there, if any, is untouched
  2    the command line could not be understood
  3    imgwriter broke a rule of its own: a bug, please report it
  129, 130, 143  stopped by SIGHUP, Ctrl-C or SIGTERM; nothing is left behind
  141  nobody read standard output to its end

docs/command-line.md has each option at length, and the schema of --json.
"""


def add_build(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "build",
        help="make a disk image",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        # What is not given leaves no trace, so that a spec file's say holds, and then ImageSpec's defaults.
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "spec_file",
        nargs="?",
        metavar="SPEC",
        help="a TOML or JSON file that says all this; options override it",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def to_spec(arguments: argparse.Namespace, environ: dict[str, str]) -> ImageSpec:
    """Return what the command line asks for.

    Args:
        arguments: What :func:`make_parser` made of ``build``.
        environ: The environment; SOURCE_DATE_EPOCH is all that is looked at.

    Raises:
        SpecError: The request contradicts itself, an option has no effect, or SOURCE_DATE_EPOCH is no time.
        SourceError: The spec file cannot be read.
    """
    from imgwriter.spec import Content, ImageSpec, boot  # dataclasses and uuid are not needed for --version

    names = ImageSpec.__dataclass_fields__
    given = {name: value for name, value in vars(arguments).items() if name in names}
    for name in ("contents", "esp_contents", "boot_contents"):
        if name in given:
            given[name] = [Content(*words) for words in given[name]]
    if "partition_guids" in given:
        given["partition_guids"] = _by_number(given["partition_guids"])
    epoch = source_date_epoch(environ)
    fields = {} if epoch is None else {"time": epoch, "clamp": epoch}
    if hasattr(arguments, "spec_file"):
        from imgwriter.spec.file import read_fields

        fields |= read_fields(arguments.spec_file)
    spec = ImageSpec(**(fields | given))
    boot.refuse_unused(spec, given)
    return spec


def _by_number(pairs: Sequence[tuple[int, UUID]]) -> dict[int, UUID]:
    guids: dict[int, UUID] = {}
    for number, guid in pairs:
        if number in guids:
            raise SpecError(f"partition {number} is given a GUID twice; leave one of them out")
        guids[number] = guid
    return guids


def run(arguments: argparse.Namespace) -> int:
    """Build the image, and return the exit status."""
    spec = to_spec(arguments, dict(os.environ))
    # Only after the request is known to make sense: it takes longer than all before.
    from imgwriter import report
    from imgwriter.build import install_boot_loader, plan_image, write_image

    with collection_paused():
        started = time.monotonic()
        plan = plan_image(spec)
        for warning in plan.warnings:
            complain(f"warning: {warning}")
        result = None
        if not arguments.dry_run:
            if spec.streams:
                refuse_terminal()
            known = len(plan.warnings)
            with progress.stages(quiet=arguments.quiet) as show_stage:
                plan = install_boot_loader(plan, show_stage)
            for warning in plan.warnings[known:]:
                complain(f"warning: {warning}")
            with progress.bar("writing", quiet=arguments.quiet) as show_progress:
                result = write_image(plan, show_progress, started)
        keep(plan, result)
        return reported(
            arguments,
            report.text(plan, result),
            report.document(plan, result),
            streamed=spec.streams and result is not None,
        )
