"""``nix-store --export``: store paths with their contents and what Nix knows of them, one after the other.

::

    1   NAR   0x4558494e   path   references: how many, each   deriver or ""   0
    1   NAR   ...                                                              (1, signature: before Nix 2.0)
    0                                                      numbers and strings of wire; "EXIN" upside down

The stream has no hashes: they are computed while it passes. No store is touched.

Spec: Nix, src/libstore/export-import.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from imgwriter.errors import show
from imgwriter.nix.nar import MAGIC, NarReader
from imgwriter.nix.path_info import MAX_PATH, PathInfo
from imgwriter.nix.wire import Input, number, open_input
from imgwriter.tree.inventory import Inode

_PATH_MAGIC = number(0x4558_494E)
_ANOTHER, _END = number(1), number(0)
_SIGNED, _UNSIGNED = number(1), number(0)

BEGINNING = _ANOTHER + MAGIC
"""What a stream that is not empty begins with."""

NOTHING = _END
"""A stream without a path."""

_MAX_REFERENCES = 1 << 20
_MAX_SIGNATURE = 64 << 10


class Exported(NamedTuple):
    """One store path of a stream.

    Attributes:
        info: What the stream says, with hash and size of the NAR.
        root: What lies there.
    """

    info: PathInfo
    root: Inode


def read(
    source: bytes | BinaryIO, *, spool_directory: bytes | None = None, origin: str = ""
) -> list[Exported]:
    """Read a whole stream.

    Args:
        source: Its path, ``-`` for standard input, or a binary stream, which need not be seekable.
        spool_directory: Where the contents of a stream are kept until the image is written; None: where
            temporary files go.
        origin: What to call it in messages; ``export PATH`` when empty.

    Returns:
        The store paths, in the stream's order.

    Raises:
        SourceError: It cannot be read, is damaged or cut off; the message has the offset.
        SourceChangedError: It changed meanwhile.
        OutputError: The spool cannot be written.
    """
    if not origin:
        origin = f"export {show(source)}" if isinstance(source, bytes) else "the export"
    with open_input(source, origin, spool_directory) as stream:
        return read_from(stream)


def read_from(stream: Input) -> list[Exported]:
    """Read all that is left of a stream; see :func:`read`."""
    exported = list(_paths(stream))
    if not stream.at_end():
        raise stream.refused("something follows the end of the export")
    stream.finish()
    return exported


def _paths(stream: Input) -> Iterator[Exported]:
    reader = NarReader(stream)
    while stream.skip(_ANOTHER):
        archive = reader.read()
        if not stream.skip(_PATH_MAGIC):
            raise stream.refused("no 0x4558494e behind a NAR")
        path = _store_path(stream, "a store path")
        references = _references(stream, path)
        deriver = stream.string("a deriver", MAX_PATH) or None
        if stream.skip(_SIGNED):
            stream.string("a signature", _MAX_SIGNATURE)
        elif not stream.skip(_UNSIGNED):
            raise stream.refused(f"neither 0 nor 1 behind the deriver of {show(path)}")
        yield Exported(
            PathInfo(path, archive.sum.sha256, archive.sum.size, references, deriver), archive.root
        )
    if not stream.skip(_END):
        raise stream.refused("neither a store path (1) nor the end (0) of the export")


def _references(stream: Input, path: bytes) -> tuple[bytes, ...]:
    count = stream.number("the number of references")
    if count > _MAX_REFERENCES:
        raise stream.refused(f"{show(path)} has {count:,} references, more than {_MAX_REFERENCES:,}")
    references = sorted(_store_path(stream, f"a reference of {show(path)}") for _ in range(count))
    for before, behind in pairwise(references):
        if before == behind:
            raise stream.refused(f"{show(path)} has the reference {show(before)} twice")
    return tuple(references)


def _store_path(stream: Input, what: str) -> bytes:
    at = stream.position
    path = stream.string(what, MAX_PATH)
    if not path.startswith(b"/") or b"\0" in path:
        raise stream.refused(f"'{show(path)}' is no path", at)
    return path
