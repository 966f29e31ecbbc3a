"""From a job and a kernel to a guest that can be run."""

from __future__ import annotations

from collections.abc import Sequence

from imgwriter.guest.initramfs import initramfs, optional_modules, required_modules
from imgwriter.guest.job import Job
from imgwriter.guest.kernel import Kernel
from imgwriter.guest.modules import Module, select
from imgwriter.guest.request import DEFAULT_MEMORY, Drive, Flash, GuestRequest
from imgwriter.spec.boot import DEFAULT_VM_TIMEOUT, Accelerator


def modules_for(job: Job, kernel: Kernel) -> tuple[Module, ...]:
    """Return the kernel's modules that ``job`` needs, in the order in which they are loaded.

    Raises:
        SourceError: One is missing, or is for another kernel.
        FormatError: One is damaged.
    """
    required = required_modules(job, kernel.architecture)
    return select(kernel.modules, required, optional_modules(job), version=kernel.version)


def prepare(
    job: Job,
    drive: Drive,
    kernel: Kernel,
    busybox: bytes,
    *,
    modules: Sequence[Module] | None = None,
    memory: int = DEFAULT_MEMORY,
    accelerator: Accelerator = "tcg",
    timeout: float = DEFAULT_VM_TIMEOUT,
    sandbox: bool = True,
    qemu: bytes | None = None,
    flash: Flash | None = None,
) -> GuestRequest:
    """Return the guest that does ``job`` on ``drive``.

    Args:
        job: What it does.
        drive: The disk, to be written to.
        kernel: From :func:`imgwriter.guest.kernel.find_kernel`.
        busybox: The program, of :func:`imgwriter.guest.busybox.find_busybox`.
        modules: From :func:`modules_for`; None to find them.
        memory, accelerator, timeout, sandbox, qemu, flash: As :class:`GuestRequest` has them.

    Raises:
        SourceError: A module is missing, or is for another kernel.
        SpecError: A value is none of those that there are.
    """
    loaded = modules_for(job, kernel) if modules is None else modules
    return GuestRequest(
        kernel=kernel.data,
        initramfs=initramfs(busybox, loaded, job),
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
