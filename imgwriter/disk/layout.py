"""A planned disk as a value, and how it becomes bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar
from uuid import UUID

from imgwriter import gpt, mbr
from imgwriter.errors import PlanInvariantError, SpecError
from imgwriter.extent import Bytes, Volume, compose, extent
from imgwriter.identifiers import DEFAULT_SEED
from imgwriter.spec import TableKind

Scheme: TypeAlias = Literal["mbr", "gpt", "none"]
Role: TypeAlias = Literal["esp", "boot", "root", "bios"]


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


_T = TypeVar("_T")


def _planned(value: _T | None) -> _T:
    """Return a value that every layout of this scheme has."""
    if value is None:
        raise PlanInvariantError("a layout lacks a type or an identifier that its partition table needs")
    return value
