"""A program of its own: says what ``dissect.volume`` sees of each image, a line of JSON for each.

::

    python dissect_worker.py SECONDS SECTOR_SIZE IMAGE [SECTOR_SIZE IMAGE ...]

An image that takes longer than SECONDS ends it by SIGALRM; who started it goes on behind that image. It is
run by its path: nothing of imgwriter is imported.
"""

from __future__ import annotations

import json
import signal
import sys
from itertools import islice
from typing import Any

from dissect.volume import disk
from dissect.volume.disk.schemes import GPT, MBR

MOST = 1024
"""Partitions that are told of an image."""


def _seen(path: str, sector_size: int) -> dict[str, Any]:
    with open(path, "rb") as image:
        try:
            found = disk.Disk(image, sector_size)
        except Exception as error:  # it raises whatever comes: DiskError, EOFError, UnicodeDecodeError ...
            return {"table": None, "said": f"{type(error).__name__}: {error}"}
    scheme = found.scheme
    kind = "gpt" if isinstance(scheme, GPT) else "mbr" if isinstance(scheme, MBR) else type(scheme).__name__
    rows = [_row(part, sector_size) for part in islice(found.partitions, MOST)]
    return {"table": kind, "partitions": rows}


def _row(part: Any, sector_size: int) -> list[int | None]:
    """Return start, size and number; an MBR's are numbered in its own way."""
    last = getattr(part.raw, "last_lba", None)
    # Its size is a sector short: the last LBA of an entry is part of it. (3.18)
    size = part.size if last is None else (last - part.raw.first_lba + 1) * sector_size
    return [part.offset, size, None if last is None else part.number]


def main() -> None:
    """Go through the images, in order."""
    seconds, *rest = sys.argv[1:]
    with open(1, "w", closefd=False) as out:
        for size, path in zip(rest[::2], rest[1::2], strict=True):
            signal.setitimer(signal.ITIMER_REAL, float(seconds))
            json.dump(_seen(path, int(size)), out)
            # json.dump ends no line, and what is not flushed would be lost with the next image.
            out.writelines(["\n"])
            out.flush()


main()
