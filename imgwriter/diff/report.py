"""What is told of a comparison: lines for people, a document for machines. Both from the same values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from imgwriter.diff.changes import Change
from imgwriter.diff.compare import Comparison
from imgwriter.diff.summary import Example, Group
from imgwriter.diff.trees import CHANGED, ONLY_A, ONLY_B, UNREAD
from imgwriter.errors import show
from imgwriter.examine.opening import OpenedDisk
from imgwriter.units import counted, format_size

SCHEMA = 1
"""The version of the document."""

LINES = 40
"""Lines of a layer."""


def text(comparison: Comparison, lines: int | None = LINES) -> str:
    """Return the comparison for people.

    Args:
        lines: Of each layer, at most, and what more there is in one more; None for all.
    """
    return "\n".join(_text(comparison, lines))


def _text(c: Comparison, lines: int | None) -> Iterator[str]:
    yield f"A  {_image(c.a)}"
    yield f"B  {_image(c.b)}"
    yield from (f"note: {note}" for note in c.notes)
    if c.same:
        yield ("the file systems hold the same" if c.files else "the disks are the same") + (
            f", but for {counted(c.summary.ignored, 'byte')} of what is ignored" if c.summary.ignored else ""
        )
        return
    yield ""
    yield from c.differences
    if c.summary.first is not None:
        differ = counted(c.summary.count, "byte differs", "bytes differ")
        yield f"{differ}; the first: {_first(c.summary.first)}"
    elif not c.differences and not c.unread:
        yield "the file systems hold other files"
    for layer, groups in c.summary.layers.items():
        shown = [group for group in groups.values() if not group.ignored]
        if shown:
            yield ""
            yield f"{layer}: {counted(sum(group.count for group in shown), 'byte')}"
            yield from _limited(
                [line for group in shown for line in _group(group, _share(lines, shown))], lines
            )
    for layer, changes in c.trees.items():
        counted_files = [x for x in changes if not x.group or x.group not in c.ignore]
        for what in (UNREAD, ONLY_A, ONLY_B, CHANGED):
            of_kind = [f"  {change}" for change in counted_files if change.what == what]
            if of_kind:
                yield ""
                yield f"{layer}, {what}: {len(of_kind):,}"
                yield from _limited(of_kind, lines)
    if c.summary.ignored:
        yield ""
        yield f"ignored: {counted(c.summary.ignored, 'byte')}"
    yield from (f"problem: {problem}" for problem in c.problems[:lines])


def _image(disk: OpenedDisk) -> str:
    return f"{show(disk.path)} ({disk.image.format}, {format_size(disk.image.volume.size)})"


def _first(change: Change) -> str:
    place = f" (byte {change.where:,} of the file)" if change.where >= 0 else ""
    name = f"{change.subject}, {change.field}" if change.field else change.subject
    return f"{change.layer}, {name}, at {change.first:,}{place}"


def _share(lines: int | None, groups: list[Group]) -> int | None:
    """Return how many examples each field may have, so that every field has its line; None for all."""
    return None if lines is None else max(lines // len(groups) - 2, 0)


def _group(group: Group, most: int | None) -> Iterator[str]:
    """Yield the lines of one field: its only structure, or how many there are and the first of them."""
    examples = list(group.examples.values())
    first = examples[0]
    if group.subjects == 1:
        name = f"{first.subject}, {group.field_name}" if group.field_name else first.subject
        yield f"  {name}: {_values(group, first)}"
        return
    name = f"{group.kind}, {group.field_name}" if group.field_name else group.kind
    title = f"  {name}: {group.subjects:,} differ, {counted(group.count, 'byte')}"
    if most == 0:
        yield f"{title}; the first, {first.subject}: {_values(group, first)}"
        return
    yield title
    shown = examples[:most]
    yield from (f"    {example.subject}: {_values(group, example)}" for example in shown)
    if group.subjects > len(shown):
        yield f"    and {group.subjects - len(shown):,} more"


def _values(group: Group, example: Example) -> str:
    if group.kind == "placement":
        return counted(example.count, "byte")
    values = f"{example.a} -> {example.b}"
    if group.field_name or example.where >= 0 or group.kind not in _BY_BYTES:
        where = f"byte {example.where:,} on, {counted(example.count, 'byte')}: " if example.where >= 0 else ""
        return where + values
    return f"at {example.offset:,}, {counted(example.count, 'byte')}: {values}"


_BY_BYTES = ("gap", "unused", "boot block", "not read", "preallocated", "resize inode", "block map")


def _limited(lines: list[str], most: int | None) -> Iterator[str]:
    if most is None or len(lines) <= most:
        yield from lines
        return
    yield from lines[:most]
    yield f"  and {len(lines) - most:,} lines more; --limit 0 shows all"


def document(c: Comparison, version: str) -> dict[str, Any]:
    """Return the comparison for machines; ``version`` is imgwriter's."""
    first = c.summary.first
    return {
        "schema": SCHEMA,
        "imgwriter": version,
        "same": c.same,
        "a": _disk(c.a),
        "b": _disk(c.b),
        "notes": list(c.notes),
        "differences": list(c.differences),
        "bytes": c.summary.count,
        "bytes_ignored": c.summary.ignored,
        "first": None if first is None else _change(first),
        "layers": [
            {"layer": layer, "groups": [_document_of(group) for group in groups.values()]}
            for layer, groups in c.summary.layers.items()
        ],
        "files": [
            {
                "layer": layer,
                "path": show(change.path),
                "what": change.what,
                "details": list(change.details),
                "ignored": bool(change.group) and change.group in c.ignore,
            }
            for layer, changes in c.trees.items()
            for change in changes
        ],
        "problems": list(c.problems),
    }


def _disk(disk: OpenedDisk) -> dict[str, Any]:
    return {
        "path": os.fsdecode(disk.path),
        "format": disk.image.format,
        "size": disk.image.volume.size,
        "partition_table": disk.table.kind,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "layer": change.layer,
        "kind": change.kind,
        "subject": change.subject,
        "field": change.field or None,
        "offset": change.first,
        "file_offset": change.where if change.where >= 0 else None,
        "a": change.a,
        "b": change.b,
    }


def _document_of(group: Group) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "field": group.field_name or None,
        "ignored": group.ignored,
        "bytes": group.count,
        "structures": group.subjects,
        "examples": [
            {
                "subject": e.subject,
                "offset": e.offset,
                "file_offset": e.where if e.where >= 0 else None,
                "bytes": e.count,
                "a": e.a,
                "b": e.b,
            }
            for e in group.examples.values()
        ],
    }
