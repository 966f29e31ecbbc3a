"""parted, in its script mode and its form for machines.

It opens an image for writing even to print it, and looks for ``IMAGE1``, ``IMAGE2`` ... beside it: one reason
why parsers are given copies. The sector size of a file is told by PARTED_SECTOR_SIZE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgwriter.fuzz.compare.parsers.program import KINDS, Program, remark
from imgwriter.fuzz.compare.run import Ended
from imgwriter.fuzz.compare.values import Part, View

_ROW = re.compile(r"^(\d+):(\d+)B:\d+B:(\d+)B:")
_NO_TABLE = ("unknown", "loop")
"""No label; a file system that begins where the disk does."""


def _arguments(path: bytes, _sector_size: int) -> list[str | bytes]:
    return ["-m", "-s", path, "unit", "B", "print"]


def _environment(sector_size: int) -> Mapping[str, str]:
    return {"PARTED_SECTOR_SIZE": str(sector_size)}


def read(ended: Ended, _sector_size: int) -> View:
    """Return what ``parted -m print`` saw."""
    said = remark(ended)
    lines = ended.out.splitlines()
    at = lines.index("BYT;") if "BYT;" in lines else len(lines)
    disk, rows = lines[at + 1 : at + 2], lines[at + 2 :]
    # PATH:SIZE:transport:logical:physical:label:model:flags; and the path may have colons.
    label = disk[0].rstrip(";").split(":")[-3] if disk and disk[0].count(":") >= 7 else "unknown"
    if label in _NO_TABLE:
        return View("none", said=said)
    found = [match for row in rows if (match := _ROW.match(row))]
    parts = tuple(Part(int(m[2]), int(m[3]), int(m[1])) for m in found)
    kind = KINDS.get(label, label)
    used = "backup" if "so that will be used" in ended.err and "primary" in _corrupt(ended) else "primary"
    return View("table", kind, used if kind == "gpt" else None, parts, said)


def _corrupt(ended: Ended) -> str:
    """Return which copy is said to be corrupt: "The primary GPT table is corrupt, but the backup ..."."""
    match = re.search(r"The (primary|backup) GPT table is corrupt", ended.err + ended.out)
    return match[1] if match else ""


PARTED = Program("parted", "parted", _arguments, read, environment=_environment)
