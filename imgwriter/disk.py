"""The plan of a whole disk: where the table and each partition stand, and their identifiers.

::

    0        1 MiB    8 MiB          boot end                     last MiB      disk size
    ├─ table ┼────────┼─ ESP or boot ┼─ root ───────────────────────┼─ backup GPT ─┤

:func:`plan` turns a request into a :class:`Layout`, a pure value; :meth:`Layout.table_volume` encodes the
table; :func:`compose_disk` puts the file systems in. :func:`disk_size_for` is the inverse of plan: it makes
``disk_size = "auto"`` closed form.

There are two sets of tables. "seed" is make-disk-image.nix as its author first wrote it: the root ends
1 MiB before the disk's end. Its own tables are legacy, efi and none; the other four kinds are laid out in
the same way. "nixpkgs" is what current nixpkgs makes of the same kinds, quirks included, for those whose
images must not change. docs/formats/partition-tables.md has both, in LBAs.

Invariants: partitions are disjoint, on MiB boundaries (nixpkgs' hybrid partition 2 alone is not) and,
in a GPT, within the usable LBAs; the order of numbers is not the order of places.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from imgwriter import gpt, mbr
from imgwriter.errors import CapacityError, PlanInvariantError, SpecError
from imgwriter.extent import Bytes, Volume, compose, extent
from imgwriter.identifiers import DEFAULT_SEED, derive_u32, derive_uuid
from imgwriter.spec import Compat, TableKind
from imgwriter.units import MiB, align_down, align_up, format_size

Scheme: TypeAlias = Literal["mbr", "gpt", "none"]
Role: TypeAlias = Literal["esp", "boot", "root", "bios"]

DEFAULT_BOOT_END = 256 * MiB

NIXPKGS_DISK_GUID = UUID("97fd5997-f390-0b4a-a3f8-d106c1723aea")
"""What sgdisk 1.0.9 makes of nixpkgs' --disk-guid, which is one hexadecimal digit short."""
NIXPKGS_FIRST_GUID = UUID("1c06f03b-704e-4657-b9cd-681a087a2fdc")
NIXPKGS_SECOND_GUID = UUID("970c694f-afd0-4b99-b750-cdb7a329ab6f")
NIXPKGS_ROOT_GUID = UUID("f222513b-ded1-49fa-b591-20ce86a2fe7f")
"""nixpkgs' rootGPUID, which is also its root file system's UUID."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, in bytes of the disk.

    Attributes:
        number: Its number in the table, from 1 (0 for the root of a disk without a table).
        role: What imgwriter puts there: "esp", "boot", "root", or "bios" (left empty, for GRUB).
        start: Offset of its first byte.
        size: Bytes.
        name: Its name in a GPT; an MBR has none.
        type_guid: Its type in a GPT, else None.
        mbr_type: Its type in an MBR, else None.
        guid: Its own GUID in a GPT, else None.
        active: Whether a BIOS boots from it (MBR).
        attributes: GPT attribute bits.
    """

    number: int
    role: Role
    start: int
    size: int
    name: str = ""
    type_guid: UUID | None = None
    mbr_type: int | None = None
    guid: UUID | None = None
    active: bool = False
    attributes: int = 0

    @property
    def end(self) -> int:
        """The offset of the first byte after the partition."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class DiskIdentifiers:
    """The identifiers that were asked for; those that were not derive from the seed.

    Attributes:
        seed: What the others derive from.
        disk_guid: The GPT's GUID, or None.
        partition_guids: GUIDs by partition number.
        disk_signature: The MBR's signature, 1 to 2^32 - 1, or None.
    """

    seed: str = DEFAULT_SEED
    disk_guid: UUID | None = None
    partition_guids: Mapping[int, UUID] = field(default_factory=dict)
    disk_signature: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that a disk cannot carry.

        Raises:
            SpecError: The signature is not from 1 to 2^32 - 1, or a GUID is nil.
        """
        if self.disk_signature is not None and not 0 < self.disk_signature < 1 << 32:
            raise SpecError(
                f"disk signature {self.disk_signature:#x} is not a number from 1 to 0xffffffff;"
                f" give one that is"
            )
        if any(
            guid is not None and not guid.int for guid in (self.disk_guid, *self.partition_guids.values())
        ):
            raise SpecError("a GUID of zeros means 'unused' in a GPT; give another GUID")

    @classmethod
    def derive(
        cls,
        seed: str = DEFAULT_SEED,
        *,
        disk_guid: UUID | None = None,
        partition_guids: Mapping[int, UUID] | None = None,
        disk_signature: int | None = None,
    ) -> DiskIdentifiers:
        """Return the identifiers of ``seed``, with those given in place of the derived ones.

        Raises:
            SpecError: The signature is not from 1 to 2^32 - 1, or a GUID is nil.
        """
        return cls(seed, disk_guid, dict(partition_guids or {}), disk_signature)


@dataclass(frozen=True, slots=True)
class Layout:
    """A planned disk: the table and its partitions, in number order.

    Attributes:
        kind: The kind of table that was asked for.
        scheme: "mbr", "gpt" or "none".
        disk_size: Bytes of the disk, a multiple of ``sector_size``.
        sector_size: Bytes in a sector: 512 or 4,096.
        partitions: In number order; a disk without a table has one, the root, as number 0.
        disk_guid: The GPT's GUID, else None.
        disk_signature: The MBR's signature, else None.
    """

    kind: TableKind
    scheme: Scheme
    disk_size: int
    sector_size: int
    partitions: tuple[Partition, ...]
    disk_guid: UUID | None = None
    disk_signature: int | None = None

    def partition(self, role: Role) -> Partition:
        """Return the partition of a role.

        Raises:
            SpecError: The table has none.
        """
        for partition in self.partitions:
            if partition.role == role:
                return partition
        raise SpecError(f"partition table {self.kind!r} has no {role} partition; use another table")

    def partuuid(self, partition: Partition) -> str | None:
        """Return what fstab calls PARTUUID, as Linux makes it, or None on a disk without a table."""
        if partition.guid is not None:
            return str(partition.guid)
        if self.disk_signature is not None:
            return f"{self.disk_signature:08x}-{partition.number:02x}"
        return None

    def table_volume(self) -> Volume:
        """Return the Volume of the whole disk that has the table's own structures and nothing else.

        Raises:
            SpecError: A partition's name does not fit, or its place is beyond what an MBR can address.
        """
        if self.scheme == "gpt":
            return self._gpt_volume()
        if self.scheme == "mbr":
            return self._mbr_volume()
        return Volume(self.disk_size, [])

    def _gpt_volume(self) -> Volume:
        sector = self.sector_size
        entries = {
            p.number: gpt.Entry(
                _planned(p.type_guid),
                _planned(p.guid),
                p.start // sector,
                p.end // sector - 1,
                p.name,
                p.attributes,
            )
            for p in self.partitions
        }
        disk_guid = _planned(self.disk_guid)
        return gpt.encode(entries, disk_guid=disk_guid, disk_size=self.disk_size, sector_size=sector)

    def _mbr_volume(self) -> Volume:
        sector = self.sector_size
        records = [
            mbr.PartitionRecord(p.start // sector, p.size // sector, _planned(p.mbr_type), p.active)
            for p in self.partitions
        ]
        encoded = mbr.encode(records, disk_signature=_planned(self.disk_signature), sector_size=sector)
        return Volume(self.disk_size, [extent(0, Bytes(encoded), "MBR")])


_T = TypeVar("_T")


def _planned(value: _T | None) -> _T:
    """Return a value that every layout of this scheme has."""
    if value is None:
        raise PlanInvariantError("a layout lacks a type or an identifier that its partition table needs")
    return value


class _Edge(enum.Enum):
    """A boundary that depends on the request; fixed ones are numbers of bytes."""

    FIRST_USABLE = enum.auto()
    """GPT's first usable sector."""
    MIB_AND_SECTOR = enum.auto()
    """One sector past 1 MiB: parted takes the end "1024KiB" for the last sector itself."""
    BOOT_END = enum.auto()
    ROOT_END = enum.auto()


class _Slot(NamedTuple):
    """One partition of a kind of table, before sizes are known."""

    role: Role
    start: int | _Edge
    end: int | _Edge
    name: str
    active: bool = False


_ESP_START = 8 * MiB
_XBOOTLDR_START = 100 * MiB
_ROOT_AFTER_BOOT = _Slot("root", _Edge.BOOT_END, _Edge.ROOT_END, "primary")

_TABLES: dict[TableKind, tuple[_Slot, ...]] = {
    "legacy": (_Slot("root", MiB, _Edge.ROOT_END, "primary"),),
    "legacy+boot": (_Slot("boot", MiB, _Edge.BOOT_END, "primary", active=True), _ROOT_AFTER_BOOT),
    "legacy+gpt": (
        _Slot("bios", MiB, 2 * MiB, "no-fs"),
        _Slot("root", 2 * MiB, _Edge.ROOT_END, "primary"),
    ),
    "efi": (_Slot("esp", _ESP_START, _Edge.BOOT_END, "ESP"), _ROOT_AFTER_BOOT),
    "efixbootldr": (
        _Slot("esp", _ESP_START, _XBOOTLDR_START, "ESP"),
        _Slot("boot", _XBOOTLDR_START, _Edge.BOOT_END, "BOOT"),
        _Slot("root", _Edge.BOOT_END, _Edge.ROOT_END, "ROOT"),
    ),
    "hybrid": (
        _Slot("esp", _ESP_START, _Edge.BOOT_END, "ESP"),
        _Slot("bios", MiB, 2 * MiB, "no-fs"),
        _ROOT_AFTER_BOOT,
    ),
}
"""The partitions of each kind, in number order; the seed's boundaries and nixpkgs' names."""

_NIXPKGS_HYBRID = (
    _TABLES["hybrid"][0],
    _Slot("bios", _Edge.FIRST_USABLE, _Edge.MIB_AND_SECTOR, "no-fs"),
    _TABLES["hybrid"][2],
)

_SCHEMES: dict[TableKind, Scheme] = {
    "legacy": "mbr",
    "legacy+boot": "mbr",
    "legacy+gpt": "gpt",
    "efi": "gpt",
    "efixbootldr": "gpt",
    "hybrid": "gpt",
    "none": "none",
}

_TYPE_GUIDS: dict[Role, UUID] = {
    "esp": gpt.TYPE_ESP,
    "boot": gpt.TYPE_XBOOTLDR,
    "root": gpt.TYPE_LINUX_DATA,
    "bios": gpt.TYPE_BIOS_BOOT,
}
_MBR_TYPES: dict[Role, int] = {"boot": mbr.OS_TYPE_FAT32_LBA, "root": mbr.OS_TYPE_LINUX}

_NIXPKGS_GUIDS: dict[TableKind, tuple[UUID, ...]] = {
    # nixpkgs gives rootGPUID to partition 3 here, which does not exist: the root gets the second GUID.
    "legacy+gpt": (NIXPKGS_FIRST_GUID, NIXPKGS_SECOND_GUID),
    "efi": (NIXPKGS_FIRST_GUID, NIXPKGS_ROOT_GUID),
    "efixbootldr": (NIXPKGS_FIRST_GUID, NIXPKGS_SECOND_GUID, NIXPKGS_ROOT_GUID),
    "hybrid": (NIXPKGS_FIRST_GUID, NIXPKGS_SECOND_GUID, NIXPKGS_ROOT_GUID),
}


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
        _refuse_boot_end(kind, boot_end)
        _refuse_unused(kind, "none", identifiers, 0)
        return Layout(kind, "none", disk_size, sector_size, (Partition(0, "root", 0, disk_size),))
    scheme = _SCHEMES[kind]
    slots = _slots(kind, compat)
    edges = _edges(kind, boot_end, sector_size, compat)
    edges[_Edge.ROOT_END] = _root_end(scheme, disk_size, sector_size, compat)
    _check_room(kind, edges, disk_size, compat)
    _refuse_unused(kind, scheme, identifiers, len(slots))
    guids = _guids(kind, len(slots), identifiers, compat) if scheme == "gpt" else {}
    partitions = tuple(
        _partition(number, slot, edges, scheme, guids.get(number)) for number, slot in enumerate(slots, 1)
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
        _refuse_boot_end(kind, boot_end)
        return align_up(max(root_size, 1), MiB)
    edges = _edges(kind, boot_end, sector_size, compat)
    start = _resolve(_slots(kind, compat)[-1].start, edges)
    return align_up(start + max(root_size, 1), MiB) + _tail(kind, compat)


def root_number(kind: TableKind) -> int:
    """Return the number of the root's partition; 1 where there is no table."""
    return len(_TABLES[kind]) if kind in _TABLES else 1


def compose_disk(layout: Layout, volumes: Mapping[int, Volume]) -> Volume:
    """Return the Volume of the whole disk: the table, and each partition's Volume at its place.

    Args:
        layout: The plan.
        volumes: Volumes by partition number; a partition that has none stays zeros.

    Raises:
        PlanInvariantError: A Volume is larger than its partition, or there is no such partition.
    """
    places = {p.number: p for p in layout.partitions}
    parts = [(0, layout.table_volume())]
    for number, volume in sorted(volumes.items(), key=lambda item: item[0]):
        if number not in places:
            raise PlanInvariantError(f"partition {number} does not exist in table {layout.kind!r}")
        place = places[number]
        if volume.size > place.size:
            raise PlanInvariantError(
                f"partition {number} {place.role!r} has {place.size:,} bytes, its volume {volume.size:,}"
            )
        parts.append((place.start, volume))
    return compose(layout.disk_size, parts)


def _check_size(disk_size: int, sector_size: int) -> None:
    if disk_size <= 0 or disk_size % sector_size:
        suggestion = max(align_up(disk_size, sector_size), sector_size)
        raise SpecError(
            f"disk size {disk_size:,} B is not a whole number of {sector_size:,}-byte sectors;"
            f" set it to {suggestion:,} B"
        )


def _slots(kind: TableKind, compat: Compat) -> tuple[_Slot, ...]:
    return _NIXPKGS_HYBRID if kind == "hybrid" and compat == "nixpkgs" else _TABLES[kind]


def _resolve(edge: int | _Edge, edges: Mapping[_Edge, int]) -> int:
    return edges[edge] if isinstance(edge, _Edge) else edge


def _edges(kind: TableKind, boot_end: int | None, sector_size: int, compat: Compat) -> dict[_Edge, int]:
    """Return the boundaries, in bytes, that do not depend on the disk's size."""
    edges = {
        _Edge.FIRST_USABLE: gpt.first_usable_lba(sector_size) * sector_size,
        _Edge.MIB_AND_SECTOR: MiB + sector_size,
    }
    before = next((slot for slot in _TABLES[kind] if slot.end is _Edge.BOOT_END), None)
    if before is None:
        _refuse_boot_end(kind, boot_end)
        return edges
    end = _boot_end(DEFAULT_BOOT_END if boot_end is None else boot_end, compat)
    start = _resolve(before.start, edges)
    if end <= start:
        raise SpecError(
            f"boot end {end // MiB:,} MiB leaves the {before.role} partition no room, it starts at"
            f" {start // MiB:,} MiB; set the boot end (an offset, not a size) beyond that"
        )
    edges[_Edge.BOOT_END] = end
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


def _root_end(scheme: Scheme, disk_size: int, sector_size: int, compat: Compat) -> int:
    """Return where the root ends, in bytes: a MiB boundary."""
    if compat == "seed":
        return align_down(disk_size - MiB, MiB)
    if scheme == "mbr":
        return align_down(disk_size, MiB)
    last_usable_lba = gpt.Geometry(disk_size // sector_size, sector_size).last_usable_lba
    return align_down((last_usable_lba + 1) * sector_size, MiB)


def _tail(kind: TableKind, compat: Compat) -> int:
    """Return the bytes after the root, on a disk of whole MiB."""
    return 0 if compat == "nixpkgs" and _SCHEMES[kind] == "mbr" else MiB


def _check_room(kind: TableKind, edges: Mapping[_Edge, int], disk_size: int, compat: Compat) -> None:
    root_start = _resolve(_slots(kind, compat)[-1].start, edges)
    if edges[_Edge.ROOT_END] <= root_start:
        needed = root_start + MiB + _tail(kind, compat)
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
        largest = reach + _tail(kind, compat)
        raise SpecError(
            f"partition {root.number} 'root' would end at {root.end // MiB:,} MiB, partition table {kind!r}"
            f" with {sector_size:,}-byte sectors reaches {reach // MiB:,} MiB; set the disk size to"
            f" {largest // MiB:,} MiB or less, or use partition table 'legacy+gpt' or 'efi'"
        )


def _partition(
    number: int, slot: _Slot, edges: Mapping[_Edge, int], scheme: Scheme, guid: UUID | None
) -> Partition:
    start, end = _resolve(slot.start, edges), _resolve(slot.end, edges)
    if scheme == "gpt":
        type_guid = _TYPE_GUIDS[slot.role]
        return Partition(number, slot.role, start, end - start, slot.name, type_guid=type_guid, guid=guid)
    mbr_type = _MBR_TYPES[slot.role]
    return Partition(number, slot.role, start, end - start, mbr_type=mbr_type, active=slot.active)


def _guids(kind: TableKind, count: int, identifiers: DiskIdentifiers, compat: Compat) -> dict[int, UUID]:
    guids = {n: derive_uuid(identifiers.seed, f"partition {n} guid") for n in range(1, count + 1)}
    if compat == "nixpkgs":
        guids |= dict(enumerate(_NIXPKGS_GUIDS[kind], 1))
    return guids | dict(identifiers.partition_guids)


def _check_distinct(guids: Mapping[str, UUID]) -> None:
    owners: dict[UUID, str] = {}
    for owner, guid in guids.items():
        if guid in owners:
            raise SpecError(f"{owners[guid]} and {owner} have the same GUID {guid}; give one of them another")
        owners[guid] = owner


def _default_disk_guid(seed: str, compat: Compat) -> UUID:
    return NIXPKGS_DISK_GUID if compat == "nixpkgs" else derive_uuid(seed, "disk guid")


def _refuse_boot_end(kind: str, boot_end: int | None) -> None:
    if boot_end is not None:
        raise SpecError(
            f"boot end {format_size(boot_end)} is given, but partition table {kind!r} has no boot partition"
            f" to end there; leave it out"
        )


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
