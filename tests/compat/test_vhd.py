"""VHD, judged by QEMU, dissect.hypervisor and, for the disk within, sgdisk.

``qemu-img check`` knows nothing of VHD (as of 7.2), and says so: there is a test of that. In its place the
bytes of whole files are compared with those that ``qemu-img convert`` makes of the same disk.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from dissect.hypervisor.disk.vhd import VHD

from imgwriter import sink, vhd
from imgwriter.disk import DiskIdentifiers, plan
from imgwriter.extent import Bytes, Extent, Volume, extent
from imgwriter.units import SECTOR, GiB, MiB, align_up
from tests.oracles import qemu_img, sgdisk

pytestmark = pytest.mark.compat

BLOCK = 2 * MiB
KINDS = [(subformat, force_size) for subformat in ("dynamic", "fixed") for force_size in (False, True)]
SIZES = [SECTOR, BLOCK - SECTOR, BLOCK, BLOCK + SECTOR, 11 * MiB, 40 * MiB]
OURS = {"creator_application", "creator_version", "time_stamp", "unique_id", "checksum"}
"""The fields of a footer that may differ from QEMU's: who made it, when, and which."""


def parameters(subformat: str, force_size: bool) -> vhd.Parameters:
    return vhd.Parameters(subformat, force_size, UUID("00112233-4455-6677-8899-aabbccddeeff"), 1_700_000_000)


def virtual_size(size: int, force_size: bool) -> int:
    return align_up(size, MiB) if force_size else vhd.rounded_size(size)


def disk_of(size: int) -> Volume:
    """Return a disk with content at every edge of a block, untouched blocks, and an extent over several."""
    content = random.Random(size).randbytes(5 * MiB)
    wanted = [
        (0, 700),
        (BLOCK - 3 * SECTOR, 6 * SECTOR),
        (4 * BLOCK - 1, 1),
        (6 * BLOCK, 2 * BLOCK + SECTOR + 100),
    ]
    wanted += [(9 * BLOCK + 100, 1), (10 * BLOCK + 10, 20), (10 * BLOCK + 30, 40), (size - 1, 1)]
    extents: list[Extent] = []
    end = 0
    for start, length in sorted(wanted):
        stop = min(start + length, size)
        start = max(start, end)
        if start < stop:
            extents.append(extent(start, Bytes(content[: stop - start]), f"{start}"))
            end = stop
    return Volume(size, extents)


def make(folder: Path, disk: Volume, subformat: str, force_size: bool) -> tuple[Path, Path]:
    """Write a disk as it is and as a VHD."""
    raw, image = folder / "disk.raw", folder / "disk.vhd"
    sink.write(disk, raw)
    sink.write(vhd.encode(disk, parameters(subformat, force_size)), image)
    return raw, image


def footer(image: Path) -> Any:
    with image.open("rb") as file:
        file.seek(-512, 2)
        return vhd.FOOTER.parse(file.read(512))


def differing(ours: Any, theirs: Any) -> set[str]:
    return {name for name in ours if not name.startswith("_") and ours[name] != theirs[name]}


def damage(image: Path, offset: int, content: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("subformat", "force_size"), KINDS)
def test_readers_see_the_disk(tmp_path: Path, subformat: str, force_size: bool, size: int) -> None:
    size = virtual_size(size, force_size)
    disk = disk_of(size)
    raw, image = make(tmp_path, disk, subformat, force_size)
    assert qemu_img.info(image, "vpc")["virtual-size"] == size
    if subformat == "dynamic":
        # QEMU probes a file by its beginning: a fixed VHD has to be named.
        assert qemu_img.info(image)["format"] == "vpc"
    qemu_img.compare(image, "vpc", raw)
    with image.open("rb") as file:
        stream = VHD(file)
        assert stream.size == size
        assert stream.read() == raw.read_bytes()


@pytest.mark.parametrize(("subformat", "force_size"), KINDS)
def test_the_emulated_disk_reads_the_edges_of_blocks(
    tmp_path: Path, subformat: str, force_size: bool
) -> None:
    size = virtual_size(40 * MiB, force_size)
    disk = disk_of(size)
    _, image = make(tmp_path, disk, subformat, force_size)
    for bound in (*range(BLOCK, 12 * BLOCK, BLOCK), size - SECTOR):
        found = qemu_img.read(image, "vpc", bound - SECTOR, 2 * SECTOR)
        assert found == disk.read(bound - SECTOR, 2 * SECTOR), bound


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("subformat", "force_size"), KINDS)
def test_the_file_is_that_of_qemu_img(tmp_path: Path, subformat: str, force_size: bool, size: int) -> None:
    raw, image = make(tmp_path, disk_of(virtual_size(size, force_size)), subformat, force_size)
    options: dict[str, object] = {"subformat": subformat, "force_size": "on" if force_size else "off"}
    theirs = qemu_img.convert(raw, "raw", tmp_path / "theirs", "vpc", **options)
    assert differing(footer(image), footer(theirs)) <= OURS
    ours, expected = bytearray(image.read_bytes()), bytearray(theirs.read_bytes())
    assert len(ours) == len(expected)
    ours[-512:] = expected[-512:]
    if subformat == "dynamic":
        ours[:512] = expected[:512]
    assert ours == expected


@pytest.mark.parametrize("size", [127 * GiB, 128 * GiB, 2040 * GiB])
@pytest.mark.parametrize(("subformat", "force_size"), KINDS)
def test_large_sparse_disks(tmp_path: Path, subformat: str, force_size: bool, size: int) -> None:
    size = virtual_size(size, force_size)
    disk = Volume(size, [extent(0, Bytes(b"first"), "first"), extent(size - 4, Bytes(b"LLLL"), "last")])
    image = tmp_path / "disk.vhd"
    sink.write(vhd.encode(disk, parameters(subformat, force_size)), image)
    assert qemu_img.info(image, "vpc")["virtual-size"] == size
    assert qemu_img.read(image, "vpc", 0, 5) == b"first"
    qemu_img.reads(image, "vpc", size - 4, 4, ord("L"))
    with image.open("rb") as file:
        stream = VHD(file)
        assert stream.size == size
        stream.seek(size - 4)
        assert stream.read() == b"LLLL"


@pytest.mark.parametrize(
    "size", [0, 1, 777 * MiB, 127 * GiB, 65_535 * 16 * 255 * SECTOR - SECTOR, 2040 * GiB]
)
def test_qemu_img_rounds_sizes_as_we_do(tmp_path: Path, size: int) -> None:
    # Few, to notice another QEMU: the many are in tests/vectors/vhd-sizes.json.
    image = qemu_img.create(tmp_path / "disk.vhd", "vpc", size)
    assert qemu_img.info(image, "vpc")["virtual-size"] == vhd.rounded_size(size)


def test_qemu_img_refuses_more_than_2040_gib_too(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="too large for file format 'vpc'"):
        qemu_img.create(tmp_path / "disk.vhd", "vpc", 2040 * GiB + MiB)


@pytest.mark.parametrize("size", [BLOCK, 11 * MiB])
@pytest.mark.parametrize(("subformat", "force_size"), KINDS)
def test_headers_field_by_field(tmp_path: Path, subformat: str, force_size: bool, size: int) -> None:
    size = virtual_size(size, force_size)
    _, image = make(tmp_path, Volume(size, []), subformat, force_size)
    flag = "on" if force_size else "off"
    theirs = qemu_img.create(tmp_path / "theirs", "vpc", size, subformat=subformat, force_size=flag)
    # The sums of different bytes are equal now and then.
    assert differing(footer(image), footer(theirs)) | {"checksum"} == OURS
    assert footer(theirs).creator_application == (b"qem2" if force_size else b"qemu")
    if subformat == "dynamic":
        assert image.read_bytes()[512:-512] == theirs.read_bytes()[512:-512]


def test_map_has_a_run_for_each_touched_block(tmp_path: Path) -> None:
    size = 40 * MiB
    _, image = make(tmp_path, disk_of(size), "dynamic", True)
    data = [run for run in qemu_img.map_(image, "vpc") if run["data"]]
    blocks = [0, 1, 3, 6, 7, 8, 9, 10, 19]
    # The last entry of the BAT begins at 1,536; it takes a sector. Bitmaps make each run a block long.
    assert [(run["start"], run["length"], run["offset"]) for run in data] == [
        (block * BLOCK, BLOCK, 2048 + number * (512 + BLOCK) + 512) for number, block in enumerate(blocks)
    ]


@pytest.mark.parametrize("kind", ["efi", "hybrid"])
@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
def test_a_gpt_planned_at_the_rounded_size_has_its_backup_at_the_end(
    tmp_path: Path, subformat: str, kind: Any
) -> None:
    size = vhd.rounded_size(600 * MiB)
    assert size == 629_637_120
    table = plan(kind, size, identifiers=DiskIdentifiers("seed")).table_volume()
    _, image = make(tmp_path, table, subformat, force_size=False)
    back = tmp_path / "back.raw"
    if subformat == "fixed":
        with image.open("r+b") as file:
            file.truncate(size)
        sgdisk.verify(image)
    else:
        qemu_img.convert(image, "vpc", back, "raw")
        assert back.stat().st_size == size
        sgdisk.verify(back)


def test_a_gpt_planned_at_another_size_has_not(tmp_path: Path) -> None:
    # What conversion after the fact does, and why the size is known before the disk is planned.
    table = plan("efi", 600 * MiB, identifiers=DiskIdentifiers("seed")).table_volume()
    raw = tmp_path / "disk.raw"
    sink.write(table, raw)
    theirs = qemu_img.convert(raw, "raw", tmp_path / "theirs", "vpc")
    back = qemu_img.convert(theirs, "vpc", tmp_path / "back.raw", "raw")
    with pytest.raises(AssertionError):
        sgdisk.verify(back)


def test_a_guest_can_write_to_it(tmp_path: Path) -> None:
    # QEMU appends new blocks where it believes the end to be, and moves the footer there.
    size = 40 * MiB
    raw, image = make(tmp_path, disk_of(size), "dynamic", True)
    for path, image_format in ((raw, "raw"), (image, "vpc")):
        qemu_img.io(
            path, image_format, f"write -P 0x77 {2 * BLOCK - SECTOR} {BLOCK}", f"write -P 1 {15 * BLOCK} 512"
        )
    qemu_img.compare(image, "vpc", raw)
    assert footer(image).creator_application == b"imgw"


# The judges object


def test_qemu_img_check_knows_no_vhd(tmp_path: Path) -> None:
    _, image = make(tmp_path, disk_of(BLOCK), "dynamic", True)
    result = qemu_img.raw_check(image, "vpc")
    assert result.status == 63
    assert "This image format does not support checks" in result.text


@pytest.mark.parametrize(
    ("offset", "content", "complaint"),
    [
        (0, b"conectiX", "invalid VPC image"),  # footer, copy: no cookie, and the file is no fixed VHD
        (52, b"\x01", "Incorrect header checksum"),  # current_size
        (512, b"cxsparsE", "Invalid header magic"),  # dynamic header
        (512 + 28, b"\0\0\0\x01", "Page table too small"),  # fewer entries than the disk has blocks
        (512 + 32, b"\0\x20\0\x01", "Invalid block size"),
        (1536, b"\x7f", "points after the end of file"),  # BAT
    ],
)
def test_qemu_img_objects_to_damaged_structures(
    tmp_path: Path, offset: int, content: bytes, complaint: str
) -> None:
    raw, image = make(tmp_path, disk_of(11 * MiB), "dynamic", True)
    if offset == 0:
        damage(image, image.stat().st_size - 512, content)
    damage(image, offset, content)
    with pytest.raises(AssertionError, match=complaint):
        qemu_img.info(image, "vpc")
    with pytest.raises(AssertionError):
        qemu_img.compare(image, "vpc", raw)


@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
def test_readers_object_to_another_byte(tmp_path: Path, subformat: str) -> None:
    disk = disk_of(11 * MiB)
    raw, image = make(tmp_path, disk, subformat, True)
    position = {"dynamic": 2048 + 512, "fixed": 0}[subformat] + 5
    damage(image, position, bytes([disk.read(5, 1)[0] ^ 1]))
    assert qemu_img.raw_compare(image, "vpc", raw).status == 1
    assert qemu_img.read(image, "vpc", 0, 10) != disk.read(0, 10)
    with image.open("rb") as file:
        assert VHD(file).read() != raw.read_bytes()


def test_readers_object_to_exchanged_blocks(tmp_path: Path) -> None:
    raw, image = make(tmp_path, disk_of(11 * MiB), "dynamic", True)
    table = image.read_bytes()[1536:1544]
    damage(image, 1536, table[4:] + table[:4])
    assert qemu_img.raw_compare(image, "vpc", raw).status == 1
    with image.open("rb") as file:
        assert VHD(file).read() != raw.read_bytes()


def test_the_size_depends_on_the_geometry(tmp_path: Path) -> None:
    # QEMU 7.2 does not know "imgw": were the geometry another one, it would say another size.
    size = 11 * MiB
    _, image = make(tmp_path, Volume(size, []), "fixed", True)
    other = vhd.geometry(size // SECTOR)
    assert other.sectors * SECTOR != size
    record = bytearray(image.read_bytes()[-512:])
    record[56:60] = bytes((*divmod(other.cylinder, 256), other.heads, other.sectors_per_track))
    record[64:68] = vhd.checksum(bytes(record), vhd.FOOTER_CHECKSUM).to_bytes(4, "big")
    damage(image, size, bytes(record))
    assert qemu_img.info(image, "vpc")["virtual-size"] == other.sectors * SECTOR
