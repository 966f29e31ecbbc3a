"""verify.containers.vhd: footers, header, table and bitmaps of images made by hand from the specification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter.filedata import Amount
from imgwriter.readers.hostfile import open_file
from imgwriter.verify.containers.vhd import verify_vhd
from imgwriter.verify.values import Result
from tests.unit.readers.images import KiB, dynamic_vhd, footer, put, vhd_checksum

SIZE = 128 * KiB
# Blocks of 64 KiB at sectors 4 and 4 + 1 + 128: each with a bitmap of one sector before it.
FIRST, SECOND = 4, 4 + 129
IDENTITY: dict[str, object] = {
    "unique_id": b"u" * 16, "cylinder": 3, "heads": 4, "sectors_per_track": 17,
}  # fmt: skip


class Image:
    """A dynamic VHD with two blocks."""

    def __init__(self, bat: list[int] | None = None, **fields: object) -> None:
        ones = b"\xff" * 512
        data = {FIRST * 512: ones + b"first", SECOND * 512: ones + b"second"}
        self.image = dynamic_vhd(
            [FIRST, SECOND] if bat is None else bat, SIZE, data=data, header={"block_size": 64 * KiB},
            length=(SECOND + 129) * 512, **{**IDENTITY, **fields},
        )  # fmt: skip

    def put(self, code: str, at: int, *values: object, copy: bool = False) -> Image:
        """Set bytes; at a negative offset those of the footer, and of its copy where asked for."""
        end = len(self.image)
        put(self.image, at if at >= 0 else end + at, code, *values)
        if copy:
            put(self.image, at + 512, code, *values)
        return self

    def signed(self) -> Image:
        """Give footer, copy and header the checksums of their bytes."""
        for at, size, field in ((0, 512, 64), (512, 1024, 36), (len(self.image) - 512, 512, 64)):
            put(self.image, at + field, ">I", vhd_checksum(self.image[at : at + size], field))
        return self

    def verify(self, path: Path, seen: list[tuple[Amount, Amount]] | None = None) -> Result:
        path.write_bytes(self.image)
        return verify_vhd(open_file(bytes(path)), None if seen is None else lambda d, t: seen.append((d, t)))


def test_nothing_is_said_about_a_whole_one(tmp_path: Path) -> None:
    seen: list[tuple[Amount, Amount]] = []
    assert Image().verify(tmp_path / "image", seen) == Result()
    assert [done.bytes for done, _ in seen] == [64 * KiB, 128 * KiB]


def test_nothing_is_said_about_a_whole_fixed_one(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(SIZE) + footer(SIZE, **IDENTITY))
    assert verify_vhd(open_file(bytes(path))) == Result()


@pytest.mark.parametrize("more", [-512, 512])
def test_a_fixed_one_has_the_size_it_says(tmp_path: Path, more: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(SIZE + more) + footer(SIZE, **IDENTITY))
    result = verify_vhd(open_file(bytes(path)))
    assert [f.field for f in result.findings] == (["current_size"] if more < 0 else [])
    assert [n.field for n in result.notes] == (["current_size"] if more > 0 else [])


@pytest.mark.parametrize("byte", range(0, 512, 3))
def test_any_bit_of_a_footer_is_found(tmp_path: Path, byte: int) -> None:
    for at in (byte, byte - 512):
        image = Image()
        image.image[at] ^= 1 << byte % 8
        assert image.verify(tmp_path / "image").findings


@pytest.mark.parametrize("byte", range(0, 1024, 7))
def test_any_bit_of_a_dynamic_header_is_found(tmp_path: Path, byte: int) -> None:
    image = Image()
    image.image[512 + byte] ^= 1 << byte % 8
    findings = image.verify(tmp_path / "image").findings
    assert "VHD dynamic header" in {f.structure for f in findings}


# Offsets from the end: the footer's last 512 bytes. Spec: "Hard Disk Footer Format".
FOOTER_DAMAGES = {
    "features": ((-512 + 8, ">I", 0), "features"), "features more": ((-512 + 8, ">I", 6), "features"),
    "version": ((-512 + 12, ">I", 0x20000), "file_format_version"),
    "size": ((-512 + 48, ">Q", SIZE + 1), "current_size"),
    "geometry": ((-512 + 56, ">HBB", 65535, 16, 63), "disk_geometry"),
    "geometry 0": ((-512 + 56, ">HBB", 0, 4, 17), "disk_geometry"),
    "type": ((-512 + 60, ">I", 5), "disk_type"), "reserved": ((-512 + 100, ">B", 1), "reserved"),
    "header": ((-512 + 16, ">Q", 1 << 40), "data_offset"),
    "header unaligned": ((-512 + 16, ">Q", 513), "data_offset"),
}  # fmt: skip


@pytest.mark.parametrize("damage", FOOTER_DAMAGES)
def test_a_field_of_the_footer_is_named(tmp_path: Path, damage: str) -> None:
    """With the right checksum, and the same in the copy."""
    (at, code, *values), field = FOOTER_DAMAGES[damage]
    image = Image().put(str(code), int(str(at)), *values, copy=True).signed()
    assert field in {f.field for f in image.verify(tmp_path / "image").findings}


# Offsets: "Dynamic Disk Header Format", after 512 bytes.
HEADER_DAMAGES = {
    "next": ((512 + 8, ">Q", 0), "data_offset"), "table": ((512 + 16, ">Q", 1 << 40), "table_offset"),
    "table unaligned": ((512 + 16, ">Q", 1537), "table_offset"),
    "version": ((512 + 24, ">I", 1), "header_version"),
    "entries": ((512 + 28, ">I", 1), "max_table_entries"),
    "block size": ((512 + 32, ">I", 96 * KiB), "block_size"),
    "parent": ((512 + 40, ">B", 1), "parent_unique_id"), "reserved": ((512 + 800, ">B", 1), "reserved"),
    "cookie": ((512, ">8s", b"cxsparsd"), "cookie"),
}  # fmt: skip


@pytest.mark.parametrize("damage", HEADER_DAMAGES)
def test_a_field_of_the_header_is_named(tmp_path: Path, damage: str) -> None:
    (at, code, value), field = HEADER_DAMAGES[damage]
    image = Image().put(str(code), int(str(at)), value).signed()
    findings = image.verify(tmp_path / "image").findings
    assert ("VHD dynamic header", field) in {(f.structure, f.field) for f in findings}


@pytest.mark.parametrize(
    ("bat", "field"),
    [
        ([FIRST, SECOND + 1], "entry 1"),
        ([FIRST, 0], "entry 1"),
        ([FIRST, FIRST], ""),
        ([FIRST, FIRST + 1], ""),
        ([2, SECOND], ""),
        ([FIRST, 0xFFFFFFFF], None),
        ([SECOND, FIRST], None),
    ],
)
def test_blocks_are_in_places_of_their_own(tmp_path: Path, bat: list[int], field: str | None) -> None:
    findings = Image(bat).verify(tmp_path / "image").findings
    assert [f.field for f in findings] == ([] if field is None else [field])


def test_a_copy_that_differs_is_named(tmp_path: Path) -> None:
    image = Image()
    image.put(">I", 24, 5).signed()
    (finding,) = image.verify(tmp_path / "image").findings
    assert finding.structure == "VHD footer, copy at the start"
    assert finding.offset == 27


@pytest.mark.parametrize("last", [True, False])
def test_either_footer_alone_is_enough_to_go_on(tmp_path: Path, last: bool) -> None:
    image = Image([FIRST, 0])
    image.put(">8s", -512 if last else 0, b"XXXXXXXX")
    findings = image.verify(tmp_path / "image").findings
    assert {"cookie", "entry 1"} <= {f.field for f in findings}


def test_a_sector_that_is_marked_unused_holds_nothing(tmp_path: Path) -> None:
    image = Image().put(">B", SECOND * 512, 0x7F)
    (finding,) = image.verify(tmp_path / "image").findings
    assert finding.field == "bitmap of block 1"
    assert finding.found == "sector 0 clear"
    assert finding.offset == SECOND * 512
    # What is zero may be marked so.
    assert Image().put(">B", SECOND * 512, 0xBF).verify(tmp_path / "image") == Result()


NOTES: dict[str, Callable[[Image], Image]] = {
    "saved_state": lambda i: i.put(">B", -512 + 84, 1, copy=True),
    "unique_id": lambda i: i.put(">16s", -512 + 68, bytes(16), copy=True),
    "disk_type": lambda i: i.put(">I", -512 + 60, 4, copy=True),
}


@pytest.mark.parametrize("field", NOTES)
def test_what_is_rare_is_a_note(tmp_path: Path, field: str) -> None:
    result = NOTES[field](Image()).signed().verify(tmp_path / "image")
    assert result.findings == ()
    assert [note.field for note in result.notes] == [field]


@pytest.mark.parametrize(
    ("sectors", "lost"), [(FIRST + 100, "2 blocks"), (SECOND + 2, "1 block"), (SECOND + 129, "0 blocks")]
)
def test_the_end_of_a_file_is_missing(tmp_path: Path, sectors: int, lost: str) -> None:
    """The copy of the footer at the start says what the disk is."""
    image = Image()
    image.put(">64s", (SECOND + 1) * 512, b"x" * 64)
    image.image = image.image[: sectors * 512]
    (finding,) = image.verify(tmp_path / "image").findings
    assert (finding.structure, finding.field) == ("VHD footer", "")
    assert finding.offset == (sectors - 1) * 512
    assert finding.found == f"none: the end of the file is missing, with {lost} of the block allocation table"
    assert finding.expected.endswith("get the whole of the file")


@pytest.mark.parametrize("kind", [2, 4, 5])
def test_the_end_of_a_file_that_is_not_dynamic_is_missing(tmp_path: Path, kind: int) -> None:
    """Nothing but the copy of the footer is looked at, and the footer itself is missed."""
    image = Image().put(">I", -512 + 60, kind, copy=True).signed()
    image.image = image.image[: SECOND * 512]
    findings = [f for f in image.verify(tmp_path / "image").findings if f.structure == "VHD footer"]
    assert [f.found for f in findings] == ["none: the end of the file is missing"]


def test_entries_behind_the_end_are_one_finding(tmp_path: Path) -> None:
    (finding,) = Image([1000, 2000]).verify(tmp_path / "image").findings
    assert finding.field == "entry 0"
    assert finding.found.endswith(f"too: 1 entry more, up to byte {(2000 + 129) * 512:,}")
    # The footer is there.
    assert "get the whole" not in finding.expected


@pytest.mark.parametrize("length", [0, 511, 512, 1024, 1536, 1600])
def test_a_file_that_is_cut_off(tmp_path: Path, length: int) -> None:
    image = Image()
    image.image = image.image[:length]
    assert image.verify(tmp_path / "image").findings
