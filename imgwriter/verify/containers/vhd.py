"""Verify a VHD: both footers, the dynamic header, the block allocation table, blocks and their bitmaps.

::

    ├ footer's copy ┤ header ┤ BAT ┤ bitmap ┤ block ┤ ... ├ footer ┤
      equal, byte by byte      └── in the file, each in a place of its own
                                     └ a sector that is marked unused holds zeros

Spec: Microsoft, "Virtual Hard Disk Image Format Specification", 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from construct import Container

from imgwriter.extent import CHUNK
from imgwriter.filedata import Amount
from imgwriter.findings import Finding
from imgwriter.readers.hostfile import GET_WHOLE, HostFile, Used
from imgwriter.readers.vhd import resembles
from imgwriter.units import SECTOR, align_up, counted, div_ceil
from imgwriter.verify.containers.beyond import Beyond
from imgwriter.verify.remarks import Remarks
from imgwriter.verify.values import Progress, Result
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
    NO_OFFSET,
    VERSION,
    DiskType,
    Features,
    Geometry,
    checksum,
)

FOOTER_SECTION = 'VHD 1.0, "Hard Disk Footer Format"'
HEADER_SECTION = 'VHD 1.0, "Dynamic Disk Header Format"'
BAT_SECTION = 'VHD 1.0, "Block Allocation Table and Data Blocks"'

_BAT = "VHD block allocation table"
_FOOTER_AT = {
    "cookie": 0, "features": 8, "file_format_version": 12, "data_offset": 16, "current_size": 48,
    "disk_geometry": 56, "disk_type": 60, "checksum": 64, "unique_id": 68, "saved_state": 84, "reserved": 85,
}  # fmt: skip
_HEADER_AT = {
    "cookie": 0, "data_offset": 8, "table_offset": 16, "header_version": 24, "max_table_entries": 28,
    "block_size": 32, "checksum": 36, "parent_unique_id": 40, "reserved": 60,
}  # fmt: skip
_CLEAR = re.compile("0+")


def verify_vhd(file: HostFile, progress: Progress | None = None) -> Result:
    """Return what is wrong with a VHD; offsets are those of the file.

    Args:
        file: The image.
        progress: Called with the bytes of the blocks that were looked at, and of all that there are.

    Raises:
        SourceError: The file cannot be read.
    """
    remarks = Remarks(FOOTER_SECTION)
    end = file.size - FOOTER_SIZE
    if end < 0:
        remarks.find("VHD footer", "", 0, f"{FOOTER_SIZE} bytes", f"{file.size:,}")
        return remarks.result()
    last = _Record(file, end, FOOTER_SIZE, "VHD footer", remarks)
    first = _Record(file, 0, FOOTER_SIZE, "VHD footer, copy at the start", remarks)
    chosen = last if last.is_footer() or not first.is_footer() else first
    fields = chosen.footer()
    whole = chosen is last or resembles(last.content, first.content)
    lost = ""
    if fields.disk_type != DiskType.FIXED and whole:
        # Both are looked at: whichever is damaged, the other is not.
        if chosen is not last:
            last.footer()
        elif first.content != last.content:
            first.footer()
            at = next(i for i in range(FOOTER_SIZE) if first.content[i : i + 1] != last.content[i : i + 1])
            remarks.find(first.structure, "", at, "the footer at the end again", "other bytes")
    if fields.disk_type == DiskType.FIXED:
        expected, found = f"{end:,}, the bytes before it", f"{fields.current_size:,}"
        if fields.current_size > end:
            remarks.find(chosen.structure, "current_size", end + 48, expected, found)
        elif fields.current_size < end:
            remarks.note(chosen.structure, "current_size", end + 48, expected, found)
    elif fields.disk_type == DiskType.DYNAMIC:
        dynamic = _Dynamic(file, fields, end if last.is_footer() else file.size, remarks)
        dynamic.run(progress)
        if whole:
            # The footer is there: so is the end of the file.
            dynamic.beyond.say(remarks, cut_off=False)
        else:
            lost = f", with {counted(dynamic.beyond.count, 'block')} of the block allocation table"
    if not whole:
        found = f"none: the end of the file is missing{lost}"
        remarks.find("VHD footer", "", end, f"a footer at the end: {GET_WHOLE}", found)
    return remarks.result()


class _Record:
    """A footer or a dynamic header, as it stands in the file."""

    def __init__(self, file: HostFile, offset: int, size: int, structure: str, remarks: Remarks) -> None:
        self.offset = offset
        self.structure = structure
        self.remarks = remarks
        inside = 0 <= offset <= file.size - size
        self.content = file.read(offset, size, structure) if inside else bytes(size)

    def is_footer(self) -> bool:
        """Return whether it has a footer's cookie and checksum."""
        total = int.from_bytes(self.content[FOOTER_CHECKSUM], "big")
        return self.content.startswith(FOOTER_COOKIE) and total == checksum(self.content, FOOTER_CHECKSUM)

    def footer(self) -> Container[Any]:
        """Check a footer's fields, and return them."""
        at = _FOOTER_AT
        self._magic(FOOTER_COOKIE, FOOTER_CHECKSUM, FOOTER_SECTION)
        fields = FOOTER.parse(FOOTER_COOKIE + self.content[len(FOOTER_COOKIE) :])

        def require(holds: bool, field: str, expected: object, found: object) -> None:
            if not holds:
                self.remarks.find(self.structure, field, self.offset + at[field], expected, found)

        kind, size = fields.disk_type, fields.current_size
        features = fields.features
        require(bool(features & Features.RESERVED), "features", "bit 1 set", f"{features:#x}")
        require(not features & ~sum(Features), "features", "bits 2 to 31 zero", f"{features:#x}")
        version = fields.file_format_version
        require(version == VERSION, "file_format_version", f"{VERSION:#010x}", f"{version:#010x}")
        require(kind in list(DiskType), "disk_type", "2 (fixed), 3 (dynamic) or 4 (differencing)", kind)
        if kind == DiskType.FIXED:
            found = f"{fields.data_offset:#x}"
            require(fields.data_offset in (NO_OFFSET, 0xFFFF_FFFF), "data_offset", "all bits set", found)
        whole = size % SECTOR == 0 and size <= MAX_SECTORS * SECTOR
        require(whole, "current_size", "whole sectors, at most 2,040 GiB", f"{size:,}")
        shape = fields.disk_geometry
        geometry = Geometry(shape.cylinder, shape.heads, shape.sectors_per_track)
        fits = geometry.sectors * SECTOR <= size or geometry == MAX_GEOMETRY
        product = f"{' x '.join(map(str, geometry))}, {geometry.sectors * SECTOR:,} bytes"
        require(fits, "disk_geometry", f"at most current_size, {size:,} bytes", product)
        require(geometry.sectors > 0 or size == 0, "disk_geometry", "more than 0", product)
        if kind == DiskType.DIFFERENCING:
            found = "a differencing disk: the rest of it is in its parent, and nothing of it is looked at"
            at_type = self.offset + at["disk_type"]
            self.remarks.note(self.structure, "disk_type", at_type, "2 or 3", found)
        if not any(fields.unique_id):
            self.remarks.note(self.structure, "unique_id", self.offset + 68, "a UUID", "zeros")
        if fields.saved_state:
            found = f"{fields.saved_state}: a machine's state is saved"
            self.remarks.note(self.structure, "saved_state", self.offset + 84, 0, found)
        require(not any(self.content[85:]), "reserved", "zeros", "other bytes")
        return fields

    def header(self) -> Container[Any] | None:
        """Check a dynamic header's own fields, and return them; None where it is none."""
        if not self._magic(DYNAMIC_HEADER_COOKIE, DYNAMIC_HEADER_CHECKSUM, HEADER_SECTION):
            return None
        fields = DYNAMIC_HEADER.parse(self.content)
        parent = (fields.parent_unique_id, fields.parent_unicode_name, fields.parent_locator_entries)
        for holds, field, expected, found in (
            (
                fields.data_offset in (NO_OFFSET, 0xFFFF_FFFF),
                "data_offset",
                "all bits set",
                f"{fields.data_offset:#x}",
            ),
            (
                fields.header_version == VERSION,
                "header_version",
                f"{VERSION:#010x}",
                f"{fields.header_version:#010x}",
            ),
            (not any(map(any, parent)), "parent_unique_id", "zeros, and no parent's name", "other bytes"),
            (not any(self.content[768:]), "reserved", "zeros", "other bytes"),
        ):
            if not holds:
                at = self.offset + _HEADER_AT[field]
                self.remarks.find(self.structure, field, at, expected, found, HEADER_SECTION)
        return fields

    def _magic(self, cookie: bytes, field: slice, section: str) -> bool:
        """Check cookie and checksum; return whether the cookie is there."""
        begin = self.content[: len(cookie)]
        if begin != cookie:
            self.remarks.find(self.structure, "cookie", self.offset, cookie, begin, section)
        total = int.from_bytes(self.content[field], "big")
        record = cookie + self.content[len(cookie) :]
        expected = checksum(record, field)
        if total != expected:
            at = self.offset + field.start
            self.remarks.find(self.structure, "checksum", at, f"{expected:#010x}", f"{total:#010x}", section)
        return begin == cookie


class _Dynamic:
    """What a dynamic VHD has besides its footer."""

    def __init__(self, file: HostFile, footer: Container[Any], end: int, remarks: Remarks) -> None:
        self.file = file
        self.footer = footer
        self.end = end
        self.remarks = remarks
        self.used = Used()
        self.beyond = Beyond()

    def run(self, progress: Progress | None) -> None:
        """Check header, table and blocks."""
        offset = self.footer.data_offset
        if offset % SECTOR or not FOOTER_SIZE <= offset <= self.end - DYNAMIC_HEADER_SIZE:
            expected, found = "a sector in the file", f"{offset:,}"
            self.remarks.find("VHD footer", "data_offset", self.end + 16, expected, found)
            return
        record = _Record(self.file, offset, DYNAMIC_HEADER_SIZE, "VHD dynamic header", self.remarks)
        fields = record.header()
        if fields is None or not self._is_usable(fields, offset):
            return
        self.used.add(0, FOOTER_SIZE)
        self.used.add(offset, offset + DYNAMIC_HEADER_SIZE)
        table = fields.table_offset
        self.used.add(table, table + 4 * fields.max_table_entries)
        blocks = list(self._blocks(fields))
        alone = True
        for at in self.used.overlaps():
            alone = False
            self.remarks.find(_BAT, "", at, "each place used once", "used twice", BAT_SECTION)
        # Blocks in each other's places may be as many as the table has entries: their bitmaps mean nothing.
        if alone:
            self._bitmaps(fields.block_size, blocks, progress)

    def _is_usable(self, fields: Container[Any], offset: int) -> bool:
        """Check what the table depends on."""
        size, entries, table = fields.block_size, fields.max_table_entries, fields.table_offset
        power = size >= SECTOR and size & (size - 1) == 0
        length = align_up(4 * entries, SECTOR)
        needed = div_ceil(self.footer.current_size, size) if power else 0
        holds = True
        for right, field, expected, found in (
            (power, "block_size", "a power of two from 512 on", f"{size:,}"),
            (entries >= needed, "max_table_entries", f"{needed:,} or more", f"{entries:,}"),
            (
                table % SECTOR == 0 and FOOTER_SIZE <= table <= self.end - length,
                "table_offset",
                f"a sector of the file, with {length:,} bytes from there on",
                f"{table:,}",
            ),
        ):
            if not right:
                at = offset + _HEADER_AT[field]
                self.remarks.find("VHD dynamic header", field, at, expected, found, HEADER_SECTION)
                holds = False
        if power and entries > needed:
            at, found = offset + _HEADER_AT["max_table_entries"], f"{entries:,}"
            expected = f"{needed:,}, the blocks of the disk"
            self.remarks.note("VHD dynamic header", "max_table_entries", at, expected, found, HEADER_SECTION)
        return holds

    def _blocks(self, fields: Container[Any]) -> Iterator[tuple[int, int]]:
        """Yield (index, offset in the file) of the blocks that are where blocks can be."""
        stored = _bitmap_size(fields.block_size) + fields.block_size
        table = fields.table_offset
        for index, place in self.file.allocated(table, fields.max_table_entries, "big", _BAT):
            at, offset = table + 4 * index, place * SECTOR
            if offset < FOOTER_SIZE or offset + stored > self.end:
                expected = f"a place for {stored:,} bytes before the footer at {self.end:,}"
                finding = Finding(_BAT, f"entry {index:,}", at, expected, f"{offset:,}", BAT_SECTION)
                if offset < FOOTER_SIZE:
                    self.remarks.find(*finding)
                else:
                    self.beyond.add(finding, offset, offset + stored)
                continue
            self.used.add(offset, offset + stored)
            yield index, offset

    def _bitmaps(self, block_size: int, blocks: list[tuple[int, int]], progress: Progress | None) -> None:
        """Check that sectors that are marked unused are zeros: QEMU reads what is there, others do not."""
        size = _bitmap_size(block_size)
        for number, (index, offset) in enumerate(blocks):
            bitmap = self.file.read(offset, size, "VHD sector bitmap")
            for sector in self._unmarked(bitmap, offset + size, block_size // SECTOR):
                expected, found = "a set bit, as the sector holds something", f"sector {sector:,} clear"
                self._find(f"bitmap of block {index:,}", offset + sector // 8, expected, found)
            if progress is not None:
                progress(Amount((number + 1) * block_size, 0), Amount(len(blocks) * block_size, 0))

    def _unmarked(self, bitmap: bytes, start: int, sectors: int) -> Iterator[int]:
        """Yield the first sector that is not zeros of each clear stretch of a bitmap, or piece of one."""
        if not bitmap.strip(b"\xff"):
            return
        bits = f"{int.from_bytes(bitmap):0{8 * len(bitmap)}b}"
        for run in _CLEAR.finditer(bits, 0, sectors):
            for low in range(run.start() * SECTOR, run.end() * SECTOR, CHUNK):
                length = min(CHUNK, run.end() * SECTOR - low)
                if self.file.is_hole(start + low, length):
                    continue
                content = self.file.read(start + low, length, "VHD block")
                if any(content):
                    yield (low + length - len(content.lstrip(b"\0"))) // SECTOR

    def _find(self, field: str, at: int, expected: str, found: str) -> None:
        self.remarks.find(_BAT, field, at, expected, found, BAT_SECTION)


def _bitmap_size(block_size: int) -> int:
    """Return the bytes of the sector bitmap before each block: whole sectors."""
    return align_up(div_ceil(block_size, SECTOR * 8), SECTOR)
