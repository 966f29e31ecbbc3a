"""What is said about an image that was verified: a list for people, a document for machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from imgwriter.errors import show
from imgwriter.findings import Finding
from imgwriter.units import counted, format_size
from imgwriter.verify.image import Layer, Report

SCHEMA = 1
"""Of the document: raised when a field is removed or changes its meaning."""

_KINDS = {"gpt": "GPT", "mbr": "MBR", "fat": "FAT"}


def text(report: Report) -> str:
    """Return findings by layer, notes after them, and a last line with their numbers."""
    size = "" if report.size is None else f", a disk of {format_size(report.size)}"
    lines = [f"{show(report.path)}: {report.format}{size}"]
    if report.layers:
        lines.append("checked: " + ", ".join(_title(layer) for layer in report.layers))
    for layer in report.layers:
        lines += _remarks(layer, layer.result.findings, "")
    for layer in report.layers:
        lines += _remarks(layer, layer.result.notes, "notes: ")
    return "\n".join([*lines, "", summary(report)])


def summary(report: Report) -> str:
    """Return the last line."""
    if not report.findings:
        return "no findings" + (f", {counted(report.notes, 'note')}" if report.notes else "")
    return f"{counted(report.findings, 'finding')}, {counted(report.notes, 'note')}"


def document(report: Report, version: str) -> dict[str, Any]:
    """Return the document of ``--json``; ``version`` is imgwriter's. docs/command-line.md has its fields."""
    return {
        "schema": SCHEMA,
        "imgwriter": version,
        "path": os.fsdecode(report.path),
        "format": report.format,
        "size": report.size,
        "findings": report.findings,
        "notes": report.notes,
        "error": report.error or None,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind or None,
                "findings": [remark._asdict() for remark in layer.result.findings],
                "notes": [remark._asdict() for remark in layer.result.notes],
            }
            for layer in report.layers
        ],
    }


def _remarks(layer: Layer, remarks: tuple[Finding, ...], prefix: str) -> Iterator[str]:
    if not remarks:
        return
    yield ""
    yield f"{prefix}{_title(layer)}"
    for remark in remarks:
        field = f", {remark.field}" if remark.field else ""
        yield f"  {remark.structure}{field}, at {remark.offset:,}"
        yield f"      found {remark.found}"
        section = f"  [{remark.section}]" if remark.section else ""
        yield f"      expected {remark.expected}{section}"


def _title(layer: Layer) -> str:
    kind = _KINDS.get(layer.kind, layer.kind)
    return f"{layer.name} ({kind})" if kind else layer.name
