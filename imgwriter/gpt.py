"""The GUID partition table: a header and an entry array at the start, and both again at the end.

::

    LBA 0     1        2 ...      first usable              last usable + 1 ...     last
    ├─ MBR* ──┼─header─┼─entries─┼──────── partitions ──────┼─ entries (backup) ────┼─header (backup)─┤
      * protective

The array has 128 entries of 128 bytes: 16 KiB, the least the specification allows. That is 32 sectors
of 512 bytes (first usable LBA 34) or 4 of 4,096 bytes (first usable LBA 6).

Invariants: both headers describe the same disk and differ only in my_lba, alternate_lba,
partition_entry_lba and their own checksum; the arrays are equal; every entry lies within the usable
LBAs; GUIDs are stored mixed-endian (first three fields little-endian), as ``UUID.bytes_le``.

Spec: UEFI 2.10, 5.3; checksums are CRC-32 as in zlib (UEFI 2.10, 4.2).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from construct import Bytes, Const, Int32ul, Int64ul, Struct

from imgwriter import mbr
from imgwriter.errors import FormatError, PlanInvariantError, SpecError
from imgwriter.extent import Bytes as BytesData
from imgwriter.extent import Volume, extent
from imgwriter.units import div_ceil

SIGNATURE = b"EFI PART"
REVISION = 0x0001_0000
ENTRIES = 128
NAME_UNITS = 36
"""UTF-16 code units in a partition's name; unlike most such fields it needs no terminator."""

HEADER = Struct(
    "signature" / Const(SIGNATURE),
    "revision" / Int32ul,
    "header_size" / Int32ul,
    "header_crc32" / Int32ul,
    "reserved" / Int32ul,
    "my_lba" / Int64ul,
    "alternate_lba" / Int64ul,
    "first_usable_lba" / Int64ul,
    "last_usable_lba" / Int64ul,
    "disk_guid" / Bytes(16),
    "partition_entry_lba" / Int64ul,
    "number_of_partition_entries" / Int32ul,
    "size_of_partition_entry" / Int32ul,
    "partition_entry_array_crc32" / Int32ul,
)
"""Spec: UEFI 2.10, 5.3.2, table 5.5."""

ENTRY = Struct(
    "partition_type_guid" / Bytes(16),
    "unique_partition_guid" / Bytes(16),
    "starting_lba" / Int64ul,
    "ending_lba" / Int64ul,  # the last sector itself, not the one after
    "attributes" / Int64ul,
    "partition_name" / Bytes(2 * NAME_UNITS),
)
"""Spec: UEFI 2.10, 5.3.3, table 5.6."""

HEADER_SIZE = 92
ENTRY_SIZE = 128
ARRAY_SIZE = ENTRIES * ENTRY_SIZE

_CRC_AT = slice(16, 20)
_ARRAY_LIMIT = 1 << 20
"""Bytes of entry array that a reader takes: 64 times the usual, and no bomb."""

TYPE_UNUSED = UUID(int=0)
TYPE_ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
"""EFI system partition. Spec: UEFI 2.10, 5.3.3, table 5.7."""
TYPE_BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
"""Where GRUB keeps its core image on a BIOS machine; GRUB manual 2.06, 3.4."""
TYPE_LINUX_DATA = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
"""Linux file system data; what parted 3.5 and sgdisk 1.0.9 give an ext4 partition."""
TYPE_XBOOTLDR = UUID("bc13c2ff-59e6-4262-a352-b275fd6f7172")
"""Extended boot loader partition; UAPI group, Boot Loader Specification."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One partition of a GPT, in sectors of the disk.

    Attributes:
        type_guid: What it holds, such as ``TYPE_ESP``.
        unique_guid: Its own GUID, Linux's PARTUUID.
        starting_lba: First sector.
        ending_lba: Last sector, itself included.
        name: At most 36 UTF-16 code units.
        attributes: Bits of UEFI 2.10, 5.3.3, table 5.8.
    """

    type_guid: UUID
    unique_guid: UUID
    starting_lba: int
    ending_lba: int
    name: str
    attributes: int = 0


def array_sectors(sector_size: int) -> int:
    """Return the sectors of one entry array: 32 or 4."""
    return div_ceil(ARRAY_SIZE, sector_size)


def first_usable_lba(sector_size: int) -> int:
    """Return the first sector that a partition may have, after MBR, header and array: 34 or 6."""
    return 2 + array_sectors(sector_size)


class Geometry(NamedTuple):
    """Where the structures of a GPT stand on a disk of so many sectors."""

    disk_sectors: int
    sector_size: int

    @property
    def first_usable_lba(self) -> int:
        """The first sector that a partition may have."""
        return first_usable_lba(self.sector_size)

    @property
    def last_usable_lba(self) -> int:
        """The last sector that a partition may have: before the backup array."""
        return self.backup_array_lba - 1

    @property
    def backup_array_lba(self) -> int:
        """The first sector of the backup array."""
        return self.backup_header_lba - array_sectors(self.sector_size)

    @property
    def backup_header_lba(self) -> int:
        """The sector of the backup header: the disk's last."""
        return self.disk_sectors - 1


class Header(NamedTuple):
    """What one header says, its checksum verified. Field names are the specification's."""

    my_lba: int
    alternate_lba: int
    first_usable_lba: int
    last_usable_lba: int
    disk_guid: UUID
    partition_entry_lba: int
    number_of_partition_entries: int
    size_of_partition_entry: int
    partition_entry_array_crc32: int


class Gpt(NamedTuple):
    """What a table says: the disk's GUID and the used entries by number, from 1."""

    disk_guid: UUID
    entries: dict[int, Entry]


def encode(
    entries: Mapping[int, Entry], *, disk_guid: UUID, disk_size: int, sector_size: int = 512
) -> Volume:
    """Return the Volume of the whole disk that has the table's structures and nothing else.

    Args:
        entries: Entries by partition number, 1 to 128.
        disk_guid: The disk's GUID.
        disk_size: Bytes of the disk, a multiple of ``sector_size``.
        sector_size: Bytes in a sector: 512 or 4,096.

    Left at zero: reserved (the specification's rule), unused entries, and the rest of a header's sector.

    Raises:
        SpecError: A name does not fit.
        PlanInvariantError: An entry lies outside the usable LBAs, or its number outside 1 to 128.

    Spec: UEFI 2.10, 5.3.1 to 5.3.3.
    """
    geometry = Geometry(disk_size // sector_size, sector_size)
    array = encode_array(entries, geometry)
    primary = encode_header(geometry, disk_guid, array, backup=False)
    backup = encode_header(geometry, disk_guid, array, backup=True)
    structures = (
        (0, mbr.protective(geometry.disk_sectors, sector_size), "protective MBR"),
        (1, primary, "GPT header"),
        (2, array, "GPT entries"),
        (geometry.backup_array_lba, array, "backup GPT entries"),
        (geometry.backup_header_lba, backup, "backup GPT header"),
    )
    return Volume(
        disk_size, [extent(lba * sector_size, BytesData(data), label) for lba, data, label in structures]
    )


def encode_array(entries: Mapping[int, Entry], geometry: Geometry) -> bytes:
    """Return the entry array, 16 KiB, with each entry at its number.

    Raises:
        SpecError: A name does not fit.
        PlanInvariantError: An entry lies outside the usable LBAs, or its number outside 1 to 128.
    """
    array = bytearray(ARRAY_SIZE)
    for number, entry in entries.items():
        if not 1 <= number <= ENTRIES:
            raise PlanInvariantError(f"partition number {number} is outside 1 to {ENTRIES}")
        low, high = geometry.first_usable_lba, geometry.last_usable_lba
        if not low <= entry.starting_lba <= entry.ending_lba <= high:
            raise PlanInvariantError(
                f"partition {number} has LBA {entry.starting_lba} to {entry.ending_lba},"
                f" usable are {low} to {high}"
            )
        array[ENTRY_SIZE * (number - 1) : ENTRY_SIZE * number] = _encode_entry(number, entry)
    return bytes(array)


def encode_header(geometry: Geometry, disk_guid: UUID, array: bytes, *, backup: bool) -> bytes:
    """Return the sector of the primary or of the backup header over an entry array.

    Spec: UEFI 2.10, 5.3.2.
    """
    mine, other = (geometry.backup_header_lba, 1) if backup else (1, geometry.backup_header_lba)
    fields = {
        "signature": SIGNATURE,
        "revision": REVISION,
        "header_size": HEADER_SIZE,
        "header_crc32": 0,
        "reserved": 0,
        "my_lba": mine,
        "alternate_lba": other,
        "first_usable_lba": geometry.first_usable_lba,
        "last_usable_lba": geometry.last_usable_lba,
        "disk_guid": disk_guid.bytes_le,
        "partition_entry_lba": geometry.backup_array_lba if backup else 2,
        "number_of_partition_entries": ENTRIES,
        "size_of_partition_entry": ENTRY_SIZE,
        "partition_entry_array_crc32": zlib.crc32(array),
    }
    header = bytearray(HEADER.build(fields))
    header[_CRC_AT] = zlib.crc32(header).to_bytes(4, "little")
    return bytes(header).ljust(geometry.sector_size, b"\0")


def encode_name(name: str, what: str = "partition") -> bytes:
    """Return the 72 bytes of a partition's name: UTF-16, little-endian, padded with zeros.

    Characters beyond U+FFFF take two units. ``what`` begins the message of an error.

    Raises:
        SpecError: It takes more than 36 units, holds a NUL (which would end it) or a lone surrogate.
    """
    try:
        units = name.encode("utf-16-le")
    except UnicodeEncodeError as error:
        raise SpecError(f"{what}'s name {name!r} is not valid Unicode; give other characters") from error
    if "\0" in name:
        raise SpecError(f"{what}'s name {name!r} holds a NUL, which would end it; leave the NUL out")
    if len(units) > 2 * NAME_UNITS:
        raise SpecError(
            f"{what}'s name {name!r} takes {len(units) // 2} UTF-16 units, a GPT entry has {NAME_UNITS};"
            f" shorten it by {len(units) // 2 - NAME_UNITS}"
        )
    return units.ljust(2 * NAME_UNITS, b"\0")


def parse(volume: Volume, sector_size: int = 512) -> Gpt:
    """Return what the table on a whole disk says, after checking both copies against each other.

    Raises:
        FormatError: A copy is damaged, or the two differ.

    Spec: UEFI 2.10, 5.3.2 (the checks a reader must make).
    """
    last_lba = volume.size // sector_size - 1
    records = mbr.parse(volume.read(0, sector_size)).records
    if not any(record.os_type == mbr.OS_TYPE_GPT_PROTECTIVE for record in records.values()):
        raise FormatError("sector 0 is no protective MBR: none of its partitions is of type 0xee", "MBR", 0)
    primary, entries = _read_copy(volume, 1, sector_size)
    backup, backup_entries = _read_copy(volume, last_lba, sector_size)
    if primary.alternate_lba != last_lba or backup.alternate_lba != 1:
        raise FormatError(
            f"the GPT headers at LBA 1 and {last_lba} name LBA {primary.alternate_lba} and"
            f" {backup.alternate_lba} as their copies",
            "GPT alternate_lba",
            sector_size,
        )
    if entries != backup_entries or primary.disk_guid != backup.disk_guid:
        raise FormatError("the two copies of the GPT differ", "GPT backup", last_lba * sector_size)
    return Gpt(primary.disk_guid, entries)


def parse_header(sector: bytes, my_lba: int, sector_size: int = 512) -> Header:
    """Return what the header in a sector says.

    Args:
        sector: The sector's bytes.
        my_lba: Where it was read.
        sector_size: Bytes in a sector.

    Raises:
        FormatError: Signature, revision, size, checksum, my_lba or the array's shape is not as it must be.
    """
    offset = my_lba * sector_size
    if len(sector) < HEADER_SIZE or sector[:8] != SIGNATURE:
        raise FormatError(
            f"LBA {my_lba} has no GPT header: it begins {sector[:8]!r}", "GPT signature", offset
        )
    fields = HEADER.parse(sector)
    if not HEADER_SIZE <= fields.header_size <= len(sector):
        message = f"the GPT header at LBA {my_lba} has header_size {fields.header_size}, not 92 or more"
        raise FormatError(message, "GPT header_size", offset + 12)
    covered = bytearray(sector[: fields.header_size])
    covered[_CRC_AT] = bytes(4)
    if zlib.crc32(covered) != fields.header_crc32:
        message = (
            f"the GPT header at LBA {my_lba} has checksum {fields.header_crc32:#010x}, its bytes give another"
        )
        raise FormatError(message, "GPT header_crc32", offset + 16)
    if fields.revision != REVISION or fields.my_lba != my_lba:
        message = (
            f"the GPT header at LBA {my_lba} is of revision {fields.revision:#x} and LBA {fields.my_lba}"
        )
        raise FormatError(message, "GPT my_lba", offset + 8)
    return _checked_shape(
        Header(
            fields.my_lba,
            fields.alternate_lba,
            fields.first_usable_lba,
            fields.last_usable_lba,
            UUID(bytes_le=fields.disk_guid),
            fields.partition_entry_lba,
            fields.number_of_partition_entries,
            fields.size_of_partition_entry,
            fields.partition_entry_array_crc32,
        ),
        offset,
    )


def parse_array(header: Header, array: bytes) -> dict[int, Entry]:
    """Return the used entries of an array by number, after verifying its checksum.

    Raises:
        FormatError: The checksum is another, or an entry lies outside the usable LBAs.
    """
    length = header.number_of_partition_entries * header.size_of_partition_entry
    if len(array) != length or zlib.crc32(array) != header.partition_entry_array_crc32:
        message = f"the GPT entries of the header at LBA {header.my_lba} do not have the checksum it gives"
        raise FormatError(message, "GPT partition_entry_array_crc32")
    entries = {}
    for number in range(1, header.number_of_partition_entries + 1):
        at = header.size_of_partition_entry * (number - 1)
        fields = ENTRY.parse(array[at : at + ENTRY_SIZE])
        if not any(fields.partition_type_guid):
            continue
        if not (
            header.first_usable_lba <= fields.starting_lba <= fields.ending_lba <= header.last_usable_lba
        ):
            message = (
                f"GPT partition {number} has LBA {fields.starting_lba} to {fields.ending_lba},"
                f" usable are {header.first_usable_lba} to {header.last_usable_lba}"
            )
            raise FormatError(message, "GPT starting_lba")
        entries[number] = Entry(
            UUID(bytes_le=fields.partition_type_guid),
            UUID(bytes_le=fields.unique_partition_guid),
            fields.starting_lba,
            fields.ending_lba,
            fields.partition_name.decode("utf-16-le", "replace").partition("\0")[0],
            fields.attributes,
        )
    return entries


def _encode_entry(number: int, entry: Entry) -> bytes:
    return ENTRY.build(
        {
            "partition_type_guid": entry.type_guid.bytes_le,
            "unique_partition_guid": entry.unique_guid.bytes_le,
            "starting_lba": entry.starting_lba,
            "ending_lba": entry.ending_lba,
            "attributes": entry.attributes,
            "partition_name": encode_name(entry.name, f"partition {number}"),
        }
    )


def _read_copy(volume: Volume, lba: int, sector_size: int) -> tuple[Header, dict[int, Entry]]:
    header = parse_header(volume.read(lba * sector_size, sector_size), lba, sector_size)
    size = header.number_of_partition_entries * header.size_of_partition_entry
    start = header.partition_entry_lba * sector_size
    if start + size > volume.size:
        raise FormatError(
            f"the GPT entries at {start:,} end beyond the disk", "GPT partition_entry_lba", start
        )
    return header, parse_array(header, volume.read(start, size))


def _checked_shape(header: Header, offset: int) -> Header:
    size, number = header.size_of_partition_entry, header.number_of_partition_entries
    if size < ENTRY_SIZE or size & (size - 1) or not 0 < number * size <= _ARRAY_LIMIT:
        message = f"the GPT header at LBA {header.my_lba} has {number:,} entries of {size:,} bytes"
        raise FormatError(message, "GPT size_of_partition_entry", offset + 80)
    return header
