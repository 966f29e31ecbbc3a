"""The header of a qcow2: what it says, and everything that is refused for what it says.

Spec: docs/interop/qcow2.txt, "Header", "Header extensions", "Feature name table".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.errors import FormatError, show
from imgwriter.qcow2 import (
    EXTENSION,
    FEATURE_NAME,
    HEADER,
    HEADER_LENGTH_V2,
    HEADER_LENGTH_V3,
    HEADER_LENGTH_V3_MIN,
    HEADER_V3,
    MAGIC,
    MAX_CLUSTER_BITS,
    MAX_L1_SIZE,
    MAX_REFCOUNT_ORDER,
    MAX_REFTABLE_SIZE,
    MIN_CLUSTER_BITS,
    CompressionType,
    CryptMethod,
    ExtensionType,
    FeatureType,
    IncompatibleFeatures,
)
from imgwriter.readers.hostfile import CUT_OFF, CUT_OFF_OR_DAMAGED, HostFile
from imgwriter.units import align_up, counted, div_ceil

_WHERE = "qcow2 header"
_REFCOUNT_ORDER_V2 = 4
_FLATTEN = "convert it to an image that is complete in itself first (qemu-img convert -O qcow2)"
_NEWER = "its disk cannot be read: convert it with a qemu-img that can (qemu-img convert -O raw)"
_DAMAGED = "the image is damaged: get it anew"

_KNOWN = sum(IncompatibleFeatures)
_REFUSED = {
    IncompatibleFeatures.DIRTY: "is marked dirty: it was not closed; repair it (qemu-img check -r all)",
    IncompatibleFeatures.CORRUPT: "is marked corrupt; repair it (qemu-img check -r all), or get it anew",
    IncompatibleFeatures.EXTERNAL_DATA_FILE: f"keeps its clusters in an external data file; {_FLATTEN}",
}


class Header(NamedTuple):
    """What a reader needs, checked. Field names are the specification's; sizes and offsets are bytes.

    Attributes:
        l1_needed: L1 entries that the disk's size asks for, at most ``l1_size``.
    """

    version: int
    cluster_bits: int
    size: int
    l1_size: int
    l1_needed: int
    l1_table_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    refcount_bits: int
    compression: CompressionType
    extended_l2: bool

    @property
    def cluster_size(self) -> int:
        """Bytes in a cluster."""
        return 1 << self.cluster_bits


class Fields(NamedTuple):
    """The header as it stands in the file, with version 2's values for what version 2 does not have."""

    version: int
    backing_file_offset: int
    backing_file_size: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_table_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    nb_snapshots: int
    snapshots_offset: int
    incompatible_features: int
    compatible_features: int
    autoclear_features: int
    refcount_order: int
    header_length: int
    compression_type: int


class Extension(NamedTuple):
    """A header extension.

    Attributes:
        type, length: Its fields.
        offset: Where it begins, in bytes of the file.
        data: Its bytes; fewer than ``length`` where the first cluster ends before.
    """

    type: int
    length: int
    offset: int
    data: bytes


def read_header(file: HostFile) -> Header:
    """Return what the header says, after refusing what is damaged and what is not read.

    Raises:
        FormatError: The image is damaged, has another version, a backing file, encryption, an external data
            file, snapshots, or a feature that nobody knew when this was written.
        SourceError: The file cannot be read.
    """
    fields = read_fields(file)
    if not MIN_CLUSTER_BITS <= fields.cluster_bits <= MAX_CLUSTER_BITS:
        raise _refused(f"has cluster_bits {fields.cluster_bits}, not 9 to 21; {_DAMAGED}", 20)
    _refuse_parts_elsewhere(file, fields)
    _refuse_features(file, fields)
    extended = bool(fields.incompatible_features & IncompatibleFeatures.EXTENDED_L2)
    if extended and fields.cluster_bits < 14:
        raise _refused(f"has extended L2 entries with cluster_bits {fields.cluster_bits}; {_DAMAGED}", 20)
    if fields.refcount_order > MAX_REFCOUNT_ORDER:
        raise _refused(f"has refcount_order {fields.refcount_order}, not 0 to 6; {_DAMAGED}", 96)
    per_table = (1 << fields.cluster_bits) // (16 if extended else 8)
    l1_needed = div_ceil(fields.size, per_table << fields.cluster_bits)
    _check_tables(file, fields, l1_needed)
    return Header(
        fields.version,
        fields.cluster_bits,
        fields.size,
        fields.l1_size,
        l1_needed,
        fields.l1_table_offset,
        fields.refcount_table_offset,
        fields.refcount_table_clusters,
        1 << fields.refcount_order,
        CompressionType(fields.compression_type),
        extended,
    )


def read_fields(file: HostFile) -> Fields:
    """Return the header as it stands, with nothing checked but that it is one, of a version that is known.

    Raises:
        FormatError: It is not.
        SourceError: The file cannot be read.
    """
    start = file.read(0, min(file.size, HEADER_LENGTH_V3), _WHERE)
    if start[:4] == MAGIC and len(start) < HEADER_LENGTH_V2:
        raise _refused(f"ends with the file, after {len(start)} bytes; {CUT_OFF}", 0)
    if start[:4] != MAGIC:
        begins = start[:4].hex(" ") or "and ends at 0"
        message = f"the file has no qcow2 header: it begins {begins}; name the format that it has"
        raise FormatError(message, _WHERE, 0)
    first = HEADER.parse(start)
    if first.version not in (2, 3):
        raise _refused(f"has version {first.version}; convert it to version 3 first (qemu-img convert)", 4)
    later = HEADER_V3.parse(_later(start, first.version, file.size))
    return Fields(
        first.version,
        first.backing_file_offset,
        first.backing_file_size,
        first.cluster_bits,
        first.size,
        first.crypt_method,
        first.l1_size,
        first.l1_table_offset,
        first.refcount_table_offset,
        first.refcount_table_clusters,
        first.nb_snapshots,
        first.snapshots_offset,
        later.incompatible_features,
        later.compatible_features,
        later.autoclear_features,
        later.refcount_order if first.version == 3 else _REFCOUNT_ORDER_V2,
        later.header_length if first.version == 3 else HEADER_LENGTH_V2,
        later.compression_type,
    )


def _later(start: bytes, version: int, file_size: int) -> bytes:
    """Return what follows version 2's header, with zeros for the fields that the image does not have."""
    if version == 2:
        return bytes(HEADER_V3.sizeof())
    if len(start) < HEADER_LENGTH_V3_MIN:
        raise _refused(f"ends with the file, after {len(start)} bytes; {CUT_OFF}", 0)
    length = int.from_bytes(start[100:104], "big")
    cluster = 1 << min(int.from_bytes(start[20:24], "big"), MAX_CLUSTER_BITS)
    if length < HEADER_LENGTH_V3_MIN or length % 8 or length > min(file_size, cluster):
        raise _refused(f"has header_length {length:,}; {_DAMAGED}", 100)
    return start[HEADER_LENGTH_V2:length].ljust(HEADER_V3.sizeof(), b"\0")


def _refuse_parts_elsewhere(file: HostFile, fields: Fields) -> None:
    """Refuse disks of which the active tables are not the whole."""
    if fields.backing_file_offset:
        name = b""
        end = fields.backing_file_offset + fields.backing_file_size
        if fields.backing_file_size <= 1023 and end <= file.size:
            name = file.read(fields.backing_file_offset, fields.backing_file_size, "qcow2 backing file name")
        raise _refused(f"names a backing file ({show(name)}): only a part of the disk is here; {_FLATTEN}", 8)
    if fields.crypt_method:
        known = {int(method): method.name for method in CryptMethod}
        cipher = known.get(fields.crypt_method, f"method {fields.crypt_method}")
        raise _refused(f"has encryption ({cipher}); decrypt it first (qemu-img convert)", 32)
    if fields.nb_snapshots:
        raise _refused(
            f"has {counted(fields.nb_snapshots, 'internal snapshot')}; delete them (qemu-img snapshot -d),"
            " or convert it to an image without them (qemu-img convert -O qcow2)",
            60,
        )


def _refuse_features(file: HostFile, fields: Fields) -> None:
    features = fields.incompatible_features
    for bit, message in _REFUSED.items():
        if features & bit:
            raise _refused(message, 72)
    if unknown := features & ~_KNOWN:
        names = dict(_feature_names(file, fields))
        bits = [bit for bit in range(64) if unknown >> bit & 1]
        what = ", ".join(names.get(bit, f"bit {bit}") for bit in bits)
        raise _refused(f"has incompatible features that are not known here: {what}; {_NEWER}", 72)
    announced = bool(features & IncompatibleFeatures.COMPRESSION_TYPE)
    if announced != bool(fields.compression_type):
        raise _refused(
            f"has compression_type {fields.compression_type} with feature bit {int(announced)}; {_DAMAGED}",
            HEADER_LENGTH_V3_MIN,
        )
    if fields.compression_type >= len(CompressionType):
        raise _refused(
            f"has compression_type {fields.compression_type}, not 0 or 1; {_NEWER}", HEADER_LENGTH_V3_MIN
        )


def extensions(file: HostFile, fields: Fields) -> Iterator[Extension]:
    """Yield the header extensions up to the end mark, or as far as they lie in the first cluster.

    Spec: "Header extensions".
    """
    cluster = file.read(0, min(1 << fields.cluster_bits, file.size), _WHERE)
    at = fields.header_length
    while at + EXTENSION.sizeof() <= len(cluster):
        record = EXTENSION.parse(cluster[at:])
        start = at + EXTENSION.sizeof()
        yield Extension(record.type, record.length, at, cluster[start : start + record.length])
        if record.type == ExtensionType.END:
            return
        at = start + align_up(record.length, 8)


def _feature_names(file: HostFile, fields: Fields) -> Iterator[tuple[int, str]]:
    """Yield (bit, name) of the incompatible features in the feature name table, as far as it can be read."""
    for extension in extensions(file, fields):
        if extension.type != ExtensionType.FEATURE_NAME_TABLE:
            continue
        data = extension.data
        for entry in range(0, len(data) - FEATURE_NAME.sizeof() + 1, FEATURE_NAME.sizeof()):
            feature = FEATURE_NAME.parse(data[entry:])
            if feature.type == FeatureType.INCOMPATIBLE:
                yield feature.bit, show(feature.name.rstrip(b"\0"))


def _check_tables(file: HostFile, fields: Fields, l1_needed: int) -> None:
    """Check places and sizes of the two tables that the header names, before either is read."""
    cluster = 1 << fields.cluster_bits
    if fields.l1_size < l1_needed or 8 * fields.l1_size > MAX_L1_SIZE:
        raise _refused(
            f"has l1_size {fields.l1_size:,}; a disk of {fields.size:,} bytes needs {l1_needed:,},"
            f" and at most {MAX_L1_SIZE // 8:,} are read; {_DAMAGED}",
            36,
        )
    refcounts = fields.refcount_table_clusters * cluster
    if not 0 < refcounts <= MAX_REFTABLE_SIZE:
        count = fields.refcount_table_clusters
        raise _refused(f"has a refcount table of {count:,} clusters of {cluster:,} bytes; {_DAMAGED}", 56)
    for name, at, offset, length in (
        ("l1_table_offset", 40, fields.l1_table_offset, 8 * fields.l1_size),
        ("refcount_table_offset", 48, fields.refcount_table_offset, refcounts),
    ):
        if offset % cluster or (length and not offset) or offset + length > file.size:
            beyond = offset % cluster == 0 and offset + length > file.size
            raise _refused(
                f"has {name} {offset:,} for {length:,} bytes, which is not a place in the file's"
                f" {file.size:,} bytes; {CUT_OFF_OR_DAMAGED if beyond else _DAMAGED}",
                at,
            )


def _refused(what: str, offset: int) -> FormatError:
    return FormatError(f"the qcow2 {what}", _WHERE, offset)
