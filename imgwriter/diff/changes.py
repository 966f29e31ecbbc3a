"""What a comparison finds: a difference in a field of a structure, with the bytes that it accounts for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from imgwriter.diff.ranges import runs

TIMES = "times"
IDENTIFIERS = "identifiers"
CHECKSUMS = "checksums"
UNUSED = "unused"
CLASSES = (TIMES, IDENTIFIERS, CHECKSUMS, UNUSED)
"""What may be left out of a comparison."""


class Change(NamedTuple):
    """A difference.

    Attributes:
        layer: Where it is: "GPT", "partition 2 (ext4)".
        kind: What kind of structure: "inode", "GPT entry"; changes of one kind and field are told together.
        subject: Which structure: "inode 12 (etc/motd)".
        field: In the specification's words; empty where it concerns all of the structure.
        offset: Of the first byte of ``difference``, on disk A.
        difference: The bytes of A xor those of B.
        a, b: Both values, as text.
        group: The class that it may be ignored as, or "".
        where: The first differing byte counted in a file, or -1.
    """

    layer: str
    kind: str
    subject: str
    field: str
    offset: int
    difference: bytes
    a: str
    b: str
    group: str = ""
    where: int = -1

    @property
    def size(self) -> int:
        """Bytes that differ."""
        return len(self.difference) - self.difference.count(0)

    @property
    def first(self) -> int:
        """The offset of the first byte that differs, on disk A."""
        start, _ = next(runs(self.difference))
        return self.offset + start

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield the half-open runs of differing bytes, on disk A."""
        for start, end in runs(self.difference):
            yield self.offset + start, self.offset + end


_CLASS_OF = (
    (CHECKSUMS, re.compile(r"(?i)(csum|checksum|chksum|crc32|h_hash|e_hash)")),
    (TIMES, re.compile(r"(?i)(^[is]_\w*time(_extra|_hi)?$|s_lastcheck|^DIR_\w*(Time|Date)\w*$|_sec$|mtime)")),
    (
        IDENTIFIERS,
        re.compile(r"(?i)(uuid|_guid|disk_signature|hash_seed|BS_VolID|i_generation|s_users)"),
    ),
)
_EXCEPT = ("partition_type_guid",)


def class_of(field: str) -> str:
    """Return the class that a field may be ignored as, or ""."""
    if field in _EXCEPT:
        return ""
    return next((name for name, pattern in _CLASS_OF if pattern.search(field)), "")
