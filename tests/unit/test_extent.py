"""Volumes: what they refuse, and what they read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgwriter.errors import PlanInvariantError
from imgwriter.extent import CHUNK, Bytes, Extent, Generated, Patch, Volume, compose, extent, overlay
from imgwriter.filedata import FileSlice, Identity


def test_extents_are_sorted_and_empty_ones_left_out() -> None:
    volume = Volume(
        100, [extent(50, Bytes(b"bb"), "b"), extent(7, Bytes(b""), "-"), extent(0, Bytes(b"a"), "a")]
    )
    assert [(e.start, e.end, e.label) for e in volume.extents] == [(0, 1, "a"), (50, 52, "b")]
    assert volume.allocated == 3


@pytest.mark.parametrize(("start", "fits"), [(8, True), (7, False), (9, True)])
def test_neighbours_may_touch_and_not_overlap(start: int, fits: bool) -> None:
    extents = [extent(4, Bytes(b"1234"), "inode table"), extent(start, Bytes(b"x"), "usr/bin/bash")]
    if fits:
        assert len(Volume(16, extents).extents) == 2
        return
    with pytest.raises(PlanInvariantError, match=r"usr/bin/bash at 7 overlaps inode table.* 8"):
        Volume(16, extents)


@pytest.mark.parametrize(("size", "fits"), [(11, False), (12, True), (13, True)])
def test_an_extent_ends_inside(size: int, fits: bool) -> None:
    extents = [extent(8, Bytes(b"1234"), "backup GPT")]
    if fits:
        assert Volume(size, extents).size == size
        return
    with pytest.raises(PlanInvariantError, match=r"backup GPT ends at 12.* 11"):
        Volume(size, extents)


def test_an_extent_before_the_start_is_refused() -> None:
    with pytest.raises(PlanInvariantError, match="early at -1 overlaps the start of the volume"):
        Volume(8, [extent(-1, Bytes(b"ab"), "early")])


def test_a_label_is_formatted_only_for_an_error() -> None:
    class Label:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    Volume(8, [extent(0, Bytes(b"ab"), Label()), extent(2, Bytes(b"ab"), Label())])
    with pytest.raises(AssertionError, match="formatted"):
        Volume(8, [extent(0, Bytes(b"ab"), Label()), extent(1, Bytes(b"ab"), Label())])


def test_compose_shifts_and_names_both_labels_of_an_overlap() -> None:
    table = Volume(512, [extent(0, Bytes(b"T" * 512), "MBR")])
    root = Volume(1024, [extent(0, Bytes(b"R" * 10), "root")])
    disk = compose(4096, [(2048, root), (0, table)])
    assert disk.read(0, 4096) == b"T" * 512 + bytes(1536) + b"R" * 10 + bytes(2038)
    with pytest.raises(PlanInvariantError, match="root at 511 overlaps MBR"):
        compose(4096, [(511, root), (0, table)])
    with pytest.raises(PlanInvariantError, match="root ends at 4097"):
        compose(4096, [(4087, root)])


def test_a_read_takes_its_part_of_each_extent() -> None:
    volume = Volume(20, [Extent(2, 4, Bytes(b"abcdefgh"), 3, "x"), extent(10, Bytes(b"XYZ"), "y")])
    assert volume.read(0, 20) == b"\0\0defg\0\0\0\0XYZ" + bytes(7)
    assert volume.read(3, 8) == b"efg\0\0\0\0X"
    assert volume.read(5, 0) == b""


def test_pieces_are_at_most_a_chunk() -> None:
    def produce(start: int, stop: int) -> bytes:
        return bytes(stop - start)

    for data in (Bytes(bytes(2 * CHUNK + 3)), Generated(2 * CHUNK + 3, produce)):
        assert [len(piece) for piece in data.chunks(1, len(data))] == [CHUNK, CHUNK, 2]


def test_generated_data_that_breaks_its_word_is_a_bug() -> None:
    with pytest.raises(PlanInvariantError, match="gave 3 of 4 bytes"):
        b"".join(Generated(4, lambda start, stop: b"abc").chunks(0, 4))


def test_sixteen_tebibytes_are_a_few_objects() -> None:
    volume = Volume(16 << 40, [extent((16 << 40) - 512, Bytes(b"E" * 512), "backup GPT")])
    assert volume.read((16 << 40) - 513, 2) == b"\0E"


def test_a_long_read_is_of_pieces_that_share_a_buffer(tmp_path: Path) -> None:
    """Each piece is valid until the next: found by reading more than a chunk of a file."""
    path = tmp_path / "file"
    content = bytes(range(251)) * (2 * CHUNK // 251 + 1)
    path.write_bytes(content)
    data = FileSlice(os.fsencode(tmp_path), b"file", Identity.of(path.lstat()))
    assert Volume(len(content), [extent(0, data, "file")]).read(1, len(content) - 1) == content[1:]


def test_a_patch_cuts_what_it_lies_in() -> None:
    volume = Volume(16, [extent(2, Bytes(b"abcdefgh"), "code")])
    patched = overlay(volume, [Patch(4, b"XY", "loader"), Patch(12, b"Z", "gap"), Patch(0, b"", "nothing")])
    assert [(e.start, e.end, e.label) for e in patched.extents] == [
        (2, 4, "code"), (4, 6, "loader"), (6, 10, "code"), (12, 13, "gap"),
    ]  # fmt: skip
    assert patched.read(0, 16) == b"\0\0abXYefgh\0\0Z\0\0\0"


def test_patches_that_overlap_or_lead_outside_are_a_bug() -> None:
    volume = Volume(16, [])
    with pytest.raises(PlanInvariantError, match="b at 3 overlaps a"):
        overlay(volume, [Patch(0, b"1234", "a"), Patch(3, b"5", "b")])
    with pytest.raises(PlanInvariantError, match="a ends at 17"):
        overlay(volume, [Patch(16, b"1", "a")])
