"""Listing directories in two processes: each test runs a program of its own, since a test run has threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import errno, os, signal, sys, threading
from imgwriter.errors import *
from imgwriter.tree import listers
from imgwriter.tree.directory import read
from imgwriter.tree.exclude import Exclusion
from imgwriter.tree.rules import SourceRules
top, parent = os.fsencode(sys.argv[1]), os.getpid()
listed = listers.list_directory
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def shape(inode):
    more = inode.target or inode.rdev if inode.data is None else (inode.data.path, inode.data.identity)
    below = None if inode.entries is None else {n: shape(i) for n, i in inode.entries.items()}
    return inode.mode, inode.uid, inode.mtime_ns, inode.size, dict(inode.xattrs), more, below
def alone(rules=SourceRules()):
    listers.may_fork = lambda: False
    return shape(read(top, rules))
"""


def run(script: str, top: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script, str(top)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 directories in three levels: enough for a second process."""
    top = tmp_path_factory.mktemp("tree")
    for index in range(300):
        directory = top / str(index % 10) / str(index % 30) / f"d{index}"
        directory.mkdir(parents=True)
        (directory / "file").write_bytes(b"x" * index)
        (directory / "link").symlink_to(f"target{index}")
        os.link(directory / "file", top / f"name{index}")
    return top


def test_two_processes_find_what_one_finds(top: Path) -> None:
    script = """
pids = set()
def noted(*arguments):
    if os.getpid() != parent:
        say("child")
    return listed(*arguments)
listers.list_directory = noted
found = shape(read(top, SourceRules()))
say(found == alone())
"""
    said = run(script, top)
    assert said[-1] == "True"
    assert said.count("child") >= 32


def test_names_of_one_file_stay_one_file(top: Path) -> None:
    script = """
root = read(top, SourceRules())
say(all(root.entries[b"name%d" % i] is
        root.entries[b"%d" % (i % 10)].entries[b"%d" % (i % 30)].entries[b"d%d" % i].entries[b"file"]
        for i in range(300)))
"""
    assert run(script, top) == ["True"]


def test_what_is_excluded_is_excluded_in_both(top: Path) -> None:
    script = """
rules = SourceRules(exclude=Exclusion([b"/3/**/link", b"d17"]))
found = shape(read(top, rules))
say(found == alone(rules), found == alone())
"""
    assert run(script, top) == ["True False"]


def test_few_directories_are_not_worth_a_fork(tmp_path: Path) -> None:
    for index in range(40):
        (tmp_path / str(index)).mkdir()
    assert run("listers.forked = None\nread(top, SourceRules()); say('done')", tmp_path) == ["done"]


def test_a_process_with_threads_does_not_fork(top: Path) -> None:
    script = """
threading.Thread(target=signal.pause, daemon=True).start()
listers.forked = None
read(top, SourceRules())
say("done")
os._exit(0)
"""
    assert run(script, top) == ["done"]


def test_an_error_in_the_worker_is_raised_here(top: Path) -> None:
    script = """
def failing(directory, rules):
    if directory.path.endswith(b"d123"):
        raise SourceError(f"{'here' if os.getpid() == parent else 'there'}")
    return listed(directory, rules)
listers.list_directory = failing
try:
    read(top, SourceRules())
except SourceError as error:
    say(error)
"""
    assert run(script, top) == ["here"]


def test_a_worker_that_is_killed(top: Path) -> None:
    script = """
def killed(directory, rules):
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return listed(directory, rules)
listers.list_directory = killed
found = shape(read(top, SourceRules()))
listers.list_directory = listed
say(found == alone())
"""
    assert run(script, top) == ["True"]


def test_no_second_process_can_be_had(top: Path) -> None:
    script = """
def refused():
    say("refused")
    raise BlockingIOError(errno.EAGAIN, "not now")
usual, os.fork = os.fork, refused
found = shape(read(top, SourceRules()))
os.fork = usual
say(found == alone())
"""
    assert run(script, top) == ["refused", "True"]
