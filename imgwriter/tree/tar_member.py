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

import base64
import binascii
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from imgwriter.errors import show
from imgwriter.extent import Data
from imgwriter.filedata import Concatenated, HandleSlice
from imgwriter.tree import posix_acl
from imgwriter.tree.inventory import NO_XATTRS, Run
from imgwriter.tree.rules import MAX_ID, NANOSECOND
from imgwriter.tree.tar_source import BLOCK, CutOffError, TarSource

REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
"""Values of typeflag, and the kinds of a Member. Spec: POSIX.1-2017, pax, ustar Interchange Format."""

MAX_SIZE = (1 << 63) - 1
"""The largest size of a file that a kernel can name (off_t)."""

_MAX_EXTENDED = 1 << 20  # bytes of an extended header; 64 KiB hold all xattrs a kernel shows of a file
_MAX_GLOBAL = 64 << 10  # bytes of records that global headers leave behind
_MAX_NAME = 64 << 10
_MAX_TARGET = 4095  # Linux, PATH_MAX less the NUL: no kernel makes a longer symlink
_MAX_XATTRS = 64 << 10  # Linux, XATTR_SIZE_MAX; no file system here holds more
_MAX_PIECES = 1 << 20
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1  # Linux, include/linux/kdev_t.h

_ZERO = bytes(BLOCK)
_USTAR = b"ustar\0"
_NAME, _TYPEFLAG, _LINKNAME, _MAGIC = slice(0, 100), slice(156, 157), slice(157, 257), slice(257, 263)
_PREFIX, _STAR_PREFIX, _STAR_MAGIC = slice(345, 500), slice(345, 476), slice(508, 512)
_GNU_SPARSE, _GNU_ISEXTENDED, _GNU_REALSIZE = slice(386, 482), 482, slice(483, 495)
_GNU_MORE_SPARSE, _GNU_MORE_ISEXTENDED = slice(0, 504), 504

_LONG_NAME, _LONG_LINK, _GNU_SPARSE_FILE, _GNU_DUMPDIR, _GNU_LABEL = b"L", b"K", b"S", b"D", b"V"
_PAX = (b"x", b"X")  # X: Solaris, before POSIX
_PAX_GLOBAL = b"g"
_REGULARS = (REGULAR, b"\0", b"7")  # 7: contiguous
_WITHOUT_BODY = (LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO)

XATTR, LIBARCHIVE_XATTR, _SELINUX = b"SCHILY.xattr.", b"LIBARCHIVE.xattr.", b"RHT.security.selinux"
ACLS = ((b"SCHILY.acl.access", posix_acl.ACCESS), (b"SCHILY.acl.default", posix_acl.DEFAULT))
SPARSE = b"GNU.sparse."
"""PAX keywords, or what they begin with."""
_USED = {
    b"path",
    b"linkpath",
    b"size",
    b"uid",
    b"gid",
    b"mtime",
    b"SCHILY.devmajor",
    b"SCHILY.devminor",
    _SELINUX,
}
_ATTRIBUTES = (XATTR, LIBARCHIVE_XATTR, b"SCHILY.acl.")
_USED_PREFIXES = (*_ATTRIBUTES, SPARSE)

_MAX_DIGITS = 19  # of a number below 2^63
_DECIMAL = re.compile(rb"[0-9]{1,%d}" % _MAX_DIGITS)
_SECONDS = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]{0,64}))?")

Records = Mapping[bytes, bytes]
"""PAX records by keyword."""

_NO_RECORDS: Records = {}


class MalformedError(ValueError):
    """A member breaks its format; ``str()`` of it says how, without the member's name."""


class NumberlessError(ValueError):
    """An ACL names somebody whose number is not known yet."""


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
            kind = block[_TYPEFLAG]
            if kind in _PAX:
                records.update(_records(self._body(info.size)))
            elif kind == _PAX_GLOBAL:
                self._set_globals(_records(self._body(info.size)))
                continue
            elif kind == _LONG_NAME:
                records.setdefault(b"path", _string(self._body(info.size)))
            elif kind == _LONG_LINK:
                records.setdefault(b"linkpath", _string(self._body(info.size)))
            elif kind == _GNU_LABEL:
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
                f"the archive ends {'after an extended header' if extended else where}; {_CUT}"
            )
        self.offset = offset
        self.name = _string(block[_NAME])
        try:
            info = tarfile.TarInfo.frombuf(block, "iso8859-1", "strict")
        except tarfile.HeaderError as error:
            if not offset:
                self.name = b""
                raise MalformedError(
                    f"it is no tar, or a damaged one ({error}); give a directory or a whole tar"
                ) from None
            raise MalformedError(f"its header is damaged ({error}); {_WHOLE}") from None
        if not 0 <= info.size <= MAX_SIZE:
            raise MalformedError(f"its header gives a size of {info.size:,} bytes; {_WHOLE}")
        return block, info

    def _check_end(self) -> None:
        """Look at what follows a block of zeros: a second one, or the end of the file."""
        second = self._source.read(BLOCK)
        if second.strip(b"\0"):
            raise MalformedError(f"a lone block of zeros follows it; {_WHOLE}")

    def _body(self, size: int) -> bytes:
        """Return the body of an extended header."""
        if size > _MAX_EXTENDED:
            raise MalformedError(
                f"its extended header has {size:,} bytes, and at most 1 MiB is read; {_WHOLE}"
            )
        padded = size + -size % BLOCK
        body = self._source.read(padded)
        if len(body) < padded:
            raise MalformedError(f"the archive ends inside its extended header; {_CUT}")
        return body[:size]

    def _set_globals(self, records: Records) -> None:
        for keyword, value in records.items():
            if keyword in _USED or keyword.startswith(_USED_PREFIXES):
                self._globals[keyword] = value
        if sum(len(keyword) + len(value) for keyword, value in self._globals.items()) > _MAX_GLOBAL:
            raise MalformedError(f"the archive's global headers have more than 64 KiB of records; {_WHOLE}")

    def _with_globals(self, records: Records) -> Records:
        if not self._globals:
            return records
        return {**self._globals, **records} if records else self._globals

    def _file(self, block: bytes, info: tarfile.TarInfo, kind: bytes, records: Records) -> Member:
        """Return the member of a header that is not an extended one."""
        name, link = _names(block, records)
        self.name = name
        if kind in _REGULARS:
            kind = DIRECTORY if name.endswith(b"/") else REGULAR
        elif kind == _GNU_DUMPDIR:
            self._source.skip(info.size)
            kind = DIRECTORY
        elif kind not in _WITHOUT_BODY and kind != _GNU_SPARSE_FILE:
            raise MalformedError(f"it is of the unknown type {kind!r}; leave it out of the archive")
        size, data, runs = 0, None, None
        if kind in (REGULAR, _GNU_SPARSE_FILE):
            stored = _decimal(records, b"size", info.size, MAX_SIZE) if records else info.size
            if kind == _GNU_SPARSE_FILE or SPARSE + b"size" in records or SPARSE + b"realsize" in records:
                size, data, runs = self._sparse(block, kind, stored, records)
                kind = REGULAR
                name = self.name = records.get(SPARSE + b"name") or name
            elif stored:
                size, data = stored, self._content(stored)
        uid, gid, mtime_ns = _owner_and_time(info, records)
        device = _device(info, records) if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0)
        mode = info.mode & 0o7777
        return Member(name, kind, mode, uid, gid, mtime_ns, link, device, size, data, runs, records)

    def _content(self, length: int) -> HandleSlice:
        try:
            return self._source.content(length)
        except CutOffError as error:
            raise MalformedError(f"the archive ends inside its contents ({error}); {_CUT}") from None

    def _sparse(
        self, block: bytes, kind: bytes, stored: int, records: Records
    ) -> tuple[int, Data | None, Sequence[Run]]:
        """Return (size, data, runs) of a sparse file, in whichever form its map is."""
        if kind == _GNU_SPARSE_FILE:
            size = _number(block[_GNU_REALSIZE])
            numbers = self._gnu_map(block)
        else:
            size = _decimal(records, SPARSE + b"size", 0, MAX_SIZE)
            size = _decimal(records, SPARSE + b"realsize", size, MAX_SIZE)
            if SPARSE + b"map" in records:
                numbers = _decimals(records[SPARSE + b"map"].split(b","))
            elif records.get(SPARSE + b"major") == b"1":
                numbers, used = self._map_in_contents(stored)
                stored -= used
            else:
                raise MalformedError(f"it is sparse and has no map that is known here; {_WHOLE}")
        return size, *self._sparse_data(numbers, size, stored)

    def _gnu_map(self, block: bytes) -> list[int]:
        """Read the map of the old GNU form: 4 pairs in the header, 21 in each block that follows."""
        numbers = _pairs(block[_GNU_SPARSE])
        more = block[_GNU_ISEXTENDED]
        while more:
            block = self._source.read(BLOCK)
            if len(block) < BLOCK:
                raise MalformedError(f"the archive ends inside its sparse map; {_CUT}")
            numbers += _pairs(block[_GNU_MORE_SPARSE])
            _check_pieces(len(numbers) // 2)
            more = block[_GNU_MORE_ISEXTENDED]
        return numbers

    def _map_in_contents(self, stored: int) -> tuple[list[int], int]:
        """Read the map of GNU's PAX form 1.0: decimal lines before the contents, padded to a block.

        Returns:
            The numbers, and the bytes the map takes.
        """
        lines: list[bytes] = []
        used, wanted = 0, 1
        rest = b""
        while len(lines) < wanted:
            block = self._source.read(BLOCK) if used < stored else b""
            if len(block) < BLOCK:
                raise MalformedError(f"its sparse map is longer than its contents; {_WHOLE}")
            used += BLOCK
            *complete, rest = (rest + block).split(b"\n")
            lines += complete
            if wanted == 1 and lines:
                count = _decimals(lines[:1])[0]
                _check_pieces(count)
                wanted = 1 + 2 * count
            if len(lines) < wanted and len(rest) > _MAX_DIGITS:
                raise MalformedError(f"its sparse map is damaged; {_WHOLE}")
        return _decimals(lines[1:wanted]), used

    def _sparse_data(
        self, numbers: Sequence[int], size: int, stored: int
    ) -> tuple[Data | None, Sequence[Run]]:
        """Return the data of a sparse file and its runs.

        Args:
            numbers: Offset and length of each piece, one after the other.
            size: Bytes of the file.
            stored: Bytes of it in the archive.
        """
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        end = total = 0
        for offset, length in pairs:
            if offset < end or offset + length > size:
                raise MalformedError(
                    f"its sparse map is out of order or exceeds its size of {size:,} bytes; {_WHOLE}"
                )
            end = offset + length
            total += length
        if len(numbers) % 2 or total != stored:
            raise MalformedError(f"its sparse map has {total:,} bytes and its contents {stored:,}; {_WHOLE}")
        if not total:
            return None, ()
        content = self._content(total)
        pieces: list[tuple[int, Data]] = []
        position = content.offset
        for offset, length in pairs:
            if length:
                pieces.append((offset, HandleSlice(content.file, position, length)))
                position += length
        runs = tuple((offset, offset + len(piece)) for offset, piece in pieces)
        return Concatenated(pieces, size), runs


_CUT = "it is cut off: get the whole of it"
_WHOLE = "the archive is damaged: get a whole copy of it"


def xattrs(
    records: Records, keep: Callable[[bytes], bool], lookup: posix_acl.Lookup
) -> Mapping[bytes, bytes]:
    """Return the extended attributes that PAX records carry, sorted by name.

    star's form (raw values) goes before libarchive's (base64), an attribute before an ACL in text.

    Args:
        records: Of a Member.
        keep: Tells which attributes are wanted.
        lookup: Finds the numbers of users and groups that an ACL names.

    Raises:
        MalformedError: A record is damaged, or there are more attributes than any file system holds.
    """
    found: dict[bytes, bytes] = {}
    for keyword, value in records.items():
        if keyword.startswith(LIBARCHIVE_XATTR):
            name = unquote_to_bytes(keyword[len(LIBARCHIVE_XATTR) :])
            if name and keep(name) and XATTR + _escaped(name) not in records:
                found[name] = _base64(value)
        elif keyword.startswith(XATTR):
            name = _unescaped(keyword[len(XATTR) :])
            if name and keep(name):
                found[name] = value
        elif keyword == _SELINUX and keep(b"security.selinux"):
            found.setdefault(b"security.selinux", value)
    for keyword, name in ACLS:
        if keyword in records and name not in found and keep(name):
            acl = _acl(records[keyword], lookup, name)
            if acl is not None:
                found[name] = acl
    return _checked_xattrs(found) if found else NO_XATTRS


def _escaped(name: bytes) -> bytes:
    """Return an attribute's name as in a keyword, which ends at "=". Spec: GNU tar 1.34, src/xheader.c."""
    return name.replace(b"%", b"%25").replace(b"=", b"%3D")


def _unescaped(name: bytes) -> bytes:
    return name.replace(b"%3D", b"=").replace(b"%25", b"%") if b"%" in name else name


def acl_records(records: Records) -> Records:
    """Return the records that :func:`xattrs` looks at, to be kept for later.

    Raises:
        MalformedError: They are larger than any file's attributes can be.
    """
    kept = {
        keyword: value
        for keyword, value in records.items()
        if keyword == _SELINUX or keyword.startswith(_ATTRIBUTES)
    }
    size = sum(len(keyword) + len(value) for keyword, value in kept.items())
    if size > 2 * _MAX_XATTRS:  # libarchive writes every attribute twice
        raise MalformedError(f"its extended attributes have {size:,} bytes in the archive; {_WHOLE}")
    return kept


def _acl(text: bytes, lookup: posix_acl.Lookup, name: bytes) -> bytes | None:
    try:
        return posix_acl.from_text(text, lookup, default=name == posix_acl.DEFAULT)
    except NumberlessError:
        raise
    except ValueError as error:
        raise MalformedError(f"{error}; archive it again with --numeric-owner, or without ACLs") from None


def _checked_xattrs(found: dict[bytes, bytes]) -> Mapping[bytes, bytes]:
    size = sum(len(name) + len(value) for name, value in found.items())
    if size > _MAX_XATTRS:
        raise MalformedError(
            f"its extended attributes have {size:,} bytes, and a file can have 65,536; drop some by --xattrs"
        )
    for name in found:
        if b"\0" in name or len(name) > 255:
            raise MalformedError(f"its extended attribute {show(name[:64])} has no name that a kernel knows")
    return dict(sorted(found.items()))


def _base64(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        raise MalformedError(f"an extended attribute is not in base64; {_WHOLE}") from None


def _names(block: bytes, records: Records) -> tuple[bytes, bytes]:
    """Return a member's name and link name."""
    name = block[_NAME].partition(b"\0")[0]
    # Other formats (GNU's incremental archives) have other things where ustar has a prefix.
    if block[345] and block[_MAGIC] == _USTAR:
        prefix = block[_STAR_PREFIX if block[_STAR_MAGIC] == b"tar\0" else _PREFIX]
        name = prefix.partition(b"\0")[0] + b"/" + name
    link = block[_LINKNAME].partition(b"\0")[0]
    if records:
        name = records.get(b"path") or name
        link = records.get(b"linkpath") or link
        if b"\0" in name or b"\0" in link:
            raise MalformedError("its name or link holds a NUL byte, which no file system can; rename it")
        if len(name) > _MAX_NAME or len(link) > _MAX_NAME:
            raise MalformedError(
                f"its name or link has {max(len(name), len(link)):,} bytes, and at most 65,536 are read"
            )
    return name, link


def check_target(target: bytes) -> None:
    """Refuse what no symlink can hold.

    Raises:
        MalformedError: The target is empty or longer than any kernel allows.
    """
    if not 0 < len(target) <= _MAX_TARGET:
        raise MalformedError(
            f"it is a symlink to a target of {len(target):,} bytes; 1 to {_MAX_TARGET:,} are possible"
        )


def _owner_and_time(info: tarfile.TarInfo, records: Records) -> tuple[int, int, int]:
    uid, gid = info.uid, info.gid
    if not records:
        mtime_ns = int(info.mtime) * NANOSECOND
    else:
        uid = _decimal(records, b"uid", uid, MAX_ID)
        gid = _decimal(records, b"gid", gid, MAX_ID)
        mtime = records.get(b"mtime")
        mtime_ns = _nanoseconds(mtime) if mtime else int(info.mtime) * NANOSECOND
    if not (0 <= uid <= MAX_ID and 0 <= gid <= MAX_ID):
        raise MalformedError(
            f"its owner is {uid}:{gid}, and an owner is two numbers from 0 to {MAX_ID}; change it"
        )
    return uid, gid, mtime_ns


def _nanoseconds(value: bytes) -> int:
    """Return decimal seconds as nanoseconds, rounded down. Spec: POSIX.1-2017, pax, 'mtime'."""
    match = _SECONDS.fullmatch(value)
    if match is None:
        raise MalformedError(f"its time {show(value[:40])} is not a number of seconds; {_WHOLE}")
    fraction = match[3] or b""
    nanoseconds = int(match[2]) * NANOSECOND + int(fraction[:9].ljust(9, b"0"))
    if not match[1]:
        return nanoseconds
    return -nanoseconds - (1 if fraction[9:].strip(b"0") else 0)


def _device(info: tarfile.TarInfo, records: Records) -> tuple[int, int]:
    major = _decimal(records, b"SCHILY.devmajor", info.devmajor, _MAX_MAJOR)
    minor = _decimal(records, b"SCHILY.devminor", info.devminor, _MAX_MINOR)
    if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
        raise MalformedError(
            f"it is the device {major}:{minor}, and Linux goes up to {_MAX_MAJOR}:{_MAX_MINOR}; leave it out"
        )
    return major, minor


def _decimal(records: Records, keyword: bytes, default: int, limit: int) -> int:
    """Return the number of a record, or ``default`` without one."""
    value = records.get(keyword)
    if not value:
        return default
    if not _DECIMAL.fullmatch(value) or int(value) > limit:
        raise MalformedError(
            f"its {show(keyword)} is {show(value[:40])}, not a number up to {limit:,}; {_WHOLE}"
        )
    return int(value)


def _decimals(values: list[bytes]) -> list[int]:
    for value in values:
        if not _DECIMAL.fullmatch(value):
            raise MalformedError(f"its sparse map holds {show(value[:40])!r}, not a number; {_WHOLE}")
    return [int(value) for value in values]


def _check_pieces(count: int) -> None:
    if count > _MAX_PIECES:
        raise MalformedError(
            f"it is in {count:,} pieces, and at most {_MAX_PIECES:,} are read; fill some of its holes"
        )


def _number(field: bytes) -> int:
    """Return a number of a GNU sparse header: octal, or base-256 when the first bit is set."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        raise MalformedError(f"its sparse map is damaged; {_WHOLE}") from None


def _pairs(array: bytes) -> list[int]:
    """Return the numbers of an array of sparse entries (offset[12], numbytes[12]), up to an unused one."""
    numbers: list[int] = []
    for position in range(0, len(array), 24):
        if array[position + 12] == 0:
            break
        numbers += (_number(array[position : position + 12]), _number(array[position + 12 : position + 24]))
    return numbers


def _string(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _records(body: bytes) -> dict[bytes, bytes]:
    """Return the records of a PAX header: ``LENGTH KEYWORD=VALUE\\n``, LENGTH being that of all of it.

    A later record replaces an earlier one with its keyword, but for the pairs of GNU's sparse form 0.0,
    which come out as the map of form 0.1.
    """
    records: dict[bytes, bytes] = {}
    sparse_map: list[bytes] = []
    position = 0
    while position < len(body) and body[position]:
        space = body.find(b" ", position, position + 20)
        length = body[position:space]
        if space < 0 or not _DECIMAL.fullmatch(length):
            raise MalformedError(f"its PAX header is damaged; {_WHOLE}")
        end = position + int(length)
        keyword, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= space + 1 or body[end - 1] != 0x0A or not equals:
            raise MalformedError(f"its PAX header is damaged; {_WHOLE}")
        if keyword == b"GNU.sparse.offset" or keyword == b"GNU.sparse.numbytes":
            sparse_map.append(value)
        else:
            records[keyword] = value
        position = end
    if sparse_map:
        records[b"GNU.sparse.map"] = b",".join(sparse_map)
    return records
