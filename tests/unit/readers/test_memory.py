"""What a reader keeps goes with what the file system has stored, however much a sparse file describes."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter.readers import gather
from tests.unit.readers.images import COMPRESSED, COPIED, KiB, MiB, content, dynamic_vhd, opened, qcow2, vdi

TIMES = {"qcow2": 16, "vhd": 24, "vdi": 40}
"""Times what is stored: docs/formats/reading.md, "Damage, and images made to harm"."""

EVERY_SECOND = 0x55555555
ENTRIES = 1 << 15


def sparse(path: Path, size: int, pieces: dict[int, bytes | bytearray]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, piece in pieces.items():
            file.seek(offset)
            file.write(piece)
    return path


def qcow2_of(path: Path, bits: int, entry: Callable[[int], tuple[int, ...]], *, clusters: int = 0) -> Path:
    """Save a qcow2 of ENTRIES clusters: header | refcount table | L1 table | L2 tables | holes.

    Args:
        entry: Called with the place of a cluster, in clusters; gives its L2 entry, extended or not.
        clusters: Those of the file, where they are not ENTRIES.
    """
    size = 1 << bits
    width = 8 * len(entry(0))
    per_table = size // width
    tables = -(-ENTRIES // per_table)
    l1 = -(-8 * tables // size)
    head = qcow2({}, ENTRIES * size, cluster_bits=bits, clusters=4, l1_size=tables)[:112]
    if width == 16:
        head[72:80] = struct.pack(">Q", 16)
    first = (2 + l1) * size
    base = 2 + l1 + tables
    places = list(range(base, base + ENTRIES))
    random.Random(1).shuffle(places)
    l2 = b"".join(struct.pack(f">{width // 8}Q", *entry(place)) for place in places)
    pointers = struct.pack(f">{tables}Q", *(COPIED | first + n * size for n in range(tables)))
    return sparse(path, (base + (clusters or ENTRIES)) * size, {0: head, 2 * size: pointers, first: l2})


def plain(path: Path, bits: int) -> Path:
    return qcow2_of(path, bits, lambda place: (COPIED | place << bits,))


def holes_between(path: Path, bits: int) -> Path:
    return qcow2_of(path, bits, lambda place: (COPIED | place << bits if place % 2 else 0,))


def extended(path: Path, bits: int, bitmap: int) -> Path:
    return qcow2_of(path, bits, lambda place: (COPIED | place << bits, bitmap))


def compressed(path: Path, bits: int) -> Path:
    return qcow2_of(path, bits, lambda place: (COMPRESSED | place << bits,))


def vdi_of(path: Path) -> Path:
    blocks = 78_700  # a set of them has just grown
    places = list(range(blocks))
    random.Random(1).shuffle(places)
    image = vdi(places, blocks * MiB, offset_data=MiB)
    return sparse(path, (blocks + 1) * MiB, {0: image})


def vhd_of(path: Path, block_size: int, blocks: int, bitmap: bytes) -> Path:
    stored = max(block_size // 4096, 512) + block_size
    first = -(-(1536 + 4 * blocks) // 512) * 512
    places = [first + n * stored for n in range(blocks)]
    random.Random(1).shuffle(places)
    image = dynamic_vhd(
        [place // 512 for place in places], blocks * block_size, header={"block_size": block_size}
    )
    pieces: dict[int, bytes | bytearray] = {0: image[:-512]}
    end = first + blocks * stored
    pieces |= dict.fromkeys(places if bitmap else [], bitmap)
    return sparse(path, end + 512, pieces | {end: image[-512:]})


IMAGES: dict[str, Callable[[Path], Path]] = {
    "qcow2, every second subcluster": lambda path: extended(path, 16, EVERY_SECOND),
    "qcow2, every second subcluster of 512 bytes": lambda path: extended(path, 14, EVERY_SECOND),
    "qcow2, every second subcluster of 64 KiB": lambda path: extended(path, 21, EVERY_SECOND),
    "qcow2, a few subclusters": lambda path: extended(path, 16, 0b1010101),
    "qcow2, scattered, 512 bytes": lambda path: plain(path, 9),
    "qcow2, scattered, 64 KiB": lambda path: plain(path, 16),
    "qcow2, scattered, 2 MiB": lambda path: plain(path, 21),
    "qcow2, holes between, 512 bytes": lambda path: holes_between(path, 9),
    "qcow2, holes between, 64 KiB": lambda path: holes_between(path, 16),
    "qcow2, holes between, 2 MiB": lambda path: holes_between(path, 21),
    "qcow2, compressed, 64 KiB": lambda path: compressed(path, 16),
    "qcow2, compressed, 2 MiB": lambda path: compressed(path, 21),
    "vdi, scattered": vdi_of,
    "vhd, every second sector": lambda path: vhd_of(path, 2 * MiB, 200, b"\x55" * 512),
    "vhd, every second sector of a block of 64 MiB": lambda path: vhd_of(
        path, 64 * MiB, 20, b"\x55" * 16 * KiB
    ),
    "vhd, blocks of 4 KiB": lambda path: vhd_of(path, 4 * KiB, 2000, b"\x55" * 512),
    "vhd, only a table": lambda path: vhd_of(path, 512, ENTRIES, b""),
}


@pytest.mark.parametrize("name", IMAGES)
def test_memory_goes_with_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(gather, "MOST_EXTENTS", 16)
    path = IMAGES[name](tmp_path / "image")
    stored = path.stat().st_blocks * 512
    tracemalloc.start()
    try:
        image = opened(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert image.volume.extents or name == "vhd, only a table"
    assert peak < TIMES[name[: name.index(",")]] * stored, f"{peak / stored:.1f} times {stored:,} bytes"


@pytest.mark.parametrize("most", [0, 1, 3, 1 << 18])
def test_the_bytes_do_not_depend_on_how_they_are_grouped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(gather, "MOST_EXTENTS", most)
    bits, size = 14, 1 << 14
    dice = random.Random(4)
    guests = sorted(dice.sample(range(200), 60))
    places = list(range(4, 64))
    dice.shuffle(places)
    disk = bytearray(200 * size)
    entries: dict[int, int | tuple[int, int]] = {}
    data = {}
    for guest, place in zip(guests, places, strict=True):
        bitmap = dice.choice([0xFFFFFFFF, EVERY_SECOND, 0b1010101, 0b10101010101, 1 << 31])
        entries[guest] = (place * size | COPIED, bitmap)
        data[place * size] = dice.randbytes(size)
        for n in range(32):
            if bitmap >> n & 1:
                disk[guest * size + n * 512 : guest * size + (n + 1) * 512] = data[place * size][
                    n * 512 : (n + 1) * 512
                ]
    path = tmp_path / "image"
    path.write_bytes(qcow2(entries, 200 * size - 512, cluster_bits=bits, clusters=64, data=data))
    volume = opened(path).volume
    assert content(volume) == disk[:-512]
    for start in range(0, 200 * size - 5000, 70_001):
        assert volume.read(start, 5000) == disk[start : start + 5000]


@pytest.mark.parametrize("most", [0, 2, 1 << 18])
def test_blocks_of_a_vdi_do_not_depend_on_how_they_are_grouped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(gather, "MOST_EXTENTS", most)
    free = 0xFFFFFFFF
    block_map = [3, free, 1, 2, *[free] * 20, 0, 5, free, 4]
    data = {1024 + n * MiB: bytes([n + 1]) * MiB for n in range(6)}
    path = tmp_path / "image"
    path.write_bytes(vdi(block_map, len(block_map) * MiB, data=data))
    expected = b"".join(bytes(MiB) if n == free else bytes([n + 1]) * MiB for n in block_map)
    assert content(opened(path).volume) == expected


def test_sectors_that_are_not_there_are_zeros_from_anywhere(tmp_path: Path) -> None:
    block = 8 * MiB
    bitmap = b"\x55" * 1024 + b"\xa0" + bytes(1023)  # the second 4 MiB have two runs: slices
    stored = random.Random(5).randbytes(block)
    image = dynamic_vhd([4], block, header={"block_size": block}, data={2048: bitmap, 4096: stored})
    path = tmp_path / "image"
    path.write_bytes(image)
    bits = f"{int.from_bytes(bitmap):0{block // 512}b}"
    expected = b"".join(
        stored[n * 512 : (n + 1) * 512] if bit == "1" else bytes(512) for n, bit in enumerate(bits)
    )
    volume = opened(path).volume
    assert [e.length for e in volume.extents] == [4 * MiB, 512, 512]
    assert content(volume) == expected
    for start in range(0, block - 3000, 99_991):
        assert volume.read(start, 3000) == expected[start : start + 3000]
