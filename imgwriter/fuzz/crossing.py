"""Checksums that cover each other: a GPT header whose entries stand on itself, both sums right.

::

    header sector   ├ ... HeaderCRC32 ... PartitionEntryArrayCRC32 ... ┤
                      └── covers the other field ──┘
    entries         ├─────────── the same bytes: cover both ───────────┤

Neither can be computed first. But a CRC is affine: flipping a bit of the input flips the same bits of the
sum, whatever the rest. So the two sums are the solution of 64 linear equations over single bits, which need
not have one.
"""

from __future__ import annotations

from imgwriter.errors import SpecError
from imgwriter.fuzz.tables import GptDisk, array_crc, header_crc

_BITS = 64
_LOW = (1 << 32) - 1


def sealed_crosswise(disk: GptDisk, which: str) -> GptDisk:
    """Return the disk with both checksums of a copy right, though each covers the other.

    Args:
        disk: Any; that the entries stand on the header is what makes this necessary.
        which: "primary" or "backup".

    Raises:
        SpecError: No two numbers are right.
    """
    constant = _sums(disk, which, 0)
    # x is right where sums(x) = x; sums(x) is constant + (row i for each bit i of x), + being exclusive or.
    rows = [(_sums(disk, which, 1 << bit) ^ constant ^ 1 << bit, 1 << bit) for bit in range(_BITS)]
    solution = _combination(rows, constant)
    if solution is None:
        raise SpecError("no two checksums are right for each other here; change another field of the header")
    return _with_sums(disk, which, solution)


def _with_sums(disk: GptDisk, which: str, value: int) -> GptDisk:
    return disk.with_record(which, header_crc32=value & _LOW, partition_entry_array_crc32=value >> 32)


def _sums(disk: GptDisk, which: str, value: int) -> int:
    """Return the sums of the bytes that there are when the fields have ``value``."""
    disk = _with_sums(disk, which, value)
    return header_crc(disk, which) | array_crc(disk, which) << 32


def _combination(rows: list[tuple[int, int]], target: int) -> int | None:
    """Return which rows add up to ``target``, as bits; None where none do.

    Args:
        rows: (bits, the row's own bit).
    """
    chosen = 0
    pending = rows
    for bit in range(_BITS):
        pivot = next((row for row in pending if row[0] >> bit & 1), None)
        if pivot is None:
            if target >> bit & 1:
                return None
            continue
        pending = [
            (row[0] ^ pivot[0], row[1] ^ pivot[1]) if row[0] >> bit & 1 else row
            for row in pending
            if row is not pivot
        ]
        if target >> bit & 1:
            target ^= pivot[0]
            chosen ^= pivot[1]
    return chosen
