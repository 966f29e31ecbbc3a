"""SQLite itself, from Python's standard library, as the judge of database files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

TABLES = ("sqlite_master", "ValidPaths", "Refs", "DerivationOutputs", "sqlite_sequence", "SchemaMigrations")

Rows = dict[str, list[tuple[object, ...]]]


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a database in WAL mode without anything being written beside it."""
    return sqlite3.connect(f"file:{path}?immutable=1", uri=True)


def problems(database: sqlite3.Connection) -> list[tuple[object, ...]]:
    """Return what SQLite's two checks object to."""
    found = [row for row in database.execute("pragma integrity_check") if row != ("ok",)]
    return found + database.execute("pragma foreign_key_check").fetchall()


def nix_rows(path: Path) -> Rows:
    """Return all rows of a Nix database, rowids first, and its schema."""
    database = open_read_only(path)
    try:
        there = {name for (name,) in database.execute("select name from sqlite_master")} | {"sqlite_master"}
        return {
            table: database.execute(f"select rowid, * from {table}").fetchall()
            for table in TABLES
            if table in there
        }
    finally:
        database.close()
