"""Oracle's VDI, the disk image of VirtualBox: a header, a block map and blocks of 1 MiB.

::

    0        512                     offset_data
    ├ header ┼ block map (4 B each) ┤ block 0 ┼ block 1 ┼ ...

The map has for each MiB of the disk the number of its block in the file. A dynamic VDI has the blocks that
some extent touches, in the disk's order; the others are BLOCK_FREE in the map. Nothing stands between two
blocks, so what touches on the disk does in the file: extents only move, and are never cut. A static VDI has
all blocks; those that nothing was written to are a hole in the file.

Everything is little-endian; UUIDs too, in their first three fields (``UUID.bytes_le``).

There is no specification but VirtualBox's source, src/VBox/Storage/VDICore.h (version 1.1). Names of fields
and limits are those of QEMU 7.2, block/vdi.c, which reads and writes the same version.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from construct import Bytes, Const, Int32ul, Int64ul, Padding, Struct

from imgwriter.errors import CapacityError, SpecError
from imgwriter.extent import Bytes as BytesData
from imgwriter.extent import Extent, Generated, Volume, extent
from imgwriter.units import SECTOR, MiB, align_up, div_ceil, format_size

SIGNATURE = 0xBEDA_107F
VERSION = 0x0001_0001
"""1.1: major version in the upper half."""

HEADER = Struct(
    # VDIPREHEADER
    "text" / Bytes(64),
    "signature" / Const(SIGNATURE, Int32ul),
    "version" / Int32ul,
    # VDIHEADER1, of header_size bytes
    "header_size" / Int32ul,
    "image_type" / Int32ul,
    "image_flags" / Int32ul,
    "description" / Bytes(256),
    "offset_bmap" / Int32ul,
    "offset_data" / Int32ul,
    "cylinders" / Int32ul,
    "heads" / Int32ul,
    "sectors" / Int32ul,
    "sector_size" / Int32ul,
    "unused1" / Padding(4),
    "disk_size" / Int64ul,
    "block_size" / Int32ul,
    "block_extra" / Int32ul,
    "blocks_in_image" / Int32ul,
    "blocks_allocated" / Int32ul,
    "uuid_image" / Bytes(16),
    "uuid_last_snap" / Bytes(16),
    "uuid_link" / Bytes(16),
    "uuid_parent" / Bytes(16),
    # VDIHEADER1PLUS has a second geometry here; header_size says that this header ends before it.
    "unused2" / Padding(56),
)
"""The first sector: VDIPREHEADER and VDIHEADER1."""

TOTAL_HEADER_SIZE = 512
HEADER_SIZE = 384
"""Bytes of VDIHEADER1, from ``header_size`` to ``uuid_parent``."""
TEXT = b"<<< imgwriter Virtual Disk Image >>>\n"
"""For eyes only; each program writes its own."""
BLOCK_SIZE = MiB
"""Bytes in a block; QEMU reads no other."""
BLOCK_FREE = 0xFFFF_FFFF
"""Map entry of a block that was never written. In an image without a parent it reads as zeros."""
BLOCK_ZERO = 0xFFFF_FFFE
"""Map entry of a block that was discarded, and reads as zeros."""
MAX_BLOCKS = 0x1FFF_FF80
"""QEMU's limit, 128 MiB less than 512 TiB: the map has less than 2 GiB."""


class ImageType(IntEnum):
    """Values of ``image_type``. Only the first two stand for themselves; the others need a parent."""

    DYNAMIC = 1
    STATIC = 2
    UNDO = 3
    DIFF = 4


@dataclass(frozen=True, slots=True)
class Parameters:
    """How to write a VDI.

    Attributes:
        subformat: "dynamic" or "static".
        uuid_image: The image's own UUID: VirtualBox registers an image by it, and takes none twice.
        uuid_snapshot: The UUID of its last change.

    Raises:
        SpecError: The subformat is unknown.
    """

    subformat: str
    uuid_image: UUID
    uuid_snapshot: UUID

    def __post_init__(self) -> None:
        if self.subformat not in ("dynamic", "static"):
            raise SpecError(f"VDI subformat {self.subformat!r} is unknown; use dynamic or static")


class Run(NamedTuple):
    """Adjacent blocks of the disk that are adjacent in the file."""

    first: int
    """Number of the first on the disk."""
    end: int
    """Number of the one after the last."""
    stored: int
    """Number of the first in the file."""


def encode(volume: Volume, parameters: Parameters) -> Volume:
    """Return the VDI of a disk; its virtual size is the disk's in whole sectors.

    Raises:
        CapacityError: The disk has more blocks than QEMU reads.
    """
    blocks = _blocks(volume.size)
    static = parameters.subformat == "static"
    runs = ([Run(0, blocks, 0)] if blocks else []) if static else list(_touched(volume.extents))
    allocated = sum(run.end - run.first for run in runs)
    offset_data = TOTAL_HEADER_SIZE + align_up(4 * blocks, SECTOR)
    header = _header(volume.size, blocks, allocated, offset_data, parameters)
    return Volume(
        offset_data + allocated * BLOCK_SIZE,
        [
            extent(0, BytesData(header), "VDI header"),
            extent(TOTAL_HEADER_SIZE, block_map(blocks, runs), "VDI block map"),
            *_moved(volume.extents, runs, offset_data),
        ],
    )


def block_map(blocks: int, runs: Sequence[Run]) -> Generated:
    """Return the map of so many blocks, of which only ``runs`` (sorted, disjoint) are in the file.

    Made as it is asked for: the map of 64 TiB has 256 MiB.
    """

    def produce(start: int, stop: int) -> bytes:
        low, high = start // 4, div_ceil(stop, 4)
        table = array("I", [BLOCK_FREE]) * (high - low)
        # The first run that may reach into the interval is the last that begins at or before it.
        for run in runs[max(bisect_right(runs, low, key=attrgetter("first")) - 1, 0) :]:
            if run.first >= high:
                break
            first, end = max(run.first, low), min(run.end, high)
            if first < end:
                shift = run.stored - run.first
                table[first - low : end - low] = array("I", range(first + shift, end + shift))
        if sys.byteorder == "big":
            table.byteswap()
        return table.tobytes()[start - 4 * low : stop - 4 * low]

    return Generated(4 * blocks, produce)


def _blocks(size: int) -> int:
    limit = MAX_BLOCKS * BLOCK_SIZE
    if size > limit:
        raise CapacityError(
            f"a VDI has at most {MAX_BLOCKS:,} blocks of 1 MiB, the disk has {format_size(size)};"
            " make the disk smaller, or use qcow2",
            size,
            limit,
        )
    return div_ceil(size, BLOCK_SIZE)


def _touched(extents: Iterable[Extent]) -> Iterator[Run]:
    """Yield the runs of blocks that extents (sorted, disjoint) touch, stored one after the other."""
    first = end = stored = 0
    for e in extents:
        low, high = e.start // BLOCK_SIZE, div_ceil(e.end, BLOCK_SIZE)
        if low > end:
            if end > first:
                yield Run(first, end, stored)
            stored += end - first
            first = low
        end = high
    if end > first:
        yield Run(first, end, stored)


def _moved(extents: Iterable[Extent], runs: Iterable[Run], offset_data: int) -> Iterator[Extent]:
    """Yield the extents where their runs are in the file. Each run has some; each extent is in one."""
    following = iter(runs)
    stop = shift = 0
    for e in extents:
        if e.start >= stop:
            run = next(following)
            stop = run.end * BLOCK_SIZE
            shift = offset_data + (run.stored - run.first) * BLOCK_SIZE
        yield e._replace(start=e.start + shift)


def _header(size: int, blocks: int, allocated: int, offset_data: int, parameters: Parameters) -> bytes:
    return HEADER.build(
        {
            "text": TEXT.ljust(64, b"\0"),
            "version": VERSION,
            "header_size": HEADER_SIZE,
            "image_type": ImageType.STATIC if parameters.subformat == "static" else ImageType.DYNAMIC,
            "image_flags": 0,
            "description": bytes(256),
            "offset_bmap": TOTAL_HEADER_SIZE,
            "offset_data": offset_data,
            "cylinders": 0,
            "heads": 0,
            "sectors": 0,
            "sector_size": SECTOR,
            "disk_size": align_up(size, SECTOR),
            "block_size": BLOCK_SIZE,
            "block_extra": 0,
            "blocks_in_image": blocks,
            "blocks_allocated": allocated,
            "uuid_image": parameters.uuid_image.bytes_le,
            "uuid_last_snap": parameters.uuid_snapshot.bytes_le,
            "uuid_link": bytes(16),
            "uuid_parent": bytes(16),
        }
    )
