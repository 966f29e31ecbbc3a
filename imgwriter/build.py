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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

from imgwriter import encoder, sidecar, sink
from imgwriter.container import SPOOLED
from imgwriter.deferred import Deferred
from imgwriter.errors import OutputError, show
from imgwriter.extent import Volume
from imgwriter.filedata import Amount
from imgwriter.image_plan import FileSystem, ImagePlan, check_table, plan_disk, seed_of
from imgwriter.sources import image_path, read_sources, spool_directory
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
    _check_manifest(spec)
    sources = read_sources(spec)
    warnings = (*_output_warnings(spec), *sources.warnings)
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
    """Write a planned image, and the files beside it that were asked for.

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
    total = encoder.total(content)

    def tell(done: Amount) -> None:
        if progress is not None:
            progress(done, total)

    workers = encoder.workers(spec, spec.workers)
    if spec.streams:
        written = sink.stream(
            content, STANDARD_OUTPUT, directory=spool_directory(spec), progress=tell, workers=workers
        )
    else:
        with _directory(os.path.dirname(path)):
            written = sink.write(content, path, sync=spec.sync, progress=tell, workers=workers)
    sidecars, checksum = _write_sidecars(plan, volume, content, written)
    seconds = time.monotonic() - started
    return Result(plan, volume, path, written.size, written.allocated, checksum, sidecars, seconds)


# Output


def _output_warnings(spec: ImageSpec) -> list[str]:
    """Return warnings about the way out, and what an earlier build left beside it and in the trees."""
    path = os.path.realpath(image_path(spec))
    if spec.streams:
        return [SPOOLED] if spec.format == "qcow2-compressed" else []
    if not os.path.exists(path):
        return []
    return [*_stale(spec)] + [
        f"{show(path)}, made by an earlier build, lies in the tree {show(os.fsencode(tree))} and goes into"
        " this image; exclude it or choose another output"
        for tree in spec.trees
        if path.startswith(os.path.join(os.path.realpath(os.fsencode(tree)), b""))
    ]


def _stale(spec: ImageSpec) -> Iterator[str]:
    """Yield a warning for each file beside the image that will not be of it any more."""
    for suffix, written in ((b".sha256", spec.sha256), (b".bmap", spec.bmap)):
        beside = image_path(spec) + suffix
        if not written and os.path.exists(beside):
            yield f"{show(beside)} is of the image that is there now, not of the new one; remove it"


def _check_manifest(spec: ImageSpec) -> None:
    """Refuse before the image is written what would fail after it."""
    if spec.manifest is not None:
        path = os.fsencode(spec.manifest)
        if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or b"."):
            raise OutputError(
                f"manifest {show(path)} is not in a directory that exists; name a file", show(path)
            )


def _write_sidecars(
    plan: ImagePlan, disk_volume: Volume, content: Volume | Deferred, written: sink.Written
) -> tuple[dict[str, bytes], str | None]:
    """Write the files beside the image; return their paths, and the checksum where it was asked for."""
    spec, path = plan.spec, plan.path
    texts: dict[str, tuple[bytes, str]] = {}
    if spec.manifest is not None:
        texts["manifest"] = os.fsencode(spec.manifest), sidecar.manifest(disk_volume)
    if spec.bmap:
        texts["bmap"] = path + b".bmap", sidecar.bmap(disk_volume, path)
    if spec.sha256:
        texts["sha256"] = (
            path + b".sha256",
            sidecar.sha256(written.size, encoder.runs(content, written.size), path),
        )
    for target, text in texts.values():
        sink.write_bytes(target, os.fsencode(text), sync=spec.sync)
    written_to = {name: target for name, (target, _) in texts.items()}
    variables = None if plan.installed is None else plan.installed.firmware_variables
    if variables is not None:
        written_to["efi_variables"] = os.path.join(os.path.dirname(path), b"efi-vars.fd")
        sink.write(variables, written_to["efi_variables"], sync=spec.sync)
    checksum = sidecar.digest(texts["sha256"][1]) if spec.sha256 else None
    return written_to, checksum


@contextmanager
def _directory(path: bytes) -> Iterator[None]:
    """Make a directory and those above it; when the block fails, remove again what was made."""
    made: list[bytes] = []
    try:
        _make_directories(path, made)
        yield
    except BaseException:
        for directory in reversed(made):
            # Somebody may have put a file there meanwhile: then it stays.
            with suppress(OSError):
                os.rmdir(directory)
        raise


def _make_directories(path: bytes, made: list[bytes]) -> None:
    if not path or os.path.isdir(path):
        return
    _make_directories(os.path.dirname(path.rstrip(b"/")), made)
    try:
        os.mkdir(path)
    except FileExistsError:
        if os.path.isdir(path):  # somebody else made it at the same moment
            return
        raise _no_directory(path, "a file is there") from None
    except OSError as error:
        raise _no_directory(path, error.strerror or "") from error
    made.append(path)


def _no_directory(path: bytes, reason: str) -> OutputError:
    name = show(path)
    return OutputError(f"{name}: the directory cannot be made: {reason}; choose another output", name)
