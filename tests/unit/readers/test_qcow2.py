"""The qcow2 reader: what each kind of entry means, limits, and what is refused, on images made by hand."""

from __future__ import annotations

import os
import random
import re
import struct
import zlib
from array import array
from pathlib import Path

import pytest
import zstandard

from imgwriter.errors import FormatError
from imgwriter.extent import CHUNK
from imgwriter.qcow2 import CompressionType
from imgwriter.readers.clusters import Clusters, Decoder
from imgwriter.readers.hostfile import open_file
from imgwriter.zeros import BLOCK, drop_zeros
from tests.unit.readers.images import (
    COMPRESSED,
    COPIED,
    QCOW2_FIELDS,
    ZERO,
    KiB,
    MiB,
    content,
    in_file,
    offset_of,
    opened,
    put,
    qcow2,
)

C = 64 * KiB
TEXT = b"The quick brown fox jumps over the lazy dog. " * 1457
CLUSTER = TEXT[:C]


def saved(tmp_path: Path, image: bytes | bytearray) -> Path:
    path = tmp_path / "image"
    path.write_bytes(image)
    return path


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    return compressor.compress(data) + compressor.flush()


def compressed(offset: int, length: int, bits: int = 16) -> int:
    """Return a Compressed Clusters Descriptor, worked out as the specification words it."""
    x = 62 - (bits - 8)
    additional = (offset + length - 1) // 512 - offset // 512
    return COMPRESSED | additional << x | offset


def refused(
    tmp_path: Path, image: bytes | bytearray, words: str, where: str, offset: int | None = None
) -> None:
    with pytest.raises(FormatError, match=re.escape(words)) as caught:
        opened(saved(tmp_path, image))
    assert caught.value.where == where
    if offset is not None:
        assert caught.value.offset == offset


def backing(offset: int, size: int) -> dict[str, int]:
    return {"backing_file_offset": offset, "backing_file_size": size}


def test_runs_of_clusters_are_slices_of_the_file(tmp_path: Path) -> None:
    entries = {0: 4 * C | COPIED, 1: 5 * C | COPIED, 2: 6 * C, 5: 9 * C | COPIED, 6: 8 * C | COPIED}
    image = opened(saved(tmp_path, qcow2(entries, 8 * C, data={4 * C: TEXT, 8 * C: b"8", 9 * C: b"9"})))
    assert image.format == "qcow2"
    assert image.volume.size == 8 * C
    disk = content(image.volume)
    assert disk[:C] == CLUSTER
    assert disk[5 * C : 5 * C + 1] == b"9" and disk[6 * C : 6 * C + 1] == b"8"
    assert not any(disk[7 * C :])
    assert image.details == {
        "version": 3,
        "cluster_size": C,
        "compression": "zlib",
        "refcount_bits": 16,
        "extended_l2": False,
    }


def test_long_runs_are_one_extent_that_the_kernel_can_move(tmp_path: Path) -> None:
    entries = {index: (4 + index) * C | COPIED for index in range(10)} | {20: 14 * C, 21: 15 * C}
    volume = opened(saved(tmp_path, qcow2(entries, 30 * C))).volume
    assert in_file(volume) == [(0, 4 * C, 10 * C), (20 * C, 14 * C, 2 * C)]


def test_version_2_has_no_fields_after_the_72nd_byte(tmp_path: Path) -> None:
    image = qcow2({0: 4 * C | COPIED}, C, data={4 * C: CLUSTER}, version=2)
    image[72:112] = b"\xff" * 40  # version 2's header ends before
    found = opened(saved(tmp_path, image))
    assert content(found.volume) == CLUSTER
    assert (found.details["version"], found.details["refcount_bits"]) == (2, 16)


def test_header_of_104_bytes_has_no_compression_type(tmp_path: Path) -> None:
    image = qcow2({0: 4 * C | COPIED}, C, header_length=104, data={4 * C: CLUSTER})
    image[104:112] = struct.pack(">II", 0x12345678, 0)  # a header extension begins there
    assert content(opened(saved(tmp_path, image)).volume) == CLUSTER


@pytest.mark.parametrize("place", [0, 5 * C], ids=["plain", "preallocated"])
def test_zero_flag_reads_as_zeros(tmp_path: Path, place: int) -> None:
    image = qcow2({0: 4 * C | COPIED, 1: place | ZERO}, 2 * C, data={4 * C: CLUSTER, 5 * C: b"old"})
    volume = opened(saved(tmp_path, image)).volume
    assert content(volume) == CLUSTER + bytes(C)
    assert in_file(volume) == [(0, 4 * C, C)]


def test_zero_flag_is_not_version_2s(tmp_path: Path) -> None:
    image = qcow2({1: ZERO}, 2 * C, version=2)
    refused(tmp_path, image, "zero flag, which version 2 does not have", "qcow2 L2 table", 3 * C + 8)


@pytest.mark.parametrize(("compression_type", "features"), [(0, 0), (1, 8)], ids=["zlib", "zstd"])
def test_compressed_clusters_share_sectors(tmp_path: Path, compression_type: int, features: int) -> None:
    pack = zstandard.ZstdCompressor().compress if compression_type else deflated
    first, second = pack(CLUSTER), pack(CLUSTER[::-1])
    start = 4 * C + 77
    assert (start + len(first)) % 512  # so the second begins within the first's last sector
    entries = {3: compressed(start, len(first)), 4: compressed(start + len(first), len(second)), 5: 6 * C}
    image = qcow2(
        entries,
        7 * C,
        data={start: first + second, 6 * C: b"plain"},
        compression_type=compression_type,
        incompatible_features=features,
    )
    found = opened(saved(tmp_path, image))
    assert content(found.volume) == bytes(3 * C) + CLUSTER + CLUSTER[::-1] + b"plain".ljust(C, b"\0") + bytes(
        C
    )
    assert len(found.volume.extents) == 1  # compressed and plain clusters side by side are one
    assert found.details["compression"] == ("zstd" if compression_type else "zlib")
    data = found.volume.extents[0].data
    assert b"".join(data.chunks(C - 3, C + 5)) == CLUSTER[-3:] + CLUSTER[::-1][:5]


def zeros_by_fixed_codes(size: int) -> bytes:
    """Return a deflate stream of zeros as poor as matches can make it."""
    compressor = zlib.compressobj(wbits=-12, strategy=zlib.Z_FIXED)
    return compressor.compress(bytes(size)) + compressor.flush()


@pytest.mark.parametrize("bits", [12, 16, 21])
def test_compressed_zeros_are_dropped_and_nothing_else(tmp_path: Path, bits: int) -> None:
    size = 1 << bits
    text = random.Random(bits).randbytes(size // 2) + bytes(size // 2)
    packed = [
        zeros_by_fixed_codes(size),
        deflated(text),
        deflated(bytes(size)),
        deflated(bytes(size - 1) + b"x"),
    ]
    places, data, at = {}, {}, 8 * size + 500
    for index, stream in enumerate(packed):
        places[index] = compressed(at, len(stream), bits)
        data[at] = stream
        at += len(stream)
    image = qcow2(places, 4 * size, data=data, cluster_bits=bits)
    found = drop_zeros(opened(saved(tmp_path, image)).volume, max(size, BLOCK))
    assert content(found) == bytes(size) + text + bytes(2 * size - 1) + b"x"
    if size >= BLOCK:
        assert [(e.start, e.end) for e in found.extents] == [(size, 2 * size), (3 * size, 4 * size)]


def test_what_is_too_long_for_zeros_is_not_read_to_be_dropped(tmp_path: Path) -> None:
    damaged = b"\xff" * 3000
    image = qcow2({1: compressed(5 * C, len(damaged))}, 2 * C, data={5 * C: damaged})
    found = drop_zeros(opened(saved(tmp_path, image)).volume)
    assert [(e.start, e.end) for e in found.extents] == [(C, 2 * C)]
    with pytest.raises(FormatError, match="does not give 65,536 bytes"):
        content(found)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 2, 0), (2, 1, 0)])
def test_compressed_clusters_of_one_sector_in_any_order(tmp_path: Path, order: tuple[int, ...]) -> None:
    packed = [deflated(bytes([n]) * C) for n in range(1, 4)]
    assert sum(map(len, packed)) < 512
    entries: dict[int, int] = {3: 4 * C}
    data: dict[int, bytes] = {4 * C: b"plain"}
    at = 5 * C  # right behind the plain cluster
    for n in order:
        entries[n] = compressed(at, len(packed[n]))
        data[at] = packed[n]
        at += len(packed[n])
    disk = content(opened(saved(tmp_path, qcow2(entries, 4 * C, data=data))).volume)
    assert disk == b"".join(bytes([n]) * C for n in range(1, 4)) + b"plain".ljust(C, b"\0")


def test_compressed_data_may_end_with_the_file(tmp_path: Path) -> None:
    packed = deflated(CLUSTER)
    image = qcow2({0: compressed(5 * C, len(packed))}, C, clusters=5, data={5 * C: packed})
    assert len(image) == 5 * C + len(packed) and len(packed) % 512
    assert content(opened(saved(tmp_path, image)).volume) == CLUSTER
    volume = opened(saved(tmp_path, image[:-1])).volume
    with pytest.raises(FormatError, match="does not give") as caught:
        content(volume)
    assert caught.value.offset == 5 * C


def test_group_of_compressed_clusters_is_bounded(tmp_path: Path) -> None:
    packed = deflated(bytes(C))
    count = 2 * CHUNK // C + 1
    places = range(4 * C, 4 * C + count * 512, 512)
    image = qcow2(
        {index: compressed(place, len(packed)) for index, place in enumerate(places)},
        count * C,
        data=dict.fromkeys(places, packed),
    )
    volume = opened(saved(tmp_path, image)).volume
    assert [e.length for e in volume.extents] == [CHUNK, CHUNK, C]
    assert all(isinstance(e.data, Clusters) for e in volume.extents)
    assert not any(content(volume))


@pytest.mark.parametrize(
    "packed", [b"\xff" * 100, deflated(CLUSTER[:-1]), b""], ids=["no deflate", "a byte too few", "zeros"]
)
def test_damaged_compressed_cluster(tmp_path: Path, packed: bytes) -> None:
    image = qcow2({0: compressed(4 * C, len(packed) or 512)}, C, data={4 * C: packed})
    volume = opened(saved(tmp_path, image)).volume
    with pytest.raises(FormatError, match="compressed cluster at 262,144") as caught:
        content(volume)
    assert (caught.value.where, caught.value.offset) == ("qcow2 compressed cluster", 4 * C)


def test_zstd_frame_that_promises_an_exbibyte_allocates_none(tmp_path: Path) -> None:
    # RFC 8878, 3.1.1.1: a frame header with an eight-byte content size, then one raw block of 3 bytes.
    frame = struct.pack("<IBBQ", 0xFD2FB528, 0xC0, 0x58, 1 << 60) + b"\x19\0\0abc"
    image = qcow2(
        {0: compressed(4 * C, len(frame))},
        C,
        data={4 * C: frame},
        compression_type=1,
        incompatible_features=8,
    )
    with pytest.raises(FormatError, match="compressed cluster at"):
        content(opened(saved(tmp_path, image)).volume)


def test_deflate_bomb_gives_one_cluster(tmp_path: Path) -> None:
    packed = deflated(bytes(8 * MiB))
    image = qcow2({0: compressed(4 * C, len(packed))}, C, data={4 * C: packed})
    assert content(opened(saved(tmp_path, image)).volume) == bytes(C)  # decompression stops there


def test_scattered_clusters_at_the_end_of_the_file(tmp_path: Path) -> None:
    """What the file does not have any more is zero, also where the buffer held something before."""
    file = open_file(bytes(saved(tmp_path, b"-" * C + b"x" * C + b"y" * 512)))
    entries = array("Q", [C] * (CHUNK // C) + [2 * C])
    data = Clusters(Decoder(file, 16, CompressionType.ZLIB), entries, CHUNK + C)
    assert [bytes(piece) for piece in data.chunks(0, CHUNK + C)] == [
        b"x" * CHUNK,
        b"y" * 512 + bytes(C - 512),
    ]
    assert b"".join(data.chunks(C - 1, C + 1)) == b"xx"


def test_extended_entries(tmp_path: Path) -> None:
    sub = C // 32
    entries = {
        0: (4 * C | COPIED, 0b1011),  # parts 0, 1 and 3
        1: (5 * C | COPIED, (1 << 32) - 1),  # all
        2: (6 * C | COPIED, 1 << 31 | 1 << 32),  # the last; the first is said to be zero
        3: (0, 0xFFFFFFFF << 32),  # zeros without a place
        4: (7 * C | COPIED, 0),  # a place, and nothing in it
    }
    data = {n * C: bytes([n]) * C for n in range(4, 8)}
    found = opened(saved(tmp_path, qcow2(entries, 6 * C, data=data)))
    assert found.details["extended_l2"] is True
    assert in_file(found.volume) == [
        (0, 4 * C, 2 * sub),
        (3 * sub, 4 * C + 3 * sub, sub),
        (C, 5 * C, C),
        (3 * C - sub, 7 * C - sub, sub),
    ]


def test_extended_image_with_compressed_cluster(tmp_path: Path) -> None:
    packed = deflated(CLUSTER)
    image = qcow2({1: (compressed(4 * C, len(packed)), 0)}, 2 * C, data={4 * C: packed})
    assert content(opened(saved(tmp_path, image)).volume) == bytes(C) + CLUSTER


@pytest.mark.parametrize(
    "entry", [(4 * C, 1 | 1 << 32), (0, 1)], ids=["allocated and zero", "allocated without a place"]
)
def test_impossible_subclusters(tmp_path: Path, entry: tuple[int, int]) -> None:
    refused(tmp_path, qcow2({1: entry}, 2 * C), "subclusters of two kinds", "qcow2 L2 table", 3 * C + 16)


@pytest.mark.parametrize("bits", [9, 12, 16, 21])
def test_disk_ends_within_a_cluster_and_a_table(tmp_path: Path, bits: int) -> None:
    cluster = 1 << bits
    size = 5 * cluster - 512 if bits > 9 else 5 * cluster
    # The entry behind the disk's end would be damaged; it is not looked at.
    image = qcow2({4: 4 * cluster | COPIED, 5: 1 << 40}, size, cluster_bits=bits, clusters=6)
    image[4 * cluster : 5 * cluster] = b"x" * cluster
    assert content(opened(saved(tmp_path, image)).volume) == (bytes(4 * cluster) + b"x" * cluster)[:size]


def test_several_tables(tmp_path: Path) -> None:
    # 512-byte clusters: a table has 64 entries, 32 KiB of the disk.
    image = qcow2({63: 8 * 512}, 3 * 32 * KiB, cluster_bits=9, clusters=16, l1_size=3)
    put(image, 2 * 512 + 16, ">Q", 5 * 512 | COPIED)
    put(image, 5 * 512, ">Q", 9 * 512 | COPIED)
    image[8 * 512 : 10 * 512] = b"a" * 512 + b"b" * 512
    volume = opened(saved(tmp_path, image)).volume
    assert in_file(volume) == [(63 * 512, 8 * 512, 512), (64 * KiB, 9 * 512, 512)]


def test_empty_disk_and_one_sector(tmp_path: Path) -> None:
    assert opened(saved(tmp_path, qcow2({}, 0, l1_size=0))).volume.size == 0
    assert content(opened(saved(tmp_path, qcow2({}, 512))).volume) == bytes(512)


@pytest.mark.parametrize("missing", [1, C - 1])
def test_the_last_cluster_may_end_with_the_file(tmp_path: Path, missing: int) -> None:
    image = qcow2({0: 4 * C | COPIED}, C, clusters=5)
    image[4 * C :] = b"x" * C
    volume = opened(saved(tmp_path, image[:-missing])).volume
    assert content(volume) == b"x" * (C - missing) + bytes(missing)


def test_a_cluster_beyond_the_file(tmp_path: Path) -> None:
    image = qcow2({0: 4 * C | COPIED}, C, clusters=4)
    refused(tmp_path, image, "cluster at 262,144, which is not a place", "qcow2 L2 table", 3 * C)
    image = qcow2({0: 4 * C, 1: 5 * C}, 2 * C, clusters=5)  # the second of a run
    refused(tmp_path, image, "cluster at 327,680, which is not a place", "qcow2 L2 table", 3 * C)
    image = qcow2({0: compressed(4 * C, 100)}, C, clusters=4)
    refused(tmp_path, image, "compressed cluster at 262,144", "qcow2 L2 table", 3 * C)


@pytest.mark.parametrize("entry", [4 * C + 512, 4 * C + 512 | ZERO])
def test_a_cluster_that_is_not_aligned(tmp_path: Path, entry: int) -> None:
    refused(tmp_path, qcow2({2: entry}, 4 * C), "cluster at 262,656", "qcow2 L2 table", 3 * C + 16)


@pytest.mark.parametrize(
    "entries",
    [
        {0: 4 * C, 7: 4 * C},
        {0: 4 * C, 1: 5 * C, 2: 5 * C},
        {0: 0 | COPIED, 1: 1 * C},
        {0: 2 * C},
        {0: 3 * C},
        {0: compressed(4 * C, 100), 1: compressed(4 * C, 100)},
        {0: compressed(4 * C, 1000), 1: compressed(4 * C + 100, 100)},
        {0: 4 * C, 1: compressed(4 * C + 100, 100)},
        {0: compressed(100, 100)},
    ],
    ids=[
        "cluster", "overlapping runs", "refcount table", "L1 table", "L2 table", "compressed",
        "compressed within", "plain and compressed", "header",
    ],
)  # fmt: skip
def test_nothing_is_used_twice(tmp_path: Path, entries: dict[int, int]) -> None:
    refused(tmp_path, qcow2(entries, 8 * C), "of the file twice", "qcow2 L2 table")


def test_an_l2_table_used_twice(tmp_path: Path) -> None:
    image = qcow2({}, 1024 * MiB, l1_size=2)
    put(image, 2 * C + 8, ">Q", 3 * C)
    refused(tmp_path, image, "of the file twice", "qcow2 L1 table", 3 * C)


@pytest.mark.parametrize("place", [3 * C + 512, 16 * C, 1 << 55], ids=["unaligned", "at the end", "beyond"])
def test_an_l2_table_outside(tmp_path: Path, place: int) -> None:
    image = qcow2({}, C)
    put(image, 2 * C, ">Q", place)
    refused(tmp_path, image, f"has the L2 table at {place:,}", "qcow2 L1 table", 2 * C)


@pytest.mark.parametrize(
    ("words", "field", "fields"),
    [
        ("a backing file (base\\xff.img)", "backing_file_offset", backing(512, 9)),
        ("a backing file ()", "backing_file_offset", backing(1 << 60, 9)),
        ("a backing file ()", "backing_file_offset", backing(512, 1 << 31)),
        ("has encryption (AES)", "crypt_method", {"crypt_method": 1}),
        ("has encryption (LUKS)", "crypt_method", {"crypt_method": 2}),
        ("has encryption (method 7)", "crypt_method", {"crypt_method": 7}),
        ("has 1 internal snapshot;", "nb_snapshots", {"nb_snapshots": 1}),
        ("has 2 internal snapshots;", "nb_snapshots", {"nb_snapshots": 2}),
        ("is marked dirty", "incompatible_features", {"incompatible_features": 1}),
        ("is marked corrupt", "incompatible_features", {"incompatible_features": 2}),
        ("external data file", "incompatible_features", {"incompatible_features": 4}),
        ("not known here: bit 5, bit 63", "incompatible_features", {"incompatible_features": 1 << 63 | 32}),
        ("has version 1;", "version", {"version": 1}),
        ("has version 4;", "version", {"version": 4}),
        ("has cluster_bits 8,", "cluster_bits", {"cluster_bits": 8}),
        ("has cluster_bits 22,", "cluster_bits", {"cluster_bits": 22}),
        ("has cluster_bits 4294967295,", "cluster_bits", {"cluster_bits": 0xFFFFFFFF}),
        ("has refcount_order 7,", "refcount_order", {"refcount_order": 7}),
        ("has header_length 96;", "header_length", {"header_length": 96}),
        ("has header_length 105;", "header_length", {"header_length": 105}),
        ("has header_length 4,294,967,288;", "header_length", {"header_length": 0xFFFFFFF8}),
        ("compression_type 1 with feature bit 0", "compression_type", {"compression_type": 1}),
        ("compression_type 0 with feature bit 1", "compression_type", {"incompatible_features": 8}),
        ("type 2, not 0 or 1", "compression_type", {"compression_type": 2, "incompatible_features": 8}),
        ("l1_size 0; a disk of 536,870,912 bytes needs 1,", "l1_size", {"l1_size": 0}),
        ("l1_size 4,194,305;", "l1_size", {"l1_size": (4 << 20) + 1}),
        ("needs 34,359,738,368,", "l1_size", {"size": (1 << 64) - 1}),
        ("l1_table_offset 131,584 ", "l1_table_offset", {"l1_table_offset": 2 * C + 512}),
        ("l1_table_offset 0 ", "l1_table_offset", {"l1_table_offset": 0}),
        ("l1_table_offset 1,048,576 ", "l1_table_offset", {"l1_table_offset": 16 * C}),
        ("for 1,048,576 bytes, which is not", "l1_table_offset", {"l1_size": 128 << 10}),
        ("refcount_table_offset 66,048 ", "refcount_table_offset", {"refcount_table_offset": C + 512}),
        ("refcount_table_offset 1,048,576 ", "refcount_table_offset", {"refcount_table_offset": 16 * C}),
        ("refcount table of 0 clusters", "refcount_table_clusters", {"refcount_table_clusters": 0}),
        ("refcount table of 129 clusters", "refcount_table_clusters", {"refcount_table_clusters": 129}),
    ],
)  # fmt: skip
def test_refused_by_name(tmp_path: Path, words: str, field: str, fields: dict[str, int]) -> None:
    image = qcow2({}, 512 * MiB, data={512: b"base\xff.img"})
    for name, value in fields.items():
        put(image, offset_of(QCOW2_FIELDS, name), f">{QCOW2_FIELDS[name]}", value)
    refused(tmp_path, image, words, "qcow2 header", offset_of(QCOW2_FIELDS, field))


def test_the_limits_themselves_are_read(tmp_path: Path) -> None:
    # A disk of exactly what one L2 table maps, and of a byte more.
    assert opened(saved(tmp_path, qcow2({}, 512 * MiB))).volume.size == 512 * MiB
    refused(tmp_path, qcow2({}, 512 * MiB + 1), "needs 2,", "qcow2 header", 36)
    assert opened(saved(tmp_path, qcow2({}, C, refcount_order=6))).details["refcount_bits"] == 64
    path = saved(tmp_path, qcow2({}, C, l1_size=4 << 20, l1_table_offset=0x1000 * C, clusters=16))
    os.truncate(path, 0x1000 * C + (32 << 20))
    assert opened(path).volume.size == C
    path = saved(tmp_path, qcow2({}, C, refcount_table_clusters=128, refcount_table_offset=0x1000 * C))
    os.truncate(path, 0x1000 * C + (8 << 20))
    assert opened(path).volume.size == C


def test_unknown_features_have_the_names_that_the_image_gives_them(tmp_path: Path) -> None:
    table = b"".join(
        struct.pack(">BB46s", *entry)
        for entry in [
            (0, 9, b"time travel"),
            (1, 10, b"compatible"),
            (0, 11, b"n" * 46),
            (0, 0, b"dirty bit"),
        ]
    )
    image = qcow2({}, C, incompatible_features=0b1110 << 8)
    put(image, 112, ">II5s", 0x7E57, 5, b"other")
    put(image, 128, f">II{len(table)}s", 0x6803F857, len(table), table)
    refused(tmp_path, image, f"time travel, bit 10, {'n' * 46};", "qcow2 header", 72)


@pytest.mark.parametrize("extension", [(0x6803F857, 0xFFFFFFFF), (0x7E57, 0xFFFFFFFF), (0x6803F857, 47)])
def test_damaged_feature_name_table(tmp_path: Path, extension: tuple[int, int]) -> None:
    image = qcow2({}, C, incompatible_features=1 << 9)
    put(image, 112, ">II", *extension)
    refused(tmp_path, image, "not known here: ", "qcow2 header", 72)


def test_extended_entries_need_large_clusters(tmp_path: Path) -> None:
    assert (
        opened(saved(tmp_path, qcow2({}, 512, cluster_bits=14, incompatible_features=16))).volume.size == 512
    )
    image = qcow2({}, 512, cluster_bits=13, incompatible_features=16)
    refused(tmp_path, image, "extended L2 entries with cluster_bits 13", "qcow2 header", 20)


CUT_OFF = "the image is cut off: get the whole of the file"
REPAIR = "the image is damaged: repair it (qemu-img check -r all), or get it anew"


def with_refcount(order: int, cluster: int, refcount: int, *, block: int = 5 * C) -> bytearray:
    """Return an image of 6 clusters: its refcount block is 5, and has one refcount.

    Spec: "Refcount block": those of less than 8 bits begin in the lowest bits of a byte.
    """
    bits = 1 << order
    image = qcow2({}, 64 * C, clusters=6, refcount_order=order)
    put(image, C, ">Q", block)
    if bits >= 8:
        put(image, 5 * C + cluster * bits // 8, {8: ">B", 16: ">H", 32: ">I", 64: ">Q"}[bits], refcount)
    else:
        put(image, 5 * C + cluster * bits // 8, ">B", refcount << cluster * bits % 8)
    return image


@pytest.mark.parametrize("order", range(7))
@pytest.mark.parametrize("cluster", [6, 7, 9])
def test_what_has_a_refcount_behind_the_end_is_cut_off(order: int, cluster: int, tmp_path: Path) -> None:
    words = f"cluster at {cluster * C:,}, which is not a place for one in the file's {6 * C:,} bytes; "
    for refcount, remedy in ((0, REPAIR), (1, CUT_OFF)):
        image = with_refcount(order, cluster, refcount)
        for entry in (cluster * C | COPIED, compressed(cluster * C, 100)):
            put(image, 3 * C, ">Q", entry)
            refused(tmp_path, image, words + remedy, "qcow2 L2 table", 3 * C)
        put(image, 2 * C, ">Q", cluster * C | COPIED)
        table = f"at {cluster * C:,}, which is not a cluster of the file's {6 * C:,} bytes; "
        refused(tmp_path, image, table + remedy, "qcow2 L1 table", 2 * C)
        # The refcounts of its neighbours are not its own.
        put(image, 2 * C, ">Q", 3 * C)
        for other in (cluster - 1, cluster + 1):
            if other > 5:
                put(image, 3 * C, ">Q", other * C | COPIED)
                refused(tmp_path, image, REPAIR, "qcow2 L2 table", 3 * C)


@pytest.mark.parametrize(
    ("block", "cluster", "remedy"),
    [
        (0, 6, REPAIR),
        (5 * C + 512, 6, REPAIR),
        (6 * C, 6, CUT_OFF),
        (5 * C, 8191 * (C // 2), REPAIR),  # the last entry of the table
        (5 * C, 8192 * (C // 2), REPAIR),  # behind the table
    ],
)
def test_a_refcount_block_that_is_not_there(block: int, cluster: int, remedy: str, tmp_path: Path) -> None:
    image = with_refcount(4, 6, 1, block=block)
    put(image, 3 * C, ">Q", cluster * C | COPIED)
    refused(tmp_path, image, remedy, "qcow2 L2 table", 3 * C)


def test_a_place_that_is_none_is_damaged_also_where_it_has_a_refcount(tmp_path: Path) -> None:
    image = with_refcount(4, 4, 1)
    put(image, 3 * C, ">Q", 4 * C + 512 | COPIED)
    refused(tmp_path, image, REPAIR, "qcow2 L2 table", 3 * C)


def test_a_compressed_cluster_that_is_cut_off(tmp_path: Path) -> None:
    packed = deflated(bytes(range(256)) * (C // 256))
    image = qcow2({0: compressed(4 * C, len(packed))}, C, data={4 * C: packed}, clusters=4)
    for piece, remedy in (
        (image[: 4 * C + 10], CUT_OFF),
        (image + bytes(C), None),
        (image[: 4 * C + 10] + bytes(C), "the image is damaged: get it anew"),
    ):
        volume = opened(saved(tmp_path, piece)).volume
        if remedy is None:
            assert content(volume) == bytes(range(256)) * (C // 256)
        else:
            with pytest.raises(FormatError, match=re.escape(remedy)):
                content(volume)


@pytest.mark.parametrize("length", [4, 71, 72, 103])
def test_a_header_that_is_cut_off(length: int, tmp_path: Path) -> None:
    words = f"the qcow2 ends with the file, after {length} bytes; {CUT_OFF}"
    refused(tmp_path, qcow2({}, C)[:length], words, "qcow2 header", 0)


@pytest.mark.parametrize("length", [4, 8, 71, 72, 103, 104, 111, 112, C, 2 * C, 3 * C - 1, 4 * C - 1])
def test_cut_off(tmp_path: Path, length: int) -> None:
    image = qcow2({0: 4 * C}, 8192 * C)
    path = saved(tmp_path, image[:length])
    with pytest.raises(FormatError):
        opened(path)


def test_many_tables_in_a_hole_are_not_read(tmp_path: Path) -> None:
    """A sparse file of 256 GiB whose L1 table has 131,072 empty L2 tables of 2 MiB."""
    cluster = 2 * MiB
    count = 1 << 17
    image = qcow2({}, count * 512 << 30, cluster_bits=21, clusters=4, l1_size=count)
    put(image, 2 * cluster, f">{count}Q", *range(4 * cluster, (4 + count) * cluster, cluster))
    path = saved(tmp_path, image)
    os.truncate(path, (4 + count) * cluster)
    assert opened(path).volume.extents == []


def test_pinned_to_another_format(tmp_path: Path) -> None:
    path = saved(tmp_path, b"QFJ" + bytes(1000))
    with pytest.raises(FormatError, match="has no qcow2 header: it begins 51 46 4a 00;"):
        opened(path, "qcow2")
