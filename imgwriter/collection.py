"""The cyclic garbage collector, out of the way of what makes many objects that live on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_kept: list[object] = []


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep the cyclic garbage collector out of the way.

    A scan, and a build, make hundreds of thousands of objects that live on, and no garbage in cycles: looking
    for some again and again costs a fifth of a scan's time, and a third of a build's.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            _grow_old()
            gc.enable()


def keep(*objects: object) -> None:
    """Have objects live until others are kept, or the process ends.

    A function that returns frees what it alone had, one object after the other: of a plan and its result that
    is 1 % of a build, for a process that has nothing more to do.
    """
    _kept[:] = objects


def _grow_old() -> None:
    """Have what was made meanwhile looked at when all is, not first of all.

    The collector would begin with it as soon as it is enabled; a build was 2 % slower for it.
    """
    # What is frozen is somebody's, who would not have it thawed; in Python 3.12 the interpreter's.
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()
