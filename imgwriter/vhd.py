"""The VHD of Virtual PC, Hyper-V and Azure ("vpc" to QEMU), dynamic or fixed: a disk and a footer.

::

    dynamic  0        512             1536
             ├ footer ┼ dynamic header ┼ BAT ┤ bitmap ┼ block ┤ bitmap ┼ block ┤ ... ├ footer ┤
               (copy)                          512 B    2 MiB

    fixed    ├──────────────────────────── the disk as it is ────────────────────────┼ footer ┤

A dynamic VHD has those blocks of 2 MiB that some extent touches, in the disk's order; the others have the
entry 0xFFFFFFFF in the block allocation table. Before each block stands its sector bitmap, so two blocks that
touch on the disk do not in the file: extents are cut at the bounds of blocks, and nowhere else.

A VHD has two sizes: the bytes in ``current_size``, and the product of cylinders, heads and sectors in
``disk_geometry``. Virtual PC goes by the product, Hyper-V and Azure by the bytes, and QEMU decides by who
made the file. Here they agree: either the disk's size *is* such a product (:func:`rounded_size`), or the
geometry is the largest there is, with which QEMU takes the bytes whoever made the file.

Everything is big-endian.

Spec: Microsoft, "Virtual Hard Disk Image Format Specification", 1.0 (11 October 2006).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple
from uuid import UUID

from construct import Bytes, Const, Int8ub, Int16ub, Int32ub, Int64ub, Padding, Struct

from imgwriter.errors import CapacityError, SpecError
from imgwriter.extent import Bytes as BytesData
from imgwriter.extent import Extent, Volume, extent
from imgwriter.filedata import cut
from imgwriter.units import SECTOR, GiB, MiB, align_up, div_ceil, format_size

FOOTER_COOKIE = b"conectix"
DYNAMIC_HEADER_COOKIE = b"cxsparse"

FOOTER = Struct(
    "cookie" / Const(FOOTER_COOKIE),
    "features" / Int32ub,
    "file_format_version" / Int32ub,
    "data_offset" / Int64ub,
    "time_stamp" / Int32ub,  # seconds since EPOCH
    "creator_application" / Bytes(4),
    "creator_version" / Int32ub,
    "creator_host_os" / Bytes(4),
    "original_size" / Int64ub,
    "current_size" / Int64ub,
    "disk_geometry" / Struct("cylinder" / Int16ub, "heads" / Int8ub, "sectors_per_track" / Int8ub),
    "disk_type" / Int32ub,
    "checksum" / Int32ub,
    "unique_id" / Bytes(16),
    "saved_state" / Int8ub,
    "reserved" / Padding(427),
)
"""Spec: "Hard Disk Footer Format"."""

DYNAMIC_HEADER = Struct(
    "cookie" / Const(DYNAMIC_HEADER_COOKIE),
    "data_offset" / Int64ub,
    "table_offset" / Int64ub,
    "header_version" / Int32ub,
    "max_table_entries" / Int32ub,
    "block_size" / Int32ub,
    "checksum" / Int32ub,
    "parent_unique_id" / Bytes(16),
    "parent_time_stamp" / Int32ub,
    "reserved1" / Padding(4),
    "parent_unicode_name" / Bytes(512),
    "parent_locator_entries" / Bytes(8 * 24),
    "reserved2" / Padding(256),
)
"""Spec: "Dynamic Disk Header Format"."""

FOOTER_SIZE = 512
DYNAMIC_HEADER_SIZE = 1024
FOOTER_CHECKSUM = slice(64, 68)
"""Where a footer has its checksum."""
DYNAMIC_HEADER_CHECKSUM = slice(36, 40)
"""Where a dynamic header has its checksum."""

VERSION = 0x0001_0000
"""File format version and header version: 1.0."""
EPOCH = 946_684_800
"""2000-01-01 00:00:00 UTC, from which time stamps count, in seconds since 1970."""
NO_OFFSET = 0xFFFF_FFFF_FFFF_FFFF
"""Data offset where no structure follows. For the dynamic header the specification prints 32 such bits; the
field has 64, and Microsoft's programs expect them all to be set."""
UNUSED = 0xFFFF_FFFF
"""BAT entry of a block that the file does not have."""
BLOCK_SIZE = 2 * MiB
BITMAP_SIZE = BLOCK_SIZE // SECTOR // 8
"""Bytes of a block's sector bitmap: a bit for each sector, a whole sector of them."""
MAX_SECTORS = 0xFF00_0000
"""Sectors of the largest disk, 2,040 GiB: the specification's limit of a dynamic disk, QEMU's of any."""

CREATOR_APPLICATION = b"imgw"
"""Our own name. QEMU before 10.0 takes the geometry for the size where it does not know the name, unless the
geometry is the largest; since then it does so for "vpc " and "qemu" only."""
CREATOR_VERSION = 0x0001_0000
CREATOR_HOST_OS = b"Wi2k"
"""The specification knows two, Windows and "Mac "; QEMU writes this one wherever it runs."""

_DYNAMIC_HEADER_OFFSET = FOOTER_SIZE
_BAT_OFFSET = _DYNAMIC_HEADER_OFFSET + DYNAMIC_HEADER_SIZE
_BLOCK_STRIDE = (BITMAP_SIZE + BLOCK_SIZE) // SECTOR
_BITMAP = BytesData(b"\xff" * BITMAP_SIZE)


class Features(IntFlag):
    """Bits of ``features``. RESERVED "must always be set"."""

    TEMPORARY = 1
    RESERVED = 2


class DiskType(IntEnum):
    """Values of ``disk_type``; the specification reserves those that are not here."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


class Geometry(NamedTuple):
    """What a drive of old says of itself. The names are the specification's."""

    cylinder: int
    heads: int
    sectors_per_track: int

    @property
    def sectors(self) -> int:
        """Sectors of a disk with this geometry."""
        return self.cylinder * self.heads * self.sectors_per_track


MAX_GEOMETRY = Geometry(65_535, 16, 255)
"""The largest, 127.5 GiB: says that the geometry does not tell the size."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How to write a VHD.

    Attributes:
        subformat: "dynamic" or "fixed".
        force_size: Whether the disk has the size that was asked for, in whole MiB, rather than a rounded one.
        unique_id: The disk's own UUID.
        timestamp: Creation, in seconds since 1970. What the field cannot say (before 2000, after 2136-02-07)
            becomes the nearest that it can.

    Raises:
        SpecError: The subformat is unknown.
    """

    subformat: str
    force_size: bool
    unique_id: UUID
    timestamp: int

    def __post_init__(self) -> None:
        if self.subformat not in ("dynamic", "fixed"):
            raise SpecError(f"VHD subformat {self.subformat!r} is unknown; use dynamic or fixed")


def geometry(sectors: int) -> Geometry:
    """Return the geometry for a disk of so many sectors; its own product may be lower, never higher.

    Spec: appendix "CHS Calculation".
    """
    sectors = min(sectors, MAX_GEOMETRY.sectors)
    if sectors >= 65_535 * 16 * 63:
        return Geometry(sectors // 255 // 16, 16, 255)
    tracks = sectors // 17
    heads = max(div_ceil(tracks, 1024), 4)
    if tracks < heads * 1024 and heads <= 16:
        return Geometry(tracks // heads, heads, 17)
    tracks = sectors // 31
    if tracks < 16 * 1024:
        return Geometry(tracks // 16, 16, 31)
    return Geometry(sectors // 63 // 16, 16, 63)


def rounded_size(size: int) -> int:
    """Return the bytes of the disk that takes ``size`` bytes: the next size that a geometry can say.

    From 127.5 GiB on no geometry can, and it is ``size`` in whole sectors. The result is qemu-img's.

    Raises:
        CapacityError: It is over 2,040 GiB.
    """
    _check_limit(size)
    sectors = div_ceil(size, SECTOR)
    fitting = _fitting_geometry(sectors)
    return (sectors if fitting == MAX_GEOMETRY else fitting.sectors) * SECTOR


def checked_size(size: int) -> int:
    """Return ``size`` where a disk may have exactly that: whole MiB, as Azure wants it.

    Raises:
        SpecError: It is not; the message has the next size that is.
        CapacityError: It is over 2,040 GiB.
    """
    _check_limit(size)
    if size % MiB:
        raise SpecError(
            f"a VHD of exactly {size:,} bytes is not in whole MiB, as Azure wants it;"
            f" ask for {align_up(size, MiB) // MiB:,} MiB or leave the size to be rounded"
        )
    return size


def encode(volume: Volume, parameters: Parameters) -> Volume:
    """Return the VHD of a disk.

    Args:
        volume: Of a size from :func:`checked_size` where that is forced, else from :func:`rounded_size`.
        parameters: How to write it.

    Raises:
        SpecError, CapacityError: A VHD cannot have that size.
    """
    footer = _footer(volume.size, _geometry_of(volume.size, parameters.force_size), parameters)
    if parameters.subformat == "fixed":
        if not volume.size:
            # Its footer would stand at offset 0, where only a dynamic VHD has one.
            raise SpecError(
                "a fixed VHD of a disk of 0 bytes cannot be read; make the disk larger, or dynamic"
            )
        return Volume(
            volume.size + FOOTER_SIZE, [*volume.extents, extent(volume.size, BytesData(footer), "VHD footer")]
        )
    return _dynamic(volume, BytesData(footer))


def checksum(record: bytes, field: slice) -> int:
    """Return the checksum of a footer or a dynamic header: the ones' complement of its other bytes' sum.

    Args:
        record: The whole structure.
        field: Where it has its checksum: ``FOOTER_CHECKSUM`` or ``DYNAMIC_HEADER_CHECKSUM``.
    """
    return ~(sum(record) - sum(record[field])) & 0xFFFF_FFFF


def _check_limit(size: int) -> None:
    limit = MAX_SECTORS * SECTOR
    if size > limit:
        raise CapacityError(
            f"a VHD has at most {limit // GiB:,} GiB, the disk has {format_size(size)} ({size:,} bytes);"
            " make the disk smaller, or use qcow2",
            size,
            limit,
        )


def _fitting_geometry(sectors: int) -> Geometry:
    """Return the geometry of the fewest sectors whose geometry has at least ``sectors``; else the largest."""
    # A geometry is never above its argument and less than 16 tracks below: this ends within 4,080 rounds.
    candidate, found = sectors, geometry(sectors)
    while found.sectors < sectors and found != MAX_GEOMETRY:
        candidate += 1
        found = geometry(candidate)
    return found


def _geometry_of(size: int, force_size: bool) -> Geometry:
    if force_size:
        checked_size(size)
        return MAX_GEOMETRY
    rounded = rounded_size(size)
    if rounded != size:
        raise SpecError(
            f"a VHD of {size:,} bytes has no geometry; make the disk {rounded:,} bytes,"
            " or force its size, in whole MiB"
        )
    return _fitting_geometry(size // SECTOR)


def _footer(size: int, disk_geometry: Geometry, parameters: Parameters) -> bytes:
    dynamic = parameters.subformat == "dynamic"
    record = FOOTER.build(
        {
            "features": Features.RESERVED,
            "file_format_version": VERSION,
            "data_offset": _DYNAMIC_HEADER_OFFSET if dynamic else NO_OFFSET,
            "time_stamp": min(max(parameters.timestamp - EPOCH, 0), 0xFFFF_FFFF),
            "creator_application": CREATOR_APPLICATION,
            "creator_version": CREATOR_VERSION,
            "creator_host_os": CREATOR_HOST_OS,
            "original_size": size,
            "current_size": size,
            "disk_geometry": disk_geometry._asdict(),
            "disk_type": DiskType.DYNAMIC if dynamic else DiskType.FIXED,
            "checksum": 0,
            "unique_id": parameters.unique_id.bytes,
            "saved_state": 0,
        }
    )
    return _with_checksum(record, FOOTER_CHECKSUM)


def _dynamic_header(blocks: int) -> bytes:
    record = DYNAMIC_HEADER.build(
        {
            "data_offset": NO_OFFSET,
            "table_offset": _BAT_OFFSET,
            "header_version": VERSION,
            "max_table_entries": blocks,
            "block_size": BLOCK_SIZE,
            "checksum": 0,
            "parent_unique_id": bytes(16),
            "parent_time_stamp": 0,
            "parent_unicode_name": bytes(512),
            "parent_locator_entries": bytes(8 * 24),
        }
    )
    return _with_checksum(record, DYNAMIC_HEADER_CHECKSUM)


def _with_checksum(record: bytes, field: slice) -> bytes:
    result = bytearray(record)
    result[field] = checksum(record, field).to_bytes(4, "big")
    return bytes(result)


def _dynamic(volume: Volume, footer: BytesData) -> Volume:
    blocks = div_ceil(volume.size, BLOCK_SIZE)
    extents = list(cut(volume.extents, BLOCK_SIZE))
    touched = list(dict.fromkeys(e.start // BLOCK_SIZE for e in extents))
    first_sector = (_BAT_OFFSET + align_up(4 * blocks, SECTOR)) // SECTOR
    end = (first_sector + _BLOCK_STRIDE * len(touched)) * SECTOR
    structures = [
        extent(0, footer, "VHD footer, copy"),
        extent(_DYNAMIC_HEADER_OFFSET, BytesData(_dynamic_header(blocks)), "VHD dynamic header"),
        extent(_BAT_OFFSET, BytesData(_bat(blocks, touched, first_sector)), "VHD block allocation table"),
    ]
    data = _blocks(extents, first_sector * SECTOR)
    return Volume(end + FOOTER_SIZE, [*structures, *data, extent(end, footer, "VHD footer")])


def _bat(blocks: int, touched: Iterable[int], first_sector: int) -> bytes:
    """Return the table, at most 4 MiB: for each block its bitmap's sector; UNUSED to the sector's end."""
    table = array("I", [UNUSED]) * (align_up(4 * blocks, SECTOR) // 4)
    for number, block in enumerate(touched):
        table[block] = first_sector + number * _BLOCK_STRIDE
    if sys.byteorder == "little":
        table.byteswap()
    return table.tobytes()


def _blocks(extents: Iterable[Extent], offset: int) -> Iterator[Extent]:
    """Yield, from ``offset`` on, the bitmap of each touched block and the extents in it, in order."""
    block = -1
    offset -= _BLOCK_STRIDE * SECTOR
    for e in extents:
        if e.start // BLOCK_SIZE != block:
            block = e.start // BLOCK_SIZE
            offset += _BLOCK_STRIDE * SECTOR
            # All sectors are said to be there, as QEMU says it: what is not written is zero either way.
            yield extent(offset, _BITMAP, "VHD sector bitmap")
        yield e._replace(start=offset + BITMAP_SIZE + e.start - block * BLOCK_SIZE)
