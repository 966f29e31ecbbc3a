"""The bytes of FAT volumes, where a reader would not look: zeros, packs, table entries, attributes."""

from __future__ import annotations

import os
import stat
import struct
import time

from imgwriter import fat
from imgwriter.extent import CHUNK, Bytes, Volume
from imgwriter.fat.encode import FileLabel
from imgwriter.filedata import PACK_LIMIT, Packed
from imgwriter.tree.inventory import Inode
from imgwriter.units import KiB, MiB
from tests.unit.fat.trees import Tree, directory, file, inventory


def volume(tree: Tree, size: int, **parameters: object) -> Volume:
    p = fat.Parameters(**parameters)  # type: ignore[arg-type]  # keyword arguments
    return fat.plan(inventory(tree), p, size, "the ESP").volume()


def fat_entries(v: Volume, count: int) -> list[int]:
    """Return the first entries of both tables of a FAT32 volume, which have to be equal."""
    reserved, fat_sectors = struct.unpack("<H", v.read(14, 2))[0], struct.unpack("<L", v.read(36, 4))[0]
    first, second = (v.read((reserved + n * fat_sectors) * 512, 4 * count) for n in (0, 1))
    assert first == second
    return list(struct.unpack(f"<{count}L", first))


def root_entries(v: Volume, count: int) -> list[bytes]:
    """Return the first root directory entries of a FAT32 volume with sectors of 512 bytes."""
    reserved, fat_sectors = struct.unpack("<H", v.read(14, 2))[0], struct.unpack("<L", v.read(36, 4))[0]
    data = v.read((reserved + 2 * fat_sectors) * 512, 32 * count)
    return [data[i : i + 32] for i in range(0, len(data), 32)]


END = 0x0FFFFFFF


def test_table_entries_chain_contiguous_clusters() -> None:
    v = volume({b"A": b"x" * 1500, b"B": b"", b"C": b"x" * 512, b"D": {b"E": b"x"}}, 34 * MiB)
    # Entry 0 has the media byte, entry 1 says "cleanly unmounted, no errors"; then the root, D, A (3), C, E.
    assert fat_entries(v, 10) == [0x0FFFFFF8, END, END, END, 5, 6, END, END, END, 0]


def test_a_table_is_the_same_in_pieces_as_in_one() -> None:
    v = volume({b"F%d" % i: b"x" * (i % 3000) for i in range(300)}, 34 * MiB)
    (table,) = (e for e in v.extents if str(e.label) == "FAT 1")
    whole = b"".join(bytes(c) for c in table.data.chunks(0, table.length))
    for start, stop in ((0, 1), (1, 9), (3, table.length - 5), (7, 8), (table.length - 1, table.length)):
        assert b"".join(bytes(c) for c in table.data.chunks(start, stop)) == whole[start:stop]


def test_what_is_zero_is_in_no_extent() -> None:
    v = volume({b"F": b"x"}, 248 * MiB)
    assert v.allocated < 3 * KiB
    v = volume({b"F": 3_000_000_000}, 4096 * MiB)
    assert v.allocated < 2 * 4 * (3_000_000_000 // 4096 + 4) + 4 * KiB


def test_holes_are_in_no_extent() -> None:
    inode = Inode(
        stat.S_IFREG | 0o644, size=10_000, data=Bytes(b"a" * 10_000), runs=[(100, 200), (5_000, 10_000)]
    )
    v = volume({b"F": inode}, 34 * MiB)
    runs = [(e.data_start, e.length) for e in v.extents if isinstance(e.label, FileLabel)]
    assert runs == [(100, 100), (5_000, 5_000)]
    first = next(e for e in v.extents if isinstance(e.label, FileLabel)).start - 100
    assert v.read(first, 10_240) == bytes(100) + b"a" * 100 + bytes(4_800) + b"a" * 5_000 + bytes(240)


def test_small_files_share_packs_and_large_ones_stand_alone() -> None:
    tree: Tree = {b"F%03d" % i: b"s" * 20_000 for i in range(500)}
    tree = {**tree, b"LARGE": b"l" * (PACK_LIMIT + 1)}
    extents = volume(tree, 64 * MiB).extents
    packs = [e for e in extents if isinstance(e.data, Packed) and e.length > 20_000]
    assert len(packs) == 3 and all(e.length <= CHUNK for e in packs)
    assert str(packs[0].label) == "204 pieces, F000 to F203"  # 40 clusters each: 205 would be more than 4 MiB
    assert [e.length for e in extents if str(e.label) == "LARGE"] == [PACK_LIMIT + 1]


def test_labels_name_the_copy_of_a_hard_link() -> None:
    one = file(b"x" * (PACK_LIMIT + 1))
    labels = [str(e.label) for e in volume({b"A": one, b"D": {b"B": one}}, 34 * MiB).extents]
    assert "A" in labels and "D/B" in labels


def test_the_owner_write_bit_is_the_read_only_attribute() -> None:
    tree: Tree = {
        b"A": file(b"", 0o644),
        b"B": file(b"", 0o466),
        b"C": file(b"", 0o4755),
        b"D": directory({}),
    }
    d = tree[b"D"]
    assert isinstance(d, Inode)
    d.mode = stat.S_IFDIR | 0o555
    assert [e[11] for e in root_entries(volume(tree, 34 * MiB), 4)] == [0x20, 0x21, 0x20, 0x10]


def test_the_label_is_the_first_root_entry_and_in_the_boot_sector() -> None:
    v = volume({b"A": b""}, 34 * MiB, label="EFI boot", time=1_600_000_001)
    label, first = root_entries(v, 2)
    assert (label[:11], label[11]) == (b"EFI boot   ", 0x08)
    assert label[22:26] == bytes.fromhex("5463 2d51")  # 2020-09-13 12:26:40
    assert v.read(71, 11) == b"EFI boot   "
    assert first[:11] == b"A          "
    unlabelled = volume({b"A": b""}, 34 * MiB)
    assert root_entries(unlabelled, 1)[0][:11] == b"A          "
    assert unlabelled.read(71, 11) == b"NO NAME    "


def test_dot_entries_lead_home() -> None:
    v = volume({b"D": {b"E": {b"F": b""}}}, 34 * MiB)
    (d,) = root_entries(v, 1)
    assert d[26:28] == b"\x03\0"
    root = next(e.start for e in v.extents if "directory" in str(e.label))
    in_d, in_e = v.read(root + 512, 96), v.read(root + 1024, 64)
    assert (in_d[:11], in_d[26:28]) == (b".          ", b"\x03\0")
    assert (in_d[32:43], in_d[58:60]) == (b"..         ", b"\0\0")  # the root is 0, though it has cluster 2
    assert (in_e[:11], in_e[26:28]) == (b".          ", b"\x04\0")
    assert (in_e[32:43], in_e[58:60]) == (b"..         ", b"\x03\0")


def test_the_backups_equal_what_they_back_up() -> None:
    for sector in (512, 4096):
        v = volume({b"A": b"x"}, 300 * MiB, sector_size=sector, hidden_sectors=16_384)
        assert v.read(6 * sector, 2 * sector) == v.read(0, 2 * sector)
        assert v.read(28, 4) == (16_384).to_bytes(4, "little")


def test_fsinfo_counts_what_is_free() -> None:
    p = fat.plan(inventory({b"A": b"x" * 1000}), fat.Parameters(), 34 * MiB, "x")
    free, following = struct.unpack("<LL", p.volume().read(512 + 488, 8))
    assert free * p.cluster_size == p.free
    assert following == 2 + p.clusters - free


def test_a_full_volume_has_no_free_cluster() -> None:
    tree = inventory({b"A": 65_525 * 512 - 512})
    parameters = fat.Parameters(fat_type=32)
    p = fat.plan(tree, parameters, fat.minimum_size(tree, parameters), "x")
    assert (p.free, p.clusters) == (0, 65_525)
    assert struct.unpack("<LL", p.volume().read(512 + 488, 8)) == (0, 0xFFFFFFFF)


def test_the_local_time_zone_does_not_matter() -> None:
    tree: Tree = {b"A": b"x", b"a long name": {b"B": b""}}
    before = volume(tree, 2 * MiB, label="L").read(0, 2 * MiB)
    old = os.environ.get("TZ")
    try:
        os.environ["TZ"] = "Pacific/Kiritimati"
        time.tzset()
        assert volume(tree, 2 * MiB, label="L").read(0, 2 * MiB) == before
    finally:
        if old is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = old
        time.tzset()


def test_planning_two_tebibytes_allocates_nothing_of_that_size() -> None:
    v = volume({b"F%d" % i: (1 << 32) - 1 for i in range(400)}, 1 << 41)
    assert len(v.extents) < 20
    (table,) = (e for e in v.extents if str(e.label) == "FAT 2")
    # The chain of the last file ends at the table's end.
    assert v.read(table.end - 8, 12) == struct.pack("<LLL", table.length // 4 - 1, END, 0)
