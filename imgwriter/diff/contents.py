"""Structures that are no row of fields, told in words: bitmaps, directories, attributes, maps of inodes.

Each function takes the bytes of both sides and returns what A has and what B has instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from imgwriter.diff.fields import raw
from imgwriter.errors import quoted, show
from imgwriter.examine.owners.ext4_names import entries_of
from imgwriter.ext4.directory import ENTRY, ENTRY_TAIL, EXT4_FT_DIR_CSUM
from imgwriter.ext4.format import (
    EXT4_EXTENTS_FL,
    EXTENT,
    EXTENT_HEADER,
    EXTENT_IDX,
    EXTENT_MAGIC,
    EXTENT_MAX_LEN,
)
from imgwriter.ext4.htree import DX_COUNTLIMIT, DX_ENTRY, DX_ROOT_INFO, DX_TAIL
from imgwriter.ext4.xattr import ACL_NAMES, PREFIXES, XATTR_ENTRY

_SHOWN = 6
"""Names or runs that are listed before "and N more"."""

Texts = tuple[str, str]

_PREFIX_OF = {index: prefix for prefix, index in PREFIXES} | {7: b"system."}
_ACL_OF = {index: name for name, index in ACL_NAMES.items()}
_END = bytes(4)
_DX_ROOT_COUNT = 24 + DX_ROOT_INFO.size
"""Where dx_root has its dx_countlimit: behind "." and the head of ".."."""


def listed(items: Iterable[str], nothing: str = "-") -> str:
    """Return the first items, and how many more there are."""
    everything = list(items)
    shown = ", ".join(everything[:_SHOWN])
    more = len(everything) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown or nothing


def bitmaps(a: bytes, b: bytes, first: int) -> Texts:
    """Return which numbers only one side has in use.

    Args:
        first: The number of the first bit.
    """
    return _only(a, b, first), _only(b, a, first)


def _only(mine: bytes, other: bytes, first: int) -> str:
    bits = int.from_bytes(mine, "little") & ~int.from_bytes(other, "little")
    return f"only here: {listed(_bit_runs(bits, first))}" if bits else "-"


def _bit_runs(bits: int, first: int) -> Iterator[str]:
    while bits:
        low = (bits & -bits).bit_length() - 1
        bits >>= low
        length = (~bits & (bits + 1)).bit_length() - 1
        start, end = first + low, first + low + length - 1
        yield f"{start:,}" if start == end else f"{start:,}-{end:,}"
        bits >>= length
        first += low + length


def directories(a: bytes, b: bytes) -> Texts:
    """Return the names that only one side has, else those that lead elsewhere, else where they stand."""
    one, two = list(entries_of(a)), list(entries_of(b))
    names_a, names_b = {e.name: e.inode for e in one}, {e.name: e.inode for e in two}
    only_a, only_b = names_a.keys() - names_b.keys(), names_b.keys() - names_a.keys()
    if only_a or only_b:
        return _names(only_a), _names(only_b)
    elsewhere = [name for name, number in names_a.items() if names_b[name] != number]
    if elsewhere:
        return _inodes(elsewhere, names_a), _inodes(elsewhere, names_b)
    if [e.name for e in one] != [e.name for e in two]:
        places = [(e.name, f.name) for e, f in zip(one, two, strict=True) if e.name != f.name]
        return _order(x for x, _ in places), _order(y for _, y in places)
    return "the same names", "the same names; the room between them, or the index, differs"


def _names(names: Iterable[bytes]) -> str:
    text = listed(show(name) for name in sorted(names))
    return text if text == "-" else f"only here: {text}"


def _inodes(names: Iterable[bytes], numbers: Mapping[bytes, int]) -> str:
    return listed(f"{show(name)} is inode {numbers[name]:,}" for name in names)


def _order(names: Iterable[bytes]) -> str:
    return f"in the order {listed(show(name) for name in names)}"


def directory_checksum(block: bytes) -> tuple[int, str] | None:
    """Return where a directory's block has its checksum, and its name: a leaf's, or an index's."""
    at = len(block) - ENTRY_TAIL.size
    if at < _DX_ROOT_COUNT:
        return None
    zero1, rec_len, zero2, kind, _ = ENTRY_TAIL.unpack_from(block, at)
    if (zero1, rec_len, zero2, kind) == (0, ENTRY_TAIL.size, 0, EXT4_FT_DIR_CSUM):
        return len(block) - 4, "det_checksum"
    count_at = ENTRY.size if ENTRY.unpack_from(block)[1] == len(block) else _DX_ROOT_COUNT
    limit, _ = DX_COUNTLIMIT.unpack_from(block, count_at)
    tail_at = count_at + limit * DX_ENTRY.size
    if not limit or tail_at + DX_TAIL.size > len(block):
        return None
    return tail_at + 4, "dt_checksum"


def attributes(a: bytes, b: bytes, at: int) -> Texts:
    """Return the extended attributes in which two lists differ.

    Args:
        at: Where the entries begin; values count from the start of the bytes.
    """
    one, two = dict(_entries(a, at)), dict(_entries(b, at))
    differ = [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]
    if not differ:
        return "the same attributes", "the same attributes, otherwise kept"
    return _values(differ, one), _values(differ, two)


def _values(names: list[bytes], values: Mapping[bytes, bytes]) -> str:
    return listed(f"{show(name)}={_value(values[name])}" for name in names if name in values)


def _value(value: bytes) -> str:
    text = value.rstrip(b"\0")
    return (
        quoted(text) if 0 < len(text) <= 40 and text.isascii() and text.decode().isprintable() else raw(value)
    )


def _entries(area: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, value) as far as the list is whole; a value that has an inode is that inode's number."""
    while at + XATTR_ENTRY.size <= len(area) and area[at : at + 4] != _END:
        length, index, value_at, inode, size, _ = XATTR_ENTRY.unpack_from(area, at)
        name = area[at + XATTR_ENTRY.size : at + XATTR_ENTRY.size + length]
        value = b"inode %d" % inode if inode else area[value_at : value_at + size]
        yield _ACL_OF.get(index) or _PREFIX_OF.get(index, b"%d." % index) + name, value
        at += XATTR_ENTRY.size + (length + 3 & ~3)


def block_map(i_block: bytes, flags: int) -> str:
    """Return where an inode's blocks are, as its i_block says."""
    magic, entries, _, depth, _ = EXTENT_HEADER.unpack_from(i_block)
    if not flags & EXT4_EXTENTS_FL or magic != EXTENT_MAGIC:
        return _pointers(i_block)
    body = i_block[EXTENT_HEADER.size : EXTENT_HEADER.size + EXTENT.size * min(entries, 4)]
    if depth:
        return listed(
            (f"index at {low | high << 32:,}" for _, low, high, _ in EXTENT_IDX.iter_unpack(body)), "none"
        )
    return listed((_extent(*values) for values in EXTENT.iter_unpack(body)), "no blocks")


def _extent(_logical: int, length: int, high: int, low: int) -> str:
    unwritten = length > EXTENT_MAX_LEN
    count = length - EXTENT_MAX_LEN if unwritten else length
    start = low | high << 32
    return f"blocks {start:,}-{start + count - 1:,}" + (" (unwritten)" if unwritten else "")


def _pointers(i_block: bytes) -> str:
    text = i_block.rstrip(b"\0")
    if len(text) > 4 and text.isascii() and text.decode().isprintable():
        return quoted(text)  # a symlink's target
    numbers = [int.from_bytes(i_block[at : at + 4], "little") for at in range(0, len(i_block), 4)]
    return listed(f"{number:,}" for number in numbers if number) if any(numbers) else "no blocks"
