"""The sink: the bytes that are asked for, or nothing at all."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imgwriter import sink
from imgwriter.errors import ImgwriterError, OutputError, PlanInvariantError, SourceChangedError
from imgwriter.extent import CHUNK, Bytes, Data, Extent, Generated, Volume, extent
from imgwriter.filedata import Amount, FileSlice, Packed, amount, part
from imgwriter.sink import pool, target
from tests.unit.test_filedata import CHANGES, handle, scanned

LONG = bytes(range(251)) * 5000
"""More than a megabyte of a source file, of no round length."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "long").write_bytes(LONG)
    (directory / "short").write_bytes(b"short")
    return directory


@pytest.fixture
def output(tmp_path: Path) -> Path:
    directory = tmp_path / "output"
    directory.mkdir()
    return directory / "nixos.img"


def make_volume(source: Path) -> Volume:
    """A Volume with an extent of each kind."""
    long, short = scanned(source / "long"), scanned(source / "short")
    pack = Packed(0, 8192, [part(0, short, "short"), part(4096, Bytes(b"link"), "link")])
    return Volume(
        12 << 20,
        [
            extent(0, Bytes(b"MBR"), "MBR"),
            extent(512, Generated(1000, lambda start, stop: b"\x11" * (stop - start)), "bitmap"),
            extent(1512, Bytes(b"right after"), "table"),
            extent(4096, pack, "pack"),
            Extent(1 << 20, 300_000, long, 4096, "long, first piece"),
            Extent(2 << 20, len(LONG) - 304_097, long, 304_097, "long, second piece"),
            extent(4 << 20, handle(source / "long", 17, 70_000), "tar member"),
            Extent(5 << 20, 4100, pack, 2, "part of a pack"),
            extent(6 << 20, Generated(CHUNK + 5, lambda start, stop: b"\x22" * (stop - start)), "tables"),
            extent((12 << 20) - 4, Bytes(b"last"), "backup GPT"),
        ],
    )


def assert_holds(path: Path, volume: Volume) -> None:
    assert path.read_bytes() == volume.read(0, volume.size)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_file_holds_the_volume(source: Path, output: Path, workers: int) -> None:
    volume = make_volume(source)
    sink.write(volume, output, workers=workers)
    assert_holds(output, volume)
    assert os.listdir(output.parent) == [output.name]


@pytest.mark.parametrize("unknown", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO])
@pytest.mark.parametrize("missing", [{"copy_file_range"}, {"copy_file_range", "sendfile"}])
def test_what_the_kernel_does_not_know_is_done_otherwise(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch, unknown: int, missing: set[str]
) -> None:
    called = set()

    def refuse(name: str) -> Callable[..., int]:
        def call(*_: object) -> int:
            called.add(name)
            raise OSError(unknown, os.strerror(unknown))

        return call

    for name in missing:
        monkeypatch.setattr(os, name, refuse(name))
    volume = make_volume(source)
    sink.write(volume, output)
    assert_holds(output, volume)
    # An input/output error of copy_file_range may be the source's: reading and writing tell.
    assert called == (missing if unknown != errno.EIO else {"copy_file_range"})


def test_a_copy_may_be_partial(source: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, write = os.copy_file_range, os.pwritev

    def one_page(src: int, dst: int, count: int, *offsets: int) -> int:
        return copy(src, dst, min(count, 4096), *offsets)

    def one_buffer(fd: int, buffers: list[bytes], offset: int) -> int:
        return write(fd, [memoryview(buffers[0])[:10_000]], offset)

    monkeypatch.setattr(os, "copy_file_range", one_page)
    monkeypatch.setattr(os, "pwritev", one_buffer)
    volume = make_volume(source)
    sink.write(volume, output)
    assert_holds(output, volume)


def test_a_kernel_that_copies_nothing_is_helped(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux 5.3 to 5.18 return 0 for files of some file systems that have bytes all the same."""
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    volume = make_volume(source)
    sink.write(volume, output)
    assert_holds(output, volume)


def test_without_proc_the_file_has_a_name_from_the_start(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.write_bytes(b"old")
    seen: list[set[str]] = []
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    volume = make_volume(source)
    sink.write(volume, output, progress=lambda done: seen.append(set(os.listdir(output.parent))))
    assert_holds(output, volume)
    assert os.listdir(output.parent) == [output.name]
    assert any(len(names) == 2 for names in seen)


def test_a_file_system_without_unnamed_files(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def no_tmpfile(path: object, flags: int, *rest: int, **named: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real_open(path, flags, *rest, **named)  # type: ignore[call-overload]  # as it was called

    monkeypatch.setattr(os, "open", no_tmpfile)
    volume = make_volume(source)
    sink.write(volume, output)
    assert_holds(output, volume)
    (source / "short").write_bytes(b"other")
    with pytest.raises(SourceChangedError):
        sink.write(volume, output)
    assert os.listdir(output.parent) == [output.name]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_mode_is_0666_less_the_umask(output: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        sink.write(Volume(1, []), output)
    finally:
        os.umask(before)
    assert output.stat().st_mode == 0o100666 & ~umask


@pytest.mark.parametrize("existing", [True, False])
def test_sync_flushes_the_file_and_its_directory(
    output: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino))
    if existing:
        output.write_bytes(b"old")
    sink.write(Volume(5, []), output)
    assert flushed == []
    sink.write(Volume(5, []), output, sync=True)
    assert flushed == [output.stat().st_ino, output.parent.stat().st_ino]


def test_progress_counts_up_to_what_is_allocated(source: Path, output: Path) -> None:
    seen: list[Amount] = []
    volume = make_volume(source)
    sink.write(volume, output, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == amount(volume.extents)
    assert seen[-1].bytes == volume.allocated and seen[-1].files > 0


def test_an_exception_from_progress_cancels(source: Path, output: Path) -> None:
    def cancel(done: Amount) -> None:
        raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        sink.write(make_volume(source), output, progress=cancel)
    assert os.listdir(output.parent) == []


def test_bytes_and_paths_of_all_kinds(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(output.parent)
    sink.write_bytes("relative", b"1")
    sink.write_bytes(os.fsencode(output.parent) + b"/\xff", b"2")
    sink.write_bytes(output.parent / ("n" * 255), b"3")
    assert sorted(os.listdir(os.fsencode(output.parent))) == [b"n" * 255, b"relative", b"\xff"]
    with pytest.raises(OutputError, match="File name too long; choose a shorter name"):
        sink.write_bytes("n" * 256, b"")


def test_a_symlink_is_replaced_and_what_it_names_stays(output: Path) -> None:
    other = output.with_name("other")
    other.write_bytes(b"other")
    output.symlink_to("other")
    sink.write_bytes(output, b"new")
    assert (other.read_bytes(), output.read_bytes(), output.is_symlink()) == (b"other", b"new", False)
    output.unlink()
    output.symlink_to("nowhere")
    sink.write_bytes(output, b"new")
    assert sorted(os.listdir(output.parent)) == ["nixos.img", "other"]


def _to_null(path: Path) -> None:
    path.symlink_to("/dev/null")


def _to_directory(path: Path) -> None:
    path.symlink_to(".")


def _to_descriptor(path: Path) -> None:
    """As /dev/stdout: where standard output is a file, it leads to a regular one."""
    path.symlink_to("/proc/self/exe")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, _to_null, _to_directory, _to_descriptor])
def test_what_is_not_a_regular_file_is_refused(output: Path, make: Callable[[Path], None]) -> None:
    make(output)
    before = output.lstat()
    with pytest.raises(OutputError, match=r"nixos.img is (a directory|not a regular file); give") as caught:
        sink.write(Volume(5, []), output)
    assert caught.value.path == str(output)
    assert output.lstat().st_ino == before.st_ino


@pytest.mark.parametrize("name", ["", "missing/", ".", "a/.."])
def test_a_path_that_names_no_file_is_refused(
    output: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(output.parent)
    with pytest.raises(OutputError, match="names no file"):
        sink.write(Volume(5, []), name)


def test_a_missing_directory_is_named(output: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory; make the directory first"):
        sink.write(Volume(5, []), output / "below" / "nixos.img")
    output.write_bytes(b"")
    with pytest.raises(OutputError, match="Not a directory"):
        sink.write(Volume(5, []), output / "nixos.img")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while, when root: permissions mean nothing to root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_directory_that_may_not_be_written(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output.parent.chmod(0o555)
    monkeypatch.chdir(output.parent)
    with unprivileged(), pytest.raises(OutputError, match="Permission denied; choose a directory that you"):
        sink.write(Volume(5, []), "nixos.img")
    output.parent.chmod(0o755)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("packed", [True, False])
def test_a_changed_source_is_an_error_naming_it(
    source: Path, output: Path, change: Callable[[Path], None], packed: bool
) -> None:
    path = source / "long"
    data = scanned(path)
    one = Packed(0, len(data), [part(0, data, "long")]) if packed else data
    volume = Volume(CHUNK, [extent(0, one, "long")])
    change(path)
    output.write_bytes(b"old")
    with pytest.raises(SourceChangedError, match=f"^{path} ") as caught:
        sink.write(volume, output)
    assert caught.value.path == os.fsencode(path)
    assert (output.read_bytes(), os.listdir(output.parent)) == (b"old", [output.name])


def test_a_change_while_it_is_copied_is_found(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = os.copy_file_range

    def copy_and_touch(*args: int) -> int:
        os.utime(source / "long", ns=(1, 1))
        return copy(*args)

    monkeypatch.setattr(os, "copy_file_range", copy_and_touch)
    with pytest.raises(SourceChangedError):
        sink.write(Volume(CHUNK, [extent(0, scanned(source / "long"), "long")]), output)
    assert os.listdir(output.parent) == []


@pytest.mark.parametrize("length", [3, 5])
def test_data_that_breaks_its_word_is_a_bug(output: Path, length: int) -> None:
    class Wrong:
        def __len__(self) -> int:
            return 4

        def chunks(self, start: int, stop: int) -> Iterator[bytes]:
            yield bytes(length)

    with pytest.raises(PlanInvariantError, match="journal gave"):
        sink.write(Volume(8, [extent(0, Wrong(), "journal")]), output)


def test_a_piece_is_written_before_the_next_is_asked_for(output: Path) -> None:
    class Reusing:
        """One buffer for all pieces, as the protocol allows."""

        def __len__(self) -> int:
            return 26

        def chunks(self, start: int, stop: int) -> Iterator[bytearray]:
            buffer = bytearray(1)
            for value in range(start, stop):
                buffer[0] = ord("a") + value
                yield buffer

    data: Data = Reusing()
    sink.write(Volume(27, [extent(0, Bytes(b"<"), "x"), extent(1, data, "letters")]), output)
    assert output.read_bytes() == b"<abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("count", [target.IOV_MAX - 1, target.IOV_MAX, target.IOV_MAX + 1])
def test_neighbours_are_written_together(output: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    calls = []
    real_write = os.pwritev

    def write(fd: int, buffers: list[bytes], offset: int) -> int:
        calls.append(len(buffers))
        return real_write(fd, buffers, offset)

    monkeypatch.setattr(os, "pwritev", write)
    volume = Volume(2 * count, [extent(2 * i, Bytes(b"%02d" % (i % 100)), i) for i in range(count)])
    sink.write(volume, output)
    assert_holds(output, volume)
    assert sorted(calls, reverse=True) == ([count] if count <= target.IOV_MAX else [target.IOV_MAX, 1])


@pytest.mark.parametrize(("length", "count"), [(CHUNK // 2, 1), (CHUNK // 2 + 1, 2)])
def test_jobs_hold_at_most_a_chunk(length: int, count: int) -> None:
    data = Generated(length, lambda start, stop: bytes(stop - start))
    assert len(pool.jobs([extent(0, data, "a"), extent(length, data, "b")])) == count


# Each call that writes is made to fail in turn: the file's name is the old file's or the new one's.

CALLS = ("open", "ftruncate", "pwritev", "copy_file_range", "sendfile", "fsync", "link", "rename")


class Faults:
    """Make the Nth call that writes fail, and every later one too when ``forever``."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, code: int, forever: bool) -> None:
        self.count = 0
        self.number = number
        self.code = code
        self.forever = forever
        for name in CALLS:
            patch.setattr(os, name, self.wrap(name, getattr(os, name)))
        patch.setattr(target, "ioctl", self.wrap("ioctl", fcntl.ioctl))

    def wrap(self, name: str, real: Callable[..., int]) -> Callable[..., int]:
        def call(*args: object, **named: object) -> int:
            reads = name == "open" and not int(str(args[1])) & os.O_RDWR
            if not reads:
                self.count += 1
                if self.count == self.number or (self.forever and self.count > self.number):
                    raise OSError(self.code, os.strerror(self.code))
            return real(*args, **named)

        return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_each_write_fails_in_turn(
    source: Path, output: Path, code: int, forever: bool, existing: bool, named: bool
) -> None:
    volume = make_volume(source)
    expected = volume.read(0, volume.size)
    number = failures = 0
    while True:
        number += 1
        output.unlink(missing_ok=True)
        if existing:
            output.write_bytes(b"old")
        with pytest.MonkeyPatch.context() as patch:
            if named:
                patch.setattr(os.path, "exists", lambda path: False)
            faults = Faults(patch, number, code, forever)
            error = _attempt(volume, output)
        if faults.count < number:
            break
        failures += error is not None
        _assert_old_or_new(output, existing, expected, error)
    assert (error, output.read_bytes()) == (None, expected)
    assert failures >= 8  # open, ftruncate, writes of three kinds, two fsyncs, link or rename


def _attempt(volume: Volume, output: Path) -> ImgwriterError | None:
    try:
        sink.write(volume, output, sync=True, workers=1)
    except OutputError as error:
        return error
    return None


def _assert_old_or_new(output: Path, existing: bool, expected: bytes, error: Exception | None) -> None:
    """After an error there is what there was; only flushing the directory comes after the new name."""
    names = os.listdir(output.parent)
    if error is None or (names == [output.name] and output.stat().st_size == len(expected)):
        assert (names, output.read_bytes()) == ([output.name], expected)
        return
    assert str(output) in str(error)
    assert names == ([output.name] if existing else [])
    assert not existing or output.read_bytes() == b"old"


def test_the_first_error_stops_the_other_workers(output: Path) -> None:
    made: list[int] = []

    def produce(start: int, stop: int) -> bytes:
        made.append(start)
        if len(made) == 3:
            raise OutputError("third piece")
        return bytes(stop - start)

    volume = Volume(1 << 40, [extent(i * CHUNK, Generated(CHUNK, produce), i) for i in range(10_000)])
    with pytest.raises(OutputError, match="third piece"):
        sink.write(volume, output, workers=3)
    assert len(made) < 1000  # of 10,000, at most some that were under way
    assert os.listdir(output.parent) == []


def test_descriptors_are_closed_whatever_happens(source: Path, output: Path) -> None:
    volume = make_volume(source)
    before = sorted(os.listdir("/proc/self/fd"))
    sink.write(volume, output)
    (source / "short").write_bytes(b"other")
    with pytest.raises(SourceChangedError):
        sink.write(volume, output)
    with pytest.raises(OutputError):
        sink.write(volume, source)
    assert sorted(os.listdir("/proc/self/fd")) == before


# A process that is in the middle of a write: it says so, and goes on when its standard input ends.

SCRIPT = """
import os, signal, sys
from imgwriter import sink
from imgwriter.extent import Bytes, Generated, Volume, extent

def produce(start, stop):
    print("writing", flush=True)
    os.read(0, 1)
    return bytes(stop - start)

def terminated(number, frame):
    raise SystemExit(128 + number)

signal.signal(signal.SIGTERM, terminated)
signal.signal(signal.SIGINT, signal.default_int_handler)
data = [extent(0, Bytes(b"head"), "head"), extent(4096, Generated(4096, produce), "slow")]
sink.write(Volume(1 << 20, data), sys.argv[1])
print("done", flush=True)
"""


def start(output: Path, script: str = SCRIPT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL), (None, 0)],
)
def test_a_signal_in_the_middle_leaves_what_was_there(
    output: Path, number: signal.Signals | None, status: int
) -> None:
    output.write_bytes(b"old")
    with start(output) as process:
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        if number is not None:
            process.send_signal(number)
        rest, errors = process.communicate()
    assert (process.returncode, rest) == (status, "" if number else "done\n"), errors
    assert os.listdir(output.parent) == [output.name]
    assert (output.read_bytes() == b"old") == (number is not None)


LIMITED = """
import resource, sys
from imgwriter import sink
from imgwriter.errors import OutputError
from imgwriter.extent import Bytes, Volume, extent
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
for size in (8191, 8192, 8193):
    try:
        sink.write(Volume(size, [extent(size - 10, Bytes(b"0123456789"), "end")]), sys.argv[1])
        print(size)
    except OutputError as error:
        print(error)
"""


def test_a_limit_on_the_size_of_files(output: Path) -> None:
    with start(output, LIMITED) as process:
        said, errors = process.communicate()
    assert said.splitlines() == [
        "8191",
        "8192",
        f"{output}: cannot be written: File too large; make the image smaller, raise `ulimit -f`, or choose "
        "a file system that holds such a file",
    ], errors
    assert (output.stat().st_size, os.listdir(output.parent)) == (8192, [output.name])


def test_a_source_on_another_file_system(source: Path, output: Path) -> None:
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or shared_memory.stat().st_dev == output.parent.stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    volume = make_volume(source)
    elsewhere = shared_memory / f"imgwriter-test-{os.getpid()}"
    try:
        sink.write(volume, elsewhere)
        assert_holds(elsewhere, volume)
        back = Volume(volume.size, [extent(0, scanned(elsewhere), "image")])
        sink.write(back, output)
    finally:
        elsewhere.unlink(missing_ok=True)
    assert_holds(output, volume)


def test_a_slice_is_opened_when_it_is_written(source: Path, output: Path) -> None:
    """A million files are planned without a million descriptors."""
    data = [
        FileSlice(scanned(source / "short").directory, b"short", scanned(source / "short").identity)
    ] * 5000
    sink.write(Volume(1 << 20, [extent(i * 64, one, i) for i, one in enumerate(data)]), output)
    assert output.read_bytes()[: 5000 * 64] == b"short".ljust(64, b"\0") * 5000
