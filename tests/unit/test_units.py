"""Sizes and numbers as text."""

from __future__ import annotations

import pytest

from imgwriter.units import counted


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 bytes"), (1, "1 byte"), (2, "2 bytes"), (1000, "1,000 bytes")]
)
def test_a_number_agrees_with_what_it_counts(number: int, expected: str) -> None:
    assert counted(number, "byte") == expected


def test_a_plural_that_is_not_the_singular_with_s() -> None:
    assert [counted(n, "entry is", "entries are") for n in (0, 1, 2)] == [
        "0 entries are",
        "1 entry is",
        "2 entries are",
    ]
