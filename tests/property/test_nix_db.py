"""Laws of the Nix database: whatever the rows, SQLite finds them all by every way, and nothing wrong."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import SourceError
from imgwriter.nix import sqlite_file
from imgwriter.nix.derivation import outputs
from imgwriter.nix.path_info import PathInfo
from imgwriter.nix.sqlite_file import Row, SchemaObject
from imgwriter.nix.store_db import database
from tests.unit.nix.sqlite import problems

pytestmark = pytest.mark.property

INTEGERS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)

# Few rows with long names and many with short ones: trees of one page, and of several levels.
NAMES = st.one_of(
    st.sets(st.binary(min_size=300, max_size=900).map(bytes.hex).map(lambda t: t[:900]), max_size=60),
    st.sets(st.text("ab", max_size=11), max_size=900),
)

# What each path refers to, as indexes that wrap round.
GRAPHS = st.lists(st.lists(st.integers(0, 10**6), max_size=12), min_size=1, max_size=120)

REFERENCES = """
    select r.path from Refs join ValidPaths v on referrer = v.id join ValidPaths r on reference = r.id
    where v.path = ? order by Refs.rowid
"""


def opened(content: bytes) -> sqlite3.Connection:
    """Open a database from memory, where there is no write-ahead log."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content[:18] + b"\1\1" + content[20:])
    return connection


@given(NAMES, st.lists(INTEGERS, min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_sqlite_finds_every_row_by_every_way(
    names: set[str], integers: list[int | None], order: object
) -> None:
    ordered = sorted(names)
    order.shuffle(ordered)  # type: ignore[attr-defined]
    rows = [(n, name, integers[n % len(integers)]) for n, name in enumerate(ordered, 1)]
    by_name = sorted((name.encode(), n) for n, name, _ in rows)
    by_number = sorted(rows, key=lambda row: (row[2] is not None, row[2] or 0, row[0]))
    table: list[Row] = [(n, (None, name.encode(), number)) for n, name, number in rows]
    content = sqlite_file.encode(
        [
            SchemaObject(
                b"table", b"t", b"t", b"CREATE TABLE t(i integer primary key, n text unique, x)", table
            ),
            SchemaObject(b"index", b"sqlite_autoindex_t_1", b"t", None, [(0, key) for key in by_name]),
            SchemaObject(
                b"index", b"x", b"t", b"CREATE INDEX x on t(x)", [(0, (x, n)) for n, _, x in by_number]
            ),
        ]
    )
    assert len(content) % sqlite_file.PAGE_SIZE == 0
    connection = opened(content)
    assert problems(connection) == []
    assert connection.execute("select * from t order by i").fetchall() == rows
    for n, name, number in rows[:: max(1, len(rows) // 20)]:
        assert connection.execute("select i from t where n = ?", (name,)).fetchall() == [(n,)]
        assert (n,) in connection.execute("select i from t indexed by x where x is ?", (number,)).fetchall()
    connection.close()


@given(GRAPHS, st.integers(0, 2**40))
def test_any_closure_is_registered_as_it_is(graph: list[list[int]], time: int) -> None:
    paths = [f"/nix/store/{n:032d}-p".encode() for n in range(len(graph))]
    infos = [
        PathInfo(path, n.to_bytes(32), n, tuple(paths[to % len(paths)] for to in targets))
        for n, (path, targets) in enumerate(zip(paths, graph, strict=True))
    ]
    connection = opened(database(infos, registration_time=time))
    assert problems(connection) == []
    found = connection.execute("select path, hash, narSize, registrationTime from ValidPaths order by id")
    expected = [(p.decode(), f"sha256:{n:064x}", n or None, time) for n, p in enumerate(paths)]
    assert found.fetchall() == expected
    for info in infos:
        there = connection.execute(REFERENCES, (info.path.decode(),))
        assert [path.encode() for (path,) in there] == sorted(set(info.references))
    connection.close()


@given(st.binary(max_size=60) | st.text('Derive([")],\\aout', max_size=80).map(str.encode))
def test_damaged_derivations_are_refused_and_nothing_else(content: bytes) -> None:
    for text in (content, b'Derive([("out","/nix/store/x","","")' + content):
        try:
            found = outputs(text, b"x.drv")
        except SourceError:
            continue
        assert found
