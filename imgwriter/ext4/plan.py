"""The entry: an inventory, what is asked for, and a size become a plan; or its smallest size."""

from __future__ import annotations

from dataclasses import dataclass

from imgwriter.errors import CapacityError
from imgwriter.ext4 import features as f
from imgwriter.ext4.allocation import Allocation, OutOfBlocksError, allocate, free_after
from imgwriter.ext4.demand import Demand, survey
from imgwriter.ext4.encode import encode
from imgwriter.ext4.format import INODE_SIZE
from imgwriter.ext4.geometry import (
    Geometry,
    TooSmallError,
    check_tables,
    plan_geometry,
)
from imgwriter.ext4.params import Parameters
from imgwriter.extent import Volume
from imgwriter.tree.inventory import Inventory
from imgwriter.units import MiB, div_ceil, format_size

JOURNAL_FROM_BLOCKS = 2048
"""The smallest file system that has a journal, in blocks: mke2fs's threshold."""


@dataclass(frozen=True)
class Plan:
    """An ext4 file system of a fixed size, decided down to the last block; nothing is written.

    Attributes:
        demand: What the tree needs.
        geometry: The shape.
        allocation: Where everything stands.
        size: Bytes of the place it was planned for.
    """

    demand: Demand
    geometry: Geometry
    allocation: Allocation
    size: int

    @property
    def type_name(self) -> str:
        """The type as mount names it."""
        return self.demand.parameters.fs_type

    @property
    def block_size(self) -> int:
        """Bytes in a block."""
        return self.geometry.block_size

    @property
    def free(self) -> int:
        """Bytes that are free for files, those reserved for root included."""
        return self.allocation.free * self.block_size

    @property
    def used(self) -> int:
        """Bytes in use, the file system's own structures included."""
        return self.geometry.blocks * self.block_size - self.free

    @property
    def inodes(self) -> int:
        """Inodes of the file system."""
        return self.geometry.inodes

    @property
    def free_inodes(self) -> int:
        """Inodes free for new files."""
        return self.geometry.inodes - self.demand.last_inode

    @property
    def features(self) -> str:
        """The feature flags by mke2fs's names."""
        return str(self.geometry.features)

    def volume(self) -> Volume:
        """Return the file system's bytes."""
        return encode(self.demand, self.geometry, self.allocation, self.size)


def plan(inventory: Inventory, parameters: Parameters, size: int, describe: str = "the disk") -> Plan:
    """Plan a file system of ``size`` bytes that holds the inventory; see :func:`plan_demand`."""
    return plan_demand(survey(inventory, parameters), size, describe)


def plan_demand(demand: Demand, size: int, describe: str = "the disk") -> Plan:
    """Plan a file system of ``size`` bytes that holds what was surveyed.

    Args:
        demand: From :func:`~imgwriter.ext4.demand.survey`; it serves any number of plans.
        size: Bytes of the partition; a remainder below a block stays unused.
        describe: The place, for messages: "partition 2 'root'".

    Raises:
        CapacityError: The tree does not fit.
        SpecError: The size or the inodes are beyond the format's limits.
    """
    try:
        geometry = _geometry(demand, size)
        allocation = allocate(demand, geometry)
    except (OutOfBlocksError, TooSmallError):
        raise _capacity_error(demand, size, describe) from None
    return Plan(demand, geometry, allocation, size)


def minimum_size(inventory: Inventory, parameters: Parameters, spare: int = 0) -> int:
    """Return the smallest size in bytes that holds the inventory; see :func:`minimum_size_of`."""
    return minimum_size_of(survey(inventory, parameters), spare)


def minimum_size_of(demand: Demand, spare: int = 0) -> int:
    """Return the smallest size in bytes, a multiple of a block, that holds what was surveyed.

    Args:
        demand: From :func:`~imgwriter.ext4.demand.survey`.
        spare: Bytes that shall be free for more files.

    A file system whose features have a journal gets one, so the size is at least 2,048 blocks.

    The tables grow with the size, so the size is the least fixed point of "what is needed at this
    size": it is approached from below, each step by what was missing.
    """
    block_size = demand.parameters.block_size
    spare_blocks = div_ceil(spare, block_size)
    inodes = max(demand.needed_inodes, demand.parameters.inodes or 0)
    tables = div_ceil(inodes * INODE_SIZE, block_size)
    blocks = sum(demand.blocks) + len(demand.xattr_blocks) + tables + spare_blocks
    too_few = blocks - 1
    while True:
        feasible = _first_feasible(demand, blocks)
        too_few = feasible - 1 if feasible > blocks else too_few
        blocks = feasible
        geometry = _geometry(demand, blocks * block_size)
        missing = max(spare_blocks - free_after(demand, geometry), 0)
        if not missing:
            return _step_back(demand, too_few, blocks, spare_blocks) * block_size
        too_few = blocks
        if geometry.blocks < blocks:
            # A last group this small is cut off: all sizes up to one that keeps it are the same.
            while _geometry(demand, blocks * block_size) == geometry:
                blocks += 1
        else:
            blocks += missing


def _step_back(demand: Demand, too_few: int, enough: int, spare_blocks: int) -> int:
    """Return a number of blocks in (too_few, enough] that is enough while one less is not.

    What is missing at a size is what is missing at a larger one too, unless its tables are smaller: mke2fs
    makes fewer inodes from 512 MiB and from 4 TiB on, and fewer backups of fewer, larger groups.
    """

    def fits(blocks: int) -> bool:
        try:
            geometry = _geometry(demand, blocks * demand.parameters.block_size)
        except TooSmallError:
            return False
        return free_after(demand, geometry) >= spare_blocks

    if enough - 1 == too_few or not fits(enough - 1):
        return enough
    enough -= 1
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if fits(middle) else (middle, enough)
    return enough


def _first_feasible(demand: Demand, blocks: int) -> int:
    """Return the first number of blocks, from ``blocks`` on, that holds the file system's own structures."""

    def feasible(count: int) -> bool:
        try:
            _geometry(demand, count * demand.parameters.block_size)
        except TooSmallError:
            return False
        return True

    if feasible(blocks):
        return blocks
    step = 1
    while not feasible(blocks + step):
        blocks += step
        step *= 2
    low, high = blocks, blocks + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if feasible(middle) else (middle, high)
    return high


def _geometry(demand: Demand, size: int) -> Geometry:
    parameters = demand.parameters
    geometry = plan_geometry(parameters, size, demand.needed_inodes)
    if geometry.blocks < JOURNAL_FROM_BLOCKS and geometry.features.has(f.Compat.HAS_JOURNAL):
        raise TooSmallError("too small for a journal")
    check_tables(geometry)
    return geometry


def _capacity_error(demand: Demand, size: int, describe: str) -> CapacityError:
    needed = minimum_size_of(demand)
    kind = demand.parameters.fs_type
    data = sum(demand.blocks) * demand.parameters.block_size
    inodes = max(demand.needed_inodes, demand.parameters.inodes or 0)
    return CapacityError(
        f"{describe}: {kind} needs {format_size(needed)} ({format_size(data)} of files and directories,"
        f" {format_size(needed - data)} of its own structures, {inodes:,} inodes), there are"
        f" {format_size(size)}; make the disk larger by {div_ceil(needed - size, MiB):,} MiB, or its size"
        " 'auto'",
        needed,
        size,
        demand.inventory.largest(),
    )
