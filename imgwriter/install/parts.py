"""The job that a plan has for a guest, and what the guest is made from: found before anything is written.

::

    ImagePlan ── job_of ──> Job ──────────────────────────┐
              ── find_parts ──> kernel, modules, busybox, ┴─> a guest (install/guest.py)
                                QEMU, firmware
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from imgwriter.disk import Role
from imgwriter.errors import GuestError
from imgwriter.guest.busybox import find_busybox
from imgwriter.guest.firmware import Firmware, find_firmware
from imgwriter.guest.job import BOOT_LOADER_ENVIRONMENT, Command, Job, Mount, shell
from imgwriter.guest.kernel import find_kernel
from imgwriter.guest.kvm import makes_a_machine
from imgwriter.guest.parts import Parts
from imgwriter.guest.qemu import find_qemu
from imgwriter.guest.session import modules_for
from imgwriter.image_plan import ImagePlan
from imgwriter.install.efi_variables import is_blank, read_variables
from imgwriter.install.noise import Noise
from imgwriter.spec import HostPath, ImageSpec, boot


def find_parts(plan: ImagePlan) -> Parts:
    """Find what the guest is made from that installs the plan's boot loader.

    Raises:
        SourceError: The kernel, a module, busybox or the firmware is missing, or does not fit.
        FormatError: One of them is damaged.
        GuestError: QEMU is missing, or a KVM that is asked for.
        SpecError: The noise list is none.
    """
    spec = plan.spec
    Noise.parse(spec.installer_noise)
    if spec.accel == "kvm" and not makes_a_machine():
        raise GuestError(
            "/dev/kvm makes no machine for this user; use --accel tcg, or auto for either, or get the right"
            " to use it (group kvm)",
            "start",
        )
    root = plan.trees["root"].root
    kernel = find_kernel(
        root,
        toplevel=_path(spec.toplevel),
        kernel=_path(spec.vm_kernel),
        modules=_path(spec.vm_modules),
        instead=boot.instead_of_guest(spec),
    )
    return Parts(
        kernel,
        modules_for(job_of(plan), kernel),
        find_busybox(root, kernel.architecture, _path(spec.vm_busybox)),
        find_qemu(kernel.architecture, _path(spec.vm_qemu)),
        _firmware(spec, kernel.architecture) if spec.touch_efi_vars else None,
    )


def _firmware(spec: ImageSpec, architecture: str) -> Firmware:
    firmware = find_firmware(architecture, _path(spec.efi_firmware), _path(spec.efi_variables))
    if not is_blank(firmware.template):
        read_variables(firmware.template)
    return firmware


def _path(given: HostPath | None) -> bytes | None:
    return None if given is None else os.fsencode(given)


def job_of(plan: ImagePlan) -> Job:
    """Return what the guest does on the plan's disk."""
    spec = plan.spec
    mounts = {role: _mount(plan, role, path) for role, path in places(spec).items() if role in plan.trees}
    return Job(
        mounts.pop("root"),
        tuple(_commands(spec)),
        tuple(mounts.values()),
        efi_variables=spec.touch_efi_vars,
        clock=spec.time,
    )


def places(spec: ImageSpec) -> Mapping[Role, bytes]:
    """Return where each file system is in the running system, by role."""
    return {"root": b"/", "esp": boot.esp_mount(spec), "boot": os.fsencode(spec.boot_mount)}


def _mount(plan: ImagePlan, role: Role, path: bytes) -> Mount:
    partition = plan.layout.partition(role)
    file_system = plan.file_system(partition)
    fs_type = plan.spec.fs_type if role == "root" else "vfat"
    uuid, label = ("", "") if file_system is None else (file_system.uuid, file_system.label)
    return Mount(partition.number, fs_type, path, uuid, label, plan.layout.partuuid(partition) or "")


def _commands(spec: ImageSpec) -> list[Command]:
    commands = []
    if spec.activate and spec.toplevel is not None:
        commands.append(Command((f"{spec.toplevel}/activate",), "activate", required=False))
    if spec.boot_command is not None:
        commands.append(shell(spec.boot_command))
    else:
        commands.append(Command((boot.SYSTEM_INSTALLER, "boot"), environment=BOOT_LOADER_ENVIRONMENT))
    return commands
