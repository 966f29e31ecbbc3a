"""vdi: the header and map of qemu-img, the layout, and the limit."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import pytest

from imgwriter import vdi
from imgwriter.errors import CapacityError, SpecError
from imgwriter.extent import CHUNK, Bytes, Extent, Volume, extent
from imgwriter.filedata import Packed, part
from imgwriter.units import SECTOR, MiB, TiB

LIMIT = 0x1FFF_FF80 * MiB
"""qemu-img 7.2.22: "max supported is 0x1fffff8000000"."""
FREE = 0xFFFF_FFFF

# What qemu-img 7.2.22 wrote for `create -f vdi -o static=... FILE 1234567`, all but its text and zeros: bytes
# 64 to 83 and 340 to 455, and the entries of the map.
SIGNATURE_TO_FLAGS = {
    "dynamic": bytes.fromhex("7f10dabe01000100800100000100000000000000"),
    "static": bytes.fromhex("7f10dabe01000100800100000200000000000000"),
}
OFFSETS_TO_UUIDS = {
    "dynamic": bytes.fromhex(
        "0002000000040000000000000000000000000000000200000000000000d812000000000000001000000000000200000000000000"
        "75c518310bcdef4389cb4449d23f8a4b88525bb3faf81744933cf04d71e60b26"
        "0000000000000000000000000000000000000000000000000000000000000000"
    ),
    "static": bytes.fromhex(
        "0002000000040000000000000000000000000000000200000000000000d812000000000000001000000000000200000002000000"
        "bf85b95d2408ed48b24b58a1830a684a659ae9567caee54e99c33b8b3260f5b8"
        "0000000000000000000000000000000000000000000000000000000000000000"
    ),
}
MAP = {"dynamic": bytes.fromhex("ffffffffffffffff"), "static": bytes.fromhex("0000000001000000")}
FILE_SIZE = {"dynamic": 1024, "static": 2_098_176}


def parameters(subformat: str = "dynamic") -> vdi.Parameters:
    return vdi.Parameters(subformat, UUID(int=1), UUID(int=2))


def filled(start: int, length: int, byte: int = 0x5A) -> Extent:
    return extent(start, Bytes(bytes([byte]) * length), f"{length} at {start}")


def entries(file: Volume, count: int) -> list[int]:
    table = file.read(512, 4 * count)
    return [int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4)]


# Records


def test_header_has_its_size() -> None:
    assert vdi.HEADER.sizeof() == vdi.TOTAL_HEADER_SIZE == 512
    # header_size counts VDIHEADER1: from itself, after VDIPREHEADER's 72 bytes, to uuid_parent.
    assert 340 + len(OFFSETS_TO_UUIDS["dynamic"]) == 72 + vdi.HEADER_SIZE


@pytest.mark.parametrize("subformat", ["dynamic", "static"])
def test_an_empty_disk_is_that_of_qemu_img_but_for_the_text(subformat: str) -> None:
    theirs = OFFSETS_TO_UUIDS[subformat]
    uuids = [UUID(bytes_le=theirs[at : at + 16]) for at in (52, 68)]
    file = vdi.encode(Volume(1_234_567, []), vdi.Parameters(subformat, *uuids))
    expected = bytearray(FILE_SIZE[subformat])
    expected[:64] = b"<<< imgwriter Virtual Disk Image >>>\n".ljust(64, b"\0")
    expected[64:84] = SIGNATURE_TO_FLAGS[subformat]
    expected[340:456] = theirs
    expected[512:520] = MAP[subformat]
    assert file.read(0, file.size) == expected


def test_uuids_are_little_endian_in_their_first_three_fields() -> None:
    # qemu-img makes UUIDs of version 4: read in another order, theirs have another version.
    for theirs in OFFSETS_TO_UUIDS.values():
        for at in (52, 68):
            assert UUID(bytes_le=theirs[at : at + 16]).version == 4
            assert UUID(bytes=theirs[at : at + 16]).version != 4
    image, snapshot = UUID("00112233-4455-6677-8899-aabbccddeeff"), UUID(int=1)
    file = vdi.encode(Volume(MiB, []), vdi.Parameters("dynamic", image, snapshot))
    assert file.read(392, 32) == bytes.fromhex("33221100554477668899aabbccddeeff" + "00" * 15 + "01")


def test_the_declaration_reads_what_qemu_img_wrote() -> None:
    sector = bytearray(512)
    sector[64:84], sector[340:456] = SIGNATURE_TO_FLAGS["static"], OFFSETS_TO_UUIDS["static"]
    header = vdi.HEADER.parse(sector)
    assert (header.version, header.image_type) == (vdi.VERSION, vdi.ImageType.STATIC)
    assert (header.offset_bmap, header.offset_data, header.disk_size) == (512, 1024, 1_234_944)
    assert (header.block_size, header.blocks_in_image, header.blocks_allocated) == (MiB, 2, 2)
    assert UUID(bytes_le=header.uuid_image) == UUID("5db985bf-0824-48ed-b24b-58a1830a684a")
    assert header.uuid_link == header.uuid_parent == bytes(16)


# Sizes


@pytest.mark.parametrize(
    ("size", "disk_size", "blocks"),
    # disk_size and the number of blocks that qemu-img 7.2.22 gives these sizes.
    [
        (0, 0, 0),
        (1, 512, 1),
        (511, 512, 1),
        (512, 512, 1),
        (513, 1024, 1),
        (MiB - 1, MiB, 1),
        (MiB, MiB, 1),
        (MiB + 1, MiB + 512, 2),
    ],
)
def test_the_disk_is_whole_sectors(size: int, disk_size: int, blocks: int) -> None:
    header = vdi.HEADER.parse(vdi.encode(Volume(size, []), parameters()).read(0, 512))
    assert (header.disk_size, header.blocks_in_image, header.blocks_allocated) == (disk_size, blocks, 0)
    static = vdi.encode(Volume(size, []), parameters("static"))
    assert static.size == (1024 if blocks else 512) + blocks * MiB
    assert vdi.HEADER.parse(static.read(0, 512)).blocks_allocated == blocks


@pytest.mark.parametrize(("blocks", "offset_data"), [(1, 1024), (127, 1024), (128, 1024), (129, 1536)])
def test_data_begins_at_a_sector(blocks: int, offset_data: int) -> None:
    file = vdi.encode(Volume(blocks * MiB, [filled(0, 1)]), parameters())
    assert vdi.HEADER.parse(file.read(0, 512)).offset_data == offset_data
    assert file.read(offset_data, 1) == b"\x5a"
    assert not any(file.read(512 + 4 * blocks, offset_data - 512 - 4 * blocks))


@pytest.mark.parametrize("subformat", ["dynamic", "static"])
@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_up_to_the_limit(size: int, subformat: str) -> None:
    file = vdi.encode(Volume(size, [filled(size - 1, 1)]), parameters(subformat))
    header = vdi.HEADER.parse(file.read(0, 512))
    assert (header.disk_size, header.blocks_in_image) == (LIMIT, 0x1FFF_FF80)
    last = 0 if subformat == "dynamic" else 0x1FFF_FF7F
    assert file.read(512 + 4 * 0x1FFF_FF7F, 4) == last.to_bytes(4, "little")


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 512, 1024 * TiB])
def test_beyond_the_limit(size: int) -> None:
    with pytest.raises(CapacityError, match=r"at most 536,870,784 blocks of 1 MiB.*use qcow2") as caught:
        vdi.encode(Volume(size, []), parameters())
    assert (caught.value.needed, caught.value.available) == (size, LIMIT)


def test_an_unknown_subformat_is_refused() -> None:
    with pytest.raises(SpecError, match="'fixed' is unknown; use dynamic or static"):
        parameters("fixed")


# Layout


def test_blocks_come_in_the_disks_order() -> None:
    # Blocks 1, 3 and 4 of 6; one extent is in 3 and 4, and stays one.
    disk = Volume(6 * MiB, [filled(MiB + 700, 10, 1), filled(4 * MiB - 3, 7, 2), filled(5 * MiB - 1, 1, 3)])
    file = vdi.encode(disk, parameters())
    assert entries(file, 6) == [FREE, 0, FREE, 1, 2, FREE]
    assert file.size == 1024 + 3 * MiB
    assert [(e.start, e.length, e.data) for e in file.extents[2:]] == [
        (1024 + 700, 10, disk.extents[0].data),
        (1024 + 2 * MiB - 3, 7, disk.extents[1].data),
        (1024 + 3 * MiB - 1, 1, disk.extents[2].data),
    ]


def test_static_is_the_disk_behind_the_map() -> None:
    disk = Volume(3 * MiB + 512, [filled(MiB + 700, 10), filled(3 * MiB - 5, 517)])
    file = vdi.encode(disk, parameters("static"))
    assert entries(file, 4) == [0, 1, 2, 3]
    assert file.size == 1024 + 4 * MiB
    assert list(file.extents[2:]) == [e._replace(start=e.start + 1024) for e in disk.extents]


@pytest.mark.parametrize("length", [MiB - SECTOR, MiB, MiB + SECTOR])
@pytest.mark.parametrize("start", [0, MiB - SECTOR, MiB, MiB + SECTOR])
def test_around_a_block(start: int, length: int) -> None:
    disk = Volume(4 * MiB, [filled(start, length)])
    file = vdi.encode(disk, parameters())
    first, last = start // MiB, (start + length - 1) // MiB
    assert entries(file, 4) == [n - first if first <= n <= last else FREE for n in range(4)]
    assert file.size == 1024 + (last - first + 1) * MiB
    assert file.read(1024, file.size - 1024) == disk.read(first * MiB, (last - first + 1) * MiB)


def test_adjacent_blocks_of_different_extents_are_one_run() -> None:
    disk = Volume(8 * MiB, [filled(n * MiB, 10, n + 1) for n in (0, 1, 2, 4, 5, 7)])
    file = vdi.encode(disk, parameters())
    assert entries(file, 8) == [0, 1, 2, FREE, 3, 4, FREE, 5]
    assert [file.read(1024 + n * MiB, 1)[0] for n in range(6)] == [1, 2, 3, 5, 6, 8]


def test_packs_are_moved_whole() -> None:
    pack = Packed(0, 3 * MiB, [part(n * 4096, Bytes(b"x"), n) for n in range(700)])
    disk = Volume(16 * MiB, [Extent(9 * MiB + 17, pack.length, pack, 0, pack)])
    file = vdi.encode(disk, parameters())
    assert file.extents[2] == Extent(1024 + 17, pack.length, pack, 0, pack)


def test_a_sparse_disk_of_64_tib_is_a_few_objects() -> None:
    size = 64 * TiB
    disk = Volume(size, [filled(0, 1), filled(40 * TiB, 2 * MiB), filled(size - 1, 1)])
    file = vdi.encode(disk, parameters())
    assert len(file.extents) == 5
    blocks = size // MiB
    assert file.size == 512 + 4 * blocks + 4 * MiB
    for block, entry in (
        (0, 0),
        (1, FREE),
        (40 * MiB - 1, FREE),
        (40 * MiB, 1),
        (40 * MiB + 1, 2),
        (blocks - 1, 3),
    ):
        assert file.read(512 + 4 * block, 4) == entry.to_bytes(4, "little"), block


# The map, made in parts


def test_any_part_of_the_map_is_the_same() -> None:
    runs = [vdi.Run(1, 3, 0), vdi.Run(5, 6, 2), vdi.Run(8, 12, 3)]
    data = vdi.block_map(13, runs)
    expected = b"".join(
        n.to_bytes(4, "little") for n in (FREE, 0, 1, FREE, FREE, 2, FREE, FREE, 3, 4, 5, 6, FREE)
    )
    assert len(data) == len(expected) == 52
    for start in range(53):
        for stop in range(start, 53):
            assert b"".join(data.chunks(start, stop)) == expected[start:stop], (start, stop)


def test_a_map_of_several_chunks() -> None:
    blocks = CHUNK // 4 * 2 + 5
    bounds = sorted({0, 3, CHUNK // 4 - 1, CHUNK // 4 + 2, 2 * (CHUNK // 4), blocks})
    runs, stored = [], 0
    for first, end in list(pairwise(bounds))[::2]:
        runs.append(vdi.Run(first, end, stored))
        stored += end - first
    found = b"".join(bytes(piece) for piece in vdi.block_map(blocks, runs).chunks(0, 4 * blocks))
    for run in runs:
        for block in (run.first, run.end - 1):
            expected = run.stored + block - run.first
            assert found[4 * block : 4 * block + 4] == expected.to_bytes(4, "little")
    assert found.count(b"\xff\xff\xff\xff") == blocks - stored
