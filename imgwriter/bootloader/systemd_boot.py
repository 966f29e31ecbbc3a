"""systemd-boot without running bootctl: its program, loader.conf, and an entry for each kernel.

::

    ESP    EFI/systemd/systemd-bootx64.efi   EFI/BOOT/BOOTX64.EFI   loader/loader.conf
    $BOOT  loader/entries/*.conf   loader/entries.srel   KERNEL AND INITRAMFS

$BOOT is the XBOOTLDR partition where the table has one, else the ESP: the loader reads FAT alone, so kernels
and initramfs are copied there from the root. A random seed is not written: copies of one image would share it.

Spec: Boot Loader Specification, "Type #1 Boot Loader Specification Entries", "The $BOOT Partition Placeholder";
systemd-boot(7), bootctl(1) for what ``install`` copies where; loader.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imgwriter.bootloader import kernels
from imgwriter.bootloader.outcome import Installed
from imgwriter.bootloader.placing import Destination
from imgwriter.bootloader.target import DEFAULT_TIMEOUT, LoaderOptions, Target
from imgwriter.disk import Role
from imgwriter.errors import SourceError, SpecError, show
from imgwriter.tree.inventory import Inode

NAME = "systemd-boot"
TABLES = ("efi", "efixbootldr", "hybrid")

PROGRAM = b"usr/lib/systemd/boot/efi/systemd-bootx64.efi"
"""Where systemd keeps it, inside the tree or a NixOS system's systemd."""

ENTRIES = b"loader/entries/"
_TYPE_1 = b"type1\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in loader/entries.

    Attributes:
        name: The file's, without ".conf".
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


def install(trees: Mapping[Role, Inode], target: Target, options: LoaderOptions) -> Installed:
    """Put systemd-boot and its entries on the ESP, and on the XBOOTLDR partition where there is one.

    Args:
        trees: The trees by partition; "esp", and "boot" where there is one, are changed in place.
        target: The disk.
        options: Parameters and menu.

    Raises:
        SpecError: The table has no ESP.
        SourceError: The tree has no systemd-boot or no kernel, or something is in a file's place.
    """
    if "esp" not in trees:
        raise SpecError(
            f"boot loader {NAME!r} needs an ESP, and partition table {target.layout.kind!r} has none; use one of"
            f" {', '.join(TABLES)}"
        )
    root = trees["root"]
    program = kernels.find(root, PROGRAM)
    if program is None:
        raise SourceError(
            f"the tree has no {show(PROGRAM)}; install systemd-boot in it (Debian: systemd-boot-efi), or use boot"
            " loader 'grub-efi'",
            PROGRAM,
        )
    timeout = DEFAULT_TIMEOUT if options.timeout is None else options.timeout
    entries = list(_entries(root, target, options))
    conf = f"timeout {timeout}\ndefault {entries[0].name}.conf\n"
    _write(trees, target, program, entries, conf.encode())
    return Installed(NAME)


def _write(
    trees: Mapping[Role, Inode], target: Target, program: Inode, entries: Sequence[Entry], conf: bytes
) -> None:
    esp = Destination(trees["esp"], "the ESP", target.mtime_ns, folds_case=True)
    boot = esp
    if "boot" in trees:
        boot = Destination(trees["boot"], "the XBOOTLDR partition", target.mtime_ns, folds_case=True)
    esp.copy(b"EFI/systemd/systemd-bootx64.efi", program)
    esp.copy(b"EFI/BOOT/BOOTX64.EFI", program)
    if esp.find(b"loader/loader.conf") is None:
        esp.text(b"loader/loader.conf", conf)
    boot.text(b"loader/entries.srel", _TYPE_1)
    for path, file in dict(each for entry in entries for each in entry.files).items():
        boot.copy(path, file)
    for entry in entries:
        boot.text(ENTRIES + entry.name.encode("utf-8", "surrogateescape") + b".conf", entry.text)


def _entries(root: Inode, target: Target, options: LoaderOptions) -> Iterator[Entry]:
    release = kernels.release(root)
    for kernel in kernels.find_kernels(root):
        version = kernel.version or "linux"
        directory = f"{release.identifier}/{version}/".encode("utf-8", "surrogateescape")
        files = [(directory + b"linux", _file(root, kernel.path))]
        fields = [("title", release.name), ("version", version), ("sort-key", release.identifier)]
        fields += [("options", kernels.parameters(kernel, target, options.kernel_parameters))]
        fields += [("linux", _path(files[0][0]))]
        if kernel.initrd is not None:
            files.append((directory + b"initrd", _file(root, kernel.initrd)))
            fields += [("initrd", _path(files[1][0]))]
        yield Entry(f"{release.identifier}-{version}", fields, files)


def _file(root: Inode, path: bytes) -> Inode:
    found = kernels.find(root, path)
    assert found is not None, "it was looked up a moment ago"
    return found


def _path(path: bytes) -> str:
    return "/" + path.decode("utf-8", "surrogateescape")
