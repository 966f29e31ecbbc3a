"""gpt: bytes of sgdisk, geometry, names, and the reader's objections."""

from __future__ import annotations

import zlib
from uuid import UUID

import pytest

from imgwriter import gpt
from imgwriter.errors import FormatError, PlanInvariantError, SpecError
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.units import MiB

DISK_SIZE = 16 * MiB
LAST_LBA = DISK_SIZE // 512 - 1

# What sgdisk 1.0.9 makes of an empty file of 16 MiB with
#   -U 01234567-89AB-CDEF-0123-456789ABCDEF
#   -n 1:2048:4095 -t 1:C12A7328-F81F-11D2-BA4B-00A0C93EC93B -u 1:00112233-4455-6677-8899-AABBCCDDEEFF
#   -c 1:'ESP é😀' -A 1:set:2
#   -n 3:6144:16383 -t 3:0FC63DAF-8483-4772-8E79-3D69D8477DE4 -u 3:FEDCBA98-7654-3210-FEDC-BA9876543210
#   -c 3:primary
PROTECTIVE_RECORD = bytes.fromhex("00000200ee0a080201000000ff7f0000")
PRIMARY_HEADER = bytes.fromhex(
    "4546492050415254000001005c0000005dfe17df000000000100000000000000"
    "ff7f0000000000002200000000000000de7f00000000000067452301ab89efcd"
    "0123456789abcdef0200000000000000800000008000000015a09e91"
)
BACKUP_HEADER = bytes.fromhex(
    "4546492050415254000001005c000000e3afe12600000000ff7f000000000000"
    "01000000000000002200000000000000de7f00000000000067452301ab89efcd"
    "0123456789abcdefdf7f000000000000800000008000000015a09e91"
)
ENTRY_1 = bytes.fromhex(
    "28732ac11ff8d211ba4b00a0c93ec93b33221100554477668899aabbccddeeff"
    "0008000000000000ff0f00000000000004000000000000004500530050002000"
    "e9003dd800de0000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
)
ENTRY_3 = bytes.fromhex(
    "af3dc60f838472478e793d69d8477de498badcfe54761032fedcba9876543210"
    "0018000000000000ff3f00000000000000000000000000007000720069006d00"
    "6100720079000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
)

DISK_GUID = UUID("01234567-89ab-cdef-0123-456789abcdef")
ENTRIES = {
    1: gpt.Entry(
        gpt.TYPE_ESP, UUID("00112233-4455-6677-8899-aabbccddeeff"), 2048, 4095, "ESP é😀", attributes=4
    ),
    3: gpt.Entry(gpt.TYPE_LINUX_DATA, UUID("fedcba98-7654-3210-fedc-ba9876543210"), 6144, 16383, "primary"),
}


def disk() -> bytearray:
    """Return the disk that sgdisk was asked for, in our bytes."""
    volume = gpt.encode(ENTRIES, disk_guid=DISK_GUID, disk_size=DISK_SIZE)
    return bytearray(volume.read(0, DISK_SIZE))


def as_volume(content: bytes | bytearray) -> Volume:
    return Volume(len(content), [extent(0, Bytes(bytes(content)), "disk")])


def test_structures_have_their_specified_size() -> None:
    assert gpt.HEADER.sizeof() == gpt.HEADER_SIZE == 92
    assert gpt.ENTRY.sizeof() == gpt.ENTRY_SIZE == 128


def test_encode_equals_sgdisk() -> None:
    expected = bytearray(DISK_SIZE)
    expected[446:462] = PROTECTIVE_RECORD
    expected[510:512] = b"\x55\xaa"
    expected[512 : 512 + 92] = PRIMARY_HEADER
    expected[1024:1152] = ENTRY_1
    expected[1280:1408] = ENTRY_3
    backup = (LAST_LBA - 32) * 512
    expected[backup : backup + 128] = ENTRY_1
    expected[backup + 256 : backup + 384] = ENTRY_3
    expected[LAST_LBA * 512 : LAST_LBA * 512 + 92] = BACKUP_HEADER
    assert disk() == expected


def test_type_guids_are_the_registered_ones() -> None:
    # What sgdisk 1.0.9 calls EF00, EF02, 8300 and EA00.
    assert str(gpt.TYPE_ESP).upper() == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    assert gpt.TYPE_BIOS_BOOT.bytes_le == b"Hah!IdontNeedEFI"
    assert str(gpt.TYPE_LINUX_DATA).upper() == "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
    assert str(gpt.TYPE_XBOOTLDR).upper() == "BC13C2FF-59E6-4262-A352-B275FD6F7172"


@pytest.mark.parametrize(
    ("sector_size", "first", "last_from_end", "backup_array_from_end"),
    # 512: the header's values in sgdisk's 16 MiB disk above; 4,096: parted 3.5 with PARTED_SECTOR_SIZE=4096
    # on 1200 MiB (first 6, last 307194 of 307200 sectors).
    [(512, 34, 34, 33), (4096, 6, 6, 5)],
)
def test_geometry(sector_size: int, first: int, last_from_end: int, backup_array_from_end: int) -> None:
    sectors = 1200 * MiB // sector_size
    geometry = gpt.Geometry(sectors, sector_size)
    assert geometry.first_usable_lba == first
    assert geometry.last_usable_lba == sectors - last_from_end
    assert geometry.backup_array_lba == sectors - backup_array_from_end
    assert geometry.backup_header_lba == sectors - 1


def test_extents_of_4096_byte_sectors() -> None:
    entries = {1: gpt.Entry(gpt.TYPE_LINUX_DATA, UUID(int=1), 256, 511, "x")}
    volume = gpt.encode(entries, disk_guid=DISK_GUID, disk_size=DISK_SIZE, sector_size=4096)
    last = DISK_SIZE // 4096 - 1
    assert [(e.start // 4096, e.length // 4096) for e in volume.extents] == [
        (0, 1),
        (1, 1),
        (2, 4),
        (last - 4, 4),
        (last, 1),
    ]
    assert gpt.parse(volume, 4096) == gpt.Gpt(DISK_GUID, entries)


@pytest.mark.parametrize("name", ["", "n" * 35, "n" * 36, "é" * 36, "😀" * 18])
def test_names_of_up_to_36_units_are_taken(name: str) -> None:
    field = gpt.encode_name(name)
    assert len(field) == 72
    assert field.decode("utf-16-le").rstrip("\0") == name


@pytest.mark.parametrize("name", ["n" * 37, "😀" * 18 + "n"])
def test_names_of_37_units_are_refused_by_name(name: str) -> None:
    entries = {1: gpt.Entry(gpt.TYPE_ESP, UUID(int=1), 34, 99, name)}
    message = f"^partition 1's name '{name}' takes 37 UTF-16 units, a GPT entry has 36; shorten it by 1$"
    with pytest.raises(SpecError, match=message):
        gpt.encode(entries, disk_guid=DISK_GUID, disk_size=DISK_SIZE)


@pytest.mark.parametrize(("name", "reason"), [("a\0b", "NUL"), ("\udc80", "not valid Unicode")])
def test_names_without_a_utf_16_form_are_refused(name: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        gpt.encode_name(name)


@pytest.mark.parametrize(("first", "last"), [(34, LAST_LBA - 33), (34, 34)])
def test_entries_may_reach_the_usable_limits(first: int, last: int) -> None:
    entries = {1: gpt.Entry(gpt.TYPE_ESP, UUID(int=1), first, last, "")}
    assert gpt.parse(gpt.encode(entries, disk_guid=DISK_GUID, disk_size=DISK_SIZE)).entries == entries


@pytest.mark.parametrize(
    ("number", "first", "last"),
    [(1, 33, 99), (1, 34, LAST_LBA - 32), (1, 100, 99), (0, 34, 99), (129, 34, 99)],
)
def test_entries_outside_are_a_broken_plan(number: int, first: int, last: int) -> None:
    entries = {number: gpt.Entry(gpt.TYPE_ESP, UUID(int=1), first, last, "")}
    with pytest.raises(PlanInvariantError):
        gpt.encode(entries, disk_guid=DISK_GUID, disk_size=DISK_SIZE)


def test_the_128th_entry_is_the_last_of_the_array() -> None:
    entries = {128: gpt.Entry(gpt.TYPE_ESP, UUID(int=1), 34, 99, "")}
    volume = gpt.encode(entries, disk_guid=DISK_GUID, disk_size=DISK_SIZE)
    assert volume.read(33 * 512 + 384, 16) == gpt.TYPE_ESP.bytes_le


def test_parse_reads_what_was_written() -> None:
    assert gpt.parse(as_volume(disk())) == gpt.Gpt(DISK_GUID, ENTRIES)


@pytest.mark.parametrize(
    ("offset", "where"),
    [
        (450, "MBR"),  # the protective record's type
        (512, "GPT signature"),
        (512 + 40, "GPT header_crc32"),
        (512 + 56, "GPT header_crc32"),
        (1024 + 56, "GPT partition_entry_array_crc32"),
        (1024 + 16383, "GPT partition_entry_array_crc32"),
        ((LAST_LBA - 32) * 512, "GPT partition_entry_array_crc32"),
        (LAST_LBA * 512 + 72, "GPT header_crc32"),
    ],
)
def test_parse_refuses_a_flipped_byte(offset: int, where: str) -> None:
    content = disk()
    content[offset] ^= 1
    with pytest.raises(FormatError) as caught:
        gpt.parse(as_volume(content))
    assert caught.value.where == where


def resealed(field_at: int, value: bytes) -> bytes:
    """Return the primary header with one field changed and its checksum made right again."""
    header = bytearray(PRIMARY_HEADER)
    header[field_at : field_at + len(value)] = value
    header[16:20] = bytes(4)
    header[16:20] = zlib.crc32(header).to_bytes(4, "little")
    return bytes(header)


@pytest.mark.parametrize(
    ("field_at", "value", "where"),
    [
        (8, b"\0\0\2\0", "GPT my_lba"),  # revision 2.0
        (24, b"\2", "GPT my_lba"),
        (80, b"\0\0\0\0", "GPT size_of_partition_entry"),  # no entries at all
        (80, b"\xff\xff\xff\xff", "GPT size_of_partition_entry"),  # 512 GiB of entries
        (84, b"\x40", "GPT size_of_partition_entry"),  # 64 bytes each
        (84, b"\x81", "GPT size_of_partition_entry"),  # no power of two
        (72, b"\xff" * 8, "GPT partition_entry_lba"),
    ],
)
def test_parse_refuses_a_header_that_lies_under_a_right_checksum(
    field_at: int, value: bytes, where: str
) -> None:
    content = disk()
    content[512:604] = resealed(field_at, value)
    with pytest.raises(FormatError) as caught:
        gpt.parse(as_volume(content))
    assert caught.value.where == where


@pytest.mark.parametrize("header_size", [0, 91, 513, 0xFFFFFFFF])
def test_parse_refuses_a_header_size_out_of_bounds(header_size: int) -> None:
    content = disk()
    content[524:528] = header_size.to_bytes(4, "little")
    with pytest.raises(FormatError, match="header_size"):
        gpt.parse(as_volume(content))


def test_parse_refuses_an_entry_outside_the_usable_lbas() -> None:
    array = bytearray(disk()[1024 : 1024 + 16384])
    array[32:40] = (33).to_bytes(8, "little")
    header = resealed(88, zlib.crc32(array).to_bytes(4, "little"))
    content = disk()
    content[512:604], content[1024 : 1024 + 16384] = header, array
    with pytest.raises(FormatError, match="GPT partition 1 has LBA 33 to 4095, usable are 34 to 32734"):
        gpt.parse(as_volume(content))


def test_parse_refuses_copies_that_differ() -> None:
    other = gpt.encode({}, disk_guid=DISK_GUID, disk_size=DISK_SIZE).read(0, DISK_SIZE)
    content = disk()
    content[DISK_SIZE // 2 :] = other[DISK_SIZE // 2 :]
    with pytest.raises(FormatError, match="two copies of the GPT differ"):
        gpt.parse(as_volume(content))


@pytest.mark.parametrize("size", [0, 512, 1024, 4096])
def test_parse_refuses_what_has_no_room_for_a_table(size: int) -> None:
    with pytest.raises(FormatError):
        gpt.parse(as_volume(disk()[:size]))
