"""The texts in which Nix tells of store paths, line by line.

::

    HASHED                                  PLAIN                     STORE_PATHS
    /nix/store/...-hello-2.12               /nix/store/...-hello      /nix/store/...-glibc
    sha256:0qh3...  or bare base 16                                   /nix/store/...-hello
    6221552         bytes of the NAR
                    deriver, or nothing                 (the same)
    2               how many references     2
    /nix/store/...-glibc                    /nix/store/...-glibc
    /nix/store/...-hello                    /nix/store/...-hello

What is wrong is refused with its line. Whether the paths are those of a store is not looked at here.

Spec: Nix, src/libstore/store-api.cc, makeValidityRegistration and decodeValidPathInfo.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NoReturn

from imgwriter.errors import SourceError, show
from imgwriter.nix.hashes import parse_sha256
from imgwriter.nix.path_info import MAX_PATH, PathInfo

_MAX_DIGITS = 18  # of a number that 63 bits hold
_SHOWN = 100


class Form(Enum):
    """What the lines are."""

    HASHED = auto()
    PLAIN = auto()
    STORE_PATHS = auto()


class Lines:
    """A text's lines, each of which must end with a newline, and where it comes from.

    Args:
        text: All of it.
        origin: What to call it in messages.
        path: Its path, for errors.
    """

    __slots__ = ("complete", "lines", "origin", "path")

    def __init__(self, text: bytes, origin: str, path: bytes) -> None:
        self.lines = text.split(b"\n")
        self.origin = origin
        self.path = path
        self.complete = not self.lines[-1]
        if self.complete:
            self.lines.pop()

    def refuse(self, index: int, wanted: str) -> NoReturn:
        """Raise the error for something else than ``wanted`` in a line, or for the end of the text there."""
        if index >= len(self.lines):
            found = "is cut off"
        else:
            line = self.lines[index]
            found = f"has '{show(line[:_SHOWN])}'" if line else "has an empty line"
        raise SourceError(
            f"{self.origin}, line {index + 1:,}: {found} where {wanted} should be; let Nix write it again",
            self.path,
        )


def form(source: Lines) -> Form:
    """Tell from the first three lines what the text is; nothing at all is a registration of nothing."""
    lines = source.lines
    if lines and not lines[0].startswith(b"/"):
        source.refuse(0, "a store path")
    if len(lines) == 1:
        return Form.STORE_PATHS
    if not lines or (lines[1] and not lines[1].startswith(b"/")):
        return Form.HASHED
    if not lines[1] or (len(lines) > 2 and lines[2].isdigit()):
        return Form.PLAIN
    return Form.STORE_PATHS


def path_infos(source: Lines, *, hashed: bool) -> tuple[PathInfo, ...]:
    """Return what a text says of each path, in its order.

    Args:
        source: The text.
        hashed: Whether hash and size follow a path.

    Raises:
        SourceError: It is cut off, or a line is not what it should be.
    """
    lines = source.lines
    infos = []
    index = 0
    while index < len(lines):
        if index and not lines[index] and index == len(lines) - 1:
            break  # jq's last line, which closureInfo takes off
        path = _path(source, index, "a store path")
        index += 1
        nar_hash = nar_size = None
        if hashed:
            nar_hash = _hash(source, index)
            # Nix's own database has nothing where the size is 0.
            nar_size = _number(source, index + 1, "the size of a NAR") or None
            index += 2
        deriver = None
        if index < len(lines) and lines[index]:
            deriver = _path(source, index, "a deriver or nothing")
        count = _number(source, index + 1, "the number of references")
        index += 2
        references = _references(source, index, count)
        infos.append(PathInfo(path, nar_hash, nar_size, references, deriver))
        index += count
    if not source.complete:
        source.refuse(len(lines), "a line's end")
    return tuple(infos)


def store_paths(source: Lines) -> tuple[bytes, ...]:
    """Return the paths of a text that has one in each line; the last line need not end.

    Raises:
        SourceError: A line is no path, or one comes twice.
    """
    paths: dict[bytes, None] = {}
    for index in range(len(source.lines)):
        path = _path(source, index, "a store path")
        if path in paths:
            source.refuse(index, "another store path")
        paths[path] = None
    return tuple(paths)


def _references(source: Lines, start: int, count: int) -> tuple[bytes, ...]:
    if count > len(source.lines) - start:
        source.refuse(len(source.lines), "a reference")
    references: Sequence[bytes] = [
        _path(source, index, "a reference") for index in range(start, start + count)
    ]
    if len(set(references)) < count:
        twice = next(i for i in range(count) if references[i] in references[:i])
        source.refuse(start + twice, "another reference")
    return tuple(sorted(references))


def _path(source: Lines, index: int, wanted: str) -> bytes:
    path = source.lines[index] if index < len(source.lines) else b""
    if not path.startswith(b"/") or b"\0" in path or len(path) > MAX_PATH:
        source.refuse(index, wanted)
    return path


def _hash(source: Lines, index: int) -> bytes:
    if index >= len(source.lines):
        source.refuse(index, "a hash")
    try:
        return parse_sha256(source.lines[index].decode("ascii", "replace"))
    except SourceError as error:
        raise SourceError(f"{source.origin}, line {index + 1:,}: {error}", source.path) from None


def _number(source: Lines, index: int, wanted: str) -> int:
    if index >= len(source.lines):
        source.refuse(index, wanted)
    digits = source.lines[index]
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        source.refuse(index, wanted)
    return int(digits)
