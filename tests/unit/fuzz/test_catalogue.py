"""fuzz.catalogue: each deviation changes what it names and nothing else, and imgwriter's readers agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

import pytest

from imgwriter.errors import SpecError
from imgwriter.fuzz.catalogue import KINDS, cases, deviation, deviations, valid_cases
from imgwriter.fuzz.deviation import Case, Deviation, case_of, changed, combined
from imgwriter.fuzz.image import Placed
from imgwriter.fuzz.mutations import applicable
from imgwriter.fuzz.tables import MbrDisk
from tests.unit.fuzz.judges import judge

ALL = [d for kind in KINDS for d in deviations(kind)]
CASES = [case for kind in KINDS for case in cases(kind)]


def test_there_are_enough() -> None:
    """Copies of a GPT counted once: a deviation of the primary, of the backup and of both is one."""
    tables = {
        re.sub(r"^gpt\.(primary|backup|both)\.", "gpt.copy.", d.name) for d in ALL if d.kind in ("mbr", "gpt")
    }
    assert len(tables) >= 300
    counts = {kind: len(deviations(kind)) for kind in KINDS}
    assert all(count >= 40 for count in counts.values()), counts


def test_names_are_unique_and_say_the_kind() -> None:
    names = [d.name for d in ALL]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(\.[A-Za-z0-9_]+){1,4}", name) for name in names)
    assert {d.kind for d in ALL} == set(KINDS)


def test_each_says_what_and_why() -> None:
    for d in ALL:
        assert d.description and not d.description.endswith(".") and "  " not in d.description, d
        assert re.match(
            r"UEFI 2\.10, 5\.[23]|no specification|FAT spec|ext4/|docs/interop|VHD spec", d.section
        ), d


def test_an_open_verdict_has_its_reason() -> None:
    """Where the specification does not decide, the section says who does what."""
    reason = "Linux|EDK II|QEMU|kernel|it does not say|elsewhere"
    assert [d for d in ALL if d.verdict is None and not re.search(reason, d.section + d.description)] == []


@pytest.mark.parametrize("case", [c for c in CASES if c.verdict is not None], ids=repr)
def test_imgwriter_reads_what_a_correct_reader_does(case: Case) -> None:
    found = judge(case)
    assert found.verdict == case.verdict
    if case.kind in ("mbr", "gpt"):
        assert found.table == case.table
        if case.partitions is not None:
            assert found.partitions == tuple(sorted(tuple(p) for p in case.partitions))


@pytest.mark.parametrize("case", [c for c in CASES if c.verdict is None], ids=repr)
def test_what_is_open_is_read_without_a_crash(case: Case) -> None:
    assert judge(case).verdict in ("accept", "backup", "refuse")


def test_what_is_right_is_right() -> None:
    for kind in KINDS:
        for case in valid_cases(kind):
            assert (case.verdict, judge(case).verdict) == ("accept", "accept")
            assert case.image.sealed().content() == case.image.content()


# Where fields are, (offset, length): UEFI 2.10, tables 5.1, 5.2, 5.5 and 5.6.
HEADER = {
    "signature": (0, 8), "revision": (8, 4), "header_size": (12, 4), "header_crc32": (16, 4),
    "reserved": (20, 4), "my_lba": (24, 8), "alternate_lba": (32, 8), "first_usable_lba": (40, 8),
    "last_usable_lba": (48, 8), "disk_guid": (56, 16), "partition_entry_lba": (72, 8),
    "number_of_partition_entries": (80, 4),
    "size_of_partition_entry": (84, 4), "partition_entry_array_crc32": (88, 4),
}  # fmt: skip
ENTRY = {
    "partition_type_guid": (0, 16), "unique_partition_guid": (16, 16), "starting_lba": (32, 8),
    "ending_lba": (40, 8), "attributes": (48, 8), "partition_name": (56, 72),
}  # fmt: skip
RECORD = {
    "boot_indicator": (0, 1), "starting_chs": (1, 3), "os_type": (4, 1), "ending_chs": (5, 3),
    "starting_lba": (8, 4), "size_in_lba": (12, 4),
}  # fmt: skip
SECTOR = {
    "boot_code": (0, 440),
    "unique_mbr_disk_signature": (440, 4),
    "unknown": (444, 2),
    "signature": (510, 2),
}
# FAT specification, 3.1 and 3.2; kernel, ext4/super.rst; qcow2.txt; VHD specification.
BOOT = {
    "BS_jmpBoot": (0, 3), "BS_OEMName": (3, 8), "BPB_BytsPerSec": (11, 2), "BPB_SecPerClus": (13, 1),
    "BPB_RsvdSecCnt": (14, 2), "BPB_NumFATs": (16, 1), "BPB_RootEntCnt": (17, 2), "BPB_Media": (21, 1),
    "BPB_FATSz16": (22, 2), "BPB_SecPerTrk": (24, 2), "BPB_NumHeads": (26, 2), "BPB_HiddSec": (28, 4),
    "BPB_TotSec32": (32, 4), "BPB_FATSz32": (36, 4), "BPB_ExtFlags": (40, 2), "BPB_FSVer": (42, 2),
    "BPB_RootClus": (44, 4), "BPB_FSInfo": (48, 2), "BPB_BkBootSec": (50, 2), "BPB_Reserved": (52, 12),
    "signature": (510, 2),
}  # fmt: skip
FSINFO = {
    "FSI_LeasSig": (0, 4), "FSI_StrucSig": (484, 4), "FSI_Free_Count": (488, 4), "FSI_Nxt_Free": (492, 4),
    "FSI_TrailSig": (508, 4),
}  # fmt: skip
SUPER = {
    "s_magic": (56, 2), "s_state": (58, 2), "s_errors": (60, 2), "s_mnt_count": (52, 2), "s_wtime": (48, 4),
    "s_inodes_count": (0, 4), "s_first_data_block": (20, 4), "s_blocks_per_group": (32, 4),
    "s_rev_level": (76, 4), "s_first_ino": (84, 4), "s_inode_size": (88, 2), "s_feature_compat": (92, 4),
    "s_feature_incompat": (96, 4), "s_feature_ro_compat": (100, 4), "s_volume_name": (120, 16),
    "s_journal_inum": (0xE0, 4), "s_desc_size": (0xFE, 2), "s_checksum_type": (0x175, 1),
    "s_checksum": (0x3FC, 4),
}  # fmt: skip
QCOW2 = {
    "magic": (0, 4), "version": (4, 4), "cluster_bits": (20, 4), "size": (24, 8), "crypt_method": (32, 4),
    "l1_size": (36, 4), "l1_table_offset": (40, 8), "refcount_table_offset": (48, 8),
    "refcount_table_clusters": (56, 4),
}  # fmt: skip
QCOW2_3 = {
    "compatible_features": (80, 8), "autoclear_features": (88, 8), "refcount_order": (96, 4),
    "header_length": (100, 4),
}  # fmt: skip
FOOTER = {
    "cookie": (0, 8), "features": (8, 4), "file_format_version": (12, 4), "data_offset": (16, 8),
    "time_stamp": (24, 4), "creator_application": (28, 4), "original_size": (40, 8), "current_size": (48, 8),
    "disk_type": (60, 4), "checksum": (64, 4), "unique_id": (68, 16), "saved_state": (84, 1),
}  # fmt: skip
DYNAMIC = {
    "cookie": (0, 8), "data_offset": (8, 8), "table_offset": (16, 8), "header_version": (24, 4),
    "max_table_entries": (28, 4), "block_size": (32, 4), "checksum": (36, 4), "parent_unique_id": (40, 16),
}  # fmt: skip

LAST = 2047 * 512
ARRAYS = (1024, (2047 - 32) * 512)
# By kind and structure: where it is, in all places that the name means; its fields; where else a checksum is.
GPT_SUMS = [(at + field, 4) for at in (512, LAST) for field in (16, 88)]
PLACES = {
    "gpt.primary": ([512], HEADER, GPT_SUMS),
    "gpt.backup": ([LAST], HEADER, GPT_SUMS),
    "gpt.both": ([512, LAST], HEADER, GPT_SUMS),
    "gpt.entry": ([at + 128 * n for at in ARRAYS for n in range(4)], ENTRY, GPT_SUMS),
    "gpt.protective": ([446], RECORD, []),
    "mbr.record1": ([446], RECORD, []),
    "mbr.record3": ([478], RECORD, []),
    "mbr.record4": ([494], RECORD, []),
    "mbr.ebr2.record1": ([464 * 512 + 446], RECORD, []),
    "mbr.ebr2.record2": ([464 * 512 + 462], RECORD, []),
    "mbr.ebr2": ([464 * 512], SECTOR, []),
    "fat.boot": ([0], BOOT, []),
    "fat.fsinfo": ([512], FSINFO, []),
    "ext4.superblock": ([1024], SUPER, [(1024 + 0x3FC, 4)]),
    "qcow2.header": ([0], QCOW2, []),
    "qcow2.header3": ([0], QCOW2_3, []),
    "vhd.footer": ([2100224 - 512], FOOTER, [(2100224 - 512 + 64, 4)]),
    "vhd.copy": ([0], FOOTER, [(64, 4)]),
    "vhd.footers": ([0, 2100224 - 512], FOOTER, [(64, 4), (2100224 - 512 + 64, 4)]),
    "vhd.header": ([512], DYNAMIC, [(512 + 36, 4)]),
}
# What has one field's name and needs more than that field.
MORE_FIELDS = re.compile(
    r"gpt\.\w+\.header_size\.(longer|whole_sector)|gpt\.both\.size_of_partition_entry\.(\d|differs)|\.starting_lba\.(zero|one|last"
    r"|beyond|largest|wrapping|signed_64)$|gpt\.protective\.(signature|os_type)|s_inodes_per_group|record\d\.extended"
    r"|block_size\.half_sector|gpt\.\w+\.header_crc32\.of_the_sector|gpt\.entry\.unique_partition_guid\.twice"
)


def named_field(
    d: Deviation,
) -> tuple[list[int], dict[str, tuple[int, int]], list[tuple[int, int]], str] | None:
    """Return the places, fields and checksums of the structure that a name has, and the field."""
    for structure in sorted(PLACES, key=len, reverse=True):
        if d.name.startswith(structure + "."):
            places, fields, sums = PLACES[structure]
            field = d.name.removeprefix(structure + ".").partition(".")[0]
            if field in fields and not MORE_FIELDS.search(d.name):
                return places, fields, sums, field
    return None


NAMED = [d for d in ALL if named_field(d) is not None]


def test_most_deviations_are_of_one_field() -> None:
    assert len(NAMED) >= 330


def differences(before: bytes, after: bytes) -> set[int]:
    assert len(before) == len(after)
    step = 4096
    blocks = (i for i in range(0, len(before), step) if before[i : i + step] != after[i : i + step])
    return {i + j for i in blocks for j in range(min(step, len(before) - i)) if before[i + j] != after[i + j]}


@pytest.mark.parametrize("d", NAMED, ids=repr)
def test_it_changes_what_it_names_and_nothing_else(d: Deviation) -> None:
    found = named_field(d)
    assert found is not None
    places, fields, sums, field = found
    start, length = fields[field]
    base = d.base()
    different = differences(base.content(), changed(base, [d]).content())
    allowed = {at + start + i for at in places for i in range(length)}
    assert different & allowed
    allowed |= {at + i for at, count in sums for i in range(count)}
    assert different <= allowed


def test_a_chain_of_ebrs_is_made_in_time_that_goes_with_its_length() -> None:
    """Each image that is made on the way is a copy of all records."""
    copied: list[int] = []

    class Counting(MbrDisk):
        def _with(self, records: Mapping[str, Placed]) -> Self:
            copied.append(len(records))
            return super()._with(records)

    def cost(ebrs: int) -> int:
        chain = deviation(f"mbr.chain.{ebrs}")
        right = chain.base()
        copied.clear()
        made = chain.change(Counting(right.size, right.sector_size, right.records))
        assert isinstance(made, Counting) and f"ebr{ebrs}" in made.records
        return sum(copied)

    assert cost(400) / 400 <= cost(124) / 124


def test_a_deviation_is_found_by_its_name() -> None:
    assert deviation("gpt.primary.my_lba.zero").verdict == "backup"
    with pytest.raises(SpecError, match=r"no deviation 'gpt\.nothing'"):
        deviation("gpt.nothing")
    with pytest.raises(SpecError, match="no kind 'xfs'"):
        deviation("xfs.magic.zero")


def test_deviations_come_together() -> None:
    """Checksums are made right after what is to have right ones, and before those that are to be wrong."""
    chosen = [deviation("gpt.primary.header_crc32.zero"), deviation("gpt.primary.my_lba.zero")]
    case = combined(chosen)
    header = case.image["primary"]
    assert (header["my_lba"], header["header_crc32"]) == (0, 0)
    assert case.deviations == tuple(d.name for d in chosen)
    assert (case.verdict, case.table, case.partitions) == (None, None, None)


@pytest.mark.parametrize("first", ["gpt.copies.no_primary", "gpt.copies.no_backup", "gpt.copies.halves"])
def test_what_needs_a_record_that_another_took_away_is_left_out(first: str) -> None:
    base = deviation(first).base()
    alike = [d for d in deviations("gpt") if d.base is deviation(first).base]
    kept = [applicable(base, [deviation(first), d]) for d in alike]
    assert all(pair[0].name == first for pair in kept)
    assert {len(pair) for pair in kept} == {1, 2}


def test_the_repr_of_a_case_names_its_deviations() -> None:
    assert repr(case_of(deviation("gpt.primary.my_lba.zero"))) == "Case(gpt: gpt.primary.my_lba.zero)"
    assert repr(valid_cases("gpt")[0]) == "Case(gpt: nothing wrong)"
