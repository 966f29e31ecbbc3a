"""Laws of the readers: a disk survives its container, and no damage does anything but a FormatError."""

from __future__ import annotations

import tempfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter import vdi, vhd
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.readers.clusters import rising
from imgwriter.zeros import drop_zeros
from tests.unit.readers import images
from tests.unit.readers.images import MiB, content, digest, dynamic_vhd, footer, opened, qcow2

pytestmark = pytest.mark.property

C = 512
"""Clusters of the least size: the most entries for the fewest bytes."""


@contextmanager
def saved(image: bytes | bytearray) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(image)
        yield path


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    return compressor.compress(data) + compressor.flush()


@st.composite
def qcow2_images(draw: st.DrawFn) -> tuple[bytes, bytearray]:
    """Draw a disk whose clusters are free, zero, plain or compressed, in any places, and its qcow2."""
    kinds = draw(st.lists(st.sampled_from("fzZpc"), min_size=1, max_size=64))
    size = len(kinds) * C - draw(st.integers(0, C - 1))
    plain = [n for n, kind in enumerate(kinds) if kind in "pZ"]
    shuffled = draw(st.permutations(plain))
    places = dict(zip(plain, shuffled if draw(st.booleans()) else plain, strict=True))
    disk = bytearray(len(kinds) * C)
    entries: dict[int, int] = {}
    data: dict[int, bytes] = {}
    packed_at = (4 + len(kinds)) * C
    # In any order too, as several threads of a converter write them.
    order = list(range(len(kinds)))
    for n in draw(st.permutations(order)) if draw(st.booleans()) else order:
        kind = kinds[n]
        piece = bytes([n + 1]) * 300 + bytes(C - 300)
        if kind in "pZ":
            entries[n] = (4 + places[n]) * C | images.COPIED | (kind == "Z")
            data[(4 + places[n]) * C] = piece
        elif kind == "z":
            entries[n] = images.ZERO
        elif kind == "c":
            packed = deflated(piece)
            additional = (packed_at + len(packed) - 1) // 512 - packed_at // 512
            entries[n] = images.COMPRESSED | additional << 61 | packed_at
            data[packed_at] = packed
            packed_at += len(packed)
        if kind in "pc":
            disk[n * C : (n + 1) * C] = piece
    image = qcow2(entries, size, data=data, cluster_bits=9, clusters=4 + len(kinds))
    return bytes(disk[:size]), image


@given(qcow2_images())
def test_a_qcow2_has_the_disk_that_its_tables_say(drawn: tuple[bytes, bytearray]) -> None:
    disk, image = drawn
    with saved(image) as path:
        volume = opened(path).volume
        assert content(volume) == disk
        assert content(drop_zeros(volume, 512)) == disk


@given(st.data())
def test_extended_entries_have_the_subclusters_that_their_bitmaps_say(data: st.DataObject) -> None:
    cluster, part = 1 << 14, 1 << 9
    bitmaps = data.draw(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=4))
    entries = {
        n: ((4 + n) * cluster, allocated | (~allocated & data.draw(st.integers(0, (1 << 32) - 1))) << 32)
        for n, allocated in enumerate(bitmaps)
    }
    stored = bytes(range(1, 129)) * (cluster // 128)
    image = qcow2(
        entries,
        len(bitmaps) * cluster,
        data={(4 + n) * cluster: stored for n in entries},
        cluster_bits=14,
        clusters=4 + len(bitmaps),
    )
    with saved(image) as path:
        disk = content(opened(path).volume)
    for n, allocated in enumerate(bitmaps):
        for k in range(32):
            at = n * cluster + k * part
            expected = stored[k * part : (k + 1) * part] if allocated >> k & 1 else bytes(part)
            assert disk[at : at + part] == expected


@given(st.binary(min_size=512, max_size=512), st.integers(1, 4096))
def test_a_vhd_has_the_sectors_that_its_bitmap_says(bitmap: bytes, sectors: int) -> None:
    stored = b"".join(n.to_bytes(2) * 256 for n in range(1, 4097))
    image = dynamic_vhd([4], sectors * 512, data={2048: bitmap, 2560: stored})
    with saved(image) as path:
        disk = content(opened(path).volume)
    for n in range(sectors):
        there = bitmap[n // 8] & 0x80 >> n % 8
        assert disk[n * 512 : n * 512 + 512] == (stored[n * 512 : n * 512 + 512] if there else bytes(512))


DISKS = st.lists(st.tuples(st.integers(0, 9 * MiB), st.integers(1, 100_000)), max_size=6)


def disk_of(pieces: list[tuple[int, int]], size: int) -> Volume:
    extents = []
    end = 0
    for start, length in sorted(pieces):
        if start >= end and start + length <= size:
            extents.append(extent(start, Bytes(bytes([1 + start % 255]) * length), "piece"))
            end = start + length
    return Volume(size, extents)


@given(DISKS, st.sampled_from(["dynamic", "fixed"]), st.booleans())
def test_a_disk_survives_a_vhd(pieces: list[tuple[int, int]], subformat: str, force_size: bool) -> None:
    size = 10 * MiB if force_size else vhd.rounded_size(10 * MiB)
    disk = disk_of(pieces, size)
    image = vhd.encode(disk, vhd.Parameters(subformat, force_size, UUID(int=1), 0))
    with saved(content(image)) as path:
        found = opened(path)
        assert found.format == "vpc"
        assert content(found.volume) == content(disk)


@given(DISKS, st.sampled_from(["dynamic", "static"]))
def test_a_disk_survives_a_vdi(pieces: list[tuple[int, int]], subformat: str) -> None:
    disk = disk_of(pieces, 10 * MiB)
    image = vdi.encode(disk, vdi.Parameters(subformat, UUID(int=1), UUID(int=2)))
    with saved(content(image)) as path:
        found = opened(path)
        assert found.format == "vdi"
        assert content(found.volume) == content(disk)


CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.sampled_from([1, 2, 4, 8]), st.integers(0, (1 << 64) - 1)),
    max_size=8,
)


def changed(image: bytes | bytearray, changes: list[tuple[int, int, int]], cut: int | None) -> bytearray:
    """Return an image with integers of 1 to 8 bytes put anywhere, and its end cut off."""
    result = bytearray(image)
    for offset, width, value in changes:
        at = offset % max(len(result) - width, 1) // width * width
        result[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "big")
    return result[: len(result) - cut % len(result)] if cut is not None else result


CUTS = st.none() | st.integers(0, 1 << 20)


@given(qcow2_images(), CHANGES, CUTS)
def test_a_damaged_qcow2(
    drawn: tuple[bytes, bytearray], changes: list[tuple[int, int, int]], cut: int | None
) -> None:
    with saved(changed(drawn[1], changes, cut)) as path:
        digest(path)


VHD = dynamic_vhd([4, 0xFFFFFFFF, 13], 12288, header={"block_size": 4096}, data={2048: b"\xf0" * 9216})
FIXED_VHD = b"disk" * 256 + footer(1024)
VDI = images.vdi([1, 0xFFFFFFFF, 0], 3 * MiB, length=1024 + MiB + 512)


@given(st.sampled_from([VHD, FIXED_VHD, VDI]), CHANGES, CUTS, st.booleans())
def test_damaged_others(
    image: bytes | bytearray, changes: list[tuple[int, int, int]], cut: int | None, mend: bool
) -> None:
    damaged = changed(image, changes, cut)
    if mend:  # what a checksum would hide
        for at, field, length in ((0, 64, 512), (512, 36, 1024), (len(damaged) - 512, 64, 512)):
            if damaged[at : at + 8] in (b"conectix", b"cxsparse"):
                checksum = images.vhd_checksum(damaged[at : at + length], field)
                images.put(damaged, at + field, ">I", checksum)
    with saved(damaged) as path:
        digest(path)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 11))
def test_rising(lengths: list[int], first: int) -> None:
    entries = array("Q")
    for n, length in enumerate(lengths):
        entries.extend(range(n * 10_000, n * 10_000 + 512 * length, 512))
    index = min(first, len(entries) - 1)
    expected = 1
    while (
        index + expected < len(entries) and entries[index + expected] == entries[index + expected - 1] + 512
    ):
        expected += 1
    assert rising(entries, index, 512) == expected


PIECES = st.lists(st.tuples(st.sampled_from(b"\0\0x"), st.integers(1, 3000)), min_size=1, max_size=12)


@given(st.integers(0, 5000), PIECES, st.sampled_from([512, 1536, 4096]))
def test_dropping_zeros_keeps_the_bytes_and_no_block_of_zeros(
    start: int, pieces: list[tuple[int, int]], block: int
) -> None:
    data = b"".join(bytes([value]) * length for value, length in pieces)
    volume = Volume(start + len(data), [extent(start, Bytes(data), "data")])
    found = drop_zeros(volume, block)
    disk = content(volume)
    assert content(found) == disk
    for e in found.extents:
        assert (e.start % block == 0 or e.start == start) and (e.end % block == 0 or e.end == volume.size)
        for low in range(e.start // block * block, e.end, block):
            assert any(disk[max(low, e.start) : min(low + block, e.end)])
