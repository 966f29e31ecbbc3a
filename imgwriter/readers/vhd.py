"""The guest disk of a VHD, dynamic or fixed: a footer says what it is, and a table where each block is.

::

    fixed     ├──────────────── the disk ────────────────┤ footer ┤

    dynamic   ├ copy ┤ header ┤ BAT ┤ bitmap ┤  block  ┤ bitmap ┤  block  ┤ footer ┤
                                entry ──^ a bit a sector: where it is clear the sector reads as zeros

The footer at the end counts. Where it is damaged its copy at the start takes its place, as the specification
has it; where both are whole they must agree. Whose disk it is decides about its size: see :func:`_disk_size`.

Spec: Microsoft, "Virtual Hard Disk Image Format Specification", 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from imgwriter.errors import FormatError
from imgwriter.extent import CHUNK, Buffer, Extent, Volume
from imgwriter.readers.clusters import clear
from imgwriter.readers.gather import MOST_RUNS
from imgwriter.readers.hostfile import CUT_OFF, CUT_OFF_OR_DAMAGED, HostFile, Used, joined
from imgwriter.readers.raw import data_extents
from imgwriter.units import SECTOR, align_up, div_ceil
from imgwriter.vhd import (
    DYNAMIC_HEADER,
    DYNAMIC_HEADER_CHECKSUM,
    DYNAMIC_HEADER_COOKIE,
    DYNAMIC_HEADER_SIZE,
    FOOTER,
    FOOTER_CHECKSUM,
    FOOTER_COOKIE,
    FOOTER_SIZE,
    MAX_GEOMETRY,
    MAX_SECTORS,
    DiskType,
    Geometry,
    checksum,
)

_FOOTER = "VHD footer"
_HEADER = "VHD dynamic header"
_BAT = "VHD block allocation table"
_BITMAP = "VHD sector bitmap"
_LABEL = "guest disk"
_DAMAGED = "the image is damaged: get it anew"
_UNIQUE_ID = slice(68, 84)
_SET_BITS = re.compile("1+")
_CLEAR_BITS = re.compile("0+")
_BY_GEOMETRY = (b"vpc ", b"qemu")
"""Whose disks are as large as their geometry: Virtual PC, and QEMU where force_size is not given."""


class Footer(NamedTuple):
    """What a footer says, its checksum verified. Sizes and offsets are bytes."""

    data_offset: int
    creator_application: bytes
    current_size: int
    geometry: Geometry
    disk_type: int


class _Blocks(NamedTuple):
    """What a dynamic header says, checked."""

    table_offset: int
    block_size: int

    @property
    def bitmap_size(self) -> int:
        """Bytes of the sector bitmap before each block: whole sectors."""
        return align_up(self.block_size // SECTOR // 8 or 1, SECTOR)


def footer_at(file: HostFile, offset: int) -> Footer | None:
    """Return what the footer at an offset says; None where there is none, or its checksum is wrong."""
    if not 0 <= offset <= file.size - FOOTER_SIZE:
        return None
    sector = file.read(offset, FOOTER_SIZE, _FOOTER)
    if not sector.startswith(FOOTER_COOKIE):
        return None
    raw = FOOTER.parse(sector)
    if raw.checksum != checksum(sector, FOOTER_CHECKSUM):
        return None
    disk = raw.disk_geometry
    geometry = Geometry(disk.cylinder, disk.heads, disk.sectors_per_track)
    return Footer(raw.data_offset, raw.creator_application, raw.current_size, geometry, raw.disk_type)


def read(file: HostFile) -> tuple[Volume, Mapping[str, str | int]]:
    """Return the guest disk of a VHD, and what footer and header say of type, blocks and maker.

    Raises:
        FormatError: The image is damaged, or needs a parent: see docs/formats/reading.md.
        SourceError: The file cannot be read.
    """
    footer, at = _footer(file)
    size = _disk_size(footer, at)
    details: dict[str, str | int] = {
        "subformat": "fixed",
        "creator_application": footer.creator_application.decode("latin-1").rstrip("\0 "),
        "footer": "at the end" if at else "copy at the start",
    }
    if footer.disk_type == DiskType.DYNAMIC:
        blocks = _dynamic_header(file, footer.data_offset, size)
        extents = joined(_extents(file, blocks, footer.data_offset, size, at))
        return Volume(size, extents), details | {"subformat": "dynamic", "block_size": blocks.block_size}
    if footer.disk_type == DiskType.DIFFERENCING:
        message = "is a differencing disk's: the rest of it is in its parent; merge the two first (Merge-VHD)"
        raise _refused(_FOOTER, message, at + 60)
    if footer.disk_type != DiskType.FIXED:
        raise _refused(_FOOTER, f"has disk_type {footer.disk_type}, not 2 (fixed) or 3; {_DAMAGED}", at + 60)
    if size > at:
        raise _refused(
            _FOOTER, f"says that {size:,} bytes are before it, there are {at:,}; {_DAMAGED}", at + 48
        )
    return Volume(size, data_extents(file, size)), details


def _footer(file: HostFile) -> tuple[Footer, int]:
    """Return the footer that counts, and its offset."""
    at = file.size - FOOTER_SIZE
    last, first = footer_at(file, at), footer_at(file, 0)
    if last is not None:
        if last.disk_type != DiskType.FIXED and first is not None and first != last:
            raise _refused(_FOOTER, f"and its copy at the start of the file differ; {_DAMAGED}", at)
        return last, at
    # A fixed disk has no copy: what is at its start is the guest's.
    if first is None or first.disk_type == DiskType.FIXED:
        message = "is neither at the end of the file nor at its start, with the right checksum"
        raise _refused(_FOOTER, f"{message}; {CUT_OFF_OR_DAMAGED}", max(at, 0))
    return first, 0


def _disk_size(footer: Footer, at: int) -> int:
    """Return the bytes of the disk: by the geometry for Virtual PC and QEMU, else current_size.

    The largest geometry (127.5 GiB) stands for all larger disks. QEMU 10 decides the same way; 7.2 takes the
    geometry of makers unknown to it, which may be less than the disk.
    """
    size = footer.current_size
    if footer.creator_application in _BY_GEOMETRY and footer.geometry != MAX_GEOMETRY:
        size = footer.geometry.sectors * SECTOR
    if size % SECTOR or size > MAX_SECTORS * SECTOR:
        message = f"says that the disk has {size:,} bytes, not whole sectors of at most 2,040 GiB; {_DAMAGED}"
        raise _refused(_FOOTER, message, at + 48)
    return size


def _dynamic_header(file: HostFile, offset: int, size: int) -> _Blocks:
    record = file.read(offset, DYNAMIC_HEADER_SIZE, _HEADER)
    if not record.startswith(DYNAMIC_HEADER_COOKIE):
        raise _refused(_HEADER, f"begins {record[:8]!r}, not {DYNAMIC_HEADER_COOKIE!r}; {_DAMAGED}", offset)
    raw = DYNAMIC_HEADER.parse(record)
    if raw.checksum != checksum(record, DYNAMIC_HEADER_CHECKSUM):
        raise _refused(_HEADER, f"has a checksum that its bytes do not give; {_DAMAGED}", offset + 36)
    block_size, entries = raw.block_size, raw.max_table_entries
    if block_size < SECTOR or block_size & (block_size - 1):
        message = f"has block_size {block_size:,}, not a power of two from {SECTOR} on; {_DAMAGED}"
        raise _refused(_HEADER, message, offset + 32)
    if entries * block_size < size:
        message = f"has {entries:,} blocks of {block_size:,} bytes for a disk of {size:,} bytes; {_DAMAGED}"
        raise _refused(_HEADER, message, offset + 28)
    return _Blocks(raw.table_offset, block_size)


def _extents(file: HostFile, blocks: _Blocks, header_offset: int, size: int, at: int) -> Iterator[Extent]:
    """Yield what is stored of the disk, in its order. ``at``: where the footer that counts is."""
    count = div_ceil(size, blocks.block_size)
    file.require(blocks.table_offset, 4 * count, _BAT)
    used = Used()
    used.add(0, FOOTER_SIZE)
    used.add(header_offset, header_offset + DYNAMIC_HEADER_SIZE)
    used.add(blocks.table_offset, blocks.table_offset + 4 * count)
    if at:
        used.add(at, at + FOOTER_SIZE)
    used.refuse_overlaps(_HEADER)
    stored = blocks.bitmap_size + blocks.block_size
    for index, place in file.allocated(blocks.table_offset, count, "big", _BAT):
        offset = place * SECTOR
        if offset < FOOTER_SIZE or offset + stored > file.size:
            raise FormatError(
                f"entry {index:,} of the {_BAT} has a block at {offset:,}, not a place for {stored:,} bytes"
                f" in the file's {file.size:,}; {_DAMAGED if at or offset < FOOTER_SIZE else _remedy(file)}",
                _BAT,
                blocks.table_offset + 4 * index,
            )
        used.add(offset, offset + stored)
        start = index * blocks.block_size
        yield from _block(file, blocks, offset, start, min(blocks.block_size, size - start))
    used.refuse_overlaps(_BAT)


def resembles(record: bytes, footer: bytes) -> bool:
    """Return whether cookie, checksum or unique_id of a record are a footer's: so a damaged footer's are."""
    parts = (slice(0, len(FOOTER_COOKIE)), FOOTER_CHECKSUM, _UNIQUE_ID)
    return any(record[part] == footer[part] for part in parts)


def _remedy(file: HostFile) -> str:
    """Return what to do where a block is behind the file's end, and the copy of the footer is what counts."""
    first, last = (file.read(at, FOOTER_SIZE, _FOOTER) for at in (0, file.size - FOOTER_SIZE))
    return _DAMAGED if resembles(last, first) else CUT_OFF


def _block(file: HostFile, blocks: _Blocks, offset: int, start: int, length: int) -> Iterator[Extent]:
    """Yield the stretches of a block whose sectors are said to hold data.

    Args:
        offset: The block's place in the file: of its bitmap.
        start: Its place on the disk.
        length: Bytes of the disk in it.

    Spec: "Block Allocation Table and Data Blocks": the most significant bit is the first sector's.
    """
    bitmap = file.read(offset, blocks.bitmap_size, _BITMAP)
    content = offset + blocks.bitmap_size
    for low in range(0, length, CHUNK):
        high = min(low + CHUNK, length)
        bits = bitmap[low // SECTOR // 8 : div_ceil(high // SECTOR, 8)]
        runs = list(islice(_runs(_SET_BITS, bits, (high - low) // SECTOR), MOST_RUNS + 1))
        if len(runs) > MOST_RUNS:
            data = _Sectors(file, content + low, high - low, bits)
            yield Extent(start + low, high - low, data, 0, _LABEL)
            continue
        for begin, end in runs:
            yield file.extent(start + low + begin, content + low + begin, end - begin, _LABEL)


class _Sectors:
    """Neighbouring sectors of a block, of which some are said not to hold data: they are zeros.

    Args:
        offset: Their place in the file.
        length: Bytes of them all.
        bitmap: A bit for each.
    """

    __slots__ = ("bitmap", "file", "length", "offset")

    def __init__(self, file: HostFile, offset: int, length: int, bitmap: bytes) -> None:
        self.file = file
        self.offset = offset
        self.length = length
        self.bitmap = bitmap

    def __len__(self) -> int:
        return self.length

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        # At most CHUNK bytes: all in one piece.
        if start < stop:
            view = memoryview(bytearray(stop - start))
            self.file.slice(self.offset + start, stop - start).read_into(view)
            for low, high in _runs(_CLEAR_BITS, self.bitmap, self.length // SECTOR):
                clear(view, low - start, high - start)
            yield view


def _runs(pattern: re.Pattern[str], bitmap: bytes, sectors: int) -> Iterator[tuple[int, int]]:
    """Yield the bytes [low, high) of each run of bits that a pattern has, the first ``sectors`` of them."""
    bits = f"{int.from_bytes(bitmap):0{8 * len(bitmap)}b}"
    for run in pattern.finditer(bits, 0, sectors):
        yield run.start() * SECTOR, run.end() * SECTOR


def _refused(where: str, what: str, offset: int) -> FormatError:
    return FormatError(f"the {where} {what}", where, offset)
