"""Run N inputs that Hypothesis draws through each of imgwriter's readers, and print how they fared.

::

    python -m tests.fuzz.by_hypothesis --inputs 20000 [READER ...]

    a seed ── up to four numbers where some stand ── cut off? ── checksums made right? ──> input

A crash ends the campaign of its reader: its input is shrunk to what needs the fewest and smallest changes,
and written to --crashes. What is counted, and what a crash is: tests/fuzz/campaign.py.

Hypothesis takes some 40 µs for each choice, as a reader does for an input; and the integers that it draws are
mostly small, also where they choose from a list. So all the changes are one choice, a plan of bytes.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from struct import Struct
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from imgwriter.fuzz.mutator import mend, places
from imgwriter.fuzz.record import ByteOrder
from imgwriter.fuzz.strategies import disks
from tests.fuzz.campaign import Tally, command
from tests.fuzz.targets import seeds

ROUND = 500
"""Inputs that Hypothesis draws before it begins anew: it keeps all that it drew."""
ROUNDS = 32
"""One round in so many has any bytes; one whole disks, which take a hundred times as long, for tables."""

_PLAN = Struct(">4IIB")
"""Four changes, each of which is none by half; where to cut off, by an eighth; whether to mend, by 7 in 8."""
_HALF = 1 << 31
_WORD = 4
_MOST = (1 << 64) - 1
_BITS = (0, 7, 8, 15, 16, 31, 32, 63, 64)
_NEAR = (-2, -1, 0, 1, 2)


class Spot(NamedTuple):
    """Where a number stands in an input: bytes."""

    offset: int
    length: int
    order: ByteOrder


class Value(NamedTuple):
    """What is put at a spot: a number, None for one that is drawn; added to what is there, or not."""

    number: int | None
    added: bool


class Edits:
    """The changes of a content that are worth a try."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._spots = _spots(content)
        self._values = _values(len(content))
        self.count = len(self._spots) * len(self._values)

    def apply(self, plan: bytes, drawn: int) -> bytes:
        """Return the content with changes, then cut off, then with its checksums right, by a plan of bytes.

        Zeros change nothing: the plan shrinks to them.
        """
        *changes, end, unmended = _PLAN.unpack(plan)
        data = bytearray(self._content)
        for number in changes:
            if number >= _HALF:
                self._change(data, (number - _HALF) % self.count, drawn)
        if end >= 7 * _HALF // 4:
            del data[end % (len(data) + 1) :]
        return bytes(data if unmended >= 224 else mend(data))

    def _change(self, data: bytearray, number: int, drawn: int) -> None:
        which, how = divmod(number, len(self._values))
        (offset, size, order), value = self._spots[which], self._values[how]
        result = drawn if value.number is None else value.number
        if value.added:
            result += int.from_bytes(data[offset : offset + size], order)
        data[offset : offset + size] = (result & ((1 << 8 * size) - 1)).to_bytes(size, order)

    def strategy(self) -> st.SearchStrategy[bytes]:
        """Return what draws the content with changes."""
        plans = st.binary(min_size=_PLAN.size, max_size=_PLAN.size)
        return st.builds(self.apply, plans, st.integers(0, _MOST))


def _spots(content: bytes) -> list[Spot]:
    """Return where numbers stand: the fields of records, and words that are not zero."""
    fields = [
        Spot(place.offset + field.offset, field.length, field.order or "little")
        for place in places(content)
        for field in place.shape.fields
    ]
    words = [at for at in range(0, len(content), _WORD) if any(content[at : at + _WORD])]
    return fields + [Spot(at, _WORD, order) for at in words for order in ("little", "big")]


def _values(size: int) -> list[Value]:
    """Return what is worth a try in an image of ``size`` bytes."""
    ends = {(1 << bits) + near for bits in _BITS for near in _NEAR}
    sizes = {size // unit + near for unit in (1, 512, 1024, 4096) for near in _NEAR}
    steps = [sign << bits for bits in range(0, 64, 4) for sign in (1, -1)]
    return (
        [Value(number, False) for number in sorted(ends | sizes)]
        + [Value(number, True) for number in steps]
        + [Value(None, added) for added in (False, True)]
    )


def inputs_of(target: str) -> list[st.SearchStrategy[bytes]]:
    """Return what draws inputs for a reader, one strategy for each round, in turn."""
    edits = [edits for edits in map(Edits, seeds(target)) if edits.count]
    usual = st.one_of(*(each.strategy() for each in edits))
    return [usual] * (ROUNDS - 2) + [disks() if target == "tables" else usual, st.binary(max_size=4096)]


def campaign(tally: Tally, inputs: int, number: int) -> None:
    """Run inputs in rounds, each with a seed of its own."""
    for strategy in cycle(inputs_of(tally.target)):
        before, left = tally.inputs, inputs - tally.inputs
        if not left or tally.outcome().crashes:
            break
        with _garbage_kept():
            _round(tally, strategy, min(ROUND, left), f"{number} {tally.target} {before}")
        if tally.inputs == before:
            raise RuntimeError(f"Hypothesis draws no more inputs for {tally.target}")


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Have garbage collected at the end, not in some input's time: Hypothesis keeps much to look through."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


def _round(tally: Tally, strategy: st.SearchStrategy[bytes], inputs: int, number: str) -> None:
    @seed(number)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(strategy)
    def test(data: bytes) -> None:
        tally.run(data)

    try:
        test()
    except Exception:
        if not tally.outcome().crashes:  # else the tally has it, shrunk
            raise


if __name__ == "__main__":
    sys.exit(command(campaign, __doc__))
