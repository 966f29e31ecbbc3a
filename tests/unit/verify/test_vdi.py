"""verify.containers.vdi: the header, and a map whose blocks are in places of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imgwriter.readers.hostfile import open_file
from imgwriter.verify.containers.vdi import verify_vdi
from imgwriter.verify.values import Result
from tests.unit.readers.images import VDI_FIELDS, MiB, offset_of, vdi

FREE, ZERO = 0xFFFFFFFF, 0xFFFFFFFE


def verified(path: Path, block_map: list[int], length: int = 1024 + 2 * MiB, **fields: Any) -> Result:
    path.write_bytes(vdi(block_map, len(block_map) * MiB, length=length, **fields))
    return verify_vdi(open_file(bytes(path)))


@pytest.mark.parametrize("block_map", [[0, 1], [1, 0], [FREE, 1, ZERO, 0], []])
def test_nothing_is_said_about_a_whole_one(tmp_path: Path, block_map: list[int]) -> None:
    length = 1024 + sum(entry < ZERO for entry in block_map) * MiB
    assert verified(tmp_path / "image", block_map, length) == Result()


DAMAGES: dict[str, tuple[str, Any]] = {
    "signature": ("signature", 0xBEDA107E), "version": ("version", 0x10000), "size": ("header_size", 383),
    "type": ("image_type", 5), "sector": ("sector_size", 4096), "block": ("block_size", 2 * MiB),
    "extra": ("block_extra", 512), "blocks": ("blocks_in_image", 1), "allocated": ("blocks_allocated", 3),
    "map": ("offset_bmap", 511), "map far": ("offset_bmap", 1 << 30), "map in header": ("offset_bmap", 0),
    "data": ("offset_data", 1000), "data in map": ("offset_data", 512), "disk": ("disk_size", 3 * MiB),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_field_of_the_header_is_named(tmp_path: Path, damage: str) -> None:
    field, value = DAMAGES[damage]
    named = "blocks_in_image" if field == "disk_size" else field
    findings = verified(tmp_path / "image", [0, 1], **{field: value}).findings
    at = offset_of(VDI_FIELDS, named, "<")
    assert ("VDI header", named, at) in {(f.structure, f.field, f.offset) for f in findings}


@pytest.mark.parametrize(
    ("field", "value"),
    [("image_flags", 1), ("unused1", 1), ("uuid_image", bytes(16)), ("uuid_parent", b"p" * 16),
     ("disk_size", 2 * MiB - 1), ("image_type", 4), ("blocks_in_image", 3)],
)  # fmt: skip
def test_what_is_rare_is_a_note(tmp_path: Path, field: str, value: Any) -> None:
    path = tmp_path / "image"
    path.write_bytes(
        vdi([0, 1, FREE], 2 * MiB, length=1024 + 2 * MiB, **{"blocks_in_image": 2, field: value})
    )
    result = verify_vdi(open_file(bytes(path)))
    assert result.findings == ()
    named = "uuid_link" if field == "uuid_parent" else field
    assert [note.field for note in result.notes] == [named]


@pytest.mark.parametrize(
    ("block_map", "expected"),
    [
        ([0, 0], "a block of its own"),
        ([0, 2], "a whole block in the file's 2,098,176 bytes"),
        ([0, 1 << 31], "a whole block in the file's 2,098,176 bytes"),
        ([1, FREE], "below blocks_allocated 1"),
    ],
)
def test_a_block_has_a_place_of_its_own(tmp_path: Path, block_map: list[int], expected: str) -> None:
    findings = verified(tmp_path / "image", block_map).findings
    assert ("VDI block map", expected) in {(f.structure, f.expected) for f in findings}


@pytest.mark.parametrize(("missing", "holds"), [(0, True), (1, False)])
def test_a_block_is_whole(tmp_path: Path, missing: int, holds: bool) -> None:
    findings = verified(tmp_path / "image", [0, 1], 1024 + 2 * MiB - missing).findings
    assert (findings == ()) == holds


def test_blocks_behind_the_end_are_one_finding(tmp_path: Path) -> None:
    (finding,) = verified(tmp_path / "image", [0, 1, 2, 3], 1024 + 2 * MiB - 1).findings
    assert finding.field == "entry 1"
    stop = 1024 + 4 * MiB
    assert finding.found.endswith(f"too: 2 entries more, up to byte {stop:,}; the file is cut off")
    assert finding.expected.endswith("get the whole of the file")


@pytest.mark.parametrize(("place", "cut"), [(2, False), (900, False), (1, True)])
def test_a_block_behind_those_that_are_allocated_is_damaged(tmp_path: Path, place: int, cut: bool) -> None:
    """blocks_allocated is 2: so many blocks the file had."""
    size = 1024 + (1 if cut else 2) * MiB
    findings = verified(tmp_path / "image", [0, place], size).findings
    assert [f.found.endswith("; the file is cut off") for f in findings if f.field == "entry 1"] == [cut]


@pytest.mark.parametrize("length", [0, 511, 512, 519])
def test_a_file_that_is_cut_off(tmp_path: Path, length: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(vdi([0, 1], 2 * MiB)[:length])
    assert verify_vdi(open_file(bytes(path))).findings
