"""What tables of a container have behind the end of its file: one finding, however much it is.

::

    table   │ entry │ entry │ entry │ entry │
                │       │       └───────┴──────────> behind the end: one entry may be damaged,
    file    ├───v───────v──────┤                     several mean that the file was cut off
"""

from __future__ import annotations

from imgwriter.findings import Finding
from imgwriter.readers.hostfile import GET_WHOLE
from imgwriter.units import counted
from imgwriter.verify.remarks import Remarks


class Beyond:
    """Collects the entries of tables that lead behind the end of a file."""

    def __init__(self) -> None:
        self.count = 0
        self._first: Finding | None = None
        self._stop = 0

    def add(self, finding: Finding, stop: int) -> None:
        """Note an entry.

        Args:
            finding: What to say if it is the only one.
            stop: Where in the file what it leads to would end, in bytes.
        """
        self.count += 1
        self._stop = max(self._stop, stop)
        if self._first is None:
            self._first = finding

    def say(self, remarks: Remarks) -> None:
        """Make a finding, where there are entries."""
        first = self._first
        if first is None:
            return
        if self.count > 1:
            more = f"{counted(self.count - 1, 'entry', 'entries')} more, up to byte {self._stop:,}"
            first = first._replace(
                found=f"{first.found}; behind the file's end too: {more}; it is cut off",
                expected=f"{first.expected}: {GET_WHOLE}",
            )
        remarks.find(*first)
