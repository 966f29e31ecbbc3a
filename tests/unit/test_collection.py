"""collection: the garbage collector is out of the way, and what was made is old when it comes back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from imgwriter.collection import collection_paused, keep

MANY = 50_000


class Cycle:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.self: Cycle | None = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Begin with nothing young, and leave the collector as it was."""
    enabled = gc.isenabled()
    gc.enable()
    gc.collect()
    yield
    gc.unfreeze()
    if not enabled:
        gc.disable()


@pytest.mark.skipif(gc.get_freeze_count() > 0, reason="this interpreter has frozen objects itself")
def test_what_was_made_meanwhile_is_not_looked_at_when_it_ends() -> None:
    with collection_paused():
        made = [[number] for number in range(MANY)]
    # The next objects set off what was put off: it would begin with the young ones.
    later = [[number] for number in range(2 * gc.get_threshold()[0])]
    assert any(each is made for each in gc.get_objects(generation=2))
    assert not any(each is later for each in gc.get_objects(generation=2))


def test_the_collector_works_afterwards_and_finds_what_was_garbage() -> None:
    with collection_paused():
        cycle = weakref.ref(Cycle())
    assert gc.isenabled()
    gc.collect()
    assert cycle() is None


def test_what_somebody_has_frozen_stays_frozen() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    assert frozen > 1000
    with collection_paused():
        pass
    assert gc.get_freeze_count() == frozen


def test_a_collector_that_was_disabled_stays_so() -> None:
    gc.disable()
    with collection_paused():
        pass
    assert not gc.isenabled()
    gc.enable()


def test_what_is_kept_lives_until_something_else_is() -> None:
    thing = Cycle()
    thing.self = None
    seen = weakref.ref(thing)
    keep(thing)
    del thing
    assert seen() is not None
    keep()
    assert seen() is None
