"""Partition tables by sgdisk, sfdisk and parted, read as those and libblkid and dissect.volume read them.

Whole tables first, on which our reader has no finding; then damaged ones, which both sides have to object to.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import pytest
from dissect.volume import disk as dissect_disk

from imgwriter.readers import open_image
from imgwriter.tables_reader import Table, read_table
from imgwriter.units import MiB, TiB
from tests.oracles import parted, sgdisk
from tests.oracles.tools import attempt, run

pytestmark = pytest.mark.compat

SIZE = 64 * MiB
LAST = SIZE // 512 - 1

Rows: TypeAlias = dict[int, tuple[int, int]]
"""(first sector, sectors) by number."""

GPT_BY_SGDISK = {
    "two": "-n1:2048:+4M -t1:ef00 -c1:ESP -n2:0:0 -c2:root -A2:set:2 -A2:set:63",
    "gaps and order": "-n7:40000:50000 -n3:2048:4095 -n128:60000:61000 -c7:seven -c128:last",
    "names": "-n1:2048:4095 -c1:a'b\"c -n2:4096:8191 -c2:nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "none": "-o",
    "unaligned": "-a1 -n1:34:34 -n2:35:40 -n3:0:0",
    "256 entries": "-S256 -n1:0:+1M -n200:0:0",
    "4 entries": "-S4 -n1:0:0",
    "array elsewhere": "-j100 -n1:0:0",
}
GPT_BY_SFDISK = {
    "two": "label: gpt\nsize=4MiB,type=U,name=ESP,attrs=RequiredPartition\n,,L",
    "first LBA": "label: gpt\nfirst-lba: 2048\n,",
    "length": "label: gpt\ntable-length: 64\nsize=1MiB\n,",
    "numbers": "label: gpt\n5 : size=1MiB\n2 : size=2MiB\n",
}
GPT_BY_PARTED = {
    "two": "mklabel gpt mkpart ESP fat32 1MiB 5MiB set 1 boot on mkpart root ext4 5MiB 100%",
    "none": "mklabel gpt",
    "flags": "mklabel gpt mkpart a 1MiB 2MiB mkpart b 3MiB 4MiB set 1 bios_grub on set 2 legacy_boot on",
}
MBR_BY_SFDISK = {
    "one": "label: dos\n,",
    "four": "label: dos\nsize=4MiB,type=c,bootable\nsize=1MiB,type=82\nsize=4MiB,type=7\n,",
    "logical": "label: dos\nsize=4MiB\nsize=4MiB\n,,E\nsize=4MiB\nsize=5MiB,type=82\n,",
    "extended first": "label: dos\nsize=20MiB,type=f\nsize=4MiB\nsize=1MiB,bootable\n"
    "5 : size=3MiB\n6 : size=1MiB",
    "extended, empty": "label: dos\nsize=4MiB\n,,E",
    "none": "label: dos\n",
    "many logical": "label: dos\n,,E\n" + "size=1MiB\n" * 25,
}
MBR_BY_PARTED = {
    "logical": "mklabel msdos mkpart primary 1MiB 5MiB mkpart extended 5MiB 100% mkpart logical 6MiB 10MiB"
    " mkpart logical 12MiB 20MiB set 1 boot on",
    # The chain's order is then not the disk's.
    "logical, one again": "mklabel msdos mkpart extended 5MiB 100% mkpart logical 6MiB 10MiB mkpart logical"
    " 12MiB 20MiB mkpart logical 30MiB 40MiB rm 6 mkpart logical 11MiB 19MiB rm 5 mkpart logical 6MiB 7MiB",
    "extended, empty": "mklabel msdos mkpart extended 5MiB 100%",
    "none": "mklabel msdos",
}


def by_sgdisk(path: Path, arguments: str) -> None:
    run("sgdisk", *arguments.split(), path)


def by_sfdisk(path: Path, script: str) -> None:
    run("sfdisk", "--quiet", path, stdin=script.encode())


def by_parted(path: Path, script: str, sector_size: int = 512) -> None:
    run("parted", "--script", path, "--", *script.split(), env={"PARTED_SECTOR_SIZE": str(sector_size)})


TOOLS: dict[str, tuple[Callable[[Path, str], None], Mapping[str, str]]] = {
    "sgdisk": (by_sgdisk, GPT_BY_SGDISK),
    "sfdisk": (by_sfdisk, GPT_BY_SFDISK),
    "parted": (by_parted, GPT_BY_PARTED),
    "sfdisk dos": (by_sfdisk, MBR_BY_SFDISK),
    "parted msdos": (by_parted, MBR_BY_PARTED),
}
EVERY = [(tool, variant) for tool, (_, variants) in TOOLS.items() for variant in variants]
GPTS = [(tool, variant) for tool, variant in EVERY if tool in ("sgdisk", "sfdisk", "parted")]


def blank(path: Path, size: int = SIZE) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def made(path: Path, tool: str, variant: str) -> Path:
    """Return a disk with a table."""
    make, variants = TOOLS[tool]
    make(blank(path), variants[variant])
    return path


def ours(path: Path, sector_size: int | None = None) -> Table:
    return read_table(open_image(bytes(path), "raw").volume, sector_size)


def rows(table: Table) -> Rows:
    size = table.sector_size
    return {p.number: (p.start // size, p.size // size) for p in table.partitions}


def damage(path: Path, offset: int, mask: int = 0xFF) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def write(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


# What each judge reads


def by_json(path: Path, *options: str) -> Mapping[str, object]:
    """Return what ``sfdisk --json`` says."""
    table: Mapping[str, object] = json.loads(run("sfdisk", "--json", *options, path))["partitiontable"]
    return table


def sfdisk_rows(path: Path, *options: str) -> Rows:
    partitions = by_json(path, *options).get("partitions", [])
    assert isinstance(partitions, list)
    return {int(p["node"].removeprefix(str(path))): (p["start"], p["size"]) for p in partitions}


def partx_rows(path: Path) -> Rows:
    """Return what libblkid reads; it does not tell an empty table from none."""
    found = attempt("partx", "-o", "NR,START,SECTORS", "-g", "-r", path)
    assert found.status == 0 or "failed to read partition table" in found.text, found.text
    lines = (line.split() for line in found.out.splitlines())
    return {int(number): (int(start), int(size)) for number, start, size in lines}


def parted_rows(path: Path) -> Rows:
    return {p.number: (p.first_lba, p.last_lba - p.first_lba + 1) for p in parted.table(path).partitions}


def dissect_rows(path: Path, kind: str, sector_size: int = 512) -> set[tuple[int, int]]:
    """Return (first sector, sectors) but of extended partitions; it numbers logical ones in its own way."""
    # dissect.volume 3.18 counts a GPT partition's last sector out.
    missing = 1 if kind == "gpt" else 0
    with path.open("rb") as file:
        found = dissect_disk.Disk(file, sector_size=sector_size).partitions
        return {(p.offset // sector_size, p.size // sector_size + missing) for p in found}


# Whole tables


@pytest.mark.parametrize(("tool", "variant"), EVERY, ids=str)
def test_every_judge_reads_the_same_and_nothing_is_found(tmp_path: Path, tool: str, variant: str) -> None:
    path = made(tmp_path / "disk", tool, variant)
    table = ours(path)
    assert table.findings == ()
    assert table.kind == ("gpt" if (tool, variant) in GPTS else "mbr")
    assert table.used == ("primary" if table.kind == "gpt" else None)
    assert rows(table) == sfdisk_rows(path) == partx_rows(path) == parted_rows(path)
    plain = {(p.start // 512, p.size // 512) for p in table.partitions if p.role != "extended"}
    assert plain == dissect_rows(path, table.kind)


@pytest.mark.parametrize(("tool", "variant"), GPTS, ids=str)
def test_every_field_of_a_gpt_is_as_sfdisk_and_sgdisk_have_it(
    tmp_path: Path, tool: str, variant: str
) -> None:
    path = made(tmp_path / "disk", tool, variant)
    table, theirs = ours(path), by_json(path)
    primary, backup = table.copies
    assert primary.header is not None and backup.header is not None
    assert table.identifier == UUID(str(theirs["id"]))
    assert primary.header.first_usable_lba == backup.header.first_usable_lba == theirs["firstlba"]
    assert primary.header.last_usable_lba == theirs["lastlba"]
    assert primary.array == backup.array
    partitions = theirs.get("partitions", [])
    assert isinstance(partitions, list)
    assert [(p.type, p.guid, p.name) for p in sorted(table.partitions, key=lambda p: p.number)] == [
        (UUID(p["type"]), UUID(p["uuid"]), p.get("name", "")) for p in partitions
    ]
    for p in table.partitions:
        found = sgdisk.partition(path, p.number)
        assert (UUID(found.unique_guid), found.attributes) == (p.guid, p.attributes)


def test_names_beyond_ascii(tmp_path: Path) -> None:
    path = blank(tmp_path / "disk")
    names = ["Grüße, 世界", "é" * 36]
    arguments = ["-n1:0:+1M", "-n2:0:0", *(f"-c{n}:{name}" for n, name in enumerate(names, 1))]
    run("sgdisk", *arguments, path, env={"LC_ALL": "C.UTF-8"})
    table = ours(path)
    assert ([p.name for p in table.partitions], table.findings) == (names, ())
    lines = run("partx", "-o", "NAME", "-g", path, env={"LC_ALL": "C.UTF-8"}).splitlines()
    assert [line.strip() for line in lines] == names


@pytest.mark.parametrize(
    ("tool", "variant"), [(tool, variant) for tool, variant in EVERY if (tool, variant) not in GPTS], ids=str
)
def test_every_field_of_an_mbr_is_as_sfdisk_has_it(tmp_path: Path, tool: str, variant: str) -> None:
    path = made(tmp_path / "disk", tool, variant)
    table, theirs = ours(path), by_json(path)
    assert table.identifier == int(str(theirs["id"]), 16)
    partitions = theirs.get("partitions", [])
    assert isinstance(partitions, list)
    assert [(p.type, p.active) for p in table.partitions] == [
        (int(p["type"], 16), p.get("bootable", False)) for p in partitions
    ]


@pytest.mark.parametrize("variant", GPT_BY_PARTED)
def test_sectors_of_4096_are_told_by_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    monkeypatch.setenv("PARTED_SECTOR_SIZE", "4096")
    path = blank(tmp_path / "disk")
    by_parted(path, GPT_BY_PARTED[variant], 4096)
    table = ours(path)
    assert (table.sector_size, table.findings) == (4096, ())
    assert rows(table) == parted_rows(path)
    assert set(rows(table).values()) == dissect_rows(path, "gpt", 4096)
    # Read as 512-byte sectors, it is a protective MBR without a GPT, to sgdisk as well.
    wrong = ours(path, 512)
    assert (wrong.kind, wrong.used) == ("gpt", None)
    assert "the disk has sectors of 4,096 bytes" in wrong.findings[-1].found
    assert "Creating new GPT entries in memory" in sgdisk.raw(path).out


def test_a_disk_beyond_2_tib(tmp_path: Path) -> None:
    path = blank(tmp_path / "disk", 9 * TiB)
    by_sgdisk(path, "-n1:0:+3T -n2:0:0")
    table = ours(path)
    assert (table.findings, table.notes) == ((), ())
    assert rows(table) == sfdisk_rows(path) == parted_rows(path)


@pytest.mark.parametrize("arguments", ["-h1", "-h1:EE", "-h1:2:EE"])
def test_a_hybrid_mbr_is_noted_and_the_gpt_counts(tmp_path: Path, arguments: str) -> None:
    path = made(tmp_path / "disk", "sgdisk", "two")
    by_sgdisk(path, arguments)
    table = ours(path)
    assert (table.kind, table.hybrid, table.findings) == ("gpt", True, ())
    assert any("hybrid" in note.found for note in table.notes)
    assert "MBR: hybrid" in sgdisk.raw(path).out or "hybrid" in run("sgdisk", "-p", "-v", path)
    assert table.mbr is not None
    of_mbr = {n: (r.starting_lba, r.size_in_lba) for n, r in table.mbr.records.items() if r.os_type != 0xEE}
    # libblkid reads the GPT, sfdisk the MBR when it is told to.
    assert rows(table) == partx_rows(path)
    nested = sfdisk_rows(path, "--label-nested", "dos")
    assert {n: row for n, row in nested.items() if n in of_mbr} == of_mbr


def test_a_protective_record_that_is_active_is_noted(tmp_path: Path) -> None:
    path = made(tmp_path / "disk", "parted", "two")
    by_parted(path, "disk_set pmbr_boot on")
    table = ours(path)
    assert table.findings == ()
    assert [(n.structure, n.field) for n in table.notes] == [("MBR record 1", "boot_indicator")]


@pytest.mark.parametrize(
    "command",
    ["mkfs.vfat {}", "mkfs.vfat -F 32 {}", "mke2fs -q {}", "mkfs.xfs -q {}", "true {}"],
    ids=lambda c: c[:12],
)
def test_a_file_system_on_the_disk_is_no_table(tmp_path: Path, command: str) -> None:
    path = blank(tmp_path / "disk", 320 * MiB)
    tool, *arguments = (word.format(path) for word in command.split())
    run(tool, *arguments)
    table = ours(path)
    assert (table.kind, table.findings, table.notes) == ("none", (), ())
    assert partx_rows(path) == {}


# Damaged tables

HEADER_DAMAGE = [512, 512 + 12, 512 + 24, 512 + 40, 512 + 72, 512 + 88, 1024 + 40, 1024 + 128, 1024 + 16383]


@pytest.mark.parametrize("offset", HEADER_DAMAGE)
def test_a_damaged_primary_is_named_and_all_take_the_backup(tmp_path: Path, offset: int) -> None:
    path = made(tmp_path / "disk", "sgdisk", "two")
    before = rows(ours(path))
    damage(path, offset)
    table = ours(path)
    assert table.used == "backup"
    assert all(f.structure == "GPT primary header" for f in table.findings) and table.findings
    assert rows(table) == before == sfdisk_rows(path) == partx_rows(path)
    # parted does not look for the backup where the primary's signature is gone.
    refused = "unrecognised disk label" if offset == 512 else "primary GPT table is corrupt, but the backup"
    assert refused in parted.raw(path).text
    verdict = sgdisk.raw(path).text
    assert "Main header: ERROR" in verdict or "Main partition table: ERROR" in verdict


@pytest.mark.parametrize("offset", HEADER_DAMAGE)
def test_a_damaged_backup_is_named_and_all_take_the_primary(tmp_path: Path, offset: int) -> None:
    path = made(tmp_path / "disk", "sgdisk", "two")
    before = rows(ours(path))
    damage(path, offset - 512 + LAST * 512 if offset < 1024 else offset - 1024 + (LAST - 32) * 512)
    table = ours(path)
    assert table.used == "primary"
    assert all(f.structure == "GPT backup header" for f in table.findings) and table.findings
    assert rows(table) == before == sfdisk_rows(path) == partx_rows(path)
    verdict = sgdisk.raw(path).text
    assert "Backup header: ERROR" in verdict or "Backup partition table: ERROR" in verdict


def test_both_copies_damaged_are_read_by_nobody(tmp_path: Path) -> None:
    path = made(tmp_path / "disk", "sgdisk", "two")
    damage(path, 512 + 40)
    damage(path, LAST * 512 + 40)
    table = ours(path)
    assert (table.kind, table.used, table.partitions) == ("gpt", None, ())
    assert len(table.findings) == 2
    assert parted.raw(path).status != 0
    assert "Creating new GPT entries in memory" in sgdisk.raw(path).out


def test_a_disk_made_larger_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "disk", "sgdisk", "two")
    with path.open("r+b") as file:
        file.truncate(SIZE + 8 * MiB)
    table = ours(path)
    assert (table.used, table.copies[1].lba, table.copies[1].usable) == ("primary", LAST, True)
    assert [f.field for f in table.findings] == ["size_in_lba", "my_lba", "alternate_lba"]
    assert (
        "not all of the space" in parted.raw(path).text.lower() or "not at the end" in parted.raw(path).text
    )
    assert "doesn't reside" in sgdisk.raw(path).out
    by_sgdisk(path, "-e")
    assert ours(path).findings == ()


def test_a_disk_cut_off_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "disk", "sgdisk", "gaps and order")
    with path.open("r+b") as file:
        file.truncate(SIZE - MiB)
    table = ours(path)
    assert table.used is None
    assert ("GPT primary header", "last_usable_lba") in [(f.structure, f.field) for f in table.findings]
    assert sgdisk.raw(path).text.count("Problem") + sgdisk.raw(path).text.count("larger than the disk") > 0
    assert partx_rows(path) == {}


def test_overlapping_entries_are_named_by_sgdisk_too(tmp_path: Path) -> None:
    path = made(tmp_path / "disk", "sgdisk", "gaps and order")
    # sgdisk does not make such: let entry 7 end behind the beginning of entry 128, in both copies.
    for array in (1024, (LAST - 32) * 512):
        write(path, array + 6 * 128 + 40, (60500).to_bytes(8, "little"))
    reseal(path)
    table = ours(path)
    assert [(f.structure, f.field) for f in table.findings] == [("GPT primary entry 128", "starting_lba")]
    assert "overlap" in sgdisk.raw(path).out


def reseal(path: Path) -> None:
    """Make the checksums of both headers right."""
    content = path.read_bytes()
    for at in (512, LAST * 512):
        header = bytearray(content[at : at + 92])
        array = int.from_bytes(header[72:80], "little") * 512
        size = int.from_bytes(header[80:84], "little") * int.from_bytes(header[84:88], "little")
        header[88:92] = zlib.crc32(content[array : array + size]).to_bytes(4, "little")
        header[16:20] = bytes(4)
        header[16:20] = zlib.crc32(header).to_bytes(4, "little")
        write(path, at, bytes(header))


def test_an_mbr_without_its_signature_is_none_to_all(tmp_path: Path) -> None:
    path = made(tmp_path / "disk", "sfdisk dos", "four")
    damage(path, 510)
    assert ours(path).kind == "none"
    assert attempt("sfdisk", "--json", path).status != 0
    assert partx_rows(path) == {}
    assert parted.raw(path).status != 0


def test_a_chain_that_leads_back_is_named_and_nobody_reads_more(tmp_path: Path) -> None:
    path = made(tmp_path / "disk", "sfdisk dos", "logical")
    before = rows(ours(path))
    extended = before[3][0]
    last_ebr = before[7][0] - 2048  # sfdisk puts an EBR 2,048 sectors before its partition
    # To the first EBR: type 5, LBA 0 of the extended partition, 4,096 sectors.
    write(path, last_ebr * 512 + 446 + 16, bytes.fromhex("00000000 05000000 00000000 00100000"))
    table = ours(path)
    assert rows(table) == before
    assert [(f.structure, f.field) for f in table.findings] == [
        (f"EBR at LBA {last_ebr:,} record 2", "starting_lba")
    ]
    assert table.findings[0].found == f"LBA {extended:,} again: a loop"
    # The others go round until they have enough; what they read before is the same.
    assert all(sfdisk_rows(path)[n] == row for n, row in before.items())


def test_a_chain_that_ends_in_nothing_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "disk", "sfdisk dos", "logical")
    before = rows(ours(path))
    ebr = before[6][0] - 2048
    damage(path, ebr * 512 + 510)
    table = ours(path)
    assert [(f.structure, f.field) for f in table.findings] == [(f"EBR at LBA {ebr:,}", "signature")]
    assert rows(table) == {n: row for n, row in before.items() if n < 6} == partx_rows(path)
