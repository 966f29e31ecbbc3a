"""Deviations of the chain of extended boot records: loops, links that lead out, records that are not data.

::

    MBR   1: extended, sectors 64 to 1663     2: primary
           │
          EBR 1 at 64 ── link ──> EBR 2 at 464 ── link ──> EBR 3 at 864         logical partitions 5, 6, 7

No specification has the chain. What counts is what Linux and libblkid do where they agree: links count from the
start of the extended partition, and what cannot be followed ends the chain. A correct reader lists each
logical partition that it came by once, and comes to an end: so does libblkid, while Linux goes round a loop
until it has 255 partitions. Where the two differ in anything else, and where UEFI lets a reader choose, the
verdict is open.

Linux: block/partitions/msdos.c, core.c. libblkid: libblkid/src/partitions/dos.c, of util-linux 2.38.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from imgwriter.fuzz.catalogue.mbr import FOLKLORE, NO_TYPE
from imgwriter.fuzz.deviation import Deviation, Sight, as_declared, uncertain
from imgwriter.fuzz.image import Seen, Verdict
from imgwriter.fuzz.tables import MbrDisk, Row, mbr_disk

LOOP = "no specification; libblkid 2.38; Linux block/partitions/msdos.c goes round until it has 255 partitions"
FIRST_LINK = (
    "no specification; Linux block/partitions/msdos.c follows the first link, to no end;"
    " libblkid and parted find the one after it"
)
LEAVES_DISK = (
    "no specification; libblkid lists it as it is declared, Linux block/partitions/core.c up to the disk's end"
)

START, SECTORS = 64, 1600
"""The extended partition."""
STEP = 400
"""Sectors from one EBR to the next."""
DISK_SECTORS = 2048

EXTENDED = Row(0x05, START, SECTORS)
PRIMARY = Row(0x83, 1700, 300)
LINK_2, LINK_3 = Row(0x05, STEP, STEP), Row(0x05, 2 * STEP, STEP)


def _data(size: int = STEP - 8) -> Row:
    return Row(0x83, 8, size)


def chain_disk() -> MbrDisk:
    """Return a disk with an extended partition of three logical ones, and a primary one after it."""
    disk = mbr_disk([EXTENDED, PRIMARY], DISK_SECTORS * 512, disk_signature=0xF022_0002)
    disk = disk.with_sector("ebr1", START, [_data(), LINK_2])
    disk = disk.with_sector("ebr2", START + STEP, [_data(), LINK_3])
    return disk.with_sector("ebr3", START + 2 * STEP, [_data()])


def ebr_deviations() -> Iterator[Deviation]:
    """Yield them: EBRs that are none, links, the extended partition, logical partitions, lengths."""
    yield from _signatures()
    yield from _loops()
    yield from _links()
    yield from _extended()
    yield from _logical()
    yield from _lengths()


def _deviation(
    name: str,
    description: str,
    change: Callable[[MbrDisk], MbrDisk],
    sees: Sight = as_declared,
    verdict: Verdict | None = "accept",
    section: str = FOLKLORE,
) -> Deviation:
    return Deviation(f"mbr.{name}", section, description, verdict, chain_disk, change, sees=sees)


def _sees(*numbers: int) -> Sight:
    """Return what sees the primaries and the logical partitions of the EBRs with those numbers."""
    return lambda disk, verdict: disk.primaries() + disk.logicals(*numbers)


def _set(
    name: str,
    description: str,
    record: str,
    sees: Sight = as_declared,
    verdict: Verdict | None = "accept",
    section: str = FOLKLORE,
    **fields: int | bytes,
) -> Deviation:
    return _deviation(
        name, description, lambda disk: disk.with_record(record, **fields), sees, verdict, section
    )


def _signatures() -> Iterator[Deviation]:
    yield _set("ebr1.signature.zero", "the first EBR does not end in 55 AA: there is no chain", "ebr1", _sees(), signature=0)
    yield _set("ebr2.signature.zero", "the second EBR does not end in 55 AA: it and all after it are lost", "ebr2", _sees(1), signature=0)
    yield _set("ebr2.signature.swapped", "the second EBR ends in AA 55", "ebr2", _sees(1), signature=0x55AA)
    yield _set("ebr3.boot_code.present", "an EBR has boot code", "ebr3", boot_code=b"\x90" * 440)
    yield _set("ebr2.record1.boot_indicator.garbage", "a logical partition's BootIndicator is 0x20", "ebr2.record1", boot_indicator=0x20)
    yield _set("ebr2.record1.boot_indicator.active", "a logical partition is active", "ebr2.record1", boot_indicator=0x80)


def _loops() -> Iterator[Deviation]:
    yield _set("ebr1.record2.starting_lba.itself", "the first EBR links to itself", "ebr1.record2", _sees(1), section=LOOP, starting_lba=0)
    yield _set("ebr2.record2.starting_lba.itself", "the second EBR links to itself", "ebr2.record2", _sees(1, 2), section=LOOP, starting_lba=STEP)
    yield _set("ebr2.record2.starting_lba.first", "the second EBR links to the first", "ebr2.record2", _sees(1, 2), section=LOOP, starting_lba=0)
    yield _deviation("ebr3.record2.first", "the last EBR links to the first", lambda disk: disk.with_row("ebr3", 2, Row(0x05, 0, STEP)), section=LOOP)
    yield _deviation("ebr3.record2.second", "the last EBR links to the second", lambda disk: disk.with_row("ebr3", 2, LINK_2), section=LOOP)
    yield _deviation("ebr1.record1.link_itself", "the first EBR has a link to itself in place of a partition", lambda disk: disk.with_row("ebr1", 1, Row(0x05, 0, STEP)), verdict=None, section=FIRST_LINK)
    yield _deviation("ebr1.record3.second_link", "an EBR has two links, the second to itself; the first counts", lambda disk: disk.with_row("ebr1", 3, Row(0x05, 0, STEP)))
    yield _deviation("chain.backwards", "the links lead backwards: the first EBR to the last, that to the second", _backwards, sees=_sees(1, 3, 2))


def _backwards(disk: MbrDisk) -> MbrDisk:
    disk = disk.with_row("ebr1", 2, LINK_3).with_row("ebr3", 2, LINK_2)
    return disk.with_row("ebr2", 2, Row(0, 0, 0))


def _links() -> Iterator[Deviation]:
    link = "ebr2.record2"
    yield _set("ebr2.record2.starting_lba.outside", "a link leads out of the extended partition", link, _sees(1, 2), starting_lba=SECTORS + 50)
    yield _set("ebr2.record2.starting_lba.at_end", "a link leads to the first sector after the extended partition", link, _sees(1, 2), starting_lba=SECTORS)
    yield _set("ebr2.record2.starting_lba.beyond", "a link leads beyond the disk", link, _sees(1, 2), starting_lba=DISK_SECTORS)
    yield _set("ebr2.record2.starting_lba.largest", "a link's start is 2^32 - 1, which in 32 bits is the sector before the extended partition", link, _sees(1, 2), starting_lba=0xFFFF_FFFF)
    yield _set("ebr2.record2.starting_lba.mbr", "a link leads to the MBR, in 32 bits", link, _sees(1, 2), starting_lba=(1 << 32) - START)
    yield _set("ebr2.record2.starting_lba.own_ebr", "a link counts from its own EBR: it leads to the second one again", link, _sees(1, 2), section=LOOP, starting_lba=STEP)
    yield _set("ebr2.record2.starting_lba.in_partition", "a link leads into a logical partition, where there is no EBR", link, _sees(1, 2), starting_lba=STEP + 100)
    yield _set("ebr2.record2.size_in_lba.zero", "a link has no sectors: it is none", link, _sees(1, 2), size_in_lba=0)
    yield _set("ebr2.record2.size_in_lba.largest", "a link has 2^32 - 1 sectors", link, size_in_lba=0xFFFF_FFFF)
    yield _set("ebr2.record2.size_in_lba.one", "a link has one sector, less than its logical partition", link, size_in_lba=1)
    yield _set("ebr2.record2.os_type.zero", "a link has sectors and no type", link, verdict=None, section=NO_TYPE, os_type=0)
    for name, value in (("lba", 0x0F), ("linux", 0x85)):
        yield _set(f"ebr2.record2.os_type.{name}", f"a link's type is {value:#04x}", link, os_type=value)
    yield _deviation("ebr2.swapped", "the link is an EBR's first record, the partition its second", lambda disk: disk.with_sector("ebr2", START + STEP, [LINK_3, _data()]), sees=_swapped)
    yield _deviation("ebr2.record3.garbage", "an EBR's third record has a partition beyond the extended one: garbage", lambda disk: disk.with_row("ebr2", 3, Row(0x83, 4000, 100)))
    yield _deviation("ebr2.no_data", "an EBR has a link and no partition", lambda disk: disk.with_row("ebr2", 1, Row(0, 0, 0)), sees=_sees(1, 3))
    yield _deviation("ebr3.empty", "the last EBR is empty", lambda disk: disk.with_row("ebr3", 1, Row(0, 0, 0)), sees=_sees(1, 2))


def _swapped(disk: MbrDisk, verdict: Verdict) -> list[Seen]:
    first, third = disk.logicals(1, 3)
    row = disk["ebr2.record2"]
    start = disk.offset_of("ebr2") + row["starting_lba"] * disk.sector_size
    second = first._replace(number=6, start=start, size=row["size_in_lba"] * disk.sector_size)
    return [*disk.primaries(), first, second, third._replace(number=7)]


def _extended() -> Iterator[Deviation]:
    record = "mbr.record1"
    for name, value in (("lba", 0x0F), ("linux", 0x85)):
        yield _set(f"record1.os_type.{name}", f"the extended partition's type is {value:#04x}", record, os_type=value)
    yield _set("record1.extended.zero", "the extended partition has no sectors: it is none", record, _sees(), size_in_lba=0)
    yield _set("record1.extended.one", "the extended partition has one sector, that of its first EBR", record, uncertain, size_in_lba=1)
    yield _set("record1.extended.at_mbr", "the extended partition starts at sector 0: the MBR is its own EBR", record, verdict=None, starting_lba=0)
    yield _set("record1.extended.beyond", "the extended partition starts beyond the disk", record, _sees(), None, starting_lba=DISK_SECTORS)
    yield _set("record1.extended.to_the_end", "the extended partition ends beyond the disk", record, verdict=None, size_in_lba=1 << 31)
    yield _set("record1.extended.largest", "the extended partition's start and sectors are 2^32 - 1", record, verdict=None, starting_lba=0xFFFF_FFFF, size_in_lba=0xFFFF_FFFF)
    yield _deviation("record3.extended.same", "two records are the same extended partition", lambda disk: disk.with_row("mbr", 3, EXTENDED), verdict=None)
    yield _deviation("record3.extended.in_chain", "a second extended partition starts at the second EBR of the first", lambda disk: disk.with_row("mbr", 3, Row(0x05, START + STEP, STEP)), verdict=None)
    yield _deviation("slots.last", "the extended partition is the last record", _in_last_slot)


def _in_last_slot(disk: MbrDisk) -> MbrDisk:
    return disk.with_sector("mbr", 0, [PRIMARY, Row(0, 0, 0), Row(0, 0, 0), EXTENDED])


def _logical() -> Iterator[Deviation]:
    record = "ebr2.record1"
    yield _set("ebr2.record1.starting_lba.zero", "a logical partition starts at its EBR", record, starting_lba=0)
    yield _set("ebr2.record1.size_in_lba.zero", "a logical partition has no sectors: it is none", record, _sees(1, 3), size_in_lba=0)
    yield _set("ebr2.record1.size_in_lba.into_next", "a logical partition has the next EBR in it", record, size_in_lba=STEP + 10)
    yield _set("ebr3.record1.size_in_lba.outside", "a logical partition ends outside the extended one", "ebr3.record1", size_in_lba=2 * STEP)
    yield _set("ebr3.record1.size_in_lba.beyond", "a logical partition ends beyond the disk", "ebr3.record1", verdict=None, section=LEAVES_DISK, size_in_lba=DISK_SECTORS)
    yield _set("ebr3.record1.starting_lba.beyond", "a logical partition starts beyond the disk", "ebr3.record1", verdict=None, starting_lba=DISK_SECTORS)
    yield _set("ebr3.record1.starting_lba.wrapping", "a logical partition's start overflows 32 bits, into the disk", "ebr3.record1", verdict=None, starting_lba=(1 << 32) - 100)
    yield _set("ebr2.record1.os_type.protective", "a logical partition is of type 0xEE", record, os_type=0xEE)
    yield _set("ebr2.record1.os_type.zero", "a logical partition has sectors and no type", record, verdict=None, section=NO_TYPE, os_type=0)
    yield _deviation("ebr2.two_partitions", "an EBR has two partitions, and no link after them", lambda disk: disk.with_row("ebr2", 2, Row(0x83, 100, 50)), sees=_two_partitions)


def _two_partitions(disk: MbrDisk, verdict: Verdict) -> list[Seen]:
    first, second = disk.logicals(1, 2)
    start = disk.offset_of("ebr2") + 100 * disk.sector_size
    return [
        *disk.primaries(),
        first,
        second,
        second._replace(number=7, start=start, size=50 * disk.sector_size),
    ]


def _lengths() -> Iterator[Deviation]:
    for count, why in (
        (11, "15 partitions, as SCSI disks had them"),
        (12, "16 partitions, one more than SCSI disks had"),
        (59, "63 partitions, as IDE disks had them"),
        (60, "64 partitions, one more than IDE disks had"),
        (124, "128 partitions"),
    ):
        yield _deviation(f"chain.{count}", f"the chain has {count} logical partitions: {why}", partial(_chain, count=count))
    for count in (252, 256, 400):
        yield _deviation(f"chain.{count}", f"the chain has {count} logical partitions, about as many as Linux follows, or more", partial(_chain, count=count), uncertain)
    yield _deviation("chain.empty_links", "a chain of 400 EBRs without partitions", partial(_chain, count=400, data=False), lambda disk, verdict: disk.primaries())


def _chain(disk: MbrDisk, count: int, data: bool = True) -> MbrDisk:
    """Return the disk with a chain of so many EBRs, four sectors apart, each with two sectors of data."""
    disk = disk.without(*(name for name in disk.records if name.startswith("ebr")))
    partition = Row(0x83, 1, 2) if data else Row(0, 0, 0)
    sectors: dict[str, tuple[int, list[Row]]] = {}
    for number in range(1, count + 1):
        link = [Row(0x05, 4 * number, 4)] if number < count else []
        sectors[f"ebr{number}"] = (START + 4 * (number - 1), [partition, *link])
    return disk.with_sectors(sectors)
