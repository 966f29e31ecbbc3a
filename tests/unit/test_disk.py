"""disk: the tables of each kind, their identifiers, limits and refusals."""

from __future__ import annotations

from uuid import UUID

import pytest

from imgwriter import gpt
from imgwriter.disk import (
    NIXPKGS_ROOT_GUID,
    DiskIdentifiers,
    Layout,
    compose_disk,
    disk_size_for,
    plan,
)
from imgwriter.errors import CapacityError, PlanInvariantError, SpecError
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.spec import Compat, TableKind
from imgwriter.units import GiB, MiB, TiB

DEFAULTS = DiskIdentifiers()
GUID = UUID("01234567-89ab-cdef-0123-456789abcdef")


def lbas(layout: Layout) -> list[tuple[int, int]]:
    """Return (first, last) LBA of each partition, in number order."""
    sector = layout.sector_size
    return [(p.start // sector, p.end // sector - 1) for p in layout.partitions]


# parted 3.5 on a file of 1200 MiB, from the seed's and current nixpkgs' own command lines (tests/compat
# runs them again). The seed has no table for the last four kinds: those rows are our decision.
TABLES: list[tuple[Compat, TableKind, list[tuple[int, int]]]] = [
    ("seed", "legacy", [(2048, 2455551)]),
    ("seed", "efi", [(16384, 524287), (524288, 2455551)]),
    ("seed", "none", [(0, 2457599)]),
    ("seed", "legacy+boot", [(2048, 524287), (524288, 2455551)]),
    ("seed", "legacy+gpt", [(2048, 4095), (4096, 2455551)]),
    ("seed", "efixbootldr", [(16384, 204799), (204800, 524287), (524288, 2455551)]),
    ("seed", "hybrid", [(16384, 524287), (2048, 4095), (524288, 2455551)]),
    ("nixpkgs", "legacy", [(2048, 2457599)]),
    ("nixpkgs", "legacy+boot", [(2048, 526335), (526336, 2457599)]),
    ("nixpkgs", "legacy+gpt", [(2048, 4095), (4096, 2455551)]),
    ("nixpkgs", "efi", [(16384, 526335), (526336, 2455551)]),
    ("nixpkgs", "efixbootldr", [(16384, 204799), (204800, 526335), (526336, 2455551)]),
    ("nixpkgs", "hybrid", [(16384, 526335), (34, 2048), (526336, 2455551)]),
    ("nixpkgs", "none", [(0, 2457599)]),
]


@pytest.mark.parametrize(("compat", "kind", "expected"), TABLES)
def test_boundaries_on_1200_mib(compat: Compat, kind: TableKind, expected: list[tuple[int, int]]) -> None:
    assert lbas(plan(kind, 1200 * MiB, identifiers=DEFAULTS, compat=compat)) == expected


@pytest.mark.parametrize(
    ("compat", "kind", "expected"),
    # parted 3.5 with PARTED_SECTOR_SIZE=4096 on a file of 1200 MiB.
    [
        ("seed", "legacy", [(256, 306943)]),
        ("seed", "efi", [(2048, 65535), (65536, 306943)]),
        ("nixpkgs", "legacy", [(256, 307199)]),
        ("nixpkgs", "efi", [(2048, 65791), (65792, 306943)]),
        ("nixpkgs", "hybrid", [(2048, 65791), (6, 256), (65792, 306943)]),
    ],
)
def test_boundaries_in_sectors_of_4096(
    compat: Compat, kind: TableKind, expected: list[tuple[int, int]]
) -> None:
    assert lbas(plan(kind, 1200 * MiB, identifiers=DEFAULTS, sector_size=4096, compat=compat)) == expected


@pytest.mark.parametrize(
    ("kind", "roles"),
    [
        ("legacy", ["root"]),
        ("legacy+boot", ["boot", "root"]),
        ("legacy+gpt", ["bios", "root"]),
        ("efi", ["esp", "root"]),
        ("efixbootldr", ["esp", "boot", "root"]),
        ("hybrid", ["esp", "bios", "root"]),
        ("none", ["root"]),
    ],
)
def test_roles_and_numbers(kind: TableKind, roles: list[str]) -> None:
    layout = plan(kind, 1200 * MiB, identifiers=DEFAULTS)
    assert [p.role for p in layout.partitions] == roles
    first = 0 if kind == "none" else 1
    assert [p.number for p in layout.partitions] == list(range(first, first + len(roles)))


def test_only_the_boot_partition_of_legacy_boot_is_active() -> None:
    assert [p.active for p in plan("legacy", GiB, identifiers=DEFAULTS).partitions] == [False]
    layout = plan("legacy+boot", GiB, identifiers=DEFAULTS)
    assert [(p.active, p.mbr_type) for p in layout.partitions] == [(True, 0x0C), (False, 0x83)]


def test_partition_by_role() -> None:
    layout = plan("efi", GiB, identifiers=DEFAULTS)
    assert layout.partition("root").number == 2
    with pytest.raises(SpecError, match="'efi' has no boot partition"):
        layout.partition("boot")


# Identifiers


@pytest.mark.parametrize(
    ("kind", "guids"),
    # As sgdisk 1.0.9 leaves them on disk after current nixpkgs' command lines (tests/compat runs them again).
    [
        ("legacy+gpt", ["1c06f03b-704e-4657-b9cd-681a087a2fdc", "970c694f-afd0-4b99-b750-cdb7a329ab6f"]),
        ("efi", ["1c06f03b-704e-4657-b9cd-681a087a2fdc", "f222513b-ded1-49fa-b591-20ce86a2fe7f"]),
        (
            "efixbootldr",
            [
                "1c06f03b-704e-4657-b9cd-681a087a2fdc",
                "970c694f-afd0-4b99-b750-cdb7a329ab6f",
                "f222513b-ded1-49fa-b591-20ce86a2fe7f",
            ],
        ),
        (
            "hybrid",
            [
                "1c06f03b-704e-4657-b9cd-681a087a2fdc",
                "970c694f-afd0-4b99-b750-cdb7a329ab6f",
                "f222513b-ded1-49fa-b591-20ce86a2fe7f",
            ],
        ),
    ],
)
def test_guids_of_nixpkgs(kind: TableKind, guids: list[str]) -> None:
    layout = plan(kind, GiB, identifiers=DiskIdentifiers("any seed"), compat="nixpkgs")
    assert str(layout.disk_guid) == "97fd5997-f390-0b4a-a3f8-d106c1723aea"
    assert [str(p.guid) for p in layout.partitions] == guids


def test_identifiers_derive_from_the_seed() -> None:
    one, same, other = (plan("efi", GiB, identifiers=DiskIdentifiers.derive(s)) for s in ("a", "a", "b"))
    assert one == same
    assert len({g for p in (one, other) for g in (p.disk_guid, *(q.guid for q in p.partitions))}) == 6


def test_the_default_guids_and_signature_stay() -> None:
    # sha256sum, as in tests/unit/test_identifiers.py.
    assert str(plan("efi", GiB, identifiers=DEFAULTS).disk_guid) == "dd3a7209-4051-81b1-8f9c-d7d0cb512fcc"
    assert plan("legacy", GiB, identifiers=DEFAULTS).disk_signature == 0xE5DA1041


@pytest.mark.parametrize("compat", ["seed", "nixpkgs"])
def test_given_identifiers_win(compat: Compat) -> None:
    given = DiskIdentifiers.derive(
        "s", disk_guid=GUID, partition_guids={1: NIXPKGS_ROOT_GUID, 2: UUID(int=9)}
    )
    layout = plan("efi", GiB, identifiers=given, compat=compat)
    assert layout.disk_guid == GUID
    assert [p.guid for p in layout.partitions] == [NIXPKGS_ROOT_GUID, UUID(int=9)]
    signed = DiskIdentifiers.derive("s", disk_signature=0xFFFFFFFF)
    assert plan("legacy", GiB, identifiers=signed, compat=compat).disk_signature == 0xFFFFFFFF


def test_partuuid_is_what_linux_makes_of_it() -> None:
    signed = DiskIdentifiers.derive(disk_signature=0xABC)
    mbr = plan("legacy+boot", GiB, identifiers=signed)
    assert mbr.partuuid(mbr.partition("root")) == "00000abc-02"
    given = DiskIdentifiers.derive(partition_guids={2: GUID})
    efi = plan("efi", GiB, identifiers=given)
    assert efi.partuuid(efi.partition("root")) == str(GUID)
    bare = plan("none", GiB, identifiers=DEFAULTS)
    assert bare.partuuid(bare.partition("root")) is None


@pytest.mark.parametrize("signature", [0, -1, 1 << 32])
def test_a_signature_out_of_range_is_refused(signature: int) -> None:
    with pytest.raises(SpecError, match="from 1 to 0xffffffff"):
        DiskIdentifiers(disk_signature=signature)


def test_a_nil_guid_is_refused() -> None:
    with pytest.raises(SpecError, match="zeros"):
        DiskIdentifiers(partition_guids={1: UUID(int=0)})


def test_the_same_guid_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="partition 1 and partition 2 have the same GUID"):
        plan("efi", GiB, identifiers=DiskIdentifiers(partition_guids={1: GUID, 2: GUID}))
    with pytest.raises(SpecError, match="the disk and partition 2 have the same GUID"):
        plan("efi", GiB, identifiers=DiskIdentifiers(disk_guid=GUID, partition_guids={2: GUID}))
    clash = DiskIdentifiers(partition_guids={1: NIXPKGS_ROOT_GUID})
    with pytest.raises(SpecError, match="partition 1 and partition 2"):
        plan("efi", GiB, identifiers=clash, compat="nixpkgs")


@pytest.mark.parametrize(
    ("kind", "identifiers", "message"),
    [
        (
            "legacy",
            DiskIdentifiers(disk_guid=GUID),
            "disk GUID is given, but partition table 'legacy' has none",
        ),
        ("none", DiskIdentifiers(disk_guid=GUID), "disk GUID is given"),
        (
            "efi",
            DiskIdentifiers(disk_signature=1),
            "disk signature is given, but partition table 'efi' has none",
        ),
        ("none", DiskIdentifiers(disk_signature=1), "disk signature is given"),
        ("legacy", DiskIdentifiers(partition_guids={1: GUID}), "GUID is given for partition 1, but"),
        ("efi", DiskIdentifiers(partition_guids={3: GUID}), "'efi' has partitions 1 to 2; leave it out"),
        ("efi", DiskIdentifiers(partition_guids={0: GUID}), "'efi' has partitions 1 to 2; leave it out"),
    ],
)
def test_an_identifier_without_a_field_is_refused(
    kind: TableKind, identifiers: DiskIdentifiers, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        plan(kind, GiB, identifiers=identifiers)


# Limits and refusals


@pytest.mark.parametrize(
    ("compat", "boot_end", "expected"),
    # nixpkgs rounds up a whole MiB, even when there is nothing to round.
    [
        ("seed", 300 * MiB, 300),
        ("nixpkgs", 300 * MiB - 1, 300),
        ("nixpkgs", 300 * MiB, 301),
        ("nixpkgs", 300 * MiB + 1, 301),
    ],
)
def test_boot_end(compat: Compat, boot_end: int, expected: int) -> None:
    layout = plan("efi", GiB, identifiers=DEFAULTS, boot_end=boot_end, compat=compat)
    assert layout.partition("esp").end == layout.partition("root").start == expected * MiB


def test_a_boot_end_between_mibs_is_refused() -> None:
    with pytest.raises(SpecError, match=r"314,572,799 B is not a multiple of 1 MiB; set it to 300 MiB"):
        plan("efi", GiB, identifiers=DEFAULTS, boot_end=300 * MiB - 1)


@pytest.mark.parametrize(
    ("kind", "start"), [("efi", 8), ("hybrid", 8), ("efixbootldr", 100), ("legacy+boot", 1)]
)
def test_a_boot_end_must_leave_room(kind: TableKind, start: int) -> None:
    layout = plan(kind, GiB, identifiers=DEFAULTS, boot_end=(start + 1) * MiB)
    assert layout.partition("root").start == (start + 1) * MiB
    with pytest.raises(
        SpecError, match=f"boot end {start} MiB leaves the .* no room, it starts at {start} MiB"
    ):
        plan(kind, GiB, identifiers=DEFAULTS, boot_end=start * MiB)
    with pytest.raises(SpecError, match="no room"):
        disk_size_for(kind, MiB, boot_end=start * MiB)


@pytest.mark.parametrize("kind", ["legacy", "legacy+gpt", "none"])
def test_a_boot_end_without_a_boot_partition_is_refused(kind: TableKind) -> None:
    with pytest.raises(SpecError, match="boot end 300 MiB is given, but"):
        plan(kind, GiB, identifiers=DEFAULTS, boot_end=300 * MiB)
    with pytest.raises(SpecError, match="boot end 300 MiB is given, but"):
        disk_size_for(kind, GiB, boot_end=300 * MiB)


@pytest.mark.parametrize(
    ("compat", "kind", "smallest"),
    [
        ("seed", "legacy", 3),
        ("seed", "legacy+gpt", 4),
        ("seed", "efi", 258),
        ("nixpkgs", "legacy", 2),
        ("nixpkgs", "legacy+gpt", 4),
        ("nixpkgs", "efi", 259),
    ],
)
def test_the_smallest_disk(compat: Compat, kind: TableKind, smallest: int) -> None:
    layout = plan(kind, smallest * MiB, identifiers=DEFAULTS, compat=compat)
    assert layout.partition("root").size == MiB
    with pytest.raises(CapacityError, match=f"set the disk size to {smallest:,} MiB or more") as caught:
        plan(kind, (smallest - 1) * MiB, identifiers=DEFAULTS, compat=compat)
    assert (caught.value.needed, caught.value.available) == (smallest * MiB, (smallest - 1) * MiB)


@pytest.mark.parametrize(
    ("size", "sector_size", "remedy"),
    [(GiB - 1, 512, "1,073,741,824 B"), (GiB + 512, 4096, "1,073,745,920 B"), (0, 512, "512 B")],
)
def test_a_size_between_sectors_is_refused(size: int, sector_size: int, remedy: str) -> None:
    kinds: tuple[TableKind, ...] = ("none", "efi")
    for kind in kinds:
        with pytest.raises(SpecError, match=f"not a whole number of .*; set it to {remedy}"):
            plan(kind, size, identifiers=DEFAULTS, sector_size=sector_size)


@pytest.mark.parametrize(
    ("compat", "sector_size", "largest"),
    [
        ("seed", 512, 2 * TiB + MiB),
        ("seed", 4096, 16 * TiB + MiB),
        ("nixpkgs", 512, 2 * TiB),
        ("nixpkgs", 4096, 16 * TiB),
    ],
)
@pytest.mark.parametrize("kind", ["legacy", "legacy+boot"])
def test_the_largest_disk_of_an_mbr(kind: TableKind, compat: Compat, sector_size: int, largest: int) -> None:
    for size in (largest - MiB, largest):
        layout = plan(kind, size, identifiers=DEFAULTS, sector_size=sector_size, compat=compat)
        layout.table_volume()
    assert layout.partition("root").end == (1 << 32) * sector_size
    with pytest.raises(SpecError, match=rf"set the disk size to {largest // MiB:,} MiB or less, or use"):
        plan(kind, largest + MiB, identifiers=DEFAULTS, sector_size=sector_size, compat=compat)


@pytest.mark.parametrize(
    ("size", "seed_end", "nixpkgs_mbr_end", "nixpkgs_gpt_end"),
    # The nixpkgs columns are parted's: a disk of a broken MiB has no use for the rest.
    [
        (1200 * MiB + 512, 1199, 1200, 1199),
        (1200 * MiB + 33 * 512, 1199, 1200, 1200),
        (1201 * MiB - 512, 1199, 1200, 1200),
    ],
)
def test_the_root_ends_on_a_mib(size: int, seed_end: int, nixpkgs_mbr_end: int, nixpkgs_gpt_end: int) -> None:
    tables: tuple[tuple[TableKind, Compat], ...] = (
        ("legacy", "seed"),
        ("efi", "seed"),
        ("legacy", "nixpkgs"),
        ("efi", "nixpkgs"),
    )
    layouts = [plan(kind, size, identifiers=DEFAULTS, compat=compat) for kind, compat in tables]
    ends = [layout.partition("root").end // MiB for layout in layouts]
    assert ends == [seed_end, seed_end, nixpkgs_mbr_end, nixpkgs_gpt_end]


# Volumes


def test_the_table_volume_holds_the_table_alone() -> None:
    labels = {
        kind: [str(e.label) for e in plan(kind, GiB, identifiers=DEFAULTS).table_volume().extents]
        for kind in ("legacy", "efi", "none")
    }
    assert labels == {
        "legacy": ["MBR"],
        "efi": [
            "protective MBR",
            "GPT header",
            "GPT entries",
            "backup GPT entries",
            "backup GPT header",
        ],
        "none": [],
    }


def test_a_16_tib_disk_is_planned_without_its_bytes() -> None:
    volume = plan("efi", 16 * TiB, identifiers=DEFAULTS).table_volume()
    assert volume.size == 16 * TiB
    assert volume.allocated == 3 * 512 + 2 * 16384
    assert gpt.parse(volume).entries[2].ending_lba == (16 * TiB - MiB) // 512 - 1


def filled(size: int) -> Volume:
    return Volume(size, [extent(0, Bytes(b"first"), "first"), extent(size - 4, Bytes(b"last"), "last")])


def test_compose_disk_puts_each_volume_at_its_partition() -> None:
    layout = plan("efi", GiB, identifiers=DEFAULTS)
    esp, root = layout.partition("esp"), layout.partition("root")
    volume = compose_disk(layout, {2: filled(root.size), 1: filled(4096)})
    assert volume.size == GiB
    assert volume.read(esp.start, 5) == volume.read(root.start, 5) == b"first"
    assert volume.read(esp.start + 4092, 4) == volume.read(root.end - 4, 4) == b"last"
    assert gpt.parse(volume).disk_guid == layout.disk_guid


def test_compose_disk_without_a_table_is_the_root() -> None:
    layout = plan("none", MiB, identifiers=DEFAULTS)
    volume = compose_disk(layout, {layout.partition("root").number: filled(MiB)})
    assert volume.read(0, MiB) == filled(MiB).read(0, MiB)


def test_compose_disk_refuses_what_does_not_fit() -> None:
    layout = plan("efi", GiB, identifiers=DEFAULTS)
    size = layout.partition("esp").size
    compose_disk(layout, {1: filled(size)})
    with pytest.raises(PlanInvariantError, match=f"partition 1 'esp' has {size:,} bytes"):
        compose_disk(layout, {1: filled(size + 1)})
    with pytest.raises(PlanInvariantError, match="partition 3 does not exist"):
        compose_disk(layout, {3: filled(4096)})
