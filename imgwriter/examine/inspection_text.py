"""What ``imgwriter inspect`` prints: a table of partitions, then a paragraph for each file system."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from imgwriter.columns import columns, mebibytes
from imgwriter.errors import show
from imgwriter.units import counted, format_size

Document = dict[str, Any]
"""A JSON object."""

_WIDTH = 66
"""Columns of a value that has many words: with its name, it is in 80."""

_TABLES = {"mbr": "MBR", "gpt": "GPT", "none": "no partition table"}
_HEADER = ("#", "type", "offset", "size", "used", "free", "file system", "label")


def text(document: Document) -> str:
    """Return a document of :func:`imgwriter.examine.inspection.document` as lines for people."""
    image, table = document["image"], document["table"]
    lines = [_title(image, table), *_remarks(image, table)]
    if document["partitions"]:
        lines += ["", *columns([_HEADER, *map(_row, document["partitions"])], right=(2, 3, 4, 5)), ""]
        lines += columns([_identifiers(partition) for partition in document["partitions"]])
    for name, file_system in _file_systems(document):
        lines += ["", f"{name}: {file_system['type'] or 'unknown'}", *_paragraph(file_system)]
    return "\n".join(lines)


def _title(image: Document, table: Document) -> str:
    path = show(os.fsencode(image["path"]))
    identifier = "" if table["identifier"] is None else f" {table['identifier']}"
    kind = _TABLES[table["kind"]]
    return f"{path}: {mebibytes(image['size'])}, {image['format']}, {kind}{identifier}"


def _remarks(image: Document, table: Document) -> Iterator[str]:
    details = [_detail(key, value) for key, value in image["details"].items()]
    if image["file_size"] is None:
        yield ", ".join(["a block device", *details])
    else:
        size, allocated = format_size(image["file_size"]), format_size(image["allocated"])
        yield ", ".join([f"the file has {size}, {allocated} allocated", *details])
    if table["kind"] == "none":
        return
    hybrid = ", hybrid" if table["hybrid"] else ""
    code = "boot code" if table["boot_code"] else "no boot code"
    yield f"sectors of {table['sector_size']:,} bytes{hybrid}, {code} in the MBR"
    if table["used"] == "backup":
        yield "the primary table cannot be used; this is the backup"
    if table["findings"] or table["notes"]:
        yield (
            f"the table has {counted(table['findings'], 'finding')} and {counted(table['notes'], 'note')};"
            " run 'imgwriter verify' to see what"
        )


def _detail(key: str, value: str | int) -> str:
    """Return one thing that a container says of itself."""
    name = key.replace("_", " ")
    if isinstance(value, bool):
        return f"{name} {'yes' if value else 'no'}"
    if isinstance(value, int) and key.endswith("_size"):
        return f"{name} {format_size(value)}"
    return f"{name} {_shown(str(value))}"


def _row(partition: Document) -> Sequence[str]:
    file_system = partition["file_system"] or {}
    room = [mebibytes(file_system[key]) if key in file_system else "-" for key in ("used", "free")]
    label = file_system.get("label")
    return (
        str(partition["number"]),
        partition["type_name"] or partition["type"],
        mebibytes(partition["start"]),
        mebibytes(partition["size"]),
        *room,
        file_system.get("type") or "-",
        "-" if label is None else _shown(label),
    )


def _identifiers(partition: Document) -> Sequence[str]:
    """Return what a partition is known by, and its flags, each with its name."""
    file_system = partition["file_system"] or {}
    words = {"UUID": file_system.get("uuid"), "PARTUUID": partition["partuuid"]}
    found = [f"{key}={value}" if value else "" for key, value in words.items()]
    flags = [*partition["attribute_names"], *(["active"] if partition["active"] else [])]
    name = [f"'{_shown(partition['name'])}'"] if partition["name"] else []
    return [str(partition["number"]), *found, ", ".join([*name, *flags])]


def _file_systems(document: Document) -> Iterator[tuple[str, Document]]:
    if document["file_system"] is not None:
        yield "the disk", document["file_system"]
    for partition in document["partitions"]:
        if partition["file_system"] is not None:
            yield f"partition {partition['number']}", partition["file_system"]


def _paragraph(file_system: Document) -> list[str]:
    rows = list(_facts(file_system))
    return [f"  {line}" for line in columns(rows)]


def _facts(file_system: Document) -> Iterator[tuple[str, str]]:
    """Yield (what, value) of a file system."""
    if file_system["error"] is not None:
        yield "not read", file_system["error"]
        return
    state = file_system["state"] + (", needs recovery" if file_system["needs_recovery"] else "")
    yield "state", state
    yield "label", _shown(file_system["label"] or "-")
    yield "UUID", file_system["uuid"] or "-"
    size, used, free = (format_size(file_system[key]) for key in ("size", "used", "free"))
    yield "size", f"{size}: {used} used, {free} free"
    if "inodes" in file_system:
        yield from _ext4_facts(file_system)
    else:
        yield "clusters", f"{file_system['clusters']:,} of {file_system['cluster_size']:,} bytes"
    yield "boot code", "yes" if file_system["boot_code"] else "no"


def _ext4_facts(file_system: Document) -> Iterator[tuple[str, str]]:
    yield "blocks", f"{file_system['block_size']:,} bytes, {format_size(file_system['reserved'])} reserved"
    if file_system["cluster_size"] != file_system["block_size"]:
        yield "clusters", f"{file_system['cluster_size']:,} bytes"
    inodes, free = file_system["inodes"], file_system["free_inodes"]
    yield "inodes", f"{inodes:,} of {file_system['inode_size']} bytes: {inodes - free:,} used, {free:,} free"
    for number, line in enumerate(wrap(" ".join(file_system["features"]), _WIDTH)):
        yield ("" if number else "features"), line
    most = "" if file_system["max_mounts"] is None else f", to be checked after {file_system['max_mounts']}"
    where = "" if file_system["last_mounted"] is None else f", last at {_shown(file_system['last_mounted'])}"
    yield "mounts", f"{file_system['mounts']}{most}{where}"
    for what in ("created", "mounted", "written", "checked"):
        if file_system[what] is not None:
            yield what, file_system[what]


def _shown(value: str) -> str:
    """Return text of an image as it can be printed."""
    return show(value.encode("utf-8", "backslashreplace"))
