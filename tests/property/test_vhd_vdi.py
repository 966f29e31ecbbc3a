"""VHD and VDI of any disk: their tables lead to the disk's bytes, and to nothing else."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter import vdi, vhd
from imgwriter.extent import Bytes, Extent, Volume
from imgwriter.filedata import Packed, part
from imgwriter.units import GiB, MiB

pytestmark = pytest.mark.property

LIMIT = 2040 * GiB
BLOCKS = st.sampled_from([vhd.BLOCK_SIZE, vdi.BLOCK_SIZE])
SMALL = [1, 511, 512, 513, 4096]


@st.composite
def disks(draw: st.DrawFn, sized: Callable[[int], int]) -> Volume:
    """Draw a disk of up to some blocks whose extents (packs among them) are at, near and across bounds."""
    block = draw(BLOCKS)
    extents: list[Extent] = []
    end = 0
    for index in range(draw(st.integers(0, 6))):
        blocks = draw(st.integers(0, 2)) * block
        start = end + draw(st.sampled_from([0, 0, 1, 512, block - 1, block, blocks + (-end) % block]))
        length = draw(st.sampled_from([*SMALL, block - 1, block, block + 1, (-start) % block or 7]))
        if draw(st.booleans()) and length >= 3:
            pieces = [
                part(start + at, Bytes(bytes([index + 1]) * (length // 3)), at)
                for at in (0, length - length // 3)
            ]
            data: Bytes | Packed = Packed(start, length, pieces)
        else:
            data = Bytes((bytes(range(1, 252)) * (length // 251 + 1))[:length])
        extents.append(Extent(start, length, data, 0, index))
        end = start + length
    size = sized(end + draw(st.sampled_from([0, 1, 512, block])))
    return Volume(size, extents)


def forced(size: int) -> int:
    return -(-size // MiB) * MiB


def vhd_parameters(subformat: str, force_size: bool) -> vhd.Parameters:
    return vhd.Parameters(subformat, force_size, UUID(int=1), 1_000_000_000)


def untouched(disk: Volume, block: int) -> set[int]:
    """Return the blocks in which no extent has a byte."""
    touched = {n for e in disk.extents for n in range(e.start // block, (e.end - 1) // block + 1)}
    return set(range(-(-disk.size // block))) - touched


def check_vhd(disk: Volume, force_size: bool) -> None:
    file = vhd.encode(disk, vhd_parameters("dynamic", force_size))
    footer = vhd.FOOTER.parse(file.read(file.size - 512, 512))
    header = vhd.DYNAMIC_HEADER.parse(file.read(footer.data_offset, 1024))
    assert footer.current_size == disk.size
    content = file.read(0, file.size)
    places = []
    for number in range(header.max_table_entries):
        at = header.table_offset + 4 * number
        entry = int.from_bytes(content[at : at + 4], "big")
        start = number * header.block_size
        length = min(header.block_size, disk.size - start)
        if entry == vhd.UNUSED:
            assert number in untouched(disk, header.block_size)
            assert not any(disk.read(start, length))
            continue
        place = entry * 512
        places.append(place)
        assert content[place : place + 512] == b"\xff" * 512
        assert content[place + 512 : place + 512 + length] == disk.read(start, length)
        assert not any(content[place + 512 + length : place + 512 + header.block_size])
    first = header.table_offset + -(-4 * header.max_table_entries // 512) * 512
    step = 512 + header.block_size
    assert places == [first + step * n for n in range(len(places))]
    assert file.size == first + step * len(places) + 512
    assert len(places) == header.max_table_entries - len(untouched(disk, header.block_size))


@given(disks(forced))
def test_a_dynamic_vhd_of_forced_size_leads_to_the_disk(disk: Volume) -> None:
    check_vhd(disk, True)


@given(disks(vhd.rounded_size))
def test_a_dynamic_vhd_of_rounded_size_leads_to_the_disk(disk: Volume) -> None:
    check_vhd(disk, False)


@given(disks(lambda size: max(forced(size), MiB)))
def test_a_fixed_vhd_begins_with_the_disk(disk: Volume) -> None:
    file = vhd.encode(disk, vhd_parameters("fixed", True))
    assert file.size == disk.size + 512
    assert file.read(0, disk.size) == disk.read(0, disk.size)


@given(disks(lambda size: size), st.sampled_from(["dynamic", "static"]))
def test_a_vdi_leads_to_the_disk(disk: Volume, subformat: str) -> None:
    file = vdi.encode(disk, vdi.Parameters(subformat, UUID(int=1), UUID(int=2)))
    header = vdi.HEADER.parse(file.read(0, 512))
    content = file.read(0, file.size)
    stored = []
    for number in range(header.blocks_in_image):
        at = header.offset_bmap + 4 * number
        entry = int.from_bytes(content[at : at + 4], "little")
        start = number * header.block_size
        length = min(header.block_size, disk.size - start)
        if entry == vdi.BLOCK_FREE:
            assert number in untouched(disk, header.block_size)
            continue
        stored.append(entry)
        place = header.offset_data + entry * header.block_size
        assert content[place : place + length] == disk.read(start, length)
        assert not any(content[place + length : place + header.block_size])
    assert stored == list(range(header.blocks_allocated))
    assert file.size == header.offset_data + len(stored) * header.block_size
    # No extent was cut, and none has another Data.
    assert [e.data for e in file.extents[-len(disk.extents) :]] == [
        e.data for e in disk.extents
    ] or not disk.extents
    if subformat == "dynamic":
        assert len(stored) == header.blocks_in_image - len(untouched(disk, header.block_size))


@given(st.integers(0, LIMIT))
def test_a_rounded_size_is_the_least_that_a_geometry_says(size: int) -> None:
    rounded = vhd.rounded_size(size)
    assert size <= rounded < size + 4080 * 512  # less than the largest cylinder more
    assert vhd.rounded_size(rounded) == rounded
    geometry = vhd.geometry(rounded // 512)
    assert geometry == vhd.MAX_GEOMETRY or geometry.sectors * 512 == rounded


@given(st.integers(0, 2**32))
def test_a_geometry_says_at_most_what_it_was_made_of(sectors: int) -> None:
    geometry = vhd.geometry(sectors)
    assert min(sectors, vhd.MAX_GEOMETRY.sectors) - 4080 < geometry.sectors <= sectors
    assert geometry.cylinder <= 65_535 and 4 <= geometry.heads <= 16


@given(st.lists(st.integers(0, 2000), unique=True).map(sorted), st.data())
def test_any_part_of_a_map_is_the_same(blocks: list[int], choose: st.DataObject) -> None:
    runs = []
    for number, block in enumerate(blocks):
        if runs and runs[-1].end == block:
            runs[-1] = runs[-1]._replace(end=block + 1)
        else:
            runs.append(vdi.Run(block, block + 1, number))
    data = vdi.block_map(2001, runs)
    whole = b"".join(data.chunks(0, len(data)))
    numbers = {block: number for number, block in enumerate(blocks)}
    assert whole == b"".join(numbers.get(n, vdi.BLOCK_FREE).to_bytes(4, "little") for n in range(2001))
    start = choose.draw(st.integers(0, len(data)))
    stop = choose.draw(st.integers(start, len(data)))
    assert b"".join(data.chunks(start, stop)) == whole[start:stop]
