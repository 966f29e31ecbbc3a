"""mbr: bytes of sfdisk and sgdisk, CHS, the 2^32 limit, and the reader."""

from __future__ import annotations

import pytest

from imgwriter import mbr
from imgwriter.errors import FormatError, SpecError
from imgwriter.mbr import PartitionRecord

SFDISK = bytes.fromhex(
    "78563412 0000"
    "80 202100 0c 410100 00080000 00080000"
    "00 fe3c00 83 4f1301 bd3e0000 88130000"
    "00 f949f1 83 feffff 00127a00 00f28000"
    "00 feffff 83 feffff 0004fb00 e8030000"
    "55aa"
)
"""Bytes 440 to 511 of what sfdisk 2.38.1 makes of a 20 GiB file from the script
label: dos / label-id: 0x12345678 / start=2048,size=2048,type=c,bootable / start=16061,size=5000 /
start=8000000,size=8450560 / start=16450560,size=1000."""

RECORDS = [
    PartitionRecord(2048, 2048, mbr.OS_TYPE_FAT32_LBA, active=True),
    PartitionRecord(16061, 5000, mbr.OS_TYPE_LINUX),
    PartitionRecord(8000000, 8450560, mbr.OS_TYPE_LINUX),
    PartitionRecord(16450560, 1000, mbr.OS_TYPE_LINUX),
]


def test_structures_have_their_specified_size() -> None:
    assert mbr.PARTITION_RECORD.sizeof() == 16
    assert mbr.MBR.sizeof() == 512


def test_encode_equals_sfdisk() -> None:
    sector = mbr.encode(RECORDS, disk_signature=0x12345678)
    assert sector[440:] == SFDISK
    assert sector[:440] == bytes(440)


def test_parse_reads_what_sfdisk_wrote() -> None:
    found = mbr.parse(bytes(440) + SFDISK)
    assert found == mbr.Mbr(0x12345678, dict(enumerate(RECORDS, 1)))


def test_a_sector_of_4096_bytes_keeps_the_signature_at_510() -> None:
    sector = mbr.encode(RECORDS[:1], disk_signature=1, sector_size=4096)
    assert len(sector) == 4096
    assert sector[510:512] == b"\x55\xaa"
    assert sector[512:] == bytes(4096 - 512)


@pytest.mark.parametrize(
    ("lba", "expected"),
    [
        (0, "000100"),  # sectors count from 1
        (62, "003f00"),
        (63, "010100"),
        (255 * 63 - 1, "fe3f00"),
        (255 * 63, "000101"),
        (256 * 255 * 63, "004100"),  # the track's ninth bit is in the sector byte
        (1024 * 255 * 63 - 1, "feffff"),  # the last one that CHS can address ...
        (1024 * 255 * 63, "feffff"),  # ... and what stands for all beyond
        (2**32, "feffff"),
    ],
)
def test_chs(lba: int, expected: str) -> None:
    assert mbr.chs(lba).hex() == expected


def test_protective_equals_sgdisk() -> None:
    # sgdisk 1.0.9 on a file of 1200 MiB, bytes 440 to 511.
    expected = bytes(6) + bytes.fromhex("00000200eef9219801000000ff7f2500") + bytes(48) + b"\x55\xaa"
    assert mbr.protective(2457600)[440:] == expected


def test_protective_beyond_chs_says_ff() -> None:
    # UEFI 2.10, 5.2.3, table 5.4: FF FF FF "if it is not possible to represent the value".
    reach = 1024 * 255 * 63
    assert mbr.protective(reach)[451:454] == b"\xfe\xff\xff"  # head 254, sector 63, track 1023 itself
    assert mbr.protective(reach + 1)[451:454] == b"\xff\xff\xff"


@pytest.mark.parametrize("sectors", [2**32 - 1, 2**32, 2**32 + 1, 2**40])
def test_protective_covers_what_the_field_can_say(sectors: int) -> None:
    size = int.from_bytes(mbr.protective(sectors)[458:462], "little")
    assert size == min(sectors - 1, 0xFFFFFFFF)


@pytest.mark.parametrize("end_lba", [2**32 - 1, 2**32])
def test_a_partition_may_end_at_the_limit(end_lba: int) -> None:
    sector = mbr.encode([PartitionRecord(2048, end_lba - 2048, mbr.OS_TYPE_LINUX)], disk_signature=1)
    assert mbr.parse(sector).records[1].size_in_lba == end_lba - 2048


def test_a_partition_beyond_the_limit_is_refused() -> None:
    with pytest.raises(SpecError, match=r"partition 1 .* sector 4,294,967,297, .*2 TiB .*use a GPT table"):
        mbr.encode([PartitionRecord(2048, 2**32 + 1 - 2048, mbr.OS_TYPE_LINUX)], disk_signature=1)


def test_a_fifth_partition_is_refused() -> None:
    with pytest.raises(SpecError, match="holds 4 partitions, not 5"):
        mbr.encode([*RECORDS, RECORDS[0]], disk_signature=1)


def test_parse_leaves_unused_records_out() -> None:
    sector = bytearray(mbr.encode(RECORDS[:2], disk_signature=7))
    sector[446:462] = bytes(16)
    assert mbr.parse(bytes(sector)) == mbr.Mbr(7, {2: RECORDS[1]})


@pytest.mark.parametrize(
    ("offset", "byte", "where"), [(510, 0, "MBR signature"), (446, 0x29, "MBR boot_indicator")]
)
def test_parse_refuses_damage(offset: int, byte: int, where: str) -> None:
    sector = bytearray(mbr.encode(RECORDS, disk_signature=7))
    sector[offset] = byte
    with pytest.raises(FormatError) as caught:
        mbr.parse(bytes(sector))
    assert (caught.value.where, caught.value.offset) == (where, offset)


def test_parse_refuses_a_short_sector() -> None:
    with pytest.raises(FormatError, match="512 bytes, here are 511"):
        mbr.parse(bytes(511))
