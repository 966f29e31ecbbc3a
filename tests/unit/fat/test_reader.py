"""fat.reader: a volume made here byte by byte, its names, chains and times, and each way to be damaged."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imgwriter import fat
from imgwriter.errors import FormatError
from imgwriter.extent import Bytes, Data, Extent, Volume, extent
from imgwriter.fat.chains import PAGE, Claims, Table
from imgwriter.fat.reader import FileSystem, Node, looks_like_fat, read_file_system
from imgwriter.fat.structures import moment, stamp
from imgwriter.filedata import HandleSlice, SharedFile
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.units import MiB
from imgwriter.window import Window
from tests.unit.fat.trees import MTIME_NS, file, inventory

# FAT12: boot sector, a FAT of 6 sectors, a root of 64 entries (4 sectors), clusters of 512 bytes.
FAT_AT, ROOT_AT, DATA_AT = 512, 512 + 6 * 512, 512 + 6 * 512 + 4 * 512
CLUSTERS = 1000
SIZE = DATA_AT + CLUSTERS * 512
END = 0xFFF

# Offsets and widths: FAT specification, 3.1 and 3.2.
BOOT = {
    "BPB_BytsPerSec": (11, "<H", 512), "BPB_SecPerClus": (13, "<B", 1), "BPB_RsvdSecCnt": (14, "<H", 1),
    "BPB_NumFATs": (16, "<B", 1), "BPB_RootEntCnt": (17, "<H", 64), "BPB_TotSec16": (19, "<H", SIZE // 512),
    "BPB_Media": (21, "<B", 0xF8), "BPB_FATSz16": (22, "<H", 6), "BPB_TotSec32": (32, "<I", 0),
}  # fmt: skip


def content(data: Data | None) -> bytes:
    return b"".join(bytes(c) for c in data.chunks(0, len(data))) if data is not None else b""


def volume_of(image: bytes | bytearray) -> Volume:
    return Volume(len(image), [extent(0, Bytes(bytes(image)), "volume")] if image else [])


def entry(short: bytes, cluster: int = 0, size: int = 0, attributes: int = 0x20, **fields: int) -> bytes:
    """Return a directory entry. Spec: FAT specification, 6."""
    return struct.pack(
        "<11sBBBHHHHHHHI", short, attributes, fields.get("nt_res", 0), fields.get("tenths", 0),
        fields.get("crt_time", 0), fields.get("crt_date", 0), fields.get("acc_date", 0),
        fields.get("high", 0), fields.get("wrt_time", 0), fields.get("wrt_date", 0x21), cluster, size,
    )  # fmt: skip


def checksum(short: bytes) -> int:
    total = 0
    for byte in short:
        total = ((total & 1) << 7 | total >> 1) + byte & 0xFF
    return total


def slots(name: str, short: bytes) -> list[bytes]:
    """Return the long-name entries before a short one, first to last as on the disk. Spec: 7."""
    units = name.encode("utf-16-le", "surrogatepass")
    if len(units) % 26:
        units += b"\0\0"
    units += b"\xff" * (-len(units) % 26)
    count = len(units) // 26
    result = []
    for n in range(count, 0, -1):
        part = units[26 * (n - 1) : 26 * n]
        order = n | (0x40 if n == count else 0)
        result.append(
            struct.pack("<B10sBBB12sH4s", order, part[:10], 15, 0, checksum(short), part[10:22], 0, part[22:])
        )
    return result


def long_entry(name: str, short: bytes, cluster: int = 0, size: int = 0, **fields: int) -> bytes:
    return b"".join(slots(name, short)) + entry(short, cluster, size, **fields)


def image_of(
    root: bytes = b"",
    links: Mapping[int, int] | None = None,
    clusters: Mapping[int, bytes] | None = None,
    boot: Mapping[str, int] | None = None,
) -> bytearray:
    """Return a FAT12 volume with these FAT entries and clusters; fields of the boot sector can be set."""
    image = bytearray(SIZE)
    image[:11] = b"\xeb\x3c\x90handmade"
    for name, (at, code, value) in BOOT.items():
        struct.pack_into(code, image, at, (boot or {}).get(name, value))
    image[38:62] = struct.pack("<BI11s8s", 0x29, 0xABCD1234, b"BOOTLABEL  ", b"FAT12   ")
    image[62:66] = b"code"
    image[510:512] = b"\x55\xaa"
    for cluster, value in {0: 0xFF8, 1: END, **(links or {})}.items():
        at = FAT_AT + cluster * 3 // 2
        pair = int.from_bytes(image[at : at + 2], "little")
        pair |= value << 4 if cluster % 2 else value
        image[at : at + 2] = pair.to_bytes(2, "little")
    image[ROOT_AT : ROOT_AT + len(root)] = root
    for cluster, piece in (clusters or {}).items():
        at = DATA_AT + (cluster - 2) * 512
        image[at : at + len(piece)] = piece
    return image


def opened(image: bytes | bytearray, offset: int = 0, size: int | None = None) -> FileSystem:
    return read_file_system(volume_of(image), offset, size)


def names(image: bytes | bytearray) -> list[str]:
    entries = opened(image).tree().entries
    assert entries is not None
    return [name.decode("utf-8", "surrogatepass") for name in entries]


def found(image: bytes | bytearray, *path: bytes) -> Node:
    node: Inode = opened(image).tree()
    for name in path:
        assert node.entries is not None
        node = node.entries[name]
    assert isinstance(node, Node)
    return node


# Boot sector


def test_the_boot_sector_is_read_field_by_field() -> None:
    system = opened(image_of())
    assert {name: system.boot.fields[name] for name in BOOT} == {
        name: value for name, (_, _, value) in BOOT.items()
    }
    assert (system.volume_id, system.boot.label, system.label()) == (0xABCD1234, b"BOOTLABEL  ", "BOOTLABEL")
    assert (system.boot.code[:5], len(system.boot.code), system.boot.signed) == (b"code\0", 448, True)
    layout = system.layout
    assert (layout.bits, layout.clusters, layout.sector_size, layout.cluster_size) == (12, CLUSTERS, 512, 512)
    assert (layout.fat_start, layout.root_start, layout.data_start) == (FAT_AT, ROOT_AT, DATA_AT)
    assert (system.fsinfo, system.backup_boot()) == (None, None)


def test_the_root_directory_s_label_is_the_one_that_counts() -> None:
    root = entry(b"FILE       ") + b"\xe5" + entry(b"DELETED    ", attributes=8)[1:]
    assert opened(image_of(root + entry(b"R\x99T  LABEL ", attributes=8))).label() == "RÖT  LABEL"
    assert opened(image_of(entry(b"NO NAME    ", attributes=8))).label() == ""
    image = image_of()
    image[43:54] = b"NO NAME    "
    assert opened(image).label() == ""


@pytest.mark.parametrize(
    ("signature", "number", "label"),
    [(0x29, 0xABCD1234, b"BOOTLABEL  "), (0x28, 0xABCD1234, None), (0, None, None)],
)
def test_identifiers_are_there_where_the_boot_sector_says_so(
    signature: int, number: int | None, label: bytes | None
) -> None:
    image = image_of()
    image[38] = signature
    assert (opened(image).volume_id, opened(image).boot.label) == (number, label)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("BPB_BytsPerSec", [0, 1, 256, 511, 513, 8192]),
        ("BPB_SecPerClus", [0, 3, 255]),
        ("BPB_RsvdSecCnt", [0]),
        ("BPB_NumFATs", [0]),
        ("BPB_RootEntCnt", [1, 15, 17]),
        ("BPB_TotSec16", [SIZE // 512 + 1, 65535, 1, DATA_AT // 512]),
        ("BPB_Media", [0, 0xEF, 0xF1, 0xF7]),
    ],
)
def test_fields_that_make_no_volume_are_refused(field: str, values: Sequence[int]) -> None:
    for value in values:
        image = bytes(512) + image_of(boot={field: value})
        with pytest.raises(FormatError, match=f"the FAT boot sector has {field} {value:,}, not ") as caught:
            opened(image, 512)
        assert (caught.value.where, caught.value.offset) == (field, 512 + BOOT[field][0])
        assert not looks_like_fat(Window(volume_of(image), 512))
    assert looks_like_fat(Window(volume_of(image_of())))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 4096, SIZE - 1])
def test_a_volume_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(FormatError):
        opened(image_of()[:size])
    with pytest.raises(FormatError):
        opened(image_of(), 0, size)


@pytest.mark.parametrize(("clusters", "bits"), [(1, 12), (4084, 12), (4085, 16), (65524, 16)])
def test_the_type_is_told_by_the_count_of_clusters(clusters: int, bits: int) -> None:
    fields = {"BPB_FATSz16": 256, "BPB_TotSec16": 0, "BPB_TotSec32": 1 + 256 + 4 + clusters}
    image = image_of(boot=fields) + bytes(512 * 70000)
    layout = opened(image).layout
    assert (layout.bits, layout.bits_by_count, layout.clusters) == (bits, bits, clusters)


def test_a_fat16_of_too_many_clusters_is_refused() -> None:
    fields = {"BPB_FATSz16": 300, "BPB_TotSec16": 0, "BPB_TotSec32": 1 + 300 + 4 + 65525}
    with pytest.raises(FormatError, match="gives 1 to 65,524 clusters, not 65,525"):
        opened(image_of(boot=fields) + bytes(512 * 70000))


def test_a_fat_that_is_too_short_limits_the_clusters() -> None:
    # 2 sectors hold 682 entries of 12 bits.
    assert opened(image_of(boot={"BPB_FATSz16": 2})).layout.clusters == 680


# Names

SHORT = b"LONGNA~1TXT"


def test_names_long_and_short_with_their_case() -> None:
    root = (
        entry(b"PLAIN   TXT")
        + entry(b"LOWER   TXT", nt_res=0x18)
        + entry(b"BASE    TXT", nt_res=0x08)
        + entry(b"EXT     TXT", nt_res=0x10)
        + entry(b"NOEXT      ")
        + entry(b"A B     C  ")
        + entry(b"\x05KANJI     ")
        + entry(b"\x81MLAUT  \x9a  ", nt_res=0x18)
        + long_entry("a long name.txt", SHORT)
        + long_entry("exactly13char", b"EXACTL~1   ")
        + long_entry("Grüße, 世界 😀", b"GRE~1      ")
        + long_entry("n" * 255, b"NNNNNN~1   ")
    )
    assert names(image_of(root)) == [
        "PLAIN.TXT", "lower.txt", "base.TXT", "EXT.txt", "NOEXT", "A B.C", "σKANJI", "ümlaut.ü",
        "a long name.txt", "exactly13char", "Grüße, 世界 😀", "n" * 255,
    ]  # fmt: skip


def test_a_lone_surrogate_is_kept() -> None:
    assert names(image_of(long_entry("x\ud800y", SHORT))) == ["x\ud800y"]


LONG = "a name of three entries, 39 characters."


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[1:],  # the first entry, with the end flag, is missing
        lambda s: s[:-1],  # the last one is missing
        lambda s: [s[0], s[2]],
        lambda s: [s[1], s[0], s[2]],
        lambda s: [s[0], s[2], s[1]],
        lambda s: [s[0], b"\xe5" + s[1][1:], s[2]],
        lambda s: [s[0], s[1][:13] + bytes([s[1][13] ^ 1]) + s[1][14:], s[2]],
        lambda s: [s[0][:13] + b"\0" + s[0][14:], *s[1:]],
        lambda s: [b"\x40" + s[0][1:], *s[1:]],
        lambda s: [b"\x55" + s[0][1:], *s[1:]],
        lambda s: [*s, s[2]],
        lambda s: [*s[:2], s[1], s[2]],
        lambda s: [*s, entry(b"\xe5ELETED    ")],
    ],
)
def test_a_long_name_that_is_not_whole_gives_way_to_the_short_one(change) -> None:  # type: ignore[no-untyped-def]
    parts = slots(LONG, SHORT)
    assert len(parts) == 3
    root = b"".join(change(parts)) + entry(SHORT) + long_entry("the next", b"THENEX~1   ")
    assert names(image_of(root)) == ["LONGNA~1.TXT", "the next"]
    assert names(image_of(b"".join(parts) + entry(SHORT))) == [LONG]


def test_a_long_name_that_begins_anew_is_read_from_there() -> None:
    root = b"".join(slots("never finished, it is long", SHORT)[:1]) + long_entry(LONG, SHORT)
    assert names(image_of(root)) == [LONG]


@pytest.mark.parametrize("name", [".", "..", "a/b", "../../etc/passwd", ""])
def test_a_long_name_that_no_directory_can_hold_gives_way_to_the_short_one(name: str) -> None:
    part = slots(name, SHORT) if name else [slots("x", SHORT)[0].replace(b"x\0", b"\0\0")]
    assert names(image_of(b"".join(part) + entry(SHORT))) == ["LONGNA~1.TXT"]


@pytest.mark.parametrize(
    "short", [b"A/B        ", b"           ", b"A\0B        ", b"        EXT"[:8] + b"/  "]
)
def test_a_short_name_that_no_directory_can_hold_is_refused(short: bytes) -> None:
    with pytest.raises(FormatError, match="has an entry named") as caught:
        names(image_of(entry(b"FIRST      ") + entry(short)))
    assert (caught.value.where, caught.value.offset) == ("DIR_Name", ROOT_AT + 32)


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(FormatError, match="FIRST: the name stands twice") as caught:
        names(image_of(entry(b"FIRST      ") * 2))
    assert caught.value.offset == ROOT_AT + 32


def test_free_entries_labels_and_dots_are_left_out_and_zero_ends_the_directory() -> None:
    root = (
        b"\xe5" + entry(b"DELETED    ")[1:]
        + entry(b"LABEL      ", attributes=8)
        + entry(b".          ", attributes=16)
        + entry(b"..         ", attributes=16)
        + entry(b"SEEN       ")
        + bytes(32)
        + entry(b"UNSEEN     ")
    )  # fmt: skip
    assert names(image_of(root)) == ["SEEN"]


def test_a_root_that_is_full_needs_no_end_mark() -> None:
    root = b"".join(entry(b"F%-10d" % n) for n in range(64))
    assert len(names(image_of(root))) == 64


# Files


def test_a_file_in_scattered_clusters() -> None:
    links = {5: 6, 6: 3, 3: 9, 9: END}
    pieces = {n: bytes([n]) * 512 for n in links}
    node = found(image_of(entry(b"FILE       ", 5, 1700), links, pieces), b"FILE")
    assert content(node.data) == b"\x05" * 512 + b"\x06" * 512 + b"\x03" * 512 + b"\x09" * 164
    assert (node.size, node.runs) == (1700, None)


@pytest.mark.parametrize("end", [0xFF8, 0xFFF])
@pytest.mark.parametrize(
    ("size", "clusters"), [(0, 0), (0, 2), (1, 1), (512, 1), (513, 2), (1024, 2), (100, 2)]
)
def test_sizes_at_the_edge_of_a_cluster(size: int, clusters: int, end: int) -> None:
    links = {n: n + 1 if n < clusters + 1 else end for n in range(2, 2 + clusters)}
    node = found(
        image_of(entry(b"FILE       ", 2 if clusters else 0, size), links, {2: b"x" * 1024}), b"FILE"
    )
    assert content(node.data) == b"x" * size
    assert (node.data is None) == (size == 0)


def test_modes_attributes_and_times() -> None:
    root = (
        entry(b"RO         ", attributes=0x21)
        + entry(b"HIDDEN     ", attributes=0x26, tenths=123, crt_date=0x5123, crt_time=0x6D5A,
                acc_date=0x5124, wrt_date=0x512D, wrt_time=0x6354)
        + entry(b"DIR        ", 2, attributes=0x11)
    )  # fmt: skip
    image = image_of(root, {2: END})
    assert [oct(found(image, name).mode) for name in (b"RO", b"HIDDEN", b"DIR")] == [
        "0o100444",
        "0o100644",
        "0o40755",
    ]
    hidden = found(image, b"HIDDEN")
    assert (hidden.details.attributes, hidden.details.short_name) == (0x26, b"HIDDEN     ")
    assert hidden.details.offset == ROOT_AT + 32
    assert hidden.mtime_ns == int(datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC).timestamp()) * 10**9
    created = int(datetime(2020, 9, 3, 13, 42, 52, tzinfo=UTC).timestamp()) * 10**9
    assert hidden.details.created_ns == created + 1_230_000_000
    assert hidden.details.accessed_ns == int(datetime(2020, 9, 4, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize("year", [1980, 1999, 2000, 2004, 2038, 2099, 2100, 2101, 2104, 2107])
def test_moments_are_the_inverse_of_stamps(year: int) -> None:
    for month, day in ((1, 1), (2, 28), (3, 1), (12, 31)):
        seconds = int(datetime(year, month, day, 23, 59, 58, tzinfo=UTC).timestamp())
        when = stamp(seconds * 10**9)
        assert moment(when.date, when.time, when.tenths) == seconds * 10**9


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        (0, 0, datetime(1980, 1, 1, tzinfo=UTC)),
        (40 << 9 | 2 << 5 | 29, 0, datetime(2020, 2, 29, tzinfo=UTC)),
        (40 << 9 | 5 << 5, 0, datetime(2020, 5, 1, tzinfo=UTC)),  # day 0
        (40 << 9 | 15, 0, datetime(2020, 1, 15, tzinfo=UTC)),  # month 0
        (41 << 9 | 2 << 5 | 30, 0, datetime(2021, 3, 2, tzinfo=UTC)),
        (0x21, 24 << 11, datetime(1980, 1, 2, tzinfo=UTC)),
        (0x21, 60 << 5 | 30, datetime(1980, 1, 1, 1, 1, 0, tzinfo=UTC)),
    ],
)
def test_dates_that_are_none_are_taken_at_their_worth(date: int, time: int, expected: datetime) -> None:
    assert moment(date, time) == int(expected.timestamp()) * 10**9


def test_directories_in_clusters_and_at_an_offset_of_the_disk() -> None:
    first = entry(b".          ", 4, attributes=16) + entry(b"..         ", attributes=16)
    first += b"".join(entry(b"F%-10d" % n) for n in range(13))
    # A long name whose entries lie in two clusters.
    across = slots("across two clusters", SHORT)
    links = {4: 7, 7: END, 9: END}
    clusters = {4: first + across[0], 7: across[1] + entry(SHORT, 9, 5), 9: b"hello"}
    image = bytes(1536) + image_of(entry(b"DIR        ", 4, attributes=16), links, clusters) + bytes(1000)
    root = opened(image, 1536, SIZE).tree()
    paths = [path for path, _ in Inventory(root).walk()]
    assert len(paths) == 1 + 1 + 13 + 1
    node = root.entries[b"DIR"].entries[b"across two clusters"]  # type: ignore[index]
    assert isinstance(node, Node)
    assert content(node.data) == b"hello"
    assert (node.path, node.details.offset) == (b"DIR/across two clusters", 1536 + DATA_AT + 5 * 512 + 32)


def test_a_file_stays_a_slice_of_the_image_s_file(tmp_path: Path) -> None:
    path = tmp_path / "image"
    image = image_of(entry(b"FILE       ", 3, 900), {3: 4, 4: END}, {3: b"x" * 1024})
    path.write_bytes(image)
    data = HandleSlice(SharedFile(os.open(path, os.O_RDONLY), bytes(path), None), 0, SIZE)
    node = read_file_system(Volume(SIZE, [Extent(0, SIZE, data, 0, "disk")])).tree().entries[b"FILE"]  # type: ignore[index]
    assert isinstance(node.data, HandleSlice)
    assert (node.data.offset, node.data.length) == (DATA_AT + 512, 900)


# Damage

DIR = entry(b"DIR        ", 2, attributes=16)
CROSSED = entry(b"ONE        ", 2, 600) + entry(b"TWO        ", 5, 600)


@pytest.mark.parametrize(
    ("root", "links", "message", "where", "offset"),
    [
        (entry(b"FILE       ", 2, 2000), {2: 3, 3: 2}, "its chain has cluster 2, which", "FAT", FAT_AT + 3),
        (entry(b"FILE       ", 2, 2000), {2: 2}, "FILE: its chain has cluster 2", "FAT", FAT_AT + 3),
        (CROSSED, {2: 3, 3: END, 5: 3}, "TWO: its chain has cluster 3", "FAT", FAT_AT + 4),
        (CROSSED, {2: 3, 3: 4, 4: 5, 5: 6, 6: END}, "TWO: its chain has cluster 5", "FAT", FAT_AT + 7),
        (entry(b"FILE       ", 2, 600), {2: END}, "600 bytes, its chain 512", "DIR_FileSize", ROOT_AT + 28),
        (entry(b"FILE       ", 0, 1), {}, "FILE: its chain begins at cluster 0", "DIR_FstClusLO", ROOT_AT),
        (entry(b"FILE       ", 1, 1), {}, "at cluster 1, not one of 2 to 1,001", "DIR_FstClusLO", ROOT_AT),
        (entry(b"FILE       ", 1002, 1), {}, "begins at cluster 1,002", "DIR_FstClusLO", ROOT_AT),
        (entry(b"FILE       ", 2, 1), {}, "the entry of its cluster 2 is 0x0", "FAT", FAT_AT + 3),
        (entry(b"FILE       ", 2, 1), {2: 1}, "the entry of its cluster 2 is 0x1", "FAT", FAT_AT + 3),
        (entry(b"FILE       ", 2, 1), {2: 0xFF7}, "the entry of its cluster 2 is 0xff7", "FAT", FAT_AT + 3),
        (entry(b"FILE       ", 2, 1), {2: 1002}, "the entry of its cluster 2 is 0x3ea", "FAT", FAT_AT + 3),
        (entry(b"FILE       ", 999, 600), {999: 1001, 1001: 1002}, "1,001 is 0x3ea", "FAT", FAT_AT + 1501),
        (DIR.replace(b"\2", b"\0"), {}, "DIR: its chain begins at cluster 0", "DIR_FstClusLO", ROOT_AT),
        (DIR, {2: 2}, "directory DIR: its chain has cluster 2", "FAT", FAT_AT + 3),
    ],
)  # fmt: skip
def test_chains_that_lead_nowhere_are_refused(
    root: bytes, links: dict[int, int], message: str, where: str, offset: int
) -> None:
    image = image_of(root, links)
    with pytest.raises(FormatError, match=message) as caught:
        opened(bytes(4096) + image, 4096).tree()
    assert (caught.value.where, caught.value.offset) == (where, 4096 + offset)
    reported: list[FormatError] = []
    tree = opened(image).tree(reported.append)
    assert [str(error) for error in reported] == [str(caught.value)]
    left_out = () if b"DIR" in root else (b"TWO", b"FILE")
    assert not set(left_out) & set(tree.entries or ())


def test_the_last_cluster_may_be_used() -> None:
    node = found(image_of(entry(b"FILE       ", 1001, 512), {1001: END}, {1001: b"z" * 512}), b"FILE")
    assert content(node.data) == b"z" * 512


def test_a_directory_that_is_its_own_child_is_refused() -> None:
    image = image_of(
        entry(b"DIR        ", 2, attributes=16), {2: END}, {2: entry(b"DIR        ", 2, attributes=16)}
    )
    with pytest.raises(FormatError, match="directory DIR/DIR: its chain has cluster 2"):
        opened(image).tree()


def test_all_damage_is_reported_and_the_rest_is_read() -> None:
    root = (
        entry(b"GOOD       ", 2, 5)
        + entry(b"SHORT      ", 3, 999)
        + entry(b"TWICE      ", 2, 5)
        + entry(b"GOOD       ", 4, 5)
        + entry(b"SUB        ", 5, attributes=16)
        + entry(b"LOST       ", 900, attributes=16)
        + entry(b"LAST       ", 6, 4)
    )
    links = {2: END, 3: END, 4: END, 5: END, 6: END}
    image = image_of(
        root, links, {2: b"hello", 5: entry(b"BAD        ", 999, 5) + entry(b"FINE       "), 6: b"last"}
    )
    reported: list[FormatError] = []
    tree = opened(image).tree(reported.append)
    assert [path for path, _ in Inventory(tree).walk()] == [
        b"",
        b"GOOD",
        b"LAST",
        b"LOST",
        b"SUB",
        b"SUB/FINE",
    ]
    assert len(reported) == 5
    assert all(error.where and error.offset is not None for error in reported)


@pytest.mark.parametrize(("depth", "refused"), [(2048, False), (2049, True)])
def test_directories_are_read_2048_deep(depth: int, refused: bool) -> None:
    clusters = depth + 10
    sectors = 32
    data_at = 1 + sectors + 4
    image = image_of(boot={"BPB_FATSz16": sectors, "BPB_TotSec16": data_at + clusters})[: data_at * 512]
    image += bytes(512 * clusters)
    for n in range(2, 2 + depth):
        at = 512 + n * 3 // 2
        pair = int.from_bytes(image[at : at + 2], "little") | (END << 4 if n % 2 else END)
        image[at : at + 2] = pair.to_bytes(2, "little")
        below = entry(b"D          ", n + 1, attributes=16) if n + 1 < 2 + depth else b""
        image[(data_at + n - 2) * 512 : (data_at + n - 2) * 512 + len(below)] = below
    image[(1 + sectors) * 512 : (1 + sectors) * 512 + 32] = entry(b"D          ", 2, attributes=16)
    if refused:
        with pytest.raises(FormatError, match="more than 2,048 directories deep"):
            opened(image).tree()
    else:
        assert len(Inventory(opened(image).tree()).directories) == 1 + depth


# Against our writer, whose bytes tests/compat judges


@pytest.mark.parametrize(
    ("fat_type", "sector_size", "size"),
    [(12, 512, 4), (12, 4096, 8), (16, 512, 20), (16, 4096, 64), (32, 512, 64), (32, 4096, 300)],
)
def test_what_was_written_is_read(fat_type: int, sector_size: int, size: int) -> None:
    tree = inventory(
        {
            b"EFI": {b"BOOT": {b"BOOTX64.EFI": file(b"MZ" * 150_001), b"ro": file(b"x", 0o444)}},
            b"many": {b"file number %d" % n: b"%d" % n for n in range(500)},
            b"empty": b"",
            b"hole": 70_000,
        }
    )
    parameters = fat.Parameters(
        fat_type=fat_type, sector_size=sector_size, label="ESP", volume_id=7, time=MTIME_NS // 10**9
    )
    plan = fat.plan(tree, parameters, size * MiB, "the volume")
    system = read_file_system(plan.volume())
    assert (system.layout.bits, system.layout.sector_size, system.layout.bits_by_count) == (
        fat_type,
        sector_size,
        fat_type,
    )
    assert (system.label(), system.volume_id, system.free()) == ("ESP", 7, plan.free)
    found = Inventory(system.tree())
    assert [path for path, _ in found.walk()] == [path for path, _ in tree.walk()]
    for (path, ours), (_, theirs) in zip(found.walk(), tree.walk(), strict=True):
        if path:
            assert (ours.size, ours.mtime_ns) == (theirs.size, MTIME_NS // (2 * 10**9) * 2 * 10**9)
            assert ours.mode == (
                theirs.mode & 0o777444 | theirs.mode & 0o200 if stat.S_ISREG(theirs.mode) else theirs.mode
            )
            assert content(ours.data) == (content(theirs.data) or bytes(theirs.size))
    if fat_type == 32:
        assert system.fsinfo is not None and system.fsinfo.valid
        assert system.fsinfo.fields["FSI_Free_Count"] * system.layout.cluster_size == plan.free
        backup = system.backup_boot()
        assert backup == system.boot


def test_reserved_bits_of_fat32_s_entries_do_not_count_and_the_active_fat_does() -> None:
    tree = inventory({b"file": b"x" * 3000})
    plan = fat.plan(tree, fat.Parameters(fat_type=32, volume_id=1, time=0), 64 * MiB, "the volume")
    image = bytearray(plan.volume().read(0, 64 * MiB))
    layout = opened(image).layout
    for at in range(layout.fat_start, layout.fat_start + 64, 4):
        image[at + 3] |= 0xA0
    assert content(opened(image).tree().entries[b"file"].data) == b"x" * 3000  # type: ignore[index]
    # The first FAT is wiped; the second counts when mirroring is off.
    image[layout.fat_start : layout.fat_start + 4096] = bytes(4096)
    with pytest.raises(FormatError, match="the root directory: the entry of its cluster 2 is 0x0"):
        opened(image).tree()
    struct.pack_into("<H", image, 40, 0x81)
    assert content(opened(image).tree().entries[b"file"].data) == b"x" * 3000  # type: ignore[index]
    struct.pack_into("<H", image, 40, 0x82)
    with pytest.raises(FormatError, match="BPB_ExtFlags 130, not an active FAT of 0 to 1"):
        opened(image)


@pytest.mark.parametrize("number", [0, 0xFFFF, 32, 60000])
def test_an_fsinfo_outside_the_reserved_sectors_is_none(number: int) -> None:
    plan = fat.plan(inventory({}), fat.Parameters(fat_type=32, volume_id=1, time=0), 64 * MiB, "the volume")
    image = bytearray(plan.volume().read(0, 64 * MiB))
    reserved = opened(image).layout.fat_start // 512
    struct.pack_into(
        "<HH", image, 48, reserved if number == 32 else number, reserved if number == 32 else number
    )
    assert opened(image).fsinfo is None
    if number != 0xFFFF:
        assert opened(image).backup_boot() is None


# Chains


def test_claims_are_taken_once() -> None:
    claims = Claims()
    assert claims.claim(10, 20) is None
    assert claims.claim(15, 16) == 15
    assert claims.claim(5, 12) == 10
    assert claims.claim(5, 6) == 5  # what was before the conflict is taken
    assert claims.claim(20, 3 * PAGE + 5) is None
    assert claims.claim(3 * PAGE + 5, 3 * PAGE + 6) is None
    assert claims.claim(2 * PAGE, 2 * PAGE + 1) == 2 * PAGE


@pytest.mark.parametrize(("bits", "code"), [(16, "<H"), (32, "<I")])
def test_runs_cross_pages(bits: int, code: str) -> None:
    clusters = 3 * PAGE
    end = (1 << min(bits, 28)) - 1
    entries = [0, 0, *range(3, 2 * PAGE + 100), end]
    fat_bytes = b"".join(struct.pack(code, e) for e in entries).ljust((clusters + 2) * bits // 8, b"\0")
    table = Table(Window(volume_of(fat_bytes)), 0, bits, clusters)
    assert table.chain(2, Claims(), "x", 0) == [(2, 2 * PAGE + 100)]
    assert table.free() == clusters - (2 * PAGE + 98)
    assert table.entry(2) == 3


def test_free_clusters_where_nothing_is_stored_are_counted_without_reading() -> None:
    window = Window(Volume(1 << 30, []))
    assert Table(window, 0, 32, (1 << 28) - 100).free() == (1 << 28) - 100
