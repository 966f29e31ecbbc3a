"""An SQLite 3 database, all of it at once: the same rows give the same bytes, whatever SQLite there is.

::

    page 1    header (100 bytes), sqlite_schema: one row for each object
    page 2    root of the first object that has a tree
    ...
    page n+1  root of the last one
    ...       what did not fit into the roots: leaves, then the pages above them, object by object

A tree is filled from the left: every page takes as many cells as fit. What SQLite itself makes of the same
rows depends on its version (see docs/adr/0011-nix-database.md); this depends on the rows alone.

Spec: https://www.sqlite.org/fileformat2.html, whose section is named where it is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import pack
from typing import NamedTuple, TypeAlias

from imgwriter.errors import PlanInvariantError

PAGE_SIZE = 4096
"""Bytes of a page: SQLite's default, and what Nix has."""

Value: TypeAlias = "bytes | int | None"
"""A column: TEXT in UTF-8, INTEGER or NULL."""

Row: TypeAlias = "tuple[int, Sequence[Value]]"
"""(rowid, columns). A column that stands for the rowid (INTEGER PRIMARY KEY) is NULL."""


class SchemaObject(NamedTuple):
    """One row of sqlite_schema, and what it is about.

    Attributes:
        kind: ``b"table"``, ``b"index"`` or ``b"trigger"``.
        name: Its name.
        table: The table it belongs to; a table's own name.
        sql: The statement as SQLite keeps it, or None for an index that a constraint makes.
        rows: A table's rows by ascending rowid. An index's entries, ascending, each a row whose columns end
            in the rowid it leads to (its own rowid says nothing). None: a trigger has no tree.
    """

    kind: bytes
    name: bytes
    table: bytes
    sql: bytes | None
    rows: Sequence[Row] | None


_TABLE_LEAF, _TABLE_INTERIOR = 13, 5  # b-tree page types (1.6)
_INDEX_LEAF, _INDEX_INTERIOR = 10, 2
_LEAF_HEADER, _INTERIOR_HEADER = 8, 12
_DATABASE_HEADER = 100
_POINTER = 2  # bytes in a page's array for each cell

# Payloads beyond these go on overflow pages (1.6), which are not written: no row of Nix's comes near.
_MAX_TABLE_PAYLOAD = PAGE_SIZE - 35
_MAX_INDEX_PAYLOAD = (PAGE_SIZE - 12) * 64 // 255 - 23


def encode(objects: Sequence[SchemaObject]) -> bytes:
    """Return the database file that holds ``objects``, in this order, in WAL mode.

    The file's counters are as if it had been written by one transaction: the change counter is 1, the schema
    cookie the number of statements. The field for SQLite's version says 0: it was not SQLite.

    Raises:
        PlanInvariantError: A row or the schema is too large for a page.
    """
    pages = [b""]  # page 1 comes last: it says where the roots are
    trees = [each for each in objects if each.rows is not None]
    pages.extend(b"" for _ in trees)
    schema: list[Row] = []
    root = 1
    for number, each in enumerate(objects, 1):
        if each.rows is not None:
            root += 1
            _write_tree(pages, root, each.kind == b"table", each.rows)
        here = 0 if each.rows is None else root
        schema.append((number, (each.kind, each.name, each.table, here, each.sql)))
    cells = [_table_cell(row) for row in schema]
    if _DATABASE_HEADER + _LEAF_HEADER + sum(len(cell) + _POINTER for cell in cells) > PAGE_SIZE:
        raise PlanInvariantError(f"a schema of {len(objects)} objects is larger than a page")
    statements = sum(each.sql is not None and not each.name.startswith(b"sqlite_") for each in objects)
    header = _header(len(pages), statements)
    pages[0] = header + _page(_TABLE_LEAF, cells, _DATABASE_HEADER)
    return b"".join(pages)


def _header(pages: int, schema_cookie: int) -> bytes:
    """Return the database header (1.3)."""
    counter = 1
    return pack(
        ">16sHBBBBBB12I20x2I",
        b"SQLite format 3\0",
        PAGE_SIZE,
        2,  # file format write version: WAL
        2,  # file format read version: WAL
        0,  # bytes of unused space at the end of each page
        64,  # maximum embedded payload fraction
        32,  # minimum embedded payload fraction
        32,  # leaf payload fraction
        counter,  # file change counter
        pages,
        0,  # first freelist trunk page
        0,  # number of freelist pages
        schema_cookie,
        4,  # schema format number
        0,  # default page cache size
        0,  # largest root b-tree page: no auto-vacuum
        1,  # text encoding: UTF-8
        0,  # user version
        0,  # incremental-vacuum mode
        0,  # application id
        counter,  # version-valid-for
        0,  # SQLITE_VERSION_NUMBER
    )


def _write_tree(pages: list[bytes], root: int, table: bool, rows: Sequence[Row]) -> None:
    """Put a tree into ``pages``: its root at page ``root``, the others at the end."""
    leaf, interior = (_TABLE_LEAF, _TABLE_INTERIOR) if table else (_INDEX_LEAF, _INDEX_INTERIOR)
    cells = [(_table_cell if table else _index_cell)(row) for row in rows]
    spans = _divide(cells, PAGE_SIZE - _LEAF_HEADER, lifts=not table)
    if len(spans) == 1:
        pages[root - 1] = _page(leaf, cells)
        return
    children = [_append(pages, _page(leaf, cells[start:stop])) for start, stop in spans]
    # Between two leaves stands the left one's last rowid, or the index entry that neither of them holds.
    between: Callable[[int], bytes] = (lambda at: varint(rows[at - 1][0])) if table else cells.__getitem__
    keys = [between(stop) for _, stop in spans[:-1]]
    while True:
        cells = [pack(">I", child) + key for child, key in zip(children, keys, strict=False)]
        spans = _divide(cells, PAGE_SIZE - _INTERIOR_HEADER, lifts=True)
        if len(spans) == 1:
            pages[root - 1] = _page(interior, cells, right=children[-1])
            return
        children = [
            _append(pages, _page(interior, cells[start:stop], right=children[stop])) for start, stop in spans
        ]
        keys = [keys[stop] for _, stop in spans[:-1]]


def _divide(cells: Sequence[bytes], room: int, *, lifts: bool) -> list[tuple[int, int]]:
    """Return which cells, [start, stop), each page of a level holds: as many as fit, from the left.

    Args:
        cells: The level's cells.
        room: Bytes of a page for cells and their pointers.
        lifts: Whether the cell after each page goes up into the level above. No page is empty all the same.
    """
    spans = []
    start = 0
    used = 0
    for index, cell in enumerate(cells):
        if index < start:
            continue  # lifted
        used += len(cell) + _POINTER
        if used > room:
            # The last cell of all cannot go up: what is beside it would be an empty page.
            stop = index - 1 if lifts and index == len(cells) - 1 else index
            spans.append((start, stop))
            start = stop + 1 if lifts else stop
            used = sum(len(each) + _POINTER for each in cells[start : index + 1])
    spans.append((start, len(cells)))
    return spans


def _append(pages: list[bytes], page: bytes) -> int:
    """Add a page at the end and return its number."""
    pages.append(page)
    return len(pages)


def _page(kind: int, cells: Sequence[bytes], offset: int = 0, *, right: int | None = None) -> bytes:
    """Return a b-tree page (1.6), without the ``offset`` bytes that stand before it on page 1."""
    position = PAGE_SIZE
    pointers = []
    for cell in cells:
        position -= len(cell)
        pointers.append(position)
    head = pack(">BHHHB", kind, 0, len(cells), position, 0)
    if right is not None:
        head += pack(">I", right)
    head += pack(f">{len(pointers)}H", *pointers)
    return head + bytes(position - offset - len(head)) + b"".join(reversed(cells))


def _table_cell(row: Row) -> bytes:
    payload = record(row[1])
    if len(payload) > _MAX_TABLE_PAYLOAD:
        raise PlanInvariantError(f"a row of {len(payload)} bytes does not fit into a page of {PAGE_SIZE}")
    return varint(len(payload)) + varint(row[0]) + payload


def _index_cell(row: Row) -> bytes:
    payload = record(row[1])
    if len(payload) > _MAX_INDEX_PAYLOAD:
        raise PlanInvariantError(f"an index entry of {len(payload)} bytes is beyond {_MAX_INDEX_PAYLOAD}")
    return varint(len(payload)) + payload


def record(values: Sequence[Value]) -> bytes:
    """Return columns in the record format (2.1)."""
    types = b""
    content = b""
    for value in values:
        if value is None:
            types += b"\0"
        elif isinstance(value, int):
            kind, body = _integer(value)
            types += kind
            content += body
        else:
            types += varint(2 * len(value) + 13)
            content += value
    # The header's length counts itself; it has one byte up to 127, which some forty columns would need.
    if len(types) > 126:
        raise PlanInvariantError(f"a record of {len(values)} columns has a header beyond 127 bytes")
    return bytes((len(types) + 1,)) + types + content


@lru_cache(1 << 16)
def _integer(value: int) -> tuple[bytes, bytes]:
    """Return the serial type and the bytes of an integer (2.1): as short as it goes."""
    if value in (0, 1):
        return bytes((8 + value,)), b""
    for kind, size in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 8)):
        if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
            return bytes((kind,)), value.to_bytes(size, "big", signed=True)
    raise PlanInvariantError(f"{value} is no integer of 64 bits")


def varint(value: int) -> bytes:
    """Return a number from 0 to 2**56 - 1 as SQLite's varint: seven bits a byte, the highest first."""
    if value < 0x80:
        return _BYTE[value]
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    parts.reverse()
    return bytes(parts)


_BYTE = [bytes((value,)) for value in range(0x80)]
