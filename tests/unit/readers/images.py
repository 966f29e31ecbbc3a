"""Images made by hand from the specifications, any field as a test wants it; and a Volume's bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from imgwriter.errors import FormatError
from imgwriter.extent import Volume
from imgwriter.filedata import HandleSlice
from imgwriter.readers import Image, open_image

KiB, MiB = 1 << 10, 1 << 20
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1


def content(volume: Volume) -> bytes:
    """Return all bytes of a volume, each piece taken before the next is asked for."""
    result = bytearray(volume.size)
    for e in volume.extents:
        position = e.start
        for piece in e.data.chunks(e.data_start, e.data_start + e.length):
            result[position : position + len(piece)] = piece
            position += len(piece)
        assert position == e.end
    return bytes(result)


def opened(path: Path, image_format: str | None = None) -> Image:
    return open_image(bytes(path), image_format)


def in_file(volume: Volume) -> list[tuple[int, int, int]]:
    """Return (start on the disk, offset in the file, bytes) of the extents, all of which are slices of it."""
    places = []
    for e in volume.extents:
        assert isinstance(e.data, HandleSlice)
        places.append((e.start, e.data.offset + e.data_start, e.length))
    return places


# qcow2. Names, order and widths: docs/interop/qcow2.txt, "Header".
QCOW2_FIELDS = {
    "magic": "4s", "version": "I", "backing_file_offset": "Q", "backing_file_size": "I", "cluster_bits": "I",
    "size": "Q", "crypt_method": "I", "l1_size": "I", "l1_table_offset": "Q", "refcount_table_offset": "Q",
    "refcount_table_clusters": "I", "nb_snapshots": "I", "snapshots_offset": "Q",
    "incompatible_features": "Q", "compatible_features": "Q", "autoclear_features": "Q",
    "refcount_order": "I", "header_length": "I", "compression_type": "B",
}  # fmt: skip


def offset_of(fields: Mapping[str, str], name: str, order: str = ">") -> int:
    names = list(fields)
    return struct.calcsize(order + "".join(fields[n] for n in names[: names.index(name)]))


def put(image: bytearray, offset: int, code: str, *values: object) -> None:
    """Put values at an offset, making the image longer where it ends before."""
    packed = struct.pack(code, *values)
    image.extend(bytes(max(offset + len(packed) - len(image), 0)))
    image[offset : offset + len(packed)] = packed


def qcow2(
    entries: Mapping[int, int | tuple[int, int]],
    size: int,
    *,
    data: Mapping[int, bytes] | None = None,
    cluster_bits: int = 16,
    clusters: int = 16,
    **fields: object,
) -> bytearray:
    """Return a qcow2: cluster 0 header, 1 refcount table (empty), 2 L1 table, 3 L2 table, from 4 on data.

    Args:
        entries: L2 entries by guest cluster; pairs (entry, bitmap) where they are extended.
        size: Bytes of the disk.
        data: Bytes by their offset in the file.
        clusters: Clusters of the file.
        fields: Of the header.
    """
    cluster = 1 << cluster_bits
    extended = any(isinstance(entry, tuple) for entry in entries.values())
    values: dict[str, object] = {
        "magic": b"QFI\xfb", "version": 3, "backing_file_offset": 0, "backing_file_size": 0,
        "cluster_bits": cluster_bits, "size": size, "crypt_method": 0, "l1_size": 1,
        "l1_table_offset": 2 * cluster, "refcount_table_offset": cluster, "refcount_table_clusters": 1,
        "nb_snapshots": 0, "snapshots_offset": 0,
        "incompatible_features": 16 if extended else 0, "compatible_features": 0, "autoclear_features": 0,
        "refcount_order": 4, "header_length": 112, "compression_type": 0,
    }  # fmt: skip
    values |= fields
    image = bytearray(clusters * cluster)
    for name, code in QCOW2_FIELDS.items():
        put(image, offset_of(QCOW2_FIELDS, name), f">{code}", values[name])
    if values["version"] == 2:
        image[72:112] = bytes(40)
    put(image, 2 * cluster, ">Q", 3 * cluster | COPIED)
    for index, entry in entries.items():
        if isinstance(entry, tuple):
            put(image, 3 * cluster + 16 * index, ">QQ", *entry)
        else:
            put(image, 3 * cluster + 8 * index, ">Q", entry)
    for offset, piece in (data or {}).items():
        put(image, offset, f">{len(piece)}s", piece)
    return image


# VHD. Microsoft, "Virtual Hard Disk Image Format Specification", "Hard Disk Footer Format".
FOOTER_FIELDS = {
    "cookie": "8s", "features": "I", "file_format_version": "I", "data_offset": "Q", "time_stamp": "I",
    "creator_application": "4s", "creator_version": "I", "creator_host_os": "4s", "original_size": "Q",
    "current_size": "Q", "cylinder": "H", "heads": "B", "sectors_per_track": "B", "disk_type": "I",
    "checksum": "I", "unique_id": "16s", "saved_state": "B",
}  # fmt: skip
DYNAMIC_HEADER_FIELDS = {
    "cookie": "8s", "data_offset": "Q", "table_offset": "Q", "header_version": "I", "max_table_entries": "I",
    "block_size": "I", "checksum": "I",
}  # fmt: skip


def vhd_checksum(record: bytes | bytearray, at: int) -> int:
    """Return the ones' complement of the sum of all bytes but the checksum's own."""
    return ~(sum(record) - sum(record[at : at + 4])) & 0xFFFF_FFFF


def footer(size: int, **fields: object) -> bytes:
    """Return a footer with the right checksum, of a fixed disk unless ``fields`` say otherwise."""
    values: dict[str, object] = {
        "cookie": b"conectix", "features": 2, "file_format_version": 0x10000, "data_offset": (1 << 64) - 1,
        "time_stamp": 0, "creator_application": b"win ", "creator_version": 0, "creator_host_os": b"Wi2k",
        "original_size": size, "current_size": size, "cylinder": 0, "heads": 0, "sectors_per_track": 0,
        "disk_type": 2, "checksum": 0, "unique_id": bytes(16), "saved_state": 0,
    }  # fmt: skip
    record = bytearray(512)
    for name, code in FOOTER_FIELDS.items():
        put(record, offset_of(FOOTER_FIELDS, name), f">{code}", (values | fields)[name])
    if "checksum" not in fields:
        put(record, 64, ">I", vhd_checksum(record, 64))
    return bytes(record)


def dynamic_vhd(
    bat: list[int],
    size: int,
    *,
    data: Mapping[int, bytes] | None = None,
    header: Mapping[str, object] | None = None,
    length: int | None = None,
    **fields: object,
) -> bytearray:
    """Return a dynamic VHD: copy of the footer | header at 512 | BAT at 1536 | ``data`` by offset | footer.

    Args:
        bat: Its entries.
        size: Bytes of the disk.
        data: Bytes by their offset in the file; bitmaps too.
        header: Fields of the dynamic header.
        length: Bytes of the file before the footer.
        fields: Of the footer.
    """
    end = footer(size, **({"data_offset": 512, "disk_type": 3} | fields))
    values: dict[str, object] = {
        "cookie": b"cxsparse", "data_offset": (1 << 64) - 1, "table_offset": 1536, "header_version": 0x10000,
        "max_table_entries": len(bat), "block_size": 2 * MiB, "checksum": 0,
    }  # fmt: skip
    values |= header or {}
    record = bytearray(1024)
    for name, code in DYNAMIC_HEADER_FIELDS.items():
        put(record, offset_of(DYNAMIC_HEADER_FIELDS, name), f">{code}", values[name])
    if "checksum" not in (header or {}):
        put(record, 36, ">I", vhd_checksum(record, 36))
    image = bytearray(end + record)
    put(image, 1536, f">{len(bat)}I", *bat)
    image.extend(bytes(-len(image) % 512))
    for offset, piece in (data or {}).items():
        put(image, offset, f">{len(piece)}s", piece)
    image.extend(bytes(max((length or 0) - len(image), 0)))
    return image + end


# VDI. VirtualBox, src/VBox/Storage/VDICore.h; QEMU, block/vdi.c.
VDI_FIELDS = {
    "text": "64s", "signature": "I", "version": "I", "header_size": "I", "image_type": "I",
    "image_flags": "I", "description": "256s", "offset_bmap": "I", "offset_data": "I", "cylinders": "I",
    "heads": "I", "sectors": "I", "sector_size": "I", "unused1": "I", "disk_size": "Q",
    "block_size": "I", "block_extra": "I",
    "blocks_in_image": "I", "blocks_allocated": "I", "uuid_image": "16s", "uuid_last_snap": "16s",
    "uuid_link": "16s", "uuid_parent": "16s",
}  # fmt: skip


def vdi(
    block_map: list[int],
    size: int,
    *,
    data: Mapping[int, bytes] | None = None,
    length: int | None = None,
    **fields: object,
) -> bytearray:
    """Return a VDI: header | block map at 512 | data from 1024 on, or as ``fields`` say.

    Args:
        block_map: Its entries.
        size: Bytes of the disk.
        data: Bytes by their offset in the file.
        length: Bytes of the file.
        fields: Of the header.
    """
    values: dict[str, object] = {
        "text": b"", "signature": 0xBEDA107F, "version": 0x10001, "header_size": 0x180, "image_type": 1,
        "image_flags": 0, "description": b"", "offset_bmap": 512, "offset_data": 1024, "cylinders": 0,
        "heads": 0, "sectors": 0, "sector_size": 512, "unused1": 0, "disk_size": size, "block_size": MiB,
        "block_extra": 0,
        "blocks_in_image": len(block_map), "blocks_allocated": sum(e < 0xFFFFFFFE for e in block_map),
        "uuid_image": b"i" * 16, "uuid_last_snap": b"s" * 16, "uuid_link": bytes(16),
        "uuid_parent": bytes(16),
    }  # fmt: skip
    values |= fields
    image = bytearray(512)
    for name, code in VDI_FIELDS.items():
        put(image, offset_of(VDI_FIELDS, name, "<"), f"<{code}", values[name])
    put(image, 512, f"<{len(block_map)}I", *block_map)
    for offset, piece in (data or {}).items():
        put(image, offset, f"<{len(piece)}s", piece)
    image.extend(bytes(max((length or 0) - len(image), 0)))
    return image


def digest(path: Path) -> None:
    """Read all that an image says, whatever that is; only a FormatError may come of it.

    What lies in the file as it is cannot be more than the file has: nothing is used twice.
    """
    try:
        image = opened(path)
        slices = [e for e in image.volume.extents if isinstance(e.data, HandleSlice)]
        assert sum(e.length for e in slices) <= path.stat().st_size
        for e in image.volume.extents:
            length = sum(len(piece) for piece in e.data.chunks(e.data_start, e.data_start + e.length))
            assert length == e.length
    except FormatError as error:
        assert error.where and str(error)
