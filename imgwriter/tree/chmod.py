"""Modes as rsync's ``--chmod`` writes them: ``644``, ``D755,F644``, ``u+w,go-rwx``, ``a+rX``.

A comma list, each word applied to the result of the one before. A word may begin with ``D``
(directories only) or ``F`` (everything else). Then comes an octal number, which replaces all twelve
bits, or any of ``ugoa`` (none: all three; the umask is not asked, so that it cannot show in an image),
one of ``+ - =``, and any of ``rwxXst``, where ``X`` is x for directories and for what somebody may
execute already. Symlinks have no mode of their own: they are left alone.

Spec: rsync(1) 3.2, --chmod.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass

from imgwriter.errors import SpecError

_WORD = re.compile(r"([DF]?)(?:([0-7]{1,4})|([ugoa]*)([-+=])([rwxXst]*))")
_WHERE = {"u": 0o700, "g": 0o070, "o": 0o007, "a": 0o777}
_SET_ID = {"u": 0o4000, "g": 0o2000}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111}


@dataclass(frozen=True, slots=True)
class _Change:
    """One word.

    Attributes:
        only: "D", "F" or "".
        operator: One of + - =; "" for an octal number.
        bits: What is added, removed or set, less what X stands for.
        if_executable: What X stands for.
        clears: What goes first, with = and octal numbers.
    """

    only: str
    operator: str
    bits: int
    if_executable: int = 0
    clears: int = 0

    def apply(self, mode: int) -> int:
        directory = stat.S_ISDIR(mode)
        if (self.only == "D" and not directory) or (self.only == "F" and directory):
            return mode
        bits = self.bits
        if directory or mode & 0o111:
            bits |= self.if_executable
        if self.operator == "-":
            return mode & ~bits
        return mode & ~self.clears | bits


def _symbolic(only: str, names: str, operator: str, permissions: str) -> _Change:
    where = set_id = 0
    for name in names or "a":
        where |= _WHERE[name]
        set_id |= _SET_ID.get(name, 0)
    top = 0
    if "s" in permissions:
        top |= set_id or 0o4000
    if "t" in permissions:
        top |= 0o1000
    bits = 0
    for letter in _BITS.keys() & set(permissions):
        bits |= _BITS[letter] & where
    if_executable = _BITS["x"] & where if "X" in permissions else 0
    # rsync leaves the upper bits alone at "=", unless the word names one of them.
    clears = where | (set_id if top else 0) if operator == "=" else 0
    return _Change(only, operator, bits | top, if_executable, clears)


@dataclass(frozen=True, slots=True)
class Chmod:
    """A list of changes to a mode."""

    changes: tuple[_Change, ...]

    @classmethod
    def parse(cls, text: str | int) -> Chmod:
        """Return the changes that ``text`` asks for; a number is a mode, all twelve bits of it.

        Raises:
            SpecError: It is not a mode.
        """
        words = f"{text:o}".split(",") if isinstance(text, int) else text.split(",")
        changes = []
        for word in words:
            match = _WORD.fullmatch(word)
            if not match:
                raise SpecError(
                    f"mode {text}: '{word}' is neither octal nor as in rsync's --chmod (u+w, D755, F644)"
                )
            only, octal, names, operator, permissions = match.groups()
            if octal:
                changes.append(_Change(only, "", int(octal, 8), clears=0o7777))
            else:
                changes.append(_symbolic(only, names, operator, permissions))
        return cls(tuple(changes))

    def apply(self, mode: int) -> int:
        """Return ``mode``, a whole st_mode, changed; that of a symlink as it is."""
        if stat.S_ISLNK(mode):
            return mode
        for change in self.changes:
            mode = change.apply(mode)
        return mode
