"""The words that QEMU is started with.

::

    host                                                        guest
    kernel, initramfs   in memory, /proc/self/fd/N  ─────────>  -kernel, -initrd
    socketpair "qmp"    <── QMP: events, cont ──>               (QEMU itself)
    socketpair "status", "log"                <──────────────>  virtio ports of these names
    socketpair "console"                      <──────────────   first serial port: the kernel's messages
    socketpair "serial"                       <──────────────   second serial port: where there are no ports

The guest has its disks and these, and nothing else: no network, no directory of the host, no default device.
Nothing of a guest but its disks has a name on the host, so nothing is left behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from imgwriter.guest.request import Drive, GuestRequest
from imgwriter.units import MiB

CHANNELS = ("qmp", "status", "log", "console", "serial")
"""What QEMU and the host speak over; each is one end of a socketpair."""

PROBE = "imgwriter.probe"
"""The word of the kernel's command line by which init says that it is there, and ends."""

SCSI_TARGETS = 256
"""Targets of a virtio-scsi adapter. Spec: virtio 1.2, 5.6.6.1: a byte of the address."""

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

_LAST_CLOCK = 253_402_300_799  # 9999-12-31T23:59:59
_MACHINES = {"x86_64": "pc", "aarch64": "virt"}
_CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
# The kernel's tests of its own ciphers take 0.2 seconds of an emulated machine.
_FAST = ("cryptomgr.notests",)
# "max" has what programs built for newer processors want. On Arm, pointers are authenticated by QEMU's own
# algorithm: the architecture's takes half of the time.
_PROCESSORS = {"x86_64": "max", "aarch64": "max,pauth-impdef=on"}


def command(
    request: GuestRequest,
    program: str,
    accelerator: str,
    kernel: int,
    initramfs: int,
    channels: Mapping[str, int],
    probe: bool = False,
) -> list[str | bytes]:
    """Return QEMU and its arguments.

    Args:
        request: The guest.
        program: Path of QEMU.
        accelerator: "tcg" or "kvm".
        kernel, initramfs: Descriptors of files that hold them.
        channels: For each of CHANNELS, a descriptor of its socket.
        probe: Whether the guest only says that it is there.
    """
    arch = request.architecture
    words: list[str | bytes] = [program, "-nodefaults", "-no-user-config", "-no-reboot", "-S"]
    words += ["-machine", _MACHINES[arch], "-accel", accelerator, "-smp", "1"]
    words += ["-cpu", "host" if accelerator == "kvm" else _PROCESSORS[arch]]
    words += [
        "-m",
        f"{request.memory // MiB}M",
        "-display",
        "none",
        "-rtc",
        f"base={rtc_base(request.clock)}",
    ]
    if request.sandbox:
        words += ["-sandbox", SANDBOX]
    # A panic is told, and the guest goes on to its last words and its reset.
    words += ["-action", "panic=none", "-device", "pvpanic-pci"]
    words += _flash(request)
    words += ["-kernel", f"/proc/self/fd/{kernel}", "-initrd", f"/proc/self/fd/{initramfs}"]
    words += ["-append", _kernel_arguments(request, probe)]
    for name in CHANNELS:
        words += ["-chardev", f"socket,id={name},fd={channels[name]}"]
    words += ["-mon", "chardev=qmp,mode=control", "-serial", "chardev:console"]
    if arch == "x86_64":  # Arm's machine has one serial port
        words += ["-serial", "chardev:serial"]
    words += ["-device", "virtio-serial-pci"]
    for name in ("status", "log"):
        words += ["-device", f"virtserialport,chardev={name},name={name}"]
    for number, drive in enumerate(request.drives):
        words += _drive(number, drive)
    if request.scsi_drives:
        words += ["-device", "virtio-scsi-pci,id=scsi"]
    for number, drive in enumerate(request.scsi_drives):
        words += _scsi_drive(number, drive)
    return words


def rtc_base(clock: int) -> str:
    """Return what ``-rtc base=`` has for a time in seconds since the epoch; from 1970 to 9999."""
    return datetime.fromtimestamp(min(max(clock, 0), _LAST_CLOCK), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _kernel_arguments(request: GuestRequest, probe: bool) -> str:
    words = [f"console={_CONSOLES[request.architecture]}", "quiet", "panic=-1", "random.trust_cpu=on"]
    words += _FAST
    # ACPI's routing of interrupts takes a tenth of a second for each device. The BIOS has a table of
    # them, too; firmware that is in flash has none.
    if request.architecture == "x86_64" and request.flash is None:
        words.append("pci=noacpi")
    words += request.kernel_arguments
    return " ".join([*words, PROBE] if probe else words)


def _flash(request: GuestRequest) -> Iterator[str | bytes]:
    if request.flash is None:
        return
    for unit, (path, more) in enumerate(
        ((request.flash.code, b",readonly=on"), (request.flash.variables, b""))
    ):
        yield "-drive"
        yield b"if=pflash,format=raw,unit=%d%s,file=" % (unit, more) + path.replace(b",", b",,")


def _drive(number: int, drive: Drive) -> Iterator[str | bytes]:
    # cache=unsafe: what is not yet on the host's disk when QEMU ends is in its page cache. An error of the
    # host's stops the guest, where it is seen, rather than being told to it.
    options = f"if=none,id=disk{number},format={drive.format},cache=unsafe,werror=stop,rerror=stop,file="
    yield "-drive"
    yield options.encode() + drive.absolute.replace(b",", b",,")
    yield "-device"
    size = drive.sector_size
    yield f"virtio-blk-pci,drive=disk{number},logical_block_size={size},physical_block_size={size}"


def _scsi_drive(number: int, drive: Drive) -> Iterator[str | bytes]:
    options = f"if=none,id=scsi{number},format={drive.format},readonly=on,file="
    yield "-drive"
    yield options.encode() + drive.absolute.replace(b",", b",,")
    lun, target = divmod(number, SCSI_TARGETS)
    size = drive.sector_size
    yield "-device"
    yield (
        f"scsi-hd,drive=scsi{number},bus=scsi.0,scsi-id={target},lun={lun},"
        f"logical_block_size={size},physical_block_size={size}"
    )
