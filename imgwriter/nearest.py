"""Did you mean: the known name that is nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest known one, or that it is to go."""
    found = get_close_matches(name, known, n=1) or get_close_matches(name.lower(), known, n=1)
    return f"; do you mean {found[0]!r}?" if found else "; leave it out"
