"""Guests whose kernel the host decompresses.

The kernels are Debian's cloud kernels, compressed once more. Around the payload there is no code that would
run: such a file boots only as what is in it.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from imgwriter.errors import GuestError
from imgwriter.guest.job import Job, Mount, shell
from imgwriter.guest.kernel import Kernel, find_kernel
from imgwriter.guest.request import Drive
from imgwriter.guest.session import prepare
from imgwriter.vm import run_guest
from tests.building import build
from tests.oracles import kernel_build
from tests.oracles.tools import CACHE, require, require_file
from tests.unit.guest.kernels import x86_kernel, zboot_kernel

pytestmark = [pytest.mark.guest, pytest.mark.slow]

CLOCK = 1577836800


def _disk(folder: Path, busybox: bytes) -> Drive:
    """Return a disk with a root file system of one program."""
    for name in ("bin", "dev", "proc", "run", "sys", "tmp"):
        (folder / "tree" / name).mkdir(parents=True)
    program = folder / "tree" / "bin" / "busybox"
    program.write_bytes(busybox)
    program.chmod(0o755)
    program.with_name("sh").symlink_to("busybox")
    image = build(folder / "tree", folder / "disk", "--partition-table", "none", "--additional-space", "8M")
    return Drive(os.fsencode(image), "raw")


def _kernel(folder: Path, content: bytes, tree: Path) -> Kernel:
    """Return a kernel of the host, with the modules of a tree."""
    path = folder / "vmlinuz"
    path.write_bytes(content)
    return find_kernel(None, kernel=os.fsencode(path), modules=os.fsencode(tree))


def _lines(drive: Drive, kernel: Kernel, busybox: bytes, text: str) -> tuple[str, ...]:
    job = Job(Mount(0, "ext4"), (shell(text),), clock=CLOCK)
    return run_guest(prepare(job, drive, kernel, busybox, timeout=120.0)).log


def test_the_vmlinux_of_a_bzimage(tmp_path: Path) -> None:
    """Ports, clock, power-off, and a panic that is told: all that a guest is asked for, by another entry."""
    if platform.machine() != "x86_64":
        pytest.skip("the guest needs an x86-64 host, whose own busybox runs in it")
    require("qemu-system-x86_64")
    tree = require_file(CACHE / "guest" / ".ready").parent
    busybox = Path(require("busybox")).read_bytes()
    (image,) = tree.glob("boot/vmlinuz-*")
    plain = kernel_build.unpack_lz4(image.read_bytes())
    version = image.name.removeprefix("vmlinuz-")
    content = x86_kernel(kernel_build.pack(plain, "xzkern"), version=version)
    kernel = _kernel(tmp_path, content, tree)
    drive = _disk(tmp_path, busybox)
    seconds, architecture = _lines(drive, kernel, busybox, "busybox date +%s; busybox uname -m")
    assert CLOCK <= int(seconds) < CLOCK + 100 and architecture == "x86_64"
    with pytest.raises(GuestError, match=r"kernel panicked in stage install \(sysrq triggered crash\)"):
        _lines(drive, kernel, busybox, "echo c >/proc/sysrq-trigger; busybox sleep 100")


def test_the_image_of_a_zboot(tmp_path: Path) -> None:
    require("qemu-system-aarch64")
    tree = require_file(CACHE / "arm64-boot-tree" / ".ready").parent / "root"
    busybox = (tree / "bin" / "busybox").read_bytes()
    (image,) = tree.glob("boot/vmlinuz-*")
    kernel = _kernel(tmp_path, zboot_kernel(kernel_build.pack(image.read_bytes(), "zstd22"), b"zstd22"), tree)
    drive = _disk(tmp_path, busybox)
    assert _lines(drive, kernel, busybox, "busybox uname -m") == ("aarch64",)
