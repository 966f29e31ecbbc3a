"""The Linux kernel as a judge: a guest under QEMU (software emulation) runs a job on disk images.

::

    host                                  guest
    boot(images, job) ── initramfs ──>    /init: modules, then sh /job
                      <── port "log" ──   standard output and error of the job
                      <── port "data" ─   file descriptor 3 of the job: snapshot
                      <── port "dmesg" ─  the kernel's log
                      <── port "status"   "exit N", the last word

Debian's cloud kernel and its modules come from `make setup`; busybox and a few Debian tools with
their libraries from the host. A guest that panics or hangs leaves no status, and that is a failure.
Jobs may call the shell functions of ``_LIBRARY``. Only for x86-64: the emulator runs elsewhere, but
the host's binaries are the guest's.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.oracles import cpio
from tests.oracles.snapshot import END, Snapshot, parse
from tests.oracles.tools import CACHE, require, require_file, run

DEADLINE = 900.0
"""Seconds before a guest counts as hung; a job takes 5 to 40 on a machine with nothing else to do."""

# In the order in which they depend on each other; busybox's insmod resolves nothing. ext4 and jbd2
# are built into the cloud kernel.
_MODULES = (
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "drivers/char/virtio_console.ko",
    "fs/nls/nls_cp437.ko",
    "fs/nls/nls_ascii.ko",
    "fs/fat/fat.ko",
    "fs/fat/vfat.ko",
)

# What busybox has not, or not with nanoseconds, NULs and hexadecimal values. Called by their whole
# paths, /tools/...: busybox's shell and xargs prefer their own programs to those in PATH.
_TOOLS = ("find", "stat", "sha256sum", "getfattr", "setfattr", "resize2fs")

_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /mnt /tmp /etc
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
export PATH=/tools:/bin LC_ALL=C TZ=UTC
/bin/busybox --install -s /bin
ln -sf /proc/mounts /etc/mtab
for module in $(cat /modules/order); do insmod /modules/$module || poweroff -f; done
mdev -s
port() {
    for entry in /sys/class/virtio-ports/*; do
        [ "$(cat $entry/name)" = "$1" ] && echo /dev/${entry##*/}
    done
}
until [ -n "$(port status)" ] && [ -n "$(port dmesg)" ]; do sleep 0.1; done
dmesg -n 1
sh -e -u /job >$(port log) 2>&1 3>$(port data) </dev/null
status=$?
dmesg >$(port dmesg)
echo "exit $status" >$(port status)
sync
poweroff -f
"""

_LIBRARY = """
# root: the device that holds the file system labelled "nixos".
root() { findfs LABEL=nixos; }

# snapshot DIR: every entry of a tree to the host, as snapshot.py reads it.
snapshot() {
    cd "$1"
    {
        /tools/find . -print0 | xargs -0 /tools/stat --printf='%f %u %g %s %.9Y %t %T %h %i %n\\0'
        printf '\\n--\\n\\0'
        /tools/find . -type l -printf '%p\\0%l\\0'
        printf '\\n--\\n\\0'
        /tools/find . -type f -print0 | xargs -0 -r /tools/sha256sum -z --
        printf '\\n--\\n\\0'
        /tools/getfattr -R -P -h -d -m - -e hex .
        printf '\\n==\\n\\0'
    } >&3
    cd /
}
"""

# What the kernel says in the ordinary course of mounting, growing and unmounting.
_ORDINARY = re.compile(
    r"(?:re-)?mounted filesystem|unmounting filesystem|resizing filesystem from|resized filesystem to"
    r"|mounting ext[23] file system using the ext4 subsystem"
)
_SUSPICIOUS = re.compile(r"EXT[234]-fs|JBD2|FAT-fs|VFS:|I/O error|WARNING:|BUG:|Oops|GPT:|Alternate GPT")
_RECOVERY = re.compile(r"recovery complete|JBD2: .*recover")


class Drive(NamedTuple):
    """An image in a container that QEMU reads; ``format`` is its name there: qcow2, vpc, vdi."""

    image: Path
    format: str


class Answer(NamedTuple):
    """What came back from a guest whose job ended.

    Attributes:
        status: The job's exit status.
        log: What the job wrote.
        data: What ``snapshot`` wrote.
        dmesg: The kernel's log.
    """

    status: int
    log: str
    data: bytes
    dmesg: str

    @property
    def snapshot(self) -> Snapshot:
        """The tree that the job's only ``snapshot`` saw."""
        (found,) = self.snapshots
        return found

    @property
    def snapshots(self) -> list[Snapshot]:
        """The trees that the job's ``snapshot`` saw, in order; one that did not end is not among them."""
        return [parse(report) for report in self.data.split(END)[:-1]]

    def complaints(self, recovery: bool = False) -> list[str]:
        """Return the lines of the kernel's log that speak of a file system or disk and are not ordinary.

        Args:
            recovery: Replaying a journal is ordinary too.
        """
        booted = self.dmesg.partition("Run /init")[2]
        lines = [line for line in booted.splitlines() if _SUSPICIOUS.search(line)]
        lines = [line for line in lines if not _ORDINARY.search(line)]
        return [line for line in lines if not (recovery and _RECOVERY.search(line))]


def boot(images: Sequence[Path | Drive], job: str) -> Answer:
    """Boot a guest with the images as /dev/vda, /dev/vdb, ..., run a shell job, and return its answer.

    A path alone is a raw image. The job runs under ``sh -e -u``: its first failing command ends it.
    """
    with tempfile.TemporaryDirectory(prefix="guest-") as name:
        folder = Path(name)
        initramfs = folder / "initramfs"
        job_archive = cpio.archive([cpio.file("job", (_LIBRARY + job).encode())])
        initramfs.write_bytes(_base_archive() + job_archive)
        _run_qemu(_command(folder, initramfs, images), folder)
        return _answer(folder)


def check(images: Sequence[Path | Drive], job: str, recovery: bool = False) -> Answer:
    """Like :func:`boot`; assert that the job succeeded and that the kernel had nothing to remark."""
    answer = boot(images, job)
    assert answer.status == 0, f"exit {answer.status}\n{answer.log}\n{answer.dmesg[-4000:]}"
    assert not answer.complaints(recovery), "\n".join(answer.complaints(recovery))
    return answer


def _command(folder: Path, initramfs: Path, images: Sequence[Path | Drive]) -> list[str]:
    # virtio-serial needs no network, clock or BIOS beyond the kernel loader: the fewest devices boot fastest.
    command = [
        require("qemu-system-x86_64"), *("-accel", "tcg"), *("-m", "384"), *("-smp", "1"), "-nodefaults",
        *("-display", "none"), "-no-reboot", *("-serial", f"file:{folder / 'console'}"),
        *("-kernel", str(_kernel())), *("-initrd", str(initramfs)),
        *("-append", "console=ttyS0 panic=-1 quiet random.trust_cpu=on"), *("-device", "virtio-serial-pci"),
    ]  # fmt: skip
    for port in ("log", "data", "dmesg", "status"):
        command += ["-chardev", f"file,id={port},path={folder / port}"]
        command += ["-device", f"virtserialport,chardev={port},name={port}"]
    for number, drive in enumerate(images):
        image, image_format = drive if isinstance(drive, Drive) else (drive, "raw")
        # QEMU doubles a comma inside a file name. cache=unsafe: the host's page cache outlives the guest.
        escaped = str(image).replace(",", ",,")
        command += ["-drive", f"if=none,id=d{number},format={image_format},cache=unsafe,file={escaped}"]
        command += ["-device", f"virtio-blk-pci,drive=d{number}"]
    return command


def _run_qemu(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        pytest.fail(f"the guest did not end in {DEADLINE:.0f} s\n{_tail(folder)}", pytrace=False)
    message = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"qemu: exit {done.returncode}\n{message}\n{_tail(folder)}"


def _tail(folder: Path) -> str:
    """Return the last words of the guest, for a message."""
    texts = [_read(folder / name).decode(errors="replace")[-3000:] for name in ("log", "console")]
    return "\n".join(texts)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _answer(folder: Path) -> Answer:
    status = re.fullmatch(rb"exit (\d+)\n", _read(folder / "status"))
    assert status, f"the guest ended without a status\n{_tail(folder)}"
    log, dmesg = (_read(folder / name).decode(errors="replace") for name in ("log", "dmesg"))
    assert dmesg, "the guest sent no kernel log"
    return Answer(int(status[1]), log, _read(folder / "data"), dmesg)


def _kernel() -> Path:
    if platform.machine() != "x86_64":
        pytest.skip("the guest needs an x86-64 host, whose own binaries run in it")
    folder = require_file(CACHE / "guest" / ".ready").parent
    (kernel,) = folder.glob("boot/vmlinuz-*")
    return kernel


@functools.cache
def _base_archive() -> bytes:
    """Return the initramfs that all guests share, without the job."""
    (modules,) = _kernel().parent.parent.glob("lib/modules/*/kernel")
    members = [cpio.directory(name) for name in ("bin", "dev", "modules", "tools")]
    members += [cpio.Member("dev/console", 0o020600, device=(5, 1)), cpio.file("init", _INIT.encode())]
    members += [cpio.file("bin/busybox", Path(require("busybox")).read_bytes())]
    names = [Path(path).name for path in _MODULES]
    members += [
        cpio.file(f"modules/{name}", (modules / path).read_bytes())
        for name, path in zip(names, _MODULES, strict=True)
    ]
    members += [cpio.file("modules/order", "\n".join(names).encode())]
    members += _tools()
    return cpio.archive(members)


def _tools() -> list[cpio.Member]:
    """Return Debian's tools and the libraries that they are linked with, at the paths they ask for."""
    programs = {name: Path(os.path.realpath(require(name))) for name in _TOOLS}
    members = [cpio.file(f"tools/{name}", path.read_bytes()) for name, path in programs.items()]
    linked = "".join(run("ldd", path) for path in programs.values())
    libraries = sorted(set(re.findall(r"(/\S+) \(0x", linked)))
    folders = {str(parent) for library in libraries for parent in Path(library).parents} - {"/"}
    members += [cpio.directory(folder.lstrip("/")) for folder in sorted(folders)]
    members += [cpio.file(library.lstrip("/"), Path(library).read_bytes()) for library in libraries]
    return members
