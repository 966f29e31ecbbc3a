"""An output whose places are known only when its bytes are made: a compressed image.

::

    guest      job 0        job 1        job 2   ...     each made by any worker, in any order
                 |            |            |
    lengths  [900, 0, 7]  [65536, 12]   [31, 40]         how long its units came out; 0: nothing is stored
                 └──── place, in the order of jobs ────> offsets in the file
                                                         finish: header and tables, when all is placed

Where a unit goes depends on the lengths of those before it, and on nothing else: however many workers share
the jobs, and whoever is first, the file is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from imgwriter.extent import Buffer, Volume
from imgwriter.filedata import Amount

Placer: TypeAlias = Callable[[Sequence[int]], list[int]]
"""Called once a job, in order, with its lengths; returns an offset for each (any where a length is 0)."""


class Made(NamedTuple):
    """What a job became.

    Attributes:
        lengths: For each of the job's units how many bytes of the file it takes; 0: none.
        buffers: The bytes of those that take some, in order. A memoryview is valid until the next job is
            made.
    """

    lengths: Sequence[int]
    buffers: Sequence[Buffer]


class Deferred(Protocol):
    """Bytes in jobs that can be made side by side, and must be placed one after the other."""

    @property
    def count(self) -> int:
        """How many jobs there are."""
        ...

    def weight(self, job: int) -> Amount:
        """Return how much of the input a job reads: its share of the progress."""
        ...

    def make(self, job: int) -> Made:
        """Read and compress one job; the same bytes every time.

        Raises:
            SourceError: A source cannot be read, or is not what was scanned.
        """
        ...

    def placer(self) -> Placer:
        """Return a new function that places jobs, from the first one on."""
        ...

    def finish(self, lengths: Sequence[Sequence[int]], offsets: Sequence[Sequence[int]]) -> Volume:
        """Return the rest of the file (header, tables) in a Volume of its size, when all jobs are placed."""
        ...
