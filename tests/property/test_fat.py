"""Laws of FAT plans, on random trees, sizes and parameters."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgwriter import fat
from imgwriter.errors import CapacityError, SpecError, UnrepresentableError
from imgwriter.extent import Volume
from imgwriter.fat.names import directory_names
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.units import KiB, MiB
from tests.unit.fat.trees import directory, file, inventory

pytestmark = pytest.mark.property

NAMES = st.text("abAB01.~ é😀+", min_size=1, max_size=30).map(lambda t: t.strip(". ") or "x")
FILES = st.one_of(st.binary(max_size=3000), st.integers(0, 70_000)).map(
    lambda v: file(v) if isinstance(v, bytes) else file(b"\xa5" * v)
)
DIRECTORIES = st.recursive(
    FILES,
    lambda inner: st.dictionaries(NAMES.map(str.encode), inner, max_size=6).map(directory),
    max_leaves=25,
)


def unique(inode: Inode) -> Inode:
    """Drop names that differ from another only in case."""
    if inode.entries is not None:
        by_case = {name.decode().upper(): name for name in sorted(inode.entries, reverse=True)}
        inode.entries = {name: unique(inode.entries[name]) for name in by_case.values()}
    return inode


TREES = st.dictionaries(NAMES.map(str.encode), DIRECTORIES, max_size=8).map(
    lambda t: inventory(unique(directory(t)).entries or {})
)


@st.composite
def parameters(draw: st.DrawFn) -> fat.Parameters:
    sector_size = draw(st.sampled_from([512, 4096]))
    cluster_size = draw(st.one_of(st.none(), st.sampled_from([4 * KiB, 8 * KiB, 32 * KiB])))
    fat_type = draw(st.sampled_from([None, 12, 16, 32]))
    label = draw(st.sampled_from(["", "NIXOS", "esp 1"]))
    return fat.Parameters(label, 7, 0, fat_type, sector_size, 2048, cluster_size)


@settings(deadline=None)
@given(TREES, parameters())
def test_the_minimum_is_exact(tree: Inventory, p: fat.Parameters) -> None:
    size = fat.minimum_size(tree, p)
    assert size % p.sector_size == 0
    smallest = fat.plan(tree, p, size, "x")
    assert smallest.size == size and smallest.free >= 0
    with pytest.raises(CapacityError) as caught:
        fat.plan(tree, p, size - p.sector_size, "x")
    assert (caught.value.needed, caught.value.available) == (size, size - p.sector_size)


@settings(deadline=None)
@given(TREES, parameters(), st.data())
def test_what_fits_fits_a_larger_volume_too(tree: Inventory, p: fat.Parameters, data: st.DataObject) -> None:
    size = fat.minimum_size(tree, p)
    more = data.draw(st.one_of(st.integers(0, 600 * KiB), st.integers(0, 80 * MiB)))
    try:
        found = fat.plan(tree, p, size + more, "x")
    except SpecError:
        # The type asked for cannot use so much: more than a MiB of it would be left.
        assert p.fat_type in (12, 16)
        return
    assert (found.used + found.free, found.size) == (size + more, size + more)
    low, high = {12: (1, 4_084), 16: (4_085, 65_524), 32: (65_525, 1 << 28)}[found.fat_type]
    assert low <= found.clusters <= high


def read_tree(v: Volume) -> dict[bytes, bytes | None]:
    """Read a whole volume by the specification alone; directories are None."""
    sector, per, reserved, _, root_entries, total16 = struct.unpack("<HBHBHH", v.read(11, 10))
    fat16, total32 = struct.unpack("<H", v.read(22, 2))[0], struct.unpack("<L", v.read(32, 4))[0]
    fat_sectors = fat16 or struct.unpack("<L", v.read(36, 4))[0]
    root_start = (reserved + 2 * fat_sectors) * sector
    data_start = root_start + root_entries * 32
    clusters = ((total16 or total32) - data_start // sector) // per
    bits = 12 if clusters < 4085 else 16 if clusters < 65525 else 32
    table = v.read(reserved * sector, min(fat_sectors * sector, 1 << 20))

    def following(cluster: int) -> int:
        if bits == 12:
            pair = table[cluster * 3 // 2 : cluster * 3 // 2 + 2]
            return int.from_bytes(pair, "little") >> (4 if cluster % 2 else 0) & 0xFFF
        width = bits // 8
        return int.from_bytes(table[cluster * width : (cluster + 1) * width], "little")

    def chain(cluster: int) -> bytes:
        pieces = []
        while cluster < (0xFF8 if bits == 12 else 0xFFF8 if bits == 16 else 0x0FFFFFF8):
            assert 2 <= cluster < clusters + 2
            pieces.append(v.read(data_start + (cluster - 2) * per * sector, per * sector))
            cluster = following(cluster)
        return b"".join(pieces)

    result: dict[bytes, bytes | None] = {}

    def walk(content: bytes, path: bytes) -> None:
        long = b""
        for entry in (content[i : i + 32] for i in range(0, len(content), 32)):
            if not entry[0]:
                break
            if entry[11] == 0x0F:
                long = entry[1:11] + entry[14:26] + entry[28:32] + long
                continue
            text = long.decode("utf-16-le").rstrip("\uffff").rstrip("\0")
            short = (entry[:8].rstrip() + b"." + entry[8:11].rstrip()).rstrip(b".")
            name, long = text.encode() or short, b""
            if entry[11] & 8 or not name or entry[0] == ord("."):
                continue
            cluster = int.from_bytes(entry[26:28] + entry[20:22], "little")
            size = int.from_bytes(entry[28:32], "little")
            if entry[11] & 0x10:
                result[path + name] = None
                walk(chain(cluster), path + name + b"/")
            else:
                result[path + name] = chain(cluster)[:size] if cluster else b""

    walk(v.read(root_start, root_entries * 32) if root_entries else chain(2), b"")
    return result


@settings(deadline=None)
@given(TREES, parameters(), st.integers(0, 300_000))
def test_a_volume_reads_back_as_what_went_in(tree: Inventory, p: fat.Parameters, more: int) -> None:
    v = fat.plan(tree, p, fat.minimum_size(tree, p) + more, "x").volume()
    expected = {
        path: None
        if i.entries is not None
        else b"".join(bytes(c) for c in i.data.chunks(0, i.size))
        if i.data
        else b""
        for path, i in tree.walk()
        if path
    }
    assert read_tree(v) == expected


@given(st.sets(st.text(min_size=1, max_size=300), max_size=20))
def test_any_names_have_unique_short_ones_or_are_refused(texts: set[str]) -> None:
    names = sorted(t.encode("utf-8", "surrogatepass") for t in texts)
    try:
        found = directory_names(names, b"")
    except UnrepresentableError as error:
        assert error.path in names
        return
    assert len({n.short for n in found}) == len(names)
    folded = {t.upper() for t in texts}
    for name, raw in zip(found, names, strict=True):
        base, extension = name.short[:8].rstrip().decode("ascii"), name.short[8:].rstrip().decode("ascii")
        short = f"{base}.{extension}" if extension else base
        assert (name.long.decode("utf-16-le") or short) == raw.decode()
        assert short == raw.decode().upper() or short not in folded
