"""Deviations of a GPT header: each field, in the primary, in the backup, or in both.

A header whose copy cannot be taken is tried in three images: only the primary's (the backup counts), only the
backup's (nothing is lost), and both (nothing is left). What is no reason to leave a copy is tried in both
places. Checksums are right wherever they are not what is wrong.

Spec: UEFI 2.10, 5.3.2: the tests that a reader must make are signature, header checksum, MyLBA and the
entries' checksum. HeaderSize and SizeOfPartitionEntry have limits without which the rest cannot be read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from imgwriter import gpt
from imgwriter.fuzz.deviation import Deviation, as_declared, uncertain
from imgwriter.fuzz.image import Verdict
from imgwriter.fuzz.tables import COPIES, HEADER, GptDisk, gpt_disk

SECTION = "UEFI 2.10, 5.3.2"

Weight: TypeAlias = Literal["corrupt", "harmless", "open"]
"""Whether the copy cannot be taken, can be, or the specification does not say."""

Change: TypeAlias = Callable[[GptDisk, str], GptDisk]
Value: TypeAlias = int | bytes | Callable[[GptDisk, str], int]

_VERDICTS: dict[Weight, dict[str, Verdict | None]] = {
    "corrupt": {"primary": "backup", "backup": "accept", "both": "refuse"},
    "harmless": {"primary": "accept", "backup": "accept"},
    "open": {"primary": None, "backup": "accept"},
}


class _Row(NamedTuple):
    name: str
    description: str
    weight: Weight
    change: Change
    sealed: bool = True
    certain: bool = True
    section: str = SECTION


def header_deviations() -> Iterator[Deviation]:
    """Yield them, in the order of the fields."""
    for row in _ROWS:
        for where, verdict in _VERDICTS[row.weight].items():
            yield Deviation(
                f"gpt.{where}.{row.name}",
                row.section,
                f"{where} header{'s' * (where == 'both')}: {row.description}",
                verdict,
                gpt_disk,
                _on(row.change, COPIES if where == "both" else (where,)),
                row.sealed,
                sees=as_declared if row.certain else uncertain,
            )


def _on(change: Change, copies: tuple[str, ...]) -> Callable[[GptDisk], GptDisk]:
    def apply(disk: GptDisk) -> GptDisk:
        for which in copies:
            disk = change(disk, which)
        return disk

    return apply


def _sets(**fields: Value) -> Change:
    """Return what sets fields of a header, to a value or to what a function of disk and copy gives."""

    def apply(disk: GptDisk, which: str) -> GptDisk:
        values = {name: value(disk, which) if callable(value) else value for name, value in fields.items()}
        return disk.with_record(which, **values)

    return apply


def _other(disk: GptDisk, which: str) -> int:
    return disk.lba("backup" if which == "primary" else "primary")


def _last_lba(disk: GptDisk, which: str) -> int:
    return disk.sectors - 1


def _beyond(disk: GptDisk, which: str) -> int:
    return disk.sectors


def _wrapping_lba(disk: GptDisk, which: str) -> int:
    """Return an LBA whose offset in bytes is right in 64 bits only, as what is above is lost."""
    return disk[which]["partition_entry_lba"] + (1 << 64) // disk.sector_size


def _checksum_of_sector(disk: GptDisk, which: str) -> GptDisk:
    at = disk.offset_of(which)
    sector = bytearray(disk.volume().read(at, disk.sector_size))
    field = HEADER["header_crc32"]
    sector[field.offset : field.end] = bytes(4)
    return disk.with_record(which, header_crc32=zlib.crc32(sector))


def _checksum_with_itself(disk: GptDisk, which: str) -> GptDisk:
    return disk.with_record(which, header_crc32=zlib.crc32(disk[which].content))


def _checksum_of_used_entries(disk: GptDisk, which: str) -> GptDisk:
    start = disk[which]["partition_entry_lba"] * disk.sector_size
    used = disk.volume().read(start, max(disk.numbers(which), default=0) * gpt.ENTRY_SIZE)
    changed = disk.with_record(which, partition_entry_array_crc32=zlib.crc32(used))
    # The header's own checksum is right for it: the entries' alone is wrong.
    header = bytearray(changed[which].content)
    field = HEADER["header_crc32"]
    header[field.offset : field.end] = bytes(4)
    return changed.with_record(which, header_crc32=zlib.crc32(header))


def _wrong_array_checksum(value: int) -> Change:
    def apply(disk: GptDisk, which: str) -> GptDisk:
        record = disk[which].replace(partition_entry_array_crc32=value, header_crc32=0)
        return disk.placed(
            which, disk.offset_of(which), record.replace(header_crc32=zlib.crc32(record.content))
        )

    return apply


def _tail(disk: GptDisk, which: str) -> GptDisk:
    return disk.with_bytes(disk.offset_of(which) + gpt.HEADER_SIZE, b"not zero")


def _size_with_tail(size: int) -> Change:
    """Return what makes a header longer, with bytes in what is new, which its checksum covers."""

    def apply(disk: GptDisk, which: str) -> GptDisk:
        return _tail(disk.with_record(which, header_size=size), which)

    return apply


def _row(
    field: str,
    what: str,
    value: Value,
    description: str,
    weight: Weight,
    *,
    certain: bool = True,
    section: str = SECTION,
) -> _Row:
    return _Row(f"{field}.{what}", description, weight, _sets(**{field: value}), True, certain, section)


_UNTESTED = f"{SECTION}; Linux block/partitions/efi.c and libblkid refuse it, EDK II does not"
_LARGEST_32, _LARGEST_64 = (1 << 32) - 1, (1 << 64) - 1

_ROWS = (
    _row("signature", "zeros", bytes(8), "the signature is zeros", "corrupt"),
    _row("signature", "lowercase", b"efi part", "the signature is in lower case", "corrupt"),
    _row("signature", "one_bit", b"EFI PARU", "one bit of the signature is wrong", "corrupt"),
    _row("signature", "reversed", b"TRAP IFE", "the signature is in the other byte order", "corrupt"),
    _row("revision", "zero", 0, "Revision is 0", "harmless"),
    _row("revision", "older", 0x0000_FF00, "Revision is below 1.0, as drafts had it", "harmless"),
    _row("revision", "newer", 0x0002_0000, "Revision is 2.0, which nobody knows", "harmless"),
    _row("header_size", "zero", 0, "HeaderSize is 0: the checksum of nothing is 0", "corrupt"),
    _row("header_size", "before_crc", 16, "HeaderSize ends before the checksum's own field", "corrupt"),
    _row("header_size", "within_crc", 18, "HeaderSize ends within the checksum's own field", "corrupt"),
    _row("header_size", "one_less", 91, "HeaderSize is 91, one less than the fields need", "corrupt"),
    _row("header_size", "one_more", 93, "HeaderSize is 93, which is allowed", "harmless"),
    _Row("header_size.longer", "HeaderSize is 128, with bytes in what is new", "harmless", _size_with_tail(128)),
    _Row("header_size.whole_sector", "HeaderSize is 512, the most of a sector of 512 bytes", "harmless", _size_with_tail(512)),
    _row("header_size", "beyond_sector", 513, "HeaderSize is one more than the sector has", "corrupt"),
    _row("header_size", "two_sectors", 1024, "HeaderSize is two sectors, into the entries", "corrupt"),
    _row("header_size", "signed_32", 1 << 31, "HeaderSize is 2^31, negative with a sign", "corrupt"),
    _row("header_size", "largest", _LARGEST_32, "HeaderSize is 2^32 - 1", "corrupt"),
    _Row("header_crc32.one_bit", "HeaderCRC32 has a wrong bit", "corrupt", _sets(header_crc32=lambda disk, which: disk[which]["header_crc32"] ^ 1), False),
    _Row("header_crc32.zero", "HeaderCRC32 is 0", "corrupt", _sets(header_crc32=0), False),
    _Row("header_crc32.of_the_sector", "HeaderCRC32 is the checksum of the whole sector, and HeaderSize says 92", "corrupt", _checksum_of_sector, False),
    _Row("header_crc32.with_itself", "HeaderCRC32 is the checksum of the header before its own field was made zero", "corrupt", _checksum_with_itself, False),
    _row("reserved", "one", 1, "Reserved is 1", "harmless"),
    _row("reserved", "largest", _LARGEST_32, "Reserved is 2^32 - 1", "harmless"),
    _Row("tail", "there are bytes between the header and the end of its sector", "harmless", _tail),
    _row("my_lba", "zero", 0, "MyLBA is 0", "corrupt"),
    _row("my_lba", "one_more", lambda d, w: d.lba(w) + 1, "MyLBA is the next sector", "corrupt"),
    _row("my_lba", "crossed", _other, "MyLBA is that of the other header", "corrupt"),
    _row("my_lba", "largest", _LARGEST_64, "MyLBA is 2^64 - 1", "corrupt"),
    _row("my_lba", "high_half", lambda d, w: d.lba(w) | 1 << 32, "MyLBA is right in its lower 32 bits only", "corrupt"),
    _row("alternate_lba", "zero", 0, "AlternateLBA is 0", "harmless"),
    _row("alternate_lba", "crossed", lambda d, w: d.lba(w), "AlternateLBA is the header's own", "harmless"),
    _row("alternate_lba", "middle", lambda d, w: d.sectors // 2, "AlternateLBA is amid the disk", "harmless"),
    _row("alternate_lba", "beyond", _beyond, "AlternateLBA is beyond the disk", "harmless"),
    _row("alternate_lba", "largest", _LARGEST_64, "AlternateLBA is 2^64 - 1", "harmless"),
    _row("first_usable_lba", "zero", 0, "FirstUsableLBA is 0: MBR, header and entries are usable", "harmless"),
    _row("first_usable_lba", "in_array", 33, "FirstUsableLBA is the last sector of the entries", "harmless"),
    _row("first_usable_lba", "after_partition", 200, "FirstUsableLBA lies behind a partition's start", "harmless", certain=False),
    _row("first_usable_lba", "above_last", lambda d, w: d[w]["last_usable_lba"] + 1, "FirstUsableLBA is above LastUsableLBA", "open", section=_UNTESTED),
    _row("first_usable_lba", "largest", _LARGEST_64, "FirstUsableLBA is 2^64 - 1", "open", section=_UNTESTED),
    _row("last_usable_lba", "in_array", _last_lba, "LastUsableLBA is the last sector of the disk", "harmless"),
    _row("last_usable_lba", "beyond", _beyond, "LastUsableLBA is beyond the disk", "open", section=_UNTESTED),
    _row("last_usable_lba", "largest", _LARGEST_64, "LastUsableLBA is 2^64 - 1", "open", section=_UNTESTED),
    _row("last_usable_lba", "zero", 0, "LastUsableLBA is 0", "open", section=_UNTESTED),
    _row("last_usable_lba", "before_partition", 300, "LastUsableLBA lies before a partition", "harmless", certain=False),
    _row("disk_guid", "zero", bytes(16), "DiskGUID is zeros", "harmless"),
    _row("disk_guid", "ones", b"\xff" * 16, "DiskGUID is all ones", "harmless"),
    _row("partition_entry_lba", "beyond", _beyond, "PartitionEntryLBA is beyond the disk", "corrupt"),
    _row("partition_entry_lba", "last", _last_lba, "the entries end beyond the disk", "corrupt"),
    _row("partition_entry_lba", "one_too_late", lambda d, w: d.sectors - 31, "the entries end one sector beyond the disk", "corrupt"),
    _row("partition_entry_lba", "largest", _LARGEST_64, "PartitionEntryLBA is 2^64 - 1", "corrupt"),
    _row("partition_entry_lba", "wrapping", lambda d, w: _wrapping_lba(d, w), "PartitionEntryLBA in bytes is right if it overflows 64 bits", "corrupt"),
    _row("number_of_partition_entries", "zero", 0, "NumberOfPartitionEntries is 0", "open", section=f"{SECTION}; Linux refuses it, EDK II takes it for a table without partitions"),
    _row("number_of_partition_entries", "one", 1, "NumberOfPartitionEntries is 1: others are lost", "harmless"),
    _row("number_of_partition_entries", "four", 4, "NumberOfPartitionEntries is 4: one sector", "harmless"),
    _row("number_of_partition_entries", "one_less", 127, "NumberOfPartitionEntries is 127", "harmless"),
    _row("number_of_partition_entries", "one_more", 129, "NumberOfPartitionEntries is 129: the last one lies beyond the entries' sectors", "harmless"),
    _row("number_of_partition_entries", "to_the_end", 1 << 13, "NumberOfPartitionEntries is 8,192: the entries are as long as the disk", "corrupt"),
    _row("number_of_partition_entries", "product_zero", 1 << 25, "NumberOfPartitionEntries is 2^25: the size of the entries is 2^32, 0 in 32 bits", "corrupt"),
    _row("number_of_partition_entries", "product_small", (1 << 25) + 128, "NumberOfPartitionEntries is 2^25 + 128: the size of the entries is right in 32 bits", "corrupt"),
    _row("number_of_partition_entries", "signed_32", 1 << 31, "NumberOfPartitionEntries is 2^31, negative with a sign", "corrupt"),
    _row("number_of_partition_entries", "largest", _LARGEST_32, "NumberOfPartitionEntries is 2^32 - 1", "corrupt"),
    *(
        _row("size_of_partition_entry", what, size, f"SizeOfPartitionEntry is {size:,}", "corrupt")
        for what, size in (
            ("zero", 0),
            ("one", 1),
            ("half", 64),
            ("one_less", 127),
            ("one_more", 129),
            ("no_power", 192),
            ("three_times", 384),
            ("signed_32", 1 << 31),
            ("largest", _LARGEST_32),
        )
    ),
    _Row("partition_entry_array_crc32.zero", "PartitionEntryArrayCRC32 is 0, the header's checksum right", "corrupt", _wrong_array_checksum(0), False),
    _Row("partition_entry_array_crc32.largest", "PartitionEntryArrayCRC32 is 2^32 - 1, the header's checksum right", "corrupt", _wrong_array_checksum(_LARGEST_32), False),
    _Row("partition_entry_array_crc32.of_used_entries", "PartitionEntryArrayCRC32 covers the used entries alone, the header's checksum right", "corrupt", _checksum_of_used_entries, False),
)
