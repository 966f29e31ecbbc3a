"""The plan of an image: sizes, the layout of the disk, and a file system in each partition.

::

    trees ──┬─ ext4.survey, minimum_size ──> disk size ──> disk.plan ──> Layout ─┐
            └─ ext4.plan, fat.plan ──────────────────────────────────────────────┴─> ImagePlan ── volume()

Everything is arithmetic over values; nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from imgwriter import disk, encoder, ext4, fat, nixpkgs_size
from imgwriter.bootloader.outcome import Installed
from imgwriter.disk import DiskIdentifiers, Layout, Partition, Role
from imgwriter.errors import SpecError
from imgwriter.extent import Volume, overlay
from imgwriter.identifiers import DEFAULT_SEED, derive_u32, derive_uuid
from imgwriter.sources import image_path
from imgwriter.spec import DEFAULT_ADDITIONAL_SPACE, ESP_TABLES, ImageSpec
from imgwriter.tree.inventory import Inventory
from imgwriter.units import MiB

if TYPE_CHECKING:
    from imgwriter.guest.parts import Parts

ESP_LABEL = "ESP"
BOOT_LABEL = "BOOT"
"""Labels of the FAT file systems, as nixpkgs gives them to mkfs.vfat."""

_SCRATCH_ROOM = 512 * MiB
"""Bytes for what an installer writes, beside the room that the image itself has. They cost nothing: holes."""


class FileSystemPlan(Protocol):
    """What the plans of ext4 and FAT have in common; sizes are bytes."""

    @property
    def size(self) -> int: ...
    @property
    def used(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def type_name(self) -> str: ...
    def volume(self) -> Volume: ...


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A planned file system and the partition it stands in.

    Attributes:
        partition: Its place on the disk.
        plan: What it looks like.
        label: Its label.
        uuid: What fstab has after ``UUID=``.
        names: How many names it holds, the root's not counted.
    """

    partition: Partition
    plan: FileSystemPlan
    label: str
    uuid: str
    names: int


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """A disk image, decided down to the last byte; nothing is written.

    Attributes:
        spec: What was asked for.
        layout: The disk and its partitions.
        file_systems: In the partitions' order; a partition may have none.
        trees: What goes into them, by role.
        warnings: Sentences about what went in otherwise than one might think.
        installed: The boot loader that is among it, or None.
        parts: What the guest is made from that installs one, or None.
        guest_disk: The disk that a guest wrote to, where that one is kept; ``file_systems`` are then as they
            were before.
    """

    spec: ImageSpec
    layout: Layout
    file_systems: tuple[FileSystem, ...]
    trees: Mapping[Role, Inventory]
    warnings: tuple[str, ...]
    installed: Installed | None = None
    parts: Parts | None = None
    guest_disk: Volume | None = None

    @property
    def path(self) -> bytes:
        """Where the image goes."""
        return image_path(self.spec)

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.layout.disk_size

    @property
    def inventory(self) -> Inventory:
        """The root file system's tree."""
        return self.trees["root"]

    def file_system(self, partition: Partition) -> FileSystem | None:
        """Return the file system of a partition, or None."""
        return next((f for f in self.file_systems if f.partition == partition), None)

    def volume(self) -> Volume:
        """Return the bytes of the whole disk."""
        if self.guest_disk is not None:
            return self.guest_disk
        composed = disk.compose_disk(
            self.layout, {f.partition.number: f.plan.volume() for f in self.file_systems}
        )
        return composed if self.installed is None else overlay(composed, self.installed.patches)


def plan_disk(
    spec: ImageSpec,
    trees: Mapping[Role, Inventory],
    warnings: tuple[str, ...] = (),
    installed: Installed | None = None,
) -> ImagePlan:
    """Decide everything about the image that holds ``trees``.

    Args:
        spec: What was asked for.
        trees: By role; the root's at least.
        warnings: Of what came before.
        installed: The boot loader whose files are in the trees already.

    Raises:
        SpecError: The request contradicts itself.
        SourceError: Something in the trees has no form in its file system.
        CapacityError: It does not fit.
    """
    root = trees["root"]
    demand = None if spec.fs_type == "vfat" else ext4.survey(root, _ext4_parameters(spec))
    size = encoder.disk_size(spec, _disk_size(spec, root, demand))
    layout = _layout(spec, size)
    file_systems = tuple(
        _file_system(spec, layout, partition, trees[partition.role], demand)
        for partition in layout.partitions
        if partition.role in trees
    )
    return ImagePlan(spec, layout, file_systems, dict(trees), warnings, installed)


def plan_scratch(spec: ImageSpec, trees: Mapping[Role, Inventory]) -> ImagePlan:
    """Decide the disk that a guest works on: partitions as in the image, and room where the size is open.

    Raises:
        SourceError, CapacityError: As :func:`plan_disk`.
    """
    if spec.disk_size is None and not spec.keep_guest_image:
        spare = max(spec.additional_space or 0, DEFAULT_ADDITIONAL_SPACE)
        spec = replace(spec, additional_space=spare + _SCRATCH_ROOM, size_formula="closed")
    return plan_disk(spec, trees)


def root_identity(spec: ImageSpec) -> tuple[str, str]:
    """Return the root file system's UUID, as fstab has it, and its label."""
    if spec.fs_type == "vfat":
        return _fat_uuid(_fat_parameters(spec, "root", 0).volume_id), spec.root_label
    return str(UUID(bytes=_ext4_parameters(spec).uuid)), spec.root_label


def seed_of(spec: ImageSpec) -> str:
    """Return what the identifiers derive from."""
    return DEFAULT_SEED if spec.seed is None else spec.seed


def check_table(spec: ImageSpec) -> None:
    """Refuse what the table alone refuses, before the trees are read.

    Raises:
        SpecError: It does.
        CapacityError: The disk is too small for it.
    """
    provisional_layout(spec)


def provisional_layout(spec: ImageSpec) -> Layout:
    """Return the disk's layout but for its size, where that is still to be worked out.

    Where partitions begin, and their numbers and identifiers, do not depend on it.
    """
    return _layout(spec, spec.disk_size or _disk_size_for(spec, MiB))


def _disk_size(spec: ImageSpec, inventory: Inventory, demand: ext4.Demand | None) -> int:
    if spec.disk_size is not None:
        return spec.disk_size
    spare = DEFAULT_ADDITIONAL_SPACE if spec.additional_space is None else spec.additional_space
    if spec.size_formula == "nixpkgs":
        return nixpkgs_size.disk_size(spec.partition_table, inventory, spec.boot_end, spare)
    if demand is None:
        root_size = fat.minimum_size(inventory, _fat_parameters(spec, "root", 0), spare)
    else:
        root_size = ext4.minimum_size_of(demand, spare)
    return _disk_size_for(spec, root_size)


def _disk_size_for(spec: ImageSpec, root_size: int) -> int:
    return disk.disk_size_for(
        spec.partition_table,
        root_size,
        boot_end=spec.boot_end,
        sector_size=spec.sector_size,
        compat=spec.compat,
    )


def _layout(spec: ImageSpec, disk_size: int) -> Layout:
    identifiers = DiskIdentifiers.derive(
        seed_of(spec),
        disk_guid=spec.disk_guid,
        partition_guids=_partition_guids(spec),
        disk_signature=spec.disk_signature,
    )
    return disk.plan(
        spec.partition_table,
        disk_size,
        identifiers=identifiers,
        boot_end=spec.boot_end,
        sector_size=spec.sector_size,
        compat=spec.compat,
    )


def _partition_guids(spec: ImageSpec) -> Mapping[int, UUID]:
    """Return the GUIDs asked for by number, the root's among them."""
    if spec.root_gpuid is None:
        return spec.partition_guids
    number = disk.root_number(spec.partition_table)
    if spec.partition_guids.get(number, spec.root_gpuid) != spec.root_gpuid:
        raise SpecError(
            f"partition {number} is the root, and is given two GUIDs, {spec.partition_guids[number]} and"
            f" {spec.root_gpuid}; leave one of them out"
        )
    return {**spec.partition_guids, number: spec.root_gpuid}


# File systems


def _file_system(
    spec: ImageSpec, layout: Layout, partition: Partition, tree: Inventory, root: ext4.Demand | None
) -> FileSystem:
    place = f"partition {partition.number} '{partition.role}'" if partition.number else "the disk"
    if partition.role == "root" and root is not None:
        planned = ext4.plan_demand(root, partition.size, place)
        return FileSystem(
            partition, planned, spec.root_label, str(UUID(bytes=root.parameters.uuid)), tree.names
        )
    fat_parameters = _fat_parameters(spec, partition.role, partition.start // spec.sector_size)
    fat_plan = fat.plan(tree, fat_parameters, partition.size, place)
    return FileSystem(
        partition, fat_plan, fat_parameters.label, _fat_uuid(fat_parameters.volume_id), tree.names
    )


def _ext4_parameters(spec: ImageSpec) -> ext4.Parameters:
    seed = seed_of(spec)
    # nixpkgs' rootFSUID is its rootGPUID where nothing else is said.
    nixpkgs = spec.compat == "nixpkgs" and spec.fs_type == "ext4"
    usual = spec.root_gpuid or disk.NIXPKGS_ROOT_GUID if nixpkgs else None
    uuid = spec.root_uuid or usual or derive_uuid(seed, "root file system uuid")
    return ext4.Parameters(
        uuid=uuid.bytes,
        hash_seed=(spec.hash_seed or derive_uuid(seed, "root file system hash seed")).bytes,
        label=spec.root_label.encode("utf-8", "surrogateescape"),
        time=spec.time,
        fs_type=spec.fs_type,
        block_size=spec.block_size or 4096,
        inodes=spec.inodes,
        inode_ratio=spec.inode_ratio,
        features=spec.features,
    )


def _fat_parameters(spec: ImageSpec, role: Role, hidden_sectors: int) -> fat.Parameters:
    label = {"esp": ESP_LABEL, "boot": BOOT_LABEL}.get(role, spec.root_label)
    # With both an ESP and a boot partition, the ESP is the first on the disk: the ID asked for is its own.
    is_first = role != "boot" or spec.partition_table not in ESP_TABLES
    asked = spec.fat_volume_id if is_first else None
    return fat.Parameters(
        label=label,
        volume_id=derive_u32(seed_of(spec), f"{role} volume id") if asked is None else asked,
        time=spec.time,
        fat_type=spec.fat_type,
        sector_size=spec.sector_size,
        hidden_sectors=hidden_sectors,
    )


def _fat_uuid(volume_id: int) -> str:
    return f"{volume_id >> 16:04X}-{volume_id & 0xFFFF:04X}"


def _seed(spec: ImageSpec) -> str:
    return DEFAULT_SEED if spec.seed is None else spec.seed
