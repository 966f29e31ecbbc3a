"""PAX records: what an extended header says of the member that follows.

::

    ┌ x: header ┬ body: "30 mtime=1700000000.123456789\\n" "12 uid=1000\\n" ... ┬ the next header
                         └ LENGTH of all of it, KEYWORD=VALUE

Spec: POSIX.1-2017, pax, "pax Interchange Format"; GNU tar 1.34, manual, "Storing Sparse Files"; star(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgwriter.errors import show
from imgwriter.tree.rules import NANOSECOND
from imgwriter.tree.tar_errors import WHOLE, MalformedError

XATTR, LIBARCHIVE_XATTR, SELINUX = b"SCHILY.xattr.", b"LIBARCHIVE.xattr.", b"RHT.security.selinux"
SPARSE = b"GNU.sparse."
"""Keywords, or what they begin with."""

ATTRIBUTES = (XATTR, LIBARCHIVE_XATTR, b"SCHILY.acl.")
_USED = {
    b"path",
    b"linkpath",
    b"size",
    b"uid",
    b"gid",
    b"mtime",
    b"SCHILY.devmajor",
    b"SCHILY.devminor",
    SELINUX,
}
_USED_PREFIXES = (*ATTRIBUTES, SPARSE)

MAX_DIGITS = 19
"""Of a number below 2^63."""

DECIMAL = re.compile(rb"[0-9]{1,%d}" % MAX_DIGITS)
"""Such a number, or a little more: the caller has a limit."""

_SECONDS = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]{0,64}))?")

Records = Mapping[bytes, bytes]
"""PAX records by keyword."""


def parse_records(body: bytes) -> dict[bytes, bytes]:
    """Return the records of a PAX header: ``LENGTH KEYWORD=VALUE\\n``, LENGTH being that of all of it.

    A later record replaces an earlier one with its keyword, but for the pairs of GNU's sparse form 0.0,
    which come out as the map of form 0.1.

    Raises:
        MalformedError: It is no such list.
    """
    records: dict[bytes, bytes] = {}
    sparse_map: list[bytes] = []
    position = 0
    while position < len(body) and body[position]:
        space = body.find(b" ", position, position + 20)
        length = body[position:space]
        if space < 0 or not DECIMAL.fullmatch(length):
            raise MalformedError(f"its PAX header is damaged; {WHOLE}")
        end = position + int(length)
        keyword, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= space + 1 or body[end - 1] != 0x0A or not equals:
            raise MalformedError(f"its PAX header is damaged; {WHOLE}")
        if keyword == b"GNU.sparse.offset" or keyword == b"GNU.sparse.numbytes":
            sparse_map.append(value)
        else:
            records[keyword] = value
        position = end
    if sparse_map:
        records[b"GNU.sparse.map"] = b",".join(sparse_map)
    return records


def is_used(keyword: bytes) -> bool:
    """Tell whether a record says something that is looked at."""
    return keyword in _USED or keyword.startswith(_USED_PREFIXES)


def decimal(records: Records, keyword: bytes, default: int, limit: int) -> int:
    """Return the number of a record, or ``default`` without one.

    Raises:
        MalformedError: It is no number, or larger than ``limit``.
    """
    value = records.get(keyword)
    if not value:
        return default
    if not DECIMAL.fullmatch(value) or int(value) > limit:
        raise MalformedError(
            f"its {show(keyword)} is {show(value[:40])}, not a number up to {limit:,}; {WHOLE}"
        )
    return int(value)


def nanoseconds(value: bytes) -> int:
    """Return decimal seconds as nanoseconds, rounded down.

    Raises:
        MalformedError: They are none.

    Spec: POSIX.1-2017, pax, "pax Extended Header", mtime.
    """
    match = _SECONDS.fullmatch(value)
    if match is None:
        raise MalformedError(f"its time {show(value[:40])} is not a number of seconds; {WHOLE}")
    fraction = match[3] or b""
    magnitude = int(match[2]) * NANOSECOND + int(fraction[:9].ljust(9, b"0"))
    if not match[1]:
        return magnitude
    return -magnitude - (1 if fraction[9:].strip(b"0") else 0)
