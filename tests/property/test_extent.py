"""Volumes, the sink and the block map against a plain bytearray."""

from __future__ import annotations

import hashlib
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter import sidecar, sink
from imgwriter.errors import PlanInvariantError
from imgwriter.extent import Bytes, Data, Extent, Generated, Patch, Volume, compose, overlay
from imgwriter.filedata import Concatenated, Packed, part

pytestmark = pytest.mark.property


@st.composite
def data(draw: st.DrawFn) -> Data:
    """Data of each kind that needs no file."""
    content = draw(st.binary(min_size=1, max_size=40))
    kind = draw(st.sampled_from(["bytes", "generated", "packed", "concatenated"]))
    if kind == "generated":
        return Generated(len(content), lambda start, stop: content[start:stop])
    offset, gap = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    if kind == "packed":
        parts = [part(offset, Bytes(content), 0), part(offset + len(content) + gap, Bytes(content), 1)]
        return Packed(0, offset + 2 * len(content) + gap, parts)
    if kind == "concatenated":
        return Concatenated([(offset, Bytes(content))], offset + len(content) + gap)
    return Bytes(content)


@st.composite
def volumes(draw: st.DrawFn) -> tuple[Volume, bytearray]:
    """A Volume with extents of any kind in any order, and its bytes."""
    extents: list[Extent] = []
    model = bytearray()
    for one in draw(st.lists(data(), max_size=8)):
        model += bytes(draw(st.sampled_from([0, 0, 1, 7, 4096, 5000])))
        low = draw(st.integers(0, len(one)))
        high = draw(st.integers(low, len(one)))
        extents.append(Extent(len(model), high - low, one, low, f"extent {len(extents)}"))
        model += b"".join(bytes(piece) for piece in one.chunks(low, high))
    model += bytes(draw(st.sampled_from([0, 1, 4096])))
    return Volume(len(model), draw(st.permutations(extents))), model


@given(volumes(), st.data())
def test_any_part_can_be_read(pair: tuple[Volume, bytearray], choose: st.DataObject) -> None:
    volume, model = pair
    start = choose.draw(st.integers(0, len(model)))
    stop = choose.draw(st.integers(start, len(model)))
    assert volume.read(start, stop - start) == model[start:stop]


@given(st.lists(st.tuples(st.integers(0, 20_000), volumes()), max_size=4), st.integers(0, 20_000))
def test_compose_lays_volumes_side_by_side_or_refuses(
    parts: list[tuple[int, tuple[Volume, bytearray]]], size: int
) -> None:
    owner: dict[int, int] = {}
    model = bytearray(size)
    fits = True
    for offset, (volume, content) in parts:
        for e in volume.extents:
            for at in range(offset + e.start, offset + e.end):
                fits = fits and at < size and at not in owner
                owner[at] = 1
                if at < size:
                    model[at] = content[at - offset]
    placed = [(offset, volume) for offset, (volume, _) in parts]
    if fits:
        assert compose(size, placed).read(0, size) == model
    else:
        with pytest.raises(PlanInvariantError):
            compose(size, placed)


@given(volumes(), st.lists(st.tuples(st.integers(0, 30_000), st.binary(max_size=5_000)), max_size=4))
def test_patches_take_the_place_of_what_is_there(
    pair: tuple[Volume, bytearray], wanted: list[tuple[int, bytes]]
) -> None:
    volume, model = pair
    patches = [Patch(start, content, f"patch {start}") for start, content in wanted]
    places = [at for patch in patches for at in range(patch.start, patch.end)]
    if len(set(places)) < len(places) or any(at >= volume.size for at in places):
        with pytest.raises(PlanInvariantError):
            overlay(volume, patches)
        return
    for patch in patches:
        model[patch.start : patch.end] = patch.content
    assert overlay(volume, patches).read(0, volume.size) == model


@given(volumes(), st.integers(1, 3))
def test_the_sink_writes_what_the_volume_holds(pair: tuple[Volume, bytearray], workers: int) -> None:
    volume, model = pair
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image"
        sink.write(volume, path, workers=workers)
        assert path.read_bytes() == model
        assert (
            sidecar.sha256(volume.size, [(e.start, e.end) for e in volume.extents], path).split()[0]
            == hashlib.sha256(model).hexdigest()
        )


@given(volumes(), st.sampled_from([1, 2, 512, 4096]))
def test_block_ranges_are_the_blocks_that_hold_a_byte(pair: tuple[Volume, bytearray], block: int) -> None:
    volume, _ = pair
    expected = {at // block for e in volume.extents for at in range(e.start, e.end)}
    ranges = sidecar.block_ranges(volume.extents, block)
    assert {number for start, stop in ranges for number in range(start, stop)} == expected
    assert all(stop < start for (_, stop), (start, _) in pairwise(ranges))


@given(st.binary(max_size=30))
def test_escaped_paths_can_be_had_back(path: bytes) -> None:
    assert sidecar.unescape(sidecar.escape(path)) == path
