"""Decide a FAT volume: type, cluster size and every start cluster, before a byte is written.

Which geometries a volume can have is tried in a fixed order (the type asked for, then the cluster sizes by
:func:`imgwriter.fat.geometry.preference`), and the first that holds the content is taken. A content thus fits
a volume exactly when some geometry holds it, and the smallest volume is the smallest over all geometries.

Clusters are handed out in one pass: all directories first, in the inventory's order, then all files,
directory by directory. Everything is contiguous, and the free clusters are one run at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imgwriter.errors import CapacityError, SpecError, UnrepresentableError
from imgwriter.extent import Volume
from imgwriter.fat.content import Content, directory_clusters, survey
from imgwriter.fat.encode import Allocation, encode
from imgwriter.fat.geometry import (
    FAT12,
    FAT16,
    FAT32,
    FAT_TYPES,
    FIRST_CLUSTER,
    MAX_CLUSTER_SIZE,
    FatType,
    Geometry,
    cluster_sizes,
    fit,
    preference,
    sectors_needed,
)
from imgwriter.tree.inventory import Inventory
from imgwriter.units import MiB, TiB, align_up, div_ceil, format_size

MAX_SIZE = 2 * TiB
"""Bytes of the largest volume: what 32 bits of 512-byte sectors reach."""

_LABEL_SIZE = 11
_BAD_IN_LABEL = '"*+,./:;<=>?[\\]|'
_NOT_32_BITS = "{} {} does not fit in 32 bits; FAT's boot sector has no more"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a FAT volume shall be.

    Attributes:
        label: Up to 11 ASCII characters; "" for none. Lower case is kept, as mkfs.fat does.
        volume_id: 32 bits, the UUID of fstab.
        time: Seconds since the epoch: the label's time, and the root's; before 1980 means 1980-01-01.
        fat_type: 12, 16 or 32. None: 32; or 16, or 12, where the volume is too small for 32 (under about
            33 MiB with sectors of 512 bytes, 257 MiB with sectors of 4,096 bytes).
        sector_size: 512 or 4096.
        hidden_sectors: Sectors before the volume on its disk: the partition's first LBA.
        cluster_size: Bytes: a power of two from sector_size to 32 KiB. None: chosen so that the count of
            clusters fits the type.

    Raises:
        SpecError: A value that no FAT volume has.
    """

    label: str = ""
    volume_id: int = 0
    time: int = 0
    fat_type: int | None = None
    sector_size: int = 512
    hidden_sectors: int = 0
    cluster_size: int | None = None

    def __post_init__(self) -> None:
        if self.fat_type not in (None, 12, 16, 32):
            raise SpecError(f"there is no FAT{self.fat_type}; ask for 12, 16, 32 or nothing")
        if self.sector_size not in (512, 4096):
            raise SpecError(f"FAT sectors of {self.sector_size} bytes are not supported; use 512 or 4096")
        if not 0 <= self.volume_id <= 0xFFFFFFFF:
            raise SpecError(_NOT_32_BITS.format("FAT volume ID", self.volume_id))
        if not 0 <= self.hidden_sectors <= 0xFFFFFFFF:
            raise SpecError(_NOT_32_BITS.format("the FAT volume's first sector", self.hidden_sectors))
        if self.cluster_size is not None and self.cluster_size not in cluster_sizes(self.sector_size):
            raise SpecError(
                f"FAT clusters of {self.cluster_size} bytes are not possible; use a power of two from "
                f"{self.sector_size} to {MAX_CLUSTER_SIZE}"
            )
        _check_label(self.label)


def _check_label(label: str) -> None:
    reason = ""
    if len(label) > _LABEL_SIZE:
        reason = f"has {len(label)} characters, the limit is {_LABEL_SIZE}"
    elif not label.isascii() or not label.isprintable():
        reason = "is not printable ASCII"
    elif bad := [c for c in label if c in _BAD_IN_LABEL]:
        reason = f"holds {bad[0]!r}"
    elif label != label.strip():
        reason = "starts or ends with a space"
    elif label.upper() == "NO NAME":
        reason = "is what FAT writes for a volume without a label"
    if reason:
        raise SpecError(f"FAT label {label!r} {reason}; choose another")


class Plan:
    """A FAT volume, decided.

    Attributes:
        size: Bytes of the volume.
        type_name: "vfat", as mount and fstab have it.
    """

    __slots__ = ("_allocation", "_content", "_geometry", "_parameters", "size")

    type_name = "vfat"

    def __init__(self, content: Content, parameters: Parameters, geometry: Geometry, size: int) -> None:
        self._content = content
        self._parameters = parameters
        self._geometry = geometry
        self._allocation = _allocate(content, geometry)
        self.size = size

    @property
    def free(self) -> int:
        """Bytes in free clusters."""
        return (self.clusters - self._allocation.used_clusters) * self.cluster_size

    @property
    def used(self) -> int:
        """Bytes that are not free: files, directories, tables, and what lies beyond the last cluster."""
        return self.size - self.free

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster."""
        return self._geometry.cluster_size

    @property
    def clusters(self) -> int:
        """Count of clusters."""
        return self._geometry.clusters

    @property
    def fat_type(self) -> int:
        """12, 16 or 32."""
        return self._geometry.fat_type.bits

    @property
    def label(self) -> str:
        """The label, "" for none."""
        return self._parameters.label

    @property
    def volume_id(self) -> str:
        """As fstab wants it after ``UUID=``: "ABCD-1234"."""
        number = self._parameters.volume_id
        return f"{number >> 16:04X}-{number & 0xFFFF:04X}"

    def volume(self) -> Volume:
        """Return the volume's bytes as extents; the files' own stay where they are until written."""
        p = self._parameters
        return encode(
            self._content,
            self._geometry,
            self._allocation,
            size=self.size,
            label=p.label.encode("ascii"),
            volume_id=p.volume_id,
            time_ns=p.time * 1_000_000_000,
            hidden_sectors=p.hidden_sectors,
        )


def plan(inventory: Inventory, parameters: Parameters, size: int, describe: str) -> Plan:
    """Decide the FAT volume of ``size`` bytes that holds ``inventory``.

    Owners, modes (but for the owner's write bit, which becomes the read-only attribute) and extended
    attributes have no form in FAT and are left out; hard links become copies.

    Args:
        inventory: The tree.
        parameters: What the volume shall be.
        size: Bytes of the volume; a part of a sector at the end stays unused.
        describe: What to call the volume in messages: "partition 1 'ESP'".

    Raises:
        CapacityError: It does not fit.
        UnrepresentableError: A name, type or size has no form in FAT.
        SpecError: FAT, with these parameters, cannot use a volume of this size.
    """
    content = survey(inventory, bool(parameters.label))
    _refuse_too_large(parameters, size, describe)
    geometry, _ = _choose(content, parameters, size)
    if geometry is not None:
        return Plan(content, parameters, geometry, size)
    smallest = _minimum(content, parameters, inventory, describe)
    if parameters.fat_type is not None and smallest == _smallest_volume(parameters):
        raise CapacityError(
            f"{describe}: no {_name(parameters)} volume is smaller than {_exactly(smallest)}, as the count "
            f"of clusters tells the type, and there are {_exactly(size)}; make it larger or use another type",
            smallest,
            size,
            inventory.largest(),
        )
    raise CapacityError(
        f"{describe}: {_name(parameters)} needs {_exactly(smallest)} for {_amount(content)} and "
        f"{len(content.directories):,} directories, there are {_exactly(size)}; "
        f"make it {_exactly(smallest - size)} larger or put less in",
        smallest,
        size,
        inventory.largest(),
    )


def minimum_size(inventory: Inventory, parameters: Parameters, spare: int = 0) -> int:
    """Return the bytes of the smallest volume that :func:`plan` accepts; one sector less is refused.

    Args:
        inventory: The tree.
        parameters: What the volume shall be.
        spare: Bytes that shall be free for more files.

    Raises:
        CapacityError: No volume of this type is large enough.
        UnrepresentableError: A name, type or size has no form in FAT.
    """
    content = survey(inventory, bool(parameters.label))
    size = _minimum(content, parameters, inventory, "the FAT volume", spare)
    while spare:
        # The geometry that plan() prefers may have a few clusters less than the smallest volume's.
        geometry, free = _choose(content, parameters, size)
        if geometry is None or free >= spare:
            break
        size += align_up(spare - free, geometry.cluster_size)
    return size


def _choose(content: Content, parameters: Parameters, size: int) -> tuple[Geometry | None, int]:
    """Return the first geometry that holds the content, and the bytes it leaves free."""
    for fat_type in _types(parameters):
        for geometry in _geometries(fat_type, parameters, size):
            needed = _clusters(content, fat_type, geometry.cluster_size)
            if needed is not None and needed <= geometry.clusters:
                return geometry, (geometry.clusters - needed) * geometry.cluster_size
    return None, 0


def _minimum(
    content: Content, parameters: Parameters, inventory: Inventory, describe: str, spare: int = 0
) -> int:
    types, sector = _types(parameters), parameters.sector_size
    sizes = [
        sectors_needed(t, sector, c, max(needed + div_ceil(spare, c), t.minimum_clusters)) * sector
        for t in types
        for c in _cluster_sizes(parameters)
        if (needed := _clusters(content, t, c)) is not None
        and needed + div_ceil(spare, c) <= t.maximum_clusters
    ]
    smallest = min(sizes, default=MAX_SIZE + 1)
    if smallest <= MAX_SIZE:
        return smallest
    if not any(_root_fits(content, t) for t in types):
        raise UnrepresentableError(
            f"{describe}: the root directory needs {content.root_slots:,} entries (long names take several), "
            f"{_name(parameters)} has room for {types[0].root_entries:,}; use FAT32 or a subdirectory"
        )
    total, largest = sum(content.file_sizes) + spare, _largest_volume(parameters)
    raise CapacityError(
        f"{describe}: {_amount(content)} are more than {_name(parameters)} can hold in its largest volume, "
        f"{format_size(largest)}; use another type or put less in",
        total,
        largest,
        inventory.largest(),
    )


def _types(parameters: Parameters) -> Sequence[FatType]:
    """Return the types that may be, the preferred one first."""
    if parameters.fat_type is not None:
        return (FAT_TYPES[parameters.fat_type],)
    return (FAT32, FAT16, FAT12)


def _cluster_sizes(parameters: Parameters) -> Sequence[int]:
    if parameters.cluster_size is not None:
        return (parameters.cluster_size,)
    return tuple(cluster_sizes(parameters.sector_size))


def _geometries(fat_type: FatType, parameters: Parameters, size: int) -> list[Geometry]:
    """Return the geometries that a volume can have, the preferred one first."""
    sector = parameters.sector_size
    possible = (fit(fat_type, sector, c, size // sector) for c in _cluster_sizes(parameters))
    return sorted((g for g in possible if g is not None), key=preference)


def _root_fits(content: Content, fat_type: FatType) -> bool:
    return not fat_type.root_entries or content.root_slots <= fat_type.root_entries


def _clusters(content: Content, fat_type: FatType, cluster_size: int) -> int | None:
    """Return the clusters that the content takes, None when its root is too large for the type."""
    if not _root_fits(content, fat_type):
        return None
    return content.clusters(cluster_size, root_in_clusters=not fat_type.root_entries)


def _largest_volume(parameters: Parameters) -> int:
    fat_type, cluster_size = _types(parameters)[0], _cluster_sizes(parameters)[-1]
    sector = parameters.sector_size
    return min(sectors_needed(fat_type, sector, cluster_size, fat_type.maximum_clusters) * sector, MAX_SIZE)


def _smallest_volume(parameters: Parameters) -> int:
    sector = parameters.sector_size
    return min(
        sectors_needed(t, sector, c, t.minimum_clusters) * sector
        for t in _types(parameters)
        for c in _cluster_sizes(parameters)
    )


def _refuse_too_large(parameters: Parameters, size: int, describe: str) -> None:
    """Refuse a volume of which more than a rest would stay out of use.

    1 MiB may: more than what lies between the largest volume of a type and the smallest of the next.
    """
    largest = _largest_volume(parameters)
    if size > MAX_SIZE or size > largest + MiB:
        remedy = "; make it smaller"
        if largest < MAX_SIZE:
            remedy += " or use another type or cluster size"
        raise SpecError(
            f"{describe}: {_name(parameters)} can use {format_size(largest)}, "
            f"the size is {format_size(size)}{remedy}"
        )


def _name(parameters: Parameters) -> str:
    name = "FAT" if parameters.fat_type is None else f"FAT{parameters.fat_type}"
    if parameters.cluster_size is not None:
        name += f" with clusters of {format_size(parameters.cluster_size)}"
    return name


def _amount(content: Content) -> str:
    return f"{len(content.file_sizes):,} files of {_exactly(sum(content.file_sizes))}"


def _exactly(size: int) -> str:
    return f"{size:,} bytes ({format_size(size)})" if size >= 1024 else f"{size:,} bytes"


def _allocate(content: Content, geometry: Geometry) -> Allocation:
    """Hand out the clusters: directories, then files; all contiguous."""
    size = geometry.cluster_size
    cluster = FIRST_CLUSTER
    ends: list[int] = []

    def take(counts: Iterator[int]) -> list[int]:
        nonlocal cluster
        starts = []
        for count in counts:
            starts.append(cluster if count else 0)
            cluster += count
            if count:
                ends.append(cluster)
        return starts

    fixed_root = bool(geometry.fat_type.root_entries)
    directories = take(
        0 if fixed_root and not number else directory_clusters(directory, size)
        for number, directory in enumerate(content.directories)
    )
    files = [
        take(-(-i.size // size) if i.entries is None else 0 for i in directory.inodes)
        for directory in content.directories
    ]
    return Allocation(directories, files, ends)
