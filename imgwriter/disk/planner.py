"""From a request to a Layout, and back from a root's size to the disk's."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from imgwriter import mbr
from imgwriter.disk.boundaries import boundaries, refuse_boot_end, resolve, root_end, tail
from imgwriter.disk.kinds import (
    MBR_TYPES,
    NIXPKGS_DISK_GUID,
    NIXPKGS_GUIDS,
    SCHEMES,
    TYPE_GUIDS,
    Edge,
    Slot,
    slots,
)
from imgwriter.disk.layout import DiskIdentifiers, Layout, Partition, Scheme
from imgwriter.errors import CapacityError, SpecError
from imgwriter.identifiers import derive_u32, derive_uuid
from imgwriter.spec import Compat, TableKind
from imgwriter.units import MiB, align_up, format_size


def plan(
    kind: TableKind,
    disk_size: int,
    *,
    identifiers: DiskIdentifiers,
    boot_end: int | None = None,
    sector_size: int = 512,
    compat: Compat = "seed",
) -> Layout:
    """Return the layout of a disk.

    Args:
        kind: The kind of partition table, as nixpkgs names them.
        disk_size: Bytes of the disk.
        identifiers: GUIDs and signature, asked for or derived.
        boot_end: Where the boot partition ends, in bytes from the disk's start (nixpkgs' bootSize);
            256 MiB when None. compat="nixpkgs" adds a whole MiB, rounded down, as nixpkgs does.
        sector_size: Bytes in a sector: 512 or 4,096.
        compat: Whose boundaries and identifiers.

    Raises:
        SpecError: The request contradicts itself, or an MBR cannot address the disk.
        CapacityError: The disk is too small to have a root partition.
    """
    _check_size(disk_size, sector_size)
    if kind == "none":
        refuse_boot_end(kind, boot_end)
        _refuse_unused(kind, "none", identifiers, 0)
        return Layout(kind, "none", disk_size, sector_size, (Partition(0, "root", 0, disk_size),))
    scheme = SCHEMES[kind]
    wanted = slots(kind, compat)
    edges = boundaries(kind, boot_end, sector_size, compat)
    edges[Edge.ROOT_END] = root_end(scheme, disk_size, sector_size, compat)
    _check_room(kind, edges, disk_size, compat)
    _refuse_unused(kind, scheme, identifiers, len(wanted))
    guids = _guids(kind, len(wanted), identifiers, compat) if scheme == "gpt" else {}
    partitions = tuple(
        _partition(number, slot, edges, scheme, guids.get(number)) for number, slot in enumerate(wanted, 1)
    )
    if scheme == "gpt":
        disk_guid = identifiers.disk_guid or _default_disk_guid(identifiers.seed, compat)
        _check_distinct({"the disk": disk_guid} | {f"partition {n}": guid for n, guid in guids.items()})
        return Layout(kind, scheme, disk_size, sector_size, partitions, disk_guid=disk_guid)
    _check_mbr_reach(kind, partitions[-1], sector_size, compat)
    signature = identifiers.disk_signature or derive_u32(identifiers.seed, "disk signature")
    return Layout(kind, scheme, disk_size, sector_size, partitions, disk_signature=signature)


def disk_size_for(
    kind: TableKind,
    root_size: int,
    *,
    boot_end: int | None = None,
    sector_size: int = 512,
    compat: Compat = "seed",
) -> int:
    """Return the smallest disk, in bytes and a multiple of 1 MiB, whose root holds ``root_size`` bytes.

    The inverse of :func:`plan`: a disk one MiB smaller has a smaller root, or none.

    Raises:
        SpecError: As for plan, the table and ``boot_end`` contradict each other.
    """
    if kind == "none":
        refuse_boot_end(kind, boot_end)
        return align_up(max(root_size, 1), MiB)
    edges = boundaries(kind, boot_end, sector_size, compat)
    start = resolve(slots(kind, compat)[-1].start, edges)
    return align_up(start + max(root_size, 1), MiB) + tail(kind, compat)


def _check_size(disk_size: int, sector_size: int) -> None:
    if disk_size <= 0 or disk_size % sector_size:
        suggestion = max(align_up(disk_size, sector_size), sector_size)
        raise SpecError(
            f"disk size {disk_size:,} B is not a whole number of {sector_size:,}-byte sectors;"
            f" set it to {suggestion:,} B"
        )


def _check_room(kind: TableKind, edges: Mapping[Edge, int], disk_size: int, compat: Compat) -> None:
    root_start = resolve(slots(kind, compat)[-1].start, edges)
    if edges[Edge.ROOT_END] <= root_start:
        needed = root_start + MiB + tail(kind, compat)
        raise CapacityError(
            f"partition table {kind!r}: a disk of {format_size(disk_size)} has no room for the root,"
            f" which starts at {root_start // MiB:,} MiB;"
            f" set the disk size to {needed // MiB:,} MiB or more, or 'auto'",
            needed,
            disk_size,
        )


def _check_mbr_reach(kind: TableKind, root: Partition, sector_size: int, compat: Compat) -> None:
    reach = mbr.SECTORS_LIMIT * sector_size
    if root.end > reach:
        largest = reach + tail(kind, compat)
        raise SpecError(
            f"partition {root.number} 'root' would end at {root.end // MiB:,} MiB, partition table {kind!r}"
            f" with {sector_size:,}-byte sectors reaches {reach // MiB:,} MiB; set the disk size to"
            f" {largest // MiB:,} MiB or less, or use partition table 'legacy+gpt' or 'efi'"
        )


def _partition(
    number: int, slot: Slot, edges: Mapping[Edge, int], scheme: Scheme, guid: UUID | None
) -> Partition:
    start, end = resolve(slot.start, edges), resolve(slot.end, edges)
    if scheme == "gpt":
        type_guid = TYPE_GUIDS[slot.role]
        return Partition(number, slot.role, start, end - start, slot.name, type_guid=type_guid, guid=guid)
    mbr_type = MBR_TYPES[slot.role]
    return Partition(number, slot.role, start, end - start, mbr_type=mbr_type, active=slot.active)


def _guids(kind: TableKind, count: int, identifiers: DiskIdentifiers, compat: Compat) -> dict[int, UUID]:
    guids = {n: derive_uuid(identifiers.seed, f"partition {n} guid") for n in range(1, count + 1)}
    if compat == "nixpkgs":
        guids |= dict(enumerate(NIXPKGS_GUIDS[kind], 1))
    return guids | dict(identifiers.partition_guids)


def _check_distinct(guids: Mapping[str, UUID]) -> None:
    owners: dict[UUID, str] = {}
    for owner, guid in guids.items():
        if guid in owners:
            raise SpecError(f"{owners[guid]} and {owner} have the same GUID {guid}; give one of them another")
        owners[guid] = owner


def _default_disk_guid(seed: str, compat: Compat) -> UUID:
    return NIXPKGS_DISK_GUID if compat == "nixpkgs" else derive_uuid(seed, "disk guid")


def _refuse_unused(kind: str, scheme: Scheme, identifiers: DiskIdentifiers, count: int) -> None:
    """Refuse identifiers that the table has no field for, rather than drop them in silence."""
    if identifiers.disk_guid is not None and scheme != "gpt":
        raise SpecError(f"a disk GUID is given, but partition table {kind!r} has none; leave it out")
    if identifiers.disk_signature is not None and scheme != "mbr":
        raise SpecError(f"a disk signature is given, but partition table {kind!r} has none; leave it out")
    for number in sorted(identifiers.partition_guids):
        if scheme != "gpt":
            raise SpecError(
                f"a GUID is given for partition {number}, but partition table {kind!r} has none; leave it out"
            )
        if not 1 <= number <= count:
            raise SpecError(
                f"a GUID is given for partition {number}, but partition table {kind!r} has partitions"
                f" 1 to {count}; leave it out"
            )
