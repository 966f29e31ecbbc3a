"""The boundaries of partitions, in bytes: the fixed ones, and those that follow from the request."""

from __future__ import annotations

from collections.abc import Mapping

from imgwriter import gpt
from imgwriter.disk.kinds import SCHEMES, TABLES, Edge
from imgwriter.disk.layout import Scheme
from imgwriter.errors import SpecError
from imgwriter.spec import Compat, TableKind
from imgwriter.units import MiB, align_down, align_up, format_size

DEFAULT_BOOT_END = 256 * MiB


def resolve(edge: int | Edge, edges: Mapping[Edge, int]) -> int:
    """Return a boundary in bytes."""
    return edges[edge] if isinstance(edge, Edge) else edge


def boundaries(kind: TableKind, boot_end: int | None, sector_size: int, compat: Compat) -> dict[Edge, int]:
    """Return the boundaries, in bytes, that do not depend on the disk's size.

    Raises:
        SpecError: The boot end is no such place, or there is no partition to end there.
    """
    edges = {
        Edge.FIRST_USABLE: gpt.first_usable_lba(sector_size) * sector_size,
        Edge.MIB_AND_SECTOR: MiB + sector_size,
    }
    before = next((slot for slot in TABLES[kind] if slot.end is Edge.BOOT_END), None)
    if before is None:
        refuse_boot_end(kind, boot_end)
        return edges
    end = _boot_end(DEFAULT_BOOT_END if boot_end is None else boot_end, compat)
    start = resolve(before.start, edges)
    if end <= start:
        raise SpecError(
            f"boot end {end // MiB:,} MiB leaves the {before.role} partition no room, it starts at"
            f" {start // MiB:,} MiB; set the boot end (an offset, not a size) beyond that"
        )
    edges[Edge.BOOT_END] = end
    return edges


def _boot_end(boot_end: int, compat: Compat) -> int:
    if compat == "nixpkgs":
        # nixpkgs' round_to_nearest adds a whole unit, even to a number that needs none: 256 gives 257.
        return align_down(boot_end, MiB) + MiB
    if boot_end % MiB:
        raise SpecError(
            f"boot end {boot_end:,} B is not a multiple of 1 MiB;"
            f" set it to {align_up(boot_end, MiB) // MiB:,} MiB"
        )
    return boot_end


def root_end(scheme: Scheme, disk_size: int, sector_size: int, compat: Compat) -> int:
    """Return where the root ends, in bytes: a MiB boundary."""
    if compat == "seed":
        return align_down(disk_size - MiB, MiB)
    if scheme == "mbr":
        return align_down(disk_size, MiB)
    last_usable_lba = gpt.Geometry(disk_size // sector_size, sector_size).last_usable_lba
    return align_down((last_usable_lba + 1) * sector_size, MiB)


def tail(kind: TableKind, compat: Compat) -> int:
    """Return the bytes after the root, on a disk of whole MiB."""
    return 0 if compat == "nixpkgs" and SCHEMES[kind] == "mbr" else MiB


def refuse_boot_end(kind: str, boot_end: int | None) -> None:
    """Refuse a boot end that is given for a table without a boot partition.

    Raises:
        SpecError: It is given.
    """
    if boot_end is not None:
        raise SpecError(
            f"boot end {format_size(boot_end)} is given, but partition table {kind!r} has no boot partition"
            f" to end there; leave it out"
        )
