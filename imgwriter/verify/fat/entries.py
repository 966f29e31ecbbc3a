"""One directory entry of FAT on its own: attributes, dates, and what is fixed for its kind.

Spec: FAT specification, 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.fat.structures import (
    ATTR_DIRECTORY,
    ATTR_VOLUME_ID,
    DOT,
    DOT_DOT,
    ShortEntry,
)

ENTRY = "FAT specification, 6"
NAMES = "FAT specification, 6.1"
ATTRIBUTES = "FAT specification, 6.2"
DATES = "FAT specification, 6.3"
DIRECTORIES = "FAT specification, 6.5"
LONG = "FAT specification, 7"

_CASE_BITS = 0x18
"""Of DIR_NTRes: Windows' lower case of name and extension."""

_AT = {
    "DIR_Name": 0, "DIR_Attr": 11, "DIR_NTRes": 12, "DIR_CrtTimeTenth": 13, "DIR_CrtTime": 14,
    "DIR_CrtDate": 16, "DIR_LstAccDate": 18, "DIR_FstClusHI": 20, "DIR_WrtTime": 22, "DIR_WrtDate": 24,
    "DIR_FstClusLO": 26, "DIR_FileSize": 28,
    "LDIR_Ord": 0, "LDIR_Name1": 1, "LDIR_Type": 12, "LDIR_Chksum": 13, "LDIR_FstClusLO": 26,
}  # fmt: skip


class Flaw(NamedTuple):
    """What is wrong with a field; ``damage`` tells a finding from a note."""

    field: str
    expected: str
    found: str
    section: str
    damage: bool = True

    @property
    def at(self) -> int:
        """The field's offset in its entry."""
        return _AT[self.field]


def first_cluster(entry: ShortEntry, bits: int) -> int:
    """Return an entry's first cluster: types other than FAT32 have something of OS/2's in the upper half."""
    return entry.fst_clus_lo | (entry.fst_clus_hi << 16 if bits == 32 else 0)


def flaws(entry: ShortEntry, bits: int) -> Iterator[Flaw]:
    """Yield what is wrong with an entry's attributes, dates and clusters, whatever it is."""
    attributes = entry.attributes
    if attributes & 0xC0:
        yield Flaw("DIR_Attr", "bits 6 and 7 zero", f"{attributes:#04x}", ATTRIBUTES)
    if entry.nt_res & ~_CASE_BITS:
        yield Flaw("DIR_NTRes", "0, or the bits of lower case", f"{entry.nt_res:#04x}", ENTRY, damage=False)
    if bits != 32 and entry.fst_clus_hi:
        found = f"{entry.fst_clus_hi:,}"
        yield Flaw("DIR_FstClusHI", f"0 on FAT{bits}", found, ENTRY, damage=False)
    yield from _dates(entry)
    if attributes & ATTR_VOLUME_ID:
        yield from _label(entry, first_cluster(entry, bits))
    elif attributes & ATTR_DIRECTORY and entry.file_size:
        yield Flaw("DIR_FileSize", "0 for a directory", f"{entry.file_size:,}", DIRECTORIES)


def _label(entry: ShortEntry, cluster: int) -> Iterator[Flaw]:
    if entry.attributes & ATTR_DIRECTORY:
        yield Flaw("DIR_Attr", "a label or a directory", f"{entry.attributes:#04x}, both", ATTRIBUTES)
    if cluster:
        yield Flaw("DIR_FstClusLO", "0 for a label", f"{cluster:,}", ATTRIBUTES)
    if entry.file_size:
        yield Flaw("DIR_FileSize", "0 for a label", f"{entry.file_size:,}", ATTRIBUTES)
    if any(byte < 0x20 for byte in entry.name):
        yield Flaw("DIR_Name", "bytes that a label may have", f"{entry.name!r}", NAMES)
    # mkfs.fat and kernels take a label in lower case, which the specification leaves open; so does fsck.fat.


def _dates(entry: ShortEntry) -> Iterator[Flaw]:
    """Yield the dates and times that are none; 0 stands for one that is not kept."""
    dates = (
        ("DIR_CrtDate", entry.crt_date),
        ("DIR_LstAccDate", entry.lst_acc_date),
        ("DIR_WrtDate", entry.wrt_date),
    )
    for field, date in dates:
        month, day = date >> 5 & 15, date & 31
        if date and not (1 <= month <= 12 and day >= 1):
            found = f"{1980 + (date >> 9)}-{month:02}-{day:02}"
            yield Flaw(field, "a month of 1 to 12 and a day of 1 to 31", found, DATES)
    if not entry.wrt_date and entry.name not in (DOT, DOT_DOT):
        yield Flaw("DIR_WrtDate", "a date", "none", DATES, damage=False)
    for field, time in (("DIR_CrtTime", entry.crt_time), ("DIR_WrtTime", entry.wrt_time)):
        hours, minutes, seconds = time >> 11, time >> 5 & 63, (time & 31) * 2
        if hours > 23 or minutes > 59 or seconds > 58:
            yield Flaw(field, "up to 23:59:58", f"{hours:02}:{minutes:02}:{seconds:02}", DATES)
    if entry.crt_time_tenth > 199:
        yield Flaw("DIR_CrtTimeTenth", "0 to 199", f"{entry.crt_time_tenth}", DATES)
