"""The names of a FAT directory: which are valid, and the short name that each one gets.

A FAT file has a short name, 8 + 3 bytes in upper case, unique in its directory, and may have a long one in
UTF-16. A name that is a short name as it stands (``BOOTX64.EFI``) needs no long one. Every other name,
lower case alone included (``grub.cfg``), gets long-name entries, as the Linux driver makes them: the case
bits in DIR_NTRes would do for lower case, but fewer readers know them.

Short names are a function of the directory's names alone: a name that is a short name but for its case has
that one, the others get ``BASIS~1``, ``~2`` and so on in the order of their bytes.

Spec: FAT specification, 7 (long file names: checksum, legal characters, basis-name generation).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from imgwriter.errors import PlanInvariantError, UnrepresentableError, show
from imgwriter.fat.structures import UNITS_PER_SLOT

MAX_UNITS = 255
"""UTF-16 units of a long name."""

# What Linux's vfat_bad_char() and the specification refuse in a long name; U+FFFF is the padding after one.
BAD_IN_LONG = re.compile('[\x00-\x1f"*/:<>?\\\\|\uffff]')
_SHORT_CHARACTERS = "A-Z0-9!#$%&'()@^_`{}~-"
_SHORT = re.compile(rf"[{_SHORT_CHARACTERS}]{{1,8}}(?:\.[{_SHORT_CHARACTERS}]{{1,3}})?")
_NOT_SHORT = re.compile(f"[^{_SHORT_CHARACTERS}]")
_ASCII_UPPER = str.maketrans({chr(c): chr(c - 32) for c in range(ord("a"), ord("z") + 1)})
_MAX_DIGITS = 6


class Name(NamedTuple):
    """A name as a directory holds it.

    Attributes:
        short: 11 bytes, padded with spaces.
        long: UTF-16LE without a terminator; empty where the short name says it all.
    """

    short: bytes
    long: bytes

    @property
    def slots(self) -> int:
        """How many directory entries the name takes."""
        return 1 - (-len(self.long) // (2 * UNITS_PER_SLOT))


def directory_names(names: Iterable[bytes], directory: bytes) -> list[Name]:
    """Return the FAT form of every name of one directory, in the order given.

    Args:
        names: UTF-8, in the order of their bytes.
        directory: Path of the directory, for messages.

    Raises:
        UnrepresentableError: A name has no form, or two differ in nothing but case.
    """
    texts = [_checked(name, directory) for name in names]
    _refuse_collisions(texts, directory)
    own = [_own_short_name(text) for text in texts]
    # The names that are short ones but for their case keep them: a tail made up for another name can then
    # never be what somebody would find under a name of this directory.
    generated = _ShortNames(short for short in own if short is not None)
    return [
        Name(short or generated.generate(text), _long_name(text, short))
        for text, short in zip(texts, own, strict=True)
    ]


def _long_name(text: str, own_short_name: bytes | None) -> bytes:
    if own_short_name is not None and text == text.translate(_ASCII_UPPER):
        return b""
    return text.encode("utf-16-le")


def _checked(name: bytes, directory: bytes) -> str:
    """Return the name as text, or refuse it."""
    path = directory + b"/" + name if directory else name
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise UnrepresentableError(
            f"{show(path)}: the name is not UTF-8, FAT stores UTF-16; rename or exclude it", path
        ) from None
    bad = BAD_IN_LONG.search(text)
    if bad:
        raise UnrepresentableError(
            f"{show(path)}: a FAT name cannot hold {bad[0]!r}; rename or exclude it", path
        )
    if text.endswith((".", " ")):
        raise UnrepresentableError(
            f"{show(path)}: a FAT name cannot end in a dot or a space, readers drop them; "
            "rename or exclude it",
            path,
        )
    units = len(text.encode("utf-16-le")) // 2
    if units > MAX_UNITS:
        raise UnrepresentableError(
            f"{show(path)}: the name has {units} UTF-16 units, FAT holds {MAX_UNITS}; rename or exclude it",
            path,
        )
    return text


def _refuse_collisions(texts: Iterable[str], directory: bytes) -> None:
    seen: dict[str, str] = {}
    for text in texts:
        other = seen.setdefault(fold(text), text)
        if other is not text:
            prefix = directory + b"/" if directory else b""
            path, first = prefix + text.encode(), prefix + other.encode()
            raise UnrepresentableError(
                f"{show(path)}: FAT does not tell it from {show(first)}, which differs only in case; "
                "rename or exclude one",
                path,
            )


def fold(text: str) -> str:
    """Return what stays of a name when case is ignored, character by character, as FAT's readers do."""
    if text.isascii():
        return text.upper()
    return "".join(u if len(u := c.upper()) == 1 else c for c in text)


class _ShortNames:
    """The short names of one directory: those taken, and the next free number of each stem."""

    def __init__(self, taken: Iterable[bytes]) -> None:
        self._taken = set(taken)
        self._next: dict[tuple[str, str, int], int] = {}

    def generate(self, text: str) -> bytes:
        """Take and return a new short name with a numeric tail for the long name ``text``."""
        base, extension = _basis(text)
        for digits in range(1, _MAX_DIGITS + 1):
            stem = base[: 7 - digits]
            # One counter for all names with this stem: it never looks at a number twice, so that a
            # directory of n names costs n steps, however alike they are.
            key = (stem, extension, digits)
            number = self._next.get(key, 10 ** (digits - 1))
            while number < 10**digits:
                short = _pad(f"{stem}~{number}", extension)
                number += 1
                if short not in self._taken:
                    self._next[key] = number
                    self._taken.add(short)
                    return short
            self._next[key] = number
        # A directory has 65,536 entries at most, a tail of six digits a million numbers.
        raise PlanInvariantError(f"no short name is left for {text!r}")


def _own_short_name(text: str) -> bytes | None:
    """Return ``text`` in upper case as a short name, None when more than its case would be lost."""
    upper = text.translate(_ASCII_UPPER)
    if not _SHORT.fullmatch(upper):
        return None
    base, _, extension = upper.partition(".")
    return _pad(base, extension)


def _pad(base: str, extension: str) -> bytes:
    return (base.ljust(8) + extension.ljust(3)).encode("ascii")


def _basis(text: str) -> tuple[str, str]:
    """Return the basis name (at most 8 characters) and its extension (at most 3)."""
    # Leading dots do not start an extension: .config has the basis CONFIG.
    upper = text.translate(_ASCII_UPPER).lstrip(". ")
    base, dot, extension = upper.rpartition(".")
    if not dot:
        base, extension = upper, ""
    return (_clean(base) or "_")[:8], _clean(extension)[:3]


def _clean(text: str) -> str:
    """Drop spaces and dots, and write what a short name cannot hold as an underscore."""
    return _NOT_SHORT.sub("_", text.replace(" ", "").replace(".", ""))
