"""Kernel modules: found, decompressed, and put into the order in which insmod takes them.

::

    lib/modules/VERSION/kernel/.../virtio_blk.ko      .ko  .ko.xz  .ko.zst  .ko.gz
                                   └─ .modinfo: depends=virtio,virtio_ring  softdep=pre: crc32c  vermagic=...
    lib/modules/VERSION/modules.builtin               what the kernel holds already

modules.dep is not needed: depmod makes it when a package is installed, and a tree may be one in which nothing
ever ran. busybox's insmod resolves nothing, so that the order is decided here, from what the modules say
themselves. ``-`` and ``_`` are the same in a module's name.

Spec: the kernel's Documentation/kbuild/modules.rst; include/linux/module.h, MODULE_SOFTDEP.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from imgwriter.errors import SourceError, show
from imgwriter.guest import elf
from imgwriter.guest.files import Files, read, walk
from imgwriter.tree.compression import opened

MAX_MODULE = 64 << 20
"""Bytes of a module, compressed or not: the largest of Debian's has 7 MiB."""

_SUFFIXES = (b".ko", b".ko.xz", b".ko.zst", b".ko.gz")
# Trees of the kernel's own sources, of up to 100,000 names.
_NO_MODULES = (b"build", b"source")
_MAX_LIST = 8 << 20
_MAX_DEPTH = 100
"""Modules that depend on each other in a chain: of Debian's 4,023 the longest has 10."""


class Module(NamedTuple):
    """A module, ready for insmod.

    Attributes:
        name: Its name, with ``_`` for ``-``.
        content: The ELF file.
    """

    name: str
    content: bytes


class ModuleDirectory:
    """The modules of one kernel.

    Args:
        files: Where they are.
        path: ``lib/modules/VERSION`` there, or another directory that holds modules.
    """

    def __init__(self, files: Files, path: bytes) -> None:
        self._files = files
        self._path = path
        self._places = _places(files, path)
        self._built_in = _built_in(files, path)

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"{self._files.name}, {show(self._path)}"

    def __contains__(self, name: str) -> bool:
        """Whether there is a module of that name."""
        return normal(name) in self._places

    def builds_in(self, name: str) -> bool | None:
        """Tell whether the kernel has it built in; None where no list says so."""
        return None if self._built_in is None else normal(name) in self._built_in

    def load(self, name: str) -> bytes:
        """Return a module's ELF file, decompressed.

        Raises:
            SourceError: It is too large, or cannot be read.
            FormatError: Its compressed bytes are damaged.
        """
        place = self._places[normal(name)]
        path = self._path + b"/" + place
        data = self._files.data(path)
        what = f"{self._files.name}: {show(path)}"
        if data is None:
            raise SourceError(f"{what} is no file; give another directory of modules with --vm-modules", path)
        content = read(data, MAX_MODULE, what)
        if place.endswith(b".ko"):
            return content
        plain = opened(io.BytesIO(content), what).read(MAX_MODULE + 1)
        if len(plain) > MAX_MODULE:
            raise SourceError(f"{what} is larger than {MAX_MODULE} bytes; give the right file", path)
        return plain


def normal(name: str) -> str:
    """Return a module's name as the kernel has it."""
    return name.replace("-", "_")


def _places(files: Files, path: bytes) -> Mapping[str, bytes]:
    """Return where each module is; what is in ``updates`` goes before the rest, as for depmod."""
    places: dict[str, bytes] = {}
    for place in walk(files, path, _NO_MODULES, _SUFFIXES):
        base = place.rpartition(b"/")[2]
        if not base.endswith(_SUFFIXES):
            continue
        name = normal(base.partition(b".ko")[0].decode("utf-8", "backslashreplace"))
        if name not in places or place.startswith(b"updates/"):
            places[name] = place
    return places


def _built_in(files: Files, path: bytes) -> frozenset[str] | None:
    """Return what ``modules.builtin`` lists, a path a line; None where it is not there."""
    data = files.data(path + b"/modules.builtin")
    if data is None:
        return None
    text = read(data, _MAX_LIST, f"{files.name}: {show(path)}/modules.builtin").decode("utf-8", "replace")
    return frozenset(
        normal(line.rpartition("/")[2].removesuffix(".ko").strip()) for line in text.splitlines()
    )


def select(
    directory: ModuleDirectory | None,
    required: Iterable[str],
    optional: Iterable[str] = (),
    *,
    built_in: Collection[str] = (),
    version: str | None = None,
) -> tuple[Module, ...]:
    """Return the modules that are asked for and all that they depend on, each after what it depends on.

    Args:
        directory: The kernel's modules; None where it has none, and all is built in.
        required: Names of those without which nothing goes.
        optional: Names of those that are taken where they are there.
        built_in: Names that the kernel is known to hold, where there is no modules.builtin.
        version: The kernel's version; a module for another is refused.

    Raises:
        SourceError: One is missing, is for another kernel, or depends on itself.
        FormatError: A file that is needed is no module.
    """
    if directory is None:
        return ()
    selection = _Selection(directory, {normal(name) for name in built_in}, version)
    for name in required:
        selection.add(normal(name), None)
    for name in optional:
        if name in directory:
            selection.add(normal(name), None)
    return tuple(selection.chosen.values())


class _Selection:
    """A walk along what modules depend on; ``chosen`` is in its order."""

    def __init__(self, directory: ModuleDirectory, built_in: set[str], version: str | None) -> None:
        self.chosen: dict[str, Module] = {}
        self._directory = directory
        self._known = built_in
        self._version = version
        self._open: list[str] = []

    def add(self, name: str, wanted_by: str | None) -> None:
        if name in self.chosen:
            return
        if name in self._open:
            circle = " -> ".join((*self._open[self._open.index(name) :], name))
            raise SourceError(f"{self._directory.name}: modules depend on each other in a circle: {circle}")
        if len(self._open) == _MAX_DEPTH:
            raise SourceError(
                f"{self._directory.name}: more than {_MAX_DEPTH} modules depend on each other in a chain,"
                f" from {self._open[0]} to {name}; give the modules of a kernel with --vm-modules"
            )
        if name not in self._directory:
            self._miss(name, wanted_by)
            return
        content = self._directory.load(name)
        origin = f"{self._directory.name}: module {name}"
        said = list(elf.strings(elf.Elf(content, origin).section(b".modinfo")))
        self._check_version(name, said)
        self._open.append(name)
        for key, value in said:
            if key == "softdep":
                for soft in _before(value):
                    self._add_soft(soft)
            elif key == "depends":
                for needed in filter(None, value.split(",")):
                    self.add(normal(needed), name)
        self._open.pop()
        self.chosen[name] = Module(name, content)

    def _add_soft(self, name: str) -> None:
        """Add what would be good to have before; it may be missing, and it may be a name for several."""
        # "crypto-crc32c" is an alias of crc32c_generic, without which ext4 cannot be mounted. Lists of
        # aliases are depmod's to make; the names of algorithms follow this rule.
        algorithm = name.removeprefix("crypto_")
        for candidate in (name, f"{algorithm}_generic", algorithm):
            if candidate in self._directory and candidate not in self._open:
                self.add(candidate, None)
                return

    def _miss(self, name: str, wanted_by: str | None) -> None:
        listed = self._directory.builds_in(name)
        if listed or (listed is None and name in self._known):
            return
        why = f"module {name}" + (f", which module {wanted_by} depends on," if wanted_by else "")
        lists = "nor in modules.builtin" if listed is not None else "and there is no modules.builtin"
        raise SourceError(
            f"{self._directory.name}: the guest needs {why} which is neither there {lists}; give a kernel and"
            " its modules with --vm-kernel and --vm-modules"
        )

    def _check_version(self, name: str, said: Iterable[tuple[str, str]]) -> None:
        magic = next((value for key, value in said if key == "vermagic"), "").partition(" ")[0]
        if self._version and magic and magic != self._version:
            raise SourceError(
                f"{self._directory.name}: module {name} is for kernel {magic}, not for {self._version};"
                " give the modules of that kernel with --vm-modules"
            )


def _before(softdep: str) -> list[str]:
    """Return the names after ``pre:``, as in "pre: crc32c aes post: lz4"."""
    names: list[str] = []
    before = False
    for word in softdep.split():
        if word.endswith(":"):
            before = word == "pre:"
        elif before:
            names.append(normal(word))
    return names
