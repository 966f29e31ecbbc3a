"""The arithmetic of FAT volumes."""

from __future__ import annotations

import pytest

from imgwriter.fat.geometry import (
    FAT12,
    FAT16,
    FAT32,
    FatType,
    cluster_sizes,
    fit,
    preference,
    sectors_needed,
)
from imgwriter.units import GiB, KiB, MiB, TiB


def counted_by_a_reader(
    sectors: int, reserved: int, fat_sectors: int, root_entries: int, size: int, s: int
) -> int:
    """Return the count of clusters as the specification has it computed (3.5)."""
    root = (root_entries * 32 + size - 1) // size
    return (sectors - (reserved + 2 * fat_sectors + root)) // s


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("fat_type", [FAT12, FAT16, FAT32])
def test_a_reader_counts_the_clusters_that_were_meant(fat_type: FatType, sector_size: int) -> None:
    for cluster_size in cluster_sizes(sector_size):
        for clusters in {fat_type.minimum_clusters, 4_084, 5_000, 65_524, 65_525, 70_001, 1_000_000}:
            if not fat_type.minimum_clusters <= clusters <= fat_type.maximum_clusters:
                continue
            sectors = sectors_needed(fat_type, sector_size, cluster_size, clusters)
            per_cluster = cluster_size // sector_size
            for more in (0, 1, per_cluster - 1, per_cluster, per_cluster + 1):
                g = fit(fat_type, sector_size, cluster_size, sectors + more)
                assert g is not None
                assert g.total_sectors <= sectors + more
                assert g.clusters == counted_by_a_reader(
                    g.total_sectors,
                    g.reserved_sectors,
                    g.fat_sectors,
                    fat_type.root_entries,
                    sector_size,
                    per_cluster,
                )
                assert g.fat_sectors * sector_size * 8 >= (g.clusters + 2) * fat_type.bits
                assert g.data_start % cluster_size == 0
                assert g.reserved_sectors >= fat_type.reserved_sectors


@pytest.mark.parametrize("fat_type", [FAT12, FAT16, FAT32])
def test_fit_is_the_inverse_of_sectors_needed(fat_type: FatType) -> None:
    for clusters in range(fat_type.minimum_clusters, fat_type.minimum_clusters + 600):
        sectors = sectors_needed(fat_type, 512, 1024, clusters)
        g = fit(fat_type, 512, 1024, sectors)
        assert g is not None and g.clusters == clusters
        less = fit(fat_type, 512, 1024, sectors - 1)
        assert (
            less is None if clusters == fat_type.minimum_clusters else less and less.clusters == clusters - 1
        )


@pytest.mark.parametrize(("fat_type", "limit"), [(FAT12, 4_084), (FAT16, 65_524)])
def test_a_type_stops_at_its_greatest_count(fat_type: FatType, limit: int) -> None:
    sectors = sectors_needed(fat_type, 512, 512, limit)
    for more in (0, 1, 1000):
        g = fit(fat_type, 512, 512, sectors + more)
        assert g is not None
        assert (g.clusters, g.total_sectors, g.beyond_sectors) == (limit, sectors, more)


@pytest.mark.parametrize("sectors", [-1, 0, 1, 34])
def test_too_few_sectors_are_no_volume(sectors: int) -> None:
    assert fit(FAT12, 512, 512, sectors) is None


def test_the_smallest_volume_has_one_cluster() -> None:
    # boot sector 1, two FATs of 1, root 32, cluster 1
    g = fit(FAT12, 512, 512, 36)
    assert g is not None and g.clusters == 1


def test_two_tebibytes_fit_in_32_bits_of_sectors() -> None:
    g = fit(FAT32, 512, 32 * KiB, 2 * TiB // 512)
    assert g is not None
    assert g.total_sectors <= 0xFFFFFFFF
    assert g.clusters > 2 * TiB // (32 * KiB) - 20_000


@pytest.mark.parametrize(
    ("size", "cluster_size"),
    [
        (34 * MiB, 512),
        (96 * MiB, 1 * KiB),
        (248 * MiB, 2 * KiB),  # 4 KiB, as mkfs.fat takes, would make it a FAT16 volume in every reader's eyes
        (512 * MiB, 4 * KiB),
        (8 * GiB, 4 * KiB),
        (9 * GiB, 8 * KiB),
        (17 * GiB, 16 * KiB),
        (33 * GiB, 32 * KiB),
        (2 * TiB, 32 * KiB),
    ],
)
def test_fat32_takes_the_usual_cluster_size_unless_the_count_falls_short(
    size: int, cluster_size: int
) -> None:
    possible = [g for c in cluster_sizes(512) if (g := fit(FAT32, 512, c, size // 512))]
    assert min(possible, key=preference).cluster_size == cluster_size


@pytest.mark.parametrize(
    ("size", "cluster_size"), [(16 * MiB, 512), (33 * MiB, 1 * KiB), (2 * GiB, 32 * KiB)]
)
def test_fat16_takes_the_smallest_that_uses_the_volume(size: int, cluster_size: int) -> None:
    possible = [g for c in cluster_sizes(512) if (g := fit(FAT16, 512, c, size // 512))]
    assert min(possible, key=preference).cluster_size == cluster_size


def test_counts_near_a_limit_are_avoided() -> None:
    sectors = sectors_needed(FAT32, 512, 2048, 65_530)
    possible = [g for c in cluster_sizes(512) if (g := fit(FAT32, 512, c, sectors))]
    assert {g.cluster_size for g in possible} == {512, 1024, 2048}
    assert min(possible, key=preference).cluster_size == 1024


@pytest.mark.parametrize(("sectors", "track"), [(40_000, 32), (40_001, 1), (40_002, 2), (40_008, 8)])
def test_the_volume_is_a_whole_number_of_tracks(sectors: int, track: int) -> None:
    g = fit(FAT16, 512, 512, sectors)
    assert g is not None
    assert (g.total_sectors, g.sectors_per_track, g.heads) == (sectors, track, 64)
