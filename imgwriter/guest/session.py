"""From a job and a kernel to a guest that can be run."""

from __future__ import annotations

from imgwriter.guest.initramfs import initramfs, optional_modules, required_modules
from imgwriter.guest.job import Job
from imgwriter.guest.kernel import Kernel
from imgwriter.guest.modules import select
from imgwriter.guest.request import (
    DEFAULT_MEMORY,
    DEFAULT_TIMEOUT,
    Accelerator,
    Drive,
    Flash,
    GuestRequest,
)


def prepare(
    job: Job,
    drive: Drive,
    kernel: Kernel,
    busybox: bytes,
    *,
    memory: int = DEFAULT_MEMORY,
    accelerator: Accelerator = "tcg",
    timeout: float = DEFAULT_TIMEOUT,
    sandbox: bool = True,
    qemu: bytes | None = None,
    flash: Flash | None = None,
) -> GuestRequest:
    """Return the guest that does ``job`` on ``drive``; the modules it needs are found and put in order.

    Args:
        job: What it does.
        drive: The disk, to be written to.
        kernel: From :func:`imgwriter.guest.kernel.find_kernel`.
        busybox: From :func:`imgwriter.guest.busybox.find_busybox`.
        memory, accelerator, timeout, sandbox, qemu, flash: As :class:`GuestRequest` has them.

    Raises:
        SourceError: A module is missing, or is for another kernel.
        SpecError: A value is none of those that there are.
    """
    required = required_modules(job, kernel.architecture)
    modules = select(kernel.modules, required, optional_modules(job), version=kernel.version)
    return GuestRequest(
        kernel=kernel.data,
        initramfs=initramfs(busybox, modules, job),
        drives=(drive,),
        architecture=kernel.architecture,
        memory=memory,
        accelerator=accelerator,
        timeout=timeout,
        clock=job.clock,
        sandbox=sandbox,
        qemu=qemu,
        flash=flash,
    )
