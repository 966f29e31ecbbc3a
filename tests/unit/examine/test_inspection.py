"""What is said of a disk and its file systems, where no tool of the compat tests makes such a one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from imgwriter import fat, gpt, mbr
from imgwriter.examine import file_systems
from imgwriter.examine.inspection import document
from imgwriter.examine.inspection_text import text
from imgwriter.examine.opening import open_disk
from imgwriter.examine.partition_types import GUIDS, OS_TYPES, attribute_names, name_of
from imgwriter.fat.reader import read_file_system
from imgwriter.units import MiB
from tests import trees
from tests.unit.ext4 import images
from tests.unit.fat.trees import inventory

DISK = UUID("00112233-4455-6677-8899-aabbccddeeff")


def gpt_disk(path: Path, **entry: object) -> Path:
    """Write a disk of 4 MiB with one partition that holds nothing."""
    fields = {"type_guid": UUID(int=5), "unique_guid": UUID(int=6), "starting_lba": 2048, "ending_lba": 4095}
    fields |= {"attributes": 0, "name": ""} | entry
    volume = gpt.encode({3: gpt.Entry(**fields)}, disk_guid=DISK, disk_size=4 * MiB)  # type: ignore[arg-type]
    path.write_bytes(volume.read(0, volume.size))
    return path


def shown(path: Path) -> tuple[Any, str]:
    found = document(open_disk(os.fsencode(path)))
    return found, text(found)


def test_an_entry_with_everything(tmp_path: Path) -> None:
    """Bits 0 to 2: UEFI 2.10, 5.3.3; 60 and 63: Discoverable Partitions Specification."""
    attributes = 1 << 63 | 1 << 60 | 1 << 50 | 0b101
    path = gpt_disk(tmp_path / "disk", attributes=attributes, name="a\x1b[31m ü")
    found, said = shown(path)
    (partition,) = found["partitions"]
    assert partition["attribute_names"] == ["required", "legacy boot", "bit 50", "read-only", "no automount"]
    assert (partition["number"], partition["type_name"], partition["file_system"]) == (3, None, None)
    assert (partition["first_lba"], partition["last_lba"]) == (2048, 4095)
    assert "\x1b" not in said and r"'a\x1b[31m ü', required, legacy boot, bit 50" in said
    assert "00000000-0000-0000-0000-000000000005" in said


def test_damage_of_the_table_is_counted(tmp_path: Path) -> None:
    path = gpt_disk(tmp_path / "disk")
    content = bytearray(path.read_bytes())
    content[512 + 16] ^= 1  # the primary header's checksum
    path.write_bytes(content)
    found, said = shown(path)
    table = found["table"]
    assert table["used"] == "backup" and table["findings"] >= 1
    assert "the primary table cannot be used; this is the backup" in said
    assert (table["findings"], table["notes"]) == (1, 0)
    assert "the table has 1 finding and 0 notes; run 'imgwriter verify'" in said


def test_an_mbr(tmp_path: Path) -> None:
    records = [mbr.PartitionRecord(2048, 2048, 0x83, active=True), mbr.PartitionRecord(4096, 1, 0x99)]
    sector = bytearray(mbr.encode(records, disk_signature=0x1234ABCD))
    sector[0] = 0xEB
    (tmp_path / "disk").write_bytes(sector.ljust(4 * MiB, b"\0"))
    found, said = shown(tmp_path / "disk")
    first, second = found["partitions"]
    assert (first["type"], first["type_name"], first["active"]) == ("0x83", "Linux", True)
    assert (first["partuuid"], first["guid"], first["attributes"]) == ("1234abcd-01", None, None)
    assert (second["type"], second["type_name"]) == ("0x99", None)
    assert "MBR 1234abcd" in said and "boot code in the MBR" in said and "active" in said


def test_names_of_types() -> None:
    assert name_of(gpt.TYPE_ESP) == name_of(0xEF) == "EFI system partition"
    assert name_of(UUID(int=1)) is None and name_of(0x99) is None
    assert len(set(GUIDS.values())) == len(GUIDS) and len(set(OS_TYPES.values())) == len(OS_TYPES)
    assert attribute_names(0) == []


@pytest.mark.parametrize(
    ("at", "form", "value", "key", "expected"),
    [
        (0x3A, "<H", 0, "state", "not clean"),
        (0x3A, "<H", 3, "state", "clean with errors"),
        (0x3A, "<H", 2, "state", "not clean with errors"),
        (0x34, "<H", 7, "mounts", 7),
        (0x36, "<H", 20, "max_mounts", 20),
        (0x36, "<H", 0xFFFF, "max_mounts", None),
        (0x36, "<H", 0, "max_mounts", None),
        (0x2C, "<I", 2**32 - 1, "mounted", "2106-02-07T06:28:15Z"),
        (0x274, "<B", 1, "written", "2106-02-07T06:28:17Z"),
        (0x194, "<I", 3, "errors", 3),
        (0x88, "8s", b"/mnt\x07\0x", "last_mounted", "/mnt\x07"),
        (0x78, "16s", b"\xff\xfeab", "label", r"\xff\xfeab"),
        (0x78, "16s", b"", "label", None),
        (0x158, "<I", 0, "reserved", 0),
    ],
)
def test_fields_of_the_superblock(at: int, form: str, value: int | bytes, key: str, expected: object) -> None:
    """Places: kernel Documentation/filesystems/ext4/super.rst."""
    content = images.of({b"f": trees.file(b"x")})
    images.put(content, images.SUPER + 8, "<I", 0)  # s_r_blocks_count_lo
    images.put(content, images.SUPER + 0x30, "<I", 1)  # s_wtime
    images.put(content, images.SUPER + at, form, value)
    assert file_systems.document(images.opened(content))[key] == expected


@pytest.mark.parametrize(("fs_type", "expected"), [("ext4", "ext4"), ("ext3", "ext3"), ("ext2", "ext2")])
def test_which_of_the_ext_family(fs_type: str, expected: str) -> None:
    assert file_systems.document(images.opened(images.of({}, fs_type=fs_type)))["type"] == expected


def test_boot_code_of_ext4() -> None:
    content = images.of({})
    assert not file_systems.document(images.opened(content))["boot_code"]
    content[1023] = 1
    assert file_systems.document(images.opened(content))["boot_code"]


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_a_fat_that_was_not_unmounted(bits: int) -> None:
    """Linux sets BS_Reserved1, at 37 or 65; DOS clears a bit of FAT[1]. Spec: FAT, 3 and 4.2."""
    plan = fat.plan(inventory({b"F": b"x"}), fat.Parameters(fat_type=bits), 64 * MiB, "it")
    content = bytearray(plan.volume().read(0, plan.volume().size))
    fat_at = int.from_bytes(content[14:16], "little") * 512

    def state() -> str:
        return str(file_systems.document(read_file_system(images.volume(content)))["state"])

    assert state() == "clean"
    content[65 if bits == 32 else 37] |= 1
    assert state() == "not clean"
    content[65 if bits == 32 else 37] &= 0xFE
    if bits > 12:
        last = fat_at + 2 * bits // 8 - 1
        content[last] &= 0xF7 if bits == 32 else 0x7F
        assert state() == "not clean"


def test_damage_of_a_file_system_is_said_in_its_place(tmp_path: Path) -> None:
    """FAT32's root directory is read for the label: its first cluster leads nowhere here."""
    plan = fat.plan(inventory({b"F": b"x"}), fat.Parameters(fat_type=32), 64 * MiB, "it")
    content = bytearray(plan.volume().read(0, plan.volume().size))
    content[44:48] = b"\xff\xff\xff\x0f"
    (tmp_path / "disk").write_bytes(content)
    found, said = shown(tmp_path / "disk")
    file_system = found["file_system"]
    assert file_system["type"] == "fat"
    assert "repair" in file_system["error"] and file_system["error"] in said
