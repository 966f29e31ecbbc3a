"""An image is opened down to its file systems; what is damaged stays with its area."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgwriter import ImageSpec, build_image
from imgwriter.errors import FormatError, SpecError
from imgwriter.examine.opening import identify, open_disk
from imgwriter.ext4.reader import FileSystem as Ext4
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.fat.reader import FileSystem as Fat
from imgwriter.window import Window


@pytest.fixture(scope="module")
def efi(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    base = tmp_path_factory.mktemp("opening")
    (base / "tree").mkdir()
    (base / "tree" / "file").write_text("content")
    spec = ImageSpec(
        trees=[base / "tree"], partition_table="efi", additional_space=0, output=base, boot_end=16 << 20
    )
    return build_image(spec).path


def test_every_partition_is_an_area(efi: bytes) -> None:
    disk = open_disk(efi)
    assert [(area.number, area.kind) for area in disk.areas] == [(1, "fat"), (2, "ext4")]
    assert isinstance(disk.area(1).file_system, Fat)
    assert isinstance(disk.area(2).file_system, Ext4)
    assert disk.area(2).partition is not None
    assert disk.area(2).name == "partition 2"
    with pytest.raises(SpecError, match="no partition 3; those with room for a file system are: 1, 2"):
        disk.area(3)


def test_a_disk_without_a_table_is_one_area(efi: bytes, tmp_path: Path) -> None:
    root = open_disk(efi).area(2)
    path = tmp_path / "root"
    path.write_bytes(open_disk(efi).image.volume.read(root.start, root.size))
    disk = open_disk(os.fsencode(path))
    (area,) = disk.areas
    assert (area.number, area.start, area.size, area.kind, area.name) == (0, 0, root.size, "ext4", "the disk")


def test_damage_stays_with_its_area(efi: bytes, tmp_path: Path) -> None:
    content = bytearray(Path(os.fsdecode(efi)).read_bytes())
    root = open_disk(efi).area(2)
    content[root.start + 1024 + 0x18] = 0xFF  # s_log_block_size
    path = tmp_path / "damaged"
    path.write_bytes(content)
    disk = open_disk(os.fsencode(path))
    assert disk.area(1).error is None
    assert disk.area(2).file_system is None
    assert isinstance(disk.area(2).error, FormatError)


def test_a_partition_beyond_the_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    spec = ImageSpec(trees=[tmp_path / "tree"], additional_space=0, output=tmp_path)
    path = Path(os.fsdecode(build_image(spec).path))
    os.truncate(path, 1 << 20)
    disk = open_disk(os.fsencode(path))
    assert "partition 1 begins at 1,048,576, and does not lie on the disk of 1,048,576 bytes" in str(
        disk.area(1).error
    )


def test_an_empty_file_is_told_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert (
        str(open_disk(os.fsencode(path)).area(0).error) == "the disk has no bytes; get the whole of the image"
    )


# Magic numbers as libblkid's superblock probes have them.
@pytest.mark.parametrize(
    ("offset", "magic", "name"),
    [
        (0, b"XFSB", "xfs"),
        (0, b"LUKS\xba\xbe", "LUKS"),
        (4086, b"SWAPSPACE2", "swap"),
        (0x10040, b"_BHRfS_M", "btrfs"),
        (0x438, b"\x53\xef", "ext4"),
        (0, b"nothing", ""),
    ],
)
def test_file_systems_are_told_by_their_magic(offset: int, magic: bytes, name: str) -> None:
    assert identify(Window(Volume(1 << 20, [extent(offset, Bytes(magic), "magic")]))) == name


def test_a_window_shorter_than_any_magic() -> None:
    assert identify(Window(Volume(3, []))) == ""
