"""Deviations of a VHD's footers, header and block allocation table; checksums are right where not said.

A dynamic VHD has its footer twice. A field that decides nothing is set in both, as one that differs is
another deviation.

Spec: Microsoft, "Virtual Hard Disk Image Format Specification", 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter import vhd
from imgwriter.fuzz.catalogue.rows import ImageRow, Row, deviations_of, of_images
from imgwriter.fuzz.containers import VhdFile, fixed_vhd_file, vhd_file
from imgwriter.fuzz.deviation import Deviation

FOOTER = 'VHD specification 1.0, "Hard Disk Footer Format"'
HEADER = 'VHD specification 1.0, "Dynamic Disk Header Format"'
BAT = 'VHD specification 1.0, "Block Allocation Table and Data Blocks"'
_SILENT = "; it does not say what a reader does"
_MOST_32, _MOST_64 = (1 << 32) - 1, (1 << 64) - 1


def vhd_deviations() -> Iterator[Deviation]:
    """Yield them: a footer alone, both, the header, the table, a fixed disk's footer."""
    yield from deviations_of("vhd", ["footer"], vhd_file, FOOTER, _LAST_FOOTER)
    yield from deviations_of("vhd", ["copy"], vhd_file, FOOTER, _FIRST_FOOTER)
    yield from deviations_of("vhd", ["footer", "copy"], vhd_file, FOOTER, _BOTH_FOOTERS, "footers")
    yield from deviations_of("vhd", ["header"], vhd_file, HEADER, _HEADER)
    yield from deviations_of("vhd", ["bat"], vhd_file, BAT, _BAT)
    yield from deviations_of("vhd", ["footer"], fixed_vhd_file, FOOTER, _FIXED, "fixed")
    rows: tuple[ImageRow, ...] = (
        ("size.no_footer", "backup", "the file ends before its footer", lambda f: f.with_size(f.size - 512)),
        ("size.within_header", "refuse", "the file ends within the dynamic header", lambda f: f.with_size(1024)),
        ("size.one_more", "backup", "there is a byte after the footer", lambda f: f.with_size(f.size + 1)),
        ("footers.lost", "refuse", "both footers are zeros", _without_footers),
    )
    yield from of_images("vhd", vhd_file, FOOTER, rows)


def _without_footers(file: VhdFile) -> VhdFile:
    places = [file.offset_of(name) for name in ("copy", "footer")]
    for offset in places:
        file = file.with_bytes(offset, bytes(vhd.FOOTER_SIZE))
    return file


_LAST_FOOTER = (
    Row("cookie.zero", "backup", "the footer's cookie is zeros", {"cookie": bytes(8)}),
    Row("cookie.case", "backup", "the footer's cookie has capitals", {"cookie": b"Conectix"}),
    Row("checksum.zero", "backup", "the footer's checksum is 0", {"checksum": 0}, sealed=False),
    Row("checksum.complement", "backup", "the footer's checksum is not complemented", {"checksum": 0x105C}, sealed=False),
    Row("unique_id.differs", None, "footer and copy have other identifiers, both valid", {"unique_id": bytes(16)}, FOOTER + _SILENT),
    Row("current_size.differs", None, "footer and copy say other sizes, both valid", {"current_size": 1 << 20}, FOOTER + _SILENT),
)

_FIRST_FOOTER = (
    Row("cookie.zero", "accept", "the copy's cookie is zeros", {"cookie": bytes(8)}),
    Row("checksum.zero", "accept", "the copy's checksum is 0", {"checksum": 0}, sealed=False),
)

_BOTH_FOOTERS = (
    Row("checksum.zero", "refuse", "both footers' checksums are 0", {"checksum": 0}, sealed=False),
    Row("features.zero", "accept", "the bit of Features that must be set is not", {"features": 0}),
    Row("features.all", "accept", "all bits of Features are set", {"features": _MOST_32}),
    Row("file_format_version.newer", None, "the version is 2.0", {"file_format_version": 0x0002_0000}, FOOTER + _SILENT),
    Row("data_offset.zero", "refuse", "the dynamic header would be the footer's copy", {"data_offset": 0}),
    Row("data_offset.beyond", "refuse", "the dynamic header is beyond the file", {"data_offset": 1 << 40}),
    Row("data_offset.largest", "refuse", "there is no dynamic header, says the footer", {"data_offset": _MOST_64}),
    Row("time_stamp.largest", "accept", "the file is of the year 2136", {"time_stamp": _MOST_32}),
    Row("creator_application.zero", "accept", "nobody made the file", {"creator_application": bytes(4)}),
    Row("original_size.largest", "accept", "the disk had 2^64 - 1 bytes", {"original_size": _MOST_64}),
    Row("current_size.beyond_bat", "refuse", "the disk is larger than the table can say", {"current_size": 1 << 24}),
    Row("current_size.largest", "refuse", "the disk has 2^64 - 512 bytes", {"current_size": _MOST_64 - 511}),
    Row("cylinder.zero", "accept", "the geometry has no cylinders; current_size counts", {"cylinder": 0}),
    Row("disk_type.none", "refuse", "disk_type is 0, none", {"disk_type": 0}),
    Row("disk_type.reserved", "refuse", "disk_type is 5, reserved", {"disk_type": 5}),
    Row("disk_type.differencing", "refuse", "the disk is a difference to another, which is not named", {"disk_type": 4}),
    Row("disk_type.fixed", "refuse", "the disk is said to be fixed, and is larger than the file", {"disk_type": 2}),
    Row("saved_state.set", "accept", "the machine was suspended", {"saved_state": 1}),
)

_HEADER = (
    Row("cookie.zero", "refuse", "the cookie is zeros", {"cookie": bytes(8)}),
    Row("checksum.zero", "refuse", "the checksum is 0", {"checksum": 0}, sealed=False),
    Row("data_offset.zero", "accept", "the header's own data_offset is 0", {"data_offset": 0}),
    Row("table_offset.beyond", "refuse", "the table is beyond the file", {"table_offset": 1 << 40}),
    Row("table_offset.largest", "refuse", "the table's offset is 2^64 - 1", {"table_offset": _MOST_64}),
    Row("table_offset.on_footer", None, "the table is the footer's copy", {"table_offset": 0}, HEADER + _SILENT),
    Row("header_version.newer", None, "the version is 2.0", {"header_version": 0x0002_0000}, HEADER + _SILENT),
    Row("max_table_entries.zero", "refuse", "the table has no entries", {"max_table_entries": 0}),
    Row("max_table_entries.one_less", "refuse", "the table has one entry less than the disk needs", {"max_table_entries": 2}),
    Row("max_table_entries.largest", None, "the table has 2^32 - 1 entries, beyond the file", {"max_table_entries": _MOST_32}, HEADER + _SILENT),
    Row("block_size.zero", "refuse", "block_size is 0", {"block_size": 0}),
    Row("block_size.half_sector", "refuse", "block_size is 256", {"block_size": 256, "max_table_entries": 1 << 20}),
    Row("block_size.no_power", "refuse", "block_size is 3 MiB, no power of two", {"block_size": 3 << 20}),
    Row("block_size.too_large", "refuse", "a block is larger than the file", {"block_size": 1 << 30}),
    Row("parent_unique_id.set", "accept", "a parent is named, and not needed", {"parent_unique_id": bytes(range(16))}),
)

_BAT = (
    Row("entry0.unused", "accept", "no block is stored", {"entry0": vhd.UNUSED}),
    Row("entry0.zero", None, "a block is on the footer's copy", {"entry0": 0}, BAT + _SILENT),
    Row("entry0.beyond", "refuse", "a block is beyond the file", {"entry0": 1 << 24}),
    Row("entry0.largest", "refuse", "a block is at sector 2^32 - 2", {"entry0": _MOST_32 - 1}),
    Row("entry0.one_late", None, "a block ends in the footer", {"entry0": 5}, BAT + _SILENT),
    Row("entry1.same", None, "two entries have one block", {"entry1": 4}, BAT + _SILENT),
)

_FIXED = (
    Row("checksum.zero", "refuse", "a fixed disk's footer has checksum 0", {"checksum": 0}, sealed=False),
    Row("cookie.zero", "refuse", "a fixed disk's footer has no cookie", {"cookie": bytes(8)}),
    Row("data_offset.zero", "accept", "a fixed disk's data_offset is 0", {"data_offset": 0}),
    Row("current_size.less", "accept", "a fixed disk is smaller than the file", {"current_size": 32 << 10}),
    Row("current_size.more", "refuse", "a fixed disk is larger than the file", {"current_size": 1 << 20}),
    Row("disk_type.dynamic", "refuse", "a fixed disk is said to be dynamic", {"disk_type": 3}),
)
