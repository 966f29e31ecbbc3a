"""verify.containers.qcow2: refcounts, flags, places, bits and compressed data of images made by hand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter.filedata import Amount
from imgwriter.readers.hostfile import open_file
from imgwriter.verify.containers.qcow2 import verify_qcow2
from imgwriter.verify.containers.qcow2_references import References, Stretch, decoded
from imgwriter.verify.values import Result
from tests.unit.readers.images import COMPRESSED, COPIED, KiB, put, qcow2

BITS = 12
CLUSTER = 1 << BITS
# Cluster 0 header, 1 refcount table, 2 L1 table, 3 L2 table, 4 and 5 data, 6 compressed, 7 refcount block.
USED = 8
BLOCK = 7 * CLUSTER
L1_AT, L2_AT = 2 * CLUSTER, 3 * CLUSTER
DATA = b"data" * KiB


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    return packer.compress(content) + packer.flush()


PACKED = deflated(b"packed" * 682 + b"1234")
# Descriptor: offset in the low 62 - (12 - 8) bits, then the additional sectors: none.
PACKED_ENTRY = COMPRESSED | 6 * CLUSTER


class Image:
    """A whole image: guest clusters 0 and 1 plain, 2 compressed, 4 compressed in the same host cluster."""

    def __init__(self, order: int = 4, **fields: object) -> None:
        second = PACKED_ENTRY + 512
        entries = {0: 4 * CLUSTER | COPIED, 1: 5 * CLUSTER | COPIED, 2: PACKED_ENTRY, 4: second}
        data = {4 * CLUSTER: DATA, 5 * CLUSTER: DATA, 6 * CLUSTER: PACKED, 6 * CLUSTER + 512: PACKED}
        self.image = qcow2(
            entries, 1 << 20, data=data, cluster_bits=BITS, clusters=USED, refcount_order=order, **fields
        )
        self.bits = 1 << order
        self.put(">Q", CLUSTER, BLOCK)
        for cluster in range(USED):
            self.count(cluster, 1)
        if order:
            self.count(6, 2)

    def put(self, code: str, at: int, *values: object) -> Image:
        put(self.image, at, code, *values)
        return self

    def count(self, cluster: int, value: int) -> Image:
        """Set a refcount. Those under 8 bits begin in the lowest bits of a byte. Spec: "Refcount block"."""
        if self.bits >= 8:
            code = {8: ">B", 16: ">H", 32: ">I", 64: ">Q"}[self.bits]
            return self.put(code, BLOCK + cluster * self.bits // 8, value)
        at, shift = BLOCK + cluster * self.bits // 8, cluster * self.bits % 8
        mask = (1 << self.bits) - 1
        self.image[at] = self.image[at] & ~(mask << shift) & 0xFF | value << shift
        return self

    def verify(self, path: Path, seen: list[tuple[Amount, Amount]] | None = None) -> Result:
        path.write_bytes(self.image)
        return verify_qcow2(
            open_file(bytes(path)), None if seen is None else lambda d, t: seen.append((d, t))
        )


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
def test_nothing_is_said_about_an_image_that_is_whole(tmp_path: Path, order: int) -> None:
    seen: list[tuple[Amount, Amount]] = []
    assert Image(order).verify(tmp_path / "image", seen) == Result()
    assert seen == [(Amount(1 << 20, 0), Amount(1 << 20, 0))]


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 5, 6])
def test_refcounts_of_every_width_are_decoded(order: int) -> None:
    bits = 1 << order
    values = [index % min(1 << bits, 251) for index in range(64)]
    packed = sum(value << index * bits for index, value in enumerate(values)).to_bytes(8 * bits, "little")
    # Spec: big-endian from 8 bits on, which reverses the bytes of each.
    if bits > 8:
        size = bits // 8
        packed = b"".join(packed[at : at + size][::-1] for at in range(0, len(packed), size))
    assert list(decoded(packed, bits)) == values


@pytest.mark.parametrize("order", [1, 4, 6])
def test_a_refcount_too_low_is_a_finding(tmp_path: Path, order: int) -> None:
    result = Image(order).count(7, 0).verify(tmp_path / "image")
    (finding,) = result.findings
    assert (finding.structure, finding.field) == ("qcow2 refcount block", "refcount")
    assert finding.expected == "1, the references to cluster 7"
    assert finding.found == "0: too low"
    assert finding.offset == BLOCK + 7 * (1 << order) // 8
    assert finding.section == 'qcow2.txt, "Host cluster management"'


def test_a_refcount_of_several_references_too_low(tmp_path: Path) -> None:
    (finding,) = Image().count(6, 1).verify(tmp_path / "image").findings
    assert finding.expected == "2, the references to cluster 6"


@pytest.mark.parametrize(("cluster", "found"), [(7, "2: too high"), (100, "2: leaked")])
def test_a_refcount_too_high_is_a_leak_and_a_note(tmp_path: Path, cluster: int, found: str) -> None:
    """As qemu-img check: leaks waste room, and are no errors."""
    result = Image().count(cluster, 2).verify(tmp_path / "image")
    assert result.findings == ()
    assert [note.found for note in result.notes] == [found]


def test_leaks_in_a_row_are_one(tmp_path: Path) -> None:
    image = Image()
    for cluster in range(20, 30):
        image.count(cluster, 1)
    (note,) = image.verify(tmp_path / "image").notes
    assert note.expected == "0, the references to clusters 20 to 29"


@pytest.mark.parametrize("at", [L1_AT, L2_AT, L2_AT + 8])
def test_the_copied_flag_is_held_against_the_refcount(tmp_path: Path, at: int) -> None:
    image = Image()
    image.image[at] ^= 0x80
    (finding,) = image.verify(tmp_path / "image").findings
    assert finding.expected == "OFLAG_COPIED set, as the refcount is 1"
    assert finding.offset == at
    table = "L1" if at == L1_AT else "L2"
    assert (finding.structure, finding.field) == (f"qcow2 {table} table", f"entry {(at - L2_AT) // 8 or 0}" if
                                                  table == "L2" else "entry 0")  # fmt: skip


def test_a_refcount_of_2_asks_for_no_copied_flag(tmp_path: Path) -> None:
    result = Image().count(4, 2).verify(tmp_path / "image")
    assert [f.expected for f in result.findings] == ["OFLAG_COPIED clear, as the refcount is 2"]
    assert [n.found for n in result.notes] == ["2: too high"]


def test_no_copied_flag_on_a_compressed_cluster(tmp_path: Path) -> None:
    findings = Image().put(">Q", L2_AT + 16, PACKED_ENTRY | COPIED).verify(tmp_path / "image").findings
    assert [f.expected for f in findings] == ["no OFLAG_COPIED on a compressed cluster"]


DAMAGES: dict[str, tuple[Callable[[Image], object], str, str, int]] = {
    "L1 reserved low": (lambda i: i.put(">Q", L1_AT, L2_AT | COPIED | 2), "qcow2 L1 table", "entry 0", L1_AT),
    "L1 reserved high": (
        lambda i: i.put(">Q", L1_AT, L2_AT | COPIED | 1 << 60), "qcow2 L1 table", "entry 0", L1_AT
    ),
    "L1 beyond": (lambda i: i.put(">Q", L1_AT, USED * CLUSTER | COPIED), "qcow2 L1 table", "entry 0", L1_AT),
    "L1 unaligned": (lambda i: i.put(">Q", L1_AT, L2_AT + 512 | COPIED), "qcow2 L1 table", "entry 0", L1_AT),
    "L1 a flag alone": (lambda i: i.put(">Q", L1_AT, COPIED), "qcow2 L1 table", "entry 0", L1_AT),
    "L2 reserved": (lambda i: i.put(">Q", L2_AT, 4 * CLUSTER | COPIED | 2), "qcow2 L2 table", "entry 0",
                    L2_AT),
    "L2 reserved high": (
        lambda i: i.put(">Q", L2_AT, 4 * CLUSTER | COPIED | 1 << 61), "qcow2 L2 table", "entry 0", L2_AT
    ),
    "L2 beyond": (
        lambda i: i.put(">Q", L2_AT, USED * CLUSTER | COPIED), "qcow2 L2 table", "entry 0", L2_AT
    ),
    "L2 unaligned": (
        lambda i: i.put(">Q", L2_AT, 4 * CLUSTER + 512 | COPIED), "qcow2 L2 table", "entry 0", L2_AT
    ),
    "L2 a flag alone": (lambda i: i.put(">Q", L2_AT + 24, COPIED), "qcow2 L2 table", "entry 3", L2_AT + 24),
    "compressed beyond": (
        lambda i: i.put(">Q", L2_AT + 16, COMPRESSED | USED * CLUSTER), "qcow2 L2 table", "entry 2",
        L2_AT + 16
    ),
    "compressed data": (
        lambda i: i.put(">B", 6 * CLUSTER, 0xFF), "qcow2 L2 table", "entry 2", L2_AT + 16
    ),
    "two in one place": (lambda i: i.put(">Q", L2_AT + 8, 4 * CLUSTER | COPIED), "qcow2 L2 table", "",
                         4 * CLUSTER),
    "data over a table": (lambda i: i.put(">Q", L2_AT + 8, L1_AT | COPIED), "qcow2 L2 table", "", L1_AT),
    "compressed twice": (lambda i: i.put(">Q", L2_AT + 32, PACKED_ENTRY), "qcow2 L2 table", "", 6 * CLUSTER),
    "compressed within": (lambda i: i.put(">Q", L2_AT + 16, PACKED_ENTRY | 1 << 58), "qcow2 L2 table", "",
                          6 * CLUSTER + 512),
    "refcount table reserved": (lambda i: i.put(">Q", CLUSTER, BLOCK | 1), "qcow2 refcount table", "entry 0",
                                CLUSTER),
    "refcount block beyond": (lambda i: i.put(">Q", CLUSTER, USED * CLUSTER), "qcow2 refcount table",
                              "entry 0", CLUSTER),
    "refcount block twice": (lambda i: i.put(">Q", CLUSTER + 8, BLOCK), "qcow2 L2 table", "", BLOCK),
    "no refcount block": (lambda i: i.put(">Q", CLUSTER, 0), "qcow2 refcount table", "refcount", 0),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_named(tmp_path: Path, damage: str) -> None:
    change, structure, field, offset = DAMAGES[damage]
    image = Image()
    change(image)
    findings = image.verify(tmp_path / "image").findings
    assert (structure, field, offset) in {(f.structure, f.field, f.offset) for f in findings}


def test_a_zero_cluster_is_of_version_3(tmp_path: Path) -> None:
    assert Image().put(">Q", L2_AT + 24, 1).verify(tmp_path / "image") == Result()
    old = Image(version=2, header_length=0, compression_type=0)
    (finding,) = old.put(">Q", L2_AT + 24, 1).verify(tmp_path / "image").findings
    assert finding.expected == "bits 0 to 8, 56 to 61 zero"


# Offsets: docs/interop/qcow2.txt, "Header". (offset, code, value), field.
HEADER_DAMAGES = {
    "cluster bits 8": ((20, ">I", 8), "cluster_bits"), "cluster bits 22": ((20, ">I", 22), "cluster_bits"),
    "crypt": ((32, ">I", 3), "crypt_method"),
    "L1 too small": ((36, ">I", 0), "l1_size"), "L1 too large": ((36, ">I", 1 << 23), "l1_size"),
    "L1 unaligned": ((40, ">Q", L1_AT + 8), "l1_table_offset"),
    "L1 nowhere": ((40, ">Q", 0), "l1_table_offset"),
    "refcounts unaligned": ((48, ">Q", 8), "refcount_table_offset"),
    "no refcount table": ((56, ">I", 0), "refcount_table_clusters"),
    "backing file": ((8, ">QI", 1 << 40, 10), "backing_file_offset"),
    "dirty": ((72, ">Q", 1), "incompatible_features"), "corrupt": ((72, ">Q", 2), "incompatible_features"),
    "refcount order": ((96, ">I", 7), "refcount_order"), "length": ((100, ">I", 109), ""),
    "compression unannounced": ((104, ">B", 1), "compression_type"),
    "compression announced": ((72, ">Q", 8), "compression_type"),
    "snapshots": ((64, ">Q", 512), "snapshots_offset"),
    "snapshots beyond": ((64, ">Q", (USED + 1) * CLUSTER), "snapshots_offset"),
    "raw external": ((88, ">Q", 2), "autoclear_features"), "bitmaps": ((88, ">Q", 1), "autoclear_features"),
    "padding": ((108, ">B", 1), "padding"), "extended": ((72, ">Q", 16), "cluster_bits"),
    "version": ((4, ">I", 4), ""), "magic": ((0, ">I", 0), ""),
}  # fmt: skip


@pytest.mark.parametrize("damage", HEADER_DAMAGES)
def test_a_field_of_the_header_is_named(tmp_path: Path, damage: str) -> None:
    (at, code, *values), field = HEADER_DAMAGES[damage]
    findings = Image().put(str(code), int(str(at)), *values).verify(tmp_path / "image").findings
    assert field in {f.field for f in findings if f.structure == "qcow2 header"}


HEADER_NOTES = {
    "unknown incompatible": ((72, ">Q", 1 << 40), "incompatible_features"),
    "unknown compatible": ((80, ">Q", 2), "compatible_features"),
    "unknown autoclear": ((88, ">Q", 4), "autoclear_features"),
    "encryption": ((32, ">I", 2), "crypt_method"),
    "size": ((24, ">Q", (1 << 20) - 1), "size"),
    "longer header": ((100, ">I", 120), "header_length"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADER_NOTES)
def test_what_is_not_known_or_not_looked_at_is_a_note(tmp_path: Path, kind: str) -> None:
    (at, code, value), field = HEADER_NOTES[kind]
    result = Image().put(str(code), int(str(at)), value).verify(tmp_path / "image")
    assert field in {note.field for note in result.notes}
    assert result.findings == ()


@pytest.mark.parametrize(
    ("extension", "field", "damage"),
    [
        (struct.pack(">II", 0x12345678, 4) + b"four\0\0\0\0", "type", False),
        (struct.pack(">II", 0x6803F857, 47) + bytes(48), "length", True),
        (struct.pack(">II", 0x6803F857, 48) + bytes(48), "", False),
        (struct.pack(">II", 0xE2792ACA, 1 << 20), "length", True),
    ],
)
def test_header_extensions(tmp_path: Path, extension: bytes, field: str, damage: bool) -> None:
    result = Image().put(f">{len(extension)}s", 112, extension).verify(tmp_path / "image")
    assert (field in {f.field for f in result.findings}) == damage
    if field and not damage:
        assert field in {note.field for note in result.notes}


def test_a_file_that_ends_within_a_table(tmp_path: Path) -> None:
    image = Image()
    image.image = image.image[: L2_AT + 100]
    assert image.verify(tmp_path / "image").findings


@pytest.mark.parametrize("length", [0, 4, 71, 72, 103, 104, 111])
def test_a_file_that_ends_within_the_header(tmp_path: Path, length: int) -> None:
    image = Image()
    image.image = image.image[:length]
    assert image.verify(tmp_path / "image").findings


# Extended L2 entries. Spec: "Extended L2 Entries".


@pytest.mark.parametrize(
    ("entry", "bitmap", "expected"),
    [
        (4 << 14 | COPIED, 1 | 1 << 32, "subclusters allocated or zero, not both"),
        (0, 1, "no subcluster allocated, as the entry has no offset"),
        (4 << 14 | COPIED | 1, 1, "bits 0 to 8, 56 to 61 zero"),
        (4 << 14 | COPIED, 1 | 2 << 32, None),
        (0, 1 << 32, None),
    ],
)
def test_extended_entries(tmp_path: Path, entry: int, bitmap: int, expected: str | None) -> None:
    size = 1 << 14
    image = qcow2({0: (entry, bitmap)}, 1 << 20, cluster_bits=14, clusters=6)
    put(image, size, ">Q", 5 * size)
    put(image, 5 * size, ">6H", 1, 1, 1, 1, int(entry != 0), 1)
    path = tmp_path / "image"
    path.write_bytes(image)
    result = verify_qcow2(open_file(bytes(path)))
    assert [f.expected for f in result.findings] == ([] if expected is None else [expected])


# References


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], []),
        ([(1, 3)], [(1, 3, 1)]),
        ([(1, 3), (3, 5)], [(1, 5, 1)]),
        ([(3, 5), (1, 3)], [(1, 3, 1), (3, 5, 1)]),
        ([(1, 9), (2, 3)], [(1, 2, 1), (2, 3, 2), (3, 9, 1)]),
        ([(1, 3), (1, 3), (1, 3)], [(1, 3, 3)]),
        ([(0, 2), (5, 6), (1, 7)], [(0, 1, 1), (1, 2, 2), (2, 5, 1), (5, 6, 2), (6, 7, 1)]),
        ([(4, 4)], []),
    ],
)
def test_references_are_counted(runs: list[tuple[int, int]], expected: list[tuple[int, int, int]]) -> None:
    references = References()
    for low, high in runs:
        references.add(low, high)
    assert list(references.stretches()) == [Stretch(*each) for each in expected]


# A file of which the end is missing


@pytest.mark.parametrize("refcount", [0, 1])
@pytest.mark.parametrize("more", [0, 1, 5])
def test_clusters_behind_the_end_are_one_finding(tmp_path: Path, more: int, refcount: int) -> None:
    """What the refcounts say of them is not compared: it tells that they were there."""
    image = Image()
    for number in range(more + 1):
        cluster = 20 + 2 * number
        image.put(">Q", L2_AT + 8 * (10 + number), cluster * CLUSTER | COPIED).count(cluster, refcount)
    result = image.verify(tmp_path / "image")
    (finding,) = result.findings
    assert (finding.structure, finding.field) == ("qcow2 L2 table", "entry 10")
    assert result.notes == ()
    entries = {0: "", 1: "1 entry more", 5: "5 entries more"}[more]
    stop = (20 + 2 * more + 1) * CLUSTER
    assert (f"too: {entries}, up to byte {stop:,}" in finding.found) is bool(more)
    assert finding.found.endswith("; the file is cut off") is bool(refcount)
    assert finding.expected.endswith(": get the whole of the file") is bool(refcount)


def test_without_its_refcounts_a_file_that_is_cut_off_has_one_finding(tmp_path: Path) -> None:
    image = Image()
    image.image = image.image[:BLOCK]
    result = image.verify(tmp_path / "image")
    assert [(f.structure, f.field) for f in result.findings] == [("qcow2 refcount table", "entry 0")]
    unread = "a block that is not read: the refcounts of clusters 0 to 2,047 are not compared"
    assert [n.found for n in result.notes] == [unread]


def test_a_compressed_cluster_that_ends_behind_the_file_is_missing(tmp_path: Path) -> None:
    image = Image()
    packed = deflated(bytes(range(256)) * 16)
    image.put(f">{len(packed)}s", 6 * CLUSTER + 512, packed)
    image.image = image.image[: 6 * CLUSTER + 520]
    fields = [f.field for f in image.verify(tmp_path / "image").findings]
    assert len(fields) == 1


# An entry that leads nowhere leaves out what it would have led to, and no more. What qemu-img check says of
# the same damages: tests/compat/test_verify.py.

FAR = 520
"""A cluster whose refcount, of 64 bits, is in the second block: each has 512."""
SECOND = 8 * CLUSTER


def with_two_blocks() -> Image:
    image = Image(6)
    image.image += bytes((FAR + 1 - USED) * CLUSTER)
    image.put(">Q", CLUSTER + 8, SECOND).count(8, 1)
    return image.put(">Q", L2_AT + 80, FAR * CLUSTER | COPIED).put(">Q", SECOND + 8 * (FAR - 512), 1)


def in_table(result: Result) -> list[tuple[str, int]]:
    return [(f.field, f.offset) for f in result.findings if f.structure == "qcow2 refcount table"]


# A bit that leads behind the end of the file, and one that is of no cluster's offset.
NOWHERE = [1 << 40, 1 << 10]


def test_two_blocks_are_read(tmp_path: Path) -> None:
    assert with_two_blocks().verify(tmp_path / "image") == Result()


@pytest.mark.parametrize("bit", NOWHERE)
def test_without_its_first_block_the_clusters_of_the_second_are_compared(bit: int, tmp_path: Path) -> None:
    image = with_two_blocks().put(">Q", CLUSTER, BLOCK ^ bit)
    for refcount, found in ((1, []), (0, ["0: too low"])):
        result = image.put(">Q", SECOND + 8 * (FAR - 512), refcount).verify(tmp_path / "image")
        assert in_table(result) == [("entry 0", CLUSTER)]
        assert [f.found for f in result.findings if f.field == "refcount"] == found
        assert [n.found for n in result.notes] == [
            "a block that is not read: the refcounts of clusters 0 to 511 are not compared"
        ]


@pytest.mark.parametrize("bit", NOWHERE)
def test_without_its_second_block_the_clusters_of_the_first_are_compared(bit: int, tmp_path: Path) -> None:
    """The block that is not found has a refcount, which is no leak."""
    image = with_two_blocks().put(">Q", CLUSTER + 8, SECOND ^ bit)
    for refcount, found in ((1, []), (0, ["0: too low"])):
        result = image.count(2, refcount).verify(tmp_path / "image")
        assert in_table(result) == [("entry 1", CLUSTER + 8)]
        assert [f.found for f in result.findings if f.field == "refcount"] == found
        assert len(result.findings) == 1 + len(found)
        assert [(n.field, n.offset, n.found) for n in result.notes] == [
            (
                "entry 1",
                CLUSTER + 8,
                "a block that is not read: the refcounts of clusters 512 to 1,023 are not compared",
            ),
            (
                "refcount",
                BLOCK + 8 * 8,
                "1 cluster with more: leaks, or tables that were not read refer to them",
            ),
        ]


def test_blocks_in_a_row_that_are_not_read_are_one_note(tmp_path: Path) -> None:
    image = with_two_blocks()
    for index in (1, 2, 3, 5):
        image.put(">Q", CLUSTER + 8 * index, 1 << 40)
    notes = [(n.field, n.found) for n in image.verify(tmp_path / "image").notes[:2]]
    assert notes == [
        ("entries 1 to 3",
         "a block that is not read: the refcounts of clusters 512 to 2,047 are not compared"),
        ("entry 5",
         "a block that is not read: the refcounts of clusters 2,560 to 3,071 are not compared"),
    ]  # fmt: skip


def test_a_block_that_is_that_of_two_ranges_is_not_read_for_the_second(tmp_path: Path) -> None:
    result = with_two_blocks().put(">Q", CLUSTER + 8, BLOCK).verify(tmp_path / "image")
    assert {f.found for f in result.findings} == {"1: too low", "cluster 7 in 2 places"}
    assert [n.field for n in result.notes] == ["entry 1", "refcount"]


@pytest.mark.parametrize("bit", NOWHERE)
@pytest.mark.parametrize(
    ("refcount", "found"),
    [(1, []), (0, [("at least 1, the references to cluster 2", "0: too low")])],
)
def test_without_an_l2_table_a_refcount_is_too_low_but_never_too_high(
    refcount: int, found: list[tuple[str, str]], bit: int, tmp_path: Path
) -> None:
    image = Image().put(">Q", L1_AT, L2_AT ^ bit | COPIED).count(2, refcount)
    result = image.verify(tmp_path / "image")
    table = [f for f in result.findings if f.structure == "qcow2 L1 table"]
    assert [(f.field, f.offset) for f in table] == [("entry 0", L1_AT)]
    assert [(f.expected, f.found) for f in result.findings if f.field == "refcount"] == found
    assert len(result.findings) == 1 + len(found)
    # The table, two clusters, and the one that two compressed ones are in.
    assert [(n.offset, n.found) for n in result.notes] == [
        (BLOCK + 2 * 3, "4 clusters with more: leaks, or tables that were not read refer to them")
    ]


def test_without_an_l2_table_flags_are_held_against_refcounts(tmp_path: Path) -> None:
    """Of an entry that is there, in the other table."""
    image = Image()
    image.image += bytes(CLUSTER)
    # A disk of two L2 tables: the second is cluster 8, and holds cluster 5.
    image.put(">Q", 24, 4 << 20).put(">I", 36, 2).put(">Q", L1_AT + 8, 8 * CLUSTER | COPIED).count(8, 1)
    image.put(">Q", L2_AT + 8, 0).put(">Q", 8 * CLUSTER, 5 * CLUSTER | COPIED)
    assert image.verify(tmp_path / "image") == Result()
    image.put(">Q", L1_AT, 1 << 40).put(">Q", 8 * CLUSTER, 5 * CLUSTER)
    findings = image.verify(tmp_path / "image").findings
    assert [(f.structure, f.offset) for f in findings] == [
        ("qcow2 L2 table", 8 * CLUSTER),
        ("qcow2 L1 table", L1_AT),
    ]


EXTERNAL = 4
"""The bit of incompatible_features."""


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (0, None),
        (20 * CLUSTER | COPIED, None),
        (20 * CLUSTER, None),
        (19 * CLUSTER | COPIED, f"{20 * CLUSTER:,}, the cluster's place on the disk"),
        (COPIED, f"{20 * CLUSTER:,}, the cluster's place on the disk"),
        (PACKED_ENTRY, "no compressed cluster, as the data are in an external file"),
        (20 * CLUSTER | COPIED | 2, "bits 1 to 8, 56 to 61 zero"),
    ],
)
def test_clusters_in_an_external_data_file(entry: int, expected: str | None, tmp_path: Path) -> None:
    """Spec: "Header", bit 2: each at its place on the disk, also at 0; none compressed, none counted."""
    image = Image(incompatible_features=EXTERNAL)
    image.put(">5Q", L2_AT, COPIED, CLUSTER | COPIED, 0, 0, 0).put(">Q", L2_AT + 8 * 20, entry)
    for cluster in (4, 5, 6):
        image.count(cluster, 0)
    result = image.verify(tmp_path / "image")
    assert [f.expected for f in result.findings] == ([] if expected is None else [expected])
    assert [n.found for n in result.notes] == ["an external data file, which is not looked at"]
    result = image.count(7, 0).count(4, 1).verify(tmp_path / "image")
    assert "0: too low" in {f.found for f in result.findings}
    assert "1: leaked" in {n.found for n in result.notes}


@pytest.mark.parametrize(
    ("snapshot_l1", "named"),
    [(L1_AT, False), ((USED + 1) * CLUSTER, True), (512, True)],
)
def test_without_a_snapshots_l1_table_nothing_is_a_leak(
    snapshot_l1: int, named: bool, tmp_path: Path
) -> None:
    """Spec: "Snapshots": l1_table_offset, l1_size, then 32 bytes that say nothing of tables."""
    image = Image(nb_snapshots=1, snapshots_offset=USED * CLUSTER)
    image.image += bytes(CLUSTER)
    image.put(">QI", USED * CLUSTER, snapshot_l1, 1).count(USED, 1).count(4, 3)
    result = image.verify(tmp_path / "image")
    assert [n.found for n in result.notes if n.field == "refcount"] == [
        "1 cluster with more: leaks, or tables that were not read refer to them" if named else "3: too high"
    ]
    tables = [f.structure for f in result.findings if f.field == "entry 0" and "snapshot" in f.structure]
    assert tables == (["qcow2 snapshot table"] if named else [])


def test_reserved_bits_alone_lead_nowhere(tmp_path: Path) -> None:
    """An entry of the refcount table that has them, and no offset: refcounts are compared all the same."""
    result = Image().put(">Q", CLUSTER + 8, 1).count(7, 0).verify(tmp_path / "image")
    fields = [(f.structure, f.field) for f in result.findings]
    assert fields == [("qcow2 refcount table", "entry 1"), ("qcow2 refcount block", "refcount")]
    assert result.notes == ()
