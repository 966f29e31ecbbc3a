"""Sending a Volume in order."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgwriter.deferred import Made, Placer
from imgwriter.errors import OutputError
from imgwriter.extent import Bytes, Generated, Volume, extent
from imgwriter.filedata import Amount
from imgwriter.sink import stream
from imgwriter.sink.stream import send_file, unnamed, write_stream


def _volume(size: int = 5_000_000) -> Volume:
    def produce(start: int, stop: int) -> bytes:
        return bytes(i % 251 for i in range(start, stop))

    return Volume(
        size,
        [
            extent(10, Bytes(b"head"), "head"),
            extent(2_500_000, Generated(100_000, produce), "middle"),
            extent(size - 3, Bytes(b"end"), "end"),
        ],
    )


@pytest.mark.parametrize("size", [2_600_003, 3_000_000, 5_000_000])
def test_all_bytes_in_order(size: int, tmp_path: Path) -> None:
    seen: list[Amount] = []
    with open(tmp_path / "stream", "wb") as file:
        write_stream(file.fileno(), _volume(size), "the file", seen.append)
    assert (tmp_path / "stream").read_bytes() == _volume(size).read(0, size)
    assert seen[-1] == (100_007, 0), "bytes of extents"


def test_an_empty_volume_is_its_zeros(tmp_path: Path) -> None:
    with open(tmp_path / "stream", "wb") as file:
        write_stream(file.fileno(), Volume(1_234_567, []), "the file")
    assert (tmp_path / "stream").read_bytes() == bytes(1_234_567)


def test_a_reader_that_leaves() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        with pytest.raises(BrokenPipeError):
            write_stream(write, _volume(), "the pipe")
    finally:
        os.close(write)


def test_a_full_device() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OutputError, match="takes no more"):
        write_stream(full.fileno(), _volume(), "/dev/full")


def test_through_a_pipe() -> None:
    command = [
        sys.executable,
        "-c",
        "import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        write_stream(process.stdin.fileno(), _volume(), "the pipe")
        process.stdin.close()
        said = process.stdout.read().strip()

    assert said == hashlib.sha256(_volume().read(0, 5_000_000)).hexdigest()


def test_a_pipe_that_does_not_block() -> None:
    script = "import sys; sys.stdin.buffer.read(1); print(len(sys.stdin.buffer.read()))"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        os.set_blocking(process.stdin.fileno(), False)
        write_stream(process.stdin.fileno(), _volume(), "the pipe")
        process.stdin.close()
        assert process.stdout.read() == "4999999\n"


def test_a_file_without_a_name_is_sent(tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    with unnamed(os.fsencode(tmp_path)) as (fd, _), open(tmp_path / "stream", "wb") as file:
        os.pwrite(fd, content, 0)
        assert os.listdir(tmp_path) == ["stream"]
        send_file(fd, file.fileno(), len(content), "the file")
        with pytest.raises(OutputError, match="became shorter"):
            send_file(fd, file.fileno(), len(content) + 1, "the file")
    assert (tmp_path / "stream").read_bytes() == content * 2


def test_a_file_without_a_name_where_none_can_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="temporary file"), unnamed(os.fsencode(tmp_path / "missing")):
        pass


class _TooLarge:
    """A Deferred whose only job is beyond the largest file."""

    count = 1

    def weight(self, _job: int) -> Amount:
        return Amount(1, 0)

    def make(self, _job: int) -> Made:
        return Made([1], [b"x"])

    def placer(self) -> Placer:
        return lambda lengths: [(1 << 63) - 1 for _ in lengths]

    def finish(self, _lengths: object, _offsets: object) -> Volume:
        return Volume(0, [])


def test_what_cannot_be_written_is_the_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"the temporary file in {tmp_path}: cannot be"):
        stream(_TooLarge(), 1, directory=os.fsencode(tmp_path))
