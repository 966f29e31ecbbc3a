"""systemd-boot without running bootctl: its program, loader.conf, and an entry for each kernel.

::

    ESP    EFI/systemd/systemd-bootx64.efi   EFI/BOOT/BOOTX64.EFI   loader/loader.conf    (or aa64, AA64)
    $BOOT  loader/entries/*.conf   loader/entries.srel   kernels and initramfs

$BOOT is the XBOOTLDR partition where the table has one, else the ESP: the loader reads FAT alone, so that
kernels and initramfs are copied there from the root. A random seed is not written: copies of one image would
share it. For a NixOS the entries are those that its own installer writes, whose date is the build's.

Spec: Boot Loader Specification, "Type #1 Boot Loader Entries", "The Partitions"; systemd-boot(7); bootctl(1)
for what ``install`` copies where; loader.conf(5). nixpkgs, systemd-boot-builder.py.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from imgwriter.bootloader import kernels, nixos
from imgwriter.bootloader.nixos import Builder, Generation
from imgwriter.bootloader.outcome import Installed
from imgwriter.bootloader.placing import Destination, changes, destinations
from imgwriter.bootloader.target import DEFAULT_TIMEOUT, LoaderOptions, Target
from imgwriter.disk import Role
from imgwriter.errors import SourceError, SpecError, show
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import MAX_SYMLINKS, Lookup

NAME = "systemd-boot"
TABLES = ("efi", "efixbootldr", "hybrid")

PROGRAMS = b"lib/systemd/boot/efi/"
"""Where systemd keeps it, in usr or in a NixOS system's systemd."""

MACHINES = (b"x64", b"aa64")
"""What UEFI calls the kinds of machines, in the names of files. Spec: UEFI 2.10, 3.5.1.1, table 3.2."""

ENTRIES = b"loader/entries/"
_TYPE_1 = b"type1\n"
_STORE = b"nix/store/"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in loader/entries.

    Attributes:
        name: The file's.
        fields: (key, value) in the order in which they are written.
        files: What it needs on $BOOT: (path there, file).
    """

    name: str
    fields: Sequence[tuple[str, str]]
    files: Sequence[tuple[bytes, Inode]]

    @property
    def text(self) -> bytes:
        """The file's content."""
        lines = "".join(f"{key} {value}\n" for key, value in self.fields)
        return lines.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Files:
    """All that is written.

    Attributes:
        programs: systemd-boot, by the kind of machine.
        loader_conf: The content of loader.conf.
        entries: The menu.
        uses_boot: Whether entries and kernels go to the XBOOTLDR partition.
    """

    programs: Mapping[bytes, Inode]
    loader_conf: bytes
    entries: Sequence[Entry]
    uses_boot: bool


def install(trees: Mapping[Role, Inode], target: Target, options: LoaderOptions) -> Installed:
    """Put systemd-boot and its entries on the ESP, and on the XBOOTLDR partition where there is one.

    Args:
        trees: The trees by partition; "esp", and "boot" where there is one, are changed in place.
        target: The disk.
        options: Parameters and menu.

    Raises:
        SpecError: The table has no ESP.
        SourceError: The tree has no systemd-boot or no kernel, something is in a file's place, or a NixOS
            demands a guest.
    """
    if "esp" not in trees:
        raise SpecError(
            f"boot loader {NAME!r} needs an ESP, and partition table {target.layout.kind!r} has none; use one"
            f" of {', '.join(TABLES)}"
        )
    if target.toplevel is None:
        files = _plain(trees["root"], target, options, uses_boot="boot" in trees)
    else:
        files = _nixos(trees["root"], target, options, has_boot="boot" in trees)
    places = destinations(trees, target)
    _write(places["esp"], places["boot"] if files.uses_boot else places["esp"], files)
    return Installed(NAME, changes=changes(places))


def _write(esp: Destination, boot: Destination, files: Files) -> None:
    for machine, program in files.programs.items():
        esp.copy(b"EFI/systemd/systemd-boot%b.efi" % machine, program)
        esp.copy(b"EFI/BOOT/BOOT%b.EFI" % machine.upper(), program)
    if esp.find(b"loader/loader.conf") is None:
        esp.text(b"loader/loader.conf", files.loader_conf)
    boot.text(b"loader/entries.srel", _TYPE_1)
    for path, file in dict(each for entry in files.entries for each in entry.files).items():
        boot.copy(path, file)
    for entry in files.entries:
        boot.text(ENTRIES + entry.name.encode("utf-8", "surrogateescape"), entry.text)


# A tree with kernels in /boot or /usr/lib/modules


def _plain(root: Inode, target: Target, options: LoaderOptions, uses_boot: bool) -> Files:
    entries = list(_plain_entries(root, target, options))
    timeout = DEFAULT_TIMEOUT if options.timeout is None else options.timeout
    # No default: the newest version comes first, also when a kernel is installed later.
    conf = f"timeout {timeout}\n"
    return Files(_programs(root, b"usr"), conf.encode(), entries, uses_boot)


def _plain_entries(root: Inode, target: Target, options: LoaderOptions) -> Iterator[Entry]:
    release = kernels.release(root)
    for kernel in kernels.find_kernels(root):
        version = kernel.version or "linux"
        directory = f"{release.identifier}/{version}/".encode("utf-8", "surrogateescape")
        files = [(directory + b"linux", _file(root, kernel.path))]
        fields = [("title", release.name), ("version", version), ("sort-key", release.identifier)]
        fields += [("options", kernels.parameters(kernel, target, options.kernel_parameters))]
        fields += [("linux", _absolute(files[0][0]))]
        if kernel.initrd is not None:
            files.append((directory + b"initrd", _file(root, kernel.initrd)))
            fields += [("initrd", _absolute(files[1][0]))]
        yield Entry(f"{release.identifier}-{version}.conf", fields, files)


# NixOS


def _nixos(root: Inode, target: Target, options: LoaderOptions, has_boot: bool) -> Files:
    reason = nixos.demand(root, target)
    if reason is not None:
        raise SourceError(f"{reason}: that takes a guest; use boot loader 'guest'", target.toplevel or b"")
    builder = nixos.read_builder(root, target)
    uses_boot = builder.boot_mount != builder.esp_mount
    if uses_boot and not has_boot:
        raise SpecError(
            f"the system keeps its kernels on a partition of their own, {builder.boot_mount}, and partition"
            f" table {target.layout.kind!r} has none; use 'efixbootldr'"
        )
    entries = list(_nixos_entries(root, target, options, builder))
    timeout = builder.timeout if options.timeout is None else str(options.timeout)
    conf = f"timeout {timeout}\ndefault {entries[0].name}\n"
    conf += "" if builder.has_editor else "editor 0\n"
    conf += "reboot-for-bitlocker yes\n" if builder.is_bitlocker else ""
    conf += f"console-mode {builder.console_mode}\n"
    return Files(_programs(root, builder.systemd), conf.encode(), entries, uses_boot)


def _nixos_entries(root: Inode, target: Target, options: LoaderOptions, builder: Builder) -> Iterator[Entry]:
    number = nixos.generation_number(root)
    date = datetime.fromtimestamp(target.time, UTC).strftime("%Y-%m-%d")
    identity = nixos.machine_id(root)
    for each in nixos.read(root, target).all():
        files = [
            _nixos_file(root, path, builder) for path in (each.kernel, each.initrd, each.devicetree) if path
        ]
        paths = [_absolute(path) for path, _ in files]
        variant = each.specialisation
        words = (*each.parameters, *options.kernel_parameters.split())
        fields = [
            ("title", f"{builder.name} ({variant})" if variant else builder.name),
            ("sort-key", each.sort_key),
            ("version", f"Generation {number} {each.label}, built on {date}"),
            ("linux", paths[0]),
            ("initrd", paths[1]),
            ("options", " ".join(words)),
        ]
        fields += [("machine-id", identity)] if identity else []
        fields += [("devicetree", paths[2])] if each.devicetree else []
        yield Entry(_nixos_name(number, each), fields, files)


def _nixos_name(number: int, generation: Generation) -> str:
    variant = generation.specialisation
    return f"nixos-generation-{number}{f'-specialisation-{variant}' if variant else ''}.conf"


def _nixos_file(root: Inode, path: bytes, builder: Builder) -> tuple[bytes, Inode]:
    """Return a file of the store, and its place on $BOOT: named after its store path and itself."""
    real = _real_path(root, path)
    names = real.removeprefix(_STORE).split(b"/")
    if not real.startswith(_STORE):
        raise SourceError(f"{show(path)}, of the system's boot.json, is not in the store; correct it", path)
    name = names[-1] if len(names) == 1 else names[0] + b"-" + names[-1]
    return builder.directory.encode() + b"/" + name + b".efi", _file(root, real)


def _real_path(root: Inode, path: bytes) -> bytes:
    """Return the path without symlinks of what a path in the tree leads to."""
    for _ in range(MAX_SYMLINKS):
        names = path.strip(b"/").split(b"/")
        for count in range(1, len(names) + 1):
            holder = Lookup(root).follow(names[: count - 1])
            link = (holder.entries or {}).get(names[count - 1])
            if link is not None and link.target:
                rest = b"/".join(names[count:])
                above = b"/" + b"/".join(names[: count - 1])
                path = posixpath.normpath(posixpath.join(above, link.target, rest))
                break
        else:
            return b"/".join(names)
    raise SourceError(f"{show(path)} goes round in a loop of symlinks; correct the tree", path)


# Both


def _programs(root: Inode, place: bytes) -> dict[bytes, Inode]:
    directory = place.strip(b"/") + b"/" + PROGRAMS
    paths = {machine: directory + b"systemd-boot%b.efi" % machine for machine in MACHINES}
    found = {machine: kernels.find(root, path) for machine, path in paths.items()}
    programs = {machine: inode for machine, inode in found.items() if inode is not None}
    if not programs:
        raise SourceError(
            f"the tree has no {show(paths[MACHINES[0]])}; install systemd-boot in it (Debian:"
            " systemd-boot-efi), or use boot loader 'grub-efi'",
            directory,
        )
    return programs


def _file(root: Inode, path: bytes) -> Inode:
    found = kernels.find(root, path)
    if found is None:
        raise SourceError(f"{show(path)}, which is booted, is not in the tree; put it there", path)
    return found


def _absolute(path: bytes) -> str:
    return "/" + path.decode("utf-8", "surrogateescape")
