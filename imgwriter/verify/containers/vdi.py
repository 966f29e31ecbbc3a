"""Verify a VDI: its header, and that each block of the map is in a place of its own in the file.

No document describes the format: fields and rules are those of VirtualBox's VDICore.h and of QEMU's
block/vdi.c, which writes and checks it (``qemu-img check``).
"""

from __future__ import annotations

from typing import Any

from construct import Container

from imgwriter.filedata import Amount
from imgwriter.findings import Finding
from imgwriter.readers.hostfile import HostFile
from imgwriter.units import SECTOR, MiB, div_ceil
from imgwriter.vdi import (
    BLOCK_SIZE,
    BLOCK_ZERO,
    HEADER,
    HEADER_SIZE,
    MAX_BLOCKS,
    SIGNATURE,
    VERSION,
    ImageType,
)
from imgwriter.verify.containers.beyond import Beyond
from imgwriter.verify.remarks import Remarks
from imgwriter.verify.values import Progress, Result

SECTION = "no specification: VirtualBox VDICore.h, QEMU block/vdi.c"

_HEADER = "VDI header"
_MAP = "VDI block map"
_SIGNATURE_AT = 64


def verify_vdi(file: HostFile, progress: Progress | None = None) -> Result:
    """Return what is wrong with a VDI; offsets are those of the file.

    Args:
        file: The image.
        progress: Called with the bytes of the map that were looked at, and of all of it.

    Raises:
        SourceError: The file cannot be read.
    """
    remarks = Remarks(SECTION)
    size = HEADER.sizeof()
    if file.size < size:
        remarks.find(_HEADER, "", 0, f"{size} bytes", f"{file.size:,}")
        return remarks.result()
    content = bytearray(file.read(0, size, _HEADER))
    magic = SIGNATURE.to_bytes(4, "little")
    if content[_SIGNATURE_AT : _SIGNATURE_AT + 4] != magic:
        found = content[_SIGNATURE_AT : _SIGNATURE_AT + 4].hex()
        remarks.find(_HEADER, "signature", _SIGNATURE_AT, magic.hex(), found)
        content[_SIGNATURE_AT : _SIGNATURE_AT + 4] = magic
    check = _Check(HEADER.parse(bytes(content)), file, remarks)
    check.header(bytes(content))
    if check.places():
        check.map(progress)
    return remarks.result()


class _Check:
    """One VDI."""

    def __init__(self, fields: Container[Any], file: HostFile, remarks: Remarks) -> None:
        self.fields = fields
        self.file = file
        self.remarks = remarks
        at = 0
        self.at: dict[str, int] = {}
        for field in HEADER.subcons:
            self.at[str(field.name)] = at
            at += field.sizeof()

    def require(self, holds: bool, field: str, expected: object, found: object) -> bool:
        if not holds:
            self.remarks.find(_HEADER, field, self.at[field], expected, found)
        return holds

    def note(self, holds: bool, field: str, expected: object, found: object) -> None:
        if not holds:
            self.remarks.note(_HEADER, field, self.at[field], expected, found)

    def header(self, content: bytes) -> None:
        """Check the fields that nothing else depends on."""
        fields = self.fields
        version, kind = fields.version, fields.image_type
        self.require(version == VERSION, "version", "1.1", f"{version >> 16}.{version & 0xFFFF}")
        self.require(fields.header_size >= HEADER_SIZE, "header_size", f"{HEADER_SIZE}", fields.header_size)
        known = kind in (ImageType.DYNAMIC, ImageType.STATIC, ImageType.UNDO, ImageType.DIFF)
        self.require(known, "image_type", "1 (dynamic) to 4", kind)
        parent = any(fields.uuid_link) or any(fields.uuid_parent)
        apart = kind in (ImageType.UNDO, ImageType.DIFF) or parent
        found = "a part of one: the rest is in its parent"
        self.note(not apart, "uuid_link" if parent else "image_type", "a complete disk", found)
        self.note(fields.image_flags == 0, "image_flags", 0, f"{fields.image_flags:#x}")
        self.note(any(fields.uuid_image), "uuid_image", "a UUID", "zeros")
        ended = self.at["unused1"]
        self.note(not any(content[ended : ended + 4]), "unused1", "zeros", "other bytes")
        self.require(fields.sector_size == SECTOR, "sector_size", f"{SECTOR}", f"{fields.sector_size:,}")

    def places(self) -> bool:
        """Check sizes and places; return whether the map can be read."""
        fields, size = self.fields, self.file.size
        blocks, data, table = fields.blocks_in_image, fields.offset_data, fields.offset_bmap
        good = self.require(fields.block_size == BLOCK_SIZE, "block_size", "1 MiB", f"{fields.block_size:,}")
        good &= self.require(fields.block_extra == 0, "block_extra", 0, f"{fields.block_extra:,}")
        self.note(fields.disk_size % SECTOR == 0, "disk_size", "whole sectors", f"{fields.disk_size:,}")
        needed = div_ceil(fields.disk_size, BLOCK_SIZE)
        good &= self.require(
            needed <= blocks <= MAX_BLOCKS,
            "blocks_in_image",
            f"{needed:,}, the MiB of the disk",
            f"{blocks:,}",
        )
        self.note(blocks <= needed, "blocks_in_image", f"{needed:,}, the MiB of the disk", f"{blocks:,}")
        inside = table % SECTOR == 0 and table >= HEADER.sizeof() and table + 4 * blocks <= size
        expected = f"a sector from {HEADER.sizeof()} on, with {4 * blocks:,} bytes of the file"
        good &= self.require(inside, "offset_bmap", expected, f"{table:,}")
        behind = data % SECTOR == 0 and data >= table + 4 * blocks
        expected = f"a sector from {table + 4 * blocks:,} on"
        good &= self.require(behind, "offset_data", expected, f"{data:,}")
        return good

    def map(self, progress: Progress | None) -> None:
        """Check the block map. Blocks are counted from offset_data on."""
        fields = self.fields
        start, count = fields.offset_bmap, fields.blocks_in_image
        allocated = fields.blocks_allocated
        seen: set[int] = set()
        beyond = Beyond()
        for index, place in self.file.allocated(start, count, "little", _MAP):
            if progress is not None and index % (MiB // 4) == 0:
                progress(Amount(4 * index, 0), Amount(4 * count, 0))
            if place == BLOCK_ZERO:
                continue
            at, offset = start + 4 * index, fields.offset_data + place * BLOCK_SIZE
            if offset + BLOCK_SIZE > self.file.size:
                expected = f"a whole block in the file's {self.file.size:,} bytes"
                found = f"{place:,}, at {offset:,}"
                finding = Finding(_MAP, f"entry {index:,}", at, expected, found, SECTION)
                beyond.add(finding, offset, offset + BLOCK_SIZE)
            elif place >= allocated:
                expected = f"below blocks_allocated {allocated:,}"
                self.remarks.find(_MAP, f"entry {index:,}", at, expected, f"{place:,}")
            if place in seen:
                expected, found = "a block of its own", f"{place:,} again"
                self.remarks.find(_MAP, f"entry {index:,}", at, expected, found)
            seen.add(place)
        stored = fields.offset_data + allocated * BLOCK_SIZE
        beyond.say(self.remarks, cut_off=beyond.start < stored)
        expected = f"{len(seen):,}, the blocks of the map"
        self.require(allocated == len(seen), "blocks_allocated", expected, f"{allocated:,}")
