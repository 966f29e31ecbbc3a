"""Deviations of a GPT's entries as a whole: where they stand, how far apart, and what the other copy has.

Every checksum is right. Entries that stand where they must not still pass the tests that the specification
demands of a reader, so that they are accepted.

Spec: UEFI 2.10, 5.3.1 and 5.3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from imgwriter import gpt
from imgwriter.fuzz.crossing import sealed_crosswise
from imgwriter.fuzz.deviation import Deviation, Sight, as_declared, uncertain
from imgwriter.fuzz.image import Verdict
from imgwriter.fuzz.tables import COPIES, GptDisk, gpt_disk

PLACE = "UEFI 2.10, 5.3.1"
SIZE = "UEFI 2.10, 5.3.2"

_FREE_LBA = 600
"""A sector of the example that no partition has."""


def array_deviations() -> Iterator[Deviation]:
    """Yield them: places, sizes, and copies that say different things."""
    yield from _places()
    yield from _strides()
    yield from _differences()


def _deviation(
    name: str,
    section: str,
    description: str,
    verdict: Verdict | None,
    change: Callable[[GptDisk], GptDisk],
    sees: Sight = as_declared,
) -> Deviation:
    return Deviation(f"gpt.{name}", section, description, verdict, gpt_disk, change, sees=sees)


def _places() -> Iterator[Deviation]:
    yield _deviation("primary.array.among_partitions", PLACE, "the primary's entries stand among the usable sectors", "accept", lambda disk: disk.with_array("primary", _FREE_LBA))
    yield _deviation("primary.array.in_partition", PLACE, "the primary's entries stand in a partition", "accept", lambda disk: disk.with_array("primary", 130))
    yield _deviation("primary.array.behind_backup", PLACE, "the primary's entries are the backup's", "accept", lambda disk: disk.with_record("primary", partition_entry_lba=disk["backup"]["partition_entry_lba"]))
    yield _deviation("primary.array.on_mbr", PLACE, "the primary's entries, four of them, stand on the MBR, where none has a type", "accept", _on_mbr, sees=lambda disk, verdict: [])
    yield Deviation("gpt.primary.array.on_header", PLACE, "the primary's entries, four of them, stand on its header; checksums that cover each other are right", "accept", gpt_disk, _on_header, sealed=False, sees=uncertain)
    yield _deviation("backup.array.among_partitions", PLACE, "the backup's entries stand among the usable sectors", "accept", lambda disk: disk.with_array("backup", _FREE_LBA))
    yield _deviation("backup.array.is_primary", PLACE, "the backup's entries are the primary's", "accept", lambda disk: disk.with_record("backup", partition_entry_lba=2))
    yield _deviation("backup.array.is_primary_alone", PLACE, "the primary header is gone, and the backup's entries are the primary's", "backup", lambda disk: disk.without("primary").with_record("backup", partition_entry_lba=2))
    yield _deviation("backup.array.one_early", PLACE, "there is a sector between the backup's entries and its header", "accept", lambda disk: disk.with_array("backup", disk["backup"]["partition_entry_lba"] - 1))


def _on_mbr(disk: GptDisk) -> GptDisk:
    return disk.with_record("primary", partition_entry_lba=0, number_of_partition_entries=4)


def _on_header(disk: GptDisk) -> GptDisk:
    """Return the disk with a header that is its own first entry: one that ends before it starts."""
    changed = disk.with_record("primary", partition_entry_lba=1, number_of_partition_entries=4)
    return sealed_crosswise(changed, "primary")


def _strides() -> Iterator[Deviation]:
    for stride in (256, 512, 4096):
        yield _deviation(f"both.size_of_partition_entry.{stride}", SIZE, f"SizeOfPartitionEntry is {stride:,}, which is allowed, and there are {_fitting(stride)} entries", "accept", partial(_with_stride, stride=stride))
    yield _deviation(
        "both.size_of_partition_entry.256_with_tail",
        SIZE,
        "SizeOfPartitionEntry is 256, and there are bytes after the fields of an entry",
        "accept",
        lambda disk: _with_stride(disk, 256).with_bytes(2 * 512 + 130, b"not zero"),
    )
    yield _deviation("both.size_of_partition_entry.differs", SIZE, "SizeOfPartitionEntry is 256 in the backup alone, where its entries are so far apart", "accept", lambda disk: _with_stride(disk, 256, ("backup",)))


def _fitting(stride: int) -> int:
    return gpt.ARRAY_SIZE // stride


def _with_stride(disk: GptDisk, stride: int, copies: tuple[str, ...] = COPIES) -> GptDisk:
    for which in copies:
        disk = disk.with_array(which, disk[which]["partition_entry_lba"], stride)
        disk = disk.with_record(which, number_of_partition_entries=_fitting(stride))
    return disk


def _differences() -> Iterator[Deviation]:
    section = "UEFI 2.10, 5.3.2: the primary counts where it is valid"
    for name, description, change in (
        ("missing_entry", "the backup lacks a partition", lambda disk: disk.with_entry(2, ["backup"], partition_type_guid=bytes(16))),
        ("moved_entry", "a partition starts later in the backup", lambda disk: disk.with_entry(2, ["backup"], starting_lba=160)),
        ("more_entries", "the backup has one partition more", lambda disk: _one_more(disk, ["backup"])),
        ("other_name", "a partition's name is another in the backup", lambda disk: disk.with_entry(1, ["backup"], partition_name=gpt.encode_name("other"))),
        ("swapped_entries", "the first two partitions have each other's place in the backup", lambda disk: _swapped(disk, "backup")),
        ("no_entries", "the backup has no partitions", lambda disk: disk.without(*(f"backup.entry{n}" for n in disk.numbers("backup")))),
    ):
        yield _deviation(f"backup.differs.{name}", section, f"{description}; both copies are valid", "accept", change)
    yield _deviation("primary.differs.no_entries", section, "the primary has no partitions; both copies are valid", "accept", lambda disk: disk.without(*(f"primary.entry{n}" for n in disk.numbers("primary"))))
    yield _deviation("primary.differs.other_disk", section, "the backup is that of another disk's table: its GUID differs; both copies are valid", "accept", lambda disk: disk.with_record("backup", disk_guid=bytes(range(16))))


def _one_more(disk: GptDisk, copies: list[str]) -> GptDisk:
    fields = gpt.ENTRY.parse(disk["primary.entry2"].content)
    return disk.with_entry(
        5,
        copies,
        partition_type_guid=fields.partition_type_guid,
        unique_partition_guid=bytes(range(1, 17)),
        starting_lba=_FREE_LBA,
        ending_lba=_FREE_LBA + 99,
    )


def _swapped(disk: GptDisk, which: str) -> GptDisk:
    first, second = disk[f"{which}.entry1"], disk[f"{which}.entry2"]
    at, then = disk.offset_of(f"{which}.entry1"), disk.offset_of(f"{which}.entry2")
    return disk.placed(f"{which}.entry1", at, second).placed(f"{which}.entry2", then, first)
