"""What tables of a container have behind the end of its file: one finding, however much it is.

::

    table   │ entry │ entry │ entry │ entry │
                │       │       └───────┴──────────> behind the end: the file was cut off,
    file    ├───v───────v──────┤                     or entries are damaged

Which of the two it is, the rest of the container says: as it does for its reader.
"""

from __future__ import annotations

from imgwriter.findings import Finding
from imgwriter.readers.hostfile import GET_WHOLE
from imgwriter.units import counted
from imgwriter.verify.remarks import Remarks


class Beyond:
    """Collects the entries of tables that lead behind the end of a file.

    Attributes:
        count: How many there are.
        start: Where in the file what the first leads to would begin, in bytes.
    """

    def __init__(self) -> None:
        self.count = 0
        self.start = 0
        self._first: Finding | None = None
        self._stop = 0

    def add(self, finding: Finding, start: int, stop: int) -> None:
        """Note an entry.

        Args:
            finding: What to say if it is the only one.
            start, stop: Where in the file what it leads to would be, in bytes.
        """
        self.count += 1
        self._stop = max(self._stop, stop)
        if self._first is None:
            self._first, self.start = finding, start

    def say(self, remarks: Remarks, *, cut_off: bool) -> None:
        """Make a finding, where there are entries; ``cut_off`` tells missing bytes from damaged entries."""
        first = self._first
        if first is None:
            return
        if self.count > 1:
            more = f"{counted(self.count - 1, 'entry', 'entries')} more, up to byte {self._stop:,}"
            first = first._replace(found=f"{first.found}; behind the file's end too: {more}")
        if cut_off:
            found, expected = f"{first.found}; the file is cut off", f"{first.expected}: {GET_WHOLE}"
            first = first._replace(found=found, expected=expected)
        remarks.find(*first)
