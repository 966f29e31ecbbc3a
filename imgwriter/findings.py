"""What a reader has to say about a structure that is not as its specification has it.

A finding names the structure and the field in the specification's words, where it is, what was expected
and what was found, and the section that decides. A reader that goes on past damage collects them.
"""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One deviation.

    Attributes:
        structure: Such as "GPT primary header", "GPT backup entry 2", "MBR record 1".
        field: In the specification's words, such as "my_lba"; empty where it concerns the whole structure.
        offset: Bytes from the start of the disk.
        expected, found: As text.
        section: Where it stands, such as "UEFI 2.10, 5.3.2".
    """

    structure: str
    field: str
    offset: int
    expected: str
    found: str
    section: str

    def __str__(self) -> str:
        what = f"{self.structure}, {self.field}" if self.field else self.structure
        return f"{what} at {self.offset:,}: {self.found}, expected {self.expected} ({self.section})"
