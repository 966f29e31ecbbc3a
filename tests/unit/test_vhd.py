"""vhd: records of qemu-img, sizes and geometry, the layout, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from imgwriter import vhd
from imgwriter.errors import CapacityError, SpecError
from imgwriter.extent import Bytes, Extent, Generated, Volume, extent
from imgwriter.filedata import Packed, part
from imgwriter.units import SECTOR, GiB, MiB, TiB

LIMIT = 2040 * GiB
BLOCK = 2 * MiB

# What qemu-img 7.2.22 wrote for `create -f vpc -o subformat=...,force_size=... FILE 5M`: the first 84 bytes
# of the footer (the rest is zeros), by subformat and force_size.
FOOTERS = {
    ("dynamic", False): bytes.fromhex(
        "636f6e65637469780000000200010000000000000000020032990c6571656d75000500035769326b000000000050380000000000"
        "005038000097041100000003ffffeddc2de16c6772ee4c48a2e856eb94b3c002"
    ),
    ("fixed", False): bytes.fromhex(
        "636f6e65637469780000000200010000ffffffffffffffff32990c6571656d75000500035769326b000000000050380000000000"
        "005038000097041100000002ffffe69e9d9f89b18ad04325957011cac84c6462"
    ),
    ("dynamic", True): bytes.fromhex(
        "636f6e65637469780000000200010000000000000000020032990c6571656d32000500035769326b000000000050000000000000"
        "00500000ffff10ff00000003ffffec0b93b4df15f08744968837c340b718f3bc"
    ),
    ("fixed", True): bytes.fromhex(
        "636f6e65637469780000000200010000ffffffffffffffff32990c6571656d32000500035769326b000000000050000000000000"
        "00500000ffff10ff00000002ffffe3edc9dcec88ead94e40a2ab73fa4e301043"
    ),
}
# The same command's dynamic header: its first 40 of 1,024 bytes.
DYNAMIC_HEADER = bytes.fromhex(
    "6378737061727365ffffffffffffffff0000000000000600000100000000000300200000fffff474"
)
TIME = 0x32990C65 + 946_684_800
"""When qemu-img ran, in seconds since 1970."""

# [size asked for, virtual size, cylinders, heads, sectors per track], of qemu-img convert; see PROVENANCE.md.
SIZES = json.loads((Path(__file__).parent.parent / "vectors" / "vhd-sizes.json").read_text())


def parameters(subformat: str = "dynamic", force_size: bool = True, **changes: object) -> vhd.Parameters:
    values: dict[str, object] = {"unique_id": UUID(int=7), "timestamp": TIME, **changes}
    return vhd.Parameters(subformat, force_size, **values)  # type: ignore[arg-type]


def filled(start: int, length: int, byte: int = 0x5A) -> Extent:
    return extent(start, Bytes(bytes([byte]) * length), f"{length} at {start}")


def footer_of(file: Volume) -> bytes:
    return file.read(file.size - 512, 512)


def entries(file: Volume, count: int) -> list[int]:
    table = file.read(1536, 4 * count)
    return [int.from_bytes(table[at : at + 4], "big") for at in range(0, len(table), 4)]


# Records


def test_structures_have_their_specified_size() -> None:
    assert vhd.FOOTER.sizeof() == vhd.FOOTER_SIZE == 512
    assert vhd.DYNAMIC_HEADER.sizeof() == vhd.DYNAMIC_HEADER_SIZE == 1024


@pytest.mark.parametrize("kind", FOOTERS)
def test_footer_is_that_of_qemu_img_but_for_who_made_it(kind: tuple[str, bool]) -> None:
    subformat, force_size = kind
    theirs = FOOTERS[kind].ljust(512, b"\0")
    size = int.from_bytes(theirs[48:56], "big")
    file = vhd.encode(
        Volume(size, []), parameters(subformat, force_size, unique_id=UUID(bytes=theirs[68:84]))
    )
    expected = bytearray(theirs)
    expected[28:36] = b"imgw\x00\x01\x00\x00"  # creator application and version
    difference = sum(expected[28:36]) - sum(theirs[28:36])
    expected[64:68] = (int.from_bytes(theirs[64:68], "big") - difference).to_bytes(4, "big")
    assert footer_of(file) == expected


@pytest.mark.parametrize("kind", [kind for kind in FOOTERS if kind[0] == "dynamic"])
def test_dynamic_header_is_that_of_qemu_img(kind: tuple[str, bool]) -> None:
    size = int.from_bytes(FOOTERS[kind][48:56], "big")
    file = vhd.encode(Volume(size, []), parameters(*kind))
    assert file.read(512, 1024) == DYNAMIC_HEADER.ljust(1024, b"\0")


def test_checksums_are_those_of_qemu_img() -> None:
    for footer in FOOTERS.values():
        found = vhd.checksum(footer.ljust(512, b"\0"), vhd.FOOTER_CHECKSUM)
        assert found == int.from_bytes(footer[64:68], "big")
    found = vhd.checksum(DYNAMIC_HEADER.ljust(1024, b"\0"), vhd.DYNAMIC_HEADER_CHECKSUM)
    assert found == int.from_bytes(DYNAMIC_HEADER[36:40], "big")


def test_the_declarations_read_what_qemu_img_wrote() -> None:
    footer = vhd.FOOTER.parse(FOOTERS["dynamic", False].ljust(512, b"\0"))
    assert (footer.features, footer.disk_type) == (vhd.Features.RESERVED, vhd.DiskType.DYNAMIC)
    assert (footer.creator_application, footer.creator_host_os) == (b"qemu", b"Wi2k")
    assert (
        vhd.Geometry(**{k: footer.disk_geometry[k] for k in vhd.Geometry._fields}).sectors * 512 == 5_257_216
    )
    assert (
        UUID(bytes=footer.unique_id).version == 4
    )  # big-endian: read otherwise it would have another version
    header = vhd.DYNAMIC_HEADER.parse(DYNAMIC_HEADER.ljust(1024, b"\0"))
    assert (header.table_offset, header.max_table_entries, header.block_size) == (1536, 3, BLOCK)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    # Spec: "the number of seconds since January 1, 2000 12:00:00 AM in UTC".
    [
        (0, 0),
        (946_684_799, 0),
        (946_684_800, 0),
        (946_684_801, 1),
        (5_241_652_095, 0xFFFFFFFF),
        (2**33, 0xFFFFFFFF),
    ],
)
def test_time_stamp(timestamp: int, expected: int) -> None:
    file = vhd.encode(Volume(MiB, []), parameters(timestamp=timestamp))
    assert int.from_bytes(footer_of(file)[24:28], "big") == expected


# Sizes


@pytest.mark.parametrize("row", SIZES, ids=lambda row: str(row[0]))
def test_sizes_and_geometry_are_those_of_qemu_img(row: tuple[int, int, int, int, int]) -> None:
    size, virtual_size, *geometry = row
    assert vhd.rounded_size(size) == virtual_size
    assert vhd.rounded_size(virtual_size) == virtual_size
    file = vhd.encode(Volume(virtual_size, []), parameters("fixed", force_size=False))
    cylinder, heads, sectors_per_track = geometry
    assert footer_of(file)[56:60] == bytes((*divmod(cylinder, 256), heads, sectors_per_track))


def test_the_vectors_reach_every_branch() -> None:
    assert {row[4] for row in SIZES} == {17, 31, 63, 255}
    assert {row[3] for row in SIZES if row[4] == 17} >= {4, 5, 16}
    assert {row[2] == 65_535 for row in SIZES} == {True, False}


def test_no_bytes_stay_no_bytes() -> None:
    # As qemu-img 7.2.22 says of its `create -f vpc FILE 0`: 2,048 bytes of file, no BAT, virtual size 0.
    assert vhd.rounded_size(0) == vhd.checked_size(0) == 0
    file = vhd.encode(Volume(0, []), parameters(force_size=False))
    assert file.size == 2048
    assert entries(file, 0) == []
    with pytest.raises(SpecError, match="fixed VHD of a disk of 0 bytes"):
        vhd.encode(Volume(0, []), parameters("fixed"))


@pytest.mark.parametrize("size", [0, MiB, 127 * GiB + MiB, LIMIT - MiB, LIMIT])
def test_whole_mebibytes_can_be_forced(size: int) -> None:
    assert vhd.checked_size(size) == size


@pytest.mark.parametrize(
    ("size", "following"),
    [(1, 1), (MiB - 1, 1), (MiB + 1, 2), (777 * MiB + 512, 778), (LIMIT - 512, 2_088_960)],
)
def test_other_sizes_cannot_be_forced(size: int, following: int) -> None:
    with pytest.raises(SpecError, match=f"ask for {following:,} MiB"):
        vhd.checked_size(size)
    with pytest.raises(SpecError, match=f"ask for {following:,} MiB"):
        vhd.encode(Volume(size, []), parameters(force_size=True))


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 512, LIMIT + MiB, 64 * TiB])
def test_more_than_2040_gib_is_refused(size: int) -> None:
    for refuse in (
        lambda: vhd.rounded_size(size),
        lambda: vhd.checked_size(size),
        lambda: vhd.encode(Volume(size, []), parameters(force_size=False)),
        lambda: vhd.encode(Volume(size, []), parameters("fixed", force_size=True)),
    ):
        with pytest.raises(CapacityError, match=r"at most 2,040 GiB.*use qcow2") as caught:
            refuse()
        assert (caught.value.needed, caught.value.available) == (size, LIMIT)


@pytest.mark.parametrize("size", [LIMIT - 512, LIMIT - 1, LIMIT])
def test_up_to_2040_gib_is_not(size: int) -> None:
    assert vhd.rounded_size(size) == -(-size // 512) * 512


@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
@pytest.mark.parametrize("size", [1, 512, MiB, 5_257_215, 5_257_217])
def test_a_disk_of_a_size_without_geometry_is_refused(subformat: str, size: int) -> None:
    with pytest.raises(SpecError, match=f"make the disk {vhd.rounded_size(size):,} bytes"):
        vhd.encode(Volume(size, []), parameters(subformat, force_size=False))


def test_an_unknown_subformat_is_refused() -> None:
    with pytest.raises(SpecError, match="'static' is unknown; use dynamic or fixed"):
        parameters("static")


# Layout


def test_the_largest_sparse_disk_is_a_table() -> None:
    file = vhd.encode(Volume(LIMIT, [filled(LIMIT - 1, 1)]), parameters(force_size=False))
    blocks = LIMIT // BLOCK
    data = 1536 + 4 * blocks
    assert file.size == data + 512 + BLOCK + 512
    assert entries(file, blocks)[-2:] == [0xFFFFFFFF, data // 512]
    assert len(file.extents) == 6


@pytest.mark.slow
def test_the_largest_full_disk_stays_below_2_tib() -> None:
    # BAT entries are sectors in 32 bits, and the last of them means "unused".
    whole = Extent(0, LIMIT, Generated(LIMIT, lambda start, stop: bytes(stop - start)), 0, "all")
    file = vhd.encode(Volume(LIMIT, [whole]), parameters())
    assert file.size < 2 * TiB
    table = entries(file, LIMIT // BLOCK)
    assert max(table) == table[-1] == (file.size - 512 - BLOCK - 512) // 512 < 0xFFFFFFFF


def test_fixed_is_the_disk_and_a_footer() -> None:
    first, last = filled(0, 100), filled(3 * MiB - 5, 5)
    file = vhd.encode(Volume(3 * MiB, [first, last]), parameters("fixed"))
    assert file.size == 3 * MiB + 512
    assert file.extents[:2] == [first, last]
    assert [(e.start, e.length) for e in file.extents[2:]] == [(3 * MiB, 512)]


def test_blocks_come_in_the_disks_order_with_bitmaps_between() -> None:
    # Blocks 1, 3 and 4 of 6; the extent in 3 and 4 crosses the bound between them.
    disk = Volume(12 * MiB, [filled(BLOCK + 700, 10, 1), filled(4 * BLOCK - 3, 7, 2)])
    file = vhd.encode(disk, parameters())
    stride = 512 + BLOCK
    assert entries(file, 128) == [
        0xFFFFFFFF if block is None else (2048 + block * stride) // 512
        for block in (None, 0, None, 1, 2, *[None] * 123)
    ]
    assert file.size == 2048 + 3 * stride + 512
    assert file.read(0, 512) == footer_of(file)
    for block in range(3):
        assert file.read(2048 + block * stride, 512) == b"\xff" * 512
    found = [(e.start, e.length, e.data_start) for e in file.extents if e.length < 512]
    assert found == [
        (2048 + 512 + 700, 10, 0),
        (2048 + stride + 512 + BLOCK - 3, 3, 0),
        (2048 + 2 * stride + 512, 4, 3),
    ]
    for offset, position in (
        (BLOCK, 2048 + 512),
        (3 * BLOCK, 2048 + stride + 512),
        (4 * BLOCK, 2048 + 2 * stride + 512),
    ):
        assert file.read(position, BLOCK) == disk.read(offset, BLOCK)


def test_bitmaps_are_one_object() -> None:
    file = vhd.encode(Volume(6 * MiB, [filled(0, 6 * MiB)]), parameters())
    bitmaps = [e for e in file.extents if str(e.label) == "VHD sector bitmap"]
    assert len(bitmaps) == 3
    assert len({id(e.data) for e in bitmaps}) == 1


@pytest.mark.parametrize("length", [BLOCK - SECTOR, BLOCK, BLOCK + SECTOR])
def test_around_a_block(length: int) -> None:
    disk = Volume(4 * MiB, [filled(0, length)])
    file = vhd.encode(disk, parameters())
    used = [entry for entry in entries(file, 2) if entry != 0xFFFFFFFF]
    assert len(used) == (1 if length <= BLOCK else 2)
    assert b"".join(file.read(512 * (entry + 1), BLOCK) for entry in used) == disk.read(0, len(used) * BLOCK)


def test_many_small_pieces_stay_one_extent() -> None:
    parts = [part(4096 * n, Bytes(b"x" * 100), n) for n in range(500)]
    pack = Packed(0, 499 * 4096 + 100, parts)
    disk = Volume(4 * MiB, [Extent(BLOCK, pack.length, pack, 0, pack)])
    file = vhd.encode(disk, parameters())
    assert [e.data for e in file.extents if e.data is pack] == [pack]


def test_a_pack_across_a_bound_is_divided_between_its_pieces() -> None:
    parts = [part(4096 * n, Bytes(bytes([n + 1]) * 4096), n) for n in range(100)]
    pack = Packed(0, 100 * 4096, parts)
    start = BLOCK - 50 * 4096 - 2048
    disk = Volume(4 * MiB, [Extent(start, pack.length, pack, 0, pack)])
    file = vhd.encode(disk, parameters())
    data = [e for e in file.extents if "VHD" not in str(e.label)]
    assert len(data) == 4  # the pieces before, two halves of the one on the bound, those after
    assert file.read(2048 + 512, BLOCK) + file.read(2048 + 512 + BLOCK + 512, BLOCK) == disk.read(0, 4 * MiB)
