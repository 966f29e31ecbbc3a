r"""The headers of one member of a tar: ustar's fields, and before them PAX records for what they cannot hold.

::

    ┌ x ┬ 512 B ┐┌ 37 mtime=1700000000.123456789\n ... ┐┌ header ┬ 512 B ┐┌ sparse map ┐
    └───┴───────┘└──────────────── to 512 B ────────────┘└────────┴───────┘└─ to 512 B ─┘

A number that its field holds stands there alone, so most members are one block. Which records there are, and
who reads them: :mod:`imgwriter.examine.archive`.

Spec: POSIX.1-2017, pax, "pax Interchange Format" and "ustar Interchange Format"; GNU tar 1.34, manual,
"Storing Sparse Files".
"""

from __future__ import annotations

import base64
import stat
import struct
from collections.abc import Sequence
from typing import NamedTuple, NoReturn
from urllib.parse import quote_from_bytes

from imgwriter.tree import posix_acl
from imgwriter.tree.inventory import Inode, Run
from imgwriter.tree.rules import NANOSECOND
from imgwriter.tree.tar_header import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, LINK, REGULAR, SYMLINK
from imgwriter.tree.tar_records import LIBARCHIVE_XATTR, SPARSE, XATTR
from imgwriter.tree.tar_source import BLOCK
from imgwriter.tree.tar_xattrs import ACLS
from imgwriter.units import align_up

_USTAR = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
"""name, mode, uid, gid, size, mtime, chksum, typeflag, linkname, magic and version, uname, gname, devmajor,
devminor, prefix."""
_MAGIC = b"ustar\x0000"
_NAME_MAX = 100
_CHKSUM = slice(148, 156)
_ID_MAX = 0o7777777
_NUMBER_MAX = 0o77777777777
_PAX = b"x"
_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFIFO: FIFO,
}

Records = dict[bytes, bytes]
"""PAX records by keyword, in the order in which they are written."""


class Sparse(NamedTuple):
    """A file with holes.

    Attributes:
        size: Bytes of the file.
        runs: Where it has data; all but a last one end at a multiple of 512.
    """

    size: int
    runs: Sequence[Run]


def member(name: bytes, inode: Inode, sparse: Sparse | None = None) -> bytes:
    """Return all that stands before a file's contents.

    Args:
        name: In the archive.
        inode: Any but a socket.
        sparse: Where the file has data, None for one without holes.
    """
    records: Records = {}
    size = inode.size if stat.S_ISREG(inode.mode) else 0
    sparse_map = b""
    if sparse is not None:
        sparse_map = _sparse_map(sparse)
        size = len(sparse_map) + sum(high - low for low, high in sparse.runs)
        records[SPARSE + b"major"] = b"1"
        records[SPARSE + b"minor"] = b"0"
        records[SPARSE + b"name"] = name
        records[SPARSE + b"realsize"] = b"%d" % sparse.size
        name = b"./GNUSparseFile.0/" + name.rpartition(b"/")[2][:64]
    _add_attributes(records, inode)
    return _headers(name, inode, _KINDS[stat.S_IFMT(inode.mode)], size, inode.target, records) + sparse_map


def link(name: bytes, inode: Inode, first: bytes) -> bytes:
    """Return the member that makes ``name`` another name of ``first``."""
    return _headers(name, inode, LINK, 0, first, {})


def _headers(name: bytes, inode: Inode, kind: bytes, size: int, target: bytes, records: Records) -> bytes:
    texts = {b"path": name, b"linkpath": target}
    records = {keyword: text for keyword, text in texts.items() if len(text) > _NAME_MAX} | records
    numbers = {b"uid": (inode.uid, _ID_MAX), b"gid": (inode.gid, _ID_MAX), b"size": (size, _NUMBER_MAX)}
    records |= {key: b"%d" % value for key, (value, most) in numbers.items() if value > most}
    seconds, fraction = divmod(inode.mtime_ns, NANOSECOND)
    if fraction or not 0 <= seconds <= _NUMBER_MAX:
        records[b"mtime"] = _decimal(inode.mtime_ns)
    if any(not _is_text(records.get(keyword, b"")) for keyword in (b"path", b"linkpath", SPARSE + b"name")):
        records = {b"hdrcharset": b"BINARY"} | records
    header = _ustar(
        name,
        stat.S_IMODE(inode.mode),
        (min(inode.uid, _ID_MAX), min(inode.gid, _ID_MAX)),
        min(size, _NUMBER_MAX),
        min(max(seconds, 0), _NUMBER_MAX),
        kind,
        target,
        inode.rdev,
    )
    if not records:
        return header
    body = b"".join(_record(keyword, value) for keyword, value in records.items())
    extended = b"./PaxHeaders/" + name.rstrip(b"/").rpartition(b"/")[2][:64]
    return _ustar(extended, 0o644, (0, 0), len(body), 0, _PAX) + _padded(body) + header


def _ustar(
    name: bytes,
    mode: int,
    owner: tuple[int, int],
    size: int,
    mtime: int,
    kind: bytes,
    target: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    block = bytearray(
        _USTAR.pack(
            name,
            *(b"%07o" % number for number in (mode, *owner)),
            *(b"%011o" % number for number in (size, mtime)),
            b" " * 8,
            kind,
            target,
            _MAGIC,
            b"",
            b"",
            *(b"%07o" % number for number in device),
            b"",
        )
    )
    block[_CHKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def _record(keyword: bytes, value: bytes) -> bytes:
    """Return a record with its length, which counts its own digits."""
    rest = b" %b=%b\n" % (keyword, value)
    length = len(rest)
    while length != (with_digits := len(rest) + len(str(length))):
        length = with_digits
    return b"%d%b" % (length, rest)


def _add_attributes(records: Records, inode: Inode) -> None:
    acls = {name: keyword for keyword, name in ACLS}
    for name, value in sorted(inode.xattrs.items()):
        text = _acl_text(name, value) if name in acls else None
        if text is not None:
            records[acls[name]] = text
        elif b"=" in name or b"%" in name:  # GNU tar has escapes of its own for these
            encoded = base64.b64encode(value).rstrip(b"=")
            records[LIBARCHIVE_XATTR + quote_from_bytes(name).encode()] = encoded
        else:
            records[XATTR + name] = value


def _acl_text(name: bytes, value: bytes) -> bytes | None:
    """Return an ACL as text, if that says all of it."""
    text = posix_acl.to_text(value)
    if text is None:
        return None
    try:
        read = posix_acl.from_text(text, _nobody, default=name == posix_acl.DEFAULT)
    except ValueError:
        return None
    return text if read == value else None


def _nobody(_word: bytes, name: bytes) -> NoReturn:
    raise ValueError(f"{name!r} has no number")


def _sparse_map(sparse: Sparse) -> bytes:
    """Return the map that stands before the data: a count, then offset and length of each run."""
    runs = list(sparse.runs)
    if not runs or runs[-1][1] < sparse.size:
        runs.append((sparse.size, sparse.size))
    numbers = [len(runs), *(number for low, high in runs for number in (low, high - low))]
    return _padded(b"".join(b"%d\n" % number for number in numbers))


def _decimal(nanoseconds: int) -> bytes:
    """Return nanoseconds as decimal seconds, exactly."""
    seconds, fraction = divmod(abs(nanoseconds), NANOSECOND)
    return b"%s%d.%09d" % (b"-" if nanoseconds < 0 else b"", seconds, fraction)


def _is_text(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _padded(content: bytes) -> bytes:
    return content.ljust(align_up(len(content), BLOCK), b"\0")
