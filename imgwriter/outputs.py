"""Where all that is written goes: the image, and the files that go with it.

::

    check ── what could not be written at the end is refused before anything is read
    targets ── image, manifest, bmap, sha256, efi_variables ──> sink.replacing_all: all of them or none
    directory ── made for the image, and gone again where it is not made
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imgwriter import sink
from imgwriter.container import SPOOLED
from imgwriter.errors import OutputError, show
from imgwriter.extent import Volume
from imgwriter.image_plan import ImagePlan
from imgwriter.sources import image_path
from imgwriter.spec import ImageSpec

IMAGE = "image"


def check(spec: ImageSpec) -> None:
    """Refuse before anything is read what could not be written at the end.

    Raises:
        OutputError: No file can be made where one is asked for, or the manifest would be the image.
    """
    image = image_path(spec)
    beside = [] if spec.streams else [image, image + b".bmap", image + b".sha256"]
    asked = [target for target, wanted in zip(beside, (True, spec.bmap, spec.sha256), strict=False) if wanted]
    for target in asked:
        if os.path.exists(target):
            sink.refuse_unwritable(target)
    if spec.manifest is None:
        return
    manifest = os.fsencode(spec.manifest)
    try:
        sink.refuse_unwritable(manifest)
    except OutputError as error:
        raise OutputError(f"manifest {error}", error.path) from None
    if _place(manifest) in map(_place, beside):
        raise OutputError(
            f"manifest {show(manifest)} is the image or a file beside it; name another", show(manifest)
        )


def _place(path: bytes) -> bytes:
    """Return a path whose directory is without symlinks; the file itself may be one, which is replaced."""
    head, base = os.path.split(path)
    return os.path.join(os.path.realpath(head), base)


def targets(plan: ImagePlan) -> dict[str, bytes]:
    """Return the paths of all that is written, by what they are: the image first, unless it is streamed."""
    spec = plan.spec
    found: dict[str, bytes] = {} if spec.streams else {IMAGE: plan.path}
    if spec.manifest is not None:
        found["manifest"] = os.fsencode(spec.manifest)
    if spec.bmap:
        found["bmap"] = plan.path + b".bmap"
    if spec.sha256:
        found["sha256"] = plan.path + b".sha256"
    if firmware_variables(plan) is not None:
        found["efi_variables"] = os.path.join(os.path.dirname(plan.path), b"efi-vars.fd")
    return found


def firmware_variables(plan: ImagePlan) -> Volume | None:
    """Return the EFI variables that a guest's installer set, where they were asked for."""
    return None if plan.installed is None else plan.installed.firmware_variables


def warnings(spec: ImageSpec) -> list[str]:
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


@contextmanager
def directory(path: bytes) -> Iterator[None]:
    """Make a directory and those above it; when the block fails, remove again what was made."""
    made: list[bytes] = []
    try:
        _make_directories(path, made)
        yield
    except BaseException:
        for each in reversed(made):
            # Somebody may have put a file there meanwhile: then it stays.
            with suppress(OSError):
                os.rmdir(each)
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
