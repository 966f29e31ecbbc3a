"""What is told about an image: a table for people, a document for machines.

Both come from the same rows, so that they cannot differ. docs/command-line.md describes the document; a field
is added to it without notice, a field removed or changed raises ``schema``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import imgwriter
from imgwriter.columns import columns, mebibytes
from imgwriter.errors import show
from imgwriter.units import MiB, format_size

if TYPE_CHECKING:
    from imgwriter.build import FileSystem, ImagePlan, Result
    from imgwriter.convert import Conversion, Converted
    from imgwriter.disk import Partition
    from imgwriter.guest.parts import Parts

SCHEMA = 1
"""The version of the document."""

_NAMED = 3
"""Paths that a line about a boot loader names; of more it says how many."""

Document = dict[str, Any]
"""A JSON object."""


def document(plan: ImagePlan, result: Result | None = None) -> Document:
    """Return what ``--json`` prints.

    Args:
        plan: The image.
        result: How it was written; None on a dry run.
    """
    layout = plan.layout
    return {
        "schema": SCHEMA,
        "imgwriter": imgwriter.__version__,
        "dry_run": result is None,
        "image": {
            "path": os.fsdecode(plan.path),
            "format": plan.spec.format,
            "size": layout.disk_size,
            "file_size": None if result is None else result.size,
            "allocated": None if result is None else result.allocated,
            "sha256": None if result is None else result.sha256,
        },
        "disk": {
            "partition_table": layout.kind,
            "scheme": layout.scheme,
            "compat": plan.spec.compat,
            "sector_size": layout.sector_size,
            "guid": None if layout.disk_guid is None else str(layout.disk_guid),
            "signature": None if layout.disk_signature is None else f"{layout.disk_signature:08x}",
        },
        "partitions": [_partition(plan, partition) for partition in layout.partitions],
        "content": {
            "names": plan.inventory.names,
            "inodes": len(plan.inventory.inodes),
            "size": plan.inventory.size,
        },
        "boot_loader": _boot_loader(plan),
        "sidecars": {} if result is None else {k: os.fsdecode(path) for k, path in result.sidecars.items()},
        "warnings": list(plan.warnings),
        "seconds": None if result is None else round(result.seconds, 3),
    }


def _boot_loader(plan: ImagePlan) -> Document | None:
    """Return what is told of the boot loader; None where none is installed."""
    choice, installed = plan.spec.boot_choice, plan.installed
    if choice.loader == "none":
        return None
    found: Document = {
        "name": choice.loader,
        "reason": choice.reason or None,
        "installed": installed is not None,
        "guest": None if plan.parts is None else _guest(plan.parts),
    }
    if installed is not None:
        found["changes"] = [{"kind": c.kind, "path": os.fsdecode(c.path)} for c in installed.changes]
        found["boot_code"] = [
            {"start": p.start, "size": len(p.content), "label": str(p.label)} for p in installed.patches
        ]
        found["log"] = list(installed.log)
    return found


def _guest(parts: Parts) -> Document:
    kernel, firmware = parts.kernel, parts.firmware
    return {
        "architecture": kernel.architecture,
        "kernel": kernel.name,
        "version": kernel.version,
        "module_directory": None if kernel.modules is None else kernel.modules.name,
        "modules": [module.name for module in parts.modules],
        "busybox": parts.busybox.name,
        "qemu": show(os.fsencode(parts.qemu)),
        "firmware": None if firmware is None else show(firmware.code),
    }


def _partition(plan: ImagePlan, partition: Partition) -> Document:
    sector = plan.layout.sector_size
    return {
        "number": partition.number or None,
        "role": partition.role,
        "name": partition.name or None,
        "start": partition.start,
        "size": partition.size,
        "first_lba": partition.start // sector,
        "last_lba": partition.end // sector - 1,
        "type": None if partition.type_guid is None else str(partition.type_guid),
        "mbr_type": partition.mbr_type,
        "active": partition.active,
        "partuuid": plan.layout.partuuid(partition),
        "file_system": _file_system(plan.file_system(partition)),
    }


def _file_system(file_system: FileSystem | None) -> Document | None:
    if file_system is None:
        return None
    planned = file_system.plan
    found = {
        "type": planned.type_name,
        "label": file_system.label or None,
        "uuid": file_system.uuid,
        "size": planned.size,
        "used": planned.used,
        "free": planned.free,
        "names": file_system.names,
    }
    # What only one of the file systems has.
    for name in ("block_size", "inodes", "free_inodes", "features", "fat_type", "cluster_size"):
        if hasattr(planned, name):
            found[name] = getattr(planned, name)
    return found


def table(plan: ImagePlan) -> str:
    """Return the layout as lines of text: one row a partition, then the identifiers fstab knows them by."""
    layout = plan.layout
    name = {"mbr": "MBR", "gpt": "GPT", "none": "no partition table"}[layout.scheme]
    path = "standard output" if plan.spec.streams else show(plan.path)
    container = "" if plan.spec.format == "raw" else f" in {plan.spec.format}"
    title = f"{path}: {mebibytes(layout.disk_size)}{container}, {name}"
    if layout.disk_guid is not None:
        title += f" {layout.disk_guid}"
    if layout.disk_signature is not None:
        title += f" {layout.disk_signature:08x}"
    rows = [_row(plan, partition) for partition in layout.partitions]
    header = ("#", "role", "type", "offset", "size", "used", "free", "label")
    lines = [title, "", *columns([header, *rows], right=(3, 4, 5, 6)), ""]
    lines += columns([row for partition in layout.partitions for row in _identifiers(plan, partition)])
    return "\n".join(lines)


def _row(plan: ImagePlan, partition: Partition) -> Sequence[str]:
    file_system = plan.file_system(partition)
    number = str(partition.number) if partition.number else "-"
    place = (mebibytes(partition.start), mebibytes(partition.size))
    if file_system is None:
        return (number, partition.role, "-", *place, "-", "-", "-")
    planned = file_system.plan
    kind = f"FAT{planned.fat_type}" if hasattr(planned, "fat_type") else planned.type_name
    used, free = mebibytes(planned.used), mebibytes(planned.free)
    return (number, partition.role, kind, *place, used, free, file_system.label or "-")


def _identifiers(plan: ImagePlan, partition: Partition) -> list[Sequence[str]]:
    file_system = plan.file_system(partition)
    partuuid = plan.layout.partuuid(partition)
    uuid = "" if file_system is None else f"UUID={file_system.uuid}"
    words = (uuid,) if partuuid is None else (uuid, f"PARTUUID={partuuid}")
    return [(partition.role, *words)] if any(words) else []


def text(plan: ImagePlan, result: Result | None) -> str:
    """Return what is printed: the table, and what was done."""
    lines = [
        table(plan),
        *boot_loader(plan),
        "dry run: nothing was written" if result is None else summary(result),
    ]
    return "\n\n".join(lines)


def boot_loader(plan: ImagePlan) -> list[str]:
    """Return a line about the boot loader, or none where none is installed."""
    choice, installed = plan.spec.boot_choice, plan.installed
    if choice.loader == "none":
        return []
    line = f"boot loader: {choice.loader}" + (f", since {choice.reason}" if choice.reason else "")
    if installed is None:
        found = [] if plan.parts is None else ["\n".join(columns(_parts(_guest(plan.parts))))]
        return [f"{line}; it runs when the image is written", *found]
    words = []
    for kind in ("made", "changed", "removed"):
        paths = [b"/" + c.path for c in installed.changes if c.kind == kind]
        if paths:
            named = ", ".join(map(show, paths)) if len(paths) <= _NAMED else f"{len(paths):,} paths"
            words.append(f"{kind} {named}")
    code = sum(len(patch.content) for patch in installed.patches)
    if code:
        words.append(f"boot code {format_size(code)}")
    return [f"{line}: {'; '.join(words)}" if words else line]


def _parts(guest: Document) -> list[Sequence[str]]:
    """Return a row for each thing that the guest is made from."""
    version = f", version {guest['version']}" if guest["version"] else ""
    modules = f"{guest['module_directory']}: {', '.join(guest['modules'])}"
    rows: list[Sequence[str]] = [
        ("kernel", f"{guest['kernel']}{version}, for {guest['architecture']}"),
        ("modules", modules if guest["module_directory"] else "none: all is built in"),
        ("busybox", guest["busybox"]),
        ("QEMU", guest["qemu"]),
    ]
    return [*rows, ("firmware", guest["firmware"])] if guest["firmware"] else rows


def summary(result: Result) -> str:
    """Return the last line: what was made, in what time."""
    tree = result.plan.inventory
    rate = f", {result.allocated / MiB / result.seconds:,.0f} MiB/s" if result.seconds > 0 else ""
    return (
        f"{len(tree.inodes):,} files and directories, {format_size(result.allocated)} written"
        f" in {result.seconds:.2f} s{rate}"
    )


def conversion(plan: Conversion, result: Converted | None) -> str:
    """Return what is printed of a conversion."""
    source, target = _conversion_paths(plan)
    disk = f"a disk of {format_size(plan.size)}"
    lines = [f"{source} ({plan.image.format}) to {target} ({plan.spec.format}): {disk}"]
    if result is None:
        lines.append("dry run: nothing was written")
    else:
        lines.append(
            f"{format_size(result.size)} in the file, {format_size(result.allocated)} written"
            f" in {result.seconds:.2f} s"
        )
    return "\n".join(lines)


def _conversion_paths(plan: Conversion) -> tuple[str, str]:
    target = "standard output" if plan.spec.streams else show(os.fsencode(plan.spec.output))
    return show(os.fsencode(plan.spec.source)), target


def conversion_document(plan: Conversion, result: Converted | None) -> Document:
    """Return what ``--json`` prints of a conversion."""
    spec = plan.spec
    return {
        "schema": SCHEMA,
        "imgwriter": imgwriter.__version__,
        "dry_run": result is None,
        "source": {
            "path": os.fsdecode(os.fsencode(spec.source)),
            "format": plan.image.format,
            "size": plan.image.volume.size,
        },
        "image": {
            "path": os.fsdecode(os.fsencode(spec.output)),
            "format": spec.format,
            "size": plan.size,
            "file_size": None if result is None else result.size,
            "allocated": None if result is None else result.allocated,
            "sha256": None if result is None else result.sha256,
        },
        "warnings": plan.warnings,
        "seconds": None if result is None else round(result.seconds, 3),
    }
