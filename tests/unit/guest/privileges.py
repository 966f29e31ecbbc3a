"""What an ordinary user may: root may read everything, whatever its mode says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ROOT, NOBODY = 0, 65534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be an ordinary user: root may read everything."""
    was_root = os.geteuid() == ROOT
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(ROOT)
