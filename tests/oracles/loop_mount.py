"""The running kernel as a judge, where the tests are root: a read-only loop mount."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oracles.tools import attempt, require_root, run


@contextlib.contextmanager
def mounted(image: Path, folder: Path, offset: int = 0, fs_type: str = "ext4") -> Iterator[Path]:
    """Mount a file system at ``offset`` bytes of an image on ``folder``, read-only, for the block's time.

    Skips where a container has no loop devices: the guest, and debugfs, judge there.
    """
    require_root()
    folder.mkdir(exist_ok=True)
    options = f"loop,ro,offset={offset}" + (",noload" if fs_type in ("ext3", "ext4") else "")
    result = attempt("mount", "-t", fs_type, "-o", options, image, folder)
    if result.status and ("loop device" in result.text or "permission denied" in result.text):
        pytest.skip(f"no loop mount here: {result.err.strip()}")
    assert result.status == 0, result.text
    try:
        yield folder
    finally:
        run("umount", folder)
