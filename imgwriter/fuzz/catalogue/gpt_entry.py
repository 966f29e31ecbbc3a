"""Deviations of single entries of a GPT, alike in both copies; every checksum is right.

No entry is a reason to leave the table: it is accepted, with the partitions that are sound.

Spec: UEFI 2.10, 5.3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imgwriter import gpt
from imgwriter.fuzz.deviation import Deviation, Sight, as_declared, uncertain
from imgwriter.fuzz.tables import GptDisk, gpt_disk

SECTION = "UEFI 2.10, 5.3.3"
_MOST = (1 << 64) - 1
_MBR_TYPE = "41ee4d02e733d3119d690008c781f39f"
"""024DEE41-33E7-11D3-9D69-0008C781F39F as it is stored: a partition that is an MBR's. Spec: table 5.7."""


def entry_deviations() -> Iterator[Deviation]:
    """Yield them: sectors, GUIDs, attributes, names, numbers."""
    yield from _sectors()
    yield from _overlaps()
    yield from _identities()
    yield from _attributes()
    yield from _names()
    yield from _numbers()


def _entry(
    name: str, description: str, change: Callable[[GptDisk], GptDisk], sees: Sight = as_declared
) -> Deviation:
    return Deviation(f"gpt.entry.{name}", SECTION, description, "accept", gpt_disk, change, sees=sees)


def _sets(
    name: str, description: str, sees: Sight = as_declared, *, number: int = 2, **fields: int | bytes
) -> Deviation:
    return _entry(name, description, lambda disk: disk.with_entry(number, **fields), sees)


def _without(number: int) -> Sight:
    """Return what sees all partitions but one, which is none."""
    return lambda disk, verdict: [p for p in disk.seen(verdict) if p.number != number]


def _sectors() -> Iterator[Deviation]:
    yield _sets("ending_lba.before_start", "EndingLBA is far below StartingLBA", _without(2), ending_lba=100)
    yield _sets("ending_lba.one_before_start", "EndingLBA is StartingLBA - 1: no sector", _without(2), ending_lba=127)
    yield _sets("ending_lba.at_start", "EndingLBA is StartingLBA, which is one sector", ending_lba=128)
    yield _sets("ending_lba.zero", "EndingLBA is 0", _without(2), ending_lba=0)
    yield _sets("starting_lba.zero", "StartingLBA is 0: the MBR is in the partition", uncertain, starting_lba=0)
    yield _sets("starting_lba.header", "StartingLBA is that of the header", uncertain, number=1, starting_lba=1)
    yield _sets("starting_lba.array", "StartingLBA is in the entries", uncertain, number=1, starting_lba=33)
    yield _sets("starting_lba.first_usable", "StartingLBA is FirstUsableLBA, which is allowed", number=1, starting_lba=34)
    yield _sets("starting_lba.beyond", "StartingLBA and EndingLBA are beyond the disk", uncertain, number=4, starting_lba=1 << 20, ending_lba=(1 << 20) + 99)
    yield _sets("starting_lba.largest", "StartingLBA and EndingLBA are 2^64 - 1", uncertain, number=4, starting_lba=_MOST, ending_lba=_MOST)
    yield _sets("starting_lba.signed_64", "StartingLBA is 2^63, negative with a sign", uncertain, number=4, starting_lba=1 << 63, ending_lba=(1 << 63) + 7)
    yield _sets("starting_lba.wrapping", "StartingLBA and EndingLBA in bytes overflow 64 bits, into the disk", uncertain, number=4, starting_lba=(1 << 55) + 320, ending_lba=(1 << 55) + 447)
    yield _entry("ending_lba.last_usable", "EndingLBA is LastUsableLBA, which is allowed", lambda disk: disk.with_entry(4, ending_lba=disk["primary"]["last_usable_lba"]))
    yield _entry("ending_lba.backup_array", "EndingLBA is in the backup's entries", lambda disk: disk.with_entry(4, ending_lba=disk["backup"]["partition_entry_lba"]), uncertain)
    yield _entry("ending_lba.last_sector", "EndingLBA is the backup header's", lambda disk: disk.with_entry(4, ending_lba=disk.sectors - 1), uncertain)
    yield _entry("ending_lba.one_beyond", "EndingLBA is the first sector beyond the disk", lambda disk: disk.with_entry(4, ending_lba=disk.sectors), uncertain)
    yield _sets("ending_lba.largest", "EndingLBA is 2^64 - 1: the partition's length overflows with its start", uncertain, number=4, ending_lba=_MOST)
    yield _sets("sectors.all", "StartingLBA is 0 and EndingLBA 2^64 - 1: 2^64 sectors", uncertain, number=4, starting_lba=0, ending_lba=_MOST)


def _overlaps() -> Iterator[Deviation]:
    yield _sets("overlap.one_sector", "two partitions share a sector", number=1, ending_lba=128)
    yield _sets("overlap.inside", "a partition lies in another", number=1, starting_lba=140, ending_lba=150)
    yield _sets("overlap.same", "two partitions have the same sectors", number=1, starting_lba=128, ending_lba=255)
    yield _sets("overlap.around", "a partition has the sectors of all others, too", number=1, ending_lba=500)
    yield _entry("overlap.copy", "an entry is there twice, GUID and all", _with_copy)
    yield _entry("overlap.chain", "each of 32 partitions shares sectors with the next", _with_chain)


def _with_copy(disk: GptDisk) -> GptDisk:
    return _with_like(disk, 3, 2)


def _with_like(disk: GptDisk, number: int, like: int, **fields: int | bytes) -> GptDisk:
    """Return the disk with an entry that is as another one, but for some fields."""
    original = disk[f"primary.entry{like}"]
    return disk.with_entry(number, **{name: original.raw(name) for name in original.layout}).with_entry(
        number, **fields
    )


def _with_chain(disk: GptDisk) -> GptDisk:
    for index in range(32):
        guid = bytes([index + 1]) * 16
        start = 600 + 8 * index
        disk = _with_like(
            disk, 10 + index, 2, unique_partition_guid=guid, starting_lba=start, ending_lba=start + 11
        )
    return disk


def _identities() -> Iterator[Deviation]:
    yield _sets("unique_partition_guid.zero", "UniquePartitionGUID is zeros", unique_partition_guid=bytes(16))
    yield _entry("unique_partition_guid.twice", "two partitions have one UniquePartitionGUID", lambda disk: disk.with_entry(2, unique_partition_guid=disk["primary.entry1"].raw("unique_partition_guid")))
    yield _entry("unique_partition_guid.of_disk", "UniquePartitionGUID is the disk's GUID", lambda disk: disk.with_entry(2, unique_partition_guid=disk["primary"].raw("disk_guid")))
    yield _sets("partition_type_guid.zero", "an entry without a type has all its other fields: it is not used", partition_type_guid=bytes(16))
    yield _sets("partition_type_guid.ones", "PartitionTypeGUID is all ones", partition_type_guid=b"\xff" * 16)
    yield _sets("partition_type_guid.mbr", "PartitionTypeGUID is that of a partition of an MBR", partition_type_guid=bytes.fromhex(_MBR_TYPE))
    yield _sets("partition_type_guid.one_byte", "PartitionTypeGUID is zeros but for its last byte", partition_type_guid=bytes(15) + b"\1")
    yield _sets("partition_type_guid.big_endian", "PartitionTypeGUID is stored big-endian", partition_type_guid=gpt.TYPE_LINUX_DATA.bytes)


def _attributes() -> Iterator[Deviation]:
    for name, value, description in (
        ("required", 1, "the firmware must keep the partition"),
        ("no_block_io", 2, "the firmware is to leave the partition alone"),
        ("legacy_bootable", 4, "a BIOS may boot the partition"),
        ("reserved_low", 1 << 3, "bit 3 of Attributes is reserved"),
        ("reserved_high", 1 << 47, "bit 47 of Attributes is reserved"),
        ("of_the_type", 0xFFFF << 48, "bits 48 to 63 of Attributes belong to the type, and are all set"),
        ("all", _MOST, "all bits of Attributes are set"),
    ):
        yield _sets(f"attributes.{name}", description, attributes=value)


def _names() -> Iterator[Deviation]:
    for name, units, description in (
        ("full", "x" * 36, "PartitionName has 36 units and no terminator"),
        ("empty", "", "PartitionName is empty"),
        ("lone_high", "a\ud800b", "PartitionName has a high surrogate alone"),
        ("lone_low", "a\udc00b", "PartitionName has a low surrogate alone"),
        ("split_pair", "x" * 35 + "\ud83d", "PartitionName ends in half of a pair of surrogates"),
        ("swapped_pair", "\ude00\ud83d", "PartitionName has a pair of surrogates the wrong way round"),
        ("after_terminator", "root\0secret", "PartitionName goes on after its terminator"),
        ("byte_order_mark", "\ufeffroot", "PartitionName begins with a byte order mark"),
        ("other_byte_order", "\ufffe\u7200", "PartitionName is stored in the other byte order"),
        ("control", "a\nb\x1b[31mc", "PartitionName has a line's end and an escape sequence"),
        ("path", "../../etc/passwd", "PartitionName is a path upwards"),
        ("format", "%s%n%s%n", "PartitionName is a format for printf"),
        ("right_to_left", "\u202etxt.exe", "PartitionName turns the direction of writing"),
        ("noncharacters", "\uffff\ufffe", "PartitionName has code points that are no characters"),
    ):
        encoded = units.encode("utf-16-le", "surrogatepass").ljust(2 * gpt.NAME_UNITS, b"\0")
        yield _sets(f"partition_name.{name}", description, partition_name=encoded)
    yield _sets("partition_name.ones", "PartitionName is all ones", partition_name=b"\xff" * 72)


def _numbers() -> Iterator[Deviation]:
    yield _entry("number.last", "the last entry is used", lambda disk: _free(disk, 128))
    yield _entry("number.full", "all 128 entries are used", _full)
    yield _entry("number.none", "no entry is used", lambda disk: disk.without(*(f"{which}.entry{n}" for which in ("primary", "backup") for n in disk.numbers(which))))


def _free(disk: GptDisk, number: int, start: int = 600) -> GptDisk:
    guid = number.to_bytes(16, "big")
    return _with_like(disk, number, 2, unique_partition_guid=guid, starting_lba=start, ending_lba=start)


def _full(disk: GptDisk) -> GptDisk:
    for number in range(1, 129):
        if number not in disk.numbers("primary"):
            disk = _free(disk, number, 600 + number)
    return disk
