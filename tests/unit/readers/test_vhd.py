"""The VHD reader: blocks, bitmaps, footers, sizes and what is refused, on images made by hand."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from imgwriter.errors import FormatError
from tests.unit.readers.images import (
    DYNAMIC_HEADER_FIELDS,
    FOOTER_FIELDS,
    MiB,
    content,
    dynamic_vhd,
    footer,
    in_file,
    offset_of,
    opened,
    put,
)

BLOCK = 2 * MiB
STORED = 512 + BLOCK
FREE = 0xFFFFFFFF
ALL = b"\xff" * 512
GEOMETRY = {"cylinder": 4, "heads": 4, "sectors_per_track": 17}  # 272 sectors


def saved(tmp_path: Path, image: bytes | bytearray) -> Path:
    path = tmp_path / "image"
    path.write_bytes(image)
    return path


def refused(tmp_path: Path, image: bytes | bytearray, words: str, where: str, offset: int) -> None:
    with pytest.raises(FormatError, match=re.escape(words)) as caught:
        opened(saved(tmp_path, image), "vpc")
    assert (caught.value.where, caught.value.offset) == (where, offset)


def test_blocks(tmp_path: Path) -> None:
    # Disk of 5 MiB: block 0 free, block 1 second in the file, block 2 (half of it on the disk) first.
    image = dynamic_vhd(
        [FREE, (2048 + STORED) // 512, 4],
        5 * MiB,
        data={2048: ALL, 2560: b"c" * MiB, 2048 + STORED: ALL, 2560 + STORED: b"b" * BLOCK},
        length=2048 + 2 * STORED,
    )
    found = opened(saved(tmp_path, image))
    assert found.format == "vpc"
    assert content(found.volume) == bytes(BLOCK) + b"b" * BLOCK + b"c" * MiB
    assert in_file(found.volume) == [(BLOCK, 2560 + STORED, BLOCK), (2 * BLOCK, 2560, MiB)]
    assert found.details == {
        "subformat": "dynamic",
        "creator_application": "win",
        "footer": "at the end",
        "block_size": BLOCK,
    }


def test_sectors_whose_bit_is_clear_are_zeros(tmp_path: Path) -> None:
    # The most significant bit is the first sector's: 0x50 is sectors 1 and 3, 0x03 sectors 14 and 15.
    bitmap = b"\x50\x03" + bytes(510)
    image = dynamic_vhd([4], BLOCK, data={2048: bitmap, 2560: b"x" * BLOCK})
    volume = opened(saved(tmp_path, image)).volume
    assert in_file(volume) == [
        (512, 2560 + 512, 512),
        (3 * 512, 2560 + 3 * 512, 512),
        (14 * 512, 2560 + 14 * 512, 1024),
    ]
    assert content(volume)[14 * 512 : 17 * 512] == b"x" * 1024 + bytes(512)


@pytest.mark.parametrize("block_size", [512, 4096, 1 << 19, 1 << 22])
def test_other_block_sizes(tmp_path: Path, block_size: int) -> None:
    bitmap_size = max(block_size // 4096, 512)
    image = dynamic_vhd(
        [4, FREE],
        2 * block_size,
        header={"block_size": block_size},
        data={2048: b"\xff" * bitmap_size, 2048 + bitmap_size: b"y" * block_size},
    )
    assert content(opened(saved(tmp_path, image)).volume) == b"y" * block_size + bytes(block_size)


def test_fixed(tmp_path: Path) -> None:
    disk = b"disk" * 256
    found = opened(saved(tmp_path, disk + footer(1024)))
    assert found.format == "vpc"
    assert content(found.volume) == disk
    assert found.details["subformat"] == "fixed"
    assert opened(saved(tmp_path, disk + footer(512))).volume.size == 512  # what its footer says
    assert opened(saved(tmp_path, footer(0))).volume.size == 0
    refused(
        tmp_path, disk + footer(1536), "1,536 bytes are before it, there are 1,024", "VHD footer", 1024 + 48
    )


def test_fixed_disk_of_a_guest_that_wrote_a_footer_at_its_start(tmp_path: Path) -> None:
    disk = footer(4096, disk_type=3, data_offset=512)
    assert content(opened(saved(tmp_path, disk + footer(512))).volume) == disk


def test_copy_at_the_start_where_the_footer_is_damaged(tmp_path: Path) -> None:
    image = dynamic_vhd([4], BLOCK, data={2048: ALL, 2560: b"x" * BLOCK})
    for damaged in (image[:-512], image[:-1] + b"!", image[:-512] + bytes(512)):
        found = opened(saved(tmp_path, damaged))
        assert content(found.volume) == b"x" * BLOCK
        assert found.details["footer"] == "copy at the start"
    image[0] = image[-512] = 0
    refused(
        tmp_path, image, "neither at the end of the file nor at its start", "VHD footer", len(image) - 512
    )
    image[-512] = b"c"[0]
    assert opened(saved(tmp_path, image)).details["footer"] == "at the end"


def test_copy_that_differs(tmp_path: Path) -> None:
    image = dynamic_vhd([FREE], BLOCK)
    image[:512] = footer(BLOCK // 2, disk_type=3, data_offset=512)
    refused(tmp_path, image, "and its copy at the start of the file differ", "VHD footer", len(image) - 512)


def test_a_copy_is_no_fixed_disk(tmp_path: Path) -> None:
    image = footer(512) + bytes(512)
    refused(tmp_path, image, "neither at the end of the file nor at its start", "VHD footer", 512)


@pytest.mark.parametrize(
    ("creator", "by_geometry"),
    [
        (b"vpc ", True),
        (b"qemu", True),
        (b"qem2", False),
        (b"win ", False),
        (b"d2v ", False),
        (b"\0\0\0\0", False),
    ],
)
def test_size_is_the_geometrys_or_the_fields(tmp_path: Path, creator: bytes, by_geometry: bool) -> None:
    image = dynamic_vhd([FREE], 300 * 512, creator_application=creator, **GEOMETRY)
    assert opened(saved(tmp_path, image)).volume.size == (272 if by_geometry else 300) * 512


@pytest.mark.parametrize("cylinder", [65534, 65535])
def test_largest_geometry_says_nothing(tmp_path: Path, cylinder: int) -> None:
    geometry = {"cylinder": cylinder, "heads": 16, "sectors_per_track": 255}
    size = 3 << 40 >> 3
    image = dynamic_vhd([FREE] * (size // BLOCK), size, creator_application=b"qemu", **geometry)
    expected = size if cylinder == 65535 else 65534 * 16 * 255 * 512
    assert opened(saved(tmp_path, image)).volume.size == expected


def test_limit_of_the_size(tmp_path: Path) -> None:
    limit = 2040 << 30
    image = dynamic_vhd([FREE] * (limit // BLOCK), limit)
    assert opened(saved(tmp_path, image)).volume.size == limit
    for size in (limit + 512, 513, (1 << 64) - 512):
        image = dynamic_vhd([FREE], size)
        refused(tmp_path, image, f"the disk has {size:,} bytes", "VHD footer", len(image) - 512 + 48)


@pytest.mark.parametrize("disk_type", [0, 1, 5, 6, 0xFFFFFFFF])
def test_unknown_disk_types(tmp_path: Path, disk_type: int) -> None:
    image = dynamic_vhd([FREE], BLOCK, disk_type=disk_type)
    refused(tmp_path, image, f"has disk_type {disk_type}", "VHD footer", len(image) - 512 + 60)


def test_differencing_disk(tmp_path: Path) -> None:
    image = dynamic_vhd([FREE], BLOCK, disk_type=4)
    refused(tmp_path, image, "a differencing disk's", "VHD footer", len(image) - 512 + 60)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("begins b'cxsparsf', not b'cxsparse'", "cookie", b"cxsparsf"),
        ("has a checksum that its bytes do not give", "checksum", 0),
        ("has block_size 0,", "block_size", 0),
        ("has block_size 256,", "block_size", 256),
        ("has block_size 2,097,153,", "block_size", BLOCK + 1),
        ("has 0 blocks of 2,097,152 bytes for a disk of 2,097,152", "max_table_entries", 0),
    ],
)
def test_dynamic_header(tmp_path: Path, words: str, field: str, value: object) -> None:
    image = dynamic_vhd([FREE], BLOCK, header={field: value})
    refused(tmp_path, image, words, "VHD dynamic header", 512 + offset_of(DYNAMIC_HEADER_FIELDS, field))


@pytest.mark.parametrize("offset", [3000, 1 << 40, (1 << 64) - 1])
def test_structures_beyond_the_file(tmp_path: Path, offset: int) -> None:
    image = dynamic_vhd([FREE], BLOCK, data_offset=offset)
    refused(tmp_path, image, "ends beyond the file", "VHD dynamic header", offset)
    image = dynamic_vhd([FREE], BLOCK, header={"table_offset": offset})
    refused(tmp_path, image, "ends beyond the file", "VHD block allocation table", offset)


@pytest.mark.parametrize("place", [0, 5, 0xFFFFFFFE])
def test_blocks_outside(tmp_path: Path, place: int) -> None:
    image = dynamic_vhd(
        [FREE, place], 2 * BLOCK, length=2048 + STORED - 512
    )  # with the footer as long as a block
    words = f"entry 1 of the VHD block allocation table has a block at {place * 512:,}"
    refused(tmp_path, image, words, "VHD block allocation table", 1540)


@pytest.mark.parametrize("bat", [[4, 4], [4, 5], [FREE, 3], [2, FREE], [1, FREE], [FREE, 4102]])
def test_nothing_is_used_twice(tmp_path: Path, bat: list[int]) -> None:
    image = dynamic_vhd(bat, 2 * BLOCK, length=2048 + 2 * STORED)
    image = image if bat[1] != 4102 else image[: 4102 * 512 + STORED - 512] + image[-512:]
    refused_where = "VHD block allocation table"
    with pytest.raises(FormatError, match="of the file twice") as caught:
        opened(saved(tmp_path, image))
    assert caught.value.where == refused_where


def test_table_in_a_hole(tmp_path: Path) -> None:
    """A sparse file whose table of 4 GiB is zeros: every block at the file's start."""
    image = dynamic_vhd([], 1 << 39, header={"block_size": 512, "max_table_entries": 1 << 30})
    path = saved(tmp_path, image[:-512])
    os.truncate(path, 1 << 40)
    with pytest.raises(FormatError, match="entry 0 of the VHD block allocation table has a block at 0,"):
        opened(path)


def test_a_block_behind_the_end_is_missing_if_the_footer_is(tmp_path: Path) -> None:
    """A footer that is there is the file's end, and a damaged one has parts of its copy."""
    image = dynamic_vhd([FREE, 4], 2 * BLOCK, length=2048 + STORED, unique_id=b"u" * 16)
    assert len(content(opened(saved(tmp_path, image)).volume)) == 2 * BLOCK
    where = "VHD block allocation table"
    cut = "the image is cut off: get the whole of the file"
    for length in (STORED, len(image) - 513):
        refused(tmp_path, image[:length], cut, where, 1540)
    damaged = "the image is damaged: get it anew"
    refused(tmp_path, image[:STORED] + image[-512:], damaged, where, 1540)
    last = bytearray(image[-512:])
    last[0] ^= 1
    refused(tmp_path, image[:STORED] + last, damaged, where, 1540)


@pytest.mark.parametrize("length", [0, 1, 8, 511])
def test_cut_off(tmp_path: Path, length: int) -> None:
    refused(tmp_path, footer(0)[:length], "neither at the end", "VHD footer", 0)


def test_every_byte_of_a_footer_is_in_its_checksum(tmp_path: Path) -> None:
    image = bytes(512) + footer(512)
    for field in FOOTER_FIELDS:
        damaged = bytearray(image)
        at = 512 + offset_of(FOOTER_FIELDS, field)
        put(damaged, at, "B", damaged[at] ^ 1)
        refused(tmp_path, damaged, "with the right checksum", "VHD footer", 512)
