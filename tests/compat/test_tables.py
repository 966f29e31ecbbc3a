"""Partition tables, judged by sgdisk, parted, sfdisk, partx and dissect.volume.

The boundaries come from the tools themselves: the command lines of make-disk-image.nix, the seed's and
current nixpkgs', are run beside ours and what they leave on the disk is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest
from dissect.volume import disk as dissect_disk
from dissect.volume.exceptions import DiskError

from imgwriter import gpt, mbr
from imgwriter.disk import DiskIdentifiers, Layout, plan
from imgwriter.errors import FormatError
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.spec import Compat, TableKind
from imgwriter.units import GiB, MiB, TiB
from tests.oracles import parted, sgdisk
from tests.oracles.tools import attempt, require_root, run

pytestmark = pytest.mark.compat

SIZE = 1200 * MiB
BIG = 9 * GiB  # beyond CHS: there the protective MBRs of parted and of the specification are the same
COMPATS: tuple[Compat, ...] = get_args(Compat)
KINDS: tuple[TableKind, ...] = tuple(kind for kind in get_args(TableKind) if kind != "none")
GPT_KINDS: tuple[TableKind, ...] = ("legacy+gpt", "efi", "efixbootldr", "hybrid")
MBR_KINDS: tuple[TableKind, ...] = ("legacy", "legacy+boot")

SEED = {
    "legacy": "mklabel msdos mkpart primary ext4 1MiB -1",
    "efi": "mklabel gpt mkpart ESP fat32 8MiB 256MiB set 1 boot on mkpart primary ext4 256MiB -1",
}
"""parted's arguments in the seed."""

NIXPKGS = {
    "legacy": "mklabel msdos mkpart primary ext4 1MiB 100%",
    "legacy+boot": "mklabel msdos mkpart primary fat32 1MiB 257MiB set 1 boot on"
    " mkpart primary ext4 257MiB 100%",
    "legacy+gpt": "mklabel gpt mkpart no-fs 1MiB 2MiB set 1 bios_grub on mkpart primary ext4 2MiB 100%",
    "efi": "mklabel gpt mkpart ESP fat32 8MiB 257MiB set 1 boot on mkpart primary ext4 257MiB 100%",
    "efixbootldr": "mklabel gpt mkpart ESP fat32 8MiB 100MiB set 1 boot on mkpart BOOT fat32 100MiB 257MiB"
    " set 2 bls_boot on mkpart ROOT ext4 257MiB 100%",
    "hybrid": "mklabel gpt mkpart ESP fat32 8MiB 257MiB set 1 boot on mkpart no-fs 0 1024KiB"
    " set 2 bios_grub on mkpart primary ext4 257MiB 100%",
}
"""parted's arguments in current nixpkgs, with bootSizeMiB worked out (256M gives 257MiB)."""

_SECOND = "2:970C694F-AFD0-4B99-B750-CDB7A329AB6F"
_ROOT = "F222513B-DED1-49FA-B591-20CE86A2FE7F"
NIXPKGS_GUIDS = {
    "legacy+gpt": (_SECOND, f"3:{_ROOT}"),
    "efi": (f"2:{_ROOT}",),
    "efixbootldr": (_SECOND, f"3:{_ROOT}"),
    "hybrid": (_SECOND, f"3:{_ROOT}"),
}
"""sgdisk's --partition-guid in current nixpkgs, after partition 1's."""


def write(volume: Volume, path: Path) -> Path:
    """Write a table's Volume as a sparse file."""
    with path.open("wb") as file:
        file.truncate(volume.size)
        for e in volume.extents:
            file.seek(e.start)
            file.write(volume.read(e.start, e.length))
    return path


def ours(
    path: Path, kind: TableKind, size: int = SIZE, sector_size: int = 512, compat: Compat = "seed"
) -> Layout:
    """Write the table of a kind and return its layout."""
    layout = plan(kind, size, identifiers=DiskIdentifiers(), sector_size=sector_size, compat=compat)
    write(layout.table_volume(), path)
    return layout


def theirs(path: Path, kind: TableKind, size: int = SIZE, compat: Compat = "seed") -> Path:
    """Make the table of a kind as make-disk-image.nix does, with parted."""
    with path.open("wb") as file:
        file.truncate(size)
    script = (SEED if compat == "seed" else NIXPKGS)[kind]
    run("parted", "--script", path, "--", *script.split())
    return path


def theirs_with_guids(path: Path, kind: TableKind, size: int) -> Path:
    """Make the table of a kind as current nixpkgs does, with parted and sgdisk."""
    theirs(path, kind, size, "nixpkgs")
    guids = ("1:1C06F03B-704E-4657-B9CD-681A087A2FDC", *NIXPKGS_GUIDS[kind])
    disk_guid = "--disk-guid=97FD5997-D90B-4AA3-8D16-C1723AEA73C"
    run("sgdisk", disk_guid, *(f"--partition-guid={guid}" for guid in guids), path)
    return path


def lbas(layout: Layout) -> dict[int, tuple[int, int]]:
    """Return the (first, last) LBA of each partition by number."""
    sector = layout.sector_size
    return {p.number: (p.start // sector, p.end // sector - 1) for p in layout.partitions}


def parted_lbas(path: Path) -> dict[int, tuple[int, int]]:
    """Return the same as parted sees it."""
    return {p.number: (p.first_lba, p.last_lba) for p in parted.table(path).partitions}


def read(path: Path, start: int, length: int) -> bytes:
    """Return bytes of an image."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def as_volume(path: Path) -> Volume:
    """Return the ends of an image, where its table is, as a Volume for our readers."""
    size = path.stat().st_size
    parts = [extent(start, Bytes(read(path, start, MiB)), path.name) for start in (0, size - MiB)]
    return Volume(size, parts)


# The tools' own tables against ours


@pytest.mark.parametrize("size", [SIZE, SIZE + MiB, 600 * MiB, 100 * GiB])
@pytest.mark.parametrize(
    ("compat", "kind"), [("seed", k) for k in SEED] + [("nixpkgs", k) for k in NIXPKGS], ids=str
)
def test_boundaries_are_the_tools_own(tmp_path: Path, compat: Compat, kind: TableKind, size: int) -> None:
    layout = ours(tmp_path / "ours", kind, size, compat=compat)
    theirs(tmp_path / "theirs", kind, size, compat)
    found, expected = parted.table(tmp_path / "ours"), parted.table(tmp_path / "theirs")
    # Everything but the file systems parted guesses: numbers, LBAs, names and flags.
    assert found == expected
    assert parted_lbas(tmp_path / "ours") == lbas(layout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra", [512, 33 * 512, 34 * 512, MiB // 2, MiB - 512])
def test_boundaries_of_nixpkgs_on_a_broken_mib(tmp_path: Path, kind: TableKind, extra: int) -> None:
    layout = ours(tmp_path / "ours", kind, SIZE + extra, compat="nixpkgs")
    assert parted_lbas(theirs(tmp_path / "theirs", kind, SIZE + extra, "nixpkgs")) == lbas(layout)


@pytest.mark.parametrize(
    ("compat", "kind"), [("seed", k) for k in SEED] + [("nixpkgs", k) for k in NIXPKGS], ids=str
)
def test_boundaries_in_sectors_of_4096(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compat: Compat, kind: TableKind
) -> None:
    monkeypatch.setenv("PARTED_SECTOR_SIZE", "4096")
    layout = ours(tmp_path / "ours", kind, sector_size=4096, compat=compat)
    theirs(tmp_path / "theirs", kind, compat=compat)
    found = parted.table(tmp_path / "ours")
    assert found == parted.table(tmp_path / "theirs")
    assert found.sector_size == 4096
    assert parted_lbas(tmp_path / "ours") == lbas(layout)


@pytest.mark.parametrize("kind", GPT_KINDS)
def test_a_gpt_of_nixpkgs_is_the_same_byte_for_byte(tmp_path: Path, kind: TableKind) -> None:
    # Every structure with every checksum, identifier and quirk; nothing on the disk is random here.
    layout = ours(tmp_path / "ours", kind, BIG, compat="nixpkgs")
    theirs_with_guids(tmp_path / "theirs", kind, BIG)
    for start, length in ((0, MiB), (BIG - MiB, MiB)):
        found, expected = (read(tmp_path / name, start, length) for name in ("ours", "theirs"))
        assert found == expected
    assert gpt.parse(as_volume(tmp_path / "theirs")) == gpt.parse(layout.table_volume())


@pytest.mark.parametrize("kind", MBR_KINDS)
def test_our_reader_reads_their_mbr(tmp_path: Path, kind: TableKind) -> None:
    theirs(tmp_path / "disk", kind, compat="nixpkgs")
    layout = plan(kind, SIZE, identifiers=DiskIdentifiers(), compat="nixpkgs")
    found = mbr.parse(read(tmp_path / "disk", 0, 512)).records
    assert found == mbr.parse(layout.table_volume().read(0, 512)).records


# Ours before the judges


@pytest.mark.parametrize("compat", COMPATS)
@pytest.mark.parametrize("kind", GPT_KINDS)
@pytest.mark.parametrize("size", [SIZE, 16 * TiB - MiB])
def test_sgdisk_finds_nothing_to_say(tmp_path: Path, kind: TableKind, compat: Compat, size: int) -> None:
    image = tmp_path / "disk"
    layout = ours(image, kind, size, compat=compat)
    if compat == "nixpkgs" and kind == "hybrid":
        # Its partition 2 begins at LBA 34 and ends at 2048; nixpkgs' own image gets the same cautions.
        text = sgdisk.raw(image).out
        assert "\nNo problems found." in text
        remarks = re.findall(r"^(?:Caution|Warning|Problem).*", text, re.MULTILINE)
        assert remarks and all("Partition 2 doesn't" in remark for remark in remarks)
    else:
        sgdisk.verify(image)
    assert sgdisk.disk_guid(image).lower() == str(layout.disk_guid)
    for p in layout.partitions:
        first, last = lbas(layout)[p.number]
        expected = (str(p.type_guid).upper(), str(p.guid).upper(), first, last, 0, p.name)
        assert sgdisk.partition(image, p.number) == expected


@pytest.mark.parametrize("compat", COMPATS)
@pytest.mark.parametrize("kind", KINDS)
def test_sfdisk_and_partx_read_the_same(tmp_path: Path, kind: TableKind, compat: Compat) -> None:
    image = tmp_path / "disk"
    layout = ours(image, kind, compat=compat)
    verified = attempt("sfdisk", "--verify", image)
    assert verified.status == 0, verified.text
    assert "No errors detected." in verified.out
    dump = run("sfdisk", "--dump", image)
    rows = re.findall(r"(\d+) : start= *(\d+), size= *(\d+)(.*)", dump)
    found = {int(n): (int(start), int(start) + int(size) - 1) for n, start, size, _ in rows}
    assert found == lbas(layout)
    assert [int(n) for n, *_, rest in rows if "bootable" in rest] == [
        p.number for p in layout.partitions if p.active
    ]
    if layout.scheme == "mbr":
        assert f"label-id: 0x{layout.disk_signature:08x}" in dump
    uuids = run("partx", "-o", "NR,START,END,UUID", "--noheadings", "--raw", image).splitlines()
    assert [row.split() for row in uuids] == [
        [str(p.number), *map(str, lbas(layout)[p.number]), layout.partuuid(p)] for p in layout.partitions
    ]


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("kind", MBR_KINDS)
def test_the_largest_mbr_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: TableKind, sector_size: int
) -> None:
    monkeypatch.setenv("PARTED_SECTOR_SIZE", str(sector_size))
    # 16 TiB in 4,096-byte sectors, less the one MiB that ext4 as the host's file system cannot hold.
    size = (1 << 32) * sector_size + MiB - (2 * MiB if sector_size == 4096 else 0)
    layout = ours(tmp_path / "disk", kind, size, sector_size)
    assert parted_lbas(tmp_path / "disk") == lbas(layout)


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("compat", COMPATS)
@pytest.mark.parametrize("kind", KINDS)
def test_dissect_reads_the_same(tmp_path: Path, kind: TableKind, compat: Compat, sector_size: int) -> None:
    layout = ours(tmp_path / "disk", kind, sector_size=sector_size, compat=compat)
    with (tmp_path / "disk").open("rb") as file:
        found = dissect_disk.Disk(file, sector_size=sector_size).partitions
    # dissect.volume 3.18 counts a GPT partition's last sector out.
    missing = sector_size if layout.scheme == "gpt" else 0
    assert {(p.number, p.offset, p.size + missing) for p in found} == {
        (p.number, p.start, p.size) for p in layout.partitions
    }
    if layout.scheme == "gpt":
        assert {(p.number, p.name, p.type, p.guid) for p in found} == {
            (p.number, p.name, p.type_guid, p.guid) for p in layout.partitions
        }


@contextmanager
def loop_device(image: Path, sector_size: int) -> Iterator[Path]:
    """Attach an image to a loop device, where tools ask the kernel for the size of a sector."""
    require_root()
    done = attempt("losetup", "--find", "--show", "--sector-size", str(sector_size), image)
    if done.status:
        pytest.skip(f"no loop device here: {done.err.strip()}")
    device = Path(done.out.strip())
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@pytest.mark.parametrize("compat", COMPATS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_device_with_sectors_of_4096_is_read(tmp_path: Path, kind: TableKind, compat: Compat) -> None:
    layout = ours(tmp_path / "disk", kind, sector_size=4096, compat=compat)
    with loop_device(tmp_path / "disk", 4096) as device:
        verified = attempt("sfdisk", "--verify", device)
        assert verified.status == 0 and "No errors detected." in verified.out, verified.text
        rows = re.findall(r"p(\d+) : start= *(\d+), size= *(\d+)", run("sfdisk", "--dump", device))
        assert {int(n): (int(start), int(start) + int(size) - 1) for n, start, size in rows} == lbas(layout)
        if layout.scheme == "gpt":
            assert "\nNo problems found." in sgdisk.raw(device).out


# The judges object


def damage(image: Path, offset: int) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    ("offset", "complaint"),
    [
        (512 + 56, "Main header: ERROR"),  # disk GUID in the header
        (1024 + 32, "Main partition table: ERROR"),  # first LBA in an entry
        (SIZE - 512 + 56, "Backup header: ERROR"),
        (SIZE - 33 * 512 + 32, "Backup partition table: ERROR"),
        (510, "MBR"),
    ],
)
def test_sgdisk_and_our_reader_object(tmp_path: Path, offset: int, complaint: str) -> None:
    image = tmp_path / "disk"
    ours(image, "efi")
    damage(image, offset)
    result = sgdisk.raw(image)
    assert complaint in result.text
    with pytest.raises(AssertionError):
        sgdisk.verify(image)
    with pytest.raises(FormatError):
        gpt.parse(as_volume(image))


@pytest.mark.parametrize("offset", [512 + 56, SIZE - 512 + 56])
def test_parted_and_sfdisk_object_to_a_gpt(tmp_path: Path, offset: int) -> None:
    ours(tmp_path / "disk", "efi")
    damage(tmp_path / "disk", offset)
    with pytest.raises(AssertionError):
        parted.table(tmp_path / "disk")
    assert "corrupt" in attempt("sfdisk", "--verify", tmp_path / "disk").text


def test_parted_sfdisk_and_partx_object_to_an_mbr(tmp_path: Path) -> None:
    ours(tmp_path / "disk", "legacy")
    damage(tmp_path / "disk", 510)
    with pytest.raises(AssertionError):
        parted.table(tmp_path / "disk")
    assert "unrecognized partition table" in attempt("sfdisk", "--verify", tmp_path / "disk").text
    assert attempt("sfdisk", "--dump", tmp_path / "disk").status != 0
    assert attempt("partx", "--show", tmp_path / "disk").status != 0


def test_the_boundaries_are_compared_at_all(tmp_path: Path) -> None:
    # The seed's table and nixpkgs' differ, and parted shows it.
    ours(tmp_path / "ours", "efi")
    assert parted.table(tmp_path / "ours") != parted.table(
        theirs(tmp_path / "theirs", "efi", compat="nixpkgs")
    )


def test_dissect_objects_to_a_table_without_its_signature(tmp_path: Path) -> None:
    kinds: tuple[TableKind, ...] = ("efi", "legacy")
    for kind, offset in zip(kinds, (512, 510), strict=True):
        ours(tmp_path / "disk", kind)
        damage(tmp_path / "disk", offset)
        with (tmp_path / "disk").open("rb") as file, pytest.raises(DiskError):
            dissect_disk.Disk(file)
