"""User and group names, looked up in the image's own /etc/passwd and /etc/group.

Spec: passwd(5), group(5): ``name:password:UID:...`` and ``name:password:GID:...``.
"""

from __future__ import annotations

import stat

from imgwriter.errors import SourceError, show
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import Lookup
from imgwriter.tree.rules import MAX_ID
from imgwriter.units import MiB

_LARGEST = 16 * MiB
"""Bytes of an account file that are read; more is not an account file."""


class Accounts:
    """The names an image knows; its files are read once, when the first name is asked for.

    Args:
        root: The image's tree.
    """

    __slots__ = ("_known", "root")

    def __init__(self, root: Inode) -> None:
        self.root = root
        self._known: dict[bytes, dict[bytes, int]] = {}

    def uid(self, user: str) -> int:
        """Return the number of a user: the image's /etc/passwd is asked first, then a number is itself.

        Raises:
            SourceError: Neither.
        """
        return self._number(user, b"etc/passwd", "user")

    def gid(self, group: str) -> int:
        """Return the number of a group: as :meth:`uid`, from /etc/group."""
        return self._number(group, b"etc/group", "group")

    def _number(self, name: str, path: bytes, what: str) -> int:
        if path not in self._known:
            self._known[path] = self._read(path)
        number = self._known[path].get(name.encode("utf-8", "surrogateescape"))
        if number is None and name.isascii() and name.isdigit():
            number = int(name)
        if number is None or number > MAX_ID:
            raise SourceError(
                f"{what} '{name}' is not in the image's /{show(path)}; add it there, or give its number", path
            )
        return number

    def _read(self, path: bytes) -> dict[bytes, int]:
        try:
            inode = Lookup(self.root).find(path)
        except SourceError:
            return {}
        if not stat.S_ISREG(inode.mode) or inode.data is None:
            return {}
        if inode.size > _LARGEST:
            raise SourceError(f"{show(path)} has {inode.size:,} bytes; no account file is that large", path)
        known: dict[bytes, int] = {}
        for line in b"".join(bytes(piece) for piece in inode.data.chunks(0, inode.size)).split(b"\n"):
            fields = line.split(b":")
            if len(fields) > 2 and fields[2].isdigit():
                known.setdefault(fields[0], int(fields[2]))
        return known
