"""verify.fat: a whole volume has nothing said about it; each damage is named, with its field and place."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

import pytest

from imgwriter.extent import Bytes, Volume, extent
from imgwriter.filedata import Amount
from imgwriter.units import MiB
from imgwriter.verify.fat import verify_fat
from imgwriter.verify.values import Result
from tests.unit.verify.volumes import LONG_SHORT, FatVolume, said

Damage: TypeAlias = Callable[[FatVolume], object]

SHORT = b"SHORT   TXT"
BOOT = "FAT boot sector"
LONG = "FAT entry /a long name.txt"


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_nothing_is_said_about_a_volume_that_is_whole(bits: int) -> None:
    result = FatVolume(bits).verify()
    assert result.findings == ()
    assert result.notes == ()


# Offsets: FAT specification, 3.1.
BOOT_DAMAGES: dict[str, tuple[Damage, str, int]] = {
    "jump": (lambda v: v.put("<B", 0, 0x90), "BS_jmpBoot", 0),
    "sector size": (lambda v: v.put("<H", 11, 513), "BPB_BytsPerSec", 11),
    "cluster size": (lambda v: v.put("<B", 13, 3), "BPB_SecPerClus", 13),
    "no cluster size": (lambda v: v.put("<B", 13, 0), "BPB_SecPerClus", 13),
    "reserved": (lambda v: v.put("<H", 14, 0), "BPB_RsvdSecCnt", 14),
    "no FATs": (lambda v: v.put("<B", 16, 0), "BPB_NumFATs", 16),
    "media": (lambda v: v.put("<B", 21, 0xF7), "BPB_Media", 21),
    "both totals": (lambda v: v.put("<H", 19, 2000).put("<I", 32, 2000), "BPB_TotSec32", 32),
    "no total": (lambda v: v.put("<H", 19, 0).put("<I", 32, 0), "BPB_TotSec32", 32),
    "signature": (lambda v: v.put("<H", 510, 0), "Signature_word", 510),
}  # fmt: skip


@pytest.mark.parametrize("bits", [12, 16, 32])
@pytest.mark.parametrize("damage", BOOT_DAMAGES)
def test_a_field_of_every_boot_sector_is_named(damage: str, bits: int) -> None:
    change, field, offset = BOOT_DAMAGES[damage]
    volume = FatVolume(bits)
    change(volume)
    findings = [f for f in volume.verify().findings if f.structure == BOOT]
    assert (field, offset) in {(f.field, f.offset) for f in findings}
    assert all(f.section.startswith("FAT specification, 3") for f in findings)


# Offsets: FAT specification, 3.3.
BOOT32_DAMAGES: dict[str, tuple[Damage, str, int]] = {
    "root entries": (lambda v: v.put("<H", 17, 16), "BPB_RootEntCnt", 17),
    "total in 16 bits": (lambda v: v.put("<H", 19, 1), "BPB_TotSec16", 19),
    "flags": (lambda v: v.put("<H", 40, 0x0010), "BPB_ExtFlags", 40),
    "active FAT": (lambda v: v.put("<H", 40, 0x0082), "BPB_ExtFlags", 40),
    "version": (lambda v: v.put("<H", 42, 1), "BPB_FSVer", 42),
    "root cluster 1": (lambda v: v.put("<I", 44, 1), "BPB_RootClus", 44),
    "root cluster beyond": (lambda v: v.put("<I", 44, 1 << 27), "BPB_RootClus", 44),
    "FSInfo": (lambda v: v.put("<H", 48, 4000), "BPB_FSInfo", 48),
    "backup": (lambda v: v.put("<H", 50, 4000), "BPB_BkBootSec", 50),
    "reserved": (lambda v: v.put("<B", 52, 1), "BPB_Reserved", 52),
    "state": (lambda v: v.put("<B", 65, 4), "BS_Reserved1", 65),
    "mark": (lambda v: v.put("<B", 66, 0x2A), "BS_BootSig", 66),
    "label": (lambda v: v.put("<11s", 71, b"OTHER      "), "BS_VolLab", 71),
}  # fmt: skip


@pytest.mark.parametrize("damage", BOOT32_DAMAGES)
def test_a_field_of_the_boot_sector_of_fat32_is_named(damage: str) -> None:
    change, field, offset = BOOT32_DAMAGES[damage]
    volume = FatVolume(32)
    change(volume)
    assert (field, offset) in {(f.field, f.offset) for f in volume.verify().findings}


@pytest.mark.parametrize(("bits", "field", "at"), [(12, "BPB_RootEntCnt", 17), (16, "BPB_FATSz16", 22)])
def test_a_field_of_the_other_types_is_named(bits: int, field: str, at: int) -> None:
    volume = FatVolume(bits).put("<H", at, 1)
    assert field in {f.field for f in volume.verify().findings}


# What is allowed, and rare.
BOOT_NOTES: dict[str, tuple[Damage, str]] = {
    "dirty": (lambda v: v.put("<B", 65, 1), "BS_Reserved1"),
    "errors": (lambda v: v.put("<B", 65, 2), "BS_Reserved1"),
    "type": (lambda v: v.put("<8s", 82, b"FAT16   ").put("<8s", 6 * 512 + 82, b"FAT16   "), "BS_FilSysType"),
    "no heads": (lambda v: v.put("<H", 26, 0).put("<H", 6 * 512 + 26, 0), "BPB_NumHeads"),
    "drive": (lambda v: v.put("<B", 64, 1).put("<B", 6 * 512 + 64, 1), "BS_DrvNum"),
}


@pytest.mark.parametrize("kind", BOOT_NOTES)
def test_what_is_rare_is_a_note(kind: str) -> None:
    change, field = BOOT_NOTES[kind]
    volume = FatVolume(32)
    change(volume)
    result = volume.verify()
    assert result.findings == ()
    assert [note.field for note in result.notes] == [field]


def test_a_volume_larger_than_its_partition_is_named_and_still_looked_at() -> None:
    volume = FatVolume(12)
    volume.link(volume.first(SHORT), 0)
    findings = volume.verify(volume.size - 512).findings
    assert findings[0].field == "BPB_TotSec16"
    assert findings[0].expected == f"at most {volume.size // 512 - 1:,}, the sectors of the partition"
    assert len(findings) > 1
    assert volume.verify(volume.size).findings[0].field != "BPB_TotSec16"


def test_sectors_before_the_partition_are_counted() -> None:
    whole = FatVolume(12)
    shifted = Volume(2 * MiB, [extent(1024, Bytes(bytes(whole.image)), "volume")])
    notes = verify_fat(shifted, 1024, whole.size, in_partition=True).notes
    assert [(n.field, n.expected) for n in notes] == [("BPB_HiddSec", "2, the partition's first")]
    assert verify_fat(shifted, 1024, whole.size).notes == ()
    whole.put("<I", 28, 2)
    shifted = Volume(2 * MiB, [extent(1024, Bytes(bytes(whole.image)), "volume")])
    assert verify_fat(shifted, 1024, whole.size, in_partition=True).notes == ()


@pytest.mark.parametrize("size", [0, 511, 512])
def test_a_volume_that_ends_in_its_boot_sector(size: int) -> None:
    findings = FatVolume(12).cut(size).verify().findings
    assert findings and findings[0].structure == BOOT


def test_fat32_of_too_few_clusters() -> None:
    """The type follows from the count alone. Spec: 3.5."""
    volume = FatVolume(32)
    volume.put("<I", 32, 65_524 + volume.data_at // 512)
    finding = next(f for f in volume.verify().findings if f.field == "BPB_TotSec32")
    assert finding.section == "FAT specification, 3.5"
    volume.put("<I", 32, 65_525 + volume.data_at // 512)
    assert (BOOT, "BPB_TotSec32") not in said(volume.verify().findings)


def test_a_fat_without_entries_for_all_clusters() -> None:
    volume = FatVolume(32)
    volume.put("<I", 36, volume.fat_sectors - 10)
    assert "BPB_FATSz32" in {f.field for f in volume.verify().findings}


# Copies and counts


@pytest.mark.parametrize(("at", "what"), [(3, "BS_OEMName"), (67, "BS_VolID"), (100, "boot code")])
def test_a_backup_that_differs_is_named(at: int, what: str) -> None:
    (finding,) = FatVolume(32).flip(6 * 512 + at, 1).verify().findings
    assert (finding.structure, finding.found) == ("FAT backup boot sector", f"another {what}")
    assert finding.offset == 6 * 512 + at
    assert finding.section == "FAT specification, 3.6"


def test_the_state_of_a_backup_does_not_count() -> None:
    assert FatVolume(32).flip(6 * 512 + 65, 1).verify().findings == ()


@pytest.mark.parametrize("bits", [12, 16, 32])
@pytest.mark.parametrize("cluster", [0, 1, 2, 5, 900])
def test_fats_that_differ_are_named(bits: int, cluster: int) -> None:
    volume = FatVolume(bits).link(cluster, 0x555, fats=(1,))
    findings = volume.verify().findings
    assert {f.structure for f in findings} == {"FAT 2"}
    assert f"FAT[{cluster:,}]" in {f.field for f in findings}


def test_a_fat_that_is_not_mirrored_is_not_compared() -> None:
    volume = FatVolume(32).put("<H", 40, 0x80).put("<H", 6 * 512 + 40, 0x80).link(900, 0x555, fats=(1,))
    result = volume.verify()
    assert result.findings == ()
    assert [n.field for n in result.notes] == ["BPB_ExtFlags"]


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_entry_0_repeats_the_media(bits: int) -> None:
    volume = FatVolume(bits)
    (finding,) = volume.link(0, volume.end & ~0xFF | 0xF0).verify().findings
    assert (finding.structure, finding.field, finding.offset) == ("FAT", "FAT[0]", volume.fat_at)


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_entry_1_is_an_end_mark(bits: int) -> None:
    (finding,) = FatVolume(bits).link(1, 0x123).verify().findings
    assert (finding.structure, finding.field) == ("FAT", "FAT[1]")


@pytest.mark.parametrize(("bits", "clean", "sound"), [(16, 1 << 15, 1 << 14), (32, 1 << 27, 1 << 26)])
def test_the_state_in_entry_1_is_noted(bits: int, clean: int, sound: int) -> None:
    """Spec: FAT specification, 4: ClnShutBitMask, HrdErrBitMask."""
    for mask, word in ((clean, "ClnShutBitMask"), (sound, "HrdErrBitMask")):
        volume = FatVolume(bits)
        result = volume.link(1, volume.end & ~mask).verify()
        assert result.findings == ()
        (note,) = result.notes
        assert word in note.found


FSINFO = {
    "lead": (0, "FSI_LeadSig"), "structure": (484, "FSI_StrucSig"), "trail": (508, "FSI_TrailSig"),
    "first reserve": (4, "FSI_Reserved1"), "its end": (483, "FSI_Reserved1"),
    "second": (507, "FSI_Reserved2"),
    "free": (488, "FSI_Free_Count"), "next": (495, "FSI_Nxt_Free"),
}  # fmt: skip


@pytest.mark.parametrize("damage", FSINFO)
def test_a_field_of_fsinfo_is_named(damage: str) -> None:
    at, field = FSINFO[damage]
    (finding,) = FatVolume(32).flip(512 + at, 0x20).verify().findings
    assert (finding.structure, finding.field, finding.section) == ("FSInfo", field, "FAT specification, 5")


def test_counts_that_are_not_known_are_no_damage() -> None:
    result = FatVolume(32).put("<II", 512 + 488, 0xFFFFFFFF, 0xFFFFFFFF).verify()
    assert result.findings == ()
    assert [n.field for n in result.notes] == ["FSI_Free_Count"]


@pytest.mark.parametrize(("following", "holds"), [(0, False), (1, False), (2, True), (-1, True), (0, False)])
def test_the_next_free_cluster_is_a_cluster(following: int, holds: bool) -> None:
    volume = FatVolume(32)
    last = (volume.size - volume.data_at) // 512 + 1
    for value, right in ((following if following >= 0 else last, holds), (last + 1, False)):
        fields = {f.field for f in volume.put("<I", 512 + 492, value).verify().findings}
        assert fields == (set() if right else {"FSI_Nxt_Free"})


# Chains


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_a_loop_is_named(bits: int) -> None:
    volume = FatVolume(bits)
    first = volume.first(LONG_SHORT)
    findings = volume.link(first + 2, first).verify().findings
    assert said(findings) == {("FAT chain of /a long name.txt", "")}
    assert "a loop" in findings[0].found
    assert findings[0].offset == volume.fat_at + first * bits // 8


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_a_cross_link_is_named_and_what_is_cut_off_is_lost(bits: int) -> None:
    volume = FatVolume(bits)
    short, long = volume.first(SHORT), volume.first(LONG_SHORT)
    findings = volume.link(long, short).verify().findings
    crossed = [f for f in findings if "a cross link" in f.found]
    owner, other = ("/SHORT.TXT", "/a long name.txt")
    if crossed[0].structure.endswith(owner):
        owner, other = other, owner
    assert [(f.structure, f.found) for f in crossed] == [
        (f"FAT chain of {other}", f"cluster {short} in a cross link: {owner} has it too")
    ]
    assert any(f.found.endswith("lost") for f in findings)


@pytest.mark.parametrize("bits", [12, 16, 32])
@pytest.mark.parametrize("value", ["free", "reserved", "bad", "beyond"])
def test_an_entry_that_leads_nowhere_is_named(bits: int, value: str) -> None:
    volume = FatVolume(bits)
    values = {"free": 0, "reserved": 1, "bad": volume.end - 8, "beyond": volume.end - 16}
    first = volume.first(LONG_SHORT)
    findings = volume.link(first + 1, values[value]).verify().findings
    assert ("FAT chain of /a long name.txt", f"FAT[{first + 1}]") in said(findings)
    # FSInfo counts one cluster less, and the last one is lost.
    assert any(f.found == f"cluster {first + 2} lost" for f in findings)


@pytest.mark.parametrize("bits", [12, 16, 32])
@pytest.mark.parametrize("first", [1, 60_000])
def test_a_first_cluster_that_is_none_is_named(bits: int, first: int) -> None:
    volume = FatVolume(bits)
    at = volume.entry_at(SHORT) + 26
    volume.put("<H", at, first)
    if bits == 32:
        volume.put("<H", at - 6, 0x7FFF)
    findings = [f for f in volume.verify().findings if f.field == "DIR_FstClusLO"]
    assert [(f.structure, f.offset) for f in findings] == [("FAT entry /SHORT.TXT", at)]


@pytest.mark.parametrize("bits", [12, 16, 32])
@pytest.mark.parametrize(
    ("size", "holds"), [(0, False), (512, False), (513, True), (1024, True), (1025, False)]
)
def test_a_size_is_held_against_its_chain(bits: int, size: int, holds: bool) -> None:
    """SHORT.TXT has two clusters of 512 bytes."""
    volume = FatVolume(bits)
    at = volume.entry_at(SHORT) + 28
    findings = volume.put("<I", at, size).verify().findings
    expected = [] if holds else [("FAT entry /SHORT.TXT", "DIR_FileSize", at)]
    assert [(f.structure, f.field, f.offset) for f in findings] == expected


def test_a_size_without_clusters_is_named() -> None:
    volume = FatVolume(16)
    findings = volume.put("<I", volume.entry_at(b"EMPTY      ") + 28, 1).verify().findings
    assert said(findings) == {("FAT entry /EMPTY", "DIR_FstClusLO")}


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_lost_clusters_are_named_as_runs(bits: int) -> None:
    volume = FatVolume(bits)
    for cluster in (100, 101, 102, 104):
        volume.link(cluster, cluster + 1 if cluster < 102 else volume.end)
    findings = [f for f in volume.verify().findings if f.structure == "FAT"]
    assert [f.found for f in findings] == ["clusters 100 to 102 lost", "cluster 104 lost"]
    assert findings[0].offset == volume.fat_at + 100 * bits // 8


def test_lost_clusters_are_found_though_a_chain_has_a_free_one() -> None:
    """As many entries are used as clusters are claimed: the counts alone would agree."""
    volume = FatVolume(16)
    volume.link(volume.first(b"INNER      "), 0).link(100, volume.end)
    assert "cluster 100 lost" in {f.found for f in volume.verify().findings}


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_bad_clusters_are_a_note(bits: int) -> None:
    volume = FatVolume(bits).link(100, FatVolume(bits).end - 8)
    result = volume.verify()
    assert {f.structure for f in result.findings} <= {"FSInfo"}  # which counts them as used
    assert [n.found for n in result.notes] == ["1 marked bad"]


# Directories


def test_dot_entries_are_checked() -> None:
    for at, code, value, name, field in (
        (26, "<H", 77, "/SUB/.", "DIR_FstClusLO"),
        (32 + 26, "<H", 77, "/SUB/..", "DIR_FstClusLO"),
        (11, "<B", 0x20, "/SUB/.", "DIR_Attr"),
        (32, "<11s", b"X          ", "/SUB", "its first two entries"),
    ):
        volume = FatVolume(16)
        where = volume.cluster(volume.first(b"SUB        ")) + at
        findings = volume.put(code, where, value).verify().findings
        wanted = f"FAT directory {name}" if name == "/SUB" else f"FAT entry {name}"
        assert (wanted, field) in said(findings), (name, findings)


def test_dot_entries_have_no_place_in_the_root() -> None:
    volume = FatVolume(16)
    findings = volume.put("<11s", volume.entry_at(SHORT), b".          ").verify().findings
    assert ("FAT entry /.", "DIR_Name") in said(findings)


def test_a_directory_has_no_size() -> None:
    volume = FatVolume(16)
    findings = volume.put("<I", volume.entry_at(b"SUB        ") + 28, 512).verify().findings
    assert said(findings) == {("FAT entry /SUB", "DIR_FileSize")}


def test_entries_behind_the_end_are_named() -> None:
    volume = FatVolume(16)
    behind = volume.cluster(volume.first(b"SUB        ")) + 5 * 32
    (finding,) = volume.put("<11s", behind, b"BEHIND     ").verify().findings
    assert (finding.structure, finding.field) == ("FAT directory /SUB", "DIR_Name")
    assert finding.offset == behind


def test_a_deleted_entry_behind_the_end_is_none() -> None:
    volume = FatVolume(16)
    volume.put("<11s", volume.cluster(volume.first(b"SUB        ")) + 5 * 32, b"\xe5EHIND     ")
    assert volume.verify().findings == ()


# (offset in the entry, code, value), field. Spec: FAT specification, 6.
ENTRY_DAMAGES = {
    "attributes": ((11, "<B", 0x60), "DIR_Attr"),
    "month 0": ((24, "<H", 40 << 9 | 0 << 5 | 1), "DIR_WrtDate"),
    "month 13": ((24, "<H", 40 << 9 | 13 << 5 | 1), "DIR_WrtDate"),
    "day 0": ((16, "<H", 40 << 9 | 1 << 5), "DIR_CrtDate"),
    "access": ((18, "<H", 40 << 9 | 15 << 5 | 1), "DIR_LstAccDate"),
    "hour": ((22, "<H", 24 << 11), "DIR_WrtTime"),
    "minute": ((22, "<H", 60 << 5), "DIR_WrtTime"),
    "seconds": ((14, "<H", 30), "DIR_CrtTime"),
    "tenths": ((13, "<B", 200), "DIR_CrtTimeTenth"),
    "control": ((3, "<B", 0x1F), "DIR_Name"),
    "star": ((1, "<B", ord("*")), "DIR_Name"),
    "lower": ((2, "<B", ord("o")), "DIR_Name"),
    "space first": ((0, "<B", ord(" ")), "DIR_Name"),
    "space within": ((2, "<B", ord(" ")), "DIR_Name"),
}  # fmt: skip


@pytest.mark.parametrize("damage", ENTRY_DAMAGES)
def test_a_field_of_a_directory_entry_is_named(damage: str) -> None:
    (at, code, value), field = ENTRY_DAMAGES[damage]
    volume = FatVolume(16)
    findings = volume.put(code, volume.entry_at(SHORT) + at, value).verify().findings
    assert {f.field for f in findings} == {field}
    assert all(f.section.startswith("FAT specification, 6") for f in findings)


@pytest.mark.parametrize(
    ("at", "code", "value"),
    [(24, "<H", 40 << 9 | 12 << 5 | 31), (22, "<H", 0xBF7D), (13, "<B", 199), (0, "<B", 5), (11, "<B", 0x27)],
)
def test_limits_of_a_directory_entry(at: int, code: str, value: int) -> None:
    """2020-12-31, 23:59:58, 1.99 s, a first byte that stands for E5, all attributes of a file."""
    volume = FatVolume(16)
    assert volume.put(code, volume.entry_at(SHORT) + at, value).verify().findings == ()


def test_a_name_twice_is_named() -> None:
    volume = FatVolume(16)
    findings = volume.put("<11s", volume.entry_at(b"EMPTY      "), SHORT).verify().findings
    assert said(findings) == {("FAT entry /SHORT.TXT", "DIR_Name")}
    # One byte: a name that is the same object in Python.
    volume = FatVolume(16).put("<11s", FatVolume(16).entry_at(SHORT), b"A          ")
    volume.put("<11s", volume.entry_at(b"EMPTY      "), b"A          ")
    assert said(volume.verify().findings) == {("FAT entry /A", "DIR_Name")}


def test_a_second_label_and_one_elsewhere_are_named() -> None:
    volume = FatVolume(16)
    entry = struct.pack("<11sB20x", b"OTHER      ", 8)
    at = volume.entry_at(b"EMPTY      ")
    assert said(volume.put("<32s", at, entry).verify().findings) == {("FAT entry /OTHER", "DIR_Attr")}
    volume = FatVolume(16)
    at = volume.cluster(volume.first(b"SUB        ")) + 3 * 32
    findings = volume.put("<32s", at, entry).verify().findings
    assert said(findings) == {("FAT entry /SUB/OTHER", "DIR_Attr")}


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_a_label_may_be_in_lower_case(bits: int) -> None:
    """mkfs.fat writes one as it is given, and fsck.fat says nothing."""
    volume = FatVolume(bits)
    assert volume.image.count(b"LABEL      ") == (3 if bits == 32 else 2)
    volume.image = volume.image.replace(b"LABEL      ", b"nixos      ")
    assert volume.verify() == Result()


def test_labels_that_differ_are_named() -> None:
    volume = FatVolume(16)
    (finding,) = volume.put("<11s", volume.root_at, b"OTHER      ").verify().findings
    assert (finding.structure, finding.field, finding.offset) == (BOOT, "BS_VolLab", 43)


# Long names. Offsets: FAT specification, 7.
def long_at(volume: FatVolume) -> int:
    """Return where the entries of ``a long name.txt`` begin: two, with 13 units in the first part."""
    return volume.entry_at(LONG_SHORT) - 64


LONG_DAMAGES: dict[str, tuple[int, str, int | bytes, str]] = {
    "checksum of one": (13, "<B", 0, "LDIR_Chksum"),
    "order": (32, "<B", 2, "LDIR_Ord"),
    "no last": (0, "<B", 2, "LDIR_Ord"),
    "last twice": (32, "<B", 0x41, "LDIR_Ord"),
    "number 0": (0, "<B", 0x40, "LDIR_Ord"),
    "21 parts": (0, "<B", 0x40 + 21, "LDIR_Ord"),
    "type": (12, "<B", 1, "LDIR_Type"),
    "cluster": (26, "<H", 1, "LDIR_FstClusLO"),
    "filling": (30, "<H", 0x41, "LDIR_Name1"),
    "slash": (32 + 1, "<H", 0x2F, "LDIR_Name1"),
    "control": (32 + 3, "<H", 1, "LDIR_Name1"),
    "ends in the first part": (32 + 5, "<H", 0, "LDIR_Name1"),
    "deleted": (32, "<B", 0xE5, "LDIR_Ord"),
}


@pytest.mark.parametrize("damage", LONG_DAMAGES)
def test_a_field_of_a_long_name_is_named(damage: str) -> None:
    at, code, value, field = LONG_DAMAGES[damage]
    volume = FatVolume(16)
    findings = volume.put(code, long_at(volume) + at, value).verify().findings
    assert field in {f.field for f in findings}
    assert all(f.section == "FAT specification, 7" for f in findings)


@pytest.mark.parametrize("byte", range(11))
def test_a_short_name_has_the_checksum_of_its_long_one(byte: int) -> None:
    """Any other bit of the short name gives another checksum. Spec: 7."""
    for bit in range(8):
        volume = FatVolume(16)
        volume.flip(volume.entry_at(LONG_SHORT) + byte, 1 << bit)
        assert "LDIR_Chksum" in {f.field for f in volume.verify().findings}


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("part", [0, 32])
def test_any_bit_of_a_checksum_is_found(part: int, bit: int) -> None:
    volume = FatVolume(16)
    findings = volume.flip(long_at(volume) + part + 13, 1 << bit).verify().findings
    assert "LDIR_Chksum" in {f.field for f in findings}


def test_a_long_name_without_its_short_one_is_left_over() -> None:
    volume = FatVolume(16)
    at = volume.entry_at(LONG_SHORT)
    findings = volume.put("<B", at, 0xE5).verify().findings
    left = [f for f in findings if f.section == "FAT specification, 7"]
    assert [(f.field, f.offset) for f in left] == [("LDIR_Ord", at - 64)]


# Work and words


def test_what_is_alike_is_counted() -> None:
    volume = FatVolume(16)
    for cluster in range(100, 1000, 2):
        volume.link(cluster, volume.end)
    findings = [f for f in volume.verify().findings if f.structure == "FAT"]
    assert len(findings) == 101
    assert findings[-1].found == "cluster 998 lost; the last of 350 findings more"


def test_progress_ends_with_all_of_it() -> None:
    seen: list[tuple[Amount, Amount]] = []
    verify_fat(FatVolume(16).volume(), progress=lambda done, total: seen.append((done, total)))
    assert [done.bytes for done, _ in seen] == sorted(done.bytes for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    # SHORT.TXT 2, a long name.txt 3, SUB 1, INNER 1: of 512 bytes.
    assert seen[-1][1] == Amount(7 * 512, 0)


def test_places_count_from_the_start_of_the_disk() -> None:
    volume = FatVolume(16)
    volume.link(100, volume.end)
    shifted = Volume(8 * MiB, [extent(3 * MiB, Bytes(bytes(volume.image)), "volume")])
    (finding,) = verify_fat(shifted, 3 * MiB, volume.size).findings
    assert finding.offset == 3 * MiB + volume.fat_at + 200
