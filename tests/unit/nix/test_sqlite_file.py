"""nix.sqlite_file: read back and checked by SQLite, and page for page what SQLite writes."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from imgwriter.errors import PlanInvariantError
from imgwriter.nix.sqlite_file import PAGE_SIZE, Row, SchemaObject, encode, record, varint
from tests.unit.nix.sqlite import open_read_only, problems

TABLE = b"CREATE TABLE t(id integer primary key, name text unique, number integer)"
INDEX = b"CREATE INDEX i on t(number)"

# Around these a tree of rows with names of 100 bytes becomes one of two levels. An entry of the automatic
# index has 108 bytes with its pointer, and a leaf has room for 37 (4,088 bytes): of 38 none may go up.
EDGES = range(34, 46)


def database(names: list[bytes], numbers: list[int | None]) -> bytes:
    """Return a database with one table, its automatic index and one of an integer column."""
    rows: list[Row] = [
        (n, (None, name, number)) for n, (name, number) in enumerate(zip(names, numbers, strict=True), 1)
    ]
    automatic = sorted((name, n) for n, name in enumerate(names, 1))
    # NULL sorts before every number.
    entries = sorted(((number is not None, number or 0, n) for n, number in enumerate(numbers, 1)))
    index: list[Row] = [(0, (number if there else None, n)) for there, number, n in entries]
    return encode(
        [
            SchemaObject(b"table", b"t", b"t", TABLE, rows),
            SchemaObject(b"index", b"sqlite_autoindex_t_1", b"t", None, [(0, entry) for entry in automatic]),
            SchemaObject(b"index", b"i", b"t", INDEX, index),
        ]
    )


def numbers_for(count: int) -> list[int | None]:
    """Return integers of every length, and NULL."""
    lengths = (
        None,
        0,
        1,
        -1,
        127,
        128,
        -128,
        -129,
        2**15,
        2**23,
        -(2**31),
        2**31,
        2**47,
        2**63 - 1,
        -(2**63),
    )
    return [lengths[n % len(lengths)] for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, *EDGES, 500, 1_600, 20_000])
def test_sqlite_reads_every_row_and_goes_on_writing(count: int, tmp_path: Path) -> None:
    size = random.Random(count)
    names = [b"%08d" % n + b"x" * (92 if count < 1_000 else size.randrange(200)) for n in range(count)]
    numbers = numbers_for(count)
    file = tmp_path / "db"
    file.write_bytes(database(names, numbers))

    opened = open_read_only(file)
    assert problems(opened) == []
    expected = [
        (n, name.decode(), number) for n, (name, number) in enumerate(zip(names, numbers, strict=True), 1)
    ]
    assert opened.execute("select * from t order by id").fetchall() == expected
    # By each of the indexes.
    assert opened.execute("select id from t indexed by sqlite_autoindex_t_1 order by name").fetchall() == [
        (n,) for n in range(1, count + 1)
    ]
    assert len(opened.execute("select id from t indexed by i order by number").fetchall()) == count
    opened.close()

    writer = sqlite3.connect(file)
    assert writer.execute("pragma journal_mode").fetchone() == ("wal",)
    writer.execute("delete from t where id % 3 = 0")
    writer.executemany("insert into t(name, number) values (?, ?)", [(f"new {n}", n) for n in range(300)])
    writer.commit()
    assert problems(writer) == []
    writer.close()


def test_the_pages_are_those_that_sqlite_writes(tmp_path: Path) -> None:
    """All but the first: SQLite writes each row of the schema twice there, and leaves a gap."""
    names = [b"name %04d" % n for n in range(40)]
    numbers: list[int | None] = list(range(-3, 37))
    file = tmp_path / "db"
    writer = sqlite3.connect(file, isolation_level=None)
    for statement in ("pragma page_size = 4096", "pragma secure_delete = 1", "begin", TABLE, INDEX):
        writer.execute(statement if isinstance(statement, str) else statement.decode())
    rows = [(name.decode(), number) for name, number in zip(names, numbers, strict=True)]
    writer.executemany("insert into t(name, number) values (?, ?)", rows)
    writer.execute("commit")
    writer.close()
    theirs, ours = file.read_bytes(), database(names, numbers)
    assert len(theirs) == len(ours) == 4 * PAGE_SIZE
    assert ours[PAGE_SIZE:] == theirs[PAGE_SIZE:]


def test_the_header_is_that_of_the_specification() -> None:
    """Spec: fileformat2.html, 1.3, offset by offset."""
    header = database([b"a"], [1])[:100]
    assert header[:16] == b"SQLite format 3\0"
    assert header[16:24] == bytes.fromhex("1000 02 02 00 40 20 20")
    fields = [int.from_bytes(header[at : at + 4], "big") for at in range(24, 72, 4)]
    assert fields == [1, 4, 0, 0, 2, 4, 0, 0, 1, 0, 0, 0]
    assert header[72:92] == bytes(20)
    assert header[92:] == bytes.fromhex("00000001 00000000")


def test_a_damaged_page_is_noticed(tmp_path: Path) -> None:
    """The judge objects: two entries of an index change places."""
    content = bytearray(database([b"aaaa", b"bbbb"], [1, 2]))
    page = content[2 * PAGE_SIZE :]
    first, second = page.index(b"aaaa"), page.index(b"bbbb")
    content[2 * PAGE_SIZE + first : 2 * PAGE_SIZE + first + 4] = b"bbbb"
    content[2 * PAGE_SIZE + second : 2 * PAGE_SIZE + second + 4] = b"aaaa"
    file = tmp_path / "db"
    file.write_bytes(content)
    opened = open_read_only(file)
    assert problems(opened)
    opened.close()


@pytest.mark.parametrize(
    ("value", "encoded"),
    # The examples follow from 1.6, "varint": seven bits a byte, the high bit on all but the last.
    [(0, "00"), (127, "7f"), (128, "8100"), (16_383, "ff7f"), (16_384, "818000"), (2**31 - 1, "87ffffff7f")],
)
def test_varint(value: int, encoded: str) -> None:
    assert varint(value).hex() == encoded


@pytest.mark.parametrize(
    ("values", "encoded"),
    # Spec: 2.1, serial types.
    [
        ((None,), "0200"),
        ((0, 1), "030809"),
        ((-1, 127, 128), "04010102ff7f0080"),
        ((8_388_607, -8_388_609), "0303047fffffff7fffff"),
        ((2**40, 2**50), "0305060100000000000004000000000000"),
        ((b"", b"ab"), "030d116162"),
    ],
)
def test_record(values: tuple[int | bytes | None, ...], encoded: str) -> None:
    assert record(values).hex() == encoded


def test_a_record_header_has_one_byte_for_its_length() -> None:
    assert record([None] * 126)[0] == 127
    with pytest.raises(PlanInvariantError, match="127 columns"):
        record([None] * 127)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_integers_have_64_bits(number: int) -> None:
    with pytest.raises(PlanInvariantError, match="64 bits"):
        record([number])


def test_what_does_not_fit_into_a_page_is_a_broken_plan() -> None:
    def table(size: int) -> list[SchemaObject]:
        return [SchemaObject(b"table", b"t", b"t", b"CREATE TABLE t(a)", [(1, (b"x" * size,))])]

    def index(size: int) -> list[SchemaObject]:
        return [SchemaObject(b"index", b"i", b"t", b"CREATE INDEX i on t(a)", [(0, (b"x" * size, 1))])]

    # A payload of 4061 bytes has 4058 of text: 2 for its type and 1 for the header's length come before.
    encode(table(4058))
    with pytest.raises(PlanInvariantError, match="4062 bytes"):
        encode(table(4059))
    # 1002, as fileformat2.html has it for index pages of 4096: 998 of text, type 2, rowid's type 1, length 1.
    encode(index(998))
    with pytest.raises(PlanInvariantError, match="1003 bytes"):
        encode(index(999))
    with pytest.raises(PlanInvariantError, match="larger than a page"):
        encode([SchemaObject(b"trigger", b"x", b"t", b"-" * 4000, None)])
