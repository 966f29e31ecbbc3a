"""A quick look at KVM, beside QEMU's."""

from __future__ import annotations

import os
import platform
import subprocess

import pytest

from imgwriter.guest.kvm import makes_a_machine
from tests.oracles.tools import require

pytestmark = pytest.mark.compat


def test_it_is_as_qemu_finds_it() -> None:
    """QEMU makes a machine of one processor, and is asked to end before it runs."""
    qemu = require(f"qemu-system-{platform.machine()}")
    command = [qemu, "-nodefaults", "-display", "none", "-S", "-machine", "accel=kvm", "-cpu", "host"]
    if platform.machine() == "aarch64":
        command += ["-machine", "virt"]
    asked = b'{"execute": "qmp_capabilities"} {"execute": "quit"}'
    done = subprocess.run([*command, "-qmp", "stdio"], input=asked, capture_output=True, check=False)
    before = os.listdir("/proc/self/fd")
    assert makes_a_machine() is (done.returncode == 0), done.stderr.decode()
    assert os.listdir("/proc/self/fd") == before
