"""nix.store_db: the rows that Nix writes, by the words of its sources; tests/compat has Nix itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from imgwriter.errors import SourceError, SpecError
from imgwriter.nix.path_info import PathInfo
from imgwriter.nix.store_db import SCHEMA, NixVersion, database, variant
from tests.unit.nix.sqlite import nix_rows, open_read_only, problems

VERSIONS: list[NixVersion] = [(2, 8), (2, 18), (2, 26), (2, 35)]


def store_path(digit: str, name: str) -> bytes:
    """Return a store path whose digest is one digit."""
    return f"/nix/store/{digit * 32}-{name}".encode()


A, B, C = store_path("a", "first"), store_path("b", "second"), store_path("c", "third.drv")
INFOS = [
    PathInfo(C, bytes([3]) * 32, 2**40, ()),
    PathInfo(A, bytes([1]) * 32, 120, (A,)),
    PathInfo(B, bytes([2]) * 32, 0, (C, A), C),
]
DERIVATIONS = {C: b'Derive([("dev","","",""),("lib","/nix/store/l","",""),("out","%b","","")],' % B}


def rows(tmp_path: Path, infos: list[PathInfo], **options: object) -> dict[str, list[tuple[object, ...]]]:
    """Write a database, check it, and return its rows."""
    file = tmp_path / "db.sqlite"
    content = database(infos, registration_time=7, derivations=DERIVATIONS, **options)  # type: ignore[arg-type]
    file.write_bytes(content)
    opened = open_read_only(file)
    assert problems(opened) == []
    opened.close()
    return nix_rows(file)


def test_rows_are_in_the_order_of_the_paths_and_null_where_nothing_is_said(tmp_path: Path) -> None:
    found = rows(tmp_path, INFOS)
    a, b, c = (path.decode() for path in (A, B, C))
    assert found["ValidPaths"] == [
        (1, 1, a, "sha256:" + "01" * 32, 7, None, 120, None, None, None),
        (2, 2, b, "sha256:" + "02" * 32, 7, c, None, None, None, None),
        (3, 3, c, "sha256:" + "03" * 32, 7, None, 2**40, None, None, None),
    ]
    assert found["Refs"] == [(1, 1, 1), (2, 2, 1), (3, 2, 3)]
    assert found["DerivationOutputs"] == [(1, 3, "lib", "/nix/store/l"), (2, 3, "out", b)]
    assert found["sqlite_sequence"] == [(1, "ValidPaths", 3)]


def test_an_empty_store(tmp_path: Path) -> None:
    found = rows(tmp_path, [])
    assert not any(found[table] for table in ("ValidPaths", "Refs", "DerivationOutputs", "sqlite_sequence"))


@pytest.mark.parametrize("time", [0, 1, 2**31 - 1, 2**31, 2**40])
def test_registration_time(time: int, tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    file.write_bytes(database(INFOS[1:2], registration_time=time))
    assert nix_rows(file)["ValidPaths"][0][4] == time


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schema_of_a_version(version: NixVersion, tmp_path: Path) -> None:
    found = rows(tmp_path, INFOS, nix_version=version)
    sql = {row[2]: row[5] for row in found["sqlite_master"]}
    assert ("-- base16 representation\n" in str(sql["ValidPaths"])) == (version >= (2, 18))
    assert ("IndexReferrer" in sql) == (version < (2, 35))
    assert ("SchemaMigrations" in found) == (version >= (2, 26))
    if version >= (2, 26):
        expected = [(1, "20260309-drop-redundant-indexreferrer")] if version >= (2, 35) else []
        assert found["SchemaMigrations"] == expected
    # Tables and indexes stand on the pages after the first, in the order in which they are made.
    pages = [row[4] for row in found["sqlite_master"] if row[4]]
    assert pages == list(range(2, 2 + len(pages)))


@pytest.mark.parametrize(
    ("asked", "known"),
    [((2, 9), (2, 8)), ((2, 17), (2, 8)), ((2, 25), (2, 18)), ((2, 34), (2, 26)), ((3, 0), (2, 35))],
)
def test_a_version_between_has_the_schema_before(asked: NixVersion, known: NixVersion) -> None:
    assert variant(asked) == variant(known)


def test_versions_too_old_are_refused() -> None:
    with pytest.raises(SpecError, match=r"Nix 2\.7 is not known, the oldest known is that of 2\.8; give"):
        variant((2, 7))


def test_the_order_of_the_input_does_not_show() -> None:
    infos = [PathInfo(store_path("a", f"n{n}"), bytes(32), 1, ()) for n in range(300)]
    infos += [
        PathInfo(store_path("b", f"n{n}"), bytes(32), 1, tuple(i.path for i in infos[n : n + 9]))
        for n in range(300)
    ]
    before = database(infos, registration_time=1)
    shuffled = [info._replace(references=info.references[::-1]) for info in infos]
    random.Random(1).shuffle(shuffled)
    assert database(shuffled, registration_time=1) == before


def test_a_reference_said_twice_is_one(tmp_path: Path) -> None:
    assert len(rows(tmp_path, [INFOS[1]._replace(references=(A, A))])["Refs"]) == 1


def test_a_path_without_a_hash_is_refused() -> None:
    with pytest.raises(SourceError, match="a-first has no hash of its NAR") as caught:
        database([INFOS[1]._replace(nar_hash=None)], registration_time=1)
    assert caught.value.path == A


def test_a_path_given_twice_is_refused() -> None:
    with pytest.raises(SourceError, match="a-first is registered twice"):
        database([INFOS[1], INFOS[1]], registration_time=1)


def test_a_reference_outside_is_refused() -> None:
    with pytest.raises(SourceError, match=r"b-second refers to .*a-first, which is not among the paths"):
        database([INFOS[2], INFOS[0]], registration_time=1, derivations=DERIVATIONS)


def test_a_derivation_has_to_be_there() -> None:
    with pytest.raises(SourceError, match=r"c-third\.drv is a derivation that is not there"):
        database(INFOS, registration_time=1)
    with pytest.raises(SourceError, match=r"c-third\.drv is no derivation"):
        database(INFOS, registration_time=1, derivations={C: b"Deriver"})


def test_the_file_schema_has_no_newline() -> None:
    assert SCHEMA == b"10"
