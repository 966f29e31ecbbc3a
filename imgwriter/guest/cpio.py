"""A newc cpio archive: the form in which a kernel takes its initramfs.

::

    "070701" | 13 fields of 8 hexadecimal digits | name NUL, padded to 4 | content, padded to 4
    ...
    the same, named TRAILER!!!

Spec: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

The archive depends on nothing but its members: they are sorted by name, so that a directory comes before what
is in it, and numbered in that order; owners are 0:0, and every time is the one that is given.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import NamedTuple

from imgwriter.errors import PlanInvariantError

MAX_FIELD = 0xFFFFFFFF
"""The largest number in eight hexadecimal digits: bytes of a file, and seconds of a time."""

_MAGIC = b"070701"
_TRAILER = b"TRAILER!!!"
_ALIGNMENT = 4


class Member(NamedTuple):
    """One entry of an archive.

    Attributes:
        name: Its path, relative, without ``.`` and ``..``.
        mode: ``st_mode``: type and permission bits.
        content: A file's bytes, a symlink's target, else b"".
        device: (major, minor) of a device node, else (0, 0).
    """

    name: bytes
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: bytes, permissions: int = 0o755) -> Member:
    """Return a directory."""
    return Member(name, stat.S_IFDIR | permissions)


def file(name: bytes, content: bytes, permissions: int = 0o644) -> Member:
    """Return a regular file."""
    return Member(name, stat.S_IFREG | permissions, content)


def symlink(name: bytes, target: bytes) -> Member:
    """Return a symlink."""
    return Member(name, stat.S_IFLNK | 0o777, target)


def character_device(name: bytes, major: int, minor: int, permissions: int = 0o600) -> Member:
    """Return the node of a character device."""
    return Member(name, stat.S_IFCHR | permissions, device=(major, minor))


def archive(members: Iterable[Member], mtime: int = 0) -> bytes:
    """Return the archive of ``members``, in any order.

    Args:
        members: Each with a name of its own, and its directory among them.
        mtime: Modification time of all, in seconds since the epoch; what no field holds is brought to the
            nearest that one does.

    Raises:
        PlanInvariantError: A name is unfit, there twice or in no directory, or a file has 4 GiB or more.
    """
    ordered = sorted(members)
    _check(ordered)
    clamped = min(max(mtime, 0), MAX_FIELD)
    out = bytearray()
    for number, member in enumerate(ordered, start=1):
        links = 2 if stat.S_ISDIR(member.mode) else 1
        _append(out, member, number, links, clamped)
    _append(out, Member(_TRAILER, 0), 0, 1, 0)
    return bytes(out)


def _append(out: bytearray, member: Member, number: int, links: int, mtime: int) -> None:
    size = len(member.content)
    # c_ino c_mode c_uid c_gid c_nlink c_mtime c_filesize c_maj c_min c_rmaj c_rmin c_namesize c_chksum
    fields = (number, member.mode, 0, 0, links, mtime, size, 0, 0, *member.device, len(member.name) + 1, 0)
    out += _MAGIC + b"".join(b"%08x" % field for field in fields) + member.name + b"\0"
    out += bytes(-len(out) % _ALIGNMENT)
    out += member.content
    out += bytes(-len(out) % _ALIGNMENT)


def _check(ordered: list[Member]) -> None:
    directories = {b""}
    before = None
    for member in ordered:
        name = member.name
        parent, _, base = name.rpartition(b"/")
        if base in (b"", b".", b"..") or name[:1] == b"/" or b"\0" in name or name == _TRAILER:
            raise PlanInvariantError(f"{name!r} is no name for an initramfs")
        if name == before:
            raise PlanInvariantError(f"{name!r} is twice in the initramfs")
        if parent not in directories:
            raise PlanInvariantError(f"{name!r} is in no directory of the initramfs")
        if len(member.content) > MAX_FIELD:
            raise PlanInvariantError(f"{name!r} has {len(member.content)} bytes; cpio takes {MAX_FIELD}")
        if stat.S_ISDIR(member.mode):
            directories.add(name)
        before = name
