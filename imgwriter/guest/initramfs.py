"""The initramfs of a guest: busybox, modules, init and the job, as one archive.

::

    bin/busybox   dev/console   init   job   modules/order   modules/virtio.ko ...

dev/console has to be there before anything is mounted: the kernel opens it for the first process.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from imgwriter.guest import cpio
from imgwriter.guest.job import Job
from imgwriter.guest.modules import Module

CHANNEL_MODULES = ("virtio_console",)
"""For the ports on which the guest speaks; without them it speaks on a second serial port, if it has one."""

DISK_MODULES = ("virtio_pci", "virtio_blk")
"""For the disk."""

PANIC_MODULES = ("pvpanic_pci", "pvpanic")
"""By which a panic is told to QEMU; older kernels have but the second."""

_FILE_SYSTEM_MODULES = {
    # The character sets of names on FAT; which of them mount(8) asks for is compiled into the kernel.
    "vfat": ("nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"),
}


def required_modules(job: Job, architecture: str = "x86_64") -> tuple[str, ...]:
    """Return the names of the modules without which the job cannot be done."""
    # Arm's machine has one serial port, which is the kernel's.
    channels = CHANNEL_MODULES if architecture == "aarch64" else ()
    file_systems = ("ext4" if name in ("ext2", "ext3") else name for name in job.file_systems)
    return (*DISK_MODULES, *channels, *file_systems)


def optional_modules(job: Job) -> tuple[str, ...]:
    """Return the names of the modules that are good to have."""
    variables = ("efivarfs",) if job.efi_variables else ()
    sets = [name for fs in job.file_systems for name in _FILE_SYSTEM_MODULES.get(fs, ())]
    return (*CHANNEL_MODULES, *PANIC_MODULES, *variables, *sets)


def initramfs(busybox: bytes, modules: Sequence[Module], job: Job) -> bytes:
    """Return the archive that the kernel unpacks and whose ``/init`` it runs.

    Args:
        busybox: A static one, for the guest's machine.
        modules: In the order in which they are loaded.
        job: What the guest does; its clock is the time of all files.
    """
    members = [cpio.directory(name) for name in (b"bin", b"dev", b"modules")]
    members += [
        cpio.character_device(b"dev/console", 5, 1),
        cpio.file(b"bin/busybox", busybox, 0o755),
        cpio.file(b"init", init_script(), 0o755),
        cpio.file(b"job", job.script()),
        cpio.file(b"modules/order", b"".join(b"%s.ko\n" % m.name.encode() for m in modules)),
    ]
    members += [cpio.file(b"modules/%s.ko" % m.name.encode(), m.content) for m in modules]
    return cpio.archive(members, job.clock)


def init_script() -> bytes:
    """Return the script of the first process."""
    return resources.files("imgwriter.guest").joinpath("init.sh").read_bytes()
