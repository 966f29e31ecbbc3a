"""What the checkers give back, and how they tell how far they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from imgwriter.filedata import Amount
from imgwriter.findings import Finding

Progress: TypeAlias = Callable[[Amount, Amount], None]
"""Called with what is done, and with all there is; files stay 0."""


class Result(NamedTuple):
    """What is said about one layer of an image.

    Attributes:
        findings: What its specification does not allow: damage.
        notes: What is allowed, and few images have; and what was not looked at.
    """

    findings: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
