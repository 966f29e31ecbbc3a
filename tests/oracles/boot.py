"""A whole machine as a judge: QEMU boots an image by its own boot loader; a serial port says how far it came.

::

    image ── snapshot=on ──> virtio-blk ── SeaBIOS or UEFI ── boot loader ── kernel ── "login:"
                                                                                └─ serial port <──> Machine

Nothing is written to the image. Software emulation; the only limit is a deadline for a machine that hangs.
SeaBIOS is told to start anew where it finds nothing to boot, which ends QEMU; UEFI (OVMF, AAVMF on Arm) says
so on its serial port and goes on to its shell.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.oracles.tools import require, require_file

DEADLINE = 900.0
"""Seconds before a machine counts as hung; to the prompt of a small system it takes 5 to 20."""

LOGIN = r"login: *$"
_UEFI = {
    "x86_64": (Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")),
    "aarch64": (Path("/usr/share/AAVMF/AAVMF_CODE.fd"), Path("/usr/share/AAVMF/AAVMF_VARS.fd")),
}
_MACHINES = {"x86_64": (), "aarch64": ("-machine", "virt", "-cpu", "max,pauth-impdef=on")}
# What UEFI says when it gives a boot loader up, and what it does then.
_GIVEN_UP = re.compile(r"BdsDxe: (?:failed to|No bootable)|UEFI Interactive Shell|Shell> ")

Firmware = Literal["bios", "efi"]
Architecture = Literal["x86_64", "aarch64"]


class Machine:
    """A machine that runs, and what came over its serial port."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._end = time.monotonic() + DEADLINE
        self.text = ""

    def expect(self, pattern: str) -> str:
        """Wait until the port's text matches, and return what it had since the last match.

        A machine that ends before, whose firmware gives up, or that takes too long, fails the test.
        """
        while (found := re.search(pattern, self.text, re.MULTILINE)) is None:
            if given_up := _GIVEN_UP.search(self.text):
                raise AssertionError(f"the firmware gave up: {given_up[0]}\n{self.text[-2000:]}")
            self._read(pattern)
        self.text, before = self.text[found.end() :], self.text[: found.end()]
        return before

    def send(self, line: str) -> None:
        """Type a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def run(self, command: str) -> str:
        """Run a shell command at the prompt of a system that was logged into; return what it wrote.

        It has to succeed. The echo of the command itself has the marks apart.
        """
        self.send(f"echo BEG''IN; {command}; echo EN''D $?")
        self.expect(r"BEGIN\r?\n")
        text = self.expect(r"END \d+\r?\n")
        written, _, status = text.rpartition("END ")
        assert int(status) == 0, f"$ {command}\n{written}"
        return written.replace("\r\n", "\n")

    def _read(self, pattern: str) -> None:
        assert self._process.stdout is not None
        left = self._end - time.monotonic()
        ready, _, _ = select.select([self._process.stdout], [], [], max(left, 0))
        if not ready:
            pytest.fail(f"no {pattern!r} in {DEADLINE:.0f} s\n{self.text[-3000:]}", pytrace=False)
        piece = os.read(self._process.stdout.fileno(), 65536)
        assert piece, f"the machine ended before {pattern!r}\n{self.text[-3000:]}"
        self.text += piece.decode("utf-8", "replace")


@contextmanager
def boot(
    image: Path, image_format: str = "raw", firmware: Firmware = "bios", architecture: Architecture = "x86_64"
) -> Iterator[Machine]:
    """Run a machine with an image as its only disk, and end it."""
    with tempfile.TemporaryDirectory(prefix="boot-") as folder:
        command = _command(image, image_format, firmware, architecture, Path(folder))
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
            try:
                yield Machine(process)
            finally:
                process.kill()


def check(
    image: Path, image_format: str = "raw", firmware: Firmware = "bios", architecture: Architecture = "x86_64"
) -> str:
    """Assert that an image boots to a login prompt, and return all that was said."""
    with boot(image, image_format, firmware, architecture) as machine:
        return machine.expect(LOGIN)


def _command(
    image: Path, image_format: str, firmware: Firmware, architecture: Architecture, folder: Path
) -> list[str]:
    # QEMU doubles a comma inside a file name.
    escaped = str(image).replace(",", ",,")
    return [
        require(f"qemu-system-{architecture}"), *_MACHINES[architecture], *("-accel", "tcg"),
        *("-m", "384"), *("-smp", "1"), "-nodefaults", *("-display", "none"), "-no-reboot",
        *("-serial", "stdio"), *("-boot", "reboot-timeout=1"),
        *(_flash(architecture, folder) if firmware == "efi" else ()),
        *("-drive", f"if=none,id=disk,format={image_format},snapshot=on,file={escaped}"),
        *("-device", "virtio-blk-pci,drive=disk,bootindex=0"),
    ]  # fmt: skip


def _flash(architecture: Architecture, folder: Path) -> list[str]:
    """Return what gives a machine UEFI, with variables of its own."""
    code, template = map(require_file, _UEFI[architecture])
    variables = folder / "variables"
    shutil.copyfile(template, variables)
    flash = "if=pflash,format=raw,unit="
    return ["-drive", f"{flash}0,readonly=on,file={code}", "-drive", f"{flash}1,file={variables}"]
