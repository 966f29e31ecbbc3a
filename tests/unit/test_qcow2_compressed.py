"""qcow2_compressed: jobs, what becomes of a cluster, the packing, and the tables over it."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import zstandard

from imgwriter import qcow2
from imgwriter.compression import codec
from imgwriter.deferred import Deferred
from imgwriter.errors import CapacityError, PlanInvariantError, SpecError
from imgwriter.extent import Buffer, Bytes, Extent, Volume, extent
from imgwriter.filedata import Amount, Part, pack, part
from imgwriter.qcow2 import OFLAG_COPIED, Options, compressed_entry
from imgwriter.qcow2_compressed import check_reach, plan
from imgwriter.units import GiB, KiB, MiB, TiB, div_ceil
from tests.unit.test_qcow2 import K64, covered, header, numbers, refcounts

NOISE = random.Random(2).randbytes(4 * MiB)
TEXT = b"".join(b"%d is a line of some text\n" % n for n in range(200_000))[: 4 * MiB]


def assemble(deferred: Deferred) -> bytes:
    """Return the file that the jobs become, made and placed one after the other."""
    place = deferred.placer()
    pieces: list[tuple[int, bytes]] = []
    lengths: list[Sequence[int]] = []
    offsets: list[Sequence[int]] = []
    for job in range(deferred.count):
        made = deferred.make(job)
        lengths.append(made.lengths)
        offsets.append(place(made.lengths))
        stored = [(offset, size) for offset, size in zip(offsets[-1], made.lengths, strict=True) if size]
        for (offset, size), buffer in zip(stored, made.buffers, strict=True):
            assert len(buffer) == size
            pieces.append((offset, bytes(buffer)))
    rest = deferred.finish(lengths, offsets)
    result = bytearray(rest.read(0, rest.size))
    for offset, piece in pieces:
        assert not any(result[offset : offset + len(piece)]), "two things are in one place"
        result[offset : offset + len(piece)] = piece
    assert len(result) == rest.size
    return bytes(result)


def as_volume(content: bytes) -> Volume:
    return Volume(len(content), [extent(0, Bytes(content), "file")])


def ready(volume: Volume, cluster_size: int = K64, name: str | None = "zlib", version: int = 3) -> Deferred:
    return plan(volume, Options(cluster_size, version), codec(name) if name else None)


def weights(deferred: Deferred) -> list[Amount]:
    return [deferred.weight(job) for job in range(deferred.count)]


class Counted:
    """Bytes that remember how much of them was asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked = 0

    def __len__(self) -> int:
        return len(self.content)

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        self.asked += stop - start
        yield self.content[start:stop]


def test_a_cluster_becomes_nothing_or_shorter_or_stays() -> None:
    disk = Volume(
        1 * MiB,
        [
            extent(0, Bytes(bytes(K64)), "zeros"),
            extent(K64, Bytes(TEXT[:K64]), "text"),
            extent(2 * K64, Bytes(NOISE[:K64]), "noise"),
            extent(5 * K64 + 100, Bytes(b"few"), "few"),
        ],
    )
    made = ready(disk).make(0)
    text, noise, few = made.buffers
    assert list(made.lengths) == [0, len(text), K64, len(few)]
    assert zlib.decompress(text, -12) == TEXT[:K64]
    assert noise == NOISE[:K64]
    assert zlib.decompress(few, -12) == bytes(100) + b"few" + bytes(K64 - 103)


def test_the_last_cluster_is_filled_up_with_zeros() -> None:
    made = ready(Volume(K64 + 512, [extent(K64, Bytes(NOISE[:512]), "end")])).make(0)
    assert zlib.decompress(made.buffers[0], -12) == NOISE[:512] + bytes(K64 - 512)


def test_without_a_codec_clusters_are_left_out_or_stay() -> None:
    disk = Volume(
        4 * K64, [extent(0, Bytes(bytes(K64)), "zeros"), extent(K64, Bytes(TEXT[: K64 + 1]), "text")]
    )
    made = ready(disk, name=None).make(0)
    assert list(made.lengths) == [0, K64, K64]
    assert [bytes(b) for b in made.buffers] == [TEXT[:K64], TEXT[K64 : K64 + 1].ljust(K64, b"\0")]


@pytest.mark.parametrize("name", ["zlib", None])
def test_nothing_of_a_job_is_left_for_the_next(name: str | None) -> None:
    pieces = [extent(2 * MiB + n * 100_000 + 7, Bytes(TEXT[n : n + 1000]), n) for n in range(20)]
    disk = Volume(5 * MiB, [extent(0, Bytes(NOISE[: 2 * MiB]), "noise"), *pieces])
    for jobs in ((0, 1, 0), (1, 0, 1)):
        deferred = ready(disk, name=name)
        made = [[bytes(b) for b in deferred.make(job).buffers] for job in jobs]
        assert made == [[bytes(b) for b in ready(disk, name=name).make(job).buffers] for job in jobs]


@pytest.mark.parametrize("name", ["zlib", None])
def test_what_is_no_view_of_a_job_survives_the_next(name: str | None) -> None:
    """A view does not: it is of the buffer that every job is read into."""
    disk = Volume(8 * MiB, [extent(0, Bytes(NOISE), "a"), extent(4 * MiB, Bytes(TEXT), "b")])
    deferred = ready(disk, name=name)
    first = deferred.make(0)
    before = [bytes(b) for b in first.buffers]
    deferred.make(2)
    for buffer, was in zip(first.buffers, before, strict=True):
        assert isinstance(buffer, memoryview) or buffer == was


@pytest.mark.parametrize("cluster_size", [512, 4096, K64, 2 * MiB])
def test_jobs_are_2_mib_of_what_is_touched(cluster_size: int) -> None:
    disk = Volume(
        1 * GiB,
        [
            covered(0, 5 * MiB + 1),
            # Four in 2 MiB where clusters are small; 1 MiB apart, so two in a cluster of 2 MiB.
            *(covered(n * MiB, n * MiB + 512 * KiB) for n in range(100, 108)),
        ],
    )
    sizes = [weight.bytes for weight in weights(ready(disk, cluster_size))]
    assert sum(sizes) == 9 * MiB + 1
    whole = 2 * MiB
    if cluster_size == whole:
        assert sizes == [whole, whole, MiB + 1, *[MiB] * 4]
    else:
        # 1 MiB and a cluster begin the third job, and the first of the eight still fits in.
        assert sizes == [whole, whole, MiB + 512 * KiB + 1, whole, 3 * 512 * KiB]


def test_extents_in_one_cluster_are_one_job() -> None:
    # The third would be too much, but it begins in the second's cluster. Then the next 2 MiB are another job.
    pieces = [(0, MiB), (2 * MiB, 2 * MiB + 100), (2 * MiB + 200, 4 * MiB), (4 * MiB, 4 * MiB + 1)]
    disk = Volume(5 * MiB, [covered(low, high) for low, high in pieces])
    deferred = ready(disk, 4096)
    assert [weight.bytes for weight in weights(deferred)] == [3 * MiB - 100, 1]
    assert [len(deferred.make(job).lengths) for job in (0, 1)] == [768, 1]


def test_files_of_a_pack_are_read_once() -> None:
    files = [Counted(TEXT[n * 1000 : n * 1000 + 30_000]) for n in range(120)]
    parts: list[Part] = [part(n * 32768, data, n) for n, data in enumerate(files)]
    disk = Volume(4 * MiB, pack(parts, 4096))
    assert len(disk.extents) == 1
    deferred = ready(disk, 4096)
    assert deferred.count == 2
    content = assemble(deferred)
    assert [data.asked for data in files] == [len(data) for data in files]
    assert guest(content) == disk.read(0, 4 * MiB)


def test_weights_count_bytes_and_files() -> None:
    disk = Volume(8 * MiB, [extent(0, Bytes(NOISE), "no file")])
    assert weights(ready(disk)) == [Amount(2 * MiB, 0), Amount(2 * MiB, 0)]


# Clusters of 64 KiB; header, L1, one L2 table: data begins at cluster 3.
@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([[0, 0]], [[0, 0]]),
        ([[100, 200], [300]], [[3 * K64, 3 * K64 + 100], [3 * K64 + 300]]),
        # The next cluster is free, so one reaches into it.
        ([[60_000, 60_000, 10]], [[3 * K64, 3 * K64 + 60_000, 3 * K64 + 120_000]]),
        # Exactly to the end; the next begins a cluster.
        ([[60_000, 5536, 7]], [[3 * K64, 3 * K64 + 60_000, 4 * K64]]),
        # One plain cluster before: what is left is filled as long as something fits.
        (
            [[100, K64], [200, 65_236, 1], [65_000], [534, 2]],
            [
                [3 * K64, 4 * K64],
                [3 * K64 + 100, 3 * K64 + 300, 5 * K64],
                [5 * K64 + 1],
                [5 * K64 + 65_001, 5 * K64 + 65_535],
            ],
        ),
        # Not contiguous: it cannot reach into the next one, what is left stays empty.
        ([[60_000, K64], [6000, 10]], [[3 * K64, 4 * K64], [5 * K64, 5 * K64 + 6000]]),
        # Within a job the compressed ones come first.
        ([[K64, 60_000, 0, K64, 6000]], [[5 * K64, 3 * K64, 0, 6 * K64, 3 * K64 + 60_000]]),
    ],
)
def test_packing(jobs: list[list[int]], expected: list[list[int]]) -> None:
    deferred = ready(Volume(64 * MiB, [covered(0, 64 * MiB)]))
    place = deferred.placer()
    assert [[o if n else 0 for o, n in zip(place(job), job, strict=True)] for job in jobs] == expected
    again = deferred.placer()
    assert again([1]) == [3 * K64], "a new placer begins anew"


def test_tables_over_what_was_placed() -> None:
    """Two L2 tables, the second for clusters that all turned out zero; refcounts are counted by hand."""
    disk = Volume(1 * GiB, [covered(0, 6 * K64), covered(600 * MiB, 600 * MiB + K64)])
    deferred = ready(disk)
    data = 4 * K64
    lengths = [[60_000, 60_000, K64, 0, 10, 20, 0]]
    offsets = [[data, data + 60_000, data + 2 * K64, 0, data + 120_000, data + 131_060, 0]]
    volume = deferred.finish(lengths, offsets)
    assert [(str(e.label), e.start) for e in volume.extents] == [
        ("qcow2 header", 0),
        ("qcow2 L1 table", 1 * K64),
        ("qcow2 L2 tables", 2 * K64),
        ("qcow2 refcount table", 7 * K64),
        ("qcow2 refcount blocks", 8 * K64),
    ]
    assert volume.size == 9 * K64
    assert numbers(volume, K64, 2) == [OFLAG_COPIED | 2 * K64, OFLAG_COPIED | 3 * K64]
    assert numbers(volume, 2 * K64, 7) == [
        compressed_entry(data, 60_000, 16),
        compressed_entry(data + 60_000, 60_000, 16),
        OFLAG_COPIED | data + 2 * K64,
        0,
        compressed_entry(data + 120_000, 10, 16),
        compressed_entry(data + 131_060, 20, 16),  # into the plain cluster's place; nobody asks
        0,
    ]
    assert not any(numbers(volume, 3 * K64, 8192))
    assert refcounts(volume) == [1, 1, 1, 1, 2, 3, 2, 1, 1]
    fields = header(volume)
    assert (fields.size, fields.l1_size, fields.l1_table_offset) == (1 * GiB, 2, K64)
    assert (fields.refcount_table_offset, fields.refcount_table_clusters) == (7 * K64, 1)


def test_refcounts_have_16_bits() -> None:
    deferred = ready(Volume(4 * MiB, [covered(0, 4 * MiB)]), 2 * MiB)
    data = 6 * MiB
    lengths, offsets = [[1] * 65535], [[data] * 65535]
    assert refcounts(deferred.finish(lengths, offsets))[3] == 65535
    with pytest.raises(PlanInvariantError, match="more than 65,535 guest clusters in one of the file"):
        deferred.finish([[1] * 65536], [[data] * 65536])


def inflate(stream: bytes, size: int) -> bytes:
    """Return a cluster from a deflate stream with whatever follows it, with QEMU's window."""
    return zlib.decompressobj(-12).decompress(stream, size)


def unzstd(stream: bytes, size: int) -> bytes:
    """Return a cluster from a zstd frame with whatever follows it."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(stream)[:size]


def guest(content: bytes) -> bytes:
    """Return the guest disk of a file, read by the specification."""
    file = as_volume(content)
    fields: Any = header(file)
    size = 1 << fields.cluster_bits
    decompress = unzstd if fields.version == 3 and content[104] else inflate
    disk = bytearray()
    for l1_entry in numbers(file, fields.l1_table_offset, fields.l1_size):
        table = l1_entry & qcow2.L1E_OFFSET_MASK
        entries = struct.unpack_from(f">{size // 8}Q", content, table) if table else [0] * (size // 8)
        for entry in entries[: div_ceil(fields.size - len(disk), size)]:
            if entry >> 62 & 1:
                start, stop = qcow2.compressed_place(entry, fields.cluster_bits)
                disk += decompress(content[start:stop], size)
            elif entry:
                offset = entry & qcow2.L2E_OFFSET_MASK
                disk += content[offset : offset + size]
            else:
                disk += bytes(size)
    return bytes(disk[: fields.size])


def mixed(size: int) -> Volume:
    """Return a disk with text, noise, zeros, and pieces that share clusters."""
    extents = [
        extent(0, Bytes(TEXT[:1000]), "start"),
        extent(3000, Bytes(TEXT[5000:8000]), "in the same cluster, maybe"),
        extent(100_000, Bytes(NOISE[:700_001]), "noise"),
        extent(1_000_000, Bytes(bytes(300_000)), "zeros"),
        extent(1_400_000, Bytes(TEXT[:900_000]), "text"),
        Extent(size - 5000, 4999, Bytes(NOISE), 17, "end"),
    ]
    return Volume(size, extents)


@pytest.mark.parametrize(("name", "version"), [("zlib", 2), ("zlib", 3), ("zstd", 3), (None, 2), (None, 3)])
@pytest.mark.parametrize("cluster_size", [512, 4096, K64, 2 * MiB])
def test_what_goes_in_comes_out(cluster_size: int, name: str | None, version: int) -> None:
    disk = mixed(5_000_000)
    content = assemble(ready(disk, cluster_size, name, version))
    assert len(content) % cluster_size == 0
    assert guest(content) == disk.read(0, 5_000_000).ljust(5_000_192, b"\0")
    assert 0 not in refcounts(as_volume(content)), "a cluster of the file belongs to nobody"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
@pytest.mark.parametrize("full", [True, False])
def test_tiny_disks(size: int, full: bool) -> None:
    disk = Volume(size, [extent(0, Bytes(NOISE[:size]), "all")] if full and size else [])
    content = assemble(ready(disk, 512))
    assert guest(content) == disk.read(0, size).ljust(-(-size // 512) * 512, b"\0")


def test_zstd_is_in_the_header() -> None:
    content = assemble(ready(mixed(5_000_000), name="zstd"))
    fields = qcow2.HEADER_V3.parse(content[72:112])
    assert fields.incompatible_features == qcow2.IncompatibleFeatures.COMPRESSION_TYPE
    assert (fields.header_length, fields.compression_type) == (112, qcow2.CompressionType.ZSTD)


def test_version_2_knows_no_zstd() -> None:
    with pytest.raises(SpecError, match=r"^zstd is unknown to qcow2 of version 2; use version 3 or zlib$"):
        ready(Volume(512, []), name="zstd", version=2)


def test_what_qemu_would_not_open_is_refused_before_anything_is_read() -> None:
    assert ready(Volume(128 * GiB, []), 512).count == 0
    with pytest.raises(CapacityError, match="needs an L1 table"):
        ready(Volume(128 * GiB + 1, []), 512)


@pytest.mark.parametrize(("cluster_size", "reach"), [(2 * MiB, 512 * TiB), (1 * MiB, 1024 * TiB)])
def test_a_compressed_cluster_needs_a_short_offset(cluster_size: int, reach: int) -> None:
    # x = 62 - (cluster_bits - 8) bits: 49 and 50.
    for size in (reach - 1, reach):
        check_reach(size, Options(cluster_size))
    with pytest.raises(CapacityError, match=r"use smaller clusters$") as caught:
        check_reach(reach + 1, Options(cluster_size))
    assert (caught.value.needed, caught.value.available) == (reach + 1, reach)


def test_a_disk_too_large_for_compressed_clusters_is_refused() -> None:
    with pytest.raises(CapacityError, match=r"in the first 512 TiB of a qcow2, and this one may have 562,"):
        ready(Volume(600 * TiB, [covered(0, 512 * TiB)]), 2 * MiB)
