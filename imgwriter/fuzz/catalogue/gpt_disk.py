"""Deviations of a GPT's disk: copies that are missing, a size that does not fit, another sector size.

Spec: UEFI 2.10, 5.3.1 and 5.3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from imgwriter import gpt
from imgwriter.fuzz.deviation import Deviation, Sight, TableKind, as_declared
from imgwriter.fuzz.image import Seen, Verdict
from imgwriter.fuzz.tables import COPIES, EXAMPLE_ENTRIES, GptDisk, gpt_disk

SECTION = "UEFI 2.10, 5.3.2"
_PLACE = "UEFI 2.10, 5.3.1"
_LARGE_SECTOR = 4096


def gpt_disk_4096() -> GptDisk:
    """Return the example on a disk with sectors of 4,096 bytes."""
    return gpt_disk(EXAMPLE_ENTRIES, 2 << 20, _LARGE_SECTOR)


def disk_deviations() -> Iterator[Deviation]:
    """Yield them: missing copies, sizes, sectors."""
    yield from _missing()
    yield from _sizes()
    yield from _sector_sizes()


def _deviation(
    name: str,
    description: str,
    verdict: Verdict | None,
    change: Callable[[GptDisk], GptDisk],
    section: str = SECTION,
    *,
    sealed: bool = True,
    base: Callable[[], GptDisk] = gpt_disk,
    table: TableKind | None = None,
    sees: Sight = as_declared,
) -> Deviation:
    return Deviation(
        f"gpt.{name}", section, description, verdict, base, change, sealed=sealed, table=table, sees=sees
    )


def _entries(disk: GptDisk, *copies: str) -> GptDisk:
    return disk.without(*(f"{which}.entry{n}" for which in copies for n in disk.numbers(which)))


def _missing() -> Iterator[Deviation]:
    yield _deviation("copies.no_primary_header", "the primary header is zeros", "backup", lambda d: d.without("primary"))
    yield _deviation("copies.no_backup_header", "the backup header is zeros", "accept", lambda d: d.without("backup"))
    yield _deviation("copies.no_headers", "both headers are zeros: a protective MBR protects nothing", "refuse", lambda d: d.without(*COPIES))
    yield _deviation("copies.no_primary_entries", "the primary's entries are zeros, their checksum is not", "backup", partial(_lost, copies=("primary",)), sealed=False)
    yield _deviation("copies.no_backup_entries", "the backup's entries are zeros, their checksum is not", "accept", partial(_lost, copies=("backup",)), sealed=False)
    yield _deviation("copies.no_entries", "all entries are zeros, their checksums are not", "refuse", partial(_lost, copies=COPIES), sealed=False)
    yield _deviation("copies.no_primary", "the primary, header and entries, is zeros", "backup", lambda d: _entries(d, "primary").without("primary"))
    yield _deviation("copies.no_backup", "the backup, header and entries, is zeros", "accept", lambda d: _entries(d, "backup").without("backup"))
    yield _deviation("copies.halves", "the primary header and the backup's entries are zeros", "refuse", lambda d: _lost(d.without("primary"), copies=("backup",)), sealed=False)
    yield _deviation("copies.primary_at_both", "the backup's sector has the primary header, as it is", "accept", _doubled)
    yield _deviation("copies.backup_at_both", "the primary's sector has the backup header, as it is", "backup", _backup_first)


def _lost(disk: GptDisk, copies: tuple[str, ...]) -> GptDisk:
    """Return the disk with zeros in place of entries; checksums stay what they were."""
    return _entries(disk, *copies)


def _doubled(disk: GptDisk) -> GptDisk:
    return disk.without("backup").with_bytes(disk.offset_of("backup"), disk["primary"].content)


def _backup_first(disk: GptDisk) -> GptDisk:
    changed = disk.without("primary").with_bytes(disk.sector_size, disk["backup"].content)
    return changed


def _sizes() -> Iterator[Deviation]:
    yield _deviation("size.zero", "the disk has no bytes", "refuse", lambda d: d.with_size(0), _PLACE, sealed=False)
    yield _deviation("size.less_than_mbr", "the disk has 511 bytes: no whole sector", "refuse", lambda d: d.with_size(511), _PLACE, sealed=False)
    yield _deviation("size.one_sector", "the disk has the MBR alone", "refuse", lambda d: d.with_size(512), _PLACE, sealed=False)
    yield _deviation("size.two_sectors", "the disk ends after the header, with no entries", "refuse", lambda d: d.with_size(1024), _PLACE, sealed=False)
    yield _deviation("size.within_array", "the disk ends among the primary's entries", "refuse", lambda d: d.with_size(3 * 512), _PLACE, sealed=False)
    open_section = f"{SECTION}; Linux and libblkid refuse a LastUsableLBA beyond the disk, EDK II does not"
    yield _deviation("size.array_alone", "the disk ends after the primary's entries, where LastUsableLBA is far", None, lambda d: d.with_size(34 * 512), open_section, sealed=False)
    yield _deviation("size.cut_off", "the disk is cut off behind its partitions: no backup", None, lambda d: d.with_size(500 * 512), open_section, sealed=False)
    yield _deviation("size.cut_off_by_one", "the disk lacks its last sector, the backup header", "accept", lambda d: d.with_size(d.size - 512), SECTION, sealed=False)
    yield _deviation("size.grown", "the disk was made larger: the backup stands amid it", "accept", lambda d: d.with_size(2 * d.size), SECTION, sealed=False)
    yield _deviation("size.grown_by_one", "the disk was made larger by a sector", "accept", lambda d: d.with_size(d.size + 512), SECTION, sealed=False)
    yield _deviation("size.grown_without_primary", "the disk was made larger, and the primary header is zeros: nothing leads to the backup", "refuse", lambda d: d.without("primary").with_size(2 * d.size), SECTION, sealed=False)
    yield _deviation("size.odd", "the disk has 511 bytes after its last whole sector", "accept", lambda d: d.with_size(d.size + 511), SECTION, sealed=False)
    yield _deviation("size.least", "the disk is the smallest that a GPT fits on: one usable sector", "accept", lambda d: _least(), _PLACE)
    yield _deviation("size.short_by_two", "there is no room for the backup's entries: the two arrays share a sector", "accept", lambda d: _crowded(_least()), _PLACE, sealed=False, sees=_seen_twice)


def _least() -> GptDisk:
    """Return a disk of 68 sectors: MBR, two headers, two arrays of 32 sectors, and one between them."""
    entry = gpt.Entry(gpt.TYPE_LINUX_DATA, EXAMPLE_ENTRIES[2].unique_guid, 34, 34, "least")
    return gpt_disk({1: entry}, 68 * 512)


def _crowded(disk: GptDisk) -> GptDisk:
    """Return the disk two sectors shorter, and its backup moved with the end, into the primary's entries."""
    for which, offset in (("backup.entry1", -2 * 512), ("backup", -2 * 512)):
        disk = disk.moved(which, disk.offset_of(which) + offset)
    disk = disk.with_size(disk.size - 2 * 512)
    last = disk.sectors - 1
    disk = disk.with_record("primary", alternate_lba=last)
    return disk.with_record("backup", my_lba=last, partition_entry_lba=last - 32).sealed()


def _seen_twice(disk: GptDisk, verdict: Verdict) -> list[Seen]:
    """See the backup's first entry where it is in the primary's last sector, too: as number 125."""
    first = disk.partitions("primary")[0]
    return [first, first._replace(number=125)]


def _sector_sizes() -> Iterator[Deviation]:
    yield _deviation("sector_size.4096_read_as_512", "the table is that of a disk with sectors of 4,096 bytes, this one has 512", "refuse", lambda d: _with_sectors(d, 512), base=gpt_disk_4096, sealed=False)
    yield _deviation("sector_size.512_read_as_4096", "the table is that of a disk with sectors of 512 bytes, this one has 4,096", "refuse", lambda d: _with_sectors(d, _LARGE_SECTOR), sealed=False)
    yield _deviation("sector_size.4096_header_size", "HeaderSize is 4,096, all of a sector of 4,096 bytes", "accept", lambda d: d.with_record("primary", header_size=_LARGE_SECTOR), base=gpt_disk_4096)
    yield _deviation("sector_size.4096_header_beyond", "HeaderSize is 4,097, one more than the sector has", "backup", lambda d: d.with_record("primary", header_size=_LARGE_SECTOR + 1), base=gpt_disk_4096)
    yield _deviation("sector_size.4096_no_primary", "sectors of 4,096 bytes, the primary header is zeros", "backup", lambda d: d.without("primary"), base=gpt_disk_4096)
    yield _deviation("sector_size.4096_my_lba", "sectors of 4,096 bytes, MyLBA counts in sectors of 512", "backup", lambda d: d.with_record("primary", my_lba=8), base=gpt_disk_4096)
    yield _deviation("sector_size.both", "a disk with sectors of 512 bytes has another table where one with 4,096 would have it", "accept", _both_sizes)


def _with_sectors(disk: GptDisk, size: int) -> GptDisk:
    """Return the same bytes, as a disk with other sectors."""
    return replace(disk, sector_size=size)


def _both_sizes(disk: GptDisk) -> GptDisk:
    """Return the disk with the header and entries of a disk with large sectors among the primary's entries.

    Where the other header would stand, at byte 4,096, are entries 25 and on; they have no type, so that only
    who looks for a signature there is misled.
    """
    other = gpt_disk_4096()
    return disk.with_bytes(_LARGE_SECTOR + 16 + 512 * 100, other["primary"].content)
