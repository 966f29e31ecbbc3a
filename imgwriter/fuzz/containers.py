"""Disk images whose headers and tables may be set to anything: qcow2 and VHD.

::

    Qcow2File   header  header3  refcounts  l1  l2          one cluster of data
    VhdFile     copy  header  bat  footer                  one block of data; a fixed one: footer

Spec: docs/interop/qcow2.txt in QEMU's sources;
Microsoft, "Virtual Hard Disk Image Format Specification", 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Self
from uuid import UUID

from imgwriter import qcow2, vhd
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.fuzz.image import Image, Placed
from imgwriter.fuzz.record import Field, Layout, Record, layout_of
from imgwriter.units import KiB, MiB

HEADER = layout_of(qcow2.HEADER)
HEADER_V3 = layout_of(qcow2.HEADER_V3)
FOOTER = layout_of(vhd.FOOTER)
DYNAMIC_HEADER = layout_of(vhd.DYNAMIC_HEADER)

CLUSTER = 4 * KiB
"""Bytes of a cluster of the qcow2."""
_ENTRIES = 4
"""Entries of a table that have names."""
_DISK = 4 * MiB


@dataclass(frozen=True)
class Qcow2File(Image):
    """A qcow2 of version 3: header, tables, one cluster that is stored."""


@dataclass(frozen=True)
class VhdFile(Image):
    """A VHD: footer, and a dynamic one's copy, header and block allocation table."""

    def sealed(self) -> Self:
        """Return it with the checksums of footers and header right for what they say."""
        file = self
        for name, field in (
            ("copy", vhd.FOOTER_CHECKSUM),
            ("footer", vhd.FOOTER_CHECKSUM),
            ("header", vhd.DYNAMIC_HEADER_CHECKSUM),
        ):
            if name in file.records:
                file = file.with_record(name, checksum=vhd.checksum(file[name].content, field))
        return file


@cache
def qcow2_file() -> Qcow2File:
    """Return a qcow2 of a disk of 4 MiB, in clusters of 4 KiB, with data at the disk's start."""
    volume = qcow2.encode(_disk(), qcow2.Options(CLUSTER))
    header = Record(HEADER, volume.read(0, qcow2.HEADER_LENGTH_V2))
    l1 = header["l1_table_offset"]
    records = {
        "header": Placed(0, header),
        "header3": _placed(volume, HEADER_V3, qcow2.HEADER_LENGTH_V2, qcow2.HEADER_V3.sizeof()),
        "refcounts": _placed(volume, _table("entry", 8), header["refcount_table_offset"], 8 * _ENTRIES),
        "l1": _placed(volume, _table("entry", 8), l1, 8 * _ENTRIES),
    }
    l2 = records["l1"].record["entry0"] & qcow2.L1E_OFFSET_MASK
    records["l2"] = _placed(volume, _table("entry", 8), l2, 8 * _ENTRIES)
    return Qcow2File(volume.size, 512, records, volume)


@cache
def vhd_file() -> VhdFile:
    """Return a dynamic VHD of a disk of some 4 MiB, with data in its first block."""
    volume = vhd.encode(_disk(vhd.rounded_size(_DISK)), _parameters("dynamic"))
    records = {
        "copy": _placed(volume, FOOTER, 0, vhd.FOOTER_SIZE),
        "header": _placed(volume, DYNAMIC_HEADER, vhd.FOOTER_SIZE, vhd.DYNAMIC_HEADER_SIZE),
    }
    bat = records["header"].record["table_offset"]
    records["bat"] = _placed(volume, _table("entry", 4), bat, 4 * _ENTRIES)
    records["footer"] = _placed(volume, FOOTER, volume.size - vhd.FOOTER_SIZE, vhd.FOOTER_SIZE)
    return VhdFile(volume.size, 512, records, volume)


@cache
def fixed_vhd_file() -> VhdFile:
    """Return a fixed VHD of a small disk."""
    size = vhd.rounded_size(64 * KiB)
    volume = vhd.encode(_disk(size), _parameters("fixed"))
    return VhdFile(volume.size, 512, {"footer": _placed(volume, FOOTER, size, vhd.FOOTER_SIZE)}, volume)


def _disk(size: int = _DISK) -> Volume:
    return Volume(size, [extent(0, Bytes(b"a disk to find\n"), "data")])


def _parameters(subformat: str) -> vhd.Parameters:
    return vhd.Parameters(subformat, False, UUID("6ba7b812-9dad-41d1-80b4-00c04fd430c8"), vhd.EPOCH)


def _table(name: str, width: int) -> Layout:
    return {f"{name}{i}": Field(i * width, width, "big") for i in range(_ENTRIES)}


def _placed(volume: Volume, layout: Layout, offset: int, length: int) -> Placed:
    return Placed(offset, Record(layout, volume.read(offset, length)))
