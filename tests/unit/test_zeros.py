"""zeros: which blocks stay, that the bytes do, and that nothing is cut without need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgwriter.errors import SourceChangedError
from imgwriter.extent import CHUNK, Buffer, Bytes, Extent, Volume, extent
from imgwriter.filedata import Concatenated, HandleSlice
from imgwriter.readers import open_image
from imgwriter.zeros import BLOCK, drop_zeros
from tests.unit.readers.images import content


def places(volume: Volume) -> list[tuple[int, int, int]]:
    return [(e.start, e.length, e.data_start) for e in volume.extents]


def test_blocks_that_are_zero_are_left_out() -> None:
    data = Bytes(b"a" * 512 + bytes(1024) + b"b" + bytes(511) + b"c" * 512 + bytes(512))
    volume = Volume(8192, [extent(1024, data, "x")])
    found = drop_zeros(volume, 512)
    assert places(found) == [(1024, 512, 0), (2560, 1024, 1536)]
    assert found.size == 8192
    assert content(found) == content(volume)
    assert found.extents[0].data is data and found.extents[0].label == "x"


@pytest.mark.parametrize(
    ("nonzero", "kept"),
    # The extent is [700, 2100), its parts [700, 1024), [1024, 1536), [1536, 2048), [2048, 2100).
    [
        (700, (700, 324)),
        (1023, (700, 324)),
        (1024, (1024, 512)),
        (2047, (1536, 512)),
        (2048, (2048, 52)),
        (2099, (2048, 52)),
    ],
)
def test_blocks_count_from_the_start_of_the_volume(nonzero: int, kept: tuple[int, int]) -> None:
    data = bytearray(1500)
    data[nonzero - 700 + 100] = 1
    volume = Volume(4096, [Extent(700, 1400, Bytes(bytes(data)), 100, "x")])
    found = drop_zeros(volume, 512)
    assert places(found) == [(*kept, kept[0] - 600)]
    assert content(found) == content(volume)


def test_nothing_is_left_of_zeros() -> None:
    volume = Volume(3 * CHUNK, [extent(5, Bytes(bytes(2 * CHUNK + 77)), "zeros")])
    assert drop_zeros(volume).extents == []
    assert drop_zeros(Volume(0, [])).extents == []


def test_full_extents_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes((b"x" + bytes(BLOCK - 1)) * (3 * CHUNK // BLOCK) + b"y")
    volume = open_image(bytes(path)).volume
    found = drop_zeros(volume)
    assert places(found) == [(0, 3 * CHUNK + 1, 0)]
    assert isinstance(found.extents[0].data, HandleSlice)


@pytest.mark.parametrize("at", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 3 * CHUNK - 1])
def test_a_byte_anywhere_keeps_its_block(tmp_path: Path, at: int) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(at) + b"x" + bytes(3 * CHUNK - 1 - at))
    found = drop_zeros(open_image(bytes(path)).volume)
    assert places(found) == [(at // BLOCK * BLOCK, BLOCK, at // BLOCK * BLOCK)]


@pytest.mark.parametrize("block", [512, 4096, 3 * 512, BLOCK, 2 * CHUNK])
def test_any_block(tmp_path: Path, block: int) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(5 * CHUNK)
        for offset in range(100_000, 5 * CHUNK, 1_234_567):
            os.pwrite(file.fileno(), b"text" * 500, offset)
    disk = path.read_bytes()
    expected = {n for n in range(len(disk) // block + 1) if any(disk[n * block : (n + 1) * block])}
    found = drop_zeros(Volume(len(disk), [extent(0, Bytes(disk), "disk")]), block)
    assert {n for e in found.extents for n in range(e.start // block, (e.end - 1) // block + 1)} == expected
    assert content(found) == disk


@pytest.mark.parametrize("at", [0, 511, 4095, 4096, BLOCK - 1])
@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_the_last_block_of_a_file_may_be_short(tmp_path: Path, size: int, at: int) -> None:
    disk = bytearray(BLOCK + size)
    disk[BLOCK + at % size] = 7
    path = tmp_path / "disk"
    path.write_bytes(disk)
    found = drop_zeros(open_image(bytes(path)).volume)
    assert [(e.start, e.end) for e in found.extents] == [(BLOCK, BLOCK + min(size, BLOCK))]
    assert content(found) == disk


@pytest.mark.parametrize("content", [b"text" * BLOCK, bytes(4 * BLOCK)], ids=["told by its start", "zeros"])
def test_a_file_that_changes_meanwhile(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    volume = open_image(bytes(path)).volume
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChangedError, match="changed between scan and copy"):
        drop_zeros(volume)


def test_data_in_many_pieces() -> None:
    data = Concatenated([(100, Bytes(b"a" * 50)), (70_000, Bytes(b"b")), (200_000, Bytes(bytes(9)))], 300_000)
    volume = Volume(400_000, [extent(50_000, data, "pieces")])
    found = drop_zeros(volume, 4096)
    assert [(e.start, e.end) for e in found.extents] == [(50_000, 53_248), (118_784, 122_880)]
    assert content(found) == content(volume)


def test_pieces_that_share_a_buffer() -> None:
    class Reused:
        def __len__(self) -> int:
            return 2048

        def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
            buffer = bytearray(512)
            for offset in range(start, stop, 512):
                buffer[:] = bytes([offset == 512]) * 512
                yield buffer

    found = drop_zeros(Volume(2048, [extent(0, Reused(), "reused")]), 512)
    assert places(found) == [(512, 512, 512)]
