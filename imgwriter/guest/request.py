"""What a guest is asked, and what it answers: values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from imgwriter.errors import SpecError
from imgwriter.extent import Data
from imgwriter.spec.boot import (
    ACCELERATORS,
    DEFAULT_MEMORY_MIB,
    DEFAULT_VM_TIMEOUT,
    MIN_MEMORY_MIB,
    Accelerator,
)
from imgwriter.units import MiB

ARCHITECTURES = ("x86_64", "aarch64")

DEFAULT_MEMORY = DEFAULT_MEMORY_MIB * MiB
MIN_MEMORY = MIN_MEMORY_MIB * MiB
MAX_MEMORY = 1 << 40

MAX_LOG = 1 << 20
"""Bytes of a guest's log that are kept: the last ones."""


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk of the guest.

    Attributes:
        path: The image on the host. The guest writes to it, so give a copy, or an overlay.
        format: Its container, by QEMU's name: "raw", "qcow2". It is never guessed.
        sector_size: Bytes of a logical block; of a SCSI disk alone.
    """

    path: bytes
    format: str
    sector_size: int = 512

    @property
    def absolute(self) -> bytes:
        """Its path from the root: one that QEMU cannot take for a protocol."""
        return os.path.abspath(self.path)


@dataclass(frozen=True, slots=True)
class Flash:
    """Firmware that a guest boots from, instead of the one that QEMU brings.

    Attributes:
        code: Path of the firmware; it is only read.
        variables: Path of its variables' flash image; it is written to, so give a copy.
    """

    code: bytes
    variables: bytes


@dataclass(frozen=True, slots=True)
class GuestRequest:
    """One guest: what it boots, what it has, how long it may take.

    Attributes:
        kernel: The kernel's file.
        initramfs: From :func:`imgwriter.guest.initramfs.initramfs`.
        drives: Its disks: /dev/vda, /dev/vdb, ...
        scsi_drives: Further disks, up to 65,536, of which none can be written to. Number N is target N % 256,
            LUN N // 256 of a virtio-scsi adapter.
        architecture: "x86_64" or "aarch64".
        memory: Bytes of memory, rounded down to whole MiB.
        accelerator: How it is run.
        timeout: Seconds from start to end.
        clock: What its clock says at first, in seconds since the epoch.
        sandbox: Whether QEMU gives up system calls that it has no use for (seccomp).
        qemu: Path of QEMU on the host; qemu-system-ARCHITECTURE from PATH when None.
        flash: UEFI to boot from, or None.
        kernel_arguments: Words for the kernel's command line, beside those that are always there.

    Raises:
        SpecError: A value is none of those that there are.
    """

    kernel: Data
    initramfs: bytes
    drives: tuple[Drive, ...] = ()
    scsi_drives: tuple[Drive, ...] = ()
    architecture: str = "x86_64"
    memory: int = DEFAULT_MEMORY
    accelerator: Accelerator = "tcg"
    timeout: float = DEFAULT_VM_TIMEOUT
    clock: int = 0
    sandbox: bool = True
    qemu: bytes | None = None
    flash: Flash | None = None
    kernel_arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise SpecError(f"a guest for {self.architecture!r} cannot be had; choose one of {ARCHITECTURES}")
        if self.accelerator not in ACCELERATORS:
            raise SpecError(
                f"{self.accelerator!r} is no accelerator; choose one of {', '.join(ACCELERATORS)}"
            )
        if not MIN_MEMORY <= self.memory <= MAX_MEMORY:
            raise SpecError(
                f"a guest has {MIN_MEMORY} to {MAX_MEMORY} bytes of memory, not {self.memory};"
                " give --mem-size another value"
            )
        if not 0 < self.timeout < float("inf"):
            raise SpecError(f"a guest may take some seconds, not {self.timeout}; correct --vm-timeout")


@dataclass(frozen=True, slots=True)
class GuestResult:
    """A guest that did its job.

    Attributes:
        log: What its programs wrote, line by line: the last MAX_LOG bytes of it.
        stages: Each stage that it went through, with the seconds that it took.
        accelerator: How it was run: "tcg" or "kvm".
        seconds: How long it took in all.
    """

    log: tuple[str, ...]
    stages: Mapping[str, float]
    accelerator: str
    seconds: float
