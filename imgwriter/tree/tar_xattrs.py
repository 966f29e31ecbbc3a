"""Extended attributes and ACLs of a tar: PAX records of star, libarchive and Red Hat's tar.

::

    SCHILY.xattr.user.a=VALUE       raw                       ┐
    LIBARCHIVE.xattr.user.a=dmFs    base64                    ├──> user.a, system.posix_acl_access, ...
    SCHILY.acl.access=user::rwx,... text, numbers looked up   │
    RHT.security.selinux=...        raw                       ┘

Spec: star(5); libarchive, tar(5); GNU tar 1.34, src/xheader.c.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from urllib.parse import unquote_to_bytes

from imgwriter.errors import show
from imgwriter.tree import posix_acl
from imgwriter.tree.inventory import NO_XATTRS
from imgwriter.tree.tar_errors import WHOLE, MalformedError, NumberlessError
from imgwriter.tree.tar_records import ATTRIBUTES, LIBARCHIVE_XATTR, SELINUX, XATTR, Records

ACLS = ((b"SCHILY.acl.access", posix_acl.ACCESS), (b"SCHILY.acl.default", posix_acl.DEFAULT))
"""Keywords of ACLs in text, and the attributes that they become."""

_MAX_XATTRS = 64 << 10  # Linux, XATTR_SIZE_MAX; no file system here holds more


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
        elif keyword == SELINUX and keep(b"security.selinux"):
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
        if keyword == SELINUX or keyword.startswith(ATTRIBUTES)
    }
    size = sum(len(keyword) + len(value) for keyword, value in kept.items())
    if size > 2 * _MAX_XATTRS:  # libarchive writes every attribute twice
        raise MalformedError(f"its extended attributes have {size:,} bytes in the archive; {WHOLE}")
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
        raise MalformedError(f"an extended attribute is not in base64; {WHOLE}") from None
