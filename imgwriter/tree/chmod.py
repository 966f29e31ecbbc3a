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
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777, "": 0o7777}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "X": 0o111, "s": 0o6000, "t": 0o1000}


@dataclass(frozen=True, slots=True)
class _Change:
    only: str
    operator: str
    who: int
    permissions: str

    def apply(self, mode: int) -> int:
        directory = stat.S_ISDIR(mode)
        if (self.only == "D" and not directory) or (self.only == "F" and directory):
            return mode
        if not self.operator:
            return stat.S_IFMT(mode) | int(self.permissions, 8)
        bits = 0
        for letter in self.permissions:
            if letter != "X" or directory or mode & 0o111:
                bits |= _BITS[letter]
        # The sticky bit is nobody's in particular: rsync sets it whoever is named.
        bits &= self.who | (0o1000 if "t" in self.permissions else 0)
        if self.operator == "+":
            return mode | bits
        if self.operator == "-":
            return mode & ~bits
        return mode & ~self.who | bits


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
                raise SpecError(f"mode {text}: '{word}' is neither octal nor as in rsync's --chmod (u+w, D755, F644)")
            only, octal, names, operator, permissions = match.groups()
            if octal:
                changes.append(_Change(only, "", 0o7777, octal))
            else:
                who = 0
                for letter in names or "a":
                    who |= _WHO[letter]
                changes.append(_Change(only, operator, who, permissions))
        return cls(tuple(changes))

    def apply(self, mode: int) -> int:
        """Return ``mode``, a whole st_mode, changed; that of a symlink as it is."""
        if stat.S_ISLNK(mode):
            return mode
        for change in self.changes:
            mode = change.apply(mode)
        return mode
