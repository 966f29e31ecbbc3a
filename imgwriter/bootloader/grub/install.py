"""GRUB on a disk as grub-install leaves it, without running anything: boot code, modules, grub.cfg.

::

    grub-bios   sector 0, core.img behind it or in the BIOS boot partition
    grub-efi    EFI/BOOT/BOOTX64.EFI on the ESP
    both        boot/grub/PLATFORM/*.mod, *.lst, boot/grub/grub.cfg on the root

The prefix is ``(,gpt2)/boot/grub``: the root partition by its number, on the disk that the firmware has
booted from. So nothing is searched for, and GRUB reads its own disk where a copy of it is in the machine too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

from imgwriter.bootloader import kernels, nixos
from imgwriter.bootloader.grub import core_pc, image_efi
from imgwriter.bootloader.grub.config import MenuItem, grub_cfg
from imgwriter.bootloader.grub.core_pc import Embedding
from imgwriter.bootloader.grub.modules import Platform, find_platform
from imgwriter.bootloader.outcome import Installed
from imgwriter.bootloader.placing import Destination, changes, destinations
from imgwriter.bootloader.target import DEFAULT_TIMEOUT, LoaderOptions, Target
from imgwriter.disk import Role
from imgwriter.errors import SourceError, SpecError, show
from imgwriter.extent import Patch
from imgwriter.tree import directory
from imgwriter.tree.inventory import Inode
from imgwriter.tree.rules import SourceRules

BIOS = "grub-bios"
EFI = "grub-efi"

BIOS_TABLES = ("legacy", "legacy+boot", "legacy+gpt", "hybrid")
EFI_TABLES = ("efi", "efixbootldr", "hybrid")

_DIRECTORY = b"boot/grub/"
_LISTS = ("command", "crypto", "fs", "moddep", "partmap", "parttool", "terminal", "video")
_COPIED = {b"efiemu32.o", b"efiemu64.o", b"modinfo.sh", *(f"{name}.lst".encode() for name in _LISTS)}
"""What grub-install copies beside the modules."""

_ROOT_MODULE = "ext2"  # of ext2, ext3 and ext4


def install(name: str, trees: Mapping[Role, Inode], target: Target, options: LoaderOptions) -> Installed:
    """Install GRUB for a BIOS or for UEFI.

    Args:
        name: :data:`BIOS` or :data:`EFI`.
        trees: The trees by partition; "root" and "esp" are changed in place.
        target: The disk.
        options: Parameters and menu.

    Raises:
        SpecError: The table has no place for it.
        SourceError: The tree lacks GRUB or a kernel, or something is in a file's place.
        FormatError: A file of the tree's GRUB is damaged.
        CapacityError: The core image does not fit.
    """
    places = destinations(trees, target)
    patches: tuple[Patch, ...] = ()
    if name == BIOS:
        patches = _install_bios(places["root"], target, options)
    else:
        _install_efi(places["root"], places.get("esp"), target, options)
    warnings = tuple(_configure(places["root"], target, options))
    return Installed(name, patches=patches, changes=changes(places), warnings=warnings)


def _install_bios(root: Destination, target: Target, options: LoaderOptions) -> tuple[Patch, ...]:
    place = _embedding(target)
    platform = find_platform(root.root, "i386-pc", "Debian: grub-pc-bin")
    modules = platform.closure((_ROOT_MODULE, _table_module(target), "biosdisk", *options.grub_modules))
    core = core_pc.core_image(platform, core_pc.payload(platform, modules, _prefix(target)))
    _copy_modules(root, platform)
    # What grub-bios-setup would need to write them again.
    root.replace(_DIRECTORY + b"i386-pc/core.img", root.made(core))
    root.replace(_DIRECTORY + b"i386-pc/boot.img", root.made(platform.file(b"boot.img")))
    return (
        Patch(0, core_pc.boot_code(platform, place), "GRUB's boot code"),
        Patch(place.lba * core_pc.SECTOR_SIZE, core_pc.embedded(core, place), "GRUB's core image"),
    )


def _install_efi(root: Destination, esp: Destination | None, target: Target, options: LoaderOptions) -> None:
    if esp is None:
        raise SpecError(
            f"boot loader {EFI!r} needs an ESP, and partition table {target.layout.kind!r} has none; use one"
            f" of {', '.join(EFI_TABLES)}"
        )
    platform = find_platform(root.root, "x86_64-efi", "Debian: grub-efi-amd64-bin")
    modules = platform.closure((_ROOT_MODULE, _table_module(target), *options.grub_modules))
    esp.text(b"EFI/BOOT/BOOTX64.EFI", image_efi.image(platform, modules, _prefix(target)))
    _copy_modules(root, platform)


def _embedding(target: Target) -> Embedding:
    """Return where core.img goes.

    Raises:
        SpecError: The table has no place for it.
    """
    layout = target.layout
    bios = next((partition for partition in layout.partitions if partition.role == "bios"), None)
    if layout.kind not in BIOS_TABLES or (layout.scheme == "gpt") != (bios is not None):
        raise SpecError(
            f"boot loader {BIOS!r} needs the gap behind an MBR or a BIOS boot partition, and partition table"
            f" {layout.kind!r} has neither; use one of {', '.join(BIOS_TABLES)}"
        )
    if layout.sector_size != core_pc.SECTOR_SIZE:
        raise SpecError(
            f"boot loader {BIOS!r} is loaded by a BIOS in sectors of {core_pc.SECTOR_SIZE} bytes, not"
            f" {layout.sector_size:,}; use sector size {core_pc.SECTOR_SIZE}, or {EFI!r}"
        )
    if bios is not None:
        sectors = bios.size // core_pc.SECTOR_SIZE
        return Embedding(bios.start // core_pc.SECTOR_SIZE, sectors, f"BIOS boot partition {bios.number}")
    first = min(partition.start for partition in layout.partitions) // core_pc.SECTOR_SIZE
    return Embedding(1, first - 1, "the gap before partition 1")


def _table_module(target: Target) -> str:
    return "part_gpt" if target.layout.scheme == "gpt" else "part_msdos"


def _prefix(target: Target) -> bytes:
    scheme = "gpt" if target.layout.scheme == "gpt" else "msdos"
    number = target.layout.partition("root").number
    return f"(,{scheme}{number})/{_DIRECTORY.decode().rstrip('/')}".encode()


def _copy_modules(root: Destination, platform: Platform) -> None:
    """Copy modules and their lists to where GRUB loads them from, over those of another version."""
    for name in kernels.names(root.root, platform.directory):
        is_copied = name.endswith(b".mod") or name in _COPIED
        inode = kernels.find(root.root, platform.path(name)) if is_copied else None
        if inode is not None:
            root.replace(_DIRECTORY + platform.name.encode() + b"/" + name, inode)


def _configure(root: Destination, target: Target, options: LoaderOptions) -> Iterator[str]:
    """Put grub.cfg in place; yield warnings."""
    path = _DIRECTORY + b"grub.cfg"
    if options.grub_config is not None:
        root.replace(path, _given(options.grub_config))
    elif root.find(path) is None:
        timeout = DEFAULT_TIMEOUT if options.timeout is None else options.timeout
        root.text(path, grub_cfg(list(_items(root.root, target, options)), timeout))
    elif options.kernel_parameters or options.timeout is not None:
        yield (
            "the tree's own /boot/grub/grub.cfg is kept, so that the kernel parameters and the timeout that"
            " are given have no effect"
        )


def _given(path: bytes) -> Inode:
    """Return a grub.cfg of the host.

    Raises:
        SourceError: It cannot be read, or is no file.
    """
    found = directory.read_entry(os.path.realpath(path), SourceRules(), "the grub.cfg that is given")
    if not stat.S_ISREG(found.mode):
        raise SourceError(f"the grub.cfg that is given, {show(path)}, is no file; give one", path)
    return found


def _items(root: Inode, target: Target, options: LoaderOptions) -> Iterator[MenuItem]:
    if target.toplevel is not None:
        for each in nixos.read(root, target).all():
            parameters = " ".join((*each.parameters, *options.kernel_parameters.split()))
            name = each.specialisation or "Default"
            yield MenuItem(f"NixOS - {name}", each.kernel, each.initrd, parameters)
        return
    name = kernels.release(root).name
    for kernel in kernels.find_kernels(root):
        title = f"{name}, Linux {kernel.version}" if kernel.version else name
        parameters = kernels.parameters(kernel, target, options.kernel_parameters)
        yield MenuItem(title, kernel.path, kernel.initrd, parameters)
