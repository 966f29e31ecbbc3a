"""Find QEMU: what :mod:`imgwriter.vm` starts."""

from __future__ import annotations

import os
import shutil

from imgwriter.errors import GuestError, show


def find_qemu(architecture: str, given: bytes | None = None) -> str:
    """Return the path of the QEMU that emulates ``architecture``.

    Args:
        architecture: "x86_64" or "aarch64".
        given: Path of one on the host, or a name for PATH; qemu-system-ARCHITECTURE when None.

    Raises:
        GuestError: It is not there, or is no program.
    """
    name = f"qemu-system-{architecture}" if given is None else os.fsdecode(given)
    program = shutil.which(name)
    if program is None:
        raise GuestError(
            f"{show(os.fsencode(name))} is not there or is no program; install QEMU, or do without a guest",
            "start",
        )
    return program
