"""tables_reader: what is read of each table, and each deviation named by structure, field and place.

The tables are built here, field by field; tests/compat has those of sgdisk, sfdisk and parted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from uuid import UUID

import pytest

from imgwriter import gpt
from imgwriter.errors import SpecError
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.findings import Finding
from imgwriter.tables_reader import Table, read_table
from imgwriter.units import MiB, TiB

SIZE = MiB
SECTORS = SIZE // 512
LAST = SECTORS - 1
DISK_GUID = UUID("01234567-89ab-cdef-0123-456789abcdef")
TYPE = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
GUIDS = [UUID(int=0xABCD_0000 + n) for n in range(10)]

# Offsets of UEFI 2.10, table 5.5.
HEADER = {
    "revision": (8, "<I"), "header_size": (12, "<I"), "header_crc32": (16, "<I"), "reserved": (20, "<I"),
    "my_lba": (24, "<Q"), "alternate_lba": (32, "<Q"), "first_usable_lba": (40, "<Q"),
    "last_usable_lba": (48, "<Q"), "partition_entry_lba": (72, "<Q"),
    "number_of_partition_entries": (80, "<I"), "size_of_partition_entry": (84, "<I"),
    "partition_entry_array_crc32": (88, "<I"),
}  # fmt: skip


def volume_of(content: bytes | bytearray) -> Volume:
    return Volume(len(content), [extent(0, Bytes(bytes(content)), "disk")] if content else [])


def read(content: bytes | bytearray, sector_size: int | None = None) -> Table:
    return read_table(volume_of(content), sector_size)


def said(findings: Iterable[Finding]) -> list[tuple[str, str, int]]:
    return [(f.structure, f.field, f.offset) for f in findings]


def entry(first: int, last: int, number: int = 0, name: str = "", attributes: int = 0) -> gpt.Entry:
    return gpt.Entry(TYPE, GUIDS[number], first, last, name, attributes)


ENTRIES = {1: entry(40, 99, 1, "ESP"), 3: entry(100, 1999, 3, "root é😀", 1 << 63 | 4)}


def gpt_disk(
    entries: Mapping[int, gpt.Entry] = ENTRIES, sector_size: int = 512, size: int = SIZE
) -> bytearray:
    volume = gpt.encode(entries, disk_guid=DISK_GUID, disk_size=size, sector_size=sector_size)
    return bytearray(volume.read(0, size))


def seal(disk: bytearray, lba: int, **fields: int) -> None:
    """Change fields of the header at an LBA, and make both checksums right unless they are given."""
    at = lba * 512
    for name, value in fields.items():
        offset, code = HEADER[name]
        struct.pack_into(code, disk, at + offset, value)
    (array,) = struct.unpack_from("<Q", disk, at + 72)
    number, size = struct.unpack_from("<II", disk, at + 80)
    if "partition_entry_array_crc32" not in fields and number * size < len(disk):
        struct.pack_into("<I", disk, at + 88, zlib.crc32(disk[array * 512 : array * 512 + number * size]))
    if "header_crc32" not in fields:
        struct.pack_into("<I", disk, at + 16, 0)
        (length,) = struct.unpack_from("<I", disk, at + 12)
        struct.pack_into("<I", disk, at + 16, zlib.crc32(disk[at : at + min(length, 512)]))


def record(os_type: int, start: int, size: int, indicator: int = 0) -> bytes:
    return struct.pack("<B3sB3sII", indicator, b"\0\2\0", os_type, b"\xff\xff\xff", start, size)


def mbr_sector(*records: bytes, signature: int = 0x1234ABCD) -> bytes:
    return struct.pack("<440xIH", signature, 0) + b"".join(records).ljust(64, b"\0") + b"\x55\xaa"


def mbr_disk(sectors: Mapping[int, bytes], size: int = SIZE) -> bytearray:
    disk = bytearray(size)
    for lba, content in sectors.items():
        disk[lba * 512 : lba * 512 + len(content)] = content
    return disk


def layout(table: Table) -> list[tuple[int, str, int, int]]:
    """Return (number, role, first sector, sectors) of the partitions."""
    size = table.sector_size
    return [(p.number, p.role, p.start // size, p.size // size) for p in table.partitions]


# GPT


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_a_gpt_is_read_in_the_sectors_that_it_has(sector_size: int) -> None:
    table = read(gpt_disk({2: gpt.Entry(TYPE, GUIDS[2], 50, 60, "n" * 35, 5)}, sector_size))
    assert (table.kind, table.sector_size, table.sectors) == ("gpt", sector_size, SIZE // sector_size)
    assert (table.used, table.identifier, table.hybrid) == ("primary", DISK_GUID, False)
    (found,) = table.partitions
    assert (found.number, found.start, found.size, found.end) == (
        2,
        50 * sector_size,
        11 * sector_size,
        61 * sector_size,
    )
    assert (found.type, found.guid, found.name, found.attributes) == (TYPE, GUIDS[2], "n" * 35, 5)
    assert (found.role, found.active) == ("primary", False)
    assert table.findings == table.notes == ()


def test_entries_keep_their_numbers_names_and_attributes() -> None:
    table = read(gpt_disk())
    assert [(p.number, p.name, p.attributes) for p in table.partitions] == [
        (1, "ESP", 0),
        (3, "root é😀", 1 << 63 | 4),
    ]
    assert [c.which for c in table.copies] == ["primary", "backup"]
    assert [c.lba for c in table.copies] == [1, LAST]
    assert table.copies[0].header == gpt.parse_header(bytes(gpt_disk()[512:1024]), 1)


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("lost", ["primary", "backup"])
def test_the_other_copy_is_used_and_the_lost_one_named(sector_size: int, lost: str) -> None:
    disk = gpt_disk(sector_size=sector_size, entries={1: entry(40, 50)})
    last = SIZE // sector_size - 1
    lba = 1 if lost == "primary" else last
    disk[lba * sector_size] ^= 1
    table = read(disk)
    assert table.sector_size == sector_size
    assert table.used == ("backup" if lost == "primary" else "primary")
    assert layout(table) == [(1, "primary", 40, 11)]
    assert said(table.findings) == [(f"GPT {lost} header", "signature", lba * sector_size)]
    assert table.findings[0].section == "UEFI 2.10, 5.3.2"


def test_both_copies_lost_are_a_gpt_without_partitions() -> None:
    disk = gpt_disk()
    disk[512 + 60] ^= 1
    disk[LAST * 512 + 60] ^= 1
    table = read(disk)
    assert (table.kind, table.used, table.partitions, table.identifier) == ("gpt", None, (), None)
    assert said(table.findings) == [
        ("GPT primary header", "header_crc32", 512 + 16),
        ("GPT backup header", "header_crc32", LAST * 512 + 16),
    ]


@pytest.mark.parametrize("which", ["primary", "backup"])
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"header_crc32": 1}, ["header_crc32"]),
        ({"partition_entry_array_crc32": 1}, ["partition_entry_array_crc32"]),
        ({"my_lba": 7}, ["my_lba"]),
        ({"header_size": 0}, ["header_size"]),
        ({"header_size": 91}, ["header_size"]),
        ({"header_size": 513}, ["header_size"]),
        ({"header_size": 0xFFFF_FFFF}, ["header_size"]),
        ({"number_of_partition_entries": 0}, ["number_of_partition_entries"]),
        ({"number_of_partition_entries": 0xFFFF_FFFF}, ["number_of_partition_entries"]),
        ({"number_of_partition_entries": 32769}, ["number_of_partition_entries"]),
        ({"size_of_partition_entry": 0}, ["size_of_partition_entry", "number_of_partition_entries"]),
        ({"size_of_partition_entry": 64}, ["size_of_partition_entry"]),
        ({"size_of_partition_entry": 129}, ["size_of_partition_entry"]),
        ({"size_of_partition_entry": 1 << 31}, ["number_of_partition_entries"]),
        ({"partition_entry_lba": LAST}, ["partition_entry_lba"]),
        ({"partition_entry_lba": (1 << 64) - 1}, ["partition_entry_lba"]),
        ({"first_usable_lba": LAST}, ["first_usable_lba"]),
        ({"last_usable_lba": SECTORS}, ["last_usable_lba"]),
        ({"last_usable_lba": 33}, ["first_usable_lba"]),
    ],
)
def test_a_copy_that_cannot_be_believed_is_not_used(
    which: str, fields: dict[str, int], named: list[str]
) -> None:
    disk = gpt_disk()
    lba = 1 if which == "primary" else LAST
    seal(disk, lba, **fields)
    table = read(disk)
    assert table.used == ("backup" if which == "primary" else "primary")
    assert layout(table) == layout(read(gpt_disk()))
    offsets = {name: lba * 512 + at for name, (at, _) in HEADER.items()}
    assert said(table.findings) == [(f"GPT {which} header", name, offsets[name]) for name in named]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"revision": 0x0002_0000}, ["revision"]),
        ({"reserved": 1}, ["reserved"]),
        ({"alternate_lba": LAST - 1}, ["alternate_lba"]),
        ({"first_usable_lba": 33}, ["partition_entry_lba", "first_usable_lba in the backup"]),
        ({"last_usable_lba": 2000}, ["last_usable_lba in the backup"]),
    ],
)
def test_a_header_that_only_errs_is_used_all_the_same(fields: dict[str, int], named: list[str]) -> None:
    disk = gpt_disk()
    seal(disk, 1, **fields)
    table = read(disk)
    assert table.used == "primary"
    expected = []
    for name in named:
        field, _, elsewhere = name.partition(" in the ")
        lba, which = (LAST, "backup") if elsewhere else (1, "primary")
        expected.append((f"GPT {which} header", field, lba * 512 + HEADER[field][0]))
    assert said(table.findings) == expected


def test_bytes_after_the_header_are_named_and_covered_only_by_a_longer_header() -> None:
    disk = gpt_disk()
    disk[512 + 200] = 1
    assert said(read(disk).findings) == [("GPT primary header", "reserved", 512 + 200)]
    disk = gpt_disk()
    seal(disk, 1, header_size=512)
    table = read(disk)
    assert table.findings == ()
    assert said(table.notes) == [("GPT primary header", "header_size", 524)]


def test_entries_of_256_bytes_and_their_reserved_half() -> None:
    disk = gpt_disk({})
    rows = bytearray(64 * 256)
    rows[256:384] = gpt_disk({1: entry(50, 60)})[1024:1152]
    backup = (LAST - 32) * 512
    for at, lba in ((1024, 1), (backup, LAST)):
        disk[at : at + len(rows)] = rows
        seal(disk, lba, number_of_partition_entries=64, size_of_partition_entry=256)
    table = read(disk)
    assert (layout(table), table.findings) == ([(2, "primary", 50, 11)], ())
    disk[1024 + 511] = 1
    seal(disk, 1)
    assert ("GPT primary entry 2", "reserved", 1024 + 511) in said(read(disk).findings)


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({1: entry(33, 99)}, [("entry 1", "starting_lba")]),
        ({1: entry(34, LAST - 32)}, [("entry 1", "ending_lba")]),
        ({2: entry(1 << 40, (1 << 64) - 1)}, [("entry 2", "starting_lba"), ("entry 2", "ending_lba")]),
        ({1: entry(50, 99), 2: entry(99, 120, 1)}, [("entry 2", "starting_lba")]),
        ({1: entry(50, 99), 2: entry(40, 120, 1)}, [("entry 1", "starting_lba")]),
        (
            {1: entry(50, 200), 2: entry(60, 70, 1), 3: entry(199, 201, 2)},
            [("entry 2", "starting_lba"), ("entry 3", "starting_lba")],
        ),
        ({1: entry(50, 59), 2: entry(60, 70)}, [("entry 2", "unique_partition_guid")]),
        ({1: entry(50, 59, attributes=1 << 3)}, [("entry 1", "attributes")]),
        ({1: entry(50, 59, attributes=1 << 47)}, [("entry 1", "attributes")]),
    ],
)  # fmt: skip
def test_entries_that_err_are_named_and_kept(
    entries: dict[int, gpt.Entry], named: list[tuple[str, str]]
) -> None:
    disk = with_rows({number: row(e) for number, e in entries.items()})
    table = read(disk)
    assert [(f.structure.removeprefix("GPT primary "), f.field) for f in table.findings] == named
    assert [p.number for p in table.partitions] == sorted(entries)
    assert {f.section for f in table.findings} == {"UEFI 2.10, 5.3.3"}


def row(e: gpt.Entry) -> bytes:
    name = e.name.encode("utf-16-le", "surrogatepass").ljust(72, b"\0")
    places = struct.pack("<QQQ", e.starting_lba, e.ending_lba, e.attributes)
    return e.type_guid.bytes_le + e.unique_guid.bytes_le + places + name


def with_rows(rows: Mapping[int, bytes]) -> bytearray:
    """Return a disk whose two arrays have these bytes, under right checksums."""
    disk = gpt_disk({})
    for array, lba in ((1024, 1), ((LAST - 32) * 512, LAST)):
        for number, content in rows.items():
            at = array + 128 * (number - 1)
            disk[at : at + len(content)] = content
        seal(disk, lba)
    return disk


def test_an_inverted_entry_is_no_partition() -> None:
    table = read(with_rows({1: row(entry(60, 60, 1)), 2: row(entry(70, 69, 2))}))
    assert layout(table) == [(1, "primary", 60, 1)]
    assert said(table.findings) == [("GPT primary entry 2", "ending_lba", 1024 + 128 + 40)]


def test_a_guid_of_zeros_is_named() -> None:
    nameless = gpt.Entry(TYPE, UUID(int=0), 50, 60, "")
    assert said(read(with_rows({1: row(nameless)})).findings) == [
        ("GPT primary entry 1", "unique_partition_guid", 1024 + 16)
    ]


@pytest.mark.parametrize(
    ("name", "read_as", "noted"),
    [
        ("n" * 36, "n" * 36, ["a NUL at its end"]),
        ("ab\0cd", "ab", []),
        ("x\ud800y", "x\ud800y", ["UTF-16"]),
        ("n" * 35 + "\ud800", "n" * 35 + "\ud800", ["a NUL at its end", "UTF-16"]),
        ("ok\0\udfff", "ok", []),
        ("😀" * 18, "😀" * 18, ["a NUL at its end"]),
    ],
)
def test_names_are_read_as_far_as_they_are_text(name: str, read_as: str, noted: list[str]) -> None:
    table = read(with_rows({1: row(entry(50, 60, name=name))}))
    assert table.partitions[0].name == read_as
    assert [n.expected for n in table.notes] == noted
    assert table.findings == ()


def test_copies_that_differ_while_both_are_valid_are_named_field_by_field() -> None:
    disk = gpt_disk()
    other = gpt.encode({1: entry(40, 50, 1)}, disk_guid=UUID(int=5), disk_size=SIZE).read(0, SIZE)
    disk[(LAST - 32) * 512 :] = other[(LAST - 32) * 512 :]
    table = read(disk)
    assert table.used == "primary"
    assert said(table.findings) == [
        ("GPT backup header", "disk_guid", LAST * 512 + 56),
        ("GPT backup header", "partition_entry_array_crc32", LAST * 512 + 88),
    ]


def test_what_errs_in_both_arrays_is_named_once_and_what_errs_in_one_is_named_there() -> None:
    disk = with_rows({1: row(entry(33, 60))})
    assert said(read(disk).findings) == [("GPT primary entry 1", "starting_lba", 1024 + 32)]
    backup = (LAST - 32) * 512
    disk[1024 : 1024 + 128] = row(entry(34, 60))
    seal(disk, 1)
    assert said(read(disk).findings) == [
        ("GPT backup header", "partition_entry_array_crc32", LAST * 512 + 88),
        ("GPT backup entry 1", "starting_lba", backup + 32),
    ]


def test_a_disk_that_grew_has_its_backup_where_its_end_was() -> None:
    disk = gpt_disk() + bytes(512 * 100)
    table = read(disk)
    assert (table.used, [c.lba for c in table.copies]) == ("primary", [1, LAST])
    assert said(table.findings) == [
        ("MBR record 1", "size_in_lba", 458),
        ("GPT backup header", "my_lba", LAST * 512),
        ("GPT primary header", "alternate_lba", 512 + 32),
    ]


def test_a_disk_that_was_cut_off_has_no_backup() -> None:
    table = read(gpt_disk()[: SIZE - 512])
    assert table.used == "primary"
    assert said(table.findings) == [
        ("MBR record 1", "size_in_lba", 458),
        ("GPT backup header", "signature", (LAST - 1) * 512),
        ("GPT primary header", "alternate_lba", 512 + 32),
    ]
    table = read(gpt_disk()[: SIZE - 34 * 512])
    assert table.used is None
    assert ("GPT primary header", "last_usable_lba", 512 + 48) in said(table.findings)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_sectors_of_another_size_than_asked_for_are_named(sector_size: int) -> None:
    other = 4608 - sector_size
    table = read(gpt_disk({1: entry(40, 50)}, sector_size), other)
    assert (table.kind, table.used, table.sector_size) == ("gpt", None, other)
    assert f"the disk has sectors of {sector_size:,} bytes" in table.findings[-1].found


def test_the_sector_size_is_told_by_either_header_and_a_whole_one_decides() -> None:
    disk = gpt_disk({1: entry(10, 20)}, 4096)
    disk[4096:4104] = bytes(8)
    assert read(disk).sector_size == 4096
    disk = gpt_disk({1: entry(10, 20)}, 4096)
    disk[512:520] = b"EFI PART"  # a signature where 512-byte sectors would have it
    table = read(disk)
    assert (table.sector_size, table.used) == (4096, "primary")


@pytest.mark.parametrize("size", [0, 1, 513, 1023, 8192])
def test_sector_sizes_that_do_not_exist_are_refused(size: int) -> None:
    with pytest.raises(SpecError, match="give 512, 1024, 2048 or 4096"):
        read(gpt_disk(), size)


@pytest.mark.parametrize("size", [1024, 2048])
def test_other_sector_sizes_are_read_when_asked_for(size: int) -> None:
    table = read(gpt_disk({1: entry(40, 50)}, size), size)
    assert (table.used, layout(table), table.findings) == ("primary", [(1, "primary", 40, 11)], ())


# The MBR before a GPT


def test_a_gpt_whose_mbr_is_gone_is_read_and_named() -> None:
    disk = gpt_disk()
    disk[:512] = bytes(512)
    table = read(disk)
    assert (table.kind, table.used) == ("gpt", "primary")
    assert said(table.findings) == [("MBR", "os_type", 446)]
    assert table.findings[0].section == "UEFI 2.10, 5.2.3"


def test_an_mbr_with_partitions_counts_and_the_gpt_behind_it_is_named() -> None:
    disk = gpt_disk()
    disk[:512] = mbr_sector(record(0x83, 100, 50))
    table = read(disk)
    assert (table.kind, layout(table), table.identifier) == ("mbr", [(1, "primary", 100, 50)], 0x1234ABCD)
    assert [f.found for f in table.findings] == [
        "a usable GPT primary header at LBA 1",
        f"a usable GPT backup header at LBA {LAST:,}",
    ]


def test_a_backup_that_nothing_leads_to_is_a_note() -> None:
    disk = gpt_disk()
    disk[: 34 * 512] = bytes(34 * 512)
    table = read(disk)
    assert (table.kind, table.partitions, table.findings) == ("none", (), ())
    assert said(table.notes) == [("GPT backup header", "", LAST * 512)]


@pytest.mark.parametrize(
    ("records", "findings", "notes"),
    [
        ([record(0xEE, 1, LAST)], [], []),
        ([record(0xEE, 1, 0xFFFF_FFFF)], [], [("MBR record 1", "size_in_lba")]),
        ([record(0xEE, 1, LAST - 1)], [("MBR record 1", "size_in_lba")], []),
        ([record(0xEE, 1, LAST + 1)], [("MBR record 1", "size_in_lba")], []),
        ([record(0xEE, 0, LAST)], [("MBR record 1", "starting_lba")], []),
        ([record(0xEE, 2, LAST)], [("MBR record 1", "starting_lba")], []),
        ([record(0xEE, 1, LAST, 0x80)], [], [("MBR record 1", "boot_indicator")]),
        ([record(0xEE, 1, LAST, 0x7F)], [("MBR record 1", "boot_indicator")], []),
        ([record(0xEE, 1, LAST), record(0xEE, 1, LAST)], [("MBR record 2", "os_type")], []),
        ([b"\0" * 16, record(0xEE, 1, LAST)], [], []),
        ([record(0xEE, 1, LAST), record(0, 0, 5)], [("MBR record 2", "")], []),
        (
            [record(0xEE, 1, 39), record(0xEF, 40, 60)],
            [],
            [("MBR record 1", "size_in_lba"), ("MBR record 2", "os_type")],
        ),
    ],
)
def test_protective_records(
    records: list[bytes], findings: list[tuple[str, str]], notes: list[tuple[str, str]]
) -> None:
    disk = gpt_disk()
    disk[:512] = mbr_sector(*records, signature=0)
    table = read(disk)
    assert (table.kind, table.used) == ("gpt", "primary")
    assert [(f.structure, f.field) for f in table.findings] == findings
    assert [(f.structure, f.field) for f in table.notes] == notes
    assert table.hybrid == any(r[4] not in (0, 0xEE) for r in records)


def test_the_greatest_size_is_right_on_a_disk_beyond_the_reach_of_the_field() -> None:
    volume = gpt.encode({1: entry(2048, 1 << 33)}, disk_guid=DISK_GUID, disk_size=8 * TiB)
    table = read_table(volume)
    assert (table.sectors, table.findings, table.notes) == (8 * TiB // 512, (), ())


# MBR


def test_an_mbr_has_up_to_four_partitions() -> None:
    records = [
        record(0x0C, 63, 10, 0x80),
        b"\0" * 16,
        record(0x83, 100, 200),
        record(0x82, 300, SECTORS - 300),
    ]
    table = read(mbr_disk({0: mbr_sector(*records)}))
    assert (table.kind, table.sector_size, table.identifier, table.used) == ("mbr", 512, 0x1234ABCD, None)
    assert layout(table) == [
        (1, "primary", 63, 10),
        (3, "primary", 100, 200),
        (4, "primary", 300, SECTORS - 300),
    ]
    assert [(p.type, p.active, p.guid, p.name) for p in table.partitions] == [
        (0x0C, True, None, ""), (0x83, False, None, ""), (0x82, False, None, ""),
    ]  # fmt: skip
    assert table.mbr is not None and sorted(table.mbr.records) == [1, 3, 4]
    assert table.findings == table.notes == ()


def test_an_mbr_counts_in_sectors_of_the_size_given() -> None:
    table = read(mbr_disk({0: mbr_sector(record(0x83, 10, 20))}), 4096)
    assert [(p.start, p.size) for p in table.partitions] == [(40960, 81920)]


@pytest.mark.parametrize(
    ("records", "findings", "notes"),
    [
        ([record(0x83, 0, 10)], [("MBR record 1", "starting_lba", 454)], []),
        ([record(0x83, 10, SECTORS - 9)], [("MBR record 1", "size_in_lba", 458)], []),
        ([record(0x83, 0xFFFF_FFFF, 0xFFFF_FFFF)], [("MBR record 1", "size_in_lba", 458)], []),
        ([record(0x83, 10, 10, 0x7F), record(0x83, 20, 10)], [("MBR record 1", "boot_indicator", 446)], []),
        ([record(0x83, 10, 11), record(0x83, 20, 10)], [("MBR record 2", "starting_lba", 470)], []),
        ([record(0x83, 10, 10, 0x80), record(0x83, 20, 10, 0x80)], [], [("MBR", "boot_indicator", 446)]),
        ([record(0x83, 10, 10), record(0x83, 20, 0)], [], [("MBR record 2", "size_in_lba", 474)]),
        ([record(0x83, 10, 10), record(0, 20, 5)], [], [("MBR record 2", "os_type", 466)]),
    ],
)
def test_records_that_err_are_named(
    records: list[bytes], findings: list[tuple[str, str, int]], notes: list[tuple[str, str, int]]
) -> None:
    table = read(mbr_disk({0: mbr_sector(*records)}))
    assert table.kind == "mbr"
    assert said(table.findings) == findings
    assert said(table.notes) == notes


@pytest.mark.parametrize(
    "sector",
    [
        bytes(512),
        b"\x55\xaa" * 255 + b"\0\0",
        b"\xeb\x52\x90NTFS    " + bytes(499) + b"\x55\xaa",
        b"\xeb\x76\x90EXFAT   " + bytes(499) + b"\x55\xaa",
        b"\xeb\x3c\x90mkfs.fat\0\2\4\1\0\2\0\2\0\0\xf8" + bytes(488) + b"\x55\xaa",
        b"\xfa" + b"boot code, not records" * 22 + b"\0" * 25 + b"\x55\xaa",
    ],
    ids=["zeros", "no signature", "NTFS", "exFAT", "FAT", "code"],
)
def test_other_first_sectors_are_no_table(sector: bytes) -> None:
    assert len(sector) == 512
    table = read(mbr_disk({0: sector}))
    assert (table.kind, table.partitions, table.findings, table.notes) == ("none", (), (), ())


def test_an_mbr_without_partitions_is_one() -> None:
    table = read(mbr_disk({0: mbr_sector()}))
    assert (table.kind, table.partitions, table.identifier) == ("mbr", (), 0x1234ABCD)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 1536])
def test_disks_of_hardly_any_sector(size: int) -> None:
    for disk in (gpt_disk(), mbr_disk({0: mbr_sector(record(0x83, 1, 1))})):
        for sector_size in (None, 512, 4096):
            table = read(disk[:size], sector_size)
            assert table.sectors == size // table.sector_size
            assert table.used is None
            assert (table.kind == "none") == (table.sectors == 0)


# Extended boot records


def chain(*links: tuple[int, bytes], extended: bytes | None = None) -> bytearray:
    sectors = {0: mbr_sector(record(0x83, 10, 90), extended or record(5, 100, 900))}
    return mbr_disk({**sectors, **dict(links)})


def ebr(*records: bytes) -> bytes:
    return mbr_sector(*records, signature=0)


@pytest.mark.parametrize("os_type", [0x05, 0x0F, 0x85])
def test_logical_partitions_count_from_5_and_links_from_the_first_ebr(os_type: int) -> None:
    disk = chain(
        (100, ebr(record(0x83, 1, 99), record(os_type, 200, 300))),
        (300, ebr(record(0x82, 2, 50, 0x80), record(5, 100, 100))),
        (200, ebr(record(0x07, 10, 20))),
        extended=record(os_type, 100, 900),
    )
    table = read(disk)
    assert layout(table) == [
        (1, "primary", 10, 90),
        (2, "extended", 100, 900),
        (5, "logical", 101, 99),
        (6, "logical", 302, 50),
        (7, "logical", 210, 20),
    ]
    assert [p.active for p in table.partitions] == [False, False, False, True, False]
    assert table.findings == table.notes == ()


def test_an_empty_first_ebr_and_an_ebr_that_only_links() -> None:
    disk = chain((100, ebr(b"\0" * 16, record(5, 50, 100))), (150, ebr(record(0x83, 1, 9))))
    assert layout(read(disk))[2:] == [(5, "logical", 151, 9)]
    assert layout(read(chain((100, ebr()))))[2:] == []
    assert read(chain((100, ebr()))).findings == ()


def test_every_extended_partition_has_a_chain() -> None:
    disk = mbr_disk(
        {
            0: mbr_sector(record(5, 100, 100), record(0x0F, 200, 100)),
            100: ebr(record(0x83, 1, 9)),
            200: ebr(record(0x83, 1, 9)),
        }
    )
    assert layout(read(disk))[2:] == [(5, "logical", 101, 9), (6, "logical", 201, 9)]


@pytest.mark.parametrize(
    ("links", "where", "found"),
    [
        (
            [(100, [record(0x83, 1, 9), record(5, 0, 100)])],
            ("EBR at LBA 100 record 2", 100),
            "LBA 100 again: a loop",
        ),
        (
            [(100, [record(0x83, 1, 9), record(5, 50, 9)]), (150, [record(0x83, 1, 9), record(5, 0, 9)])],
            ("EBR at LBA 150 record 2", 150),
            "LBA 100 again: a loop",
        ),
        ([(100, [record(0x83, 1, 9), record(5, 900, 9)])], ("EBR at LBA 100 record 2", 100), "LBA 1,000"),
        (
            [(100, [record(0x83, 1, 9), record(5, 0xFFFF_FFFF, 9)])],
            ("EBR at LBA 100 record 2", 100),
            "LBA 4,294,967,395",
        ),
    ],
)
def test_a_chain_ends_where_it_leads_back_or_out(
    links: list[tuple[int, list[bytes]]], where: tuple[str, int], found: str
) -> None:
    table = read(chain(*((lba, ebr(*records)) for lba, records in links)))
    structure, lba = where
    assert said(table.findings) == [(structure, "starting_lba", lba * 512 + 446 + 16 + 8)]
    assert table.findings[0].found == found
    assert len(table.partitions) == 2 + len(links)


def test_an_extended_partition_in_its_own_mbr_is_no_loop() -> None:
    table = read(mbr_disk({0: mbr_sector(record(5, 0, SECTORS))}))
    # Sector 0 is read as an EBR once; what it holds is a link to itself.
    assert "LBA 0 again: a loop" in [f.found for f in table.findings]


def test_an_ebr_without_a_signature_ends_the_chain() -> None:
    table = read(chain())
    assert said(table.findings) == [("EBR at LBA 100", "signature", 100 * 512 + 510)]
    assert layout(table)[1] == (2, "extended", 100, 900)


def test_logical_partitions_out_of_bounds_and_over_each_other_are_named() -> None:
    disk = chain(
        (100, ebr(record(0x83, 1, 900, 0x33), record(5, 50, 100))),
        (150, ebr(record(0x83, 0, 10))),
    )
    assert said(read(disk).findings) == [
        ("logical partition 5", "boot_indicator", 100 * 512 + 446),
        ("logical partition 5", "size_in_lba", 100 * 512 + 458),
        ("logical partition 6", "starting_lba", 150 * 512 + 454),
        ("logical partition 6", "starting_lba", 150 * 512 + 454),
    ]


def test_the_third_and_fourth_record_of_an_ebr_count_only_where_they_fit() -> None:
    fits, outside = record(0x83, 20, 5), record(0x83, 0x1234_5678, 0x9ABC_DEF0)
    table = read(chain((100, ebr(record(0x83, 1, 9), b"\0" * 16, fits, outside))))
    assert layout(table)[2:] == [(5, "logical", 101, 9), (6, "logical", 120, 5)]
    assert said(table.notes) == [("logical partition 6", "partition_record", 100 * 512 + 446 + 32)]
    assert table.findings == ()


@pytest.mark.parametrize(("count", "finds"), [(4095, 0), (4096, 0), (4097, 1)])
def test_chains_are_followed_for_4096_links(count: int, finds: int) -> None:
    size = (count + 200) * 512
    disk = mbr_disk({0: mbr_sector(record(5, 100, count + 50))}, size)
    for n in range(count):
        link = record(5, n + 1, 1) if n + 1 < count else b""
        disk[(100 + n) * 512 : (101 + n) * 512] = ebr(b"\0" * 16, link)
    assert [f.found for f in read(disk).findings] == ["another one"] * finds
