"""Errors, split by who must act.

::

    ImgwriterError
    ├── SpecError (ValueError)       the request contradicts itself: change the request
    ├── SourceError                  the tree cannot go in as asked: .path
    │   ├── UnrepresentableError     a name, type, size or attribute has no form in this file system
    │   └── SourceChangedError       a file changed between scan and write
    ├── CapacityError                it does not fit: .needed, .available, .largest
    ├── FormatError                  something handed to a reader is damaged: .where, .offset
    ├── OutputError                  the image could not be written: .path
    ├── GuestError                   a guest did not do its job: .stage, .log, .status
    └── PlanInvariantError           imgwriter broke a rule of its own: a bug

A message is one sentence: what, with numbers and units, and the remedy. Everything that can be
refused is refused while scanning or planning, before a byte is written.
"""

from __future__ import annotations

from collections.abc import Sequence


class ImgwriterError(Exception):
    """Base of every error imgwriter raises on purpose; ``str()`` of it is the whole message."""


class SpecError(ImgwriterError, ValueError):
    """The request contradicts itself or names something that does not exist."""


class SourceError(ImgwriterError):
    """What was given as a tree, tar or content cannot go in as asked.

    Attributes:
        path: The offending path, on the host or inside the image, as bytes.
    """

    def __init__(self, message: str, path: bytes = b"") -> None:
        super().__init__(message)
        self.path = path


class UnrepresentableError(SourceError):
    """A name, type, size or attribute has no form in the chosen file system."""


class SourceChangedError(SourceError):
    """A source file is not the one that was scanned any more."""


class CapacityError(ImgwriterError):
    """The content does not fit into the place it was given.

    Attributes:
        needed: Bytes needed.
        available: Bytes available.
        largest: (size in bytes, path) of the largest files, largest first.
    """

    def __init__(
        self,
        message: str,
        needed: int,
        available: int,
        largest: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.needed = needed
        self.available = available
        self.largest = tuple(largest)


class FormatError(ImgwriterError):
    """An image or archive handed to a reader is damaged.

    Attributes:
        where: The structure and field, in the specification's words.
        offset: Byte offset of the structure, or None where there is none.
    """

    def __init__(self, message: str, where: str = "", offset: int | None = None) -> None:
        super().__init__(message)
        self.where = where
        self.offset = offset


class OutputError(ImgwriterError):
    """The image could not be written.

    Attributes:
        path: The path that was to be written.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class GuestError(ImgwriterError):
    """A guest could not be started, did not end, or did not do its job.

    Attributes:
        stage: What it was doing: "start", "boot", "mount", "install", ...
        log: The last lines that were heard of it.
        status: The exit status of the command that failed, or None where none did.
    """

    def __init__(
        self, message: str, stage: str = "", log: Sequence[str] = (), status: int | None = None
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.log = tuple(log)
        self.status = status


class PlanInvariantError(ImgwriterError):
    """imgwriter broke a rule of its own. Not the user's fault: please report it."""


def show(path: bytes) -> str:
    """Return ``path`` as text that can be printed and read back.

    Printable UTF-8 stays as it is; every other byte is written as ``\\xNN``, as in C.
    """
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(name: bytes) -> str:
    """Return a name as :func:`show` does, in quotes: where its ends would not be seen otherwise."""
    return f"'{show(name)}'"
