"""A tree becomes a tar, planned as a Volume: headers in memory, contents left where they are.

::

    ┌ x: PAX records ┬ header ┬ contents ─────────── ┬ 0 ┐ ┌ header ┬ ... ┐ ┌ 0 ┬ 0 ┬ ... ┐
    └ where needed ──┴────────┴ a slice of the image ┴───┘ └────────┴─────┘ └ to 10,240 B ┘

Every length is known, so every place is: the sink writes it like any image, and the same tree gives the same
bytes. The format is PAX (POSIX.1-2001), a record for what ustar's fields do not hold:

=================== ==========================================================================================
names               ``./`` before each; a record above 100 bytes, raw bytes as GNU tar has them; with
                    ``hdrcharset=BINARY`` where they are no UTF-8
times               nanoseconds
extended attributes ``SCHILY.xattr.NAME``, as GNU tar, star and libarchive read it; a name with ``=`` as
                    ``LIBARCHIVE.xattr.NAME``
ACLs                ``SCHILY.acl.access`` and ``.default`` as text with numbers: what GNU tar --acls and
                    bsdtar restore. One that the text cannot say exactly stays an attribute
holes               GNU's sparse form 1.0, which GNU tar, bsdtar and imgwriter read; others see the data
                    behind a map, under a telling name
=================== ==========================================================================================

A tar has no form for a socket, so sockets are left out, and counted.

Spec: POSIX.1-2017, pax; GNU tar 1.34, manual, "Storing Sparse Files" (PAX Format, Version 1.0); star(5).
"""

from __future__ import annotations

import stat
from typing import NamedTuple

from imgwriter.examine import archive_header
from imgwriter.examine.archive_header import Sparse
from imgwriter.examine.names import check_names
from imgwriter.extent import Bytes, Data, Extent, Volume
from imgwriter.filedata import PACK_LIMIT, Part, pack
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.tar_header import LINK
from imgwriter.tree.tar_source import BLOCK
from imgwriter.units import align_down, align_up

_RECORD = 20 * BLOCK
"""What a tar's size is a multiple of, as GNU tar and POSIX's pax have it."""


class Archive(NamedTuple):
    """A planned tar.

    Attributes:
        volume: Its bytes.
        sockets: How many names were left out, sockets all of them.
        first_socket: The first of these.
    """

    volume: Volume
    sockets: int
    first_socket: bytes


def archive(inventory: Inventory) -> Archive:
    """Return the tar of a tree.

    Raises:
        FormatError: A name is none.
    """
    check_names(inventory)
    planner = _Planner()
    # A directory's members come right behind it: GNU tar sets its time once it is past them.
    pending = [(b"", inventory.root)]
    while pending:
        path, inode = pending.pop()
        planner.add(path, inode)
        prefix = path + b"/" if path else b""
        pending += [(prefix + name, below) for name, below in reversed((inode.entries or {}).items())]
    return planner.finish()


class _Planner:
    """Places members one after the other."""

    def __init__(self) -> None:
        self.position = 0
        self.parts: list[Part] = []
        self.large: list[Extent] = []
        self.sockets: list[bytes] = []
        self.first_names: dict[Inode, bytes] = {}

    def add(self, path: bytes, inode: Inode) -> None:
        """Place the member for a name."""
        if stat.S_ISSOCK(inode.mode):
            self.sockets.append(path)
            return
        name = b"./" + path
        if inode.entries is None and inode.nlink > 1:
            first = self.first_names.setdefault(inode, name)
            if first is not name:
                self._place(Bytes(archive_header.link(name, inode, first)), LINK)
                return
        if inode.entries is not None and path:
            name += b"/"
        sparse = _sparse(inode)
        self._place(Bytes(archive_header.member(name, inode, sparse)), path)
        if inode.data is not None:
            if sparse is None:
                self._place(inode.data, path)
            else:
                self._place_runs(inode, inode.data, sparse, path)

    def _place(self, data: Data, label: object) -> None:
        length = len(data)
        if length < PACK_LIMIT:
            self.parts.append((self.position, length, data, label))
        else:
            self.large.append(Extent(self.position, length, data, 0, label))
        self.position += align_up(length, BLOCK)

    def _place_runs(self, inode: Inode, data: Data, sparse: Sparse, label: object) -> None:
        """Place the runs of a file; where the archive's blocks begin before one, or end after, are zeros."""
        pending = list(reversed(inode.data_runs()))
        for low, high in sparse.runs:
            while pending and pending[-1][0] < high:
                start, stop = pending.pop()
                self.large.append(Extent(self.position + start - low, stop - start, data, start, label))
            self.position += align_up(high - low, BLOCK)

    def finish(self) -> Archive:
        """Return what was planned, with the end of the archive."""
        size = align_up(self.position + 2 * BLOCK, _RECORD)
        first = self.sockets[0] if self.sockets else b""
        volume = Volume(size, [*pack(self.parts, BLOCK), *self.large])
        return Archive(volume, len(self.sockets), first)


def _sparse(inode: Inode) -> Sparse | None:
    """Return where a file with holes has data, in whole blocks of the archive."""
    if not stat.S_ISREG(inode.mode) or not inode.size or (inode.data is not None and inode.runs is None):
        return None
    runs: list[tuple[int, int]] = []
    for low, high in inode.data_runs():
        low, high = align_down(low, BLOCK), min(align_up(high, BLOCK), inode.size)
        if runs and low <= runs[-1][1]:
            runs[-1] = runs[-1][0], high
        else:
            runs.append((low, high))
    return Sparse(inode.size, runs)
