"""GRUB's own readers of partition tables, run by grub-fstest; sectors of 512 bytes for every file.

A table without partitions looks like none, and which copy of a GPT was read is not said.
"""

from __future__ import annotations

import re

from imgwriter.fuzz.compare.parsers.program import KINDS, Program, remark
from imgwriter.fuzz.compare.run import Ended
from imgwriter.fuzz.compare.values import Part, View

_ROW = re.compile(
    r"^\s*Partition loop0,([a-z]+)(\d+): .*Partition start at (\d+)(\.5)?KiB - Total size (\d+)(\.5)?KiB",
    re.MULTILINE,
)
_KIB = 1024


def read(ended: Ended, _sector_size: int) -> View:
    """Return what ``grub-fstest ls -l`` saw."""
    rows = _ROW.findall(ended.out)
    if not rows:
        return View("none", partitions=(), said=remark(ended))
    parts = tuple(
        Part(_bytes(start, half), _bytes(size, odd), int(number))
        for _, number, start, half, size, odd in rows
    )
    return View("table", KINDS.get(rows[0][0], rows[0][0]), None, parts, remark(ended))


def _bytes(kibibytes: str, half: str) -> int:
    return int(kibibytes) * _KIB + (_KIB // 2 if half else 0)


GRUB_FSTEST = Program(
    "grub", "grub-fstest", lambda path, _size: [path, "ls", "--", "-l"], read, sector_sizes=(512,)
)
