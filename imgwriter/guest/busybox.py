"""Find a busybox that runs alone in an initramfs: static, and for the guest's machine."""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple

from imgwriter.errors import FormatError, SourceError, show
from imgwriter.extent import Data
from imgwriter.guest.elf import Elf
from imgwriter.guest.files import TreeFiles, host_data, read
from imgwriter.tree.inventory import Inode

MAX_BUSYBOX = 64 << 20
"""Bytes: Debian's has 2 MiB."""

PLACES = (
    b"bin/busybox",
    b"usr/bin/busybox",
    b"sbin/busybox",
    b"usr/lib/busybox/busybox",
    b"bin/busybox.static",
)
"""Where a tree may have it."""

_OPTION = "--vm-busybox"
_REMEDY = f"install busybox-static, or give a static one with {_OPTION}"


class Busybox(NamedTuple):
    """A busybox.

    Attributes:
        content: The program.
        name: Where it is from, for messages.
    """

    content: bytes
    name: str


def find_busybox(
    tree: Inode | None, architecture: str, given: bytes | None = None, search: str | None = None
) -> Busybox:
    """Return a static busybox for ``architecture``: the one that is given, the tree's, or the host's.

    Args:
        tree: The image's root directory.
        architecture: "x86_64" or "aarch64".
        given: Path of one on the host; no other is looked for.
        search: The host's directories to look in, as in PATH; the process's own PATH when None.

    Raises:
        SourceError: There is none that fits.
    """
    if given is not None:
        data = host_data(given, _OPTION)
        if data is None:
            raise SourceError(f"{show(given)} is no file; {_REMEDY}", given)
        content, unfit = _examined(data, show(given), architecture)
        if unfit:
            raise SourceError(f"{show(given)} {unfit}; {_REMEDY}", given)
        return Busybox(content, show(given))
    refused = []
    for data, name in _candidates(tree, search):
        content, unfit = _examined(data, name, architecture)
        if not unfit:
            return Busybox(content, name)
        refused.append(f"{name} {unfit}")
    found = ", ".join(refused) or "neither the tree nor the host has one"
    raise SourceError(f"the guest needs a static busybox for {architecture}: {found}; {_REMEDY}")


def _candidates(tree: Inode | None, search: str | None) -> list[tuple[Data, str]]:
    found = []
    if tree is not None:
        files = TreeFiles(tree)
        found += [(data, f"{files.name}, {show(p)}") for p in PLACES if (data := files.data(p)) is not None]
    for program in ("busybox", "busybox.static"):
        path = shutil.which(program, path=search)
        data = host_data(os.fsencode(path), _OPTION) if path else None
        if path and data is not None:
            found.append((data, path))
    return found


def _examined(data: Data, name: str, architecture: str) -> tuple[bytes, str]:
    """Return its bytes, and what makes it unfit, or ""."""
    content = read(data, MAX_BUSYBOX, name)
    try:
        program = Elf(content, name)
    except FormatError:
        return content, "is no program"
    if program.machine != architecture:
        return content, f"is for {program.machine or 'another machine'}"
    return content, "" if program.is_static else "is not static"
