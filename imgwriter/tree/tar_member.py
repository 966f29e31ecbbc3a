"""From a tar's blocks to Members: what each file is called, is, and where its bytes are.

::

    ┌ x: PAX records ┬ body ┬ L: GNU long name ┬ body ┬ 0: header ┬ (sparse map) ┬ contents ┬ ... ┬ 0 ┬ 0 ┐
    └───────── extended headers: they change the next header ─────┴── a Member ──────────────┴ end of archive

The checksum and the numbers of a header are read by the standard library (tarfile.TarInfo.frombuf).
Its TarFile is not used for the rest: it takes a damaged header for the end of the archive, reads
extended headers of any size into memory, rounds times to floating point, decodes names, and keeps every
member in a list.

What is read: v7, ustar, PAX (POSIX.1-2001), GNU (long names and links, base-256 numbers, sparse files),
the PAX dialects of GNU (sparse 0.0, 0.1 and 1.0), star and libarchive (xattrs, ACLs). Names are bytes.

Whatever a header promises is checked against a limit before memory is spent on it.

Spec: POSIX.1-2017, pax, "pax Interchange Format" and "ustar Interchange Format"; GNU tar 1.34, manual
appendix D ("Tar Internals") and src/tar.h; star(5).
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from imgwriter.extent import Data
from imgwriter.filedata import HandleSlice
from imgwriter.tree import tar_sparse
from imgwriter.tree.inventory import Run
from imgwriter.tree.tar_errors import CUT, WHOLE, MalformedError
from imgwriter.tree.tar_header import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    GNU_DUMPDIR,
    GNU_LABEL,
    GNU_SPARSE_FILE,
    LONG_LINK,
    LONG_NAME,
    MAX_SIZE,
    NAME,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    REGULARS,
    TYPEFLAG,
    WITHOUT_BODY,
    device,
    names,
    owner_and_time,
    string,
)
from imgwriter.tree.tar_records import SPARSE, Records, decimal, is_used, parse_records
from imgwriter.tree.tar_source import BLOCK, CutOffError, TarSource

_MAX_EXTENDED = 1 << 20  # bytes of an extended header; 64 KiB hold all xattrs a kernel shows of a file
_MAX_GLOBAL = 64 << 10  # bytes of records that global headers leave behind

_ZERO = bytes(BLOCK)


class Member(NamedTuple):
    """One member of an archive.

    Attributes:
        name: As in the archive: it may begin with a slash or hold ``.`` and ``..``.
        kind: REGULAR, LINK (a hard link), SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY or FIFO.
        mode: Twelve permission bits.
        uid, gid: Owner, 32 bits.
        mtime_ns: Nanoseconds since the epoch.
        link: What a LINK or SYMLINK points to, as in the archive.
        device: (major, minor).
        size: Bytes of a regular file.
        data: They, or None when there are none.
        runs: Where a sparse file has data; None for any other file.
        records: PAX records that apply, by keyword.
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    link: bytes
    device: tuple[int, int]
    size: int
    data: Data | None
    runs: Sequence[Run] | None
    records: Records


class Reader:
    """Reads the members of an archive in order.

    Attributes:
        name: The member that is being read, for messages.
        offset: Where its header is.
    """

    __slots__ = ("_globals", "_source", "name", "offset")

    def __init__(self, source: TarSource) -> None:
        self._source = source
        self._globals: dict[bytes, bytes] = {}
        self.name = b""
        self.offset = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield every member.

        Raises:
            MalformedError: A member breaks its format, or the archive ends early.
            SourceError, FormatError, OutputError: As the source.
        """
        while (member := self._member()) is not None:
            yield member

    def _member(self) -> Member | None:
        """Return the next member with all its extended headers; None at the end of the archive."""
        records: dict[bytes, bytes] = {}
        extended = False
        while True:
            block, info = self._header(extended)
            if info is None:
                return None
            kind = block[TYPEFLAG]
            if kind in PAX:
                records.update(parse_records(self._body(info.size)))
            elif kind == PAX_GLOBAL:
                self._set_globals(parse_records(self._body(info.size)))
                continue
            elif kind == LONG_NAME:
                records.setdefault(b"path", string(self._body(info.size)))
            elif kind == LONG_LINK:
                records.setdefault(b"linkpath", string(self._body(info.size)))
            elif kind == GNU_LABEL:
                self._source.skip(info.size)
                continue
            else:
                return self._file(block, info, kind, self._with_globals(records))
            extended = True

    def _header(self, extended: bool) -> tuple[bytes, tarfile.TarInfo | None]:
        """Return the next header as it is, and as tarfile reads it; None at the end of the archive."""
        source = self._source
        offset = source.position
        block = source.read(BLOCK)
        if block == _ZERO and not extended:
            self._check_end()
            return block, None
        if not block and not offset:
            raise MalformedError("it is empty, or cut off at its start; give the whole of a tar")
        if len(block) < BLOCK or block == _ZERO:
            where = "inside a header" if block else "without its end-of-archive mark"
            raise MalformedError(
                f"the archive ends {'after an extended header' if extended else where}; {CUT}"
            )
        self.offset = offset
        self.name = string(block[NAME])
        try:
            info = tarfile.TarInfo.frombuf(block, "iso8859-1", "strict")
        except tarfile.HeaderError as error:
            if not offset:
                self.name = b""
                raise MalformedError(
                    f"it is no tar, or a damaged one ({error}); give a directory or a whole tar"
                ) from None
            raise MalformedError(f"its header is damaged ({error}); {WHOLE}") from None
        if not 0 <= info.size <= MAX_SIZE:
            raise MalformedError(f"its header gives a size of {info.size:,} bytes; {WHOLE}")
        return block, info

    def _check_end(self) -> None:
        """Look at what follows a block of zeros: a second one, or the end of the file."""
        second = self._source.read(BLOCK)
        if second.strip(b"\0"):
            raise MalformedError(f"a lone block of zeros follows it; {WHOLE}")

    def _body(self, size: int) -> bytes:
        """Return the body of an extended header."""
        if size > _MAX_EXTENDED:
            raise MalformedError(
                f"its extended header has {size:,} bytes, and at most 1 MiB is read; {WHOLE}"
            )
        padded = size + -size % BLOCK
        body = self._source.read(padded)
        if len(body) < padded:
            raise MalformedError(f"the archive ends inside its extended header; {CUT}")
        return body[:size]

    def _set_globals(self, records: Records) -> None:
        for keyword, value in records.items():
            if is_used(keyword):
                self._globals[keyword] = value
        if sum(len(keyword) + len(value) for keyword, value in self._globals.items()) > _MAX_GLOBAL:
            raise MalformedError(f"the archive's global headers have more than 64 KiB of records; {WHOLE}")

    def _with_globals(self, records: Records) -> Records:
        if not self._globals:
            return records
        return {**self._globals, **records} if records else self._globals

    def _file(self, block: bytes, info: tarfile.TarInfo, kind: bytes, records: Records) -> Member:
        """Return the member of a header that is not an extended one."""
        name, link = names(block, records)
        self.name = name
        if kind in REGULARS:
            kind = DIRECTORY if name.endswith(b"/") else REGULAR
        elif kind == GNU_DUMPDIR:
            self._source.skip(info.size)
            kind = DIRECTORY
        elif kind not in WITHOUT_BODY and kind != GNU_SPARSE_FILE:
            raise MalformedError(f"it is of the unknown type {kind!r}; leave it out of the archive")
        size, data, runs = 0, None, None
        if kind in (REGULAR, GNU_SPARSE_FILE):
            stored = decimal(records, b"size", info.size, MAX_SIZE) if records else info.size
            if kind == GNU_SPARSE_FILE or tar_sparse.is_sparse(records):
                size, data, runs = self._sparse(block, stored, records)
                kind = REGULAR
                name = self.name = records.get(SPARSE + b"name") or name
            elif stored:
                size, data = stored, self._content(stored)
        uid, gid, mtime_ns = owner_and_time(info, records)
        numbers = device(info, records) if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0)
        mode = info.mode & 0o7777
        return Member(name, kind, mode, uid, gid, mtime_ns, link, numbers, size, data, runs, records)

    def _content(self, length: int) -> HandleSlice:
        try:
            return self._source.content(length)
        except CutOffError as error:
            raise MalformedError(f"the archive ends inside its contents ({error}); {CUT}") from None

    def _sparse(self, block: bytes, stored: int, records: Records) -> tuple[int, Data | None, Sequence[Run]]:
        """Return (size, data, runs) of a sparse file."""
        found = tar_sparse.read_map(block, stored, records, self._source)
        if not found.stored:
            return found.size, None, ()
        return found.size, *tar_sparse.sparse_data(found, self._content(found.stored))
