"""Where the areas of a FAT volume lie: arithmetic on sectors, nothing else.

::

    sectors  0          reserved          + fat     + fat     + root              metadata + clusters * k
             ├─ reserved ──┼── FAT 1 ──┼── FAT 2 ──┼── root ──┼── cluster 2 | 3 | ... ──┼── unused ──┤

A FAT volume's type is not written anywhere: readers derive it from the count of clusters. So the count
decides here too, and a count that does not fit the type asked for is no geometry.

``sectors_needed`` is strictly increasing in the count of clusters; ``fit`` is its inverse. That alone makes
the smallest volume for a content exact. The reserved area is padded so that cluster 2 starts at a multiple of
the cluster size: clusters then never straddle the blocks of a disk, as mkfs.fat has it by default.

Spec: FAT specification, 3.5 (determination of FAT type), 4 (FAT).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imgwriter.fat.structures import ENTRY_SIZE
from imgwriter.units import GiB, KiB, align_up, div_ceil

FATS = 2
FIRST_CLUSTER = 2
MAX_CLUSTER_SIZE = 32 * KiB
"""Larger clusters exist, but the specification says that they shall not be used."""

MAX_SECTORS = 0xFFFFFFFF
"""BPB_TotSec32."""

_ROOT_ENTRIES = 512
_AWAY_FROM_LIMIT = 16


@dataclass(frozen=True, slots=True)
class FatType:
    """One of the three types.

    Attributes:
        bits: 12, 16 or 32: of a FAT entry, and the type's name.
        minimum_clusters, maximum_clusters: The counts by which readers know the type, both included.
        reserved_sectors: At least so many, before padding.
        root_entries: Entries of the fixed root directory; 0 where the root is made of clusters.
    """

    bits: int
    minimum_clusters: int
    maximum_clusters: int
    reserved_sectors: int
    root_entries: int


FAT12 = FatType(12, 1, 4_084, 1, _ROOT_ENTRIES)
FAT16 = FatType(16, 4_085, 65_524, 1, _ROOT_ENTRIES)
FAT32 = FatType(32, 65_525, 268_435_444, 32, 0)
FAT_TYPES = {12: FAT12, 16: FAT16, 32: FAT32}


@dataclass(frozen=True, slots=True)
class Geometry:
    """A volume's areas.

    Attributes:
        fat_type: The type.
        sector_size, cluster_size: Bytes.
        clusters: Count of clusters; the first has the number 2.
        reserved_sectors, fat_sectors: Sectors before the first FAT, and of each FAT.
        total_sectors: BPB_TotSec; never so many that readers would count one cluster more.
        beyond_sectors: Sectors that the type's greatest count leaves unused, 0 where it does not bind.
    """

    fat_type: FatType
    sector_size: int
    cluster_size: int
    clusters: int
    reserved_sectors: int
    fat_sectors: int
    total_sectors: int
    beyond_sectors: int

    def fat_start(self, number: int) -> int:
        """Return the offset of FAT ``number`` (0 or 1)."""
        return (self.reserved_sectors + number * self.fat_sectors) * self.sector_size

    @property
    def root_start(self) -> int:
        """Offset of the fixed root directory, or of cluster 2 on FAT32."""
        return self.fat_start(FATS)

    @property
    def data_start(self) -> int:
        """Offset of cluster 2."""
        return self.root_start + self.fat_type.root_entries * ENTRY_SIZE

    def cluster_offset(self, cluster: int) -> int:
        """Return the offset of a cluster."""
        return self.data_start + (cluster - FIRST_CLUSTER) * self.cluster_size

    @property
    def sectors_per_track(self) -> int:
        """The S of the CHS geometry: mtools wants the volume to be a whole number of tracks."""
        return min(32, self.total_sectors & -self.total_sectors)

    @property
    def heads(self) -> int:
        """The H of the CHS geometry. Nothing reads it any more, but mtools refuses zero."""
        return 64 if self.total_sectors * self.sector_size <= GiB else 255


def _fat_sectors(fat_type: FatType, sector_size: int, clusters: int) -> int:
    return div_ceil((clusters + FIRST_CLUSTER) * fat_type.bits, 8 * sector_size)


def _metadata_sectors(fat_type: FatType, sector_size: int, cluster_size: int, clusters: int) -> int:
    """Return the sectors before cluster 2, a multiple of the cluster's sectors."""
    root = fat_type.root_entries * ENTRY_SIZE // sector_size
    plain = fat_type.reserved_sectors + FATS * _fat_sectors(fat_type, sector_size, clusters) + root
    return align_up(plain, cluster_size // sector_size)


def sectors_needed(fat_type: FatType, sector_size: int, cluster_size: int, clusters: int) -> int:
    """Return the sectors of the smallest volume with ``clusters`` clusters: strictly increasing in them."""
    metadata = _metadata_sectors(fat_type, sector_size, cluster_size, clusters)
    return metadata + clusters * (cluster_size // sector_size)


def fit(fat_type: FatType, sector_size: int, cluster_size: int, sectors: int) -> Geometry | None:
    """Return the geometry with the most clusters in ``sectors`` sectors, None when the type cannot be."""
    sectors = min(sectors, MAX_SECTORS)
    per_cluster = cluster_size // sector_size
    # Solve sectors = clusters * (per_cluster + FATS * bits / (8 * sector_size)), whose parts are not rounded
    # up: never below the answer, and above it by what the rounding adds.
    upper = max(sectors, 0) * 8 * sector_size // (8 * sector_size * per_cluster + FATS * fat_type.bits)
    clusters = min(upper, fat_type.maximum_clusters)
    while clusters > 0 and sectors_needed(fat_type, sector_size, cluster_size, clusters) > sectors:
        clusters -= 1
    if clusters < fat_type.minimum_clusters:
        return None
    fat_sectors = _fat_sectors(fat_type, sector_size, clusters)
    metadata = _metadata_sectors(fat_type, sector_size, cluster_size, clusters)
    root = fat_type.root_entries * ENTRY_SIZE // sector_size
    end = metadata + clusters * per_cluster
    return Geometry(
        fat_type=fat_type,
        sector_size=sector_size,
        cluster_size=cluster_size,
        clusters=clusters,
        reserved_sectors=metadata - root - FATS * fat_sectors,
        fat_sectors=fat_sectors,
        total_sectors=min(sectors, end + per_cluster - 1),
        beyond_sectors=max(0, sectors - end - per_cluster + 1)
        if clusters == fat_type.maximum_clusters
        else 0,
    )


def cluster_sizes(sector_size: int) -> Iterator[int]:
    """Yield the cluster sizes that may be, smallest first."""
    size = sector_size
    while size <= MAX_CLUSTER_SIZE:
        yield size
        size *= 2


def preference(geometry: Geometry) -> tuple[int, bool, int]:
    """Return a sort key: the lower, the better the geometry for its volume.

    As much of the volume in use as can be; then, as the specification advises, a count at least 16 away
    from where readers that count wrongly see another type; then the cluster size nearest to the usual one.
    """
    limits = (FAT12.maximum_clusters, FAT16.maximum_clusters)
    near = any(abs(geometry.clusters - limit) <= _AWAY_FROM_LIMIT for limit in limits)
    usual = _usual_cluster_size(geometry)
    distance = abs(geometry.cluster_size.bit_length() - usual.bit_length())
    return geometry.beyond_sectors, near, distance


def _usual_cluster_size(geometry: Geometry) -> int:
    """Return Microsoft's default for FAT32, and the smallest for the others.

    Spec: FAT specification, 3.4, DskTableFAT32. FAT16's table is the smallest that fits, too.
    """
    if geometry.fat_type is not FAT32:
        return geometry.sector_size
    size = geometry.total_sectors * geometry.sector_size
    steps = ((8 * GiB, 4 * KiB), (16 * GiB, 8 * KiB), (32 * GiB, 16 * KiB))
    return next((cluster_size for limit, cluster_size in steps if size <= limit), 32 * KiB)
