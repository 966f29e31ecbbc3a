"""The kernels of a tree, newest first, each with its initramfs: what a boot menu is made of.

::

    boot/vmlinuz-VERSION            initrd.img-VERSION  initramfs-VERSION.img  initrd-VERSION    beside it
    usr/lib/modules/VERSION/vmlinuz initrd beside it, or one of boot's
    boot/vmlinuz                    initrd.img

A kernel that is at both places is one kernel, boot's. A NixOS has its own way (nixos.py).

Spec: os-release(5) for what the system calls itself; the kernel's
Documentation/admin-guide/kernel-parameters.txt, "root=".
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from imgwriter.bootloader.target import Target
from imgwriter.errors import SourceError, SpecError, show
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import Lookup

_MODULE_ROOTS = (b"lib/modules", b"usr/lib/modules")
_TEXT_LIMIT = 1 << 20


class Kernel(NamedTuple):
    """A kernel that a menu offers.

    Attributes:
        version: As its file's name says it; empty for a file without one.
        path: The file, from the root file system's root.
        initrd: Its initramfs, or None.
    """

    version: str
    path: bytes
    initrd: bytes | None


class Release(NamedTuple):
    """What the tree calls itself.

    Attributes:
        name: As in "Debian GNU/Linux 12 (bookworm)".
        identifier: As in "debian"; never empty.
        version: As in "12"; empty where it has none.
    """

    name: str
    identifier: str
    version: str


def find(root: Inode, path: bytes) -> Inode | None:
    """Return the regular file that a path leads to, symlinks followed, or None."""
    with suppress(SourceError):
        inode = Lookup(root).find(path)
        return inode if stat.S_ISREG(inode.mode) else None
    return None


def names(root: Inode, path: bytes) -> list[bytes]:
    """Return the names in a directory, sorted; none where there is no directory."""
    with suppress(SourceError):
        return sorted(Lookup(root).find(path).entries or ())
    return []


def read(inode: Inode, what: bytes, limit: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        SourceError: It has more than ``limit`` of them.
    """
    if inode.size > limit:
        raise SourceError(
            f"{show(what)} has {inode.size:,} bytes, more than the {limit:,} that are taken; give the right"
            " file",
            what,
        )
    if inode.data is None:
        return bytes(inode.size)
    return b"".join(bytes(piece) for piece in inode.data.chunks(0, inode.size))


def find_kernels(root: Inode) -> list[Kernel]:
    """Return the kernels of a tree, the newest first.

    Raises:
        SourceError: There is none.
    """
    found: dict[str, Kernel] = {}
    for kernel in _candidates(root):
        found.setdefault(kernel.version, kernel)
    if not found:
        raise SourceError(
            "the tree has no kernel in boot or usr/lib/modules for a boot loader to start; install one, or"
            " use boot loader 'none'"
        )
    return sorted(found.values(), key=lambda kernel: order(kernel.version), reverse=True)


def order(version: str) -> tuple[tuple[int, str], ...]:
    """Return a key by which 6.10 is more than 6.9."""
    words = re.findall(r"[0-9]+|[^0-9]+", version)
    return tuple((int(word), "") if word[0] in "0123456789" else (-1, word) for word in words)


def release(root: Inode) -> Release:
    """Return what the tree calls itself, by its os-release."""
    for path in (b"etc/os-release", b"usr/lib/os-release"):
        if (inode := find(root, path)) is not None:
            fields = dict(_assignments(read(inode, path, _TEXT_LIMIT)))
            name = fields.get("PRETTY_NAME") or fields.get("NAME") or "Linux"
            return Release(name, fields.get("ID") or "linux", fields.get("VERSION_ID", ""))
    return Release("Linux", "linux", "")


def parameters(kernel: Kernel, target: Target, more: str) -> str:
    """Return the kernel's parameters: where its root is, and what was asked for.

    An initramfs finds a UUID; the kernel alone knows partitions only.
    """
    root = f"UUID={target.root_uuid}"
    if kernel.initrd is None:
        if target.root_partuuid is None:
            raise SpecError(
                f"{show(kernel.path)} has no initramfs, and without a partition table nothing else finds the"
                " root; make an initramfs or use another table"
            )
        root = f"PARTUUID={target.root_partuuid}"
    return " ".join((f"root={root}", "ro", *more.split()))


def _candidates(root: Inode) -> Iterator[Kernel]:
    for name in names(root, b"boot"):
        path = b"boot/" + name
        if name.startswith(b"vmlinuz") and not name.endswith(b".old") and find(root, path) is not None:
            version = name.removeprefix(b"vmlinuz").removeprefix(b"-")
            yield Kernel(_text(version), path, _initrd(root, version, b"boot"))
    for modules in _MODULE_ROOTS:
        for version in names(root, modules):
            directory = modules + b"/" + version
            if find(root, directory + b"/vmlinuz") is not None:
                yield Kernel(_text(version), directory + b"/vmlinuz", _initrd(root, version, directory))


def _initrd(root: Inode, version: bytes, directory: bytes) -> bytes | None:
    beside = [] if directory == b"boot" else [directory + b"/initrd"]
    if version:
        beside += [b"boot/initrd.img-%b" % version, b"boot/initramfs-%b.img" % version]
        beside += [b"boot/initrd-%b" % version]
    else:
        beside += [b"boot/initrd.img", b"boot/initrd"]
    return next((path for path in beside if find(root, path) is not None), None)


def _assignments(text: bytes) -> Iterator[tuple[str, str]]:
    for line in _text(text).splitlines():
        name, separator, value = line.strip().partition("=")
        with suppress(ValueError):  # a quote that does not end
            if separator and not name.startswith("#"):
                yield name, "".join(shlex.split(value)[:1])


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
