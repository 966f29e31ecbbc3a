"""The VDI reader: blocks, limits and what is refused, on images made by hand."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from imgwriter.errors import FormatError
from tests.unit.readers.images import VDI_FIELDS, MiB, content, in_file, offset_of, opened, vdi

FREE, DISCARDED = 0xFFFFFFFF, 0xFFFFFFFE


def saved(tmp_path: Path, image: bytes | bytearray) -> Path:
    path = tmp_path / "image"
    path.write_bytes(image)
    return path


def refused(tmp_path: Path, image: bytes | bytearray, words: str, where: str, offset: int) -> None:
    with pytest.raises(FormatError, match=re.escape(words)) as caught:
        opened(saved(tmp_path, image), "vdi")
    assert (caught.value.where, caught.value.offset) == (where, offset)


def test_blocks(tmp_path: Path) -> None:
    image = vdi(
        [1, 2, FREE, 0, DISCARDED],
        4 * MiB + 512,
        data={1024: b"d" * MiB, 1024 + MiB: b"a" * MiB, 1024 + 2 * MiB: b"b" * MiB},
    )
    found = opened(saved(tmp_path, image))
    assert found.format == "vdi"
    assert content(found.volume) == b"a" * MiB + b"b" * MiB + bytes(MiB) + b"d" * MiB + bytes(512)
    assert in_file(found.volume) == [(0, 1024 + MiB, 2 * MiB), (3 * MiB, 1024, MiB)]
    assert found.details == {"subformat": "dynamic", "block_size": MiB}


def test_static(tmp_path: Path) -> None:
    image = vdi([0, 1], 2 * MiB, data={1024: b"s" * MiB}, length=1024 + 2 * MiB, image_type=2)
    found = opened(saved(tmp_path, image))
    assert content(found.volume) == b"s" * MiB + bytes(MiB)
    assert found.details["subformat"] == "static"


def test_last_block_may_end_with_the_file(tmp_path: Path) -> None:
    image = vdi([0], MiB, data={1024: b"x"})
    assert content(opened(saved(tmp_path, image)).volume) == b"x".ljust(MiB, b"\0")


@pytest.mark.parametrize(("size", "rounded"), [(0, 0), (1, 512), (512, 512), (513, 1024), (MiB, MiB)])
def test_size_is_rounded_up_to_sectors(tmp_path: Path, size: int, rounded: int) -> None:
    assert opened(saved(tmp_path, vdi([FREE], size))).volume.size == rounded


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("has version 1.0, not 1.1", "version", 0x10000),
        ("is an undo image's", "image_type", 3),
        ("is a differencing image's", "image_type", 4),
        ("has image_type 0,", "image_type", 0),
        ("has image_type 5,", "image_type", 5),
        ("names a parent", "uuid_link", b"\0" * 15 + b"\1"),
        ("names a parent", "uuid_parent", b"\0" * 15 + b"\1"),
        ("has sector_size 4,096; only 512", "sector_size", 4096),
        ("has block_size 2,097,152; only 1,048,576", "block_size", 2 * MiB),
        ("has block_size 0;", "block_size", 0),
        ("has block_extra 512; only 0", "block_extra", 512),
        ("has 1 blocks for a disk of 2,097,152", "disk_size", 2 * MiB),
        ("blocks for a disk of 18,446,744,073,709,551,615 bytes", "disk_size", (1 << 64) - 1),
        ("has offset_bmap 511,", "offset_bmap", 511),
        ("has offset_bmap 0,", "offset_bmap", 0),
        ("has offset_data 1,025,", "offset_data", 1025),
        ("has offset_data 512, not a sector from 516 on", "offset_data", 512),
    ],
)
def test_refused_by_name(tmp_path: Path, words: str, field: str, value: object) -> None:
    with pytest.raises(FormatError, match=re.escape(words)) as caught:
        opened(saved(tmp_path, vdi([0], MiB, data={1024: bytes(MiB)}, **{field: value})))
    expected = {"disk_size": "blocks_in_image", "uuid_parent": "uuid_link"}.get(field, field)
    assert caught.value.where == "VDI header"
    assert caught.value.offset == offset_of(VDI_FIELDS, expected, "<")


@pytest.mark.parametrize("block_map", [[0, 0], [1, FREE], [FREE, 1], [FREE, 0xFFFFFFFD]])
def test_blocks_outside_or_used_twice(tmp_path: Path, block_map: list[int]) -> None:
    image = vdi(block_map, 2 * MiB, length=1024 + MiB)
    index = 0 if block_map[1] == FREE else 1
    refused(tmp_path, image, f"entry {index} of the VDI block map", "VDI block map", 512 + 4 * index)


def test_map_beyond_the_file(tmp_path: Path) -> None:
    image = vdi([FREE], 512 * MiB, blocks_in_image=512, offset_data=4096)
    refused(tmp_path, image, "ends beyond the file", "VDI block map", 512)


def test_limit_of_the_map(tmp_path: Path) -> None:
    """QEMU's: 0x1fffff80 blocks. The map in a hole says that block 0 is used twice."""
    path = saved(tmp_path, vdi([], 3 * MiB, blocks_in_image=0x1FFFFF80, offset_data=1 << 31))
    os.truncate(path, 1 << 40)
    with pytest.raises(FormatError, match="entry 1 of the VDI block map has block 0 at"):
        opened(path)
    path = saved(tmp_path, vdi([], 3 * MiB, blocks_in_image=0x1FFFFF81, offset_data=1 << 31))
    with pytest.raises(FormatError, match="has 536,870,785 blocks"):
        opened(path)


@pytest.mark.parametrize("length", [0, 64, 67, 68, 511])
def test_cut_off(tmp_path: Path, length: int) -> None:
    words = "has no VDI header"
    if length >= 68:
        words = (
            f"the VDI header ends with the file, after {length} bytes; the image is cut off: get the whole"
        )
    refused(tmp_path, vdi([], 0)[:length], words, "VDI header", 64)


@pytest.mark.parametrize(("allocated", "cut"), [(1, False), (2, True)])
def test_a_block_behind_the_end_is_missing_if_so_many_are_allocated(
    allocated: int, cut: bool, tmp_path: Path
) -> None:
    image = vdi([0, 1], 2 * MiB, length=1024 + MiB, blocks_allocated=allocated)
    remedy = "the image is cut off: get the whole of the file" if cut else "the image is damaged: get it anew"
    words = (
        f"has block 1 at {1024 + MiB:,}, which is taken or not in the file's {1024 + MiB:,} bytes; {remedy}"
    )
    refused(tmp_path, image, words, "VDI block map", 516)
