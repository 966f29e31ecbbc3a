"""nix.export: streams by their format become store paths; whatever else is refused with its place."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from imgwriter.errors import SourceError
from imgwriter.nix import export, nar
from imgwriter.nix.path_info import PathInfo
from tests.unit.nix.nars import Link, Program, Tree, exported, integer, serialise, stream, text

LIB = b"/nix/store/" + b"0" * 32 + b"-lib"
TOOL = b"/nix/store/" + b"1" * 32 + b"-tool"
DERIVER = b"/nix/store/" + b"2" * 32 + b"-tool.drv"
LIB_TREE: Tree = b"a single file"
TOOL_TREE: Tree = {b"bin": {b"tool": Program(b"#!"), b"lib": Link(LIB)}}
STREAM = stream(exported(LIB, LIB_TREE, (LIB,)), exported(TOOL, TOOL_TREE, (TOOL, LIB), DERIVER))


def info(path: bytes, tree: Tree, *references: bytes, deriver: bytes | None = None) -> PathInfo:
    archive = serialise(tree)
    return PathInfo(path, hashlib.sha256(archive).digest(), len(archive), tuple(references), deriver)


def refusal(content: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        export.read(io.BytesIO(content), origin="x")
    message = str(caught.value)
    assert message.startswith("x: ") and "\n" not in message and len(message) < 500
    return message


def test_a_stream(tmp_path: Path) -> None:
    file = tmp_path / "x.export"
    file.write_bytes(STREAM)
    for source in (os.fsencode(file), io.BytesIO(STREAM)):
        lib, tool = export.read(source)
        assert lib.info == info(LIB, LIB_TREE, LIB)
        assert tool.info == info(TOOL, TOOL_TREE, LIB, TOOL, deriver=DERIVER)
        for each in (lib, tool):
            assert nar.nar_hash(each.root) == (each.info.nar_hash, each.info.nar_size)


def test_a_stream_of_nothing() -> None:
    assert export.read(io.BytesIO(integer(0))) == []


def test_a_signature_of_old_times_is_passed_over() -> None:
    signed = exported(LIB, LIB_TREE)[:-8] + integer(1) + text(b"a signature")
    assert [each.info for each in export.read(io.BytesIO(stream(signed)))] == [info(LIB, LIB_TREE)]


def test_cut_off_anywhere() -> None:
    for end in range(len(STREAM)):
        refusal(STREAM[:end])


def test_the_end_is_the_end() -> None:
    assert f"something follows the end of the export (at byte {len(STREAM):,})" in refusal(STREAM + b"\0")
    assert "something follows" in refusal(STREAM + STREAM)


BEHIND = len(exported(LIB, LIB_TREE)[:-8])
NAR_END = 8 + len(serialise(LIB_TREE))


@pytest.mark.parametrize(
    "damaged, said",
    [
        (integer(2) + STREAM[8:], "neither a store path (1) nor the end (0) of the export (at byte 0)"),
        (STREAM[:8] + b"\xff" + STREAM[9:], "where 'nix-archive-1' should be (at byte 8)"),
        (STREAM[:NAR_END] + b"\0" + STREAM[NAR_END + 1 :], f"no 0x4558494e behind a NAR (at byte {NAR_END})"),
        (stream(exported(b"nix/store/x", b"")), "'nix/store/x' is no path"),
        (stream(exported(b"", b"")), "'' is no path"),
        (stream(exported(b"/a\0b", b"")), "is no path"),
        (stream(exported(b"/" + b"n" * 4095, b"")), "a store path has 4,096 bytes, more than the 4,095"),
        (stream(exported(LIB, b"", (b"x",))), "'x' is no path"),
        (stream(exported(LIB, b"", (TOOL, LIB, TOOL))), f"has the reference {TOOL.decode()} twice"),
        (
            stream(exported(LIB, LIB_TREE)[:-8] + integer(2)),
            f"neither 0 nor 1 behind the deriver of {LIB.decode()}",
        ),
    ],
    ids=range(10),
)
def test_what_is_wrong_is_said(damaged: bytes, said: str) -> None:
    assert said in refusal(damaged)


@pytest.mark.parametrize("count", [1, 1 << 20, (1 << 20) + 1, 1 << 63, (1 << 64) - 1])
def test_the_number_of_references_is_not_believed(count: int) -> None:
    head = exported(LIB, LIB_TREE)[: -8 - 8 - 8]
    message = refusal(head + integer(count))
    assert "references, more than" in message if count > 1 << 20 else "cut off" in message
