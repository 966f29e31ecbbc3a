"""qcow2: the records of QEMU's copy-on-write image, and a disk in one whose clusters are stored as they are.

Spec: docs/interop/qcow2.txt in QEMU's sources; the limits marked so are those of QEMU's block/qcow2.h.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

from construct import Bytes, Const, Int8ub, Int32ub, Int64ub, Padding, Struct

MAGIC = b"QFI\xfb"

HEADER = Struct(
    "magic" / Const(MAGIC),
    "version" / Int32ub,
    "backing_file_offset" / Int64ub,
    "backing_file_size" / Int32ub,
    "cluster_bits" / Int32ub,
    "size" / Int64ub,  # of the virtual disk, in bytes
    "crypt_method" / Int32ub,
    "l1_size" / Int32ub,  # in entries
    "l1_table_offset" / Int64ub,
    "refcount_table_offset" / Int64ub,
    "refcount_table_clusters" / Int32ub,
    "nb_snapshots" / Int32ub,
    "snapshots_offset" / Int64ub,
)
"""Bytes 0 to 71: all of version 2's header. Spec: "Header"."""

HEADER_V3 = Struct(
    "incompatible_features" / Int64ub,
    "compatible_features" / Int64ub,
    "autoclear_features" / Int64ub,
    "refcount_order" / Int32ub,
    "header_length" / Int32ub,
    "compression_type" / Int8ub,
    "padding" / Padding(7),
)
"""Bytes 72 to 111: version 3's. With a header_length of 104 the last two fields are absent, which is the same
as zero. Spec: "Header", "Additional fields (version 3 and higher)"."""

HEADER_LENGTH_V2 = 72
HEADER_LENGTH_V3_MIN = 104
HEADER_LENGTH_V3 = 112

EXTENSION = Struct("type" / Int32ub, "length" / Int32ub)
"""What a header extension begins with; its data is padded to 8 bytes. Spec: "Header extensions"."""

FEATURE_NAME = Struct("type" / Int8ub, "bit" / Int8ub, "name" / Bytes(46))
"""Spec: "Feature name table"."""


class ExtensionType(IntEnum):
    """Spec: "Header extensions"."""

    END = 0x0000_0000
    BACKING_FILE_FORMAT = 0xE279_2ACA
    FEATURE_NAME_TABLE = 0x6803_F857
    BITMAPS = 0x2385_2875
    FULL_DISK_ENCRYPTION = 0x0537_BE77
    EXTERNAL_DATA_FILE = 0x4441_5441


class FeatureType(IntEnum):
    """Which of the header's three masks a feature's bit is in. Spec: "Feature name table"."""

    INCOMPATIBLE = 0
    COMPATIBLE = 1
    AUTOCLEAR = 2


class IncompatibleFeatures(IntFlag):
    """Who does not know one of these must not open the image. Spec: "Header", byte 72."""

    DIRTY = 1 << 0
    CORRUPT = 1 << 1
    EXTERNAL_DATA_FILE = 1 << 2
    COMPRESSION_TYPE = 1 << 3
    EXTENDED_L2 = 1 << 4


class CompatibleFeatures(IntFlag):
    """Who does not know one of these may ignore it. Spec: "Header", byte 80."""

    LAZY_REFCOUNTS = 1 << 0


class AutoclearFeatures(IntFlag):
    """Who does not know one of these clears it before writing. Spec: "Header", byte 88."""

    BITMAPS = 1 << 0
    RAW_EXTERNAL_DATA = 1 << 1


class CryptMethod(IntEnum):
    """Spec: "Header", byte 32."""

    NONE = 0
    AES = 1
    LUKS = 2


class CompressionType(IntEnum):
    """Spec: "Additional fields (version 3 and higher)", byte 104."""

    ZLIB = 0
    ZSTD = 1


OFLAG_COPIED = 1 << 63
"""In an L1 or L2 entry: the refcount of what it points to is exactly one. Spec: "Cluster mapping"."""
OFLAG_COMPRESSED = 1 << 62
"""In an L2 entry: the rest is a Compressed Clusters Descriptor."""
OFLAG_ZERO = 1 << 0
"""In an L2 entry of version 3 that is not extended: the cluster reads as zeros, whatever its offset says."""
L1E_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
L2E_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
REFT_OFFSET_MASK = 0xFFFF_FFFF_FFFF_FE00
"""In an entry of the refcount table. Spec: "Host cluster management"."""

ENTRY_SIZE = 8
"""Bytes of an entry of the L1 table, of an L2 table (16 where it is extended), of the refcount table."""

MIN_CLUSTER_BITS = 9
MAX_CLUSTER_BITS = 21
"""QEMU's limit."""
MAX_L1_SIZE = 32 << 20
"""Bytes of an L1 table, QEMU's limit."""
MAX_REFTABLE_SIZE = 8 << 20
"""Bytes of a refcount table, QEMU's limit."""
MAX_REFCOUNT_ORDER = 6

COMPRESSED_SECTOR = 512
"""Bytes in a sector of a compressed cluster's descriptor, whatever the cluster's size."""


class Stored(NamedTuple):
    """Where a compressed cluster is: from ``offset`` on, somewhere up to ``stop``, the end of a sector."""

    offset: int
    stop: int


def compressed_shift(cluster_bits: int) -> int:
    """Return the x of the specification: the bits of the offset in a compressed cluster's descriptor.

    Spec: "Compressed Clusters Descriptor".
    """
    return 62 - (cluster_bits - 8)


def compressed_entry(offset: int, length: int, cluster_bits: int) -> int:
    """Return the L2 entry of a compressed cluster of ``length`` bytes at ``offset`` of the file.

    Spec: "Compressed Clusters Descriptor".
    """
    additional = (offset + length - 1) // COMPRESSED_SECTOR - offset // COMPRESSED_SECTOR
    return OFLAG_COMPRESSED | additional << compressed_shift(cluster_bits) | offset


def compressed_place(entry: int, cluster_bits: int) -> Stored:
    """Return what the L2 entry of a compressed cluster says.

    Spec: "Compressed Clusters Descriptor".
    """
    shift = compressed_shift(cluster_bits)
    offset = entry & ((1 << shift) - 1)
    additional = (entry & (OFLAG_COMPRESSED - 1)) >> shift
    return Stored(offset, (offset // COMPRESSED_SECTOR + 1 + additional) * COMPRESSED_SECTOR)
