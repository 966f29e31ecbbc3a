"""qcow2: headers as qemu-img writes them, tables by the specification, limits, and that extents only move."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from imgwriter import qcow2
from imgwriter.errors import CapacityError, SpecError
from imgwriter.extent import Bytes, Extent, Generated, Volume, extent
from imgwriter.qcow2 import Options
from imgwriter.qcow2_tables import Run, big_endian, consecutive, l2_places, l2_tables, runs_of, table, touched
from imgwriter.units import GiB, KiB, MiB, TiB

VECTORS = Path(__file__).parent.parent / "vectors"
HEADERS: list[dict[str, Any]] = json.loads((VECTORS / "qcow2-headers.json").read_text())
K64 = 64 * KiB


def zeros(start: int, stop: int) -> bytes:
    """Return bytes that no test looks at."""
    return bytes(stop - start)


def covered(start: int, stop: int) -> Extent:
    """Return an extent over [start, stop) that would be large."""
    return extent(start, Generated(stop - start, zeros), "covered")


def numbers(volume: Volume, offset: int, count: int) -> list[int]:
    """Return 64-bit numbers of a file."""
    return list(struct.unpack(f">{count}Q", volume.read(offset, 8 * count)))


def header(volume: Volume) -> Any:
    """Return what the header says."""
    return qcow2.HEADER.parse(volume.read(0, qcow2.HEADER_LENGTH_V2))


def refcounts(volume: Volume) -> list[int]:
    """Return the refcount of every cluster of a file. Spec: "Host cluster management"."""
    fields = header(volume)
    size = 1 << fields.cluster_bits
    per_block = size * 8 // 16
    reftable = numbers(volume, fields.refcount_table_offset, fields.refcount_table_clusters * size // 8)
    result = []
    for cluster in range(volume.size // size):
        block = reftable[cluster // per_block]
        (count,) = struct.unpack(">H", volume.read(block + cluster % per_block * 2, 2))
        result.append(count)
    return result


def test_records_have_their_specified_size() -> None:
    assert qcow2.HEADER.sizeof() == qcow2.HEADER_LENGTH_V2 == 72
    assert 72 + qcow2.HEADER_V3.sizeof() == qcow2.HEADER_LENGTH_V3 == 112
    assert qcow2.EXTENSION.sizeof() == 8
    assert qcow2.FEATURE_NAME.sizeof() == 48


@pytest.mark.parametrize("vector", HEADERS, ids=lambda v: f"{v['size']}-{v['options']}")
def test_headers_equal_those_of_qemu_img(vector: dict[str, Any]) -> None:
    given = vector["options"]
    options = Options(int(given.get("cluster_size", K64)), version=2 if given.get("compat") == "0.10" else 3)
    expected = bytes.fromhex(vector["header"])
    if given.get("compression_type") == "zstd":
        layout = qcow2.Layout(vector["size"], 1, 3 * K64, K64, 1, 1, 4 * K64)
        assert qcow2.encode_header(layout, options, qcow2.CompressionType.ZSTD).rstrip(b"\0") == expected
    else:
        volume = qcow2.encode(Volume(vector["size"], []), options)
        assert volume.read(0, options.cluster_size).rstrip(b"\0") == expected


@pytest.mark.parametrize("size", [512, 1024, K64, 1 * MiB, 2 * MiB])
def test_cluster_sizes_that_qemu_has_are_taken(size: int) -> None:
    assert 1 << Options(size).cluster_bits == size


@pytest.mark.parametrize("size", [-512, 0, 1, 256, 511, 513, 1000, 65535, 65537, 2 * MiB + 1, 4 * MiB])
def test_other_cluster_sizes_are_refused(size: int) -> None:
    message = f"^a qcow2 cluster of {size:,} bytes is not possible; use a power of two from 512 B to 2 MiB$"
    with pytest.raises(SpecError, match=message):
        Options(size)


@pytest.mark.parametrize("version", [0, 1, 4])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(SpecError, match=f"^qcow2 version {version} is unknown; use 3 or 2$"):
        Options(version=version)


@pytest.mark.parametrize(
    ("cluster_bits", "offset", "length", "entry"),
    # By hand from "Compressed Clusters Descriptor": x = 62 - (cluster_bits - 8); bits 0 to x - 1 the offset,
    # x to 61 the sectors in addition to the one that the offset is in; bit 62 of the entry is set.
    [
        (16, 0x50000, 1, 0x4000_0000_0005_0000),
        (16, 0x50000, 512, 0x4000_0000_0005_0000),
        (16, 0x50000, 513, 0x4040_0000_0005_0000),  # x = 54
        (16, 0x501FF, 1, 0x4000_0000_0005_01FF),
        (16, 0x501FF, 2, 0x4040_0000_0005_01FF),
        (16, 0x501FF, 65535, 0x6000_0000_0005_01FF),  # 128 more
        (9, 0x7FF, 511, 0x6000_0000_0000_07FF),  # x = 61
        (21, 0x1234, 2 * MiB - 1, 0x4000_0000_0000_1234 | 4096 << 49),
    ],
)
def test_compressed_entries(cluster_bits: int, offset: int, length: int, entry: int) -> None:
    assert qcow2.compressed_entry(offset, length, cluster_bits) == entry
    stored = qcow2.compressed_place(entry, cluster_bits)
    assert stored.offset == offset
    assert stored.stop % 512 == 0 and 0 <= stored.stop - (offset + length) < 512


@pytest.mark.parametrize(
    ("intervals", "runs"),
    [
        ([], []),
        ([(0, 1)], [Run(0, 1, 0)]),
        ([(3, 5), (5, 6)], [Run(3, 3, 0)]),
        ([(3, 5), (4, 5), (4, 9)], [Run(3, 6, 0)]),
        ([(3, 9), (4, 5), (10, 11)], [Run(3, 6, 0), Run(10, 1, 6)]),
        ([(0, 1), (2, 3), (7, 9)], [Run(0, 1, 0), Run(2, 1, 1), Run(7, 2, 2)]),
    ],
)
def test_runs(intervals: list[tuple[int, int]], runs: list[Run]) -> None:
    assert runs_of(intervals) == runs


@pytest.mark.parametrize(
    ("start", "length", "first", "count"),
    [(0, 1, 0, 1), (511, 1, 0, 1), (511, 2, 0, 2), (512, 1, 1, 1), (512, 512, 1, 1), (512, 513, 1, 2)],
)
def test_a_cluster_is_touched_by_any_byte(start: int, length: int, first: int, count: int) -> None:
    assert touched([covered(start, start + length)], 512) == [Run(first, count, 0)]


def test_l2_tables_are_shared_by_neighbours() -> None:
    clusters = [Run(0, 1, 0), Run(63, 2, 1), Run(66, 1, 3), Run(256, 64, 4), Run(640, 1, 68)]
    tables = l2_tables(clusters, 64)
    assert tables == [Run(0, 2, 0), Run(4, 1, 2), Run(10, 1, 3)]
    assert list(l2_places(clusters, tables, 64)) == [
        Run(0, 1, 0),
        Run(63, 2, 1),
        Run(66, 1, 3),
        Run(128, 64, 4),
        Run(192, 1, 68),
    ]


@pytest.mark.parametrize(("start", "stop"), [(0, 80), (3, 77), (8, 16), (15, 17), (24, 24), (39, 80)])
def test_any_part_of_a_table_can_be_asked_for(start: int, stop: int) -> None:
    whole = struct.pack(">10Q", 0, 100, 107, 114, 0, 0, 121, 0, 128, 135)
    made = table(10, [Run(1, 3, 0), Run(6, 1, 3), Run(8, 2, 4)], consecutive(100, 7))
    assert b"".join(bytes(piece) for piece in made.chunks(start, stop)) == whole[start:stop]


def test_tables_are_big_endian() -> None:
    entries = consecutive(0x0102030405060708, 1)(0, 2)
    assert big_endian(entries).hex() == "01020304050607080102030405060709"


@pytest.mark.parametrize(
    ("others", "reftable", "blocks"),
    # In clusters of 512 bytes a block has 256 refcounts and a cluster of the table 64 entries.
    [
        (1, 1, 1),
        (254, 1, 1),  # with both, 256: one full block
        (255, 1, 2),
        (64 * 256 - 65, 1, 64),  # one full cluster of the table
        (64 * 256 - 64, 2, 65),
    ],
)
def test_refcounts_count_themselves(others: int, reftable: int, blocks: int) -> None:
    assert qcow2.refcount_clusters(others, Options(512)) == (reftable, blocks)


@pytest.mark.parametrize("others", [1, 254, 255, 256, 16319, 16320])
@pytest.mark.parametrize("size", [512, 4096, 2 * MiB])
def test_refcounts_suffice_and_are_no_more_than_needed(others: int, size: int) -> None:
    reftable, blocks = qcow2.refcount_clusters(others, Options(size))
    assert (blocks - 1) * size < 2 * (others + reftable + blocks) <= blocks * size
    assert (reftable - 1) * size < 8 * blocks <= reftable * size


def test_order_in_the_file() -> None:
    text = Bytes(b"guest")
    volume = qcow2.encode(Volume(2 * GiB, [extent(1 * GiB + 70_000, text, "text")]), Options())
    assert [(str(e.label), e.start) for e in volume.extents] == [
        ("qcow2 header", 0),
        ("qcow2 refcount table", 1 * K64),
        ("qcow2 refcount blocks", 2 * K64),
        ("qcow2 L1 table", 3 * K64),
        ("qcow2 L2 tables", 4 * K64),
        ("text", 5 * K64 + 70_000 - K64),
    ]
    assert volume.size == 6 * K64
    # 512 MiB an entry: the table for the third has its second cluster.
    assert numbers(volume, 3 * K64, 4) == [0, 0, 1 << 63 | 4 * K64, 0]
    entries = numbers(volume, 4 * K64, 8192)
    assert entries[:3] == [0, 1 << 63 | 5 * K64, 0] and not any(entries[2:])


def test_every_cluster_of_the_file_has_refcount_1() -> None:
    for count in (250, 251, 252, 5000):
        volume = qcow2.encode(Volume(count * 512, [covered(0, count * 512)]), Options(512))
        assert refcounts(volume) == [1] * (volume.size // 512)


def test_extents_only_move() -> None:
    one, two = Bytes(b"1" * 1000), Bytes(b"2" * 300_000)
    before = [
        Extent(100, 900, one, 50, "one"),
        Extent(1000, 10, one, 0, "one, again"),  # in the same cluster
        Extent(4096, 4, two, 7, "neighbour"),
        Extent(40_000, 250_000, two, 999, "long"),
    ]
    volume = qcow2.encode(Volume(1 * MiB, before), Options(4096))
    after = [e for e in volume.extents if not str(e.label).startswith("qcow2")]
    assert [e[1:] for e in after] == [e[1:] for e in before]
    data = after[0].start - 100
    # Clusters 0 and 1, then 9: seven between are left out.
    assert [e.start - data for e in after] == [100, 1000, 4096, 40_000 - 7 * 4096]
    assert data % 4096 == 0


@pytest.mark.parametrize(("given", "size"), [(0, 0), (1, 512), (511, 512), (512, 512), (513, 1024)])
def test_a_disk_is_whole_sectors(given: int, size: int) -> None:
    # As qemu-img convert rounds it.
    volume = qcow2.encode(Volume(given, [covered(0, given)] if given else []), Options())
    fields = header(volume)
    assert (fields.size, fields.l1_size) == (size, 1 if size else 0)
    assert volume.size == (6 if size else 3) * K64


@pytest.mark.parametrize(
    ("size", "cluster_size", "entries"),
    [(512 * MiB, K64, 1), (512 * MiB + 1, K64, 2), (32 * KiB, 512, 1), (32 * KiB + 1, 512, 2)],
)
def test_an_l1_entry_is_for_so_many_bytes(size: int, cluster_size: int, entries: int) -> None:
    assert header(qcow2.encode(Volume(size, []), Options(cluster_size))).l1_size == entries


@pytest.mark.parametrize(("cluster_size", "largest"), [(512, 128 * GiB), (K64, 2048 * TiB)])
def test_l1_tables_of_up_to_32_mib(cluster_size: int, largest: int) -> None:
    # The limits that the specification names for QEMU.
    for size in (largest - 512, largest):
        assert header(qcow2.encode(Volume(size, []), Options(cluster_size))).l1_size == 4 * MiB
    message = "needs an L1 table of 33,554,440 bytes, and QEMU allows 32 MiB; use larger clusters$"
    with pytest.raises(CapacityError, match=message) as caught:
        qcow2.encode(Volume(largest + 1, []), Options(cluster_size))
    assert (caught.value.needed, caught.value.available) == (32 * MiB + 8, 32 * MiB)


def test_the_largest_clusters_have_a_limit_too() -> None:
    with pytest.raises(CapacityError, match=r"; make the disk smaller$"):
        qcow2.encode(Volume((2048 * 1024 * TiB) + 1, []), Options(2 * MiB))


def test_refcount_tables_of_up_to_8_mib() -> None:
    # 8 MiB of entries, 1 Mi blocks of 256 refcounts: 256 Mi clusters, of which are the table 16 Ki, the
    # blocks 1 Mi, the header one, the L1 table of 128 GiB 64 Ki, and of the rest one in 65 an L2 table.
    clusters = 263_192_575
    for count in (clusters - 1, clusters):
        volume = qcow2.encode(Volume(128 * GiB, [covered(0, count * 512)]), Options(512))
        assert header(volume).refcount_table_clusters == 16384
    assert volume.size == 128 * GiB
    with pytest.raises(
        CapacityError, match="needs a refcount table of 8,389,120 bytes, and QEMU allows 8 MiB"
    ):
        qcow2.encode(Volume(128 * GiB, [covered(0, clusters * 512 + 1)]), Options(512))


def test_offsets_have_56_bits() -> None:
    with pytest.raises(CapacityError, match=r"needs a file of .* and QEMU allows 65,536 TiB"):
        qcow2.encode(Volume(1 << 57, [covered(0, 1 << 56)]), Options(2 * MiB))


def test_a_vast_disk_is_few_objects() -> None:
    volume = qcow2.encode(Volume(64 * TiB, [covered(0, 10), covered(63 * TiB, 64 * TiB)]), Options())
    assert len(volume.extents) == 7
    # The last entry of the last L2 table is for the last cluster of the file.
    data = volume.extents[-1]
    assert numbers(volume, volume.extents[5].start - 8, 1) == [1 << 63 | data.end - K64]
    assert volume.read(2 * K64, 4) == b"\0\1\0\1"
