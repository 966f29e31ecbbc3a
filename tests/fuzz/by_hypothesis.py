"""Run N inputs that Hypothesis draws through each of imgwriter's readers, and print how they fared.

::

    python -m tests.fuzz.by_hypothesis --inputs 20000 [READER ...]

    a seed ── up to four numbers where some stand ── cut off? ── checksums made right? ──> input

A crash ends the campaign of its reader: its input is shrunk to what needs the fewest and smallest changes,
and written to --crashes. What is counted, and what a crash is: tests/fuzz/campaign.py.

Hypothesis takes some 40 µs for each choice, as a reader does for an input; and the integers that it draws are
mostly small, also where they choose from a list. So all the changes of an input are one choice: a plan of
bytes.
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
from imgwriter.units import div_ceil
from tests.fuzz.campaign import Tally, command
from tests.fuzz.targets import seeds

AT_ONCE = 8
"""Inputs of one of Hypothesis's examples, which takes it some 300 µs. A list of inputs would not do: most of
what Hypothesis draws is an earlier example with one element in the place of others."""
ROUND = 800
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


class Round(NamedTuple):
    """What draws inputs for a while.

    Attributes:
        strategy: Of some inputs, made one by one.
        inputs: How many they are.
    """

    strategy: st.SearchStrategy[Iterator[bytes]]
    inputs: int


class Edits:
    """The changes of a content that are worth a try."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._spots = _spots(content)
        self._values = _values(len(content))
        self.count = len(self._spots) * len(self._values)

    def inputs(self, plans: bytes, drawn: int) -> Iterator[bytes]:
        """Yield the content changed by each of some plans, with one drawn number for all."""
        return (self._changed(plan, drawn) for plan in _PLAN.iter_unpack(plans))

    def strategy(self) -> st.SearchStrategy[Iterator[bytes]]:
        """Return what draws changed contents, some at once."""
        size = AT_ONCE * _PLAN.size
        return st.builds(self.inputs, st.binary(min_size=size, max_size=size), st.integers(0, _MOST))

    def _changed(self, plan: tuple[int, ...], drawn: int) -> bytes:
        """Return the content with changes, then cut off, then with its checksums right.

        Zeros change nothing: a plan shrinks to them.
        """
        *changes, end, unmended = plan
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


def rounds_of(target: str) -> list[Round]:
    """Return what draws inputs for a reader, in turn."""
    edits = [edits for edits in map(Edits, seeds(target)) if edits.count]
    usual = Round(st.one_of(*(each.strategy() for each in edits)), AT_ONCE)
    whole = Round(disks().map(_alone), 1) if target == "tables" else usual
    return [usual] * (ROUNDS - 2) + [whole, Round(st.binary(max_size=4096).map(_alone), 1)]


def _alone(data: bytes) -> Iterator[bytes]:
    return iter([data])


def campaign(tally: Tally, inputs: int, number: int) -> None:
    """Run inputs in rounds, each with a seed of its own."""
    for turn in cycle(rounds_of(tally.target)):
        before = tally.inputs
        if before == inputs or tally.outcome().crashes:
            break
        with _garbage_kept():
            _run(turn, tally, min(before + ROUND, inputs), f"{number} {tally.target} {before}")
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


def _run(turn: Round, tally: Tally, end: int, number: str) -> None:
    """Run inputs until there have been ``end``."""

    @seed(number)
    @settings(
        max_examples=div_ceil(end - tally.inputs, turn.inputs),
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(turn.strategy)
    def test(drawn: Iterator[bytes]) -> None:
        for data in drawn:
            if tally.inputs < end or tally.outcome().crashes:  # more only to shrink
                tally.run(data)

    try:
        test()
    except Exception:
        if not tally.outcome().crashes:  # else the tally has it, shrunk
            raise


if __name__ == "__main__":
    sys.exit(command(campaign, __doc__))
