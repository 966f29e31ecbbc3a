"""The guest disk of a VDI: one table says where each block of 1 MiB is.

::

    header ┤ block map ┤          data
             0 ────────────────┬─> block 0 │ block 1 │ ...       counted from offset_data on
             1 ────────────────┘
             0xffffffff            never written: zeros
             0xfffffffe            discarded: zeros

Undo and differencing images lack what their parent has: they are refused. No document describes the format;
VirtualBox writes it, and QEMU's block/vdi.c reads it as is done here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from imgwriter.errors import FormatError
from imgwriter.extent import Extent, Volume
from imgwriter.qcow2 import CompressionType
from imgwriter.readers.clusters import Decoder
from imgwriter.readers.gather import Gatherer
from imgwriter.readers.hostfile import CUT_OFF, HostFile, joined
from imgwriter.units import SECTOR, align_up, div_ceil
from imgwriter.vdi import (
    BLOCK_SIZE,
    BLOCK_ZERO,
    HEADER,
    MAX_BLOCKS,
    SIGNATURE,
    VERSION,
    ImageType,
)

_TYPES: dict[int, str] = {ImageType.DYNAMIC: "dynamic", ImageType.STATIC: "static"}
_PARTS: dict[int, str] = {ImageType.UNDO: "an undo image", ImageType.DIFF: "a differencing image"}
_WHERE = "VDI header"
_MAP = "VDI block map"
_CONVERT = "convert it first (VBoxManage clonemedium)"
_DAMAGED = "the image is damaged: get it anew"


class _Header(NamedTuple):
    """What a reader needs, in the header's own words."""

    image_type: int
    offset_bmap: int
    offset_data: int
    blocks_allocated: int
    disk_size: int


def read(file: HostFile) -> tuple[Volume, Mapping[str, str | int]]:
    """Return the guest disk of a VDI, and what the header says of type and blocks.

    A disk size that is no multiple of 512 is rounded up to one, as QEMU does.

    Raises:
        FormatError: The image is damaged, or has what is not read: see docs/formats/reading.md.
        SourceError: The file cannot be read.
    """
    header = _read_header(file)
    extents = joined(_extents(file, header))
    details: dict[str, str | int] = {"subformat": _TYPES[header.image_type], "block_size": BLOCK_SIZE}
    return Volume(header.disk_size, extents), details


def _extents(file: HostFile, header: _Header) -> list[Extent]:
    """Return the blocks that are somewhere in the file, in the disk's order."""
    # Blocks are never compressed.
    decoder = Decoder(file, BLOCK_SIZE.bit_length() - 1, CompressionType.ZLIB)
    gatherer = Gatherer(decoder, header.disk_size)
    first = count = host = 0
    for index, offset in _blocks(file, header):
        if count and index == first + count and offset == host + count * BLOCK_SIZE:
            count += 1
            continue
        if count:
            gatherer.plain(first, count, host)
        first, count, host = index, 1, offset
    if count:
        gatherer.plain(first, count, host)
    gatherer.flush()
    return gatherer.extents


def _blocks(file: HostFile, header: _Header) -> Iterator[tuple[int, int]]:
    """Yield (index, offset in the file) of the blocks that are there."""
    count = div_ceil(header.disk_size, BLOCK_SIZE)
    seen: set[int] = set()
    for index, place in file.allocated(header.offset_bmap, count, "little", _MAP):
        if place == BLOCK_ZERO:
            continue
        offset = header.offset_data + place * BLOCK_SIZE
        if offset >= file.size or place in seen:
            missing = offset >= file.size and place < header.blocks_allocated
            raise FormatError(
                f"entry {index:,} of the {_MAP} has block {place:,} at {offset:,}, which is taken or not in"
                f" the file's {file.size:,} bytes; {CUT_OFF if missing else _DAMAGED}",
                _MAP,
                header.offset_bmap + 4 * index,
            )
        seen.add(place)
        yield index, offset


def _read_header(file: HostFile) -> _Header:
    start = file.read(0, min(HEADER.sizeof(), file.size), _WHERE)
    if start[0x40:0x44] != SIGNATURE.to_bytes(4, "little"):
        raise FormatError("the file has no VDI header; name the format that it has", _WHERE, 0x40)
    if len(start) < HEADER.sizeof():
        raise _refused(f"ends with the file, after {len(start)} bytes; {CUT_OFF}", 0x40)
    raw = HEADER.parse(start)
    if raw.version != VERSION:
        message = f"has version {raw.version >> 16}.{raw.version & 0xFFFF}, not 1.1; {_CONVERT}"
        raise _refused(message, 0x44)
    if raw.image_type in _PARTS:
        message = f"is {_PARTS[raw.image_type]}'s: the rest of the disk is in its parent; {_CONVERT}"
        raise _refused(message, 0x4C)
    if raw.image_type not in _TYPES:
        raise _refused(f"has image_type {raw.image_type}, not 1 (dynamic) or 2 (static); {_DAMAGED}", 0x4C)
    if any(raw.uuid_link) or any(raw.uuid_parent):
        raise _refused(f"names a parent, without which the disk is not complete; {_CONVERT}", 0x1A8)
    for name, at, value, only in (
        ("sector_size", 0x168, raw.sector_size, SECTOR),
        ("block_size", 0x178, raw.block_size, BLOCK_SIZE),
        ("block_extra", 0x17C, raw.block_extra, 0),
    ):
        if value != only:
            raise _refused(f"has {name} {value:,}; only {only:,} is read: {_CONVERT}", at)
    disk_size = align_up(raw.disk_size, SECTOR)
    blocks = raw.blocks_in_image
    if blocks > MAX_BLOCKS or disk_size > blocks * BLOCK_SIZE:
        raise _refused(f"has {blocks:,} blocks for a disk of {raw.disk_size:,} bytes; {_DAMAGED}", 0x180)
    for name, at, offset, least in (
        ("offset_bmap", 0x154, raw.offset_bmap, HEADER.sizeof()),
        ("offset_data", 0x158, raw.offset_data, raw.offset_bmap + 4 * blocks),
    ):
        if offset % SECTOR or offset < least:
            raise _refused(f"has {name} {offset:,}, not a sector from {least:,} on; {_DAMAGED}", at)
    return _Header(raw.image_type, raw.offset_bmap, raw.offset_data, raw.blocks_allocated, disk_size)


def _refused(what: str, offset: int) -> FormatError:
    return FormatError(f"the {_WHERE} {what}", _WHERE, offset)
