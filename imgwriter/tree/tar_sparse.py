"""Sparse files of GNU tar: where their data is, in each of the forms that a map has.

::

    old GNU    ┌ S: header, 4 pairs ┬ 21 pairs ┬ 21 pairs ┬ contents ...
    PAX 0.0    ┌ x: GNU.sparse.offset, GNU.sparse.numbytes, again and again ┬ header ┬ contents ...
    PAX 0.1    ┌ x: GNU.sparse.map=offset,numbytes,... ┬ header ┬ contents ...
    PAX 1.0    ┌ x: GNU.sparse.major=1 ┬ header ┬ decimal lines, to 512 B ┬ contents ...

The contents are the pieces, one after the other, without the holes.

Spec: GNU tar 1.34, manual, "Storing Sparse Files", and src/tar.h, struct sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imgwriter.errors import show
from imgwriter.extent import Data
from imgwriter.filedata import Concatenated, HandleSlice
from imgwriter.tree.inventory import Run
from imgwriter.tree.tar_errors import CUT, WHOLE, MalformedError
from imgwriter.tree.tar_header import GNU_SPARSE_FILE, MAX_SIZE, TYPEFLAG
from imgwriter.tree.tar_records import DECIMAL, MAX_DIGITS, SPARSE, Records, decimal
from imgwriter.tree.tar_source import BLOCK, TarSource

_MAX_PIECES = 1 << 20

_SPARSE, _ISEXTENDED, _REALSIZE = slice(386, 482), 482, slice(483, 495)
_MORE_SPARSE, _MORE_ISEXTENDED = slice(0, 504), 504


class SparseMap(NamedTuple):
    """Where a sparse file has data.

    Attributes:
        size: Bytes of the file.
        stored: Bytes of it in the archive, all pieces together.
        pieces: (offset, length) of each, in order; some may be empty.
    """

    size: int
    stored: int
    pieces: Sequence[tuple[int, int]]


def is_sparse(records: Records) -> bool:
    """Tell whether PAX records are of a sparse file."""
    return SPARSE + b"size" in records or SPARSE + b"realsize" in records


def read_map(block: bytes, stored: int, records: Records, source: TarSource) -> SparseMap:
    """Return the map of a sparse file, in whichever form it is; read it where it stands after the header.

    Args:
        block: The header.
        stored: Bytes of the member after it and after the old form's blocks.
        records: PAX records that apply.
        source: The archive, behind the header.

    Raises:
        MalformedError: There is none, or it is none of these contents.
    """
    if block[TYPEFLAG] == GNU_SPARSE_FILE:
        size = _number(block[_REALSIZE])
        numbers = _old_map(block, source)
    else:
        size = decimal(records, SPARSE + b"size", 0, MAX_SIZE)
        size = decimal(records, SPARSE + b"realsize", size, MAX_SIZE)
        if SPARSE + b"map" in records:
            numbers = _decimals(records[SPARSE + b"map"].split(b","))
        elif records.get(SPARSE + b"major") == b"1":
            numbers, used = _map_in_contents(stored, source)
            stored -= used
        else:
            raise MalformedError(f"it is sparse and has no map that is known here; {WHOLE}")
    return SparseMap(size, stored, _checked(numbers, size, stored))


def sparse_data(found: SparseMap, content: HandleSlice) -> tuple[Data, Sequence[Run]]:
    """Return the data of a sparse file, and its runs.

    Args:
        found: Its map.
        content: The pieces, as they are in the archive.
    """
    pieces: list[tuple[int, Data]] = []
    position = content.offset
    for offset, length in found.pieces:
        if length:
            pieces.append((offset, HandleSlice(content.file, position, length)))
            position += length
    runs = tuple((offset, offset + len(piece)) for offset, piece in pieces)
    return Concatenated(pieces, found.size), runs


def _checked(numbers: Sequence[int], size: int, stored: int) -> Sequence[tuple[int, int]]:
    """Return the pieces of a map: offset and length of each, one after the other."""
    pieces = list(zip(numbers[::2], numbers[1::2], strict=False))
    end = total = 0
    for offset, length in pieces:
        if offset < end or offset + length > size:
            raise MalformedError(
                f"its sparse map is out of order or exceeds its size of {size:,} bytes; {WHOLE}"
            )
        end = offset + length
        total += length
    if len(numbers) % 2 or total != stored:
        raise MalformedError(f"its sparse map has {total:,} bytes and its contents {stored:,}; {WHOLE}")
    return pieces


def _old_map(block: bytes, source: TarSource) -> list[int]:
    """Read the map of the old GNU form: 4 pairs in the header, 21 in each block that follows."""
    numbers = _pairs(block[_SPARSE])
    more = block[_ISEXTENDED]
    while more:
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            raise MalformedError(f"the archive ends inside its sparse map; {CUT}")
        numbers += _pairs(block[_MORE_SPARSE])
        _check_pieces(len(numbers) // 2)
        more = block[_MORE_ISEXTENDED]
    return numbers


def _pairs(array: bytes) -> list[int]:
    """Return the numbers of an array of sparse entries (offset[12], numbytes[12]), up to an unused one."""
    numbers: list[int] = []
    for position in range(0, len(array), 24):
        if array[position + 12] == 0:
            break
        numbers += (_number(array[position : position + 12]), _number(array[position + 12 : position + 24]))
    return numbers


def _number(field: bytes) -> int:
    """Return a number of a GNU sparse header: octal, or base-256 when the first bit is set."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        raise MalformedError(f"its sparse map is damaged; {WHOLE}") from None


def _map_in_contents(stored: int, source: TarSource) -> tuple[list[int], int]:
    """Read the map of GNU's PAX form 1.0: decimal lines before the contents, padded to a block.

    Returns:
        The numbers, and the bytes the map takes.
    """
    lines: list[bytes] = []
    used, wanted = 0, 1
    rest = b""
    while len(lines) < wanted:
        block = source.read(BLOCK) if used < stored else b""
        if len(block) < BLOCK:
            raise MalformedError(f"its sparse map is longer than its contents; {WHOLE}")
        used += BLOCK
        *complete, rest = (rest + block).split(b"\n")
        lines += complete
        if wanted == 1 and lines:
            count = _decimals(lines[:1])[0]
            _check_pieces(count)
            wanted = 1 + 2 * count
        if len(lines) < wanted and len(rest) > MAX_DIGITS:
            raise MalformedError(f"its sparse map is damaged; {WHOLE}")
    return _decimals(lines[1:wanted]), used


def _decimals(values: list[bytes]) -> list[int]:
    for value in values:
        if not DECIMAL.fullmatch(value):
            raise MalformedError(f"its sparse map holds {show(value[:40])!r}, not a number; {WHOLE}")
    return [int(value) for value in values]


def _check_pieces(count: int) -> None:
    if count > _MAX_PIECES:
        raise MalformedError(
            f"it is in {count:,} pieces, and at most {_MAX_PIECES:,} are read; fill some of its holes"
        )
