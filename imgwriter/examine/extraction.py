"""The two ways out of an image, a directory or a tar, and what is told at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from imgwriter import sink
from imgwriter.errors import SpecError, show
from imgwriter.examine.archive import archive
from imgwriter.examine.unpack import unpack
from imgwriter.filedata import Amount, amount
from imgwriter.tree.inventory import Inventory
from imgwriter.units import counted, format_size

Progress: TypeAlias = Callable[[Amount, Amount], None]
"""Called with what is done, and all there is to do."""

_ROOT = 0


class Extracted(NamedTuple):
    """What was extracted.

    Attributes:
        summary: One line: how much, and where to.
        warnings: What was left out.
    """

    summary: str
    warnings: tuple[str, ...]


def to_directory(
    inventory: Inventory,
    directory: bytes,
    *,
    owner: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Extracted:
    """Write a tree into a directory.

    Args:
        inventory: The tree.
        directory: On the host.
        owner: "image" or "caller"; None: the image's where this is root.
        overwrite: As for :func:`imgwriter.examine.unpack.unpack`, with its errors.
        progress: Called a few times a second.

    Raises:
        SpecError: The image's owners are asked for, and this is not root.
    """
    is_root = os.geteuid() == _ROOT
    if owner == "image" and not is_root:
        raise SpecError("only root can give files to other owners; leave --owner out, or make a tar")
    owners = is_root if owner is None else owner == "image"
    data = [i for i in inventory.inodes if i.data is not None]
    total = Amount(sum(high - low for i in data for low, high in i.data_runs()), len(data))
    tally = None if progress is None else lambda done: progress(done, total)
    done = unpack(inventory, directory, owners=owners, overwrite=overwrite, progress=tally)
    names = counted(done.names, "name")
    summary = f"{names}, {format_size(done.written)} of contents, written to {show(directory)}"
    return Extracted(summary, tuple(str(left) for left in done.left_out))


def check_target(image: bytes, target: bytes) -> None:
    """Refuse a tar in the place of the image that it is made from.

    Raises:
        SpecError: They are one file.
    """
    with suppress(OSError):
        if os.path.samefile(image, target):
            raise SpecError(f"{show(target)} is the image itself; give the tar another name")


def to_tar(inventory: Inventory, target: bytes | int, progress: Progress | None = None) -> Extracted:
    """Write a tree as a tar.

    Args:
        inventory: The tree.
        target: The path of the tar, or the descriptor of a pipe or the like.
        progress: Called a few times a second.

    Raises:
        OutputError: It cannot be written; what was at the path stays.
        BrokenPipeError: Nobody reads the pipe.
        SourceError: The image cannot be read.
        FormatError: The image is damaged.
    """
    planned = archive(inventory)
    total = amount(planned.volume.extents)
    tally = None if progress is None else lambda done: progress(done, total)
    if isinstance(target, int):
        sink.stream(planned.volume, target, progress=tally)
        name = "standard output"
    else:
        sink.write(planned.volume, target, progress=tally)
        name = show(target)
    summary = f"{counted(inventory.names, 'name')}, {format_size(planned.volume.size)}, written to {name}"
    warnings: tuple[str, ...] = ()
    if planned.sockets:
        first = show(planned.first_socket)
        warnings = (f"a tar has no sockets: {planned.sockets:,} were left out, first {first}",)
    return Extracted(summary, warnings)
