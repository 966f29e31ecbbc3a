"""nix.closure: each form is told by its content and read; contradictions, gaps and damage are named."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgwriter.errors import SourceError
from imgwriter.nix.closure import (
    MIN_NAR_SIZE,
    Closure,
    Kind,
    check,
    merge,
    read_closure,
    requisites,
    with_nar,
)
from imgwriter.nix.hashes import Form, sha256_text
from imgwriter.nix.path_info import PathInfo
from imgwriter.nix.wire import Sum
from tests.unit.nix.nars import EMPTY_DIRECTORY, exported, integer, serialise, stream

LIB = b"/nix/store/" + b"1" * 32 + b"-lib"
APP = b"/nix/store/" + b"2" * 32 + b"-app"
TOP = b"/nix/store/" + b"0" * 32 + b"-top"
DRV = b"/nix/store/" + b"3" * 32 + b"-lib.drv"
HASHES = {path: hashlib.sha256(path).digest() for path in (LIB, APP, TOP)}
SIZES = {LIB: 120, APP: 128, TOP: 136}
REFERENCES = {LIB: (LIB,), APP: (LIB,), TOP: (APP, LIB)}
HASHED = tuple(PathInfo(p, HASHES[p], SIZES[p], tuple(sorted(REFERENCES[p]))) for p in (LIB, APP, TOP))
PLAIN = tuple(info._replace(nar_hash=None, nar_size=None) for info in HASHED)


def registration(infos: tuple[PathInfo, ...] = HASHED, form: Form = Form.NIX32, prefix: bool = True) -> bytes:
    """Return what closureInfo writes; with Form.BASE16 and no prefix what --dump-db does."""
    lines: list[bytes] = []
    for info in infos:
        lines.append(info.path)
        if info.nar_hash is not None:
            lines += [sha256_text(info.nar_hash, form, prefix=prefix).encode(), b"%d" % (info.nar_size or 0)]
        lines += [info.deriver or b"", b"%d" % len(info.references), *info.references]
    return b"".join(line + b"\n" for line in lines)


def objects(infos: tuple[PathInfo, ...] = HASHED, form: Form = Form.NIX32) -> list[dict[str, Any]]:
    """Return what exportReferencesGraph with structured attributes is."""
    return [
        {
            "closureSize": 7,
            "narHash": sha256_text(info.nar_hash or b"", form),
            "narSize": info.nar_size,
            "path": info.path.decode(),
            "references": [each.decode() for each in info.references],
        }
        for info in infos
    ]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Closure]:
    def given(content: bytes) -> Closure:
        file = tmp_path / "given"
        file.write_bytes(content)
        return read_closure(os.fsencode(file))

    return given


Read = Callable[[bytes], Closure]


def refusal(read: Read, content: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        read(content)
    message = str(caught.value)
    assert message.startswith("closure ") and "\n" not in message and len(message) < 600
    assert caught.value.path.endswith(b"given")
    return message.partition("/given")[2]


# --- The forms ---


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("prefix", [True, False])
def test_registrations(read: Read, form: Form, prefix: bool) -> None:
    closure = read(registration(form=form, prefix=prefix))
    assert closure.kind is Kind.REGISTRATION and closure.infos == HASHED and not closure.trees


def test_a_registration_with_derivers(read: Read) -> None:
    infos = (HASHED[0]._replace(deriver=DRV), *HASHED[1:])
    assert read(registration(infos, Form.BASE16, False)).infos == infos


def test_references_are_sorted(read: Read) -> None:
    turned = registration().replace(b"2\n" + LIB + b"\n" + APP, b"2\n" + APP + b"\n" + LIB)
    assert turned != registration() and read(turned).infos == HASHED


def test_references_graphs(read: Read) -> None:
    closure = read(registration(PLAIN))
    assert closure.kind is Kind.GRAPH and closure.infos == PLAIN
    derived = (PLAIN[0]._replace(deriver=DRV), *PLAIN[1:])
    assert read(registration(derived)) == Closure(closure.origin, Kind.GRAPH, derived)


def test_a_graph_without_references_or_deriver(read: Read) -> None:
    assert read(LIB + b"\n\n0\n").infos == (PathInfo(LIB, None, None, ()),)


@pytest.mark.parametrize("content", [LIB + b"\n" + TOP + b"\n", LIB + b"\n" + TOP])
def test_lists_of_store_paths(read: Read, content: bytes) -> None:
    closure = read(content)
    assert closure.kind is Kind.STORE_PATHS and [info.path for info in closure.infos] == [LIB, TOP]


def test_a_list_of_one_and_of_three(read: Read) -> None:
    assert read(LIB + b"\n").kind is Kind.STORE_PATHS
    assert read(b"\n".join([TOP, LIB, APP])).kind is Kind.STORE_PATHS


def test_nothing_is_the_registration_of_nothing(read: Read) -> None:
    closure = read(b"")
    assert closure.kind is Kind.REGISTRATION and closure.infos == ()


@pytest.mark.parametrize("form", Form)
def test_structured_graphs(read: Read, form: Form) -> None:
    closure = read(json.dumps(objects(form=form)).encode())
    assert closure.kind is Kind.JSON and closure.infos == HASHED


def test_structured_graphs_by_attribute(read: Read) -> None:
    one, other = objects(HASHED[:1]), objects(HASHED[1:])
    assert read(json.dumps({"a": one, "b": other}, indent=2).encode()).infos == HASHED


def test_all_of_attrs_json(read: Read) -> None:
    attributes = {
        "exportReferencesGraph": {"closure": [TOP.decode()]},
        "closure": objects(),
        "builder": "/bin/sh",
        "contents": [1, 2],
        "outputs": {"out": "/nix/store/x"},
    }
    assert read(json.dumps(attributes).encode()).infos == HASHED


def test_path_info_of_newer_nix(read: Read) -> None:
    """By path, SRI hashes, no path within; `nix path-info --json` after Nix 2.18."""
    value = {each.pop("path"): {**each, "deriver": None, "ca": None} for each in objects(form=Form.SRI)}
    value[LIB.decode()]["deriver"] = DRV.decode()
    assert read(json.dumps(value).encode()).infos == (HASHED[0]._replace(deriver=DRV), *HASHED[1:])


def test_json_need_not_tell_hashes(read: Read) -> None:
    value = [{"path": LIB.decode(), "references": [LIB.decode()]}]
    assert read(json.dumps(value).encode()).infos == PLAIN[:1]


def test_exports(read: Read) -> None:
    closure = read(stream(exported(LIB, b"file", (LIB,)), exported(APP, EMPTY_DIRECTORY, (LIB,))))
    assert closure.kind is Kind.EXPORT and [info.path for info in closure.infos] == [LIB, APP]
    assert closure.infos[1].nar_size == MIN_NAR_SIZE == len(serialise(EMPTY_DIRECTORY))
    assert list(closure.trees) == [LIB, APP] and closure.trees[LIB].size == 4


def test_an_export_of_nothing(read: Read) -> None:
    assert read(integer(0)) == Closure(read(b"").origin, Kind.EXPORT, ())


def test_closure_info(tmp_path: Path) -> None:
    (tmp_path / "registration").write_bytes(registration())
    (tmp_path / "store-paths").write_bytes(b"".join(path + b"\n" for path in (APP, LIB, TOP)))
    (tmp_path / "total-nar-size").write_text("384")
    closure = read_closure(os.fsencode(tmp_path))
    assert closure.kind is Kind.CLOSURE_INFO and closure.infos == HASHED
    (tmp_path / "store-paths").write_bytes(APP + b"\n" + TOP + b"\n")
    with pytest.raises(SourceError, match=rf"{LIB.decode()} is in registration and not in store-paths"):
        read_closure(os.fsencode(tmp_path))
    (tmp_path / "store-paths").unlink()
    with pytest.raises(SourceError, match="store-paths cannot be read"):
        read_closure(os.fsencode(tmp_path))


def test_closure_info_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "registration").touch()
    (tmp_path / "store-paths").touch()
    assert read_closure(os.fsencode(tmp_path)).infos == ()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        read_closure(os.fsencode(tmp_path / "none"))


# --- Damage ---


@pytest.mark.parametrize("infos", [HASHED, PLAIN], ids=["registration", "graph"])
def test_registrations_cut_off_anywhere(read: Read, infos: tuple[PathInfo, ...]) -> None:
    """Where a record ends, what is before is whole. One line alone, or paths alone, are a list."""
    content = registration(infos)
    whole = {len(registration(infos[:count])): infos[:count] for count in range(len(infos) + 1)}
    for end in range(len(content)):
        if end in whole:
            assert read(content[:end]).infos == whole[end]
        elif end <= len(infos[0].path) + 1 and end:
            assert read(content[:end]).kind is Kind.STORE_PATHS
        else:
            assert ", line " in refusal(read, content[:end])


RECORD = registration(HASHED[:1]).splitlines(keepends=True)


@pytest.mark.parametrize(
    "line, content, said",
    [
        (1, b"store paths:\n", "line 1: has 'store paths:' where a store path should be"),
        (1, b"\n", "line 1: has an empty line where a store path should be"),
        (1, b"/" * 4096 + b"\n", "' where a store path should be"),
        (2, b"sha256:0\n", "line 2: the hash 'sha256:0' has 1 digits"),
        (2, b"md5:" + b"0" * 32 + b"\n", "is not SHA-256"),
        (2, b"sha256:\xff\n", "line 2: the hash"),
        (3, b"\n", "line 3: has an empty line where the size of a NAR should be"),
        (3, b"-120\n", "line 3: has '-120' where the size of a NAR should be"),
        (3, b"12 0\n", "line 3"),
        (3, b"9" * 19 + b"\n", "line 3"),
        (3, "\N{ARABIC-INDIC DIGIT ONE}".encode() + b"\n", "line 3"),
        (4, b"unknown-deriver\n", "line 4: has 'unknown-deriver' where a deriver or nothing should be"),
        (5, b"one\n", "line 5: has 'one' where the number of references should be"),
        (5, b"0\n", "line 7: is cut off where a hash should be"),
        (5, b"2\n", "line 7: is cut off where a reference should be"),
        (5, b"9" * 18 + b"\n", "line 7: is cut off where a reference should be"),
        (6, b"lib\n", "line 6: has 'lib' where a reference should be"),
        (6, LIB, "line 7: is cut off where a line's end should be"),
    ],
)
def test_a_line_that_is_wrong(read: Read, line: int, content: bytes, said: str) -> None:
    assert said in refusal(read, b"".join([*RECORD[: line - 1], content, *RECORD[line:]]))


def test_an_empty_line_at_the_end_is_what_jq_leaves(read: Read) -> None:
    assert read(registration() + b"\n").infos == HASHED
    assert "where a store path should be" in refusal(read, registration() + b"\n\n")


def test_a_reference_twice(read: Read) -> None:
    content = registration(HASHED[:1]).replace(b"\n1\n" + LIB, b"\n2\n" + LIB + b"\n" + LIB)
    assert f"line 7: has '{LIB.decode()}' where another reference should be" in refusal(read, content)


def test_a_nul_far_behind(read: Read) -> None:
    paths = b"".join(b"/nix/store/%032d-x\n" % number for number in range(200))
    assert "line 201: has '/\\x00' where a store path should be" in refusal(read, paths + b"/\0")


def test_a_path_twice_in_a_list(read: Read) -> None:
    assert "line 3: has" in refusal(read, b"\n".join([LIB, APP, LIB, b""]))


def test_a_size_of_nothing_is_not_known(read: Read) -> None:
    content = registration(HASHED[:1]).replace(b"\n120\n", b"\n0\n")
    assert read(content).infos[0].nar_size is None


ENTRY = objects(HASHED[:1])[0]
NAME = LIB.decode()


@pytest.mark.parametrize(
    "value, said",
    [
        ([1], "entry 0 of the outermost value is a number, not an object"),
        ([ENTRY, []], "entry 1 of the outermost value is a list, not an object"),
        ([{}], "path of entry 0 of the outermost value is missing, not a store path"),
        ([{"path": 5, "references": []}], "path of entry 0 of the outermost value is 5, not a store path"),
        ([{"path": "lib", "references": []}], "'lib', not a store path"),
        ([{"path": "/nix/store/\xe9", "references": []}], "and a store path has other characters"),
        ([{"path": "/nix/store/\0", "references": []}], "and a store path has other characters"),
        ([{"path": "/" * 4096}], "path of entry 0 of the outermost value is '////"),
        ([{"path": NAME}], f"references of {NAME} is missing, not a list"),
        ([{**ENTRY, "references": "lib"}], f"references of {NAME} is a string, not a list"),
        ([{**ENTRY, "references": [None]}], f"a reference of {NAME} is missing, not a store path"),
        ([{**ENTRY, "references": [NAME, NAME]}], f"{NAME} has a reference twice"),
        ([{**ENTRY, "narHash": "sha256:0"}], "the hash 'sha256:0' has 1 digits"),
        ([{**ENTRY, "narHash": 0}], f"narHash of {NAME} is a number, not a string"),
        ([{**ENTRY, "narSize": "120"}], f"narSize of {NAME} is '120', not a number of bytes"),
        ([{**ENTRY, "narSize": 120.0}], f"narSize of {NAME} is 120.0, not a number of bytes"),
        ([{**ENTRY, "narSize": True}], f"narSize of {NAME} is a truth value"),
        ([{**ENTRY, "narSize": -8}], "is -8, not a number of bytes"),
        ([{**ENTRY, "narSize": 1 << 63}], "not a number of bytes"),
        ([{**ENTRY, "deriver": 1}], f"deriver of {NAME} is 1, not a store path"),
        ([{**ENTRY, "valid": False}], f"{NAME} is not valid"),
        ({"closure": {}}, "the attribute 'closure' is an object, not a list of store paths"),
        ({"closure": [], "other": "x"}, "the attribute 'other' is a string, not a list of store paths"),
        ({"exportReferencesGraph": {"closure": []}}, "the attribute 'closure' is missing, not a list"),
        ({NAME: None}, f"'{NAME}' is missing, not what is known of a path: is it valid?"),
    ],
)
def test_json_of_another_shape(read: Read, value: object, said: str) -> None:
    assert said in refusal(read, json.dumps(value).encode())


@pytest.mark.parametrize(
    "content, said",
    [
        (b"[", "line 1: Expecting value"),
        (b'[{"path": "/x",\n5}]', "line 2: Expecting property name"),
        (b"[] []", "line 1: Extra data"),
        (b"[\xff]", "utf-8"),
        (b"[" * 1_000_000, "too deeply nested"),
        (b"[" + b"9" * 10_000 + b"]", "integer string conversion"),
        (b'{"a": [], "a": []}', "the key 'a' stands twice in one object"),
        (b"[NaN]", "entry 0 of the outermost value is a number"),
    ],
    ids=range(8),
)
def test_what_is_no_json(read: Read, content: bytes, said: str) -> None:
    assert said in refusal(read, content)


def test_files_that_are_something_else(read: Read) -> None:
    assert "is nothing that Nix says of a closure; give an exportReferencesGraph" in refusal(
        read, bytes(5000)
    )
    assert "is nothing that Nix says of a closure" in refusal(read, b"\x7fELF\0\0")
    assert "is a NAR, which does not say its path; give what nix-store --export writes" in refusal(
        read, serialise(b"")
    )
    assert "nor the end (0) of the export" in refusal(read, stream(exported(LIB, b"x"))[:-8])


# --- Together ---


def closure(*infos: PathInfo, name: str = "one", kind: Kind = Kind.REGISTRATION) -> Closure:
    return Closure(name, kind, infos)


def test_merged_by_path() -> None:
    merged = merge([closure(HASHED[1], HASHED[2]), closure(HASHED[0])])
    assert list(merged.items()) == [(TOP, HASHED[2]), (LIB, HASHED[0]), (APP, HASHED[1])]


def test_what_only_one_tells_is_taken() -> None:
    derived = PLAIN[0]._replace(deriver=DRV)
    both = HASHED[0]._replace(deriver=DRV)
    for order in ((HASHED[0], derived), (derived, HASHED[0])):
        assert merge([closure(order[0]), closure(order[1], name="other")]) == {LIB: both}
        assert merge([closure(*order)]) == {LIB: both}


def test_the_first_deriver_is_taken() -> None:
    first, second = PLAIN[0]._replace(deriver=DRV), PLAIN[0]._replace(deriver=DRV + b"x")
    assert merge([closure(first), closure(second)]) == {LIB: first}


@pytest.mark.parametrize(
    "other, said",
    [
        (
            HASHED[0]._replace(nar_hash=HASHES[APP]),
            f"{NAME} has the hash sha256:.* in one and sha256:.* in two",
        ),
        (HASHED[0]._replace(nar_size=128), f"{NAME} has the NAR size 120 in one and 128 in two"),
        (HASHED[0]._replace(references=()), f"{NAME} refers to {NAME} in one and not in two"),
        (HASHED[0]._replace(references=(LIB, APP)), f"{NAME} refers to {APP.decode()} in two and not in one"),
    ],
)
def test_contradictions_are_refused(other: PathInfo, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        merge([closure(HASHED[0]), closure(other, name="two")])
    assert caught.value.path == LIB


def test_lists_tell_nothing_of_references() -> None:
    listed = closure(*(PathInfo(p, None, None, ()) for p in (LIB, APP)), name="list", kind=Kind.STORE_PATHS)
    assert merge([listed, closure(*HASHED)]) == merge([closure(*HASHED), listed]) == merge([closure(*HASHED)])
    with pytest.raises(SourceError, match=f"list names {APP.decode()}, and no closure tells its references"):
        merge([listed, closure(HASHED[0])])
    taken = merge([listed, closure(HASHED[0])], lists_suffice=True)
    assert taken == {LIB: HASHED[0], APP: PathInfo(APP, None, None, ())}


# --- Checked ---


def infos(*changed: PathInfo) -> dict[bytes, PathInfo]:
    return {info.path: info for info in (*HASHED, *changed)}


def test_a_closure_is_one() -> None:
    check(infos())
    check({})
    other = PathInfo(LIB.replace(b"/nix", b"/gnu"), None, None, ())
    check({other.path: other}, b"/gnu/store")


@pytest.mark.parametrize("size, good", [(88, False), (96, True), (97, False), (100, False), (104, True)])
def test_sizes_that_a_nar_can_have(size: int, good: bool) -> None:
    changed = infos(HASHED[0]._replace(nar_size=size))
    if good:
        check(changed)
    else:
        with pytest.raises(
            SourceError, match=rf"{NAME} has a NAR of {size} bytes, and a NAR has at least 96"
        ):
            check(changed)


def test_a_missing_reference_is_named_with_who_refers_to_it() -> None:
    given = infos()
    del given[APP]
    with pytest.raises(
        SourceError, match=f"{APP.decode()} is missing from the closure: {TOP.decode()} refers"
    ):
        check(given)
    with pytest.raises(
        SourceError, match=f"{APP.decode()} is missing from the closure: {TOP.decode()} refers"
    ):
        requisites(given, [TOP])


@pytest.mark.parametrize(
    "path",
    [b"/usr/lib/x", b"/nix/store/x", LIB + b"/bin", b"/nix/store/" + b"e" * 32 + b"-x", b"/nix/store/.links"],
)
def test_paths_that_are_no_store_paths(path: bytes) -> None:
    with pytest.raises(SourceError) as caught:
        check(infos(PathInfo(path, None, None, ())))
    assert caught.value.path == path
    for changed in (HASHED[0]._replace(references=(path,)), HASHED[0]._replace(deriver=path)):
        with pytest.raises(SourceError) as caught:
            check(infos(changed))
        assert caught.value.path == path


def test_requisites() -> None:
    assert list(requisites(infos(), [APP])) == [LIB, APP]
    assert requisites(infos(), [TOP, LIB]) == {p: infos()[p] for p in (TOP, LIB, APP)}
    assert requisites(infos(), []) == {}
    with pytest.raises(SourceError, match="/nix/store/x is missing from the closure: it was asked for"):
        requisites(infos(), [b"/nix/store/x"])


def test_requisites_of_a_long_chain() -> None:
    paths = [b"/nix/store/%032d-x" % number for number in range(50_000)]
    chain = {
        path: PathInfo(path, None, None, (paths[(number + 1) % len(paths)],))
        for number, path in enumerate(paths)
    }
    assert len(requisites(chain, [paths[7]])) == len(paths)


def test_what_lies_there_against_what_nix_knows() -> None:
    found = Sum(HASHES[LIB], SIZES[LIB])
    assert with_nar(HASHED[0], found, "tree x") == with_nar(PLAIN[0], found, "tree x") == HASHED[0]
    with pytest.raises(
        SourceError, match=rf"{NAME} has the hash sha256:\w+ in tree x, and Nix knows it with sha"
    ):
        with_nar(HASHED[0], Sum(HASHES[APP], SIZES[LIB]), "tree x")
    with pytest.raises(SourceError, match=rf"{NAME} has a NAR of 128 bytes in tree x, and Nix knows 120"):
        with_nar(HASHED[0], Sum(HASHES[LIB], 128), "tree x")


@pytest.mark.parametrize("size, good", [(4999, True), (5000, True), (5001, False)])
def test_texts_have_a_limit(read: Read, monkeypatch: pytest.MonkeyPatch, size: int, good: bool) -> None:
    monkeypatch.setattr("imgwriter.nix.closure.MAX_TEXT", 5000)
    content = b"[" + b" " * (size - 2) + b"]"
    if good:
        assert read(content).infos == ()
    else:
        assert "has more than 5,000 bytes" in refusal(read, content)


def test_what_comes_through_a_pipe(tmp_path: Path) -> None:
    """A text of many pipefuls, and an export, whose contents are kept meanwhile."""
    paths = b"".join(b"/nix/store/%032d-x\n" % number for number in range(10_000))
    for content, count in ((paths, 10_000), (stream(exported(LIB, b"x" * 300_000)), 1)):
        fifo = tmp_path / str(count)
        os.mkfifo(fifo)
        writer = threading.Thread(target=fifo.write_bytes, args=(content,))
        writer.start()
        closure = read_closure(os.fsencode(fifo), spool_directory=os.fsencode(tmp_path))
        writer.join()
        assert len(closure.infos) == count
    (data,) = (tree.data for tree in closure.trees.values())
    assert data is not None and b"".join(map(bytes, data.chunks(0, len(data)))) == b"x" * 300_000
