"""GRUB on a disk, without running anything."""

from __future__ import annotations

from collections.abc import Mapping

from imgwriter.bootloader.outcome import Installed
from imgwriter.bootloader.target import LoaderOptions, Target
from imgwriter.disk import Role
from imgwriter.errors import SpecError
from imgwriter.tree.inventory import Inode

BIOS = "grub-bios"
EFI = "grub-efi"


def install(name: str, trees: Mapping[Role, Inode], target: Target, options: LoaderOptions) -> Installed:
    """Install GRUB."""
    raise SpecError(f"boot loader {name!r} is not written yet")
