"""The boot loaders that are installed without running anything, by name.

============= =============================================== ==========================================
name          boots by                                        tables
============= =============================================== ==========================================
grub-bios     BIOS: MBR, and the gap behind it or a BIOS      legacy, legacy+boot; legacy+gpt, hybrid
              boot partition
grub-efi      UEFI: EFI/BOOT/BOOTX64.EFI                      efi, efixbootldr, hybrid
systemd-boot  UEFI: the same, and loader entries              efi, efixbootldr, hybrid
============= =============================================== ==========================================
"""

from __future__ import annotations

from collections.abc import Mapping

from imgwriter.bootloader import systemd_boot
from imgwriter.bootloader.grub import install as grub
from imgwriter.bootloader.outcome import Installed
from imgwriter.bootloader.target import LoaderOptions, Target
from imgwriter.disk import Role
from imgwriter.tree.inventory import Inode

LOADERS = (grub.BIOS, grub.EFI, systemd_boot.NAME)
"""The names that :func:`install` takes."""


def install(name: str, trees: Mapping[Role, Inode], target: Target, options: LoaderOptions) -> Installed:
    """Install a boot loader: put its files into the trees, and return its boot code.

    Args:
        name: One of :data:`LOADERS`.
        trees: Root directories by the role of their partition: "root", and "esp" and "boot" where the
            table has them; changed in place.
        target: The disk.
        options: Parameters and menu.

    Raises:
        SpecError: The table has no place for it.
        SourceError: The tree lacks the loader or a kernel, or something is in a file's place.
        CapacityError: Its boot code does not fit.
    """
    if name == systemd_boot.NAME:
        return systemd_boot.install(trees, target, options)
    return grub.install(name, trees, target, options)
