"""The sink's processes: each test runs a program of its own, since a test run has threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imgwriter.extent import CHUNK, Bytes, Extent, Generated, extent
from imgwriter.filedata import FileSlice, Identity
from imgwriter.sink import pool

HEAD = """
import os, signal, sys, threading
from imgwriter import sink
from imgwriter.errors import *
from imgwriter.extent import CHUNK, Generated, Volume, extent

output, parent = sys.argv[1], os.getpid()
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def volume(produce, count=8):
    data = [extent(i * CHUNK, Generated(CHUNK, produce), i) for i in range(count)]
    return Volume(count * CHUNK, data)
def whole(start, stop):
    say(os.getpid())
    return bytes([os.getpid() == parent]) * (stop - start)
"""


def run(script: str, output: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that writes ``output``; its standard output is what its processes said."""
    return subprocess.run(
        [sys.executable, "-c", HEAD + script, str(output)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "disk.img"


def test_two_processes_write_their_share(output: Path) -> None:
    done = run("sink.write(volume(whole), output); say('own', parent)", output)
    assert done.returncode == 0, done.stderr
    writers = set(done.stdout.split()[:-2])
    assert len(writers) == 2
    assert done.stdout.split()[-1] in writers
    content = output.read_bytes()
    pieces = {content[i : i + CHUNK] for i in range(0, len(content), CHUNK)}
    assert pieces == {bytes(CHUNK), b"\1" * CHUNK}


@pytest.mark.parametrize(
    ("before", "workers"),
    [("", 1), ("threading.Thread(target=signal.pause, daemon=True).start()", 2)],
    ids=["one worker", "a process with threads"],
)
def test_no_fork(before: str, workers: int, output: Path) -> None:
    done = run(f"{before}\nsink.write(volume(whole), output, workers={workers})", output)
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 1
    assert set(output.read_bytes()) == {1}


def test_no_more_processes_than_jobs(output: Path) -> None:
    script = """
fork, parents = os.fork, []
def counted():
    parents.append(os.getpid())
    return fork()
os.fork = counted
sink.write(volume(whole), output, workers=1_000_000)
say("forks", len(parents))
"""
    done = run(script, output)
    assert done.stdout.splitlines()[-1] == "forks 7", done.stderr


def test_progress_counts_all_workers(output: Path) -> None:
    done = run(
        "seen = []\nsink.write(volume(whole), output, progress=seen.append)\n"
        "say('seen', seen[-1] == (8 * CHUNK, 0), seen == sorted(seen))",
        output,
    )
    assert done.stdout.splitlines()[-1] == "seen True True", done.stderr


def _failing(statement: str) -> str:
    return f"""
def produce(start, stop):
    if os.getpid() != parent:
        {statement}
    return bytes(stop - start)
try:
    sink.write(volume(produce), output)
except BaseException as error:
    say(type(error).__name__, error, getattr(error, 'path', ''))
"""


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("raise SourceChangedError('x changed', b'x')", "SourceChangedError x changed b'x'"),
        ("raise OutputError('no room', 'y')", "OutputError no room y"),
        ("raise ZeroDivisionError('odd')", "PlanInvariantError ZeroDivisionError in a worker: odd"),
    ],
)
def test_an_error_of_a_worker_is_raised_here(statement: str, said: str, output: Path) -> None:
    done = run(_failing(statement), output)
    assert done.stdout.strip() == said, done.stderr
    assert os.listdir(output.parent) == []


def test_a_worker_that_is_killed(output: Path) -> None:
    output.write_bytes(b"old")
    done = run(_failing("os.kill(os.getpid(), signal.SIGKILL)"), output)
    assert "ended from outside" in done.stdout, done.stderr
    assert os.listdir(output.parent) == [output.name]
    assert output.read_bytes() == b"old"


def test_an_error_here_ends_the_workers(output: Path) -> None:
    done = run(
        """
def produce(start, stop):
    if os.getpid() == parent:
        raise OutputError('here')
    say(os.getpid())
    signal.pause()
try:
    sink.write(volume(produce), output)
except OutputError as error:
    say(error)
""",
        output,
    )
    assert done.stdout.splitlines()[-1] == "here", done.stderr
    for pid in done.stdout.split()[:-1]:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    assert os.listdir(output.parent) == []


WAITING = """
def produce(start, stop):
    say(os.getpid())
    os.read(0, 1)
    return bytes(stop - start)
def stop(number, frame):
    raise SystemExit(128 + number)
signal.signal(signal.SIGTERM, stop)
sink.write(volume(produce), output)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_parent_ends_all(number: signal.Signals, output: Path) -> None:
    output.write_bytes(b"old")
    command = [sys.executable, "-c", HEAD + WAITING, str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        pids = {int(process.stdout.readline()) for _ in range(2)}
        assert process.pid in pids
        process.send_signal(number)
        process.wait()
        process.stdin.close()  # a worker that still waits goes on, and finds its parent gone
        (worker,) = pids - {process.pid}
        while Path(f"/proc/{worker}").exists() and "zombie" not in _state(worker):
            time.sleep(0.01)
    assert os.listdir(output.parent) == [output.name]
    assert output.read_bytes() == b"old"


def _state(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    return next(line for line in status.splitlines() if line.startswith("State"))


def _jobs(lengths: list[int]) -> list[pool.Job]:
    volumes: list[Extent] = []
    for index, length in enumerate(lengths):
        volumes.append(extent(index * CHUNK, Bytes(bytes(length)), index))
    return [[e] for e in volumes]


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
def test_shares_are_everything_once_and_even(workers: int) -> None:
    todo = _jobs([1000, 70_000, 20, 4_000_000, 3_000_000, 900_000, 5])
    shares = pool.share(todo, workers)
    assert len(shares) == workers
    assert sorted(id(job) for each in shares for job in each) == sorted(id(job) for job in todo)
    assert all(each == sorted(each, key=lambda job: job[0].start) for each in shares), "disk order"
    loads = [sum(map(pool.cost, each)) for each in shares]
    assert max(loads) - min(loads) <= max(map(pool.cost, todo))


def test_a_computed_byte_costs_more_than_a_copied_one() -> None:
    computed = extent(0, Generated(CHUNK, lambda start, stop: bytes(stop - start)), "x")
    copied = Extent(0, CHUNK, FileSlice(b"/", b"x", Identity(0, 0, CHUNK, 0, 0)), 0, "x")
    assert pool.cost([computed]) > pool.cost([copied])
