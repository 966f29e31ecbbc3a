"""The Linux kernel: one guest has hundreds of images as SCSI disks, and lists their partitions.

::

    cases, 500 at a time ── init.sh, modules ── run_guest ── "disk T L", "part N START SIZE" ── Views

QEMU opens the images read-only; sectors are as large as the case has them. A guest that dies of its disks is
asked for half of them, and so on down to the one that it dies of: that is a result. A guest that dies without
disks is none, and raises.

The kernel says neither what kind of table it read nor which copy; one without partitions looks like none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources

from imgwriter.errors import GuestError
from imgwriter.fuzz.compare.values import UNASKED, Case, Part, View
from imgwriter.guest import cpio
from imgwriter.guest.command import SCSI_TARGETS
from imgwriter.guest.kernel import Kernel
from imgwriter.guest.modules import select
from imgwriter.guest.request import Drive, GuestRequest, GuestResult
from imgwriter.units import MiB

NAMES = {"linux": (), "linux-gpt": ("gpt",)}
"""What it is called, and what is on its command line: without "gpt" it reads no backup of a GPT whose primary
is damaged. Spec: the kernel's Documentation/admin-guide/kernel-parameters.txt, gpt."""

BATCH = 500
"""Disks of one guest. A guest of 1,000 takes longer than two of 500; each is an open file of QEMU's."""

_MODULES = ("virtio_pci", "virtio_console", "virtio_scsi", "sd_mod")
"""The last is the one that reads partition tables."""

_PANIC_MODULES = ("pvpanic_pci", "pvpanic")
_UNIT = 512
_MEMORY = 512 * MiB

Run = Callable[[GuestRequest], GuestResult]
"""Runs a guest to its end."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A kernel that can be asked.

    Attributes:
        name: One of NAMES.
        request: A guest without disks.
        version: The kernel's.
        run: How it is run.
    """

    name: str
    request: GuestRequest
    version: str
    run: Run

    def views(self, cases: Sequence[Case]) -> list[View]:
        """Return what the kernel sees of each case.

        Raises:
            GuestError: It does not run even without disks.
        """
        asked = [case for case in cases if case.size >= case.sector_size]
        seen = iter(self._seen(asked))
        return [next(seen) if case.size >= case.sector_size else UNASKED for case in cases]

    def _seen(self, cases: Sequence[Case]) -> list[View]:
        if not cases:
            return []
        drives = tuple(Drive(case.path, "raw", case.sector_size) for case in cases)
        try:
            return parse(self.run(replace(self.request, scsi_drives=drives)).log, len(cases))
        except GuestError as error:
            if error.stage == "start":
                raise
            return self._blamed(cases, error)

    def _blamed(self, cases: Sequence[Case], error: GuestError) -> list[View]:
        """Find out which of the disks the guest died of."""
        self.run(self.request)
        if len(cases) == 1:
            late = "did not end" in str(error)
            return [View("timeout" if late else "crash", said=str(error))]
        middle = len(cases) // 2
        return self._seen(cases[:middle]) + self._seen(cases[middle:])


def guests(
    kernel: Kernel, busybox: bytes, run: Run, *, timeout: float, qemu: bytes | None = None
) -> tuple[Guest, ...]:
    """Return the guests that list partitions, one for each of NAMES.

    Args:
        kernel: From :func:`imgwriter.guest.kernel.find_kernel`.
        busybox: From :func:`imgwriter.guest.busybox.find_busybox`.
        run: :func:`imgwriter.vm.run_guest`.
        timeout: Seconds for a guest of BATCH disks.
        qemu: Path of QEMU.

    Raises:
        SourceError: A module is missing, or is for another kernel.
        SpecError: A value is none of those that there are.
    """
    request = GuestRequest(
        kernel=kernel.data,
        initramfs=_initramfs(kernel, busybox),
        architecture=kernel.architecture,
        memory=_MEMORY,
        timeout=timeout,
        qemu=qemu,
    )
    return tuple(
        Guest(name, replace(request, kernel_arguments=arguments), kernel.version or "unknown", run)
        for name, arguments in NAMES.items()
    )


def _initramfs(kernel: Kernel, busybox: bytes) -> bytes:
    # What is built in is not among the modules that are found.
    modules = select(kernel.modules, _MODULES, _PANIC_MODULES, version=kernel.version)
    script = resources.files("imgwriter.fuzz.compare").joinpath("init.sh").read_bytes()
    members = [cpio.directory(name) for name in (b"bin", b"dev", b"modules")]
    members += [
        cpio.character_device(b"dev/console", 5, 1),
        cpio.file(b"bin/busybox", busybox, 0o755),
        cpio.file(b"init", script, 0o755),
        cpio.file(b"modules/order", b"".join(b"%s.ko\n" % m.name.encode() for m in modules)),
    ]
    members += [cpio.file(b"modules/%s.ko" % m.name.encode(), m.content) for m in modules]
    return cpio.archive(members)


def parse(log: Sequence[str], disks: int) -> list[View]:
    """Return the views of so many disks from what the guest said.

    Args:
        log: Its lines: "disk TARGET LUN", and after it "part NUMBER START SIZE", in units of 512 bytes.
        disks: How many there are.

    Raises:
        GuestError: A disk is not among them.
    """
    found: dict[int, list[Part]] = {}
    current: list[Part] = []
    for line in log:
        word, *numbers = line.split()
        if word == "disk":
            target, lun = map(int, numbers)
            current = found.setdefault(lun * SCSI_TARGETS + target, [])
        elif word == "part":
            number, start, size = map(int, numbers)
            current.append(Part(start * _UNIT, size * _UNIT, number))
    missing = [number for number in range(disks) if number not in found]
    if missing:
        raise GuestError(
            f"the guest found {len(found)} of {disks} disks; number {missing[0]} is the first that it lacks",
            "disks",
        )
    return [_view(found[number]) for number in range(disks)]


def _view(parts: Sequence[Part]) -> View:
    ordered = tuple(sorted(parts, key=lambda part: part.number or 0))
    return View("table" if ordered else "none", None, None, ordered)
