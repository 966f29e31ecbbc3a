"""The firmware that a guest boots from where EFI variables are kept: OVMF, or AAVMF for Arm, where
distributions put it."""

from __future__ import annotations

import os
from typing import NamedTuple

from imgwriter.errors import SourceError, show

PLACES = {
    "x86_64": (
        # Debian, Ubuntu; Fedora; Arch; QEMU's own copies
        (b"/usr/share/OVMF/OVMF_CODE_4M.fd", b"/usr/share/OVMF/OVMF_VARS_4M.fd"),
        (b"/usr/share/OVMF/OVMF_CODE.fd", b"/usr/share/OVMF/OVMF_VARS.fd"),
        (b"/usr/share/edk2/ovmf/OVMF_CODE.fd", b"/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        (b"/usr/share/edk2/x64/OVMF_CODE.4m.fd", b"/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
        (b"/usr/share/qemu/edk2-x86_64-code.fd", b"/usr/share/qemu/edk2-i386-vars.fd"),
    ),
    "aarch64": (
        (b"/usr/share/AAVMF/AAVMF_CODE.fd", b"/usr/share/AAVMF/AAVMF_VARS.fd"),
        (b"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", b"/usr/share/edk2/aarch64/vars-template-pflash.raw"),
        (b"/usr/share/qemu/edk2-aarch64-code.fd", b"/usr/share/qemu/edk2-arm-vars.fd"),
    ),
}
"""(code, template of variables) by architecture: the first that is there is taken."""

NAMES = {"x86_64": "OVMF", "aarch64": "AAVMF (Debian: qemu-efi-aarch64)"}
"""What there is to install, by architecture."""

MOST = 64 << 20
"""Bytes of a template: those of OVMF have up to 528 KiB, Arm's flash 64 MiB."""


class Firmware(NamedTuple):
    """What a guest boots from.

    Attributes:
        code: Path of the firmware.
        template: Bytes of a flash image without variables of anybody's.
    """

    code: bytes
    template: bytes


def find_firmware(architecture: str, code: bytes | None, variables: bytes | None) -> Firmware:
    """Return the firmware to boot from: what is given, or else what the host has.

    Args:
        architecture: "x86_64" or "aarch64".
        code, variables: Paths on the host, or None.

    Raises:
        SourceError: One of them is missing, or cannot be read.
    """
    found = [pair for pair in PLACES.get(architecture, ()) if all(os.path.exists(path) for path in pair)]
    if (code is None or variables is None) and not found:
        raise SourceError(
            f"no firmware for {architecture} is there that keeps EFI variables; install"
            f" {NAMES[architecture]}, or give its files with --efi-firmware and --efi-variables"
        )
    chosen = code if code is not None else found[0][0]
    if not os.path.isfile(chosen):
        raise SourceError(f"{show(chosen)} is no file; correct --efi-firmware", chosen)
    return Firmware(chosen, _read(variables if variables is not None else found[0][1]))


def _read(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST + 1)
    except OSError as error:
        message = f"{show(path)} cannot be read ({error.strerror}); correct --efi-variables"
        raise SourceError(message, path) from error
    if len(content) > MOST:
        raise SourceError(f"{show(path)} is larger than any flash image; correct --efi-variables", path)
    return content
