"""What a tree asks of an ext4 file system, before its size is known.

A :class:`Demand` has every inode in the order of its number, how many blocks each needs, how its
directories are laid out and which extended attributes share a block. None of that depends on where
things will stand, so it is worked out once, and the smallest size, a plan for some size and the
bytes all come from it. What the format cannot hold is refused here.
"""

from __future__ import annotations

import stat
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from imgwriter.errors import UnrepresentableError, show
from imgwriter.ext4 import block_map
from imgwriter.ext4 import features as f
from imgwriter.ext4.directory import DirectoryFormat, DirectoryPlan, plan_directories
from imgwriter.ext4.extent_tree import I_BLOCK_SIZE
from imgwriter.ext4.format import EXT4_FIRST_INO, EXT4_LINK_MAX, EXT4_ROOT_INO, INODE_EXTRA_ISIZE, INODE_SIZE
from imgwriter.ext4.params import TIME_END, Parameters
from imgwriter.ext4.xattr import EXT4_XATTR_REFCOUNT_MAX, XattrPlanner
from imgwriter.tree.inventory import Inode, Inventory, Run
from imgwriter.units import align_up, div_ceil, format_size

LOST_FOUND = b"lost+found"
LOST_FOUND_SIZE = 16 << 10
"""Bytes that lost+found has room for from the start, so that e2fsck need not allocate."""

LINK_MAX_EXT3 = 32000
SIZE_MAX_WITHOUT_LARGE_FILE = (1 << 31) - 1
"""Bytes of a file. Spec: super.rst, s_feature_ro_compat: large_file marks that there are larger ones."""
_SECOND = 10**9
MTIME_MIN = -(1 << 31) * _SECOND
"""1901-12-13 20:45:52 UTC, in nanoseconds."""
MTIME_END = TIME_END * _SECOND
"""2446-05-10 22:38:56 UTC, in nanoseconds: the first time that the 34 bits cannot say."""


@dataclass
class XattrBlock:
    """A block of extended attributes and how many inodes share it."""

    content: bytes
    refcount: int = 0


@dataclass
class Demand:
    """What one tree needs, whatever the size.

    ``position`` counts inodes in the order of their numbers: 0 is the root (inode 2), 1 is lost+found
    (11), the rest follow in the inventory's order from 12 on.

    Attributes:
        inventory: The tree.
        parameters: What was asked for.
        inodes: Every inode by position.
        numbers: Inode number by ``Inode.index``; the last is that of a lost+found made here.
        links: i_links_count by position (a directory past the limit has 1).
        blocks: Data blocks by position, those of the mapping not counted.
        sparse: For files with holes, the half-open runs of logical blocks that hold data, by position.
        directories: Positions of the directories, in order.
        directory_plans: Their plans, in that order.
        directory_format: What the directories have in common.
        xattr_inline: The bytes for the inode's xattr area, by position, where there are any.
        xattr_block_of: Index into xattr_blocks, by position, where there is one.
        xattr_blocks: The shared blocks.
    """

    inventory: Inventory
    parameters: Parameters
    inodes: list[Inode]
    numbers: array[int]
    links: array[int]
    blocks: array[int]
    sparse: dict[int, tuple[Run, ...]]
    directories: list[int]
    directory_plans: list[DirectoryPlan]
    directory_format: DirectoryFormat
    xattr_inline: dict[int, bytes]
    xattr_block_of: dict[int, int]
    xattr_blocks: list[XattrBlock]

    @property
    def orphan_file(self) -> bool:
        """Whether an orphan file takes the number after the tree's last."""
        return self.parameters.feature_set.has(f.Compat.ORPHAN_FILE)

    @property
    def last_inode(self) -> int:
        """The highest inode number in use."""
        return number_at(len(self.inodes) - 1) + self.orphan_file

    @property
    def needed_inodes(self) -> int:
        """Inodes that the file system must have, the ten reserved ones included."""
        return self.last_inode


def number_at(position: int) -> int:
    """Return the inode number of a position in ``Demand.inodes``."""
    return EXT4_FIRST_INO - 1 + position if position else EXT4_ROOT_INO


def survey(inventory: Inventory, parameters: Parameters) -> Demand:
    """Work out what a tree needs.

    Raises:
        UnrepresentableError: Something in the tree has no form in this file system.
    """
    inodes, numbers = _number(inventory, parameters)
    sparse: dict[int, tuple[Run, ...]] = {}
    links = array("I", bytes(4 * len(inodes)))
    blocks = array("Q", bytes(8 * len(inodes)))
    limits = _Limits(parameters)
    block_size = parameters.block_size
    directories = []
    with_xattrs = []
    for position, inode in enumerate(inodes):
        kind = inode.mode & 0o170000
        if not (
            (kind == stat.S_IFREG or kind == stat.S_IFDIR)
            and MTIME_MIN <= inode.mtime_ns < MTIME_END
            and not (inode.uid | inode.gid) >> 32
            and inode.nlink <= limits.link_max
            and inode.size <= limits.max_size
        ):
            limits.check(inode, kind)  # nearly every file passes above, at a third of this call's price
        links[position] = inode.nlink
        if kind == stat.S_IFREG:
            if inode.data is not None:
                blocks[position] = -(-inode.size // block_size)
                if inode.runs is not None:
                    runs = sparse[position] = _block_runs(inode.runs, block_size)
                    blocks[position] = sum(end - start for start, end in runs)
        elif kind == stat.S_IFDIR:
            directories.append(position)
        elif kind == stat.S_IFLNK:
            # A target that fits beside no terminating zero byte stays in the inode.
            blocks[position] = 0 if len(inode.target) < I_BLOCK_SIZE else 1
        if inode.xattrs:
            limits.check_xattrs(inode)
            with_xattrs.append(position)
    fmt = _directory_format(parameters)
    plans = _plan_directories(inodes, directories, fmt)
    for position, plan in zip(directories, plans, strict=True):
        blocks[position] = plan.blocks
        links[position] = limits.directory_links(inodes[position])
    if plans[1].tree is None:
        blocks[1] = max(blocks[1], min(LOST_FOUND_SIZE // block_size, 12))
    demand = Demand(
        inventory, parameters, inodes, numbers, links, blocks, sparse, directories, plans, fmt, {}, {}, []
    )
    _plan_xattrs(demand, with_xattrs)
    return demand


def _number(inventory: Inventory, parameters: Parameters) -> tuple[list[Inode], array[int]]:
    """Return the inodes by position and the inode numbers by ``Inode.index``."""
    everything = inventory.inodes
    given = (inventory.root.entries or {}).get(LOST_FOUND)
    if given is None:
        lost_found = Inode(stat.S_IFDIR | 0o700, mtime_ns=parameters.time * _SECOND)
        lost_found.parent, lost_found.name = inventory.root, LOST_FOUND
        numbers = array("I", range(EXT4_FIRST_INO, EXT4_FIRST_INO + len(everything)))
        numbers[0] = EXT4_ROOT_INO
        numbers.append(EXT4_FIRST_INO)  # for index -1, which the one made here has
        return [inventory.root, lost_found, *everything[1:]], numbers
    if given.entries is None:
        raise UnrepresentableError(
            "lost+found at the top of the tree is not a directory, which e2fsck needs; exclude it",
            LOST_FOUND,
        )
    inodes = [inventory.root, given, *(i for i in everything[1:] if i is not given)]
    numbers = array("I", bytes(4 * len(everything)))
    for position, inode in enumerate(inodes):
        numbers[inode.index] = number_at(position)
    return inodes, numbers


def directory_entries(demand: Demand, position: int) -> dict[bytes, Inode]:
    """Return a directory's names; the root's with the lost+found that was made for it."""
    inode = demand.inodes[position]
    entries = inode.entries or {}
    if position == 0 and LOST_FOUND not in entries:
        entries = dict(sorted([*entries.items(), (LOST_FOUND, demand.inodes[1])]))
    return entries


def _directory_format(parameters: Parameters) -> DirectoryFormat:
    features = parameters.feature_set
    return DirectoryFormat(
        block_size=parameters.block_size,
        csum=features.has(f.RoCompat.METADATA_CSUM),
        index=features.has(f.Compat.DIR_INDEX),
        hash_seed=parameters.hash_seed,
        signed=True,
        large_dir=features.has(f.Incompat.LARGEDIR),
        filetype=features.has(f.Incompat.FILETYPE),
    )


def _plan_directories(
    inodes: list[Inode], directories: list[int], fmt: DirectoryFormat
) -> list[DirectoryPlan]:
    names: list[Sequence[bytes]] = [list(inodes[p].entries or ()) for p in directories]
    root = list(names[0])
    if LOST_FOUND not in root:
        names[0] = sorted([*root, LOST_FOUND])
    if directories[1] != 1:
        raise AssertionError("lost+found is the second inode")
    return plan_directories(names, fmt, lambda index: inodes[directories[index]].path)


def _plan_xattrs(demand: Demand, positions: list[int]) -> None:
    planner = XattrPlanner(
        block_size=demand.parameters.block_size,
        inode_size=INODE_SIZE,
        extra_isize=INODE_EXTRA_ISIZE,
    )
    # Identical blocks are shared, each by as many inodes as its reference count can say.
    open_blocks: dict[bytes, int] = {}
    for position in positions:
        inode = demand.inodes[position]
        plan = planner.plan(inode.xattrs, inode.path)
        if plan.inline:
            demand.xattr_inline[position] = plan.inline
        if plan.block is None:
            continue
        index = open_blocks.get(plan.block)
        if index is None or demand.xattr_blocks[index].refcount == EXT4_XATTR_REFCOUNT_MAX:
            index = open_blocks[plan.block] = len(demand.xattr_blocks)
            demand.xattr_blocks.append(XattrBlock(plan.block))
        demand.xattr_blocks[index].refcount += 1
        demand.xattr_block_of[position] = index


def _block_runs(runs: Sequence[Run], block_size: int) -> tuple[Run, ...]:
    """Return byte runs as runs of whole blocks, neighbours joined."""
    result: list[Run] = []
    for start, end in runs:
        first, last = start // block_size, div_ceil(end, block_size)
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return tuple(result)


class _Limits:
    """What one inode may be in this file system."""

    def __init__(self, parameters: Parameters) -> None:
        features = parameters.feature_set
        self.fs_type = parameters.fs_type
        self.block_size = parameters.block_size
        self.ext_attr = features.has(f.Compat.EXT_ATTR)
        self.dir_nlink = features.has(f.RoCompat.DIR_NLINK)
        self.link_max = EXT4_LINK_MAX if self.dir_nlink else LINK_MAX_EXT3
        self.extents = features.has(f.Incompat.EXTENTS)
        self.max_size = _max_file_size(self.block_size, self.extents, features.has(f.RoCompat.HUGE_FILE))
        if not features.has(f.RoCompat.LARGE_FILE):
            self.max_size = min(self.max_size, SIZE_MAX_WITHOUT_LARGE_FILE)

    def check(self, inode: Inode, kind: int) -> None:
        """Raise UnrepresentableError when the inode has no form."""
        if not MTIME_MIN <= inode.mtime_ns < MTIME_END:
            raise self._refuse(
                inode,
                f"its time, {inode.mtime_ns // _SECOND} s after 1970, is outside the years 1901 to 2446"
                " that ext4 can say; touch it",
            )
        if not (0 <= inode.uid < 1 << 32 and 0 <= inode.gid < 1 << 32):
            raise self._refuse(
                inode, f"its owner {inode.uid}:{inode.gid} does not fit into 32 bits; use --owner"
            )
        if kind == stat.S_IFREG:
            if inode.size > self.max_size == SIZE_MAX_WITHOUT_LARGE_FILE:
                raise self._refuse(
                    inode,
                    f"its size, {format_size(inode.size)}, is 2 GiB or more, which needs the feature"
                    " large_file; turn it on",
                )
            if inode.size > self.max_size:
                raise self._refuse(
                    inode,
                    f"its size, {format_size(inode.size)}, is beyond {format_size(self.max_size)}, the most"
                    f" of {self.fs_type} with {self.block_size}-byte blocks; exclude it",
                )
        elif kind == stat.S_IFLNK:
            if not 0 < len(inode.target) < self.block_size:
                raise self._refuse(
                    inode,
                    f"its target of {len(inode.target):,} bytes is outside the 1 to {self.block_size - 1:,}"
                    f" that a symlink can have with {self.block_size}-byte blocks",
                )
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            if not (0 <= inode.rdev[0] < 1 << 12 and 0 <= inode.rdev[1] < 1 << 20):
                raise self._refuse(
                    inode, f"its device number {inode.rdev} is beyond 12 bits major, 20 bits minor"
                )
        elif kind not in (stat.S_IFDIR, stat.S_IFIFO, stat.S_IFSOCK):
            raise self._refuse(inode, f"its mode {inode.mode:o} names no type of file")
        if inode.nlink > self.link_max:
            raise self._refuse(
                inode,
                f"it has {inode.nlink:,} names, more than the {self.link_max:,} that {self.fs_type} can"
                " count; use --hard-links break",
            )

    def check_xattrs(self, inode: Inode) -> None:
        """Raise UnrepresentableError when no inode may have extended attributes."""
        if not self.ext_attr:
            raise self._refuse(
                inode,
                f"it has extended attributes, which need the feature ext_attr; turn it on or leave"
                f" {', '.join(show(name) for name in inode.xattrs)} out with --xattrs",
            )

    def directory_links(self, inode: Inode) -> int:
        """Return a directory's i_links_count: ``.``, its name, each subdirectory; 1 past the limit."""
        subdirectories = sum(1 for i in (inode.entries or {}).values() if i.entries is not None)
        if inode.parent is None and LOST_FOUND not in (inode.entries or {}):
            subdirectories += 1
        if subdirectories + 2 <= self.link_max:
            return subdirectories + 2
        if self.dir_nlink:
            return 1
        raise self._refuse(
            inode,
            f"it has {subdirectories:,} subdirectories, more than {self.link_max - 2:,} need the feature"
            " dir_nlink; turn it on",
        )

    @staticmethod
    def _refuse(inode: Inode, why: str) -> UnrepresentableError:
        path = inode.path
        return UnrepresentableError(f"{show(path) or '/'} cannot go into the image: {why}", path)


def _max_file_size(block_size: int, extents: bool, huge_file: bool) -> int:
    """Return the largest i_size, in bytes.

    Spec: fs/ext4/super.c, ext4_max_size and ext4_max_bitmap_size: 2^32 - 1 logical blocks with extents,
    else what three levels of pointers reach and i_blocks can count.
    """
    if extents:
        most = ((1 << 32) - 1) * block_size
        return most if huge_file else min(most, ((1 << 32) - 1) * 512)
    reach = block_map.max_blocks(block_size)
    if huge_file:
        return min(reach, (1 << 32) - 1) * block_size
    pointers = block_size // 4
    counted = ((1 << 32) - 1) * 512 // block_size
    # The indirect blocks count too: at most one per pointers blocks, and the levels above them.
    counted -= 1 + (1 + pointers) + (1 + pointers + pointers**2)
    return align_up(min(reach, counted) * block_size, block_size)
