"""The findings and notes about one structure, while it is read."""

from __future__ import annotations

from typing import Any, TypeAlias

from construct import Container

from imgwriter.findings import Finding

Fields: TypeAlias = "Container[Any]"
"""A record as construct parsed it."""


class Remarks:
    """Collects what is said about a structure.

    Args:
        structure: Its name in messages.
        offset: Where it is, in bytes from the start of the disk.
        section: Of the specification.
    """

    __slots__ = ("findings", "notes", "offset", "section", "structure")

    def __init__(self, structure: str, offset: int, section: str) -> None:
        self.structure = structure
        self.offset = offset
        self.section = section
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []

    def require(self, holds: bool, field: str, at: int, expected: object, found: object) -> bool:
        """Make a finding unless ``holds``, which is returned.

        Args:
            field: The specification's name.
            at: The field's offset in the structure, in bytes.
            expected, found: Shown as they are.
        """
        if not holds:
            self.findings.append(self._remark(field, at, expected, found))
        return holds

    def note(self, holds: bool, field: str, at: int, expected: object, found: object) -> None:
        """Make a note unless ``holds``."""
        if not holds:
            self.notes.append(self._remark(field, at, expected, found))

    def _remark(self, field: str, at: int, expected: object, found: object) -> Finding:
        return Finding(self.structure, field, self.offset + at, str(expected), str(found), self.section)
