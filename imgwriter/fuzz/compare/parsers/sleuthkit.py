"""mmls, of The Sleuth Kit. Logical partitions have numbers of its own."""

from __future__ import annotations

import re

from imgwriter.fuzz.compare.parsers.program import Program, remark
from imgwriter.fuzz.compare.run import Ended
from imgwriter.fuzz.compare.values import Part, View

_KINDS = {"GUID Partition Table (EFI)": "gpt", "DOS Partition Table": "mbr"}
_ROW = re.compile(r"^\d+:  (\S+) +(\d+) +\d+ +(\d+) +(.*)$", re.MULTILINE)
_META = "Meta"
_UNUSED = "-------"


def read(ended: Ended, sector_size: int) -> View:
    """Return what ``mmls`` saw."""
    lines = ended.out.splitlines()
    if ended.status or not lines:
        return View("none", said=remark(ended))
    kind = _KINDS.get(lines[0], lines[0])
    rows = _ROW.findall(ended.out)
    parts = tuple(
        Part(int(start) * sector_size, int(length) * sector_size, _number(slot))
        for slot, start, length, _ in rows
        if slot not in (_META, _UNUSED)
    )
    headers = [int(start) for slot, start, _, what in rows if slot == _META and what == "GPT Header"]
    used = ("primary" if headers[0] == 1 else "backup") if kind == "gpt" and headers else None
    return View("table", kind, used, parts, remark(ended))


def _number(slot: str) -> int | None:
    """Return the number of slot "003" of a GPT, or of "000:003" of an MBR."""
    table, _, index = slot.rpartition(":")
    return int(index) + 1 if index.isdigit() and table in ("", "000") else None


MMLS = Program(
    "mmls",
    "mmls",
    lambda path, size: ["-b", str(size), path],
    read,
    version=("-V",),
)
