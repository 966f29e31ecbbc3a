"""FAT volumes to damage, with their areas worked out here from the specification."""

from __future__ import annotations

import struct
from functools import cache

from imgwriter import fat
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.findings import Finding
from imgwriter.units import MiB
from imgwriter.verify.fat import verify_fat
from imgwriter.verify.values import Result
from tests.unit.fat.trees import Tree, inventory

SIZES = {12: 1 * MiB, 16: 4 * MiB, 32: 36 * MiB}
TREE: Tree = {
    b"SHORT.TXT": b"s" * 600,
    b"a long name.txt": b"l" * 1500,
    b"SUB": {b"INNER": b"i" * 512},
    b"EMPTY": b"",
}
LONG_SHORT = b"ALONGN~1TXT"

_LENGTH = 1 * MiB
"""Bytes that are kept of a volume: all that is not zero is before."""


@cache
def _planned(bits: int) -> tuple[int, bytes]:
    """Return a volume's size and its first bytes."""
    parameters = fat.Parameters(fat_type=bits, cluster_size=512, label="LABEL")
    planned = fat.plan(inventory(TREE), parameters, SIZES[bits], "the volume").volume()
    assert all(e.end <= _LENGTH for e in planned.extents)
    return planned.size, planned.read(0, _LENGTH)


class FatVolume:
    """A volume in clusters of 512 bytes, of which any byte can be set. Its tree is TREE.

    Spec: FAT specification, 3.1 and 3.3 (offsets of the fields), 4 (entries).
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.size, image = _planned(bits)
        self.image = bytearray(image)
        self.reserved = self.get("<H", 14)
        self.fat_sectors = self.get("<H", 22) or self.get("<I", 36)
        self.root_entries = self.get("<H", 17)
        self.fat_at = self.reserved * 512
        self.fat_size = self.fat_sectors * 512
        self.root_at = self.fat_at + 2 * self.fat_size
        self.data_at = self.root_at + 32 * self.root_entries

    def get(self, code: str, at: int) -> int:
        value: int = struct.unpack_from(code, self.image, at)[0]
        return value

    def put(self, code: str, at: int, *values: int | bytes) -> FatVolume:
        struct.pack_into(code, self.image, at, *values)
        return self

    def flip(self, at: int, mask: int) -> FatVolume:
        self.image[at] ^= mask
        return self

    def cluster(self, number: int) -> int:
        """Return where a cluster begins."""
        return self.data_at + (number - 2) * 512

    def entry_at(self, short: bytes) -> int:
        """Return where the directory entry of a short name is."""
        return self.image.index(short)

    def first(self, short: bytes) -> int:
        """Return the first cluster of an entry."""
        return self.get("<H", self.entry_at(short) + 26)

    def link(self, cluster: int, value: int, fats: tuple[int, ...] = (0, 1)) -> FatVolume:
        """Set the entry of a cluster, in both FATs unless told otherwise."""
        for number in fats:
            base = self.fat_at + number * self.fat_size
            at = base + cluster * self.bits // 8
            if self.bits == 12:
                pair = self.get("<H", at)
                pair = pair & 0xF | value << 4 if cluster % 2 else pair & 0xF000 | value
                self.put("<H", at, pair)
            else:
                self.put("<H" if self.bits == 16 else "<I", at, value)
        return self

    def cut(self, size: int) -> FatVolume:
        self.size = size
        return self

    @property
    def end(self) -> int:
        """An end mark."""
        return (1 << min(self.bits, 28)) - 1

    def volume(self) -> Volume:
        content = bytes(self.image[: min(self.size, _LENGTH)])
        return Volume(self.size, [extent(0, Bytes(content), "volume")])

    def verify(self, size: int | None = None) -> Result:
        return verify_fat(self.volume(), 0, size)


def said(remarks: tuple[Finding, ...]) -> set[tuple[str, str]]:
    """Return (structure, field) of each."""
    return {(remark.structure, remark.field) for remark in remarks}
