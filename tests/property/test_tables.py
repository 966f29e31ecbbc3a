"""Laws of every partition table: disjoint, aligned, within bounds, readable again, and minimal."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imgwriter import gpt, mbr
from imgwriter.disk import DiskIdentifiers, Layout, disk_size_for, plan
from imgwriter.errors import CapacityError, FormatError, SpecError
from imgwriter.spec import Compat, TableKind
from imgwriter.units import MiB, TiB

pytestmark = pytest.mark.property

KINDS = st.sampled_from(get_args(TableKind))
COMPATS = st.sampled_from(get_args(Compat))
SECTOR_SIZES = st.sampled_from([512, 4096])
WITH_BOOT_END = ("legacy+boot", "efi", "efixbootldr", "hybrid")

HUGE = 256 * TiB
SIZES = st.one_of(
    st.integers(1, 4096 * MiB),
    st.integers(1, HUGE),
    st.builds(lambda n: n * MiB, st.integers(1, HUGE // MiB)),
)


@st.composite
def boot_ends(draw: st.DrawFn, kind: str) -> int | None:
    """Draw an end of the boot partition that the kind allows, or none."""
    if kind not in WITH_BOOT_END:
        return None
    return draw(st.one_of(st.none(), st.integers(101, 4096).map(lambda n: n * MiB)))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, str]:
    """Draw a layout of any kind on any disk that can hold it, and whose rules it follows."""
    kind, compat, sector_size = draw(KINDS), draw(COMPATS), draw(SECTOR_SIZES)
    size = draw(SIZES) // sector_size * sector_size
    identifiers = DiskIdentifiers(draw(st.text()))
    try:
        layout = plan(
            kind,
            size,
            identifiers=identifiers,
            boot_end=draw(boot_ends(kind)),
            sector_size=sector_size,
            compat=compat,
        )
    except (CapacityError, SpecError):
        assume(False)  # too small for the table, or too large for an MBR: tests/unit has those limits
    return layout, compat


@given(layouts())
def test_partitions_are_disjoint_and_within_the_disk(drawn: tuple[Layout, str]) -> None:
    layout, _ = drawn
    places = sorted((p.start, p.end) for p in layout.partitions)
    assert all(start < end for start, end in places)
    assert all(before[1] <= after[0] for before, after in pairwise(places))
    assert places[0][0] >= 0
    assert places[-1][1] <= layout.disk_size


@given(layouts())
def test_partitions_are_aligned(drawn: tuple[Layout, str]) -> None:
    layout, compat = drawn
    for p in layout.partitions:
        quirk = compat == "nixpkgs" and layout.kind == "hybrid" and p.role == "bios"
        unit = layout.sector_size if quirk or layout.scheme == "none" else MiB
        assert p.start % unit == 0
        assert p.end % unit == 0


@given(layouts())
def test_a_table_reads_back_as_it_was_planned(drawn: tuple[Layout, str]) -> None:
    layout, _ = drawn
    sector = layout.sector_size
    volume = layout.table_volume()
    assert volume.size == layout.disk_size
    if layout.scheme == "gpt":
        table = gpt.parse(volume, sector)  # checks every checksum and the usable LBAs
        assert table.disk_guid == layout.disk_guid
        read = {n: (e.starting_lba * sector, (e.ending_lba + 1) * sector) for n, e in table.entries.items()}
        assert read == {p.number: (p.start, p.end) for p in layout.partitions}
    if layout.scheme == "mbr":
        found = mbr.parse(volume.read(0, sector))
        assert found.disk_signature == layout.disk_signature
        starts = {n: (r.starting_lba * sector, r.size_in_lba * sector) for n, r in found.records.items()}
        assert starts == {p.number: (p.start, p.size) for p in layout.partitions}


@given(layouts())
def test_no_partition_overlaps_the_table(drawn: tuple[Layout, str]) -> None:
    layout, _ = drawn
    for e in layout.table_volume().extents:
        for p in layout.partitions:
            assert e.end <= p.start or p.end <= e.start


@given(layouts())
def test_identifiers_of_one_disk_differ(drawn: tuple[Layout, str]) -> None:
    layout, _ = drawn
    guids = [g for g in (layout.disk_guid, *(p.guid for p in layout.partitions)) if g is not None]
    assert len(set(guids)) == len(guids)
    assert layout.disk_signature != 0


@given(KINDS, COMPATS, SECTOR_SIZES, SIZES, st.data())
def test_disk_size_for_is_the_smallest_that_holds_the_root(
    kind: TableKind, compat: Compat, sector_size: int, root_size: int, data: st.DataObject
) -> None:
    boot_end = data.draw(boot_ends(kind))
    assume(root_size < 2 * TiB - 8192 * MiB or kind not in ("legacy", "legacy+boot"))
    size = disk_size_for(kind, root_size, boot_end=boot_end, sector_size=sector_size, compat=compat)

    def root_of(disk_size: int) -> int:
        try:
            layout = plan(
                kind,
                disk_size,
                identifiers=DiskIdentifiers(),
                boot_end=boot_end,
                sector_size=sector_size,
                compat=compat,
            )
        except CapacityError:
            return 0
        return layout.partition("root").size

    assert size % MiB == 0
    assert root_of(size) >= root_size
    if size > MiB:
        assert root_of(size - MiB) < root_size


@given(KINDS, COMPATS, SIZES)
def test_a_larger_disk_never_has_a_smaller_root(kind: TableKind, compat: Compat, size: int) -> None:
    size = size // 512 * 512
    try:
        sizes = [
            plan(kind, s, identifiers=DiskIdentifiers(), compat=compat).partition("root").size
            for s in (size, size + 512, size + MiB)
        ]
    except (CapacityError, SpecError):
        assume(False)
    assert sizes == sorted(sizes)
    assert sizes[2] - sizes[0] == MiB


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_name_fits_when_its_utf_16_form_does(name: str) -> None:
    units = sum(2 if ord(c) > 0xFFFF else 1 for c in name)
    if units > 36:
        with pytest.raises(SpecError, match=f"takes {units} UTF-16 units"):
            gpt.encode_name(name)
    else:
        assert gpt.encode_name(name).decode("utf-16-le").rstrip("\0") == name


@given(st.binary(min_size=0, max_size=2048))
def test_readers_of_any_bytes_end_in_a_format_error_or_a_value(content: bytes) -> None:
    for prefix in (b"", bytes(510) + b"\x55\xaa"):
        with suppress(FormatError):
            mbr.parse(prefix + content)
    with suppress(FormatError):
        gpt.parse_header(gpt.SIGNATURE + content, 1)
