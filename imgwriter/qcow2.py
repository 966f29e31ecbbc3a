"""qcow2: the records of QEMU's copy-on-write image, and a disk in one whose clusters are stored as they are.

::

    │ header │ refcount table │ refcount blocks │ L1 table │ L2 tables │ guest clusters, in their order
                   └─ entry ──> block: 1, 1, 1 ...  │           │
                                                    └─ entry ──>└─ entry ──> cluster

Only clusters that some extent touches are in the file; the entries of others are 0, as are the L1 entries of
L2 tables that would have no other entry. Neighbours on the disk are neighbours in the file: an extent moves
as a whole, however many clusters it has. All tables are runs of consecutive numbers (``qcow2_tables``),
described by the runs and made when they are written.

Invariants: everything is aligned to clusters; each cluster of the file is used once, so each refcount is 1
and each entry has OFLAG_COPIED; numbers are big-endian.

Spec: docs/interop/qcow2.txt in QEMU's sources; limits called QEMU's are those of its block/qcow2.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

from construct import Bytes, Const, Int8ub, Int16ub, Int32ub, Int64ub, Padding, Struct

from imgwriter.errors import CapacityError, SpecError
from imgwriter.extent import Bytes as BytesData
from imgwriter.extent import Generated, Volume, extent
from imgwriter.qcow2_tables import (
    ENTRY_SIZE,
    Run,
    consecutive,
    l2_places,
    l2_tables,
    moved,
    table,
    total,
    touched,
)
from imgwriter.units import SECTOR, MiB, align_up, div_ceil, format_size

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


BITMAPS_EXTENSION = Struct(
    "nb_bitmaps" / Int32ub,
    "reserved" / Int32ub,
    "bitmap_directory_size" / Int64ub,  # in bytes
    "bitmap_directory_offset" / Int64ub,
)
"""Spec: "Bitmaps extension"."""

BITMAP = Struct(
    "bitmap_table_offset" / Int64ub,
    "bitmap_table_size" / Int32ub,  # in entries
    "flags" / Int32ub,
    "type" / Int8ub,
    "granularity_bits" / Int8ub,
    "name_size" / Int16ub,
    "extra_data_size" / Int32ub,
)
"""A bitmap directory's entry, before extra data and name; padded to 8 bytes. Spec: "Bitmap directory"."""

SNAPSHOT = Struct(
    "l1_table_offset" / Int64ub,
    "l1_size" / Int32ub,  # in entries
    "id_str_size" / Int16ub,
    "name_size" / Int16ub,
    "date_sec" / Int32ub,
    "date_nsec" / Int32ub,
    "vm_clock_nsec" / Int64ub,
    "vm_state_size" / Int32ub,
    "extra_data_size" / Int32ub,
)
"""A snapshot, before extra data, ID and name; padded to 8 bytes. Spec: "Snapshots"."""


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

MIN_CLUSTER_BITS = 9
MAX_CLUSTER_BITS = 21
"""QEMU's limit."""
MAX_L1_SIZE = 32 * MiB
"""Bytes of an L1 table, QEMU's limit."""
MAX_REFTABLE_SIZE = 8 * MiB
"""Bytes of a refcount table, QEMU's limit."""
MAX_REFCOUNT_ORDER = 6
MAX_FILE_SIZE = 1 << 56
"""Bytes of a file, as far as the offset of an L2 entry reaches."""

DEFAULT_CLUSTER_SIZE = 64 << 10
"""qemu-img's default."""

REFCOUNT_ORDER = 4
REFCOUNT_SIZE = 2
"""Bytes of a refcount where it has 16 bits: the only width of version 2, and qemu-img's default."""

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


@dataclass(frozen=True, slots=True)
class Options:
    """How a qcow2 is made.

    Attributes:
        cluster_size: Bytes in a cluster: a power of two from 512 to 2 MiB.
        version: 3, or 2 for what read qcow2 before QEMU 1.1.

    Raises:
        SpecError: Another value.
    """

    cluster_size: int = DEFAULT_CLUSTER_SIZE
    version: int = 3

    def __post_init__(self) -> None:
        size = self.cluster_size
        if not 1 << MIN_CLUSTER_BITS <= size <= 1 << MAX_CLUSTER_BITS or size & (size - 1):
            raise SpecError(
                f"a qcow2 cluster of {size:,} bytes is not possible; use a power of two from 512 B to 2 MiB"
            )
        if self.version not in (2, 3):
            raise SpecError(f"qcow2 version {self.version} is unknown; use 3 or 2")

    @property
    def cluster_bits(self) -> int:
        """The header's field: cluster_size is 1 << cluster_bits."""
        return self.cluster_size.bit_length() - 1

    @property
    def l2_entries(self) -> int:
        """Entries of an L2 table, which is one cluster."""
        return self.cluster_size // ENTRY_SIZE

    def l1_size(self, disk_size: int) -> int:
        """Return the entries of the L1 table of a disk."""
        return div_ceil(disk_size, self.cluster_size * self.l2_entries)


class Layout(NamedTuple):
    """What the header says, and how much there is of each kind. Offsets are in bytes."""

    disk_size: int
    l1_size: int
    l1_table_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    refcount_blocks: int
    file_size: int


def refcount_clusters(others: int, options: Options) -> tuple[int, int]:
    """Return (clusters of the refcount table, refcount blocks) of a file with so many ``others``.

    The refcounts count their own clusters too; a block has room for 256 or more, so a few rounds settle it.
    """
    reftable = blocks = 0
    while True:
        needed = div_ceil((others + reftable + blocks) * REFCOUNT_SIZE, options.cluster_size)
        if needed == blocks:
            return reftable, blocks
        blocks = needed
        reftable = div_ceil(blocks * ENTRY_SIZE, options.cluster_size)


def refcount_table(blocks: int, first: int, size: int) -> Generated:
    """Return the table of refcount blocks of ``size`` bytes, one after the other from ``first`` on."""
    return table(blocks, (Run(0, blocks, 0),), consecutive(first, size))


def check_limits(layout: Layout, options: Options) -> None:
    """Refuse what QEMU would not open.

    Raises:
        CapacityError: A table or the file is too large.
    """
    limits = (
        ("an L1 table", layout.l1_size * ENTRY_SIZE, MAX_L1_SIZE),
        ("a refcount table", layout.refcount_table_clusters * options.cluster_size, MAX_REFTABLE_SIZE),
        ("a file", layout.file_size, MAX_FILE_SIZE),
    )
    for what, needed, available in limits:
        if needed > available:
            largest = options.cluster_bits == MAX_CLUSTER_BITS
            raise CapacityError(
                f"a qcow2 of a disk of {format_size(layout.disk_size)} in clusters of"
                f" {format_size(options.cluster_size)} needs {what} of {needed:,} bytes, and QEMU allows"
                f" {format_size(available)}; {'make the disk smaller' if largest else 'use larger clusters'}",
                needed,
                available,
            )


def encode_header(layout: Layout, options: Options, compression: CompressionType) -> bytes:
    """Return the header with its extensions.

    Left at zero: all of backing file, encryption and snapshots; compatible_features, autoclear_features.

    Spec: "Header", "Header extensions".
    """
    header = HEADER.build(
        {
            "version": options.version,
            "backing_file_offset": 0,
            "backing_file_size": 0,
            "cluster_bits": options.cluster_bits,
            "size": layout.disk_size,
            "crypt_method": CryptMethod.NONE,
            "l1_size": layout.l1_size,
            "l1_table_offset": layout.l1_table_offset,
            "refcount_table_offset": layout.refcount_table_offset,
            "refcount_table_clusters": layout.refcount_table_clusters,
            "nb_snapshots": 0,
            "snapshots_offset": 0,
        }
    )
    if options.version == 2:
        return bytes(header) + _extension(ExtensionType.END, b"")
    other_compression = IncompatibleFeatures.COMPRESSION_TYPE if compression else IncompatibleFeatures(0)
    header += HEADER_V3.build(
        {
            "incompatible_features": other_compression,
            "compatible_features": 0,
            "autoclear_features": 0,
            "refcount_order": REFCOUNT_ORDER,
            "header_length": HEADER_LENGTH_V3,
            "compression_type": compression,
        }
    )
    if options.cluster_size > _CLUSTER_WITHOUT_NAMES:
        header += _extension(ExtensionType.FEATURE_NAME_TABLE, b"".join(map(_feature_name, FEATURE_NAMES)))
    return bytes(header) + _extension(ExtensionType.END, b"")


def encode(volume: Volume, options: Options) -> Volume:
    """Return the qcow2 of a guest disk.

    Args:
        volume: The disk; its size is rounded up to whole sectors.
        options: Cluster size and version.

    Raises:
        CapacityError: QEMU would not open it.
    """
    size = options.cluster_size
    clusters = touched(volume.extents, size)
    tables = l2_tables(clusters, options.l2_entries)
    disk_size = align_up(volume.size, SECTOR)
    l1_size = options.l1_size(disk_size)
    l1_clusters = div_ceil(l1_size * ENTRY_SIZE, size)
    l2_clusters = total(tables)
    others = 1 + l1_clusters + l2_clusters + total(clusters)
    reftable, blocks = refcount_clusters(others, options)
    blocks_at = (1 + reftable) * size
    l1_at = blocks_at + blocks * size
    l2_at = l1_at + l1_clusters * size
    data_at = l2_at + l2_clusters * size
    clusters_in_file = others + reftable + blocks
    # A disk of no bytes has no L1 table, and qemu-img gives it no offset.
    l1_table_offset = l1_at if l1_size else 0
    layout = Layout(disk_size, l1_size, l1_table_offset, size, reftable, blocks, clusters_in_file * size)
    check_limits(layout, options)
    l1 = table(l1_size, tables, consecutive(OFLAG_COPIED + l2_at, size))
    l2_runs = list(l2_places(clusters, tables, options.l2_entries))
    l2 = table(l2_clusters * options.l2_entries, l2_runs, consecutive(OFLAG_COPIED + data_at, size))
    header = encode_header(layout, options, CompressionType.ZLIB)
    extents = [
        extent(0, BytesData(header), "qcow2 header"),
        extent(size, refcount_table(blocks, blocks_at, size), "qcow2 refcount table"),
        extent(blocks_at, Generated(clusters_in_file * REFCOUNT_SIZE, _ones), "qcow2 refcount blocks"),
        extent(l1_at, l1, "qcow2 L1 table"),
        extent(l2_at, l2, "qcow2 L2 tables"),
    ]
    extents.extend(moved(volume.extents, clusters, data_at, size))
    return Volume(layout.file_size, extents)


_CLUSTER_WITHOUT_NAMES = 4096
"""qemu-img puts no feature name table into clusters of up to this many bytes: the header has little room."""

FEATURE_NAMES = (
    (FeatureType.INCOMPATIBLE, IncompatibleFeatures.DIRTY, "dirty bit"),
    (FeatureType.INCOMPATIBLE, IncompatibleFeatures.CORRUPT, "corrupt bit"),
    (FeatureType.INCOMPATIBLE, IncompatibleFeatures.EXTERNAL_DATA_FILE, "external data file"),
    (FeatureType.INCOMPATIBLE, IncompatibleFeatures.COMPRESSION_TYPE, "compression type"),
    (FeatureType.INCOMPATIBLE, IncompatibleFeatures.EXTENDED_L2, "extended L2 entries"),
    (FeatureType.COMPATIBLE, CompatibleFeatures.LAZY_REFCOUNTS, "lazy refcounts"),
    (FeatureType.AUTOCLEAR, AutoclearFeatures.BITMAPS, "bitmaps"),
    (FeatureType.AUTOCLEAR, AutoclearFeatures.RAW_EXTERNAL_DATA, "raw external data"),
)
"""What the feature name table says: the names are QEMU's."""


def _feature_name(feature: tuple[FeatureType, IntFlag, str]) -> bytes:
    kind, flag, name = feature
    fields = {"type": kind, "bit": flag.bit_length() - 1, "name": name.encode().ljust(46, b"\0")}
    return bytes(FEATURE_NAME.build(fields))


def _extension(kind: ExtensionType, data: bytes) -> bytes:
    padded = data.ljust(align_up(len(data), 8), b"\0")
    return bytes(EXTENSION.build({"type": kind, "length": len(data)})) + padded


def _ones(start: int, stop: int) -> bytes:
    """Return the bytes [start, stop) of refcounts that are all 1."""
    return (b"\0\1" * ((stop - start) // REFCOUNT_SIZE + 1))[start % REFCOUNT_SIZE :][: stop - start]
