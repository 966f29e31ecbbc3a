"""A newc cpio archive, written without root: the initramfs of the guest.

Spec: kernel Documentation/driver-api/early-userspace/buffer-format.rst::

    "070701" | 13 fields of 8 hexadecimal digits | name NUL, padded to 4 | content, padded to 4
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import NamedTuple


class Member(NamedTuple):
    """One file of an archive: ``content`` is a symlink's target where mode says so."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(name: str, content: bytes, permissions: int = 0o755) -> Member:
    """Return a regular file."""
    return Member(name, stat.S_IFREG | permissions, content)


def directory(name: str) -> Member:
    """Return a directory."""
    return Member(name, stat.S_IFDIR | 0o755)


def archive(members: Iterable[Member]) -> bytes:
    """Return the archive; the kernel unpacks several of them, one after the other."""
    out = bytearray()
    for number, member in enumerate([*members, Member("TRAILER!!!", 0)], start=1):
        name = member.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(member.mode) else 1
        # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        size, device = len(member.content), member.device
        fields = (number, member.mode, 0, 0, links, 0, size, 0, 0, *device, len(name), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        out += bytes(-len(out) % 4)
        out += member.content
        out += bytes(-len(out) % 4)
    return bytes(out)
