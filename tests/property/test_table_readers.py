"""Laws of reading partition tables: what was written is read, a flipped bit is named, and nothing raises."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from itertools import pairwise
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from imgwriter import gpt, mbr
from imgwriter.disk import DiskIdentifiers, plan
from imgwriter.errors import CapacityError, SpecError
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.spec import TableKind
from imgwriter.tables_reader import read_table
from imgwriter.units import MiB, TiB

pytestmark = pytest.mark.property

SIZE = 128 << 10
SECTORS = SIZE // 512
LAST = SECTORS - 1
KINDS = st.sampled_from([kind for kind in get_args(TableKind) if kind != "none"])
SECTOR_SIZES = st.sampled_from([512, 4096])


def volume_of(content: bytes | bytearray) -> Volume:
    return Volume(len(content), [extent(0, Bytes(bytes(content)), "disk")] if content else [])


@given(KINDS, SECTOR_SIZES, st.integers(300 * MiB, 8 * TiB), st.text())
def test_every_layout_is_read_as_it_was_planned(
    kind: TableKind, sector_size: int, size: int, seed: str
) -> None:
    size = size // sector_size * sector_size
    try:
        layout = plan(kind, size, identifiers=DiskIdentifiers(seed), sector_size=sector_size)
    except (CapacityError, SpecError):
        assume(False)  # beyond an MBR's reach
    table = read_table(
        layout.table_volume(), None if layout.kind not in ("legacy", "legacy+boot") else sector_size
    )
    assert table.findings == table.notes == ()
    assert table.sector_size == sector_size
    assert [(p.number, p.start, p.end) for p in table.partitions] == sorted(
        (p.number, p.start, p.end) for p in layout.partitions
    )


@st.composite
def gpt_entries(draw: st.DrawFn) -> dict[int, gpt.Entry]:
    """Draw disjoint entries in any order of numbers, names of any text."""
    cuts = draw(st.lists(st.integers(34, LAST - 33), unique=True, max_size=12).map(sorted))
    numbers = draw(st.permutations(range(1, 129)))
    names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=18)
    return {
        number: gpt.Entry(
            UUID(int=draw(st.integers(1, (1 << 128) - 1))), UUID(int=number), low, high - 1, draw(names)
        )
        for number, low, high in zip(numbers, cuts, cuts[1:], strict=False)
    }


@given(gpt_entries())
def test_every_gpt_is_read_as_it_was_written(entries: dict[int, gpt.Entry]) -> None:
    table = read_table(gpt.encode(entries, disk_guid=UUID(int=9), disk_size=SIZE))
    assert (table.findings, table.identifier, table.used) == ((), UUID(int=9), "primary")
    found = {
        p.number: gpt.Entry(p.type, p.guid, p.start // 512, p.end // 512 - 1, p.name, p.attributes)
        for p in table.partitions
    }
    assert found == entries


ENTRIES = {
    1: gpt.Entry(gpt.TYPE_ESP, UUID(int=1), 40, 99, "ESP"),
    2: gpt.Entry(gpt.TYPE_LINUX_DATA, UUID(int=2), 100, 200, "root"),
}
DISK = gpt.encode(ENTRIES, disk_guid=UUID(int=9), disk_size=SIZE).read(0, SIZE)
ARRAYS = [(1024, 16384), ((LAST - 32) * 512, 16384)]
HEADERS = [(512, 512), (LAST * 512, 512)]


@given(st.sampled_from(ARRAYS + HEADERS), st.data())
def test_a_flipped_bit_of_a_copy_is_named_and_costs_no_partition(
    place: tuple[int, int], data: st.DataObject
) -> None:
    start, length = place
    at = data.draw(st.integers(start, start + length - 1))
    disk = bytearray(DISK)
    disk[at] ^= 1 << data.draw(st.integers(0, 7))
    table = read_table(volume_of(disk))
    which = "primary" if start < SIZE // 2 else "backup"
    assert any(f.structure.startswith(f"GPT {which}") for f in table.findings)
    assert [p.name for p in table.partitions] == ["ESP", "root"]


# The protective MBR's code and signature are free, and tools differ in its ending CHS.
FREE = {*range(446), 451, 452, 453}


@given(st.sampled_from(sorted(set(range(512)) - FREE)), st.integers(0, 7))
def test_a_flipped_bit_of_the_protective_mbr_is_named(at: int, bit: int) -> None:
    disk = bytearray(DISK)
    disk[at] ^= 1 << bit
    table = read_table(volume_of(disk))
    assert table.findings or table.notes
    # Without its type, the record is a partition of an MBR.
    assert [p.name for p in table.partitions] == ([""] if at == 450 else ["ESP", "root"])


# Numbers that fields have their limits at.
LIMITS = st.sampled_from(
    [0, 1, 2, 33, 34, 91, 92, 93, 128, 512, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 64) - 1]
)
CHAIN = {
    0: [(0, 0x83, 5, 5), (0, 5, 20, 200)],
    20: [(0, 0x83, 1, 9), (0, 5, 20, 100)],
    40: [(0, 0x83, 1, 9), (0, 5, 30, 100)],
    50: [(0, 0x83, 1, 9)],
}


def chained() -> bytearray:
    disk = bytearray(SIZE)
    for lba, records in CHAIN.items():
        rows = b"".join(struct.pack("<BxxxBxxxII", *record) for record in records).ljust(64, b"\0")
        disk[lba * 512 + 446 : lba * 512 + 512] = rows + b"\x55\xaa"
    return disk


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a disk with a table, some fields of which were set to anything; headers resealed, or not."""
    disk = draw(st.sampled_from([bytearray(DISK), chained()])).copy()
    interesting = st.sampled_from(
        [446, 512, 1024, 20 * 512 + 446, 40 * 512 + 446, LAST * 512, (LAST - 32) * 512]
    )
    for _ in range(draw(st.integers(0, 6))):
        at = draw(interesting) + draw(st.integers(0, 95))
        width = draw(st.sampled_from([1, 4, 8]))
        value = draw(st.one_of(LIMITS, st.integers(0, (1 << 64) - 1))) & ((1 << 8 * width) - 1)
        piece = value.to_bytes(width, "little")[: len(disk) - at]
        disk[at : at + len(piece)] = piece
    if draw(st.booleans()):
        reseal(disk)
    return bytes(disk[: draw(st.one_of(st.just(SIZE), st.integers(0, SIZE)))])


def reseal(disk: bytearray) -> None:
    """Make the checksums of both headers right for whatever they say."""
    for at in (512, LAST * 512):
        (size,) = struct.unpack_from("<I", disk, at + 12)
        (lba,) = struct.unpack_from("<Q", disk, at + 72)
        number, entry = struct.unpack_from("<II", disk, at + 80)
        if lba < SECTORS and number * entry < SIZE:
            array = disk[lba * 512 : lba * 512 + number * entry]
            struct.pack_into("<I", disk, at + 88, zlib.crc32(array))
        struct.pack_into("<I", disk, at + 16, 0)
        struct.pack_into("<I", disk, at + 16, zlib.crc32(disk[at : at + min(size, 512)]))


@given(damaged(), st.sampled_from([None, 512, 1024, 4096]))
@example(b"", None)
def test_no_disk_raises_and_what_is_read_holds_together(disk: bytes, sector_size: int | None) -> None:
    table = read_table(volume_of(disk), sector_size)
    numbers = [p.number for p in table.partitions]
    assert len(set(numbers)) == len(numbers)
    assert all(p.size > 0 and p.start >= 0 for p in table.partitions)
    assert all(0 <= f.offset < max(len(disk), 1) + 4096 for f in table.findings + table.notes)
    assert all(str(f) and f.section for f in table.findings + table.notes)
    if table.kind != "gpt":
        assert table.used is None


@given(st.binary(max_size=2048))
def test_no_bytes_raise(content: bytes) -> None:
    disk = bytearray(4096)
    disk[: len(content)] = content
    disk[510:512] = b"\x55\xaa"
    disk[512:520] = gpt.SIGNATURE
    with suppress(SpecError):
        read_table(volume_of(disk))


@st.composite
def chains(draw: st.DrawFn) -> tuple[bytearray, list[tuple[int, int]]]:
    """Draw a chain of EBRs in any order on the disk, and (first sector, sectors) of what it holds."""
    places = draw(st.lists(st.integers(1, 60), unique=True, min_size=1, max_size=10))
    lbas = [20, *(20 + 3 * place for place in places)]
    disk = bytearray(SIZE)
    records = struct.pack("<BxxxBxxxII", 0, 0x0F, 20, SECTORS - 20)
    disk[446:462], disk[510:512] = records, b"\x55\xaa"
    expected = []
    for lba, after in zip(lbas, [*lbas[1:], None], strict=True):
        at = lba * 512 + 446
        if draw(st.booleans()):
            size = draw(st.integers(1, 2))
            struct.pack_into("<BxxxBxxxII", disk, at, 0, 0x83, 1, size)
            expected.append((lba + 1, size))
        if after is not None:
            struct.pack_into("<BxxxBxxxII", disk, at + 16, 0, 5, after - 20, 3)
        disk[lba * 512 + 510 : lba * 512 + 512] = b"\x55\xaa"
    return disk, expected


@given(chains())
def test_every_chain_is_followed_to_its_end(drawn: tuple[bytearray, list[tuple[int, int]]]) -> None:
    disk, expected = drawn
    table = read_table(volume_of(disk))
    assert [(p.start // 512, p.size // 512) for p in table.partitions if p.role == "logical"] == expected
    assert [p.number for p in table.partitions] == [1, *range(5, 5 + len(expected))]
    assert table.findings == ()


@given(st.lists(st.tuples(st.integers(1, LAST), st.integers(1, 1 << 20)), min_size=1, max_size=4))
def test_an_mbr_is_read_as_it_was_written(places: list[tuple[int, int]]) -> None:
    records = [mbr.PartitionRecord(start, size, 0x83, n == 2) for n, (start, size) in enumerate(places)]
    sector = mbr.encode(records, disk_signature=7)
    table = read_table(Volume(SIZE, [extent(0, Bytes(sector), "MBR")]))
    assert table.mbr == mbr.parse(sector)
    assert [(p.start // 512, p.size // 512, p.active) for p in table.partitions] == [
        (start, size, n == 2) for n, (start, size) in enumerate(places)
    ]
    disjoint = all(a[0] + a[1] <= b[0] for a, b in pairwise(sorted(places)))
    inside = all(start + size <= SECTORS for start, size in places)
    assert (table.findings == ()) == (disjoint and inside)
