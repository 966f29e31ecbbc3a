"""A Debian with systemd boots from an image without any installer having run, and its root grows in use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.building import build
from tests.oracles import boot
from tests.oracles.tools import CACHE, require_file, run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

OPTIONS = ("--boot-timeout", "0", "--kernel-parameters", "console=ttyS0,115200", "--additional-space", "64M")
PROMPT = r"root@\S+:~# $"


@pytest.fixture(scope="module")
def tree() -> Path:
    return require_file(CACHE / "debian-boot-root.tar")


def test_it_boots_and_grows(tree: Path, tmp_path: Path) -> None:
    """The kernel takes the larger partition, and resize2fs the larger file system, both in use."""
    image = build(tree, tmp_path, "--boot-loader", "grub-bios", *OPTIONS)
    larger = tmp_path / "larger.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image), larger, "2G")
    with boot.boot(larger, "qcow2") as machine:
        machine.expect(boot.LOGIN)
        machine.send("root")
        machine.expect(PROMPT)
        assert machine.run("findmnt -no SOURCE,OPTIONS /").startswith("/dev/vda1 rw")
        before = _blocks(machine)
        machine.run("echo ', +' | sfdisk -q --no-reread --no-tell-kernel -N 1 /dev/vda")
        machine.run("partx -u --nr 1 /dev/vda && resize2fs /dev/vda1")
        after = _blocks(machine)
        # 2 GiB but for 1 MiB before it, and what was there was less than half of it.
        assert before < after and after == (2 << 30 >> 12) - 256
        assert "EXT4-fs error" not in machine.run("dmesg")


def _blocks(machine: boot.Machine) -> int:
    (count,) = re.findall(r"Block count: +(\d+)", machine.run("dumpe2fs -h /dev/vda1 2>/dev/null"))
    return int(count)
