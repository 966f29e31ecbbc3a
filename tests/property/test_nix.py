"""Laws of what is read of Nix: trees survive their NAR, hashes their spelling, and damage is one sentence."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import SourceError
from imgwriter.nix import nar
from imgwriter.nix.closure import Closure, check, merge, read_closure, requisites
from imgwriter.nix.hashes import Form, from_nix32, nix32, parse_sha256, sha256_text
from imgwriter.nix.path_info import PathInfo
from tests import trees
from tests.unit.nix.nars import EMPTY_DIRECTORY, Link, Program, Tree, exported, serialise, stream
from tests.unit.nix.test_closure import HASHED, PLAIN, objects, registration
from tests.unit.nix.test_nar import sum_of, tree_of

pytestmark = pytest.mark.property

NAMES = st.binary(min_size=1, max_size=9).filter(
    lambda name: name not in (b".", b"..") and not {b"/"[0], 0} & set(name)
)
CONTENTS = st.binary(max_size=20)
LEAVES: st.SearchStrategy[Tree] = st.one_of(
    CONTENTS,
    CONTENTS.map(Program),
    st.binary(min_size=1, max_size=20).filter(lambda target: 0 not in target).map(Link),
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAVES, lambda below: st.dictionaries(NAMES, below, max_size=4), max_leaves=12
)


def from_file_and_stream(content: bytes) -> Iterator[nar.Archive | str]:
    """Yield what is read, or the refusal, of a NAR as a file, which is there meanwhile, and as a stream."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        for source in (os.fsencode(file.name), io.BytesIO(content)):
            try:
                archive = nar.read(source, origin="x")
            except SourceError as error:
                message = str(error)
                assert message.startswith("x: ") and "(at byte " in message and "\n" not in message
                yield message
            else:
                yield archive


@given(TREES)
def test_a_tree_survives_its_nar(tree: Tree) -> None:
    content = serialise(tree)
    for archive in from_file_and_stream(content):
        assert not isinstance(archive, str)
        assert tree_of(archive.root) == tree
        assert archive.sum == sum_of(content) == nar.nar_hash(archive.root)
        assert b"".join(map(bytes, nar.chunks(archive.root))) == content


SAMPLE = serialise(
    {
        b"bin": {b"a": Program(b"#!/bin/sh\n"), b"b": Link(b"../lib"), b"c": EMPTY_DIRECTORY},
        b"file": b"eight by" * 40,
        b"zero": b"",
    }
)
EXPORT = stream(
    exported(HASHED[0].path, {b"f": b"x"}, HASHED[0].references),
    exported(HASHED[1].path, Link(b"y"), HASHED[1].references, b"/nix/store/" + b"9" * 32 + b"-x.drv"),
)

DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "number"]), st.floats(0, 1), st.integers(0, 255)
    ),
    min_size=1,
    max_size=3,
)


def damaged(content: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    """Return ``content`` changed at places that are fractions of its length."""
    for how, where, value in changes:
        at = min(int(where * len(content)), max(len(content) - 1, 0))
        if how == "flip":
            content = content[:at] + bytes([value]) + content[at + 1 :]
        elif how == "cut":
            content = content[:at]
        elif how == "insert":
            content = content[:at] + bytes([value]) * 8 + content[at:]
        elif how == "repeat":
            content = content[:at] + content[max(at - value, 0) :]
        else:
            at -= at % 8
            content = content[:at] + (1 << value % 64).to_bytes(8, "little") + content[at + 8 :]
    return content


@given(DAMAGE)
def test_a_damaged_nar_is_refused_or_is_another(changes: list[tuple[str, float, int]]) -> None:
    """What is accepted is the one NAR of what was read: no two NARs are one tree."""
    content = damaged(SAMPLE, changes)
    refusals = []
    for archive in from_file_and_stream(content):
        if isinstance(archive, str):
            refusals.append(archive)
        else:
            assert serialise(tree_of(archive.root)) == content
            assert archive.sum == sum_of(content)
    assert not refusals or refusals == refusals[:1] * 2


@given(st.binary(max_size=200))
def test_anything_is_refused(content: bytes) -> None:
    assert all(isinstance(each, str) for each in from_file_and_stream(content))


@given(st.lists(st.integers(0, 1 << 21), max_size=3))
def test_a_host_tree_and_its_hash(sizes: list[int]) -> None:
    content = {b"%d" % index: bytes([index + 1]) * size for index, size in enumerate(sizes)}
    root = trees.directory({name: trees.file(each) for name, each in content.items()})
    assert nar.nar_hash(root) == sum_of(serialise(dict(content)))


@given(st.binary(min_size=32, max_size=32), st.sampled_from(Form), st.booleans())
def test_a_hash_survives_its_spelling(digest: bytes, form: Form, prefix: bool) -> None:
    assert parse_sha256(sha256_text(digest, form, prefix=prefix)) == digest


@given(st.binary(max_size=70))
def test_nix32_survives(content: bytes) -> None:
    text = nix32(content)
    assert from_nix32(text) == content
    # Digit by digit, as Nix's loop does it.
    number = int.from_bytes(content, "little")
    assert text == "".join(
        "0123456789abcdfghijklmnpqrsvwxyz"[number // 32**n % 32] for n in reversed(range(len(text)))
    )


@given(st.text("0123456789abcdefghijklmnopqrstuvwxyzABC:-=+/ _", max_size=70))
def test_a_hash_has_one_value_for_each_spelling(text: str) -> None:
    try:
        digest = parse_sha256(text)
    except SourceError:
        return
    assert text.lower() in {sha256_text(digest, f, prefix=p).lower() for f in Form for p in (True, False)}


def read_text(content: bytes) -> Closure | str:
    """Return what is read of a closure, or the refusal."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given"
        path.write_bytes(content)
        try:
            return read_closure(os.fsencode(path))
        except SourceError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
            return str(error)


def json_text() -> bytes:
    return repr(objects()).replace("'", '"').encode()


@given(st.sampled_from([registration(), registration(PLAIN), json_text(), EXPORT]), DAMAGE)
def test_a_damaged_closure_is_refused_or_consistent(
    content: bytes, changes: list[tuple[str, float, int]]
) -> None:
    closure = read_text(damaged(content, changes))
    if isinstance(closure, str):
        return
    try:
        merged = merge([closure], lists_suffice=True)
        check(merged)
    except SourceError as error:
        assert error.path
        return
    for path, info in merged.items():
        assert info.path == path and set(info.references) <= set(merged)
        assert list(info.references) == sorted(set(info.references))


@given(st.binary(max_size=100) | st.text('/nixsha256:0\n[]{}",', max_size=60).map(str.encode))
def test_anything_is_a_closure_or_refused(content: bytes) -> None:
    read_text(content)


@given(st.lists(st.sets(st.integers(0, 9), max_size=4), min_size=10, max_size=10), st.sets(st.integers(0, 9)))
def test_requisites_are_what_can_be_reached(edges: list[set[int]], roots: set[int]) -> None:
    paths = [b"/nix/store/%032d-x" % number for number in range(10)]
    infos = {
        paths[number]: PathInfo(paths[number], None, None, tuple(sorted(paths[other] for other in others)))
        for number, others in enumerate(edges)
    }
    check(infos)
    reached = set(roots)
    for _ in range(10):
        reached |= {other for number in reached for other in edges[number]}
    assert list(requisites(infos, [paths[number] for number in roots])) == [paths[n] for n in sorted(reached)]


@given(st.binary(min_size=1, max_size=600), st.integers(1, 9))
def test_a_sum_is_of_the_bytes(content: bytes, times: int) -> None:
    """Several NARs in one stream each have their own."""
    path = HASHED[0].path
    written = stream(*[exported(path, content)] * times)
    closure = read_text(written)
    assert not isinstance(closure, str)
    one = serialise(content)
    assert {(i.nar_hash, i.nar_size) for i in closure.infos} == {(hashlib.sha256(one).digest(), len(one))}
    assert len(closure.infos) == times
