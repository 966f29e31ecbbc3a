"""Find a busybox that runs alone in an initramfs: static, and for the guest's machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.errors import FormatError, SourceError, show
from imgwriter.extent import Data
from imgwriter.guest.elf import Elf
from imgwriter.guest.files import TreeFiles, host_data, host_file, read
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

    The first that fits: what cannot be read, is not static or is for another machine is passed over.

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
    for name, found in _candidates(tree, search):
        content, unfit = (b"", found) if isinstance(found, str) else _examined(found, name, architecture)
        if not unfit:
            return Busybox(content, name)
        refused.append(f"{name} {unfit}")
    tried = ", ".join(refused) or "neither the tree nor the host has one"
    raise SourceError(f"the guest needs a static busybox for {architecture}: {tried}; {_REMEDY}")


def _candidates(tree: Inode | None, search: str | None) -> Iterator[tuple[str, Data | str]]:
    """Yield the name of each, with its content, or why that cannot be had."""
    if tree is not None:
        files = TreeFiles(tree)
        for place in PLACES:
            if (data := files.data(place)) is not None:
                yield f"{files.name}, {show(place)}", data
    folders = os.get_exec_path() if search is None else search.split(os.pathsep)
    for program in ("busybox", "busybox.static"):
        for folder in dict.fromkeys(folders):
            path = shutil.which(program, path=folder or os.curdir)
            found = _of_host(path) if path else None
            if path and found is not None:
                yield path, found


def _of_host(path: str) -> Data | str | None:
    """Return the content of a file, or why it cannot be had; None where there is no file."""
    try:
        return host_file(os.fsencode(path))
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _examined(data: Data, name: str, architecture: str) -> tuple[bytes, str]:
    """Return its bytes, and what makes it unfit, or ""."""
    if len(data) > MAX_BUSYBOX:
        return b"", f"has {len(data):,} bytes, of which {MAX_BUSYBOX:,} are taken"
    content = read(data, MAX_BUSYBOX, name)
    try:
        program = Elf(content, name)
    except FormatError:
        return content, "is no program"
    if program.machine != architecture:
        return content, f"is for {program.machine or 'another machine'}"
    return content, "" if program.is_static else "is not static"
