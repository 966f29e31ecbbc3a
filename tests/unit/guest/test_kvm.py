"""A quick look at KVM: what is there and is none is told from one that makes a machine."""

from __future__ import annotations

import os
from pathlib import Path

from imgwriter.guest.kvm import makes_a_machine


def test_what_is_no_kvm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    before = os.listdir("/proc/self/fd")
    for path in (tmp_path / "missing", tmp_path / "file", tmp_path / "folder", Path("/dev/null")):
        assert not makes_a_machine(os.fsencode(path))
    assert os.listdir("/proc/self/fd") == before
