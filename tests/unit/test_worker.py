"""Forked processes: each test runs a program of its own, since a test run has threads."""

from __future__ import annotations

import signal
import subprocess
import sys

HEAD = """
import os, resource, signal
from imgwriter.errors import *
from imgwriter.worker import *
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def descriptors():
    return sorted(map(int, os.listdir("/proc/self/fd")))
def idle(link):
    link.count(Amount(1, 2))
"""


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HEAD + script], capture_output=True, text=True, timeout=60)


def run(script: str) -> list[str]:
    done = _run(script)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_worker_that_tells_ends_with_its_parent() -> None:
    # More than a pipe takes: the worker waits for a reader. It has our pipe, so this ends when it does.
    script = """
def tell(link):
    link.tell(Message(7, 0, 0, bytes(1 << 20)))
with forked([tell, tell], "x") as workers:
    say(list(Worker.wait(workers, None)))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = _run(script)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "[]\n"), done.stderr


def test_descriptors_beyond_what_select_knows() -> None:
    script = """
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
while os.dup(0) < 1024:
    pass
with forked([idle], "x") as workers:
    while not workers[0].finished:
        for worker, message in Worker.wait(workers, None):
            say(message.code, message.first, message.second)
"""
    assert run(script) == ["-3 1 2", "-1 0 0"]


def test_no_descriptors_for_a_process() -> None:
    script = """
before = descriptors()
for missing in range(1, 5):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) - 1 + 4 - missing, hard))
    try:
        with forked([idle], "x"):
            say("forked")
    except OutputError as error:
        say(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
say(descriptors() == before)
"""
    refused = "x: no second process can be had (Too many open files); use --workers 1"
    assert run(script) == [refused] * 4 + ["True"]


def test_a_worker_without_memory() -> None:
    script = """
def large(link):
    bytearray(1 << 62)
try:
    with forked([large], "x") as workers:
        while True:
            list(Worker.wait(workers, None))
except MemoryError:
    say("no memory")
"""
    assert run(script) == ["no memory"]
