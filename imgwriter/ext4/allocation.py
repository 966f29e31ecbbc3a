"""Who owns which blocks: the one place that gives out blocks.

Free blocks are given out in order, from the first to the last, so that what is in use after the
tables is a prefix of the free space, and a bitmap is a question about one number::

    free space     |directories|xattr blocks|resize|journal|orphan| files, in order |mapping blocks| free ...
                                                                                                   └ end

Files of one directory lie side by side, so a run of small ones is one run of the disk. The blocks
that map files (extent trees, indirect blocks) come last: how many there are is known only when the
files stand.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from imgwriter.ext4 import block_map, extent_tree
from imgwriter.ext4 import features as f
from imgwriter.ext4.demand import Demand
from imgwriter.ext4.extent_tree import Piece
from imgwriter.ext4.format import EXT4_NDIR_BLOCKS, EXTENT_MAX_LEN
from imgwriter.ext4.geometry import BlockRange, Geometry, free_ranges
from imgwriter.ext4.params import default_journal_blocks, default_orphan_blocks

JOURNAL_MIN_BLOCKS = 1024
SIMPLE_MAX = extent_tree.ROOT_ENTRIES * EXTENT_MAX_LEN
"""Blocks of one run that an inode maps by itself."""


class OutOfBlocksError(Exception):
    """The free space ended; never leaves this package.

    Attributes:
        missing: Blocks that were asked for beyond the last.
    """

    def __init__(self, missing: int) -> None:
        super().__init__(missing)
        self.missing = missing


@dataclass
class Mapped:
    """Where a file stands that one run cannot say.

    Attributes:
        pieces: Its data, sorted by logical block.
        map_blocks: The blocks that map it.
    """

    pieces: list[Piece]
    map_blocks: list[int] = field(default_factory=list)


@dataclass
class Allocation:
    """Where everything stands that is not a table.

    Attributes:
        starts: By position in ``Demand.inodes``, the first block of a file that is one run, else 0.
        mapped: By position, the files that are more than that.
        xattr_blocks: The block of each of ``Demand.xattr_blocks``.
        resize_block: The resize inode's double indirect block, or 0.
        journal: The journal, or None.
        orphan: The orphan file, or None.
        end: The block after the last one given out; all blocks before it are in use.
        used: Blocks given out.
        free: Blocks left.
    """

    starts: array[int]
    mapped: dict[int, Mapped]
    xattr_blocks: list[int]
    resize_block: int
    journal: Mapped | None
    orphan: Mapped | None
    end: int
    used: int
    free: int


class _FreeSpace:
    """Free blocks in order."""

    def __init__(self, ranges: Iterator[BlockRange]) -> None:
        self.ranges = ranges
        self.next, self.end = next(ranges, (0, 0))
        self.used = 0
        self.missing = 0

    def take_run(self, count: int) -> int:
        """Return the first of ``count`` blocks in one run, or 0 when the current run is too short."""
        start = self.next
        if count > self.end - start:
            return 0
        self.next = start + count
        self.used += count
        return start

    def take(self, count: int) -> list[BlockRange]:
        """Return ``count`` blocks as runs."""
        runs: list[BlockRange] = []
        while count:
            if self.next == self.end:
                following = next(self.ranges, None)
                if following is None:
                    # Goes on counting, so that one refusal can say how much is missing in all.
                    self.missing += count
                    return runs
                self.next, self.end = following
            step = min(count, self.end - self.next)
            runs.append((self.next, self.next + step))
            self.next += step
            self.used += step
            count -= step
        return runs

    def left(self) -> int:
        """Return how many blocks are left, and use them up."""
        return self.end - self.next + sum(end - start for start, end in self.ranges)


def journal_blocks(demand: Demand, geometry: Geometry) -> int:
    """Return the journal's length in blocks; 0 without one, or where the file system is too small."""
    if not geometry.features.has(f.Compat.HAS_JOURNAL):
        return 0
    return default_journal_blocks(geometry.blocks)


def allocate(demand: Demand, geometry: Geometry) -> Allocation:
    """Give every file its blocks.

    Raises:
        OutOfBlocksError: They do not fit.
    """
    space = _FreeSpace(free_ranges(geometry))
    files = array("Q", demand.blocks)
    for position in demand.directories:
        files[position] = 0
    places = _Places(demand, space)
    for position in demand.directories:
        places.add(position)
    xattr_blocks = [b for start, end in space.take(len(demand.xattr_blocks)) for b in range(start, end)]
    resize = space.take(1)[:1] if geometry.features.has(f.Compat.RESIZE_INODE) else []
    journal = _special(space, journal_blocks(demand, geometry))
    orphan = _special(space, default_orphan_blocks(geometry.blocks) if demand.orphan_file else 0)
    places.add_all(files)
    _place_maps(demand, space, [*places.mapped.values(), *(m for m in (journal, orphan) if m)])
    if space.missing:
        raise OutOfBlocksError(space.missing)
    end, used = space.next, space.used
    return Allocation(
        places.starts,
        places.mapped,
        xattr_blocks,
        resize[0][0] if resize else 0,
        journal,
        orphan,
        end,
        used,
        space.left(),
    )


class _Places:
    """Where the files stand so far, as in :class:`Allocation`."""

    def __init__(self, demand: Demand, space: _FreeSpace) -> None:
        self.starts = array("Q", bytes(8 * len(demand.inodes)))
        self.mapped: dict[int, Mapped] = {}
        self._demand = demand
        self._space = space
        self._simple_max = SIMPLE_MAX if _uses_extents(demand) else EXT4_NDIR_BLOCKS

    def add(self, position: int) -> None:
        """Place one file."""
        wanted = self._demand.blocks[position]
        runs = self._demand.sparse.get(position)
        if wanted <= self._simple_max and runs is None:
            start = self._space.take_run(wanted)
            if start:
                self.starts[position] = start
                return
        self.mapped[position] = Mapped(_pieces(runs, self._space.take(wanted), wanted))

    def add_all(self, wanted: array[int]) -> None:
        """Place many files, one after the other.

        Those that lie in one run of free blocks have their starts from one sum: a call for each would be a
        tenth of the plan.

        Args:
            wanted: By position, the blocks of those to place; 0 leaves a file as it is.
        """
        ends = list(accumulate(wanted))
        position = before = 0
        for single in [*self._singly(wanted), len(wanted)]:
            while position < single:
                room = before + self._space.end - self._space.next
                stop = bisect_right(ends, room, position, single)
                self._add_run(wanted, ends, position, stop, before)
                if stop < single:  # it goes on in the next run
                    self.add(stop)
                    stop += 1
                position, before = stop, ends[stop - 1]
            if single < len(wanted):
                self.add(single)
                position, before = single + 1, ends[single]

    def _singly(self, wanted: array[int]) -> list[int]:
        """Return the positions of files that may need more than one run, sorted."""
        several = {position for position in self._demand.sparse if wanted[position]}
        if max(wanted, default=0) > self._simple_max:
            several.update(p for p, count in enumerate(wanted) if count > self._simple_max)
        return sorted(several)

    def _add_run(self, wanted: array[int], ends: list[int], position: int, stop: int, before: int) -> None:
        """Place the files of [position, stop), for which the present run of free blocks has room."""
        if position == stop:
            return
        start = self._space.take_run(ends[stop - 1] - before)
        shift = start - before
        self.starts[position:stop] = array(
            "Q",
            [
                end - count + shift if count else there
                for end, count, there in zip(
                    ends[position:stop], wanted[position:stop], self.starts[position:stop], strict=True
                )
            ],
        )


def free_after(demand: Demand, geometry: Geometry) -> int:
    """Return how many blocks would be left, less than 0 when some are missing; as allocate, often cheaper.

    Only where a file may be cut into more pieces than its inode can map does it matter where each
    stands; else what is needed is a sum.
    """
    ranges = list(free_ranges(geometry))
    shortest = min((end - start for start, end in ranges[:-1]), default=0)
    # Three cuts make four pieces, and two whole ranges lie between them.
    longest = min(2 * shortest, SIMPLE_MAX)
    journal = journal_blocks(demand, geometry)
    alone = not demand.sparse and _uses_extents(demand) and len(ranges) > 1
    if not alone or max(journal, max(demand.blocks)) > longest:
        try:
            return allocate(demand, geometry).free
        except OutOfBlocksError as error:
            return -error.missing
    needed = sum(demand.blocks) + len(demand.xattr_blocks) + journal
    needed += geometry.features.has(f.Compat.RESIZE_INODE)
    needed += default_orphan_blocks(geometry.blocks) if demand.orphan_file else 0
    return sum(end - start for start, end in ranges) - needed


def _uses_extents(demand: Demand) -> bool:
    return demand.parameters.feature_set.has(f.Incompat.EXTENTS)


def _special(space: _FreeSpace, count: int) -> Mapped | None:
    return Mapped(_pieces(None, space.take(count), count)) if count else None


def _pieces(runs: Sequence[BlockRange] | None, ranges: list[BlockRange], count: int) -> list[Piece]:
    """Return the pieces of a file whose logical ``runs`` (None: all) fill ``ranges`` in order."""
    pieces: list[Piece] = []
    given = iter(ranges)
    start, end = next(given, (0, 0))
    for low, high in runs if runs is not None else ((0, count),):
        while low < high:
            if start == end:
                following = next(given, None)
                if following is None:
                    return pieces  # out of blocks: the caller refuses
                start, end = following
            step = min(high - low, end - start)
            pieces.append(Piece(low, start, step))
            low += step
            start += step
    return pieces


def _place_maps(demand: Demand, space: _FreeSpace, files: list[Mapped]) -> None:
    block_size = demand.parameters.block_size
    extents = _uses_extents(demand)
    for mapped in files:
        if extents:
            needed = extent_tree.blocks_needed(extent_tree.extent_count(mapped.pieces), block_size)
        else:
            needed = block_map.blocks_needed(mapped.pieces, block_size)
        if needed:
            mapped.map_blocks = [b for start, end in space.take(needed) for b in range(start, end)]
