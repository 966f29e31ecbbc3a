"""The disk as two bars: to scale, and again with its small parts large enough to be seen.

::

    to scale     │▏│        │█████│█████████████████████████████████│▏│
                  |   |        small parts grow                  |  |
    enlarged     │ MBR │ GPT │ partition 1 │     partition 2   │ GPT │

Widths of partitions in the second bar grow with the logarithm of their size, and each part has room for its
name: an MBR of 512 bytes stands beside a partition of terabytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from imgwriter.map.model import Part


class Span(NamedTuple):
    """Where a part is drawn: from ``x``, ``width`` wide."""

    x: float
    width: float


def to_scale(parts: Sequence[Part], size: int, width: float) -> list[Span]:
    """Return the spans of parts, each at its place, in a bar of ``width``."""
    factor = width / max(size, 1)
    return [Span(part.start * factor, part.size * factor) for part in parts]


def enlarged(parts: Sequence[Part], width: float, least: float) -> list[Span]:
    """Return the spans of parts in order, each ``least`` wide or more where there is room for that."""
    if not parts:
        return []
    least = min(least, width / len(parts))
    weights = [math.log2(part.size / 256 + 1) ** 2 if part.area is not None else 0.0 for part in parts]
    spare = width - least * len(parts)
    total = sum(weights)
    if not total:
        weights, total = [1.0] * len(parts), float(len(parts))
    spans, x = [], 0.0
    for weight in weights:
        each = least + spare * weight / total
        spans.append(Span(x, each))
        x += each
    return spans
