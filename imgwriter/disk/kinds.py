"""The kinds of partition table: which partitions each has, of which types and names.

The boundaries are the seed's and the names nixpkgs'; where nixpkgs' boundaries or GUIDs are others, they
stand beside. docs/formats/partition-tables.md has both, in LBAs.
"""

from __future__ import annotations

import enum
from typing import NamedTuple
from uuid import UUID

from imgwriter import gpt, mbr
from imgwriter.disk.layout import Role, Scheme
from imgwriter.spec import Compat, TableKind
from imgwriter.units import MiB

NIXPKGS_DISK_GUID = UUID("97fd5997-f390-0b4a-a3f8-d106c1723aea")
"""What sgdisk 1.0.9 makes of nixpkgs' --disk-guid, which is one hexadecimal digit short."""
NIXPKGS_FIRST_GUID = UUID("1c06f03b-704e-4657-b9cd-681a087a2fdc")
NIXPKGS_SECOND_GUID = UUID("970c694f-afd0-4b99-b750-cdb7a329ab6f")
NIXPKGS_ROOT_GUID = UUID("f222513b-ded1-49fa-b591-20ce86a2fe7f")
"""nixpkgs' rootGPUID, which is also its root file system's UUID."""


class Edge(enum.Enum):
    """A boundary that depends on the request; fixed ones are numbers of bytes."""

    FIRST_USABLE = enum.auto()
    """GPT's first usable sector."""
    MIB_AND_SECTOR = enum.auto()
    """One sector past 1 MiB: parted takes the end "1024KiB" for the last sector itself."""
    BOOT_END = enum.auto()
    ROOT_END = enum.auto()


class Slot(NamedTuple):
    """One partition of a kind of table, before sizes are known."""

    role: Role
    start: int | Edge
    end: int | Edge
    name: str
    active: bool = False


_ESP_START = 8 * MiB
_XBOOTLDR_START = 100 * MiB
_ROOT_AFTER_BOOT = Slot("root", Edge.BOOT_END, Edge.ROOT_END, "primary")

TABLES: dict[TableKind, tuple[Slot, ...]] = {
    "legacy": (Slot("root", MiB, Edge.ROOT_END, "primary"),),
    "legacy+boot": (Slot("boot", MiB, Edge.BOOT_END, "primary", active=True), _ROOT_AFTER_BOOT),
    "legacy+gpt": (
        Slot("bios", MiB, 2 * MiB, "no-fs"),
        Slot("root", 2 * MiB, Edge.ROOT_END, "primary"),
    ),
    "efi": (Slot("esp", _ESP_START, Edge.BOOT_END, "ESP"), _ROOT_AFTER_BOOT),
    "efixbootldr": (
        Slot("esp", _ESP_START, _XBOOTLDR_START, "ESP"),
        Slot("boot", _XBOOTLDR_START, Edge.BOOT_END, "BOOT"),
        Slot("root", Edge.BOOT_END, Edge.ROOT_END, "ROOT"),
    ),
    "hybrid": (
        Slot("esp", _ESP_START, Edge.BOOT_END, "ESP"),
        Slot("bios", MiB, 2 * MiB, "no-fs"),
        _ROOT_AFTER_BOOT,
    ),
}
"""The partitions of each kind, in number order; the seed's boundaries and nixpkgs' names."""

_NIXPKGS_HYBRID = (
    TABLES["hybrid"][0],
    Slot("bios", Edge.FIRST_USABLE, Edge.MIB_AND_SECTOR, "no-fs"),
    TABLES["hybrid"][2],
)

SCHEMES: dict[TableKind, Scheme] = {
    "legacy": "mbr",
    "legacy+boot": "mbr",
    "legacy+gpt": "gpt",
    "efi": "gpt",
    "efixbootldr": "gpt",
    "hybrid": "gpt",
    "none": "none",
}

TYPE_GUIDS: dict[Role, UUID] = {
    "esp": gpt.TYPE_ESP,
    "boot": gpt.TYPE_XBOOTLDR,
    "root": gpt.TYPE_LINUX_DATA,
    "bios": gpt.TYPE_BIOS_BOOT,
}
MBR_TYPES: dict[Role, int] = {"boot": mbr.OS_TYPE_FAT32_LBA, "root": mbr.OS_TYPE_LINUX}

NIXPKGS_GUIDS: dict[TableKind, tuple[UUID, ...]] = {
    # nixpkgs gives rootGPUID to partition 3 here, which does not exist: the root gets the second GUID.
    "legacy+gpt": (NIXPKGS_FIRST_GUID, NIXPKGS_SECOND_GUID),
    "efi": (NIXPKGS_FIRST_GUID, NIXPKGS_ROOT_GUID),
    "efixbootldr": (NIXPKGS_FIRST_GUID, NIXPKGS_SECOND_GUID, NIXPKGS_ROOT_GUID),
    "hybrid": (NIXPKGS_FIRST_GUID, NIXPKGS_SECOND_GUID, NIXPKGS_ROOT_GUID),
}


def slots(kind: TableKind, compat: Compat) -> tuple[Slot, ...]:
    """Return the partitions of a kind, in number order; of any kind but "none"."""
    return _NIXPKGS_HYBRID if kind == "hybrid" and compat == "nixpkgs" else TABLES[kind]


def root_number(kind: TableKind) -> int:
    """Return the number of the root's partition; 1 where there is no table."""
    return len(TABLES[kind]) if kind in TABLES else 1
