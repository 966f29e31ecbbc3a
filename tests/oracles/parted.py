"""parted: a second reader of MBR and GPT, and the one the boundaries come from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.oracles.tools import Result, attempt


class Partition(NamedTuple):
    """One line of ``parted -m``; both LBAs are inclusive."""

    number: int
    first_lba: int
    last_lba: int
    filesystem: str
    name: str
    flags: str


class Table(NamedTuple):
    """A disk as parted reads it: sectors of ``sector_size`` bytes, label ``msdos`` or ``gpt``."""

    sectors: int
    sector_size: int
    label: str
    partitions: tuple[Partition, ...]


def raw(image: Path) -> Result:
    """Run ``parted -m print`` in sectors and return what it said."""
    return attempt("parted", "-s", "-m", image, "unit", "s", "print")


def table(image: Path) -> Table:
    """Return the partition table; assert that parted had no remark on it."""
    result = raw(image)
    assert result.status == 0 and not result.err and "Error" not in result.out, result.text
    _, disk, *rows = result.out.splitlines()
    _, size, _, sector, _, label, *_ = disk.split(":")
    return Table(int(size.rstrip("s")), int(sector), label, tuple(_partition(row) for row in rows))


def _partition(row: str) -> Partition:
    number, first, last, _, filesystem, name, flags = row.rstrip(";").split(":")
    return Partition(int(number), int(first.rstrip("s")), int(last.rstrip("s")), filesystem, name, flags)
