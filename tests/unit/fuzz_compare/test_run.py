"""Programs are started, heard, limited and ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from imgwriter.fuzz.compare.run import MAX_MEMORY, run
from tests.oracles.processes import is_running

LONG = 60.0


def sh(script: str, timeout: float = LONG, **more):
    return run(["/bin/sh", "-c", script], timeout, **more)


def test_both_streams_and_the_status():
    assert sh("echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")


def test_a_signal_is_a_negative_status():
    assert sh("kill -SEGV $$").status == -signal.SIGSEGV


def test_it_has_no_input():
    assert sh("cat; echo done") == (0, "done\n", "")


def test_bytes_that_are_no_text_are_told():
    assert sh(r"printf '\377'").out == "\\xff"


@pytest.mark.parametrize("script", ["sleep 1000", "while :; do :; done", "exec >&- 2>&-; sleep 1000"])
def test_what_does_not_end_is_killed(script: str):
    assert sh(script, timeout=0.3).status is None


def test_what_was_said_before_the_end_is_kept():
    assert sh("echo one; sleep 1000", timeout=3.0) == (None, "one\n", "")


def test_children_are_killed_as_well(tmp_path: Path):
    sh(f"sleep 1000 & echo $! >{tmp_path}/pid; wait", timeout=3.0)
    left = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + LONG  # the kernel takes it away in its own time
    while is_running(left) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(left)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_output_is_cut_off_at_its_limit(beyond: int):
    ended = sh(f"head -c {1000 + beyond} /dev/zero; echo end >&2", max_output=1000)
    assert len(ended.out) == min(1000, 1000 + beyond) and ended.err == "end\n" and ended.status == 0


def test_output_without_end_ends_with_the_time():
    ended = sh("yes", timeout=3.0, max_output=1000)
    assert ended.status is None and len(ended.out) == 1000


def test_memory_is_limited():
    kibibytes = MAX_MEMORY >> 10
    assert sh("ulimit -v; ulimit -c").out.split() == [str(kibibytes), "0"]
    ended = run(["dd", "if=/dev/zero", "of=/dev/null", "count=1", f"bs={MAX_MEMORY}"], LONG)
    assert ended.status == 1 and "memory" in ended.err


def test_the_environment_is_what_is_given():
    assert run(["/usr/bin/env"], LONG, {"A": "1"}).out.split() == [*sorted({"A=1", f"PWD={os.getcwd()}"})]


def test_a_program_that_is_not_there():
    assert run(["/nonexistent/program"], LONG).status == 127
