"""Nix's own formats, judged by Nix: hashes, NARs, exports and every form of a closure."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from pathlib import Path

import pytest

from imgwriter.errors import SourceError
from imgwriter.nix import export, nar
from imgwriter.nix.closure import Closure, Kind, check, merge, read_closure, requisites, with_nar
from imgwriter.nix.hashes import Form, parse_sha256, sha256_text
from imgwriter.tree import directory
from imgwriter.tree.inventory import Inode
from imgwriter.tree.rules import SourceRules
from tests.oracles.nix import Nix
from tests.unit.nix.nars import EMPTY_DIRECTORY, Link, Program, Tree, serialise, text, words
from tests.unit.nix.test_nar import tree_of

pytestmark = pytest.mark.compat


@pytest.fixture(scope="module")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    return Nix(tmp_path_factory.mktemp("nix"))


@pytest.fixture(scope="module")
def tops(nix: Nix) -> dict[str, str]:
    """Build the small closure and return its roots."""
    return nix.build_closure("toplevel", "channel")


@pytest.fixture(scope="module")
def paths(nix: Nix, tops: dict[str, str]) -> list[str]:
    return nix.requisites(*tops.values())


@pytest.fixture(scope="module")
def host_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tree with all that a NAR can hold, and much that it leaves out."""
    top = tmp_path_factory.mktemp("host") / "top"
    for name in (b"deep/er/est", b"empty", b"n" * 255, b"\xff\xfe", b"a b\n"):
        os.makedirs(os.path.join(os.fsencode(top), name))
    (top / "none").touch()
    for size in (1, 7, 8, 9, 4096, 131_071, 131_072, 131_073, 3_000_000):
        (top / f"size-{size}").write_bytes(random.Random(size).randbytes(size))
    (top / "deep/program").write_text("#!/bin/sh\n")
    (top / "deep/program").chmod(0o4711)
    (top / "deep/others-program").write_text("only others may run it\n")
    (top / "deep/others-program").chmod(0o651)
    (top / "secret").write_text("0600\n")
    (top / "secret").chmod(0o600)
    (top / "link").symlink_to("none")
    (top / "dangling").symlink_to("/nix/store/nowhere")
    (top / "long").symlink_to("t" * 4095)
    os.link(top / "size-9", top / "deep/hard")
    # Orders that differ between bytes, text and paths.
    for name in (b"Z", b"a", b"a-", b"a.b", b"a0", b"\xc3\xa4", b"~"):
        (Path(os.fsdecode(os.path.join(os.fsencode(top), b"deep/er", name)))).write_bytes(name)
    with open(top / "sparse", "wb") as sparse:
        sparse.truncate(1 << 20)
        sparse.seek(1 << 19)
        sparse.write(b"data")
    return top


def scanned(path: Path) -> Inode:
    return directory.read_entry(os.fsencode(path), SourceRules())


def written(inode: Inode) -> bytes:
    return b"".join(map(bytes, nar.chunks(inode)))


# --- Hashes ---


@pytest.mark.parametrize("seed", range(3))
def test_hashes_are_spelled_as_nix_hash_spells_them(nix: Nix, seed: int) -> None:
    digest = random.Random(seed).randbytes(32)
    given = ("--type", "sha256", digest.hex())
    spelled = {
        Form.NIX32: nix.run("nix-hash", "--to-base32", *given).strip(),
        Form.BASE64: nix.run("nix", "hash", "to-base64", *given).strip(),
        Form.SRI: nix.run("nix", "hash", "to-sri", *given).strip(),
    }
    for form, expected in spelled.items():
        assert sha256_text(digest, form, prefix=False) == expected
        assert parse_sha256(expected) == digest
        back = nix.run("nix-hash", "--to-base16", "--type", "sha256", expected).strip()
        assert back == digest.hex() == sha256_text(digest, Form.BASE16, prefix=False)


@pytest.mark.parametrize("digits", ["0" * 51, "2" + "0" * 51, "e" + "0" * 51, "g" * 64, "0" * 63])
def test_what_nix_hash_refuses_is_refused(nix: Nix, digits: str) -> None:
    assert nix.attempt("nix-hash", "--to-base16", "--type", "sha256", digits).status != 0
    with pytest.raises(SourceError):
        parse_sha256(digits)


# --- NARs ---


def test_a_host_tree_is_hashed_and_written_as_nix_does_it(nix: Nix, host_tree: Path) -> None:
    inode = scanned(host_tree)
    found = nar.nar_hash(inode)
    assert found.sha256.hex() == nix.run("nix-hash", "--type", "sha256", host_tree).strip()
    assert sha256_text(found.sha256, Form.SRI) == nix.run("nix", "hash", "path", host_tree).strip()
    dumped = nix.run_bytes("nix-store", "--dump", host_tree)
    assert len(dumped) == found.size and written(inode) == dumped


@pytest.mark.parametrize("name", ["none", "size-9", "deep/program", "link", "empty", "deep/others-program"])
def test_a_nar_of_one_file(nix: Nix, host_tree: Path, name: str) -> None:
    assert written(scanned(host_tree / name)) == nix.run_bytes("nix-store", "--dump", host_tree / name)


def test_what_nix_dumps_is_read_and_what_is_written_is_restored(
    nix: Nix, host_tree: Path, tmp_path: Path
) -> None:
    dumped = nix.run_bytes("nix-store", "--dump", host_tree)
    file = tmp_path / "x.nar"
    file.write_bytes(dumped)
    for source in (os.fsencode(file), io.BytesIO(dumped)):
        archive = nar.read(source)
        assert archive.sum == (hashlib.sha256(dumped).digest(), len(dumped))
        assert nar.nar_hash(archive.root) == archive.sum
    restored = tmp_path / "restored"
    nix.run("nix-store", "--restore", restored, stdin=written(nar.read(os.fsencode(file)).root))
    assert nix.run_bytes("nix-store", "--dump", restored) == dumped


NAR = serialise({b"a": {b"b": b"contents"}, b"l": Link(b"a")})
MAGIC = text(b"nix-archive-1")


@pytest.mark.parametrize(
    "damaged",
    [
        NAR[:-8],
        NAR[8:],
        NAR.replace(text(b"directory"), text(b"directorz")),
        NAR.replace(text(b"contents")[:-1], text(b"contents")[:-1] + b"\1"),
        NAR.replace(text(b"l"), text(b"/")),
        NAR.replace(text(b"l"), text(b"..")),
        NAR.replace(text(b"l"), text(b"a")),
        NAR.replace(text(b"symlink") + text(b"target"), words(b"symlink", b"contents")),
    ],
    ids=["end", "start", "type", "length", "slash", "dots", "same", "field"],
)
def test_what_nix_refuses_to_restore_is_refused(nix: Nix, damaged: bytes, tmp_path: Path) -> None:
    """The judge objects, and so do we. (Nix 2.8 does not look at the order of names, as newer ones do.)"""
    assert damaged != NAR
    assert nix.attempt("nix-store", "--restore", tmp_path / "x", stdin=damaged).status != 0
    with pytest.raises(SourceError):
        nar.read(io.BytesIO(damaged))


def test_what_is_accepted_is_accepted_by_nix(nix: Nix, tmp_path: Path) -> None:
    """Damage of every eighth byte: whatever is still read here, Nix restores to the same."""
    accepted = 0
    for offset in range(0, len(NAR), 8):
        damaged = bytearray(NAR)
        damaged[offset] ^= 2
        try:
            root = nar.read(io.BytesIO(damaged)).root
        except SourceError:
            continue
        accepted += 1
        place = tmp_path / str(offset)
        nix.run("nix-store", "--restore", place, stdin=bytes(damaged))
        assert written(scanned(place)) == bytes(damaged) == written(root)
    # The names a, b and l, the target, and the contents: 5 strings.
    assert accepted == 5


# --- Exports ---


def test_an_export_is_read(nix: Nix, paths: list[str]) -> None:
    exported = export.read(io.BytesIO(nix.export(*paths)))
    assert [each.info.path.decode() for each in exported] == paths
    for info, root in exported:
        path = info.path.decode()
        assert written(root) == nix.dump(path)
        (known,) = nix.path_info(path)
        assert info.nar_hash == parse_sha256(known["narHash"]) and info.nar_size == known["narSize"]
        assert [each.decode() for each in info.references] == sorted(known["references"])
        assert info.deriver is not None and info.deriver.decode() == known["deriver"]


def test_an_export_of_nothing(nix: Nix) -> None:
    assert export.read(io.BytesIO(nix.export())) == []


def test_the_judge_objects_to_a_damaged_export(nix: Nix, tops: dict[str, str], tmp_path: Path) -> None:
    content = nix.export(tops["channel"])
    other = Nix(tmp_path)
    for damaged in (content[:-40], content.replace((0x4558494E).to_bytes(8, "little"), bytes(8))):
        assert other.attempt("nix-store", "--import", stdin=damaged).status != 0
        with pytest.raises(SourceError):
            export.read(io.BytesIO(damaged))
    # The whole one is taken: it is the damage that is refused.
    assert tops["channel"] in other.run("nix-store", "--import", stdin=content)


# --- Closures ---


def given(folder: Path, name: str, content: str | bytes) -> Closure:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_closure(os.fsencode(file))


def test_every_form_says_the_same(nix: Nix, tops: dict[str, str], paths: list[str], tmp_path: Path) -> None:
    registration, store_paths = nix.closure_info()
    forms = {
        "registration": given(tmp_path, "info/registration", registration),
        "store-paths": given(tmp_path, "info/store-paths", store_paths),
        "dump-db": given(tmp_path, "dump", nix.dump_db(*paths)),
        "graph": given(tmp_path, "graph", nix.references_graph()),
        "attrs": given(tmp_path, "attrs.json", nix.structured_graph()),
        "list": given(tmp_path, "graph.json", json.dumps(json.loads(nix.structured_graph())["closure"])),
        "path-info": given(tmp_path, "path-info.json", json.dumps(nix.path_info("-r", *tops.values()))),
        "export": given(tmp_path, "export", nix.export(*paths)),
        "closureInfo": read_closure(os.fsencode(tmp_path / "info")),
    }
    assert {name: closure.kind for name, closure in forms.items()} == {
        "registration": Kind.REGISTRATION,
        "store-paths": Kind.STORE_PATHS,
        "dump-db": Kind.REGISTRATION,
        "graph": Kind.GRAPH,
        "attrs": Kind.JSON,
        "list": Kind.JSON,
        "path-info": Kind.JSON,
        "export": Kind.EXPORT,
        "closureInfo": Kind.CLOSURE_INFO,
    }
    full = merge([forms["dump-db"]])
    check(full)
    assert [path.decode() for path in full] == sorted(paths)
    plain = {path: info._replace(deriver=None) for path, info in full.items()}
    assert merge([forms["export"]]) == merge([forms["path-info"]]) == full
    for name in ("registration", "attrs", "list", "closureInfo"):
        assert merge([forms[name]]) == plain
    # The classic graph is toplevel's alone, and knows no hashes.
    toplevel = requisites(full, [tops["toplevel"].encode()])
    bare = {p: info._replace(nar_hash=None, nar_size=None, deriver=None) for p, info in toplevel.items()}
    assert merge([forms["graph"]]) == bare and [p.decode() for p in bare] == sorted(
        nix.requisites(tops["toplevel"])
    )
    assert merge(forms.values()) == full


def test_the_whole_database_with_its_derivations(nix: Nix, tops: dict[str, str], tmp_path: Path) -> None:
    """A dump of everything: sources without derivers, .drv files, outputs."""
    closure = given(tmp_path, "dump", nix.dump_db())
    infos = merge([closure])
    check(infos)
    assert any(path.endswith(b".drv") for path in infos) and len(infos) > 20
    for path, info in infos.items():
        real = nix.real(path.decode())
        assert with_nar(info, nar.nar_hash(scanned(real)), str(real)) == info
    chosen = requisites(infos, [root.encode() for root in tops.values()])
    assert [path.decode() for path in chosen] == sorted(nix.requisites(*tops.values()))


def test_a_changed_store_path_is_found(nix: Nix, tops: dict[str, str], tmp_path: Path) -> None:
    infos = merge([given(tmp_path, "dump", nix.dump_db(tops["channel"]))])
    (info,) = infos.values()
    content = nix.dump(tops["channel"])
    changed = nar.read(io.BytesIO(content.replace(b".123abc", b".123abd"))).root
    with pytest.raises(SourceError, match="it was changed"):
        with_nar(info, nar.nar_hash(changed), "the store")


def test_a_tree_of_the_grammar_is_restored_by_nix(nix: Nix, tmp_path: Path) -> None:
    """The tests' own writer, from the grammar, is right: Nix makes the same of it."""
    tree: Tree = {
        b"b": b"12345678",
        b"a": {b"x": Link(b"y" * 9), b"p": Program(b"#!")},
        b"c": EMPTY_DIRECTORY,
    }
    nix.run("nix-store", "--restore", tmp_path / "x", stdin=serialise(tree))
    assert nix.run_bytes("nix-store", "--dump", tmp_path / "x") == serialise(tree)
    assert tree_of(nar.read(io.BytesIO(serialise(tree))).root) == tree
