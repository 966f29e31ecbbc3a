"""The header of a qcow2 and its extensions, each field against what the specification lets it be.

Spec: docs/interop/qcow2.txt, "Header", "Header extensions".
"""

from __future__ import annotations

from typing import NamedTuple

from imgwriter.errors import FormatError, show
from imgwriter.qcow2 import (
    BITMAPS_EXTENSION,
    COMPRESSED_SECTOR,
    FEATURE_NAME,
    HEADER,
    HEADER_LENGTH_V3,
    HEADER_LENGTH_V3_MIN,
    HEADER_V3,
    MAX_CLUSTER_BITS,
    MAX_L1_SIZE,
    MAX_REFCOUNT_ORDER,
    MAX_REFTABLE_SIZE,
    MIN_CLUSTER_BITS,
    AutoclearFeatures,
    CompatibleFeatures,
    CompressionType,
    CryptMethod,
    ExtensionType,
    IncompatibleFeatures,
)
from imgwriter.readers.hostfile import HostFile
from imgwriter.readers.qcow2_header import Extension, Fields, extensions, read_fields
from imgwriter.units import div_ceil
from imgwriter.verify.remarks import Remarks

HEADER_SECTION = 'qcow2.txt, "Header"'
EXTENSION_SECTION = 'qcow2.txt, "Header extensions"'
STRUCTURE = "qcow2 header"

_LEAST_EXTENDED_BITS = 14


def _offsets() -> dict[str, int]:
    at = 0
    result: dict[str, int] = {}
    for record in (HEADER, HEADER_V3):
        for field in record.subcons:
            result[str(field.name)] = at
            at += field.sizeof()
    return result


_AT = _offsets()


class Tables(NamedTuple):
    """Where a qcow2 has its tables, as far as its header can be believed. Offsets are bytes.

    Attributes:
        fields: The header.
        extended: Whether L2 entries have 16 bytes.
        compression: Of compressed clusters; None where it is not known here.
        bitmaps: (offset, bytes, how many) of the bitmap directory; None where there is none that counts.
        complete: Whether all that has a refcount is found by what is read here.
    """

    fields: Fields
    extended: bool
    compression: CompressionType | None
    bitmaps: tuple[int, int, int] | None
    complete: bool

    @property
    def cluster_size(self) -> int:
        """Bytes in a cluster."""
        return 1 << self.fields.cluster_bits


class _Check:
    """The fields of one header."""

    def __init__(self, fields: Fields, file: HostFile, remarks: Remarks) -> None:
        self.fields = fields
        self.file = file
        self.remarks = remarks
        self._sound = True

    def require(
        self, holds: bool, field: str, expected: object, found: object, *, fatal: bool = False
    ) -> bool:
        if not holds:
            self.remarks.find(STRUCTURE, field, _AT[field], expected, found, HEADER_SECTION)
            self._sound &= not fatal
        return holds

    def is_sound(self) -> bool:
        """Return whether the tables can be looked for."""
        return self._sound

    def note(self, holds: bool, field: str, expected: object, found: object) -> None:
        if not holds:
            self.remarks.note(STRUCTURE, field, _AT[field], expected, found, HEADER_SECTION)


def check_header(file: HostFile, remarks: Remarks) -> Tables | None:
    """Check the header; return where the tables are, None where it cannot be told."""
    try:
        fields = read_fields(file)
    except FormatError as error:
        remarks.find(STRUCTURE, "", error.offset or 0, "a header of version 2 or 3", error, HEADER_SECTION)
        return None
    check = _Check(fields, file, remarks)
    bits = fields.cluster_bits
    check.require(
        MIN_CLUSTER_BITS <= bits <= MAX_CLUSTER_BITS, "cluster_bits", "9 to 21", f"{bits}", fatal=True
    )
    if not check.is_sound():
        return None
    compression = _check_features(check)
    extended = bool(fields.incompatible_features & IncompatibleFeatures.EXTENDED_L2)
    if extended:
        expected = f"{_LEAST_EXTENDED_BITS} or more, as L2 entries are extended"
        check.require(bits >= _LEAST_EXTENDED_BITS, "cluster_bits", expected, bits, fatal=True)
    order = fields.refcount_order
    check.require(order <= MAX_REFCOUNT_ORDER, "refcount_order", "0 to 6", order, fatal=True)
    _check_length(check)
    _check_places(check, extended)
    complete = _check_parts_elsewhere(check)
    bitmaps = _check_extensions(check)
    if not check.is_sound():
        return None
    return Tables(fields, extended, compression, bitmaps, complete)


def _check_features(check: _Check) -> CompressionType | None:
    """Check the masks of features, and the compression; return it where it is known."""
    fields = check.fields
    incompatible = fields.incompatible_features
    for bit, meaning in (
        (IncompatibleFeatures.DIRTY, "the dirty bit: it was not closed"),
        (IncompatibleFeatures.CORRUPT, "the corrupt bit: a writer has met damage"),
    ):
        check.require(not incompatible & bit, "incompatible_features", "an image that is in order", meaning)
    for field, value, known in (
        ("incompatible_features", incompatible, sum(IncompatibleFeatures)),
        ("compatible_features", fields.compatible_features, sum(CompatibleFeatures)),
        ("autoclear_features", fields.autoclear_features, sum(AutoclearFeatures)),
    ):
        unknown = value & ~known
        check.note(not unknown, field, "features that are known here", f"{unknown:#x} besides")
    announced = bool(incompatible & IncompatibleFeatures.COMPRESSION_TYPE)
    kind = fields.compression_type
    holds = announced == bool(kind)
    expected = (
        "another than 0, as its feature bit is set" if announced else "0, as its feature bit is not set"
    )
    check.require(holds, "compression_type", expected, kind)
    known_kind = kind < len(CompressionType)
    check.note(known_kind, "compression_type", "0 (zlib) or 1 (zstd)", f"{kind}: clusters are not read")
    return CompressionType(kind) if known_kind else None


def _check_length(check: _Check) -> None:
    fields = check.fields
    if fields.version < 3:
        return
    length = fields.header_length
    known = length in (HEADER_LENGTH_V3_MIN, HEADER_LENGTH_V3)
    check.note(known, "header_length", f"{HEADER_LENGTH_V3_MIN} or {HEADER_LENGTH_V3}", f"{length:,}")
    if length >= HEADER_LENGTH_V3:
        padding = check.file.read(HEADER_LENGTH_V3_MIN + 1, 7, STRUCTURE)
        check.require(not any(padding), "padding", "zeros", padding.hex())


def _check_places(check: _Check, extended: bool) -> None:
    """Check the size of the disk against its L1 table, and where the tables are."""
    fields, size = check.fields, check.file.size
    cluster = 1 << fields.cluster_bits
    check.note(
        fields.size % COMPRESSED_SECTOR == 0, "size", "whole sectors of 512 bytes", f"{fields.size:,} bytes"
    )
    needed = div_ceil(fields.size, cluster // (16 if extended else 8) * cluster)
    expected = f"{needed:,} to {MAX_L1_SIZE // 8:,}, for a disk of {fields.size:,} bytes"
    holds = needed <= fields.l1_size <= MAX_L1_SIZE // 8
    check.require(holds, "l1_size", expected, f"{fields.l1_size:,}", fatal=fields.l1_size > MAX_L1_SIZE // 8)
    clusters, most = fields.refcount_table_clusters, MAX_REFTABLE_SIZE // cluster
    check.require(
        0 < clusters <= max(most, 1), "refcount_table_clusters", f"1 to {most:,}", f"{clusters:,}", fatal=True
    )
    snapshots = fields.snapshots_offset
    inside = snapshots % cluster == 0 and snapshots <= size
    check.require(inside, "snapshots_offset", f"a cluster of the file's {size:,} bytes", f"{snapshots:,}")
    for name, offset, length in (
        ("l1_table_offset", fields.l1_table_offset, 8 * fields.l1_size),
        ("refcount_table_offset", fields.refcount_table_offset, clusters * cluster),
    ):
        place = offset % cluster == 0 and (offset > 0 or not length) and offset + length <= size
        expected = f"a cluster of the file, with {length:,} bytes from there on"
        behind = f", which the file's {size:,} bytes end before" if offset + length > size else ""
        check.require(place, name, expected, f"{offset:,}{behind}", fatal=True)


def _check_parts_elsewhere(check: _Check) -> bool:
    """Note what keeps the disk from being read; return whether all references are in the tables here."""
    fields = check.fields
    if fields.backing_file_offset:
        end = fields.backing_file_offset + fields.backing_file_size
        inside = fields.backing_file_offset >= fields.header_length and 0 < fields.backing_file_size <= 1023
        inside &= end <= min(1 << fields.cluster_bits, check.file.size)
        where = f"{fields.backing_file_size:,} bytes at {fields.backing_file_offset:,}"
        if check.require(
            inside, "backing_file_offset", "1 to 1,023 bytes behind the header, in the first cluster", where
        ):
            length = fields.backing_file_size
            name = check.file.read(fields.backing_file_offset, length, "qcow2 backing file name")
            check.note(False, "backing_file_offset", "a disk that is all here", f"the name {show(name)!r}")
    method = fields.crypt_method
    check.require(method in list(CryptMethod), "crypt_method", "0, 1 (AES) or 2 (LUKS)", method)
    check.note(not method, "crypt_method", "a disk without encryption", f"{method}: its key is not counted")
    external = fields.incompatible_features & IncompatibleFeatures.EXTERNAL_DATA_FILE
    found = "an external data file, which is not looked at"
    check.note(not external, "incompatible_features", "a disk that is all here", found)
    raw = fields.autoclear_features & AutoclearFeatures.RAW_EXTERNAL_DATA
    expected = "no raw external data, as there is no external data file"
    check.require(bool(external) or not raw, "autoclear_features", expected, f"{raw:#x}")
    snapshots = fields.nb_snapshots
    check.note(not snapshots, "nb_snapshots", "0: the disk is not read with some", f"{snapshots:,}")
    unknown = fields.incompatible_features & ~sum(IncompatibleFeatures)
    return not (method or unknown)


def _check_extensions(check: _Check) -> tuple[int, int, int] | None:
    """Check the header extensions; return the place of the bitmap directory."""
    bitmaps = None
    kinds_met: set[int] = set()
    ended = False
    limit = min(1 << check.fields.cluster_bits, check.file.size)
    for extension in extensions(check.file, check.fields):
        ended = extension.type == ExtensionType.END
        kinds_met.add(extension.type)
        kinds = {int(kind): kind.name for kind in ExtensionType}
        structure = f"qcow2 header extension {kinds.get(extension.type, hex(extension.type))}"
        at = extension.offset
        if len(extension.data) < extension.length:
            expected, found = f"an end before {limit:,}", f"{extension.length:,} bytes"
            check.remarks.find(structure, "length", at + 4, expected, found, EXTENSION_SECTION)
        if extension.type not in kinds:
            found = f"{extension.type:#010x}"
            check.remarks.note(structure, "type", at, "a type that is known here", found, EXTENSION_SECTION)
        if extension.type == ExtensionType.FEATURE_NAME_TABLE and extension.length % FEATURE_NAME.sizeof():
            expected, found = f"a multiple of {FEATURE_NAME.sizeof()}", f"{extension.length:,}"
            check.remarks.find(structure, "length", at + 4, expected, found, EXTENSION_SECTION)
        if extension.type == ExtensionType.BITMAPS:
            bitmaps = _bitmaps(check, extension, structure)
    said = check.fields.autoclear_features & AutoclearFeatures.BITMAPS
    holds = not said or ExtensionType.BITMAPS in kinds_met
    check.require(
        holds, "autoclear_features", "no bit for bitmaps, as there is no such extension", f"{said:#x}"
    )
    if not ended and check.fields.version >= 3:
        expected = "an extension of type 0 at the end"
        check.remarks.note(STRUCTURE, "", check.fields.header_length, expected, "none", EXTENSION_SECTION)
    return bitmaps


def _bitmaps(check: _Check, extension: Extension, structure: str) -> tuple[int, int, int] | None:
    """Return the place of the bitmap directory, None where it does not count, or is none."""
    if not check.fields.autoclear_features & AutoclearFeatures.BITMAPS:
        expected, found = "its autoclear bit", "bitmaps that are out of date"
        check.remarks.note(structure, "", extension.offset, expected, found, EXTENSION_SECTION)
        return None
    if extension.length < BITMAPS_EXTENSION.sizeof() or len(extension.data) < extension.length:
        expected, found = f"{BITMAPS_EXTENSION.sizeof()}", f"{extension.length}"
        check.remarks.find(structure, "length", extension.offset + 4, expected, found, EXTENSION_SECTION)
        return None
    record = BITMAPS_EXTENSION.parse(extension.data)
    offset, size = record.bitmap_directory_offset, record.bitmap_directory_size
    cluster = 1 << check.fields.cluster_bits
    # QEMU's limits: 65,535 bitmaps, directories of 64 MiB.
    if offset % cluster or not 0 < size <= 64 << 20 or not 0 < offset <= check.file.size - size:
        expected, found = "a place in the file, at a cluster", f"{size:,} bytes at {offset:,}"
        at = extension.offset + 24
        check.remarks.find(structure, "bitmap_directory_offset", at, expected, found, EXTENSION_SECTION)
        return None
    return offset, size, record.nb_bitmaps
