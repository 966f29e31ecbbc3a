"""The recipe, from top to bottom: scan, sizes, plan, boot loader, compose, write.

::

    ImageSpec ── plan_image ──> ImagePlan ── volume() ──> Volume ── encoder.encode ── sink ──> the file
                 scan, decide   (a value)    encode                 its container      write
                                    └── install_boot_loader: in a guest, where only that can; another plan

Everything that can be refused is refused by :func:`plan_image`. It reads the trees' metadata, finds what a
guest is made from where one is to be run, and decides all the rest by arithmetic; a plan of a disk of 16 TiB
costs what its content costs. Nothing here decides how a structure looks: that is ``ext4/``, ``fat/`` and
``disk``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from imgwriter import encoder, outputs, sidecar, sink
from imgwriter.deferred import Deferred
from imgwriter.extent import Volume
from imgwriter.filedata import Amount
from imgwriter.image_plan import FileSystem, ImagePlan, check_table, plan_disk, seed_of
from imgwriter.sources import read_sources, spool_directory
from imgwriter.spec import ImageSpec, boot

__all__ = ["FileSystem", "ImagePlan", "Progress", "Result", "build_image", "plan_image", "write_image"]

Progress: TypeAlias = Callable[[Amount, Amount], None]
"""Called with (what is written, all of it): bytes and files."""

STANDARD_OUTPUT = 1


@dataclass(frozen=True, slots=True)
class Result:
    """An image that was written.

    Attributes:
        plan: What was built.
        disk: The disk that is in the image: what it holds where, each extent with its label.
        path: The image.
        size: Bytes of the file: of a container other than raw, not the disk's.
        allocated: Bytes of it that were written; the others are zeros, and holes where they can be.
        sha256: The image's checksum in hexadecimal, where it was asked for.
        sidecars: Files that were written beside it, by what they are: "bmap", "sha256", "manifest".
        seconds: How long it took.
    """

    plan: ImagePlan
    disk: Volume
    path: bytes
    size: int
    allocated: int
    sha256: str | None
    sidecars: Mapping[str, bytes]
    seconds: float


def build_image(
    spec: ImageSpec, progress: Progress | None = None, stages: Callable[[str], None] | None = None
) -> Result:
    """Make the image that ``spec`` asks for, replacing one that is there, or change nothing.

    Args:
        spec: What to make.
        progress: Called a few times a second while the image is written, in this thread.
        stages: Told of each stage of a guest, where one installs the boot loader.

    Raises:
        ImgwriterError: It cannot be made; the message says why and what to change.
    """
    started = time.monotonic()
    return write_image(install_boot_loader(plan_image(spec), stages), progress, started)


def plan_image(spec: ImageSpec) -> ImagePlan:
    """Read what goes in and decide everything; write nothing.

    Raises:
        SpecError: The request contradicts itself.
        SourceError: Something in the trees cannot go in.
        CapacityError: It does not fit.
        GuestError: A guest is to install the boot loader, and there is no QEMU, or a KVM that is asked for.
        FormatError: A part of what the guest is made from is damaged.
    """
    check_table(spec)
    outputs.check(spec)
    sources = read_sources(spec)
    warnings = (*outputs.warnings(spec), *sources.warnings)
    if boot.without_guest(spec):
        from imgwriter.boot_files import with_boot_loader  # what only a boot loader needs

        trees, installed = with_boot_loader(spec, sources.trees)
        return plan_disk(spec, trees, (*warnings, *installed.warnings), installed)
    plan = plan_disk(spec, sources.trees, warnings)
    if spec.boot_choice.loader != boot.GUEST:
        return plan
    from imgwriter.install import find_parts  # readers, and all about guests: most images have none

    return replace(plan, parts=find_parts(plan))


def install_boot_loader(plan: ImagePlan, stages: Callable[[str], None] | None = None) -> ImagePlan:
    """Run the image's own installer of its boot loader in a guest, where one is asked for.

    Args:
        plan: From :func:`plan_image`; not to be used any more afterwards.
        stages: Told of each stage of the guest.

    Returns:
        The plan of the image with what was installed; the same plan where no guest is asked for.

    Raises:
        GuestError: The guest or the installer failed.
        SourceError: What the installer did cannot be taken over.
        CapacityError: The image does not fit any more with what was installed.
        OutputError: There is no room for the scratch disk.
    """
    if plan.spec.boot_choice.loader != boot.GUEST:
        return plan
    from imgwriter.install import run_installer  # as find_parts

    return run_installer(plan, stages)


def write_image(plan: ImagePlan, progress: Progress | None = None, started: float | None = None) -> Result:
    """Write a planned image and the files beside it that were asked for, or change nothing.

    All of them are opened before the first is written, and get their names when the last is finished, the
    image after the others.

    Args:
        plan: From :func:`plan_image`.
        progress: As for :func:`build_image`.
        started: When the build began, by time.monotonic(); now when None.

    Raises:
        OutputError: A file cannot be written.
        SourceError: A source cannot be read, or is not what was scanned.
    """
    started = time.monotonic() if started is None else started
    spec, path = plan.spec, plan.path
    volume = plan.volume()
    content = encoder.encode(spec, volume, seed_of(spec), spec.time)
    targets = outputs.targets(plan)
    with (
        outputs.directory(b"" if spec.streams else os.path.dirname(path)),
        sink.replacing_all(tuple(targets.values()), sync=spec.sync) as descriptors,
    ):
        opened = dict(zip(targets, descriptors, strict=True))
        written = _write_content(plan, content, opened.get(outputs.IMAGE), _teller(progress, content))
        checksum = _write_sidecars(plan, volume, content, written, targets, opened)
    sidecars = {what: target for what, target in targets.items() if what != outputs.IMAGE}
    seconds = time.monotonic() - started
    return Result(plan, volume, path, written.size, written.allocated, checksum, sidecars, seconds)


def _teller(progress: Progress | None, content: Volume | Deferred) -> Callable[[Amount], None] | None:
    if progress is None:
        return None
    total = encoder.total(content)  # it looks at every file
    return lambda done: progress(done, total)


def _write_content(
    plan: ImagePlan, content: Volume | Deferred, fd: int | None, tell: Callable[[Amount], None] | None
) -> sink.Written:
    """Write the image into its open file; into standard output where it has none."""
    spec = plan.spec
    workers = encoder.workers(spec, spec.workers)
    if fd is None:
        directory = spool_directory(spec)
        return sink.stream(content, STANDARD_OUTPUT, directory=directory, progress=tell, workers=workers)
    return sink.write_to(fd, content, name=os.fsdecode(plan.path), progress=tell, workers=workers)


def _write_sidecars(
    plan: ImagePlan,
    disk_volume: Volume,
    content: Volume | Deferred,
    written: sink.Written,
    targets: Mapping[str, bytes],
    opened: Mapping[str, int],
) -> str | None:
    """Write the files that go with the image; return its checksum where it was asked for."""
    path, image, texts = plan.path, opened.get(outputs.IMAGE), {}
    if "manifest" in opened:
        texts["manifest"] = sidecar.manifest(disk_volume)
    if "bmap" in opened:
        texts["bmap"] = sidecar.bmap(disk_volume, path, image)
    if "sha256" in opened:
        runs = encoder.runs(content, written.size)
        texts["sha256"] = sidecar.sha256(written.size, runs, path, image)
    names = {what: os.fsdecode(target) for what, target in targets.items()}
    for what, text in texts.items():
        sink.write_bytes_to(opened[what], os.fsencode(text), name=names[what])
    variables = outputs.firmware_variables(plan)
    if variables is not None:
        sink.write_to(opened["efi_variables"], variables, name=names["efi_variables"])
    return sidecar.digest(texts["sha256"]) if "sha256" in texts else None
