"""The spool keeps what it is given, and no zeros."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgwriter.errors import OutputError
from imgwriter.tree.spool import BLOCK, Spool


def stored(spool: Spool, offset: int, length: int) -> bytes:
    return os.pread(spool.file.fd, length, offset)


def test_contents_come_back(tmp_path: Path) -> None:
    spool = Spool(bytes(tmp_path), "x")
    contents = [b"a" * n for n in (1, BLOCK - 1, BLOCK, 3 << 20)] + [bytes(5000), b"end", bytes(70_000)]
    places = []
    for content in contents:
        places.append(spool.begin(len(content)))
        for start in range(0, len(content), 700_001):
            spool.append(content[start : start + 700_001])
    spool.finish()
    assert [stored(spool, place, len(c)) for place, c in zip(places, contents, strict=True)] == contents
    assert not list(tmp_path.iterdir())
    assert os.fstat(spool.file.fd).st_nlink == 0


@pytest.mark.parametrize("length", [65535, 65536])
def test_large_contents_begin_on_a_block(length: int, tmp_path: Path) -> None:
    spool = Spool(bytes(tmp_path), "x")
    spool.append(b"x")
    assert spool.begin(length) == (1 if length < 65536 else BLOCK)


def test_zeros_are_holes(tmp_path: Path) -> None:
    spool = Spool(bytes(tmp_path), "x")
    for piece in (b"x" * BLOCK, bytes(64 << 20), b"y" * BLOCK, bytes(1 << 20)):
        spool.append(piece)
    spool.finish()
    status = os.fstat(spool.file.fd)
    assert status.st_size == 2 * BLOCK + (65 << 20)
    assert status.st_blocks * 512 == 2 * BLOCK


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing"):
        Spool(bytes(tmp_path / "missing"), "x")
