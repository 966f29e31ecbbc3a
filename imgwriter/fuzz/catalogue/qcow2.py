"""Deviations of a qcow2's header and tables. "accept" means that all of the disk can be read.

Spec: docs/interop/qcow2.txt in QEMU's sources; limits that are named QEMU's are those of its block/qcow2.h.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter import qcow2
from imgwriter.fuzz.catalogue.rows import ImageRow, Row, deviations_of, of_images
from imgwriter.fuzz.containers import qcow2_file
from imgwriter.fuzz.deviation import Deviation

HEADER = 'docs/interop/qcow2.txt, "Header"'
MAPPING = 'docs/interop/qcow2.txt, "Cluster mapping"'
LIMIT = f"{HEADER}; QEMU's limit"
_OPEN = f"{HEADER}; QEMU reads it"
_MOST_32, _MOST_64 = (1 << 32) - 1, (1 << 64) - 1
_L2_AT = 0x4000
_DATA_AT = 0x5000


def qcow2_deviations() -> Iterator[Deviation]:
    """Yield them: the header, version 3's part of it, the tables."""
    yield from deviations_of("qcow2", ["header"], qcow2_file, HEADER, _HEADER)
    yield from deviations_of("qcow2", ["header3"], qcow2_file, HEADER, _HEADER_3)
    yield from deviations_of("qcow2", ["l1"], qcow2_file, MAPPING, _L1)
    yield from deviations_of("qcow2", ["l2"], qcow2_file, MAPPING, _L2)
    rows: tuple[ImageRow, ...] = (
        ("size.within_header", "refuse", "the file ends within the header", lambda f: f.with_size(71)),
        ("size.header_alone", "refuse", "the file ends after the header", lambda f: f.with_size(512)),
        ("size.no_data", None, "the file ends before the stored cluster, which QEMU reads as zeros", lambda f: f.with_size(_DATA_AT)),
    )
    yield from of_images("qcow2", qcow2_file, HEADER, rows)


_HEADER = (
    Row("magic.zero", "refuse", "the magic is zeros", {"magic": bytes(4)}),
    Row("version.zero", "refuse", "the version is 0", {"version": 0}),
    Row("version.one", "refuse", "the version is 1, which has other fields", {"version": 1}),
    Row("version.two", "accept", "the version is 2: what follows its header is not read", {"version": 2}),
    Row("version.four", "refuse", "the version is 4", {"version": 4}),
    Row("version.largest", "refuse", "the version is 2^32 - 1", {"version": _MOST_32}),
    Row("backing_file.itself", None, "there is a backing file, whose name is in the header's zeros", {"backing_file_offset": 200, "backing_file_size": 8}, f"{HEADER}: part of the disk is elsewhere"),
    Row("backing_file.too_long", "refuse", "the backing file's name has 1,024 bytes", {"backing_file_offset": 200, "backing_file_size": 1024}),
    Row("backing_file.beyond", "refuse", "the backing file's name is beyond the file", {"backing_file_offset": 1 << 40, "backing_file_size": 8}),
    Row("cluster_bits.zero", "refuse", "cluster_bits is 0", {"cluster_bits": 0}),
    Row("cluster_bits.eight", "refuse", "cluster_bits is 8, one less than the least", {"cluster_bits": 8}),
    Row("cluster_bits.more", "refuse", "cluster_bits is 22, one more than the most", {"cluster_bits": 22}, LIMIT),
    Row("cluster_bits.shift_32", "refuse", "cluster_bits is 32", {"cluster_bits": 32}),
    Row("cluster_bits.shift_64", "refuse", "cluster_bits is 64", {"cluster_bits": 64}),
    Row("cluster_bits.largest", "refuse", "cluster_bits is 2^32 - 1", {"cluster_bits": _MOST_32}),
    Row("size.zero", "accept", "the disk has no bytes", {"size": 0}),
    Row("size.beyond_l1", "refuse", "the disk is larger than the L1 table can say", {"size": 1 << 23}),
    Row("size.signed_64", "refuse", "the disk has 2^63 bytes", {"size": 1 << 63}),
    Row("size.largest", "refuse", "the disk has 2^64 - 1 bytes", {"size": _MOST_64}),
    Row("crypt_method.aes", "refuse", "the disk is encrypted, with AES", {"crypt_method": 1}),
    Row("crypt_method.unknown", "refuse", "crypt_method is 3", {"crypt_method": 3}),
    Row("l1_size.zero", "refuse", "the L1 table has no entries", {"l1_size": 0}),
    Row("l1_size.one_less", "refuse", "the L1 table has one entry less than the disk needs", {"l1_size": 1}),
    Row("l1_size.one_more", "accept", "the L1 table has one entry more than the disk needs", {"l1_size": 3}),
    Row("l1_size.largest", "refuse", "the L1 table has 2^32 - 1 entries: 32 GiB", {"l1_size": _MOST_32}, LIMIT),
    Row("l1_table_offset.unaligned", "refuse", "the L1 table starts within a cluster", {"l1_table_offset": 0x3200}),
    Row("l1_table_offset.beyond", "refuse", "the L1 table is beyond the file", {"l1_table_offset": 1 << 40}),
    Row("l1_table_offset.largest", "refuse", "the L1 table's offset is 2^64 - 4,096", {"l1_table_offset": _MOST_64 - 4095}),
    Row("l1_table_offset.on_refcounts", None, "the L1 table is the refcount table", {"l1_table_offset": 0x1000}, _OPEN),
    Row("refcount_table_offset.unaligned", "refuse", "the refcount table starts within a cluster", {"refcount_table_offset": 0x1200}),
    Row("refcount_table_offset.beyond", "refuse", "the refcount table is beyond the file", {"refcount_table_offset": 1 << 40}),
    Row("refcount_table_clusters.zero", "refuse", "there is no refcount table", {"refcount_table_clusters": 0}),
    Row("refcount_table_clusters.largest", "refuse", "the refcount table has 2^32 - 1 clusters", {"refcount_table_clusters": _MOST_32}, LIMIT),
    Row("nb_snapshots.too_many", "refuse", "there are 65,537 snapshots, beyond the file", {"nb_snapshots": 65537, "snapshots_offset": 1 << 40}, LIMIT),
)

_HEADER_3 = (
    Row("incompatible_features.dirty", None, "the image was not closed", {"incompatible_features": 1}, _OPEN),
    Row("incompatible_features.corrupt", None, "the image is marked corrupt", {"incompatible_features": 2}, _OPEN),
    Row("incompatible_features.external", "refuse", "the clusters are in another file, which is not named", {"incompatible_features": 4}),
    Row("incompatible_features.extended", "refuse", "L2 entries are extended, in clusters below 16 KiB", {"incompatible_features": 16}),
    Row("incompatible_features.unknown", "refuse", "there is an incompatible feature that nobody knows", {"incompatible_features": 1 << 63}),
    Row("compatible_features.unknown", "accept", "there is a compatible feature that nobody knows", {"compatible_features": 1 << 63}),
    Row("autoclear_features.unknown", "accept", "there is an autoclear feature that nobody knows", {"autoclear_features": 1 << 63}),
    Row("refcount_order.one_bit", "accept", "refcounts have one bit", {"refcount_order": 0}),
    Row("refcount_order.more", "refuse", "refcounts have 128 bits", {"refcount_order": 7}),
    Row("refcount_order.largest", "refuse", "refcount_order is 2^32 - 1", {"refcount_order": _MOST_32}),
    Row("header_length.zero", "refuse", "header_length is 0", {"header_length": 0}),
    Row("header_length.short", "refuse", "header_length is 96, less than version 3's", {"header_length": 96}),
    Row("header_length.least", "accept", "header_length is 104: no compression type", {"header_length": 104}),
    Row("header_length.odd", "refuse", "header_length is 105, no multiple of 8", {"header_length": 105}),
    Row("header_length.beyond_cluster", "refuse", "the header is longer than the cluster that it is in", {"header_length": 4104}),
    Row("header_length.largest", "refuse", "header_length is 2^32 - 8", {"header_length": _MOST_32 - 7}),
    Row("compression_type.unannounced", "refuse", "compression_type is 1, without its feature", {"compression_type": 1}),
    Row("compression_type.zero", "refuse", "compression_type is 0, with its feature", {"incompatible_features": 8}),
    Row("compression_type.unknown", "refuse", "compression_type is 2", {"incompatible_features": 8, "compression_type": 2}),
)

_L1 = (
    Row("entry0.zero", "accept", "no L2 table: the disk is zeros", {"entry0": 0}),
    Row("entry0.not_copied", "accept", "an L1 entry lacks OFLAG_COPIED", {"entry0": _L2_AT}),
    Row("entry0.unaligned", "refuse", "an L2 table starts within a cluster", {"entry0": qcow2.OFLAG_COPIED | _L2_AT + 512}),
    Row("entry0.beyond", "refuse", "an L2 table is beyond the file", {"entry0": qcow2.OFLAG_COPIED | 1 << 40}),
    Row("entry0.on_l1", None, "an L2 table is the L1 table", {"entry0": qcow2.OFLAG_COPIED | 0x3000}, f"{MAPPING}; QEMU reads it"),
    Row("entry1.same", None, "two L1 entries have one L2 table", {"entry1": qcow2.OFLAG_COPIED | _L2_AT}, f"{MAPPING}; QEMU reads it"),
)

_L2 = (
    Row("entry0.zero", "accept", "a cluster is not stored", {"entry0": 0}),
    Row("entry0.zero_flag", "accept", "a stored cluster reads as zeros", {"entry0": qcow2.OFLAG_COPIED | _DATA_AT | 1}),
    Row("entry0.not_copied", "accept", "an L2 entry lacks OFLAG_COPIED", {"entry0": _DATA_AT}),
    Row("entry0.unaligned", "refuse", "a cluster starts within a cluster", {"entry0": qcow2.OFLAG_COPIED | _DATA_AT + 512}),
    Row("entry0.compressed_garbage", "refuse", "a compressed cluster is no such thing", {"entry0": qcow2.OFLAG_COMPRESSED | _DATA_AT}),
    Row("entry0.compressed_beyond", "refuse", "a compressed cluster is beyond the file", {"entry0": qcow2.OFLAG_COMPRESSED | 1 << 40}),
)
