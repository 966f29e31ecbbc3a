"""Four programs of util-linux with two libraries: sfdisk and fdisk (libfdisk), partx and blkid (libblkid).

fdisk is asked only where sfdisk cannot be: util-linux 2.38 has no way to tell sfdisk a sector size.
"""

from __future__ import annotations

import re

from imgwriter.fuzz.compare.parsers.program import KINDS, Program, remark
from imgwriter.fuzz.compare.run import Ended
from imgwriter.fuzz.compare.values import Part, View

_UNIT = 512
"""What partx counts in, whatever the sectors are."""

_DUMP_LABEL = re.compile(r"^label: (\S+)", re.MULTILINE)
_DUMP_ROW = re.compile(r"^\S+?(\d+) : start= *(\d+), size= *(\d+), type=(?!0(?:,|$))", re.MULTILINE)
"""A record of an MBR of type 0 is listed by its slot, and called empty."""
_FDISK_ROW = re.compile(r"^\S+?(\d+)\s+(\d+)\s+\d+\s+(\d+)\s*$", re.MULTILINE)
_FDISK_LABEL = re.compile(r"^Disklabel type: (\S+)", re.MULTILINE)
_PARTX_ROW = re.compile(r"^(\d+) (\d+) (\d+) (\S+)$", re.MULTILINE)
_BLKID_TYPE = re.compile(r"^PTTYPE=(\S+)", re.MULTILINE)
_PRIMARY_CORRUPT = "The primary GPT table is corrupt"


# --- libfdisk ---


def read_sfdisk(ended: Ended, sector_size: int) -> View:
    """Return what ``sfdisk --dump`` saw. Its JSON is none where a partition's name is damaged."""
    label = _DUMP_LABEL.search(ended.out)
    if ended.status or label is None:
        return View("none", said=remark(ended))
    parts = tuple(
        Part(int(start) * sector_size, int(size) * sector_size, int(number))
        for number, start, size in _DUMP_ROW.findall(ended.out)
    )
    return _libfdisk_view(ended, label[1], parts)


def read_fdisk(ended: Ended, sector_size: int) -> View:
    """Return what ``fdisk --list`` saw."""
    label = _FDISK_LABEL.search(ended.out)
    if label is None:
        return View("none", said=remark(ended))
    # The table of partitions is what follows its heading.
    rows = ended.out.partition("\nDevice ")[2]
    parts = tuple(
        Part(int(start) * sector_size, int(sectors) * sector_size, int(number))
        for number, start, sectors in _FDISK_ROW.findall(rows)
    )
    return _libfdisk_view(ended, label[1], parts)


def _libfdisk_view(ended: Ended, label: str, parts: tuple[Part, ...]) -> View:
    kind = KINDS.get(label, label)
    used = "backup" if _PRIMARY_CORRUPT in ended.err + ended.out else "primary"
    return View("table", kind, used if kind == "gpt" else None, parts, remark(ended))


# --- libblkid ---


def read_partx(ended: Ended, _sector_size: int) -> View:
    """Return what ``partx --raw`` saw; a table without partitions looks like none."""
    rows = _PARTX_ROW.findall(ended.out)
    if not rows:
        return View("none", partitions=(), said=remark(ended))
    kinds = sorted({KINDS.get(scheme, scheme) for *_, scheme in rows})
    parts = tuple(Part(int(start) * _UNIT, int(size) * _UNIT, int(number)) for number, start, size, _ in rows)
    return View("table", kinds[0], None, parts, remark(ended))


def read_blkid(ended: Ended, _sector_size: int) -> View:
    """Return what ``blkid --probe`` saw: the kind of table alone."""
    found = _BLKID_TYPE.search(ended.out)
    # PMBR: a protective MBR, and no GPT that counts.
    if found is None or found[1] == "PMBR":
        return View("none", said=remark(ended) or (found[0] if found else ""))
    return View("table", KINDS.get(found[1], found[1]), said=remark(ended))


SFDISK = Program("sfdisk", "sfdisk", lambda path, _size: ["--dump", path], read_sfdisk, sector_sizes=(512,))
FDISK = Program(
    "fdisk",
    "fdisk",
    lambda path, size: ["--list", "-b", str(size), "-o", "Device,Start,End,Sectors", path],
    read_fdisk,
    sector_sizes=(1024, 2048, 4096),
)
PARTX = Program(
    "partx",
    "partx",
    lambda path, size: ["--raw", "-g", "-o", "NR,START,SECTORS,SCHEME", "-S", str(size), path],
    read_partx,
)
BLKID = Program(
    "blkid", "blkid", lambda path, _size: ["--probe", "-o", "export", path], read_blkid, sector_sizes=(512,)
)
