"""sgdisk, of GPT fdisk: sectors of 512 bytes for every file.

It never says that there is no table: it says that it made one in memory. An MBR is told by its being
converted, and the copy that was read by what is said about the other.
"""

from __future__ import annotations

import re

from imgwriter.fuzz.compare.parsers.program import Program, flowing, remark
from imgwriter.fuzz.compare.run import Ended
from imgwriter.fuzz.compare.values import Part, View

_SECTOR = 512
_ROW = re.compile(r"^ +(\d+) +(\d+) +(\d+)  ", re.MULTILINE)
_BACKUP = re.compile(r"loaded backup partition table|regenerating main header from backup", re.IGNORECASE)


def _arguments(path: bytes, _sector_size: int) -> list[str | bytes]:
    # -v before -p: what is verified is what was read, not what -p might leave.
    return ["-v", "-p", path]


def read(ended: Ended, _sector_size: int) -> View:
    """Return what ``sgdisk -v -p`` saw."""
    text = flowing(ended.out + ended.err)
    said = remark(ended)
    if "Creating new GPT entries" in text or "Number Start (sector)" not in text:
        return View("none", said=said)
    parts = tuple(
        Part(int(first) * _SECTOR, (int(last) - int(first) + 1) * _SECTOR, int(number))
        for number, first, last in _ROW.findall(ended.out)
    )
    if "converting MBR to GPT" in text:
        return View("table", "mbr", None, parts, said)
    return View("table", "gpt", "backup" if _BACKUP.search(text) else "primary", parts, said)


SGDISK = Program("sgdisk", "sgdisk", _arguments, read, sector_sizes=(_SECTOR,))
