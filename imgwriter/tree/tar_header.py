"""One header of a tar, a block of 512 bytes: its fields, and what PAX records change of them.

::

    0      100              124    136              156        157        257     263   345      500 512
    ┌ name ┬ mode, uid, gid ┬ size ┬ mtime, chksum ┬ typeflag ┬ linkname ┬ magic ┬ ... ┬ prefix ┬ ┐

The checksum and the numbers are read by the standard library (tarfile.TarInfo.frombuf), names here, as bytes.

Spec: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar 1.34, src/tar.h; star(5).
"""

from __future__ import annotations

import tarfile

from imgwriter.tree.rules import MAX_ID, NANOSECOND
from imgwriter.tree.tar_errors import MalformedError
from imgwriter.tree.tar_records import Records, decimal, nanoseconds

REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
"""Values of typeflag, and the kinds of a Member. Spec: POSIX.1-2017, pax, ustar Interchange Format."""

LONG_NAME, LONG_LINK, GNU_SPARSE_FILE, GNU_DUMPDIR, GNU_LABEL = b"L", b"K", b"S", b"D", b"V"
PAX = (b"x", b"X")
"""X: Solaris, before POSIX."""
PAX_GLOBAL = b"g"
REGULARS = (REGULAR, b"\0", b"7")
"""7: contiguous."""
WITHOUT_BODY = (LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO)

MAX_SIZE = (1 << 63) - 1
"""The largest size of a file that a kernel can name (off_t)."""

NAME, TYPEFLAG = slice(0, 100), slice(156, 157)
_LINKNAME, _MAGIC = slice(157, 257), slice(257, 263)
_PREFIX, _STAR_PREFIX, _STAR_MAGIC = slice(345, 500), slice(345, 476), slice(508, 512)
_USTAR = b"ustar\0"

_MAX_NAME = 64 << 10
_MAX_TARGET = 4095  # Linux, PATH_MAX less the NUL: no kernel makes a longer symlink
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1  # Linux, include/linux/kdev_t.h


def string(field: bytes) -> bytes:
    """Return a field that ends at its first NUL, or is full."""
    return field.partition(b"\0")[0]


def names(block: bytes, records: Records) -> tuple[bytes, bytes]:
    """Return a member's name and link name.

    Raises:
        MalformedError: One of them is none that a file system can have.
    """
    name = block[NAME].partition(b"\0")[0]
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


def owner_and_time(info: tarfile.TarInfo, records: Records) -> tuple[int, int, int]:
    """Return a member's user and group, and its time in nanoseconds.

    Raises:
        MalformedError: They are no numbers that a file can have.
    """
    uid, gid = info.uid, info.gid
    if not records:
        mtime_ns = int(info.mtime) * NANOSECOND
    else:
        uid = decimal(records, b"uid", uid, MAX_ID)
        gid = decimal(records, b"gid", gid, MAX_ID)
        mtime = records.get(b"mtime")
        mtime_ns = nanoseconds(mtime) if mtime else int(info.mtime) * NANOSECOND
    if not (0 <= uid <= MAX_ID and 0 <= gid <= MAX_ID):
        raise MalformedError(
            f"its owner is {uid}:{gid}, and an owner is two numbers from 0 to {MAX_ID}; change it"
        )
    return uid, gid, mtime_ns


def device(info: tarfile.TarInfo, records: Records) -> tuple[int, int]:
    """Return the (major, minor) of a device.

    Raises:
        MalformedError: Linux has no such device.
    """
    major = decimal(records, b"SCHILY.devmajor", info.devmajor, _MAX_MAJOR)
    minor = decimal(records, b"SCHILY.devminor", info.devminor, _MAX_MINOR)
    if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
        raise MalformedError(
            f"it is the device {major}:{minor}, and Linux goes up to {_MAX_MAJOR}:{_MAX_MINOR}; leave it out"
        )
    return major, minor
