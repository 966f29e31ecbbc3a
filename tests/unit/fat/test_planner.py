"""What FAT volumes hold, what they refuse, and which type a size becomes."""

from __future__ import annotations

import stat

import pytest

from imgwriter import fat
from imgwriter.errors import CapacityError, SpecError, UnrepresentableError
from imgwriter.tree.inventory import Inode
from imgwriter.units import GiB, KiB, MiB, TiB
from tests.unit.fat.trees import Tree, file, inventory

TREE: Tree = {
    b"EFI": {b"BOOT": {b"BOOTX64.EFI": b"MZ" * 50_000}},
    b"loader.conf": b"timeout 3\n",
    b"empty": b"",
}
EMPTY: Tree = {}


def plan(tree: Tree, size: int, **parameters: object) -> fat.Plan:
    return fat.plan(inventory(tree), fat.Parameters(**parameters), size, "the ESP")  # type: ignore[arg-type]  # kwargs


@pytest.mark.parametrize(
    ("size", "sector_size", "fat_type"),
    [
        (1 * MiB, 512, 12),
        (3 * MiB, 512, 16),
        (33 * MiB, 512, 32),
        (248 * MiB, 512, 32),
        (2 * TiB, 512, 32),
        (8 * MiB, 4096, 12),
        (248 * MiB, 4096, 16),
        (257 * MiB, 4096, 32),
    ],
)
def test_without_a_type_it_is_32_unless_the_volume_is_too_small(
    size: int, sector_size: int, fat_type: int
) -> None:
    assert plan(TREE, size, sector_size=sector_size).fat_type == fat_type


@pytest.mark.parametrize(
    ("fat_type", "below", "limit"),
    [(16, 4_084, 4_085), (32, 65_524, 65_525)],
)
@pytest.mark.parametrize("sector_size", [512, 4096])
def test_the_type_asked_for_needs_its_count_of_clusters(
    fat_type: int, below: int, limit: int, sector_size: int
) -> None:
    parameters = fat.Parameters(fat_type=fat_type, sector_size=sector_size, cluster_size=sector_size)
    smallest = fat.minimum_size(inventory(EMPTY), parameters)
    assert plan(EMPTY, smallest, fat_type=fat_type, sector_size=sector_size).clusters == limit
    with pytest.raises(CapacityError, match=r"no FAT.* smaller") as caught:
        plan(EMPTY, smallest - 1, fat_type=fat_type, sector_size=sector_size)
    assert (caught.value.needed, caught.value.available) == (smallest, smallest - 1)
    # Of the type below, the same size has its greatest count at most.
    lower = plan(
        EMPTY, smallest - sector_size, fat_type=16 if fat_type == 32 else 12, sector_size=sector_size
    )
    assert lower.clusters <= below


def test_what_does_not_fit_is_refused_with_numbers_and_the_largest_paths() -> None:
    tree: Tree = {b"f%02d" % i: i * 100_000 for i in range(1, 13)}
    with pytest.raises(CapacityError) as caught:
        plan(tree, 1 * MiB)
    error = caught.value
    assert (error.available, len(error.largest)) == (1 * MiB, 10)
    assert error.largest[0] == (1_200_000, b"f12")
    assert str(error).startswith("the ESP: FAT needs ")
    assert f"{error.needed:,} bytes" in str(error) and "1,048,576 bytes (1 MiB)" in str(error)
    assert plan(tree, error.needed).size == error.needed
    with pytest.raises(CapacityError):
        plan(tree, error.needed - 512)


def test_spare_bytes_are_free() -> None:
    parameters = fat.Parameters(label="BOOT")
    tree = inventory(TREE)
    for spare in (1, 512, 100_000, 5 * MiB, 50 * MiB, 3 * GiB):
        size = fat.minimum_size(tree, parameters, spare)
        assert spare <= fat.plan(tree, parameters, size, "x").free < spare * 1.02 + 64 * KiB


def test_used_and_free_are_the_whole() -> None:
    p = plan(TREE, 64 * MiB, label="BOOT", volume_id=0xABCD1234)
    assert p.used + p.free == p.size == 64 * MiB
    assert (p.type_name, p.label, p.volume_id) == ("vfat", "BOOT", "ABCD-1234")
    assert plan(TREE, 64 * MiB, volume_id=0xF).volume_id == "0000-000F"
    # EFI, BOOT and the root have a cluster each; the three files 196, 1 and 0.
    assert (p.fat_type, p.cluster_size) == (32, 512)
    assert p.free == (p.clusters - 3 - 196 - 1) * 512


def test_hard_links_are_counted_once_a_name() -> None:
    one = file(b"x" * 1000)
    linked: Tree = {b"a": one, b"b": one, b"c": {b"d": one}}
    assert plan(linked, 1 * MiB).free == plan({b"a": 1000, b"b": 1000, b"c": {b"d": 1000}}, 1 * MiB).free


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        (stat.S_IFLNK | 0o777, "symlinks"),
        (stat.S_IFCHR | 0o600, "character devices"),
        (stat.S_IFBLK | 0o600, "block devices"),
        (stat.S_IFIFO | 0o600, "FIFOs"),
        (stat.S_IFSOCK | 0o600, "sockets"),
    ],
)
def test_what_is_neither_file_nor_directory_is_refused(mode: int, what: str) -> None:
    with pytest.raises(UnrepresentableError, match=f"^dir/it: FAT has no {what}; exclude it$") as caught:
        plan({b"dir": {b"it": Inode(mode)}}, MiB)
    assert caught.value.path == b"dir/it"


def test_a_file_has_less_than_four_gibibytes() -> None:
    assert plan({b"f": (1 << 32) - 1}, 5 * GiB).free > 0
    with pytest.raises(UnrepresentableError, match="4,294,967,296 bytes") as caught:
        plan({b"d": {b"f": 1 << 32}}, 5 * GiB)
    assert caught.value.path == b"d/f"


def test_owners_modes_and_xattrs_are_left_out() -> None:
    inode = Inode(stat.S_IFREG | 0o4755, 1000, 1000, xattrs={b"user.a": b"b"})
    assert plan({b"f": inode}, MiB).free > 0


def test_the_fixed_root_has_512_entries_with_the_label() -> None:
    names: Tree = {b"F%d" % i: b"" for i in range(511)}
    full: Tree = {**names, b"LAST": b""}
    for fat_type, size in ((12, MiB), (16, 16 * MiB)):
        assert plan(names, size, fat_type=fat_type, label="X").fat_type == fat_type
        assert plan(full, size, fat_type=fat_type).fat_type == fat_type
        with pytest.raises(UnrepresentableError, match="needs 513 entries"):
            plan(full, size, fat_type=fat_type, label="X")
    # Without a type asked for, only FAT32 will do.
    assert plan(full, 40 * MiB, label="X").fat_type == 32
    with pytest.raises(CapacityError) as caught:
        plan(full, 16 * MiB, label="X")
    assert plan(full, caught.value.needed, label="X").fat_type == 32


def test_a_directory_has_65536_entries() -> None:
    # "." and ".." take two; a name in lower case takes two.
    names: Tree = {b"F%d" % i: b"" for i in range(65_534)}
    assert plan({b"D": names}, 64 * MiB).free > 0
    with pytest.raises(
        UnrepresentableError, match=r"^D: the directory needs 65,537 entries .* 65,536"
    ) as caught:
        plan({b"D": {**names, b"LAST": b""}}, 64 * MiB)
    assert caught.value.path == b"D"


def test_a_volume_that_the_type_cannot_use_is_refused() -> None:
    assert plan(EMPTY, 2 * TiB).clusters > 60_000_000
    assert plan(EMPTY, 2 * GiB, fat_type=16).clusters == 65_524
    assert plan(EMPTY, 128 * MiB, fat_type=12).clusters == 4_084
    for size, parameters in (
        (2 * TiB + 1, {}),
        (1 << 80, {}),
        (2 * GiB + MiB, {"fat_type": 16}),
        (129 * MiB, {"fat_type": 12}),
        (256 * GiB, {"cluster_size": 512}),
        (64 * MiB, {"fat_type": 16, "cluster_size": 512}),
    ):
        with pytest.raises(SpecError, match="can use"):
            plan(EMPTY, size, **parameters)


@pytest.mark.parametrize("size", [-1, 0, 1, 511, 512, 35 * 512])
def test_a_volume_that_is_nothing_is_refused(size: int) -> None:
    with pytest.raises(CapacityError):
        plan(EMPTY, size)


def test_content_beyond_every_volume_of_a_type_is_refused() -> None:
    tree: Tree = {b"a": 3 * GiB}
    with pytest.raises(CapacityError, match="more than FAT16 can hold in its largest volume") as caught:
        fat.minimum_size(inventory(tree), fat.Parameters(fat_type=16))
    assert caught.value.needed > caught.value.available
    assert caught.value.largest == ((3 * GiB, b"a"),)


def test_many_small_files_make_the_clusters_smaller() -> None:
    # Microsoft's 4 KiB would make it 69,000 clusters, and 70,000 files of a byte need one each.
    tree: Tree = {b"D%d" % d: {b"F%d" % f: 1 for f in range(2000)} for d in range(35)}
    assert plan(EMPTY, 270 * MiB).cluster_size == 4 * KiB
    assert plan(tree, 270 * MiB).cluster_size == 2 * KiB


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"fat_type": 8}, "no FAT8"),
        ({"fat_type": 0}, "no FAT0"),
        ({"sector_size": 1024}, "1024 bytes"),
        ({"volume_id": 1 << 32}, "32 bits"),
        ({"volume_id": -1}, "32 bits"),
        ({"hidden_sectors": 1 << 32}, "32 bits"),
        ({"cluster_size": 256}, "from 512 to 32768"),
        ({"cluster_size": 3 * 512}, "from 512 to 32768"),
        ({"cluster_size": 64 * KiB}, "from 512 to 32768"),
        ({"cluster_size": 512, "sector_size": 4096}, "from 4096 to 32768"),
        ({"label": "TWELVE CHARS"}, "12 characters"),
        ({"label": "GRÜN"}, "ASCII"),
        ({"label": "A\nB"}, "ASCII"),
        ({"label": "A.B"}, "holds '.'"),
        ({"label": " A"}, "space"),
        ({"label": "A "}, "space"),
        ({"label": "no name"}, "without a label"),
    ],
)
def test_parameters_that_no_volume_has_are_refused(parameters: dict[str, object], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        fat.Parameters(**parameters)  # type: ignore[arg-type]  # the point of the test
