"""window: reads inside its bounds only, and files that stay slices of the host's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgwriter.errors import FormatError
from imgwriter.extent import Bytes, Data, Extent, Volume, extent
from imgwriter.filedata import Concatenated, HandleSlice, SharedFile
from imgwriter.window import Piece, Window

DISK = bytes(10) + b"abcdefghij" + bytes(10) + b"klmnopqrst" + b"UVWXYZ" + bytes(4)
VOLUME = Volume(
    len(DISK),
    [
        extent(10, Bytes(b"abcdefghij"), "a"),
        Extent(30, 10, Bytes(b"..klmnopqrst"), 2, "k"),
        extent(40, Bytes(b"UVWXYZ"), "U"),
    ],
)


def content(data: Data, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(bytes(c) for c in data.chunks(start, len(data) if stop is None else stop))


def test_every_interval_reads_as_the_disk_has_it() -> None:
    for offset in range(0, 50, 7):
        window = Window(VOLUME, offset, 50 - offset)
        for start in range(50 - offset):
            for stop in range(start, 50 - offset + 1):
                expected = DISK[offset + start : offset + stop]
                assert window.read(start, stop - start, "x") == expected
                assert content(window.data([(start, stop - start)], stop - start)) == expected
                assert window.has_data(start, stop) == any(
                    e.start < offset + stop and offset + start < e.end for e in VOLUME.extents if stop > start
                )


@pytest.mark.parametrize(
    ("start", "length"), [(0, 21), (20, 1), (-1, 2), (5, -1), (1 << 70, 1), (0, 1 << 70)]
)
def test_what_is_outside_is_refused_with_its_place_on_the_disk(start: int, length: int) -> None:
    with pytest.raises(FormatError, match="ends beyond the 20 bytes") as caught:
        Window(VOLUME, 10, 20).read(start, length, "superblock")
    assert caught.value.where == "superblock"
    assert caught.value.offset == 10 + start
    assert Window(VOLUME, 10, 20).read(0, 20, "superblock") == DISK[10:30]


@pytest.mark.parametrize(("offset", "size"), [(51, None), (-1, None), (0, 51), (50, 1), (0, -1)])
def test_a_window_lies_in_its_volume(offset: int, size: int | None) -> None:
    with pytest.raises(FormatError, match="do not lie in the disk of 50 bytes"):
        Window(VOLUME, offset, size)
    assert Window(VOLUME, 50).size == 0
    assert Window(VOLUME, 0, 50).size == Window(VOLUME).size == 50


def test_runs_are_joined_cut_and_filled() -> None:
    window = Window(VOLUME)
    data = window.data([(35, 8), (8, 5), (0, 3)], 15)
    assert len(data) == 15
    assert content(data) == b"pqrstUVW" + b"\0\0abc" + b"\0\0"
    assert content(data, 7, 12) == b"W\0\0ab"
    assert content(window.data([(12, 4)], 6)) == b"cdef\0\0"
    assert content(window.data([(12, 4)], 2)) == b"cd"
    assert content(window.data([], 3)) == bytes(3)


def test_what_is_one_in_the_file_stays_a_slice_of_it(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(range(100)))
    shared = SharedFile(os.open(path, os.O_RDONLY), bytes(path), None)
    # Two extents that are neighbours in the file, and one that is not.
    places = [(0, 50, 20), (20, 70, 10), (30, 0, 20)]
    volume = Volume(50, [Extent(start, n, HandleSlice(shared, at, n), 0, "x") for start, at, n in places])
    window = Window(volume)
    whole = window.data([(5, 10), (15, 12)], 22)
    assert isinstance(whole, HandleSlice)
    assert (whole.offset, whole.length) == (55, 22)
    broken = window.data([(25, 10)], 10)
    assert isinstance(broken, Concatenated)
    assert content(broken) == bytes([75, 76, 77, 78, 79, 0, 1, 2, 3, 4])
    back = window.data([(10, 5), (5, 5)], 10)
    assert isinstance(back, Concatenated)
    assert content(back) == bytes([*range(60, 65), *range(55, 60)])


def test_all_of_a_data_is_that_data_and_a_part_is_a_piece() -> None:
    window = Window(VOLUME)
    assert window.data([(10, 10)], 10) is VOLUME.extents[0].data
    part = window.data([(32, 4)], 4)
    assert isinstance(part, Piece)
    assert content(part) == b"mnop"
