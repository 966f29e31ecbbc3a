"""Directories: which name goes to which block, and the bytes of the blocks.

A directory is a file of blocks, each a chain of entries whose ``rec_len`` fields cover the block::

    leaf block      | entry | ... | last entry, its rec_len reaches the end | tail, with metadata_csum |
    entry           | inode le32 | rec_len le16 | name_len u8 | file_type u8 | name, padded to 4 |

One that fits into a block is just that: ``.``, ``..`` and the names in the order of their bytes. A
larger one is an htree (:mod:`~imgwriter.ext4.htree`) when the file system has dir_index: names in the
order of their hashes, in leaves, below a small index. Without dir_index it is linear, however long.

Two steps. *Planning* needs the names alone, so that the number of blocks is known before anything has
a number: :func:`plan_directories` does all directories at once, since the hashes of many names
together cost a small part of what they cost one by one. *Encoding* needs the inode numbers too.

Invariants: every name is in exactly one leaf; ``len(encode_directory(plan, ...)) == plan.blocks *
block_size``; the bytes depend on nothing but the arguments.

Spec: kernel Documentation/filesystems/ext4/directory.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import NamedTuple

from imgwriter.errors import UnrepresentableError, show
from imgwriter.ext4 import htree
from imgwriter.ext4.checksum import crc32c
from imgwriter.ext4.dirhash import half_md4

ENTRY = struct.Struct("<IHBB")
"""struct ext4_dir_entry_2 without its name: inode, rec_len, name_len, file_type."""

ENTRY_TAIL = struct.Struct("<IHBBI")
"""struct ext4_dir_entry_tail: det_reserved_zero1, det_rec_len, det_reserved_zero2, det_reserved_ft,
det_checksum."""

EXT4_FT_UNKNOWN = 0
EXT4_FT_REG_FILE = 1
EXT4_FT_DIR = 2
EXT4_FT_CHRDEV = 3
EXT4_FT_BLKDEV = 4
EXT4_FT_FIFO = 5
EXT4_FT_SOCK = 6
EXT4_FT_SYMLINK = 7
EXT4_FT_DIR_CSUM = 0xDE

EXT4_NAME_LEN = 255
"""The longest name, in bytes."""

_REC_LEN = tuple((ENTRY.size + length + 3) & ~3 for length in range(EXT4_NAME_LEN + 1))
"""rec_len by name_len: header and name, rounded up to 4."""

_PAD = tuple(bytes(-length & 3) for length in range(EXT4_NAME_LEN + 1))
_DOTS_SIZE = _REC_LEN[1] + _REC_LEN[2]


@dataclass(frozen=True, slots=True)
class DirectoryFormat:
    """What all directories of one file system have in common.

    Attributes:
        block_size: Bytes in a block: 1024, 2048 or 4096.
        csum: metadata_csum is on: each block ends in a checksum.
        index: dir_index is on: a directory of more than a block becomes an htree.
        hash_seed: ``s_hash_seed``, 16 bytes.
        signed: Names are hashed as signed chars (EXT2_FLAGS_SIGNED_HASH in ``s_flags``), else unsigned.
        large_dir: large_dir is on: an htree may have three levels.
        filetype: filetype is on: entries say the type of their inode.
    """

    block_size: int = 4096
    csum: bool = True
    index: bool = True
    hash_seed: bytes = bytes(16)
    signed: bool = False
    large_dir: bool = False
    filetype: bool = True

    @property
    def leaf_size(self) -> int:
        """Bytes of a leaf block that entries may use."""
        return self.block_size - ENTRY_TAIL.size if self.csum else self.block_size


class DirectoryPlan(NamedTuple):
    """How one directory is laid out.

    Attributes:
        names: The names, in the caller's order (sorted by their bytes).
        blocks: Blocks of the directory.
        order: Positions in ``names``, in the order in which their entries stand on disk; None: as given.
        leaf_ends: For each leaf block, the position in ``order`` after its last entry.
        tree: The index above the leaves, or None when the directory is linear.
    """

    names: Sequence[bytes]
    blocks: int
    order: Sequence[int] | None
    leaf_ends: Sequence[int]
    tree: htree.Tree | None

    @property
    def indexed(self) -> bool:
        """Whether the inode needs EXT4_INDEX_FL."""
        return self.tree is not None


def plan_directory(names: Sequence[bytes], fmt: DirectoryFormat, path: bytes = b"") -> DirectoryPlan:
    """Plan one directory; see :func:`plan_directories`, which is faster for many."""
    return plan_directories((names,), fmt, lambda _: path)[0]


def plan_directories(
    directories: Sequence[Sequence[bytes]], fmt: DirectoryFormat, path_of: Callable[[int], bytes]
) -> list[DirectoryPlan]:
    """Plan directories: how many blocks each has, and which name goes where.

    Args:
        directories: The names of each directory, sorted by their bytes, without ``.`` and ``..``; names
            of 1 to 255 bytes, distinct. Kept by reference in the plans.
        fmt: What the directories have in common.
        path_of: Returns a directory's path in the image from its position, for messages.

    Returns:
        A plan for each directory, in the same order.

    Raises:
        UnrepresentableError: A directory has more names than its index can hold, or a name that no
            directory can hold.
    """
    rec_len = _REC_LEN
    plans: list[DirectoryPlan | None] = []
    large = []
    for position, names in enumerate(directories):
        try:
            size = _DOTS_SIZE + sum([rec_len[len(name)] for name in names])
        except IndexError:
            raise _too_long(names, path_of(position)) from None
        if size <= fmt.leaf_size:
            plans.append(DirectoryPlan(names, 1, None, (len(names),), None))
        elif fmt.index:
            large.append(position)
            plans.append(None)
        else:
            plans.append(_plan_linear(names, fmt))
    indexed = _plan_indexed([directories[position] for position in large], large, fmt, path_of)
    return [plan if plan is not None else next(indexed) for plan in plans]


def _too_long(names: Sequence[bytes], directory: bytes) -> UnrepresentableError:
    name = next(name for name in names if len(name) > EXT4_NAME_LEN)
    path = directory + b"/" + name if directory else name
    return UnrepresentableError(
        f"{show(path)}: the name has {len(name)} bytes, ext4 takes {EXT4_NAME_LEN}; shorten it or exclude it",
        path,
    )


def _plan_linear(names: Sequence[bytes], fmt: DirectoryFormat) -> DirectoryPlan:
    leaf_ends = _fill([_REC_LEN[len(name)] for name in names], fmt.leaf_size, taken=_DOTS_SIZE)
    return DirectoryPlan(names, len(leaf_ends), None, leaf_ends, None)


def _plan_indexed(
    directories: Sequence[Sequence[bytes]],
    positions: Sequence[int],
    fmt: DirectoryFormat,
    path_of: Callable[[int], bytes],
) -> Iterator[DirectoryPlan]:
    """Yield a plan for each of the directories of more than a block; their names are hashed together."""
    every_name = [name for names in directories for name in names]
    every_hash = half_md4(every_name, fmt.hash_seed, signed=fmt.signed)
    start = 0
    for names, position in zip(directories, positions, strict=True):
        hashes = every_hash[start : start + len(names)]
        start += len(names)
        order = sorted(range(len(names)), key=hashes.__getitem__)
        leaf_ends = _fill_leaves([_REC_LEN[len(names[i])] for i in order], fmt)
        if leaf_ends is None:
            raise _too_large(names, fmt, path_of(position))
        starts = htree.first_hashes([hashes[i] for i in order], leaf_ends)
        tree = htree.build(starts, fmt.block_size, fmt.csum)
        yield DirectoryPlan(names, tree.blocks + len(leaf_ends), order, leaf_ends, tree)


def _fill_leaves(sizes: Sequence[int], fmt: DirectoryFormat) -> list[int] | None:
    """Deal entries out to leaves with room for growth, without if need be; None: there are too many."""
    most = htree.max_leaves(fmt.block_size, fmt.csum, fmt.large_dir)
    for slack in (fmt.leaf_size // 5, 0):
        leaf_ends = _fill(sizes, fmt.leaf_size, slack=slack)
        if len(leaf_ends) <= most:
            return leaf_ends
    return None


def _fill(sizes: Sequence[int], room: int, *, slack: int = 0, taken: int = 0) -> list[int]:
    """Deal entries out to blocks, and return where each block ends.

    Args:
        sizes: Of the entries, in bytes, in their order.
        room: Bytes in a block.
        slack: A block in which less than this is left takes no more entries.
        taken: Bytes of the first block that are in use.
    """
    ends = []
    enough = room - slack
    for position, size in enumerate(sizes):
        if taken > enough or taken + size > room:
            ends.append(position)
            taken = 0
        taken += size
    ends.append(len(sizes))
    return ends


def _too_large(names: Sequence[bytes], fmt: DirectoryFormat, path: bytes) -> UnrepresentableError:
    leaves = htree.max_leaves(fmt.block_size, fmt.csum, fmt.large_dir)
    remedy = "divide it" if fmt.large_dir else "divide it, or turn on the feature large_dir"
    levels = "three" if fmt.large_dir else "two"
    return UnrepresentableError(
        f"directory {show(path) or '/'} has {len(names):,} names, more than an index of {levels} levels holds"
        f" ({leaves:,} leaf blocks of {fmt.block_size:,} bytes); {remedy}",
        path,
    )


def encode_directory(
    plan: DirectoryPlan,
    fmt: DirectoryFormat,
    inodes: Sequence[int],
    file_types: Sequence[int],
    *,
    self_inode: int,
    parent_inode: int,
    inode_seed: int = 0,
) -> bytes:
    """Encode a planned directory.

    Args:
        plan: The plan.
        fmt: The format it was planned for.
        inodes: The inode number of each name, in the order of ``plan.names``.
        file_types: The EXT4_FT_* of each name, in that order.
        self_inode: The directory's own inode number (``.``).
        parent_inode: Its parent's (``..``); the root directory is its own parent.
        inode_seed: ``checksum.inode_seed`` of the directory; used with metadata_csum only.

    Returns:
        ``plan.blocks * fmt.block_size`` bytes: the directory's blocks in logical order.
    """
    names: Sequence[bytes] = plan.names
    if not fmt.filetype:
        file_types = bytes(len(names))
    if plan.order is not None:
        names = [names[i] for i in plan.order]
        inodes = [inodes[i] for i in plan.order]
        file_types = [file_types[i] for i in plan.order]
    directory_type = EXT4_FT_DIR if fmt.filetype else EXT4_FT_UNKNOWN
    dots = ((self_inode, parent_inode), (directory_type, directory_type), (b".", b".."))
    blocks = []
    for start, end in pairwise((0, *plan.leaf_ends)):
        leaf = (inodes[start:end], file_types[start:end], names[start:end])
        if start == 0 and plan.tree is None:
            leaf = ((*dots[0], *leaf[0]), (*dots[1], *leaf[1]), (*dots[2], *leaf[2]))
        blocks.append(_finish_leaf(_chain(*leaf, fmt.leaf_size), fmt, inode_seed))
    if plan.tree is not None:
        head = _chain(*dots, fmt.block_size)[:_DOTS_SIZE]
        index = htree.encode(plan.tree, head, fmt.block_size, inode_seed if fmt.csum else None)
        blocks.insert(0, index)
    return b"".join(blocks)


def empty_block(fmt: DirectoryFormat, inode_seed: int = 0) -> bytes:
    """Return a leaf block without names, as mke2fs appends them to ``lost+found``.

    The checksum depends on the directory alone, so one block may be used as often as needed.
    """
    entry = ENTRY.pack(0, fmt.leaf_size, 0, EXT4_FT_UNKNOWN)
    return _finish_leaf(entry.ljust(fmt.leaf_size, b"\0"), fmt, inode_seed)


def _chain(inodes: Sequence[int], file_types: Sequence[int], names: Sequence[bytes], size: int) -> bytes:
    """Lay entries out as a chain whose last one reaches to ``size``; there is at least one."""
    lengths = list(map(len, names))
    rec_lens = list(map(_REC_LEN.__getitem__, lengths))
    rec_lens[-1] += size - sum(rec_lens)
    heads = map(ENTRY.pack, inodes, rec_lens, lengths, file_types)
    pads = map(_PAD.__getitem__, lengths)
    pieces = chain.from_iterable(zip(heads, names, pads, strict=True))
    return b"".join(pieces).ljust(size, b"\0")


def _finish_leaf(content: bytes, fmt: DirectoryFormat, inode_seed: int) -> bytes:
    """Add the tail: it looks like an unused entry, its type says what it is."""
    if not fmt.csum:
        return content
    checksum = crc32c(content, inode_seed)
    return content + ENTRY_TAIL.pack(0, ENTRY_TAIL.size, 0, EXT4_FT_DIR_CSUM, checksum)
