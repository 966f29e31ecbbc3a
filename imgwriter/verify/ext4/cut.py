"""A file system of which the end is missing: what is looked at then, and what is said, once.

::

    said by the superblock   ├ block 0 │ ...                          │ blocks - 1 ┤
    there                    ├ block 0 │ ... │ here - 1 ┤ part of one
                                                         └ from here on nothing is read, and nothing found

Each structure that is there is checked by itself. What is compared with all the others (links, bits, counts)
would differ for what is missing alone, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgwriter.ext4.device import Device
from imgwriter.ext4.format import SUPERBLOCK_OFFSET
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.extent import Extent, Volume
from imgwriter.findings import Finding
from imgwriter.units import counted
from imgwriter.verify.ext4 import sections


@dataclass
class Cut:
    """What is there of a file system, and what was met that is not.

    Attributes:
        here: Blocks that are there, from block 0 on.
        first: The first missing block that belongs to something; -1 before one was met.
        owner: What that is.
        inodes: How many inodes have a block that is missing.
    """

    here: int
    first: int = -1
    owner: str = ""
    inodes: int = 0

    def miss(self, start: int, stop: int, owner: str) -> bool:
        """Note what a run of blocks belongs to, and return whether a part of it is missing."""
        if stop <= self.here:
            return False
        start = max(start, self.here)
        if self.first < 0 or start < self.first:
            self.first, self.owner = start, owner
        return True


def cut_of(device: Device, superblock: SuperblockValues) -> Cut | None:
    """Return what is there of a file system, None where all of it is."""
    here = device.size // superblock.block_size
    return Cut(here) if here < superblock.blocks else None


def up_to(volume: Volume, end: int) -> Volume:
    """Return a volume without what it has from byte ``end`` on: what is there belongs to something else."""
    extents = [
        e if e.end <= end else Extent(e.start, end - e.start, e.data, e.data_start, e.label)
        for e in volume.extents
        if e.start < end
    ]
    return Volume(end, extents)


def missing(cut: Cut, device: Device, superblock: SuperblockValues) -> tuple[Finding, Finding]:
    """Return the one finding, once all of what is there was gone through, and a note of what is left out."""
    lost = superblock.blocks - cut.here
    found = f"{superblock.blocks:,}: the end is missing, {counted(lost, 'block')} from byte"
    found += f" {device.block_offset(cut.here):,} on"
    if cut.owner:
        found += f"; the first in use is block {cut.first:,}, of {cut.owner}"
    if cut.inodes:
        found += f"; {counted(cut.inodes, 'inode')} {'lacks' if cut.inodes == 1 else 'lack'} blocks"
    expected = f"{cut.here:,} at most, the blocks that there are: get the whole of the image"
    at = device.offset + SUPERBLOCK_OFFSET
    left_out = "a part: links, bits of bitmaps and counts are not compared"
    return (
        Finding("ext4 superblock", "s_blocks_count", at, expected, found, sections.SUPER),
        Finding("ext4", "", at, "the whole file system", left_out, sections.SUPER),
    )
