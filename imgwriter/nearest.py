"""Did you mean: the known name that is nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

_LIKENESS = 0.7
"""difflib's ratio: "szie" is as like "size" as 0.75, "nonsense" as like "contents" as 0.63."""


def nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest known one, or that it is to go."""
    found = [
        *get_close_matches(name, known, n=1, cutoff=_LIKENESS),
        *get_close_matches(name.lower(), known, n=1, cutoff=_LIKENESS),
    ]
    return f"; do you mean {found[0]!r}?" if found else "; leave it out"
