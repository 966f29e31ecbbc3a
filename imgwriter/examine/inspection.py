"""What ``imgwriter inspect`` says of an image, as a document: container, table, partitions, file systems.

::

    OpenedDisk ──> image: path, format, sizes
                   table: kind, identifier, what is wrong with it (counted)
                   partitions[] ── file_system: type, identifiers, room, state (one module for each kind)

All of it is read from the image; nothing is judged, which is what ``imgwriter verify`` is for. The text for
people is made from this document alone (:mod:`inspection_text`).
"""

from __future__ import annotations

import os
import stat
from typing import Any
from uuid import UUID

from imgwriter.errors import FormatError, SourceError, show
from imgwriter.examine import file_systems
from imgwriter.examine.opening import Area, OpenedDisk
from imgwriter.examine.partition_types import attribute_names, name_of
from imgwriter.tables_reader import Partition, Table
from imgwriter.units import SECTOR
from imgwriter.window import Window

Document = dict[str, Any]
"""A JSON object."""

_BOOT_CODE = 440
"""Bytes of boot code in an MBR. Spec: UEFI 2.10, 5.2.1."""


def document(disk: OpenedDisk) -> Document:
    """Return all that is said of an image.

    Raises:
        SourceError: It cannot be read.
        FormatError: Its container is damaged.
    """
    areas = {area.number: area for area in disk.areas}
    return {
        "image": _image(disk),
        "table": _table(disk),
        "partitions": [_partition(disk.table, p, areas.get(p.number)) for p in disk.table.partitions],
        "file_system": _file_system(areas[0]) if 0 in areas else None,
    }


def _image(disk: OpenedDisk) -> Document:
    try:
        status = os.stat(disk.path)
    except OSError as error:
        message = f"{show(disk.path)} went away meanwhile ({error.strerror}); look again when it is back"
        raise SourceError(message, disk.path) from error
    is_file = stat.S_ISREG(status.st_mode)  # a block device has neither
    return {
        "path": os.fsdecode(disk.path),
        "format": disk.image.format,
        "size": disk.image.volume.size,
        "file_size": status.st_size if is_file else None,
        "allocated": status.st_blocks * SECTOR if is_file else None,
        "details": dict(disk.image.details),
    }


def _table(disk: OpenedDisk) -> Document:
    table = disk.table
    window = Window(disk.image.volume)
    code = window.read(0, min(_BOOT_CODE, window.size), "boot code")
    return {
        "kind": table.kind,
        "identifier": _identifier(table.identifier),
        "sector_size": table.sector_size,
        "sectors": table.sectors,
        "used": table.used,
        "hybrid": table.hybrid,
        "boot_code": None if table.kind == "none" else any(code),
        "findings": len(table.findings),
        "notes": len(table.notes),
    }


def _identifier(identifier: UUID | int | None) -> str | None:
    if isinstance(identifier, int):
        return f"{identifier:08x}"
    return None if identifier is None else str(identifier)


def _partition(table: Table, partition: Partition, area: Area | None) -> Document:
    is_gpt = isinstance(partition.type, UUID)
    return {
        "number": partition.number,
        "role": partition.role,
        "type": str(partition.type) if is_gpt else f"0x{partition.type:02x}",
        "type_name": name_of(partition.type),
        "name": partition.name if is_gpt else None,
        "start": partition.start,
        "size": partition.size,
        "first_lba": partition.start // table.sector_size,
        "last_lba": partition.end // table.sector_size - 1,
        "guid": None if partition.guid is None else str(partition.guid),
        "partuuid": _partuuid(table, partition),
        "attributes": partition.attributes if is_gpt else None,
        "attribute_names": attribute_names(partition.attributes),
        "active": None if is_gpt else partition.active,
        "file_system": None if area is None else _file_system(area),
    }


def _partuuid(table: Table, partition: Partition) -> str | None:
    """Return what Linux knows a partition by. Spec: Linux, block/partitions/msdos.c and efi.c."""
    if partition.guid is not None:
        return str(partition.guid)
    if isinstance(table.identifier, int) and table.identifier:
        return f"{table.identifier:08x}-{partition.number:02x}"
    return None


def _file_system(area: Area) -> Document | None:
    """Return what is said of a file system, or of why it is not read; None where nothing is known."""
    if area.file_system is not None:
        try:
            return file_systems.document(area.file_system) | {"error": None}
        except FormatError as error:
            return {"type": area.kind, "error": str(error)}
    if area.error is not None:
        return {"type": area.kind or None, "error": str(area.error)}
    if not area.kind:
        return None
    return {"type": area.kind, "error": f"imgwriter reads ext4, ext3, ext2 and FAT, not {area.kind}"}
