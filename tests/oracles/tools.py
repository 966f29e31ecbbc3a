"""Find and run the tools that judge imgwriter's output."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
"""The repository."""

CACHE = ROOT / ".cache"
"""What `make setup` fetched."""

# Debian keeps file-system tools out of an ordinary user's PATH.
_SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def missing(what: str) -> NoReturn:
    """Fail in CI, and skip, loudly, elsewhere: a judge that is absent must not look like one that agreed."""
    message = f"{what} is missing: run `make setup` to install what the tests need"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def require(name: str) -> str:
    """Return the path of a tool; without it, fail in CI and skip, loudly, elsewhere."""
    path = shutil.which(name, path=_SEARCH)
    if path is None:
        missing(name)
    return path


def require_file(path: Path) -> Path:
    """Return a path that `make setup` makes; without it, fail in CI and skip, loudly, elsewhere."""
    if not path.exists():
        missing(str(path))
    return path


def require_root() -> None:
    """Skip, also in CI, where the tests do not run as root: an ordinary user is a supported builder."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a loop mount")


class Result:
    """What a tool answered.

    Attributes:
        status: Exit status.
        out, err: What it wrote, as text; bytes that are no UTF-8 become surrogates.
    """

    def __init__(self, command: Sequence[str | bytes], done: subprocess.CompletedProcess[bytes]) -> None:
        self.command = command
        self.status = done.returncode
        self.out = done.stdout.decode("utf-8", "surrogateescape")
        self.err = done.stderr.decode("utf-8", "surrogateescape")

    @property
    def text(self) -> str:
        """Both streams, for a message."""
        words = " ".join(os.fsdecode(word) for word in self.command)
        return f"$ {words}\n{self.out}{self.err}[exit {self.status}]"


def attempt(
    tool: str, *arguments: str | bytes | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> Result:
    """Run a tool in the C locale and UTC, and return what it answered, whatever that is."""
    command = [require(tool), *(os.fspath(a) for a in arguments)]
    environment = {**os.environ, "PATH": _SEARCH, "LC_ALL": "C", "TZ": "UTC", **(env or {})}
    return Result(command, subprocess.run(command, input=stdin, capture_output=True, env=environment))


def run(
    tool: str, *arguments: str | bytes | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> str:
    """Run a tool that has to succeed and return its standard output."""
    result = attempt(tool, *arguments, stdin=stdin, env=env)
    assert result.status == 0, result.text
    return result.out
