"""A small parser of GPT, to be fuzzed: it reads sensible disks, and has the faults that such parsers have.

    python examples/fuzz/parser.py DISK...

Prints a line for each disk: the copy that was used and the partitions, or why there are none. It leaves with
status 1 where a disk was refused.
"""

from __future__ import annotations

import struct
import sys
import zlib
from typing import NamedTuple

SECTOR = 512
HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
ENTRY = struct.Struct("<16s16sQQQ72s")


class NoTable(Exception):
    """There is no GPT that can be used."""


class Partition(NamedTuple):
    """A partition: its number, and start and size in bytes."""

    number: int
    start: int
    size: int


def read_gpt(disk: bytes) -> tuple[str, list[Partition]]:
    """Return the copy that was used, "primary" or "backup", and the partitions.

    Raises:
        NoTable: Neither copy is valid.
    """
    for which, lba in (("primary", 1), ("backup", len(disk) // SECTOR - 1)):
        header = read_header(disk, lba)
        if header is not None:
            return which, read_entries(disk, header)
    raise NoTable("no valid GPT header")


def read_header(disk: bytes, lba: int) -> tuple[int, int, int] | None:
    """Return where the entries are, how many, and their size; None where the header is not valid."""
    sector = disk[lba * SECTOR : (lba + 1) * SECTOR]
    fields = HEADER.unpack(sector[: HEADER.size])
    signature, size, crc = fields[0], fields[2], fields[3]
    if signature != b"EFI PART":
        return None
    if zlib.crc32(sector[:16] + bytes(4) + sector[20:size]) != crc:
        return None
    return fields[10], fields[11], fields[12]


def read_entries(disk: bytes, header: tuple[int, int, int]) -> list[Partition]:
    """Return the entries that have a type."""
    lba, count, size = header
    partitions = []
    for number in range(count):
        start = lba * SECTOR + number * size
        kind, _, first, last, _, _ = ENTRY.unpack(disk[start : start + ENTRY.size])
        if any(kind):
            partitions.append(Partition(number + 1, first * SECTOR, (last - first + 1) * SECTOR))
    return partitions


def main(paths: list[str]) -> int:
    """Print what is on each disk."""
    status = 0
    for path in paths:
        with open(path, "rb") as file:
            disk = file.read()
        try:
            which, partitions = read_gpt(disk)
        except NoTable as reason:
            print(f"{path}: {reason}")
            status = 1
        else:
            print(f"{path}: {which}", *(f"{p.number}:{p.start}+{p.size}" for p in partitions))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
