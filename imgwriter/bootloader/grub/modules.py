"""GRUB's modules: where a tree has them, which ones need which, and how an image carries them.

::

    usr/lib/grub/PLATFORM/   kernel.img  *.mod  moddep.lst "ext2: fshelp"        Debian, Fedora, Arch
    nix/store/*-grub-*/lib/grub/PLATFORM/                                        NixOS

    "mimg" | offset | size | { type, size | content, padded } ...           behind the kernel in an image
                                0 module   2 configuration   3 prefix

Spec: GRUB, include/grub/kernel.h: struct grub_module_info32, grub_module_info64, grub_module_header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imgwriter.bootloader import kernels
from imgwriter.errors import SourceError, show
from imgwriter.tree.inventory import Inode
from imgwriter.units import align_up

PLACES = (b"usr/lib/grub/", b"usr/share/grub2/", b"lib/grub/")
_GUEST_ONLY = "arm64-efi"
"""A platform for which no image is made here; its own grub-install makes it, in a guest."""

_STORE = b"nix/store"
_FILE_LIMIT = 16 << 20  # the largest of Debian's has 400 KiB

_MAGIC = 0x676D696D  # "mimg"
_INFO = {
    4: struct.Struct("<3I"),
    8: struct.Struct("<I4x2Q"),
}  # magic, offset of the first object, size of all
_HEADER = struct.Struct("<2I")  # type, size
_MODULE, _PREFIX = 0, 3


@dataclass(frozen=True, slots=True)
class Platform:
    """A GRUB in a tree, for one kind of firmware.

    Attributes:
        root: The tree's root.
        directory: Where its files are.
        name: "i386-pc" or "x86_64-efi".
    """

    root: Inode
    directory: bytes
    name: str

    def file(self, name: bytes) -> bytes:
        """Return the bytes of one of its files.

        Raises:
            SourceError: There is no such file.
        """
        path = self.path(name)
        inode = kernels.find(self.root, path)
        if inode is None:
            raise SourceError(
                f"GRUB in {show(self.directory)} has no file {show(name)}; install it in the tree again", path
            )
        return kernels.read(inode, path, _FILE_LIMIT)

    def path(self, name: bytes) -> bytes:
        """Return the path of one of its files."""
        return self.directory + b"/" + name

    def closure(self, wanted: Sequence[str]) -> list[str]:
        """Return modules and all that they need, each after what it needs, in grub-mkimage's order.

        Raises:
            SourceError: There is no such module.
        """
        needs = dict(_dependencies(self.file(b"moddep.lst")))
        order: list[str] = []
        for name in wanted:
            _visit(name, needs, order, self)
        return order

    def modules(self, names: Sequence[str]) -> list[bytes]:
        """Return the modules' files."""
        return [self.file(name.encode() + b".mod") for name in names]


def find_platform(root: Inode, name: str, packages: str) -> Platform:
    """Return the tree's GRUB for a platform.

    Args:
        root: The tree's root directory.
        name: The platform.
        packages: What to install where there is none, for the message.

    Raises:
        SourceError: There is none.
    """
    for directory in _places(root):
        if _is_there(root, directory, name):
            return Platform(root, directory + name.encode(), name)
    if any(_is_there(root, directory, _GUEST_ONLY) for directory in _places(root)):
        raise SourceError(
            f"the tree's GRUB is for {_GUEST_ONLY}, and without a guest only {name}'s is installed here; let"
            " its own grub-install do it in a guest, with --boot-command, or use boot loader 'systemd-boot'",
            PLACES[0] + _GUEST_ONLY.encode(),
        )
    raise SourceError(
        f"the tree has no usr/lib/grub/{name}, from which GRUB's boot code is made; install GRUB in it"
        f" ({packages}), or use another boot loader",
        PLACES[0] + name.encode(),
    )


def _is_there(root: Inode, directory: bytes, name: str) -> bool:
    return kernels.find(root, directory + name.encode() + b"/kernel.img") is not None


def objects(modules: Sequence[bytes], prefix: bytes, word: int) -> bytes:
    """Return what stands behind the kernel in an image: modules, and where the others are.

    Args:
        modules: Files of modules, each after those that it needs.
        prefix: Where GRUB's directory is, as GRUB names it: ``(,gpt2)/boot/grub``.
        word: Bytes of a pointer: 4 or 8. Contents are padded to it.
    """
    parts = [_object(_MODULE, module, word) for module in modules]
    parts.append(_object(_PREFIX, prefix + b"\0", word))
    info = _INFO[word]
    size = info.size + sum(map(len, parts))
    return b"".join((info.pack(_MAGIC, info.size, size), *parts))


def _object(kind: int, content: bytes, word: int) -> bytes:
    size = align_up(len(content), word)
    return _HEADER.pack(kind, _HEADER.size + size) + content.ljust(size, b"\0")


def _places(root: Inode) -> Iterator[bytes]:
    yield from PLACES
    store = [name for name in kernels.names(root, _STORE) if b"-grub-" in name]
    # The newest version: names begin with a hash.
    store.sort(
        key=lambda name: kernels.order(name.partition(b"-")[2].decode("utf-8", "replace")), reverse=True
    )
    for name in store:
        yield _STORE + b"/" + name + b"/lib/grub/"


def _dependencies(text: bytes) -> Iterator[tuple[str, list[str]]]:
    for line in text.decode("ascii", "replace").splitlines():
        name, _, needs = line.partition(":")
        yield name.strip(), needs.split()


def _visit(name: str, needs: dict[str, list[str]], order: list[str], platform: Platform) -> None:
    """Append a module after what it needs; each is marked before its needs are, so that a circle ends."""
    stack: list[tuple[str, bool]] = [(name, False)]
    met = set(order)
    while stack:
        module, complete = stack.pop()
        if complete:
            order.append(module)
        elif module not in met:
            if module not in needs:
                raise SourceError(
                    f"GRUB in {show(platform.directory)} has no module {module!r}; correct its name", b""
                )
            met.add(module)
            stack.append((module, True))
            # grub-mkimage goes through them from the last to the first.
            stack.extend((each, False) for each in needs[module])
