"""Hashing in two processes: each test runs a program of its own, since a test run has threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import os, signal, sys, threading
from imgwriter.errors import *
from imgwriter.nix import hashing
from imgwriter.nix.nar import nar_hash
from imgwriter.tree.directory import read_entry
from imgwriter.tree.rules import SourceRules
top, parent = os.fsencode(sys.argv[1]), os.getpid()
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
trees = {b"/nix/store/" + name: read_entry(top + b"/" + name, SourceRules()) for name in os.listdir(top)}
expected = {path: nar_hash(tree) for path, tree in trees.items()}
noted = hashing.nar_hash
def noting(tree):
    say(os.getpid() == parent)
    return noted(tree)
hashing.nar_hash = noting
"""


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 paths, of 20 MB in all: worth a second process."""
    top = tmp_path_factory.mktemp("store")
    for index in range(40):
        (top / f"path{index}" / "bin").mkdir(parents=True)
        (top / f"path{index}" / "bin" / "program").write_bytes(os.urandom(1000 * index))
        (top / f"file{index}").write_bytes(os.urandom(500_000))
    return top


def run(script: str, top: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script, str(top)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_whoever_hashes(workers: int, top: Path) -> None:
    *who, same = run(f"found = hashing.nar_hashes(trees, {workers}); say(found == expected)", top)
    assert same == "True"
    assert len(who) == 80
    assert ("False" in who) is (workers > 1)


def test_a_process_with_threads_hashes_itself(top: Path) -> None:
    script = """
threading.Thread(target=signal.pause, daemon=True).start()
say(hashing.nar_hashes(trees, 2) == expected)
os._exit(0)
"""
    assert set(run(script, top)) == {"True"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_changed_is_an_error(workers: int, top: Path) -> None:
    script = f"""
file = next(iter(trees[b"/nix/store/path7"].entries[b"bin"].entries.values()))
file.data.identity = file.data.identity._replace(size=1, mtime_ns=1)
try:
    hashing.nar_hashes(trees, {workers})
except SourceChangedError as error:
    say("program" in str(error))
"""
    assert run(script, top)[-1] == "True"
