"""The names of one FAT directory: long-name entries in sequence, short names' bytes, and no name twice.

::

    ├ long, order 42 ┼ long, order 01 ┼ short ┤     order counts down to 1, the checksum is the short name's

Spec: FAT specification, 6.1 (short names) and 7 (long names).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from imgwriter.fat.directory_reader import short_name
from imgwriter.fat.names import BAD_IN_LONG, MAX_UNITS, fold
from imgwriter.fat.structures import LAST_LONG_ENTRY, UNITS_PER_SLOT, LongEntry, ShortEntry, checksum

MOST_SLOTS = 20

_ILLEGAL_SHORT = re.compile(rb'[\x00-\x1f"*+,./:;<=>?\[\\\]|\x7f]')
_LOWER = re.compile(rb"[a-z]")
_KANJI_E5 = b"\x05"
_OS2 = (b"EA DATA  SF", b"WP ROOT  SF")
"""OS/2's extended attributes and desktop: names with a space in them."""


class LongName:
    """The long-name entries before a short one, as far as they have come.

    Attributes:
        offset: Where the first of them is on the disk.
    """

    def __init__(self) -> None:
        self.offset = 0
        self._parts: list[bytes] = []
        self._expected = 0
        self._checksum = 0
        self._pending = False
        self._broken = False

    def add(self, entry: LongEntry, offset: int) -> Iterator[tuple[str, str, str]]:
        """Take the next entry; yield (field, expected, found) of what is wrong with it."""
        number = entry.order & ~LAST_LONG_ENTRY
        if entry.order & LAST_LONG_ENTRY:
            if self._pending and not self._broken:
                yield "LDIR_Ord", "the short entry of the name before", "another name's last part"
            self._begin(number, entry.checksum, offset)
            if not 0 < number <= MOST_SLOTS:
                self._broken = True
                yield "LDIR_Ord", f"1 to {MOST_SLOTS}", f"{number}"
        elif not self._pending:
            self._begin(0, entry.checksum, offset)
            self._broken = True
            yield "LDIR_Ord", "a name's last part first, with bit 6", f"{entry.order:#04x}"
        elif not self._broken and number != self._expected:
            self._broken = True
            yield "LDIR_Ord", f"{self._expected}", f"{number}"
        elif not self._broken and entry.checksum != self._checksum:
            self._broken = True
            yield "LDIR_Chksum", f"{self._checksum:#04x}, as in the part before", f"{entry.checksum:#04x}"
        self._parts.append(entry.name1 + entry.name2 + entry.name3)
        self._expected -= 1
        if entry.type:
            yield "LDIR_Type", "0", f"{entry.type}"
        if entry.fst_clus_lo:
            yield "LDIR_FstClusLO", "0", f"{entry.fst_clus_lo:,}"

    def end(self) -> Iterator[tuple[str, str, str]]:
        """Drop what has come, as no short entry follows it; yield what is wrong with that."""
        if self._pending and not self._broken:
            yield "LDIR_Ord", "its short entry behind it", "none: the parts are left over"
        self._pending, self._parts = False, []

    def take(self, short: bytes) -> tuple[bytes, list[tuple[str, str, str]]]:
        """Return the UTF-16 units for a short entry, empty where there are none, and what is wrong."""
        pending, broken, parts = self._pending, self._broken, self._parts
        self._pending, self._broken, self._parts = False, False, []
        if not pending or broken:
            return b"", []
        if self._expected:
            return b"", [("LDIR_Ord", f"{self._expected} before the short entry", "that came too early")]
        if self._checksum != checksum(short):
            expected = f"{checksum(short):#04x}, of the short name"
            return b"", [("LDIR_Chksum", expected, f"{self._checksum:#04x}")]
        return b"".join(reversed(parts)), []

    def _begin(self, number: int, name_checksum: int, offset: int) -> None:
        self.offset = offset
        self._parts, self._pending, self._broken = [], True, False
        self._expected, self._checksum = number, name_checksum


def long_name_damage(units: bytes) -> Iterator[tuple[str, str]]:
    """Yield (expected, found) of what is wrong with a long name's UTF-16 units and what fills the rest."""
    words = [units[at : at + 2] for at in range(0, len(units), 2)]
    length = words.index(b"\0\0") if b"\0\0" in words else len(words)
    if len(words) - length > UNITS_PER_SLOT or length == 0:
        yield "a NUL in the last part alone, after the name", f"one after {length} of {len(words)} units"
    if any(word != b"\xff\xff" for word in words[length + 1 :]):
        yield "units of 0xffff after the NUL", "others"
    if length > MAX_UNITS:
        yield f"at most {MAX_UNITS} units", f"{length}"
    bad = BAD_IN_LONG.search(units[: 2 * length].decode("utf-16-le", "surrogatepass"))
    if bad:
        yield "characters that a long name may have", f"{bad[0]!r}"


def long_text(units: bytes) -> str:
    """Return the name that the units hold, up to its NUL."""
    return units.decode("utf-16-le", "surrogatepass").partition("\0")[0]


def short_name_damage(name: bytes) -> Iterator[tuple[str, str]]:
    """Yield (expected, found) of what is wrong with the 11 bytes of a short name."""
    body = name[1:] if name[:1] == _KANJI_E5 else name
    bad = _ILLEGAL_SHORT.search(body)
    if bad:
        yield "bytes that a short name may have", f"{bad[0][0]:#04x}"
    if _LOWER.search(body):
        yield "upper case", f"{name!r}"
    if name[:1] == b" ":
        yield "no space first", f"{name!r}"
    elif name not in _OS2 and (b" " in name[:8].rstrip(b" ") or b" " in name[8:].rstrip(b" ")):
        yield "spaces at the end alone", f"{name!r}"


def keys(entry: ShortEntry, long: str) -> set[str]:
    """Return the names by which an entry is found, with case ignored."""
    found = {fold(short_name(entry).decode())}
    if long:
        found.add(fold(long))
    return found
