"""Laws of qcow2: the guest disk is what went in; a refcount is how often a cluster of the file is used."""

from __future__ import annotations

import io
import random
from collections import Counter
from itertools import pairwise

import pytest
from dissect.hypervisor.disk.qcow2 import QCow2
from hypothesis import given
from hypothesis import strategies as st

from imgwriter import qcow2
from imgwriter.compression import codec
from imgwriter.extent import Bytes, Extent, Volume
from imgwriter.qcow2 import Options
from imgwriter.qcow2_compressed import plan
from imgwriter.units import align_up, div_ceil
from tests.unit.test_qcow2 import header, numbers, refcounts
from tests.unit.test_qcow2_compressed import as_volume, assemble, guest

pytestmark = pytest.mark.property

MOST = 600_000
NOISE = random.Random(5).randbytes(MOST)
TEXT = b"".join(b"%d bottles of something\n" % n for n in range(MOST // 10))[:MOST]
SOURCES = (
    Bytes(NOISE),
    Bytes(TEXT),
    Bytes(bytes(MOST)),
    Bytes((NOISE[:3000] + bytes(9000)) * (MOST // 12000)),
)


@st.composite
def disks(draw: st.DrawFn) -> Volume:
    """Draw a disk with extents of noise, text, zeros and a mix, that touch each other or do not."""
    size = draw(st.one_of(st.integers(0, 5000), st.integers(0, MOST)))
    edges = sorted(draw(st.sets(st.integers(0, size), max_size=12)))
    extents = []
    for start, stop in pairwise(edges):
        if draw(st.booleans()):
            extents.append(Extent(start, stop - start, draw(st.sampled_from(SOURCES)), 0, start))
    return Volume(size, extents)


PLAIN = st.builds(Options, st.sampled_from([512, 1024, 4096, 65536, 2 << 20]), st.sampled_from([2, 3]))
ZSTD = st.builds(Options, st.sampled_from([512, 1024, 4096, 65536, 2 << 20]), st.just(3))


def uses(file: Volume) -> Counter[int]:
    """Return how often each cluster of the file is used, walking all tables by the specification."""
    fields = header(file)
    bits = fields.cluster_bits
    used = Counter([0])
    reftable = fields.refcount_table_offset >> bits
    used.update(range(reftable, reftable + fields.refcount_table_clusters))
    entries = (fields.refcount_table_clusters << bits) // 8
    used.update(block >> bits for block in numbers(file, fields.refcount_table_offset, entries) if block)
    l1 = fields.l1_table_offset >> bits
    used.update(range(l1, l1 + div_ceil(8 * fields.l1_size, 1 << bits)))
    for table in numbers(file, fields.l1_table_offset, fields.l1_size):
        if table:
            offset = table & qcow2.L1E_OFFSET_MASK
            used[offset >> bits] += 1
            used.update(_guest_uses(numbers(file, offset, (1 << bits) // 8), bits))
    return used


def _guest_uses(entries: list[int], bits: int) -> Counter[int]:
    used: Counter[int] = Counter()
    for entry in entries:
        if entry & qcow2.OFLAG_COMPRESSED:
            offset, stop = qcow2.compressed_place(entry, bits)
            used.update({offset >> bits, (stop - 1) >> bits})
        elif entry:
            assert entry & qcow2.OFLAG_COPIED
            used[(entry & qcow2.L2E_OFFSET_MASK) >> bits] += 1
    return used


def check(content: bytes, disk: Volume) -> None:
    """Assert that a file holds the disk, and that its refcounts are right."""
    file = as_volume(content)
    counts = refcounts(file)
    used = uses(file)
    assert [used[cluster] for cluster in range(len(counts))] == counts
    assert len(used) <= len(counts) and 0 not in counts, "clusters beyond the end, or of nobody"
    size = align_up(disk.size, 512)
    assert header(file).size == size
    assert guest(content) == disk.read(0, size)


def check_with_dissect(content: bytes, disk: Volume) -> None:
    """Assert that dissect.hypervisor, which has no zstd here, reads the disk."""
    reader = QCow2(io.BytesIO(content))
    assert reader.size == align_up(disk.size, 512)
    if reader.size:
        assert reader.open().read(reader.size) == disk.read(0, reader.size)


@given(disks(), PLAIN)
def test_plain(disk: Volume, options: Options) -> None:
    volume = qcow2.encode(disk, options)
    content = volume.read(0, volume.size)
    check(content, disk)
    check_with_dissect(content, disk)
    touched = {
        cluster
        for e in disk.extents
        for cluster in range(e.start // options.cluster_size, (e.end - 1) // options.cluster_size + 1)
    }
    plain = Counter(str(e.label).startswith("qcow2") for e in volume.extents)
    assert plain[False] == len(disk.extents), "an extent was cut"
    tables = {cluster // options.l2_entries for cluster in touched}
    others = volume.size // options.cluster_size - len(touched) - len(tables)
    empty = qcow2.encode(Volume(disk.size, []), options).size // options.cluster_size
    # More refcounts for more clusters; else nothing but what is touched.
    assert empty <= others <= empty + len(touched) // 100 + 1


@given(disks(), PLAIN)
def test_zlib(disk: Volume, options: Options) -> None:
    content = assemble(plan(disk, options, codec("zlib")))
    check(content, disk)
    check_with_dissect(content, disk)


@given(disks(), PLAIN)
def test_sifted(disk: Volume, options: Options) -> None:
    content = assemble(plan(disk, options, None))
    check(content, disk)
    check_with_dissect(content, disk)
    assert len(content) <= qcow2.encode(disk, options).size


@given(disks(), ZSTD)
def test_zstd(disk: Volume, options: Options) -> None:
    check(assemble(plan(disk, options, codec("zstd"))), disk)


@given(disks(), PLAIN, st.integers(1, 9))
def test_compressed_is_never_larger(disk: Volume, options: Options, level: int) -> None:
    deferred = plan(disk, options, codec("zlib", level))
    size = qcow2.encode(disk, options).size
    assert len(assemble(deferred)) <= size
