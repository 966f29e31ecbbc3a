"""fuzz.record, image and tables: any field can be set, checksums follow when they are asked to."""

from __future__ import annotations

import struct
import zlib
from uuid import UUID

import construct as c
import pytest

from imgwriter import gpt, mbr
from imgwriter.errors import SpecError
from imgwriter.fuzz.crossing import sealed_crosswise
from imgwriter.fuzz.file_systems import ext4_volume, fat32_volume
from imgwriter.fuzz.image import PAGE, Image
from imgwriter.fuzz.record import Field, Record, layout_of, layout_of_format
from imgwriter.fuzz.tables import EXAMPLE_ENTRIES, EXAMPLE_GUID, Row, gpt_disk, mbr_disk

LAYOUT = {"number": Field(0, 4, "little"), "big": Field(4, 2, "big"), "text": Field(6, 3, None)}


def record(content: bytes = b"\1\0\0\0\0\2abc") -> Record:
    return Record(LAYOUT, content)


def test_fields_are_read_and_set_in_their_byte_order() -> None:
    assert (record()["number"], record()["big"], record().raw("text")) == (1, 2, b"abc")
    changed = record().replace(number=0xFFFF_FFFF, big=1, text=b"xyz")
    assert changed.content == b"\xff\xff\xff\xff\0\1xyz"
    assert record().content == b"\1\0\0\0\0\2abc"  # a value
    assert record().replace(number=b"\0\0\0\1")["number"] == 1 << 24


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"nothing": 1}, "no field 'nothing' here; there are number, big, text"),
        ({"number": 1 << 32}, "0x100000000 does not fit into the 4 bytes of the field number"),
        ({"number": -1}, "does not fit"),
        ({"text": b"ab"}, "2 bytes for the field text, which has 3"),
        ({"text": 1}, "field text is bytes; give 3"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, int | bytes], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        record().replace(**fields)


def test_bytes_are_no_number() -> None:
    with pytest.raises(SpecError, match=r"ask for them with raw\(\)"):
        record()["text"]


def test_the_repr_has_what_is_not_zero() -> None:
    assert repr(record(b"\2\0\0\0\0\0abc")) == "Record(number=0x2, text=b'abc')"


def test_a_layout_has_the_places_of_a_struct() -> None:
    """Also behind a constant, a default, padding and a struct within."""
    declared = c.Struct(
        "magic" / c.Const(b"AB"),
        "filled" / c.Default(c.Int16ub, 7),
        c.Padding(3),
        "inner" / c.Struct("x" / c.Int8ul, "y" / c.Int64ub),
        "end" / c.Const(5, c.Int32ul),
    )
    assert layout_of(declared) == {
        "magic": Field(0, 2, None), "filled": Field(2, 2, "big"), "x": Field(7, 1, "little"),
        "y": Field(8, 8, "big"), "end": Field(16, 4, "little"),
    }  # fmt: skip
    assert layout_of_format("<L4x2H3s", ["a", "b", "c", "d"]) == {
        "a": Field(0, 4, "little"), "b": Field(8, 2, "little"), "c": Field(10, 2, "little"),
        "d": Field(12, 3, None),
    }  # fmt: skip


def test_later_records_lie_over_earlier_ones() -> None:
    image = Image(3 * PAGE).with_bytes(PAGE - 2, b"aaaa").with_bytes(PAGE, b"bb").with_bytes(PAGE - 1, b"c")
    assert image.content()[PAGE - 2 : PAGE + 2] == b"acbb"
    assert image.content().strip(b"\0") == b"acbb"


def test_what_is_beyond_the_end_is_cut_off() -> None:
    image = Image(1000).with_bytes(998, b"abcd").with_bytes(5000, b"x")
    assert image.content() == bytes(998) + b"ab"
    assert image.with_size(5001).content()[998:] == b"abcd" + bytes(3998) + b"x"
    assert image.with_size(0).content() == b""


def test_records_move_and_vanish() -> None:
    image = Image(100).placed("r", 10, record())
    assert image.moved("r", 50).content()[50:59] == record().content
    assert image.without("r").content() == bytes(100)
    with pytest.raises(SpecError, match="no record 'q' here; there are r"):
        image.without("q")


def test_the_example_is_the_writers() -> None:
    written = gpt.encode(EXAMPLE_ENTRIES, disk_guid=EXAMPLE_GUID, disk_size=1 << 20).read(0, 1 << 20)
    assert gpt_disk().content() == written
    assert gpt_disk().sealed().content() == written


@pytest.mark.parametrize("which", ["primary", "backup"])
def test_a_sealed_header_has_the_right_checksum_and_the_wrong_meaning(which: str) -> None:
    """Spec: UEFI 2.10, 5.3.2: CRC-32 over HeaderSize bytes with the field at zero."""
    disk = gpt_disk().with_record(which, my_lba=0, header_size=100).sealed()
    at = disk.records[which].offset
    content = disk.content()
    header = content[at : at + 100]
    assert struct.unpack_from("<Q", header, 24) == (0,)
    assert struct.unpack_from("<I", header, 16) == (zlib.crc32(header[:16] + bytes(4) + header[20:]),)
    assert gpt.parse(gpt_disk().volume()).disk_guid == EXAMPLE_GUID


def test_entries_are_sealed_where_the_header_says_that_they_are() -> None:
    disk = gpt_disk().with_entry(3, partition_type_guid=bytes([1]) * 16, starting_lba=600, ending_lba=600)
    disk = disk.with_array("primary", 700, 256).sealed()
    content = disk.content()
    number, size, crc = struct.unpack_from("<III", content, 512 + 80)
    assert (number, size) == (128, 256)
    assert crc == zlib.crc32(content[700 * 512 : 700 * 512 + 128 * 256])
    assert content[700 * 512 + 512 : 700 * 512 + 528] == bytes([1]) * 16
    assert [p.number for p in disk.partitions("primary")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ({"number_of_partition_entries": (1 << 25) + 1}, 128),  # 2^32 + 128 bytes
        ({"number_of_partition_entries": 1 << 25}, 0),
        ({"number_of_partition_entries": 9000}, (1 << 20) - 1024),  # up to the end of the disk
    ],
)
def test_entries_that_cannot_be_there_are_sealed_for_a_reader_whose_numbers_overflow(
    fields: dict[str, int], length: int
) -> None:
    disk = gpt_disk().with_record("primary", **fields).sealed()
    assert disk["primary"]["partition_entry_array_crc32"] == zlib.crc32(disk.content()[1024 : 1024 + length])


def test_checksums_that_cover_each_other_are_both_right() -> None:
    disk = gpt_disk().with_record("primary", partition_entry_lba=1, number_of_partition_entries=4)
    sector = sealed_crosswise(disk, "primary").content()[512:1024]
    header_crc, array_crc = struct.unpack_from("<I", sector, 16)[0], struct.unpack_from("<I", sector, 88)[0]
    assert header_crc == zlib.crc32(sector[:16] + bytes(4) + sector[20:92])
    assert array_crc == zlib.crc32(sector)
    assert disk.sealed().content()[512:1024] != sector  # one after the other is not enough


def test_a_chain_of_ebrs() -> None:
    disk = mbr_disk([Row(0x05, 10, 90)], 100 * 512, disk_signature=7)
    disk = disk.with_sector("ebr1", 10, [Row(0x83, 1, 9), Row(0x05, 20, 10)])
    disk = disk.with_sector("ebr2", 30, [Row(0x83, 2, 8)])
    content = disk.content()
    assert struct.unpack_from("<IH", content, 440) == (7, 0)
    assert [content[at + 510 : at + 512] for at in (0, 5120, 15360)] == [b"\x55\xaa"] * 3
    assert struct.unpack_from("<BxxxII", content, 15360 + 450) == (0x83, 2, 8)
    assert disk.primaries() == [(1, 5120, 46080)]
    assert disk.logicals(1, 2) == [(5, 11 * 512, 9 * 512), (6, 32 * 512, 8 * 512)]
    assert disk.logicals(2) == [(5, 32 * 512, 8 * 512)]


def test_rows_have_the_writers_chs() -> None:
    row = mbr.PartitionRecord(63, 1000, 0x83)
    disk = mbr_disk([Row(0x83, 63, 1000)], 1 << 20)
    assert disk.content()[446:462] == mbr.encode([row], disk_signature=0)[446:462]


def test_sectors_of_4096_bytes() -> None:
    entry = gpt.Entry(gpt.TYPE_ESP, UUID(int=1), 6, 6, "")
    disk = gpt_disk({1: entry}, 32 * 4096, 4096).with_record("backup", reserved=1).sealed()
    assert gpt.parse_header(disk.content()[31 * 4096 :], 31, 4096).my_lba == 31


def test_file_systems_have_the_fields_of_their_writers() -> None:
    boot = fat32_volume()["boot"]
    assert (boot["BPB_BytsPerSec"], boot["signature"], boot.raw("BS_FilSysType")) == (
        512,
        0xAA55,
        b"FAT32   ",
    )
    volume = ext4_volume().with_record("group0", bg_free_blocks_count_lo=1)
    assert volume.sealed()["group0"]["bg_checksum"] != volume["group0"]["bg_checksum"]
