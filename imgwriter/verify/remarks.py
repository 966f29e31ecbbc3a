"""Collects findings and notes; of those that are alike only the first are kept, the others counted.

A destroyed table would give one for each of a million entries: nobody reads them, and they would hide others.
"""

from __future__ import annotations

import re
from collections import Counter

from imgwriter.findings import Finding
from imgwriter.units import counted
from imgwriter.verify.values import Result

MOST_ALIKE = 100
"""Findings, or notes, that are listed of one field and section; numbers in the field do not count."""

_NUMBER = re.compile(r"[\d,]+")


class Remarks:
    """What is said about one layer.

    Args:
        section: Of the specification, where a remark has none of its own.

    Attributes:
        end: Where the bytes that there are end, where that was said already: what is read as zeros behind it
            is no remark's. None where nothing is missing.
    """

    def __init__(self, section: str) -> None:
        self.section = section
        self.end: int | None = None
        self._findings: list[Finding] = []
        self._notes: list[Finding] = []
        self._seen: Counter[tuple[bool, str, str]] = Counter()
        self._last: dict[tuple[bool, str, str], Finding] = {}

    def find(
        self, structure: str, field: str, offset: int, expected: object, found: object, section: str = ""
    ) -> None:
        """Make a finding. Arguments are a Finding's; ``expected`` and ``found`` are shown as they are."""
        remark = Finding(structure, field, offset, str(expected), str(found), section or self.section)
        self._add(True, remark)

    def note(
        self, structure: str, field: str, offset: int, expected: object, found: object, section: str = ""
    ) -> None:
        """Make a note; as :meth:`find`."""
        remark = Finding(structure, field, offset, str(expected), str(found), section or self.section)
        self._add(False, remark)

    def add(self, result: Result) -> None:
        """Take over what another collected."""
        for remark in result.findings:
            self._add(True, remark)
        for remark in result.notes:
            self._add(False, remark)

    def result(self) -> Result:
        """Return all of it, with one more where some are only counted."""
        return Result(
            (*self._findings, *self._counted(True, "finding")), (*self._notes, *self._counted(False, "note"))
        )

    def _add(self, damage: bool, remark: Finding) -> None:
        if self.end is not None and remark.offset >= self.end:
            return
        key = damage, _NUMBER.sub("", remark.field), remark.section
        self._seen[key] += 1
        if self._seen[key] <= MOST_ALIKE:
            (self._findings if damage else self._notes).append(remark)
        else:
            self._last[key] = remark

    def _counted(self, damage: bool, word: str) -> list[Finding]:
        return [
            remark._replace(
                found=f"{remark.found}; the last of {counted(self._seen[key] - MOST_ALIKE, word)} more"
            )
            for key, remark in self._last.items()
            if key[0] is damage
        ]
