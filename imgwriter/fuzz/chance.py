"""Choices that follow from a seed, the same in every version of Python and on every machine.

``random`` promises that for ``random()`` alone; what it makes of it has changed. Here each choice is some
bits of SHA-256 over the seed and a counter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_BITS = 256


class Chance:
    """A stream of choices.

    Args:
        words: What it depends on: a seed, and what the choices are for.
    """

    __slots__ = ("_counter", "_key")

    def __init__(self, *words: str | int) -> None:
        self._key = "\0".join(str(word) for word in words).encode()
        self._counter = 0

    def below(self, limit: int) -> int:
        """Return a number from 0 to ``limit`` - 1, each as likely as far as it matters.

        Args:
            limit: From 1 to 2^128.
        """
        self._counter += 1
        digest = hashlib.sha256(self._key + b"\0%d" % self._counter).digest()
        return int.from_bytes(digest, "big") * limit >> _BITS

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[self.below(len(choices))]

    def sample(self, choices: Sequence[T], count: int) -> list[T]:
        """Return ``count`` different choices, in the order that they have."""
        indices = list(range(len(choices)))
        chosen = [indices.pop(self.below(len(indices))) for _ in range(count)]
        return [choices[index] for index in sorted(chosen)]
