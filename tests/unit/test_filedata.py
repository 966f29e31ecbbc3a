"""Data that stays in files: it is read as it was scanned, or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter.errors import PlanInvariantError, SourceChangedError, SourceError
from imgwriter.extent import CHUNK, Bytes, Data, Extent, Volume, extent
from imgwriter.filedata import (
    Amount,
    Concatenated,
    FileSlice,
    HandleSlice,
    Identity,
    Packed,
    SharedFile,
    amount,
    cut,
    pack,
    part,
)

CONTENT = bytes(range(256)) * 20


def scanned(path: Path) -> FileSlice:
    return FileSlice(os.fsencode(path.parent), os.fsencode(path.name), Identity.of(path.lstat()))


def handle(path: Path, offset: int, length: int, *, watched: bool = True) -> HandleSlice:
    identity = Identity.of(path.lstat()) if watched else None
    return HandleSlice(SharedFile(os.open(path, os.O_RDONLY), os.fsencode(path), identity), offset, length)


def whole(data: Data, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(bytes(piece) for piece in data.chunks(start, len(data) if stop is None else stop))


def rewrite(path: Path) -> None:
    """Other bytes of the same size and mtime, until the clock of ctime has ticked."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_bytes(bytes(before.st_size))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 1))


def truncate(path: Path) -> None:
    os.truncate(path, 5)


def grow(path: Path) -> None:
    os.truncate(path, 50_000)


def replace_by_copy(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def replace_by_symlink(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_socket(path: Path) -> None:
    path.unlink()
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")  # the whole path is too long for a socket
    os.close(directory)


CHANGES: list[Callable[[Path], None]] = [
    rewrite,
    touch,
    truncate,
    grow,
    replace_by_copy,
    replace_by_symlink,
    replace_by_fifo,
    replace_by_directory,
    replace_by_socket,
    Path.unlink,
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def test_a_slice_is_the_file(source: Path) -> None:
    data = scanned(source)
    assert len(data) == len(CONTENT)
    assert whole(data) == CONTENT
    assert whole(data, 100, 1000) == CONTENT[100:1000]
    assert whole(data, 7, 7) == b""
    buffer = bytearray(len(CONTENT))
    data.read_into(memoryview(buffer))
    assert buffer == CONTENT


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_file_is_an_error_naming_it(source: Path, change: Callable[[Path], None]) -> None:
    data = scanned(source)
    change(source)
    reads: list[Callable[[], object]] = [
        lambda: whole(data),
        lambda: data.read_into(memoryview(bytearray(len(CONTENT)))),
    ]
    for read in reads:
        with pytest.raises(SourceChangedError, match=f"^{source} .* between scan and copy; ") as caught:
            read()
        assert caught.value.path == os.fsencode(source)


def test_a_change_during_the_read_is_found(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(bytes(CHUNK + 1))
    pieces = scanned(path).chunks(0, CHUNK + 1)
    assert len(next(pieces)) == CHUNK
    touch(path)
    assert len(next(pieces)) == 1
    with pytest.raises(SourceChangedError):
        next(pieces)


def test_a_file_that_cannot_be_opened_names_the_remedy(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = scanned(source)
    source.chmod(0)
    data.identity = Identity.of(source.lstat())
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "open", _refuse)
    with pytest.raises(SourceError, match="Permission denied; make it readable or exclude it") as caught:
        whole(data)
    assert not isinstance(caught.value, SourceChangedError)


def _refuse(*_: object, **__: object) -> int:
    raise PermissionError(13, "Permission denied")


def test_descriptors_are_closed(source: Path) -> None:
    before = os.listdir("/proc/self/fd")
    data = scanned(source)
    whole(data)
    touch(source)
    with pytest.raises(SourceChangedError):
        whole(data)
    assert os.listdir("/proc/self/fd") == before


def test_a_handle_slice_is_its_part(source: Path) -> None:
    data = handle(source, 10, 300)
    assert whole(data) == CONTENT[10:310]
    assert whole(data, 5, 6) == CONTENT[15:16]
    buffer = bytearray(300)
    data.read_into(memoryview(buffer))
    assert buffer == CONTENT[10:310]


def test_a_handle_slice_watches_its_file(source: Path) -> None:
    data, spool = handle(source, 10, 300), handle(source, 10, 300, watched=False)
    touch(source)
    with pytest.raises(SourceChangedError, match=f"^{source} changed"):
        whole(data)
    assert whole(spool) == CONTENT[10:310]
    truncate(source)
    with pytest.raises(SourceChangedError, match=f"^{source} became shorter"):
        whole(spool)


def test_concatenated_pieces_have_zeros_between() -> None:
    data = Concatenated([(2, Bytes(b"abc")), (5, Bytes(b"d")), (9, Bytes(b"ef"))], 13)
    expected = b"\0\0abcd\0\0\0ef\0\0"
    for start in range(14):
        for stop in range(start, 14):
            assert whole(data, start, stop) == expected[start:stop]


def test_a_pack_has_zeros_between_its_parts(source: Path) -> None:
    parts = [
        part(3, Bytes(b"abc"), "a"),
        part(16, scanned(source), "b"),
        part(6000, handle(source, 1, 2), "c"),
    ]
    data = Packed(0, 7000, parts)
    expected = bytearray(7000)
    expected[3:6], expected[16 : 16 + len(CONTENT)], expected[6000:6002] = b"abc", CONTENT, CONTENT[1:3]
    assert whole(data) == expected
    assert whole(data, 4, 6001) == expected[4:6001]
    assert whole(data, 4, 4) == b""
    used = bytearray(b"\xff" * 7000)
    data.read_into(memoryview(used))
    assert used == expected


@pytest.mark.parametrize(("length", "fits"), [(CHUNK - 1, True), (CHUNK, True), (CHUNK + 1, False)])
def test_a_pack_is_at_most_a_chunk(length: int, fits: bool) -> None:
    if fits:
        assert len(Packed(0, length, [])) == length
        return
    with pytest.raises(PlanInvariantError):
        Packed(0, length, [])


# How much


def test_a_file_counts_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    data = scanned(path)
    half = len(CONTENT) // 2
    assert amount([Extent(0, half, data, 0, "x")]) == Amount(half, 0)
    assert amount([Extent(0, half, data, half, "x")]) == Amount(half, 1)
    assert amount([extent(0, Bytes(b"metadata"), "x")]) == Amount(8, 0)
    (packed,) = pack([part(0, data, "a"), part(6000, Bytes(b"a symlink"), "b"), part(7000, data, "c")], 4096)
    assert amount([packed]) == Amount(7000 + len(CONTENT), 2)
    pieces = Concatenated([(0, handle(path, 0, 10))], 20)
    assert amount([extent(0, pieces, "sparse"), packed]).plus(Amount(1, 1)) == Amount(12_141, 4)


# Cutting

STEP = 1024


@pytest.mark.parametrize(
    ("start", "length", "bounds"),
    [
        (0, STEP - 1, [(0, STEP - 1)]),
        (0, STEP, [(0, STEP)]),
        (0, STEP + 1, [(0, STEP), (STEP, 1)]),
        (STEP - 1, 1, [(STEP - 1, 1)]),
        (STEP - 1, 2, [(STEP - 1, 1), (STEP, 1)]),
        (5, 3 * STEP, [(5, STEP - 5), (STEP, STEP), (2 * STEP, STEP), (3 * STEP, 5)]),
    ],
)
def test_an_extent_is_cut_at_multiples(start: int, length: int, bounds: list[tuple[int, int]]) -> None:
    whole_extent = extent(start, Bytes(CONTENT[:length]), "x")
    parts = list(cut([whole_extent], STEP))
    assert [(e.start, e.length) for e in parts] == bounds
    size = 5 * STEP
    assert Volume(size, parts).read(0, size) == Volume(size, [whole_extent]).read(0, size)


def test_a_pack_is_cut_between_its_parts() -> None:
    """Each part is in one extent, unless it crosses a cut itself: so no file is read twice."""
    places = [(0, 100), (512, 400), (912, 112), (1024, 10), (1500, 700), (2300, 1), (2303, 2000), (4400, 9)]
    (packed,) = pack([part(start, Bytes(CONTENT[:size]), start) for start, size in places], 8192)
    moved = packed._replace(start=packed.start + STEP)
    parts = list(cut([moved], STEP))
    assert [(e.start - STEP, e.length) for e in parts] == [
        (0, 1024), (1024, 10), (1500, 548), (2048, 152), (2300, 1), (2303, 769),
        (3072, 1024), (4096, 207), (4400, 9),
    ]  # fmt: skip
    size = 8 * STEP
    assert Volume(size, parts).read(0, size) == Volume(size, [moved]).read(0, size)
    crossing = {1500, 2303}
    assert all(isinstance(e.data, Packed) or len(e.data) < STEP or e.label in crossing for e in parts)
