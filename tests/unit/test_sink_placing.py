"""Jobs whose places are known late: each test runs a program of its own, since a test run has threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import os, signal, sys, threading, time
from imgwriter import sink
from imgwriter.deferred import Made
from imgwriter.errors import *
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.filedata import Amount

output, parent = sys.argv[1], os.getpid()
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

class Numbers:
    '''Job j has j % 7 units: unit u is the number 100 * j + u in text, repeated; the 4th is nothing.'''
    def __init__(self, jobs, before=lambda job: None):
        self.count = jobs
        self.before = before
    def weight(self, job):
        return Amount(10, 1)
    def make(self, job):
        self.before(job)
        units = [b"" if u == 3 else b"%d," % (100 * job + u) * (1 + u * 500) for u in range(job % 7)]
        return Made([len(u) for u in units], [u for u in units if u])
    def placer(self):
        position = 8
        def place(lengths):
            nonlocal position
            offsets = []
            for length in lengths:
                offsets.append(position)
                position += length + (5 if length > 1000 else 0)
            return offsets
        return place
    def finish(self, lengths, offsets):
        end = max(o + l for ls, os_ in zip(lengths, offsets) for l, o in zip(ls, os_))
        return Volume(end + 100, [extent(0, Bytes(b"%8d" % end), "header")])

def expected(jobs):
    numbers = Numbers(jobs)
    place, content, all_lengths, all_offsets = numbers.placer(), {}, [], []
    for job in range(jobs):
        made = numbers.make(job)
        offsets = place(made.lengths)
        buffers = iter(made.buffers)
        content |= {o: next(buffers) for l, o in zip(made.lengths, offsets) if l}
        all_lengths.append(made.lengths); all_offsets.append(offsets)
    rest = numbers.finish(all_lengths, all_offsets)
    result = bytearray(rest.read(0, rest.size))
    for offset, piece in content.items():
        result[offset:offset + len(piece)] = piece
    return bytes(result)
def same(jobs):
    say(open(output, "rb").read() == expected(jobs))
"""


def run(script: str, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + script, str(output)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "disk.qcow2"


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("jobs", [2, 3, 50])
def test_the_same_bytes_whoever_makes_them(jobs: int, workers: int, output: Path) -> None:
    done = run(f"sink.write(Numbers({jobs}), output, workers={workers}); same({jobs})", output)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("slow", ["job == 0", "job % 2", "job % 10 == 9"])
def test_whoever_is_first_does_not_show(slow: str, output: Path) -> None:
    script = f"""
def before(job):
    if {slow}:
        time.sleep(0.05)
sink.write(Numbers(30, before), output, workers=3)
same(30)
"""
    done = run(script, output)
    assert done.stdout == "True\n", done.stderr


def test_the_jobs_are_made_by_others(output: Path) -> None:
    done = run("sink.write(Numbers(40, lambda job: say(os.getpid() == parent)), output, workers=2)", output)
    assert done.stdout == "False\n" * 40, done.stderr


def test_a_process_with_threads_makes_them_itself(output: Path) -> None:
    script = """
threading.Thread(target=signal.pause, daemon=True).start()
sink.write(Numbers(20, lambda job: say(os.getpid() == parent)), output, workers=2)
same(20)
os._exit(0)
"""
    done = run(script, output)
    assert done.stdout == "True\n" * 21, done.stderr


def test_few_jobs_wait_for_their_place(output: Path) -> None:
    """A slow first job holds the others up before they fill the memory."""
    script = """
def before(job):
    if job == 0:
        time.sleep(0.5)
        say("first")
    else:
        say(job)
sink.write(Numbers(100, before), output, workers=2)
same(100)
"""
    words = run(script, output).stdout.split()
    assert words[-1] == "True"
    assert words.index("first") <= 8


def test_progress_counts_jobs(output: Path) -> None:
    done = run(
        "seen = []\nsink.write(Numbers(9), output, progress=seen.append)\n"
        "say(seen == sorted(seen), seen[-1] == (90, 9))",
        output,
    )
    assert done.stdout == "True True\n", done.stderr


def test_what_is_returned_is_the_size(output: Path) -> None:
    done = run("v = sink.write(Numbers(9), output); say(v.size == os.stat(output).st_size)", output)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("raise SourceChangedError('x changed', b'x')", "SourceChangedError x changed"),
        ("raise OutputError('no room', 'y')", "OutputError no room"),
    ],
)
def test_an_error_of_a_job_is_raised_here(workers: int, statement: str, said: str, output: Path) -> None:
    output.write_bytes(b"old")
    script = f"""
def before(job):
    if job == 5:
        {statement}
try:
    sink.write(Numbers(10, before), output, workers={workers})
except ImgwriterError as error:
    say(type(error).__name__, error)
"""
    assert run(script, output).stdout.strip() == said
    assert os.listdir(output.parent) == [output.name]
    assert output.read_bytes() == b"old"


def test_a_worker_that_is_killed(output: Path) -> None:
    script = """
def before(job):
    if job == 5:
        os.kill(os.getpid(), signal.SIGKILL)
try:
    sink.write(Numbers(10, before), output)
except OutputError as error:
    say(error)
"""
    assert "ended from outside" in run(script, output).stdout
    assert os.listdir(output.parent) == []


def test_a_file_that_may_not_grow(output: Path) -> None:
    script = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    sink.write(Numbers(50), output)
except OutputError as error:
    say(error)
"""
    assert "cannot be written: File too large" in run(script, output).stdout
    assert os.listdir(output.parent) == []


def test_many_units_do_not_block_the_pipes(output: Path) -> None:
    """Orders and news that are larger than a pipe, both ways at once."""
    script = """
class Many(Numbers):
    def make(self, job):
        return Made([1] * 50_000, [b"%d" % (job % 10)] * 50_000)
deferred = Many(12)
sink.write(deferred, output, workers=2)
content = open(output, "rb").read()
say(all(content[8 + 50_000 * j : 8 + 50_000 * (j + 1)] == b"%d" % (j % 10) * 50_000 for j in range(12)))
"""
    done = run(script, output)
    assert done.stdout == "True\n", done.stderr


def test_a_stream_goes_by_way_of_an_unnamed_file(output: Path) -> None:
    script = """
with open(output, "wb") as file:
    sink.stream(Numbers(20), file.fileno(), name="x", directory=os.fsencode(os.path.dirname(output)))
same(20)
"""
    done = run(script, output)
    assert done.stdout == "True\n", done.stderr
    assert os.listdir(output.parent) == [output.name]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_views_of_one_buffer_are_written_before_it_is_used_again(workers: int, output: Path) -> None:
    script = f"""
class Shared(Numbers):
    buffer = bytearray(1000)
    def make(self, job):
        self.buffer[:] = b"%d" % (job % 10) * 1000
        return Made([600, 400], [memoryview(self.buffer)[:600], memoryview(self.buffer)[600:]])
sink.write(Shared(40), output, workers={workers})
content = open(output, "rb").read()
say(all(content[8 + 1000 * j : 8 + 1000 * (j + 1)] == b"%d" % (j % 10) * 1000 for j in range(40)))
"""
    done = run(script, output)
    assert done.stdout == "True\n", done.stderr
