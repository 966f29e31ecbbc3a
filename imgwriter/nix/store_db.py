"""The database of a Nix store: what ``nix-store --load-db`` would write of the same registration.

::

    PathInfo ──┬──> ValidPaths            id from 1, in the order of the paths
               ├──> Refs                  by referrer, then by reference
    .drv ──────┴──> DerivationOutputs     one for each output that a derivation names
                    sqlite_sequence       the last id

The rows are Nix's; the pages are :mod:`imgwriter.nix.sqlite_file`'s. Nix opens the file without a remark and
changes it as its own. docs/formats/nix-db.md has every column.

SQLite keeps statements word for word, comments and spaces too, so they are here as they are in the database
that Nix itself makes; its versions differ a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from imgwriter.errors import SourceError, SpecError, show
from imgwriter.nix.derivation import outputs
from imgwriter.nix.path_info import PathInfo
from imgwriter.nix.sqlite_file import Row, SchemaObject, Value, encode

SCHEMA = b"10"
"""What is in the file ``schema`` beside db.sqlite, without a newline: the same from Nix 2.8 to 2.35."""

OLDEST = (2, 8)
"""The oldest Nix whose schema is known here."""

DEFAULT_VERSION = (2, 18)
"""The schema that is written when nobody says which: nixpkgs' Nix of late 2023 to 2024."""

NixVersion = tuple[int, int]
"""(major, minor)."""

_HASH_COMMENT = b" -- base16 representation"

_VALID_PATHS = b"""CREATE TABLE ValidPaths (
    id               integer primary key autoincrement not null,
    path             text unique not null,
    hash             text not null,%s
    registrationTime integer not null,
    deriver          text,
    narSize          integer,
    ultimate         integer, -- null implies "false"
    sigs             text, -- space-separated
    ca               text -- if not null, an assertion that the path is content-addressed; see ValidPathInfo
)"""

_REFS = b"""CREATE TABLE Refs (
    referrer  integer not null,
    reference integer not null,
    primary key (referrer, reference),
    foreign key (referrer) references ValidPaths(id) on delete cascade,
    foreign key (reference) references ValidPaths(id) on delete restrict
)"""

_DELETE_SELF_REFS = b"""CREATE TRIGGER DeleteSelfRefs before delete on ValidPaths
  begin
    delete from Refs where referrer = old.id and reference = old.id;
  end"""

_DERIVATION_OUTPUTS = b"""CREATE TABLE DerivationOutputs (
    drv  integer not null,
    id   text not null, -- symbolic output id, usually "out"
    path text not null,
    primary key (drv, id),
    foreign key (drv) references ValidPaths(id) on delete cascade
)"""

_SCHEMA_MIGRATIONS = b"CREATE TABLE SchemaMigrations (migration text primary key not null)"


class Variant(NamedTuple):
    """In what the schemas of Nix's versions differ.

    Attributes:
        hash_comment: Whether ValidPaths has a comment on the spelling of the hash.
        index_referrer: Whether Refs has an index that its primary key makes superfluous.
        migrations: Rows of SchemaMigrations; None: there is no such table.
    """

    hash_comment: bool
    index_referrer: bool
    migrations: tuple[bytes, ...] | None


_VARIANTS: Mapping[NixVersion, Variant] = {
    (2, 8): Variant(False, True, None),
    (2, 18): Variant(True, True, None),
    (2, 26): Variant(True, True, ()),
    (2, 35): Variant(True, False, (b"20260309-drop-redundant-indexreferrer",)),
}
"""From which version on."""


def variant(nix_version: NixVersion) -> Variant:
    """Return the schema of a version of Nix: that of the nearest known one that is not newer.

    Raises:
        SpecError: It is older than OLDEST.
    """
    if nix_version < OLDEST:
        asked, oldest = (f"{major}.{minor}" for major, minor in (nix_version, OLDEST))
        raise SpecError(
            f"the database of Nix {asked} is not known, the oldest known is that of {oldest}; "
            f"give --nix-version {oldest} or a later one"
        )
    return _VARIANTS[max(known for known in _VARIANTS if known <= nix_version)]


def database(
    infos: Sequence[PathInfo],
    *,
    registration_time: int,
    nix_version: NixVersion = DEFAULT_VERSION,
    derivations: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Return db.sqlite for a store that holds ``infos``.

    Args:
        infos: The paths, in any order, each once, with all that they refer to.
        registration_time: Seconds since the epoch, the same for all paths.
        nix_version: Which schema; Nix reads older ones.
        derivations: What is in those paths that are .drv files, by path.

    Raises:
        SpecError: The version of Nix is too old.
        SourceError: A path is there twice, has no hash, refers to one that is not there, or is a .drv whose
            content is missing or cannot be understood.
    """
    chosen = variant(nix_version)
    ordered = sorted(infos, key=attrgetter("path"))
    ids = {info.path: number for number, info in enumerate(ordered, 1)}
    if len(ids) != len(ordered):
        twice = next(a.path for a, b in pairwise(ordered) if a.path == b.path)
        raise SourceError(f"{show(twice)} is registered twice; merge the closures first", twice)
    paths = [(number, _valid_path(info, registration_time)) for number, info in enumerate(ordered, 1)]
    return encode(
        [
            *_of_valid_paths(chosen, paths),
            *_of_refs(chosen, _refs(ordered, ids)),
            *_of_outputs(_derivation_outputs(ordered, derivations or {})),
            *_of_migrations(chosen.migrations),
        ]
    )


def _valid_path(info: PathInfo, registration_time: int) -> tuple[Value, ...]:
    if info.nar_hash is None:
        raise SourceError(
            f"{show(info.path)} has no hash of its NAR; give a registration that has one, or have it hashed",
            info.path,
        )
    spelled = b"sha256:" + info.nar_hash.hex().encode()
    # id (the rowid), path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca
    return None, info.path, spelled, registration_time, info.deriver, info.nar_size or None, None, None, None


def _refs(infos: Sequence[PathInfo], ids: Mapping[bytes, int]) -> list[tuple[int, int]]:
    """Return (referrer, reference), in the order in which Nix inserts them."""
    pairs = []
    for info in infos:
        referrer = ids[info.path]
        for reference in sorted(set(info.references)):
            if reference not in ids:
                raise SourceError(
                    f"{show(info.path)} refers to {show(reference)}, which is not among the paths; "
                    "give the closure that has it",
                    info.path,
                )
            pairs.append((referrer, ids[reference]))
    return pairs


def _derivation_outputs(
    infos: Sequence[PathInfo], derivations: Mapping[bytes, bytes]
) -> list[tuple[int, bytes, bytes]]:
    """Return (drv, id, path) of every output whose path its derivation names."""
    rows = []
    for number, info in enumerate(infos, 1):
        if not info.path.endswith(b".drv"):
            continue
        content = derivations.get(info.path)
        if content is None:
            raise SourceError(f"{show(info.path)} is a derivation that is not there to be read", info.path)
        named = outputs(content, info.path)
        rows += [(number, name, path) for name, path in sorted(named.items()) if path]
    return rows


def _of_valid_paths(chosen: Variant, rows: Sequence[Row]) -> list[SchemaObject]:
    name = b"ValidPaths"
    sql = _VALID_PATHS % (_HASH_COMMENT if chosen.hash_comment else b"")
    sequence: list[Row] = [(1, (name, len(rows)))] if rows else []
    return [
        SchemaObject(b"table", name, name, sql, rows),
        _automatic(name, [(columns[1],) for _, columns in rows]),
        SchemaObject(
            b"table",
            b"sqlite_sequence",
            b"sqlite_sequence",
            b"CREATE TABLE sqlite_sequence(name,seq)",
            sequence,
        ),
    ]


def _of_refs(chosen: Variant, pairs: Sequence[tuple[int, int]]) -> list[SchemaObject]:
    name = b"Refs"
    objects = [SchemaObject(b"table", name, name, _REFS, list(enumerate(pairs, 1))), _automatic(name, pairs)]
    if chosen.index_referrer:
        objects.append(_index(b"IndexReferrer", name, b"referrer", [pair[0] for pair in pairs]))
    objects.append(_index(b"IndexReference", name, b"reference", [pair[1] for pair in pairs]))
    objects.append(SchemaObject(b"trigger", b"DeleteSelfRefs", b"ValidPaths", _DELETE_SELF_REFS, None))
    return objects


def _of_outputs(rows: Sequence[tuple[int, bytes, bytes]]) -> list[SchemaObject]:
    name = b"DerivationOutputs"
    return [
        SchemaObject(b"table", name, name, _DERIVATION_OUTPUTS, list(enumerate(rows, 1))),
        _automatic(name, [(drv, output) for drv, output, _ in rows]),
        _index(b"IndexDerivationOutputs", name, b"path", [path for _, _, path in rows]),
    ]


def _of_migrations(migrations: Sequence[bytes] | None) -> list[SchemaObject]:
    if migrations is None:
        return []
    name = b"SchemaMigrations"
    rows = [(migration,) for migration in migrations]
    return [
        SchemaObject(b"table", name, name, _SCHEMA_MIGRATIONS, list(enumerate(rows, 1))),
        _automatic(name, rows),
    ]


def _automatic(table: bytes, keys: Sequence[tuple[Value, ...]]) -> SchemaObject:
    """Return the index of a table's one constraint; ``keys`` are those of its rows, rowid 1 first."""
    name = b"sqlite_autoindex_%s_1" % table
    return SchemaObject(b"index", name, table, None, _entries(keys))


def _index(name: bytes, table: bytes, column: bytes, values: Sequence[Value]) -> SchemaObject:
    """Return an index of one column."""
    sql = b"CREATE INDEX %s on %s(%s)" % (name, table, column)
    return SchemaObject(b"index", name, table, sql, _entries([(value,) for value in values]))


def _entries(keys: Sequence[tuple[Value, ...]]) -> list[Row]:
    # A column's values are all numbers or all text here, so that Python's order is SQLite's.
    return [(0, entry) for entry in sorted((*key, rowid) for rowid, key in enumerate(keys, 1))]
