"""Find the kernel that the guest runs, and its modules.

::

    given             --vm-kernel FILE, --vm-modules DIRECTORY     on the host
    NixOS             TOPLEVEL/kernel, TOPLEVEL/kernel-modules/lib/modules/VERSION
    Debian, others    boot/vmlinuz-VERSION, lib/modules/VERSION (or usr/lib/modules/VERSION)
    Fedora, Arch      usr/lib/modules/VERSION/vmlinuz

Of several kernels in a tree the one with modules and the highest version is taken. A kernel's version is what
it says itself, where it does (x86: kernel_version of the boot protocol), or else what its name says.

Spec: the kernel's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header";
Documentation/arch/arm64/booting.rst, "Call the kernel image".
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.errors import FormatError, SourceError, show
from imgwriter.extent import Data
from imgwriter.guest.elf import Elf
from imgwriter.guest.files import Files, HostFiles, TreeFiles, host_data
from imgwriter.guest.modules import ModuleDirectory
from imgwriter.guest.vmlinux import ARM64_MAGIC, zboot
from imgwriter.tree.inventory import Inode

_HEAD = 64 << 10
_MODULE_ROOTS = (b"lib/modules", b"usr/lib/modules")
_REMEDY = "give a kernel of the host with --vm-kernel and its modules with --vm-modules"
_VERSION = re.compile(r"[0-9]+\.[0-9]+\S*")


class Kernel(NamedTuple):
    """A kernel and its modules.

    Attributes:
        data: The file.
        architecture: "x86_64" or "aarch64".
        version: As ``uname -r`` says it, or None where it is not known.
        modules: Its modules; None where there are none: all that is needed is built in.
        name: Where it is from, for messages.
    """

    data: Data
    architecture: str
    version: str | None
    modules: ModuleDirectory | None
    name: str


def find_kernel(
    tree: Inode | None,
    *,
    toplevel: bytes | None = None,
    kernel: bytes | None = None,
    modules: bytes | None = None,
    instead: str = "",
) -> Kernel:
    """Return the kernel to run: the one that is given, or else the tree's.

    Args:
        tree: The image's root directory.
        toplevel: Path inside the image of a NixOS system's toplevel.
        kernel: Path of a kernel on the host.
        modules: Path of a directory on the host that holds its modules: ``.../lib/modules/VERSION``, or one
            in which that is.
        instead: What else one can do where the tree has none, for the message.

    Raises:
        SourceError: There is none, or the modules are not its own.
    """
    places = [] if tree is None else [TreeFiles(tree)]
    if kernel is not None:
        return _given(kernel, modules, places)
    found = [candidate for files in places for candidate in _in_tree(files, toplevel)]
    if not found:
        raise SourceError(
            "the tree has no kernel in boot, lib/modules or a NixOS system that the guest could run; install"
            f" one, {', or '.join(filter(None, (_REMEDY, instead)))}"
        )
    if modules is not None:
        best = max(found, key=lambda candidate: _order(candidate.version or ""))
        return best._replace(modules=_given_modules(modules, best.version))
    return max(found, key=lambda candidate: (candidate.modules is not None, _order(candidate.version or "")))


def _given(path: bytes, modules: bytes | None, places: list[TreeFiles]) -> Kernel:
    data = host_data(path, "--vm-kernel")
    if data is None:
        raise SourceError(f"{show(path)} is no file; {_REMEDY}", path)
    found = _kernel(data, show(path), os.path.basename(os.path.realpath(path)))
    if modules is not None:
        return found._replace(modules=_given_modules(modules, found.version))
    # Without a version one cannot tell whose modules they are.
    everywhere: list[Files] = [*places, HostFiles(b"/")]
    for files in everywhere if found.version else ():
        for directory in _versioned(files, found.version or ""):
            return found._replace(modules=directory)
    return found


def _given_modules(path: bytes, version: str | None) -> ModuleDirectory:
    files = HostFiles(path)
    if any(name.startswith(b"modules.") or name == b"kernel" for name in files.names(b".")):
        return ModuleDirectory(files, b".")
    for root in (*_MODULE_ROOTS, b"."):
        names = files.names(root)
        wanted = os.fsencode(version) if version else None
        if wanted in names:
            return ModuleDirectory(files, root + b"/" + (wanted or b""))
        versions = [name for name in names if _VERSION.fullmatch(os.fsdecode(name))]
        if wanted is None and len(versions) == 1:
            return ModuleDirectory(files, root + b"/" + versions[0])
    of = f"of kernel {version}" if version else "of one kernel"
    raise SourceError(
        f"{show(path)} holds no modules {of}; give --vm-modules the directory lib/modules/VERSION", path
    )


def _in_tree(files: TreeFiles, toplevel: bytes | None) -> Iterator[Kernel]:
    if toplevel is not None:
        yield from _in_toplevel(files, toplevel.strip(b"/"))
    for path in _candidates(files):
        data = files.data(path)
        if data is not None:
            yield _with_modules(files, _kernel(data, f"{files.name}, {show(path)}", _file_name(path)))


def _in_toplevel(files: TreeFiles, toplevel: bytes) -> Iterator[Kernel]:
    path = toplevel + b"/kernel"
    data = files.data(path)
    if data is None:
        return
    kernel = _kernel(data, f"{files.name}, {show(path)}", b"")
    root = toplevel + b"/kernel-modules/lib/modules"
    names = files.names(root)
    wanted = os.fsencode(kernel.version or "")
    chosen = wanted if wanted in names else names[-1] if names and not wanted else None
    yield kernel if chosen is None else kernel._replace(modules=ModuleDirectory(files, root + b"/" + chosen))


def _candidates(files: TreeFiles) -> Iterator[bytes]:
    for name in files.names(b"boot"):
        if name.startswith((b"vmlinuz", b"vmlinux", b"Image")):
            yield b"boot/" + name
    for root in _MODULE_ROOTS:
        for version in files.names(root):
            yield root + b"/" + version + b"/vmlinuz"


def _file_name(path: bytes) -> bytes:
    """Return the part of a path that names the kernel: its last, or the version's directory."""
    above, _, base = path.rpartition(b"/")
    return above.rpartition(b"/")[2] if base == b"vmlinuz" and above != b"boot" else base


def _with_modules(files: TreeFiles, kernel: Kernel) -> Kernel:
    for directory in _versioned(files, kernel.version or ""):
        return kernel._replace(modules=directory)
    return kernel


def _versioned(files: Files, version: str) -> Iterator[ModuleDirectory]:
    for root in _MODULE_ROOTS if version else ():
        path = root + b"/" + os.fsencode(version)
        if files.names(path):
            yield ModuleDirectory(files, path)


def _kernel(data: Data, name: str, file_name: bytes) -> Kernel:
    head = b"".join(bytes(piece) for piece in data.chunks(0, min(_HEAD, len(data))))
    architecture, version = _identify(head, name)
    named = _VERSION.search(os.fsdecode(file_name))
    return Kernel(data, architecture, version or (named[0] if named else None), None, name)


def _identify(head: bytes, name: str) -> tuple[str, str | None]:
    """Return (architecture, version) from the first bytes of a kernel.

    Raises:
        SourceError: It is a kernel of no kind that a guest is made for.
    """
    if head[0x202:0x206] == b"HdrS" and len(head) > 0x238:
        # version 2.12 of the protocol has xloadflags; its bit 0 says that there is a 64-bit entry point
        protocol, flags = struct.unpack_from("<H", head, 0x206)[0], head[0x236]
        if protocol >= 0x20C and flags & 1:
            return "x86_64", _boot_protocol_version(head)
    if head[ARM64_MAGIC] == b"ARM\x64":
        return "aarch64", None
    packed = zboot(head)
    if packed is not None and packed.machine == "aarch64":
        if not packed.can_be_read:
            raise SourceError(
                f"{name} is compressed by {show(packed.compression)}, which is not read here; {_REMEDY}"
            )
        return "aarch64", None
    if head.startswith(b"\x1f\x8b"):
        return "aarch64", None  # Image.gz: only arm64 kernels are compressed so
    if head.startswith(b"\x7fELF"):
        machine = _elf_machine(head)
        if machine is not None:
            return machine, None
    raise SourceError(
        f"{name} is no kernel for x86-64 or 64-bit Arm that QEMU can load; {_REMEDY}",
    )


def _boot_protocol_version(head: bytes) -> str | None:
    """Return the first word of kernel_version: "6.1.0-56-cloud-amd64 (debian-kernel@..." """
    offset = struct.unpack_from("<H", head, 0x20E)[0]
    if not offset:
        return None
    text = head[0x200 + offset :].partition(b"\0")[0].partition(b" ")[0]
    return text.decode("ascii", "replace") if 0 < len(text) <= 64 else None


def _elf_machine(head: bytes) -> str | None:
    """Return an uncompressed kernel's machine; only the header is there, so no tables."""
    header = bytearray(head[:64])
    header[56:64] = bytes(8)  # e_phnum, e_shnum: none
    try:
        return Elf(bytes(header), "the kernel").machine
    except FormatError:
        return None


def _order(version: str) -> tuple[tuple[int, str], ...]:
    """Return a key by which 6.10 is more than 6.9."""
    words = re.findall(r"[0-9]+|[^0-9]+", version)
    return tuple((int(word), "") if word[0] in "0123456789" else (-1, word) for word in words)
