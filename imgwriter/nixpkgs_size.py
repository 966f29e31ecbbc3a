"""The size that current nixpkgs gives a disk whose size is "auto", so that it matches a user's older images.

::

    usage = (blocks of files + 2 * count of names) * 4,096        du and find, over the staged root
    disk  = usage, 5.2 % more, additionalSpace and what the table reserves, each rounded up

Its ``round_to_nearest`` always adds a whole unit, also to what is a multiple. Its ``find`` also counts what
lies beside the root in the builder's directory: that is the builder's, and not counted here but for the two
directories that are always there.

Spec: nixpkgs, nixos/lib/make-disk-image.nix (late 2025).
"""

from __future__ import annotations

import stat

from imgwriter.tree.inventory import Inventory
from imgwriter.units import MiB, div_ceil

_BLOCK = 4096
_GPT = 512 * 34
"""Bytes of a GPT: protective MBR, header and entries."""

_BOOT_END = 256 * MiB
_ALWAYS_FOUND = 2
"""``.`` and ``./root``."""


def disk_size(table: str, inventory: Inventory, boot_end: int | None, additional_space: int) -> int:
    """Return bytes of the disk.

    Args:
        table: A kind of partition table.
        inventory: The root file system's tree.
        boot_end: nixpkgs' bootSize, or None for 256 MiB.
        additional_space: Bytes left free for files.
    """
    blocks = names = 0
    for directory in inventory.directories:
        for inode in (directory.entries or {}).values():
            names += 1
            if not stat.S_ISDIR(inode.mode):
                blocks += div_ceil(inode.size, _BLOCK)
    usage = (blocks + 2 * (names + _ALWAYS_FOUND)) * _BLOCK
    file_system = _round(usage + usage * 52 // 1000, _BLOCK)
    return _round(file_system + additional_space + _reserved(table, boot_end), MiB)


def _reserved(table: str, boot_end: int | None) -> int:
    boot = _round(_BOOT_END if boot_end is None else boot_end, MiB)
    return {
        "efi": _GPT + boot,
        "efixbootldr": _GPT + boot,
        "hybrid": _GPT + boot,
        "legacy+gpt": _GPT + 2 * MiB,
        "legacy": MiB,
        "legacy+boot": boot,
        "none": 0,
    }[table]


def _round(size: int, unit: int) -> int:
    """Return the next multiple, as nixpkgs' round_to_nearest: of a multiple the one after it."""
    return (size // unit + 1) * unit
