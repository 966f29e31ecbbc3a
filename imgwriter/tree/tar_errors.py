"""What is said of an archive that breaks its format."""

from __future__ import annotations

CUT = "it is cut off: get the whole of it"
WHOLE = "the archive is damaged: get a whole copy of it"
"""Remedies, to end a sentence with."""


class MalformedError(ValueError):
    """A member breaks its format; ``str()`` of it says how, without the member's name."""


class NumberlessError(ValueError):
    """An ACL names somebody whose number is not known yet."""
