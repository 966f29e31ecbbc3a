"""Disks to install on."""

from __future__ import annotations

from imgwriter import disk
from imgwriter.bootloader.target import Target
from imgwriter.disk import DiskIdentifiers
from imgwriter.tree.inventory import Inode
from imgwriter.units import MiB
from tests.unit.tree.graph import tree

ROOT_UUID = "9e13d24b-17bd-8bda-b3f3-3d1e63155dc6"
TIME = 1_700_000_000
"""2023-11-14 22:13:20 UTC."""


def target(
    table: str, *, toplevel: bytes | None = None, sector_size: int = 512, compat: str = "seed"
) -> Target:
    """Return a disk of 600 MiB."""
    signature = 0x123 if table.startswith("legacy") and table != "legacy+gpt" else None
    identifiers = DiskIdentifiers.derive(disk_signature=signature)
    layout = disk.plan(table, 600 * MiB, identifiers=identifiers, sector_size=sector_size, compat=compat)
    return Target(
        layout=layout,
        root_uuid=ROOT_UUID,
        root_label="nixos",
        root_fs_type="ext4",
        time=TIME,
        toplevel=toplevel,
    )


def trees(table: str, root: Inode, **more: Inode) -> dict[str, Inode]:
    """Return a tree for each file system that the table has, empty ones beside the root."""
    roles = {partition.role for partition in target(table).layout.partitions} - {"root", "bios"}
    return {"root": root, **{role: tree({}) for role in roles}, **more}
