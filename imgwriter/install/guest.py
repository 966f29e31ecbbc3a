"""The guest that installs a boot loader, from the plan before it to the plan after it.

::

    plan ── find_parts: kernel, modules, busybox, QEMU ── refused before anything is written
         ── plan_scratch ── sink ──> scratch disk, a file without a name
         ── vm.run_guest ──> changed in place
         ── read back: tables, file systems, boot code ── plan_disk ──> the plan of the image

The scratch disk stays open, and stays without a name, until the image is written: what the installer made is
copied from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from imgwriter import sink
from imgwriter.bootloader.outcome import Change, Installed
from imgwriter.disk import Partition
from imgwriter.errors import FormatError, SourceError
from imgwriter.examine.opening import Area, OpenedDisk, open_disk
from imgwriter.extent import Patch, Volume
from imgwriter.fat.reader import FileSystem as FatFileSystem
from imgwriter.guest.firmware import Firmware
from imgwriter.guest.job import EARLIEST_CLOCK
from imgwriter.guest.parts import Parts
from imgwriter.guest.request import Drive, Flash, GuestRequest, GuestResult
from imgwriter.guest.session import prepare
from imgwriter.image_plan import ImagePlan, plan_disk, plan_scratch
from imgwriter.install import boot_code, difference
from imgwriter.install.block_lists import check_block_lists
from imgwriter.install.efi_variables import (
    flash_volume,
    is_blank,
    lasting,
    read_variables,
    write_variables,
)
from imgwriter.install.noise import Noise
from imgwriter.install.parts import find_parts, job_of, places
from imgwriter.sink.stream import unnamed
from imgwriter.sources import spool_directory
from imgwriter.spec import boot
from imgwriter.tables_reader import read_table
from imgwriter.tree.inventory import Inode, Inventory
from imgwriter.tree.rules import NANOSECOND
from imgwriter.units import MiB

Stages = Callable[[str], None]
"""Called with the name of each stage when it begins: "scratch", the guest's own, "read back"."""

_LOG_LINES = 20
_SLACK = 60 * NANOSECOND
"""What a guest's clock may be ahead of the host's, over a whole run."""


def run_installer(plan: ImagePlan, stages: Stages | None = None) -> ImagePlan:
    """Run the installer that the plan's request asks for, in a guest; return the plan of what it leaves.

    Args:
        plan: As it is without a boot loader, and with the guest's parts where they are found already. Its
            trees are changed; do not use it any more.
        stages: Told of each stage.

    Raises:
        GuestError: The guest or the installer failed.
        SourceError: What the guest needs is missing, or what the installer did cannot be taken over.
        CapacityError: The image does not fit any more with what was installed.
        OutputError: There is no room for the scratch disk.
    """
    tell = stages or (lambda stage: None)
    spec = plan.spec
    noise = Noise.parse(spec.installer_noise)
    parts = find_parts(plan) if plan.parts is None else plan.parts
    scratch = replace(plan_scratch(spec, plan.trees), parts=parts)
    with unnamed(spool_directory(spec)) as (fd, name), _flash(parts.firmware) as flash:
        tell("scratch")
        sink.write_to(fd, scratch.volume(), name=name, workers=spec.workers or sink.WORKERS)
        path = _path_of(fd)
        result = _run(_request(scratch, parts, path, flash), tell)
        tell("read back")
        variables = _efi_variables(parts.firmware, flash)
        disk = open_disk(
            path, "raw", sector_size=spec.sector_size if scratch.layout.scheme == "gpt" else None
        )
    installed = Installed(
        boot.GUEST,
        spec.boot_choice.reason,
        log=result.log[-_LOG_LINES:],
        firmware_variables=variables,
    )
    if spec.keep_guest_image:
        return _kept(scratch, plan.warnings, installed, disk.image.volume)
    patches = _boot_code(scratch, disk)
    changes = _apply(scratch, disk, noise, result)
    trees = {role: Inventory(tree.root) for role, tree in scratch.trees.items()}
    warnings = plan.warnings
    if not changes and not patches:
        warnings += ("the installer changed nothing on the disk; look at what it said with --json",)
    installed = replace(installed, patches=tuple(patches), changes=tuple(changes))
    return replace(plan_disk(spec, trees, warnings, installed), parts=parts)


def _kept(plan: ImagePlan, warnings: tuple[str, ...], installed: Installed, volume: Volume) -> ImagePlan:
    warning = (
        "the image is the disk that the guest wrote to: another build gives other bytes; files and space"
        " in the report are those of before"
    )
    return replace(plan, warnings=(*warnings, warning), installed=installed, guest_disk=volume)


# The guest


def _request(scratch: ImagePlan, parts: Parts, path: bytes, flash: int | None) -> GuestRequest:
    spec, firmware = scratch.spec, parts.firmware
    return prepare(
        job_of(scratch),
        Drive(path, "raw", spec.sector_size),
        parts.kernel,
        parts.busybox.content,
        modules=parts.modules,
        memory=spec.mem_size * MiB,
        accelerator=spec.accel,
        timeout=spec.vm_timeout,
        sandbox=spec.qemu_sandbox == "on",
        qemu=os.fsencode(parts.qemu),
        flash=None if firmware is None or flash is None else Flash(firmware.code, _path_of(flash)),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """A guest that did its job, and what its clock can have shown, in nanoseconds since the epoch."""

    log: tuple[str, ...]
    clock: tuple[int, int]


def _run(request: GuestRequest, stages: Stages) -> _Run:
    from imgwriter.vm import run_guest  # asyncio and qemu.qmp: paid where a guest is run

    result: GuestResult = run_guest(request, stages)
    start = max(request.clock, EARLIEST_CLOCK) * NANOSECOND
    return _Run(result.log, (start, start + int(request.timeout) * NANOSECOND + _SLACK))


# EFI variables


@contextmanager
def _flash(firmware: Firmware | None) -> Iterator[int | None]:
    """Give a file without a name that holds the template of variables; None without firmware."""
    if firmware is None:
        yield None
        return
    with unnamed(None) as (fd, name):
        sink.write_to(fd, flash_volume(firmware.template), name=name)
        yield fd


def _efi_variables(firmware: Firmware | None, flash: int | None) -> Volume | None:
    """Return the flash image with what is set now, made anew so that it is the same each time."""
    if firmware is None or flash is None:
        return None
    content = os.pread(flash, len(firmware.template), 0)
    template = content if is_blank(firmware.template) else firmware.template
    return flash_volume(write_variables(template, lasting(read_variables(content))))


def _path_of(fd: int) -> bytes:
    """Return a path of an open file for another process of this user."""
    return b"/proc/%d/fd/%d" % (os.getpid(), fd)


# What it did


def _boot_code(plan: ImagePlan, disk: OpenedDisk) -> list[Patch]:
    before = plan.volume()
    sector_size = plan.spec.sector_size if plan.layout.scheme == "gpt" else None
    boot_code.check_table(read_table(before, sector_size), disk.table)
    fats = {a.number: a.file_system for a in disk.areas if isinstance(a.file_system, FatFileSystem)}
    patches = boot_code.compare(before, disk.image.volume, boot_code.regions(plan.layout, fats))
    check_block_lists(disk.image.volume, plan.layout, patches)
    end = max(p.end for p in plan.layout.partitions)
    if any(patch.end > end for patch in patches):
        raise SourceError(
            f"the installer wrote behind the last partition, which ends at byte {end:,}: that place depends"
            " on the disk's size; keep the disk that it wrote to with --keep-guest-image"
        )
    return patches


def _apply(plan: ImagePlan, disk: OpenedDisk, noise: Noise, run: _Run) -> list[Change]:
    """Do to the plan's trees what the installer did to the scratch disk."""
    spec = plan.spec
    changes: list[Change] = []
    for role, path in places(spec).items():
        if role not in plan.trees:
            continue
        tree, is_fat = _read_back(disk, plan.layout.partition(role))
        rules = difference.Rules(
            noise,
            run.clock,
            spec.time * NANOSECOND,
            None if spec.clamp is None else spec.clamp * NANOSECOND,
            attributes=not is_fat,
            prefix=os.path.normpath(path).strip(b"/"),
        )
        changes += difference.apply(plan.trees[role].root, tree, rules)
    return sorted(changes, key=lambda change: change.path)


def _read_back(disk: OpenedDisk, partition: Partition) -> tuple[Inode, bool]:
    """Return the tree of a partition as the guest left it, and whether it is a FAT.

    Raises:
        SourceError: There is no such file system any more, or a damaged one.
    """
    area: Area = disk.area(partition.number)
    left = f"the installer left {{}} in {area.name}; let it leave the file systems alone"
    try:
        if area.error is not None:
            raise area.error
        file_system = area.file_system
        if file_system is None:
            raise SourceError(left.format(f"no ext4 or FAT, but {area.kind or 'nothing known'},"))
        if isinstance(file_system, FatFileSystem):
            return file_system.tree(), True
        return file_system.tree("the guest"), False
    except FormatError as error:
        reason = str(error).partition(";")[0]  # without its remedy, which is of images that are kept
        raise SourceError(left.format(f"a damaged file system ({reason})")) from error
