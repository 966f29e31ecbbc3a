"""Sizes and their text: binary units, alignment, and the parsing of SIZE arguments."""

from __future__ import annotations

import re

from imgwriter.errors import SpecError

KiB = 1 << 10
MiB = 1 << 20
GiB = 1 << 30
TiB = 1 << 40

SECTOR = 512
"""Bytes in a sector where nothing else is said (the unit of i_blocks and of LBAs by default)."""

_SIZE = re.compile(r"([0-9]+)\s*(|B|[KMGTP](?:iB)?)", re.IGNORECASE)
_FACTOR = {"": MiB, "b": 1, "k": KiB, "m": MiB, "g": GiB, "t": TiB, "p": TiB << 10}


def align_up(value: int, unit: int) -> int:
    """Return the smallest multiple of ``unit`` that is not below ``value``."""
    return -(-value // unit) * unit


def align_down(value: int, unit: int) -> int:
    """Return the largest multiple of ``unit`` that is not above ``value``."""
    return value // unit * unit


def div_ceil(value: int, unit: int) -> int:
    """Return ``value / unit``, rounded up."""
    return -(-value // unit)


def parse_size(text: str, what: str = "size") -> int:
    """Return the bytes that a SIZE argument names.

    A bare number is MiB, as ``diskSize`` in make-disk-image.nix; suffixes are B, KiB, MiB, GiB, TiB
    and their first letters (``512M`` is nixpkgs' own spelling of 512 MiB).

    Raises:
        SpecError: The text is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise SpecError(
            f"{what} {text!r} is not a size; give a whole number of MiB, or one with B, KiB, MiB, GiB or TiB"
        )
    return int(match[1]) * _FACTOR[match[2][:1].lower()]


def format_size(size: int) -> str:
    """Return ``size`` bytes as text: exact in the largest binary unit that divides it, else rounded.

    >>> format_size(1200 * MiB), format_size(1536), format_size(1000)
    ('1,200 MiB', '1.5 KiB', '1,000 B')
    """
    for unit, name in ((TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if size >= unit:
            if size % unit == 0:
                return f"{size // unit:,} {name}"
            if unit > KiB and size < 16 * unit and size % (unit >> 10) == 0:
                return f"{size // (unit >> 10):,} {_below(name)}"
            return f"{size / unit:,.1f} {name}"
    return f"{size:,} B"


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with what it counts, in the right form; the plural is the singular with s by default.

    >>> counted(1, "file"), counted(1234, "file"), counted(0, "entry", "entries")
    ('1 file', '1,234 files', '0 entries')
    """
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _below(name: str) -> str:
    return {"TiB": "GiB", "GiB": "MiB", "MiB": "KiB"}[name]
