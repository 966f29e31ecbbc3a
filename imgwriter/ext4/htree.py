"""htree: the index above the leaves of a large directory, built in bulk.

The leaves hold the names in the order of their hashes, and the index says with which hash each leaf
begins. To programs that do not know it, its blocks look like unused space::

    block 0   dx_root   .  ..  | dx_root_info | limit count block | hash block | hash block | ... | dx_tail
    block 1.. dx_node   one unused entry      | limit count block | hash block | hash block | ... | dx_tail
    then      leaves, in the order of the hashes

``indirect_levels`` counts the levels of dx_node between the root and the leaves: 0, 1, with large_dir 2.
The first entry of an index block has no hash (``limit`` and ``count`` take its place): it stands for
everything below the second one's.

Index blocks stand before the leaves, and these in hash order, so that reading all names of a directory,
which the kernel does in hash order, reads forward. (mke2fs -d makes no index; e2fsck -D puts dx_nodes last.)

Room for growth: a leaf that is full is split by the first name that is added to it. So a leaf takes no
more names once less than a fifth of it is left, which is the rule of ``e2fsck -D``
(``indexed_dir_slack_percentage``, 20 by default), and index blocks are filled evenly, to four fifths;
where the levels allowed would not hold that, both give way, to the brim.

Invariants, which fs/ext4/namei.c and e2fsck's pass 2 rely on: hashes never fall from left to right;
``limit`` is what fits into the block, less one entry for the checksum; when names with one hash go on
in the next leaf, that leaf's entry has the lowest bit set, at every level (it makes the kernel look on
there), and no leaf ever begins with the hash that the one before ends with otherwise.

Spec: kernel Documentation/filesystems/ext4/directory.rst, Hash Tree Directories.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from imgwriter.ext4.checksum import crc32c

DX_ROOT_INFO = struct.Struct("<IBBBB")
"""struct dx_root_info: reserved_zero, hash_version, info_length, indirect_levels, unused_flags."""

DX_COUNTLIMIT = struct.Struct("<HH")
"""struct dx_countlimit: limit, count; in the place of the first entry's hash."""

DX_ENTRY = struct.Struct("<II")
"""struct dx_entry: hash, block."""

DX_TAIL = struct.Struct("<II")
"""struct dx_tail: dt_reserved, dt_checksum."""

DX_HASH_HALF_MD4 = 1
"""As on disk in either case: that chars are unsigned is said by ``s_flags`` alone."""

_DOTS = 24
_ROOT_HEAD = _DOTS + DX_ROOT_INFO.size
_NODE_HEAD = 8
_NODE_DIRENT = struct.Struct("<IHBB")


class Tree(NamedTuple):
    """The index of one directory.

    Attributes:
        levels: From the root's level down: for each, the number of children of each of its blocks. The
            first has one block; the blocks of a level are the children of the one above; the children
            of the last are the leaves.
        hashes: For each leaf, the hash it begins with; the lowest bit: it goes on with the last one's hash.
    """

    levels: Sequence[Sequence[int]]
    hashes: Sequence[int]

    @property
    def blocks(self) -> int:
        """Index blocks, the root counted."""
        return sum(map(len, self.levels))


def root_limit(block_size: int, csum: bool) -> int:
    """Return how many entries a dx_root has room for."""
    return (block_size - _ROOT_HEAD - csum * DX_TAIL.size) // DX_ENTRY.size


def node_limit(block_size: int, csum: bool) -> int:
    """Return how many entries a dx_node has room for."""
    return (block_size - _NODE_HEAD - csum * DX_TAIL.size) // DX_ENTRY.size


def max_leaves(block_size: int, csum: bool, large_dir: bool) -> int:
    """Return how many leaves the largest index has."""
    limit = node_limit(block_size, csum)
    return root_limit(block_size, csum) * limit * (limit if large_dir else 1)


def first_hashes(hashes: Sequence[int], leaf_ends: Sequence[int]) -> list[int]:
    """Return what the index says of each leaf: the hash it begins with, and whether it continues the last.

    Args:
        hashes: The hash of each name, in the order of the leaves.
        leaf_ends: For each leaf, the position after its last name.
    """
    return [hashes[0], *(hashes[end] | (hashes[end - 1] == hashes[end]) for end in leaf_ends[:-1])]


def build(leaf_hashes: Sequence[int], block_size: int, csum: bool) -> Tree:
    """Build the index over leaves, as low as possible; there are at most ``max_leaves`` of them.

    Args:
        leaf_hashes: As from :func:`first_hashes`.
        block_size: Bytes in a block.
        csum: Index blocks end in a checksum.
    """
    top, limit = root_limit(block_size, csum), node_limit(block_size, csum)
    capacity = [top]
    while capacity[-1] < len(leaf_hashes):
        capacity.append(capacity[-1] * limit)
    levels: list[list[int]] = []
    children = len(leaf_hashes)
    for most in reversed(capacity[:-1]):
        parents = min(most, -(-children // (limit * 4 // 5)))
        levels.append(_spread(children, parents))
        children = parents
    levels.append([children])
    return Tree(levels[::-1], leaf_hashes)


def _spread(children: int, parents: int) -> list[int]:
    """Deal ``children`` out to ``parents`` as evenly as they go."""
    each, more = divmod(children, parents)
    return [each + 1] * more + [each] * (parents - more)


def encode(tree: Tree, dots: bytes, block_size: int, inode_seed: int | None) -> bytes:
    """Encode the index blocks: the root, then the nodes of each level.

    Args:
        tree: The index; its leaves follow its blocks in the directory.
        dots: The 24 bytes of the entries ``.`` and ``..``.
        block_size: Bytes in a block.
        inode_seed: The seed of the directory's checksums; None: no metadata_csum.

    Returns:
        ``tree.blocks * block_size`` bytes.
    """
    csum = inode_seed is not None
    info = DX_ROOT_INFO.pack(0, DX_HASH_HALF_MD4, DX_ROOT_INFO.size, len(tree.levels) - 1, 0)
    node_head = _NODE_DIRENT.pack(0, block_size, 0, 0)
    blocks = []
    child = 1
    for depth, counts in enumerate(tree.levels):
        head = dots + info if depth == 0 else node_head
        limit = root_limit(block_size, csum) if depth == 0 else node_limit(block_size, csum)
        hashes = _child_hashes(tree, depth)
        for start, end in pairwise(accumulate(counts, initial=0)):
            entries = [DX_ENTRY.pack(hashes[i], child + i) for i in range(start, end)]
            count_limit = DX_COUNTLIMIT.pack(limit, end - start)
            content = head + count_limit + b"".join(entries)[DX_COUNTLIMIT.size :]
            blocks.append(_finish(content, len(head) + limit * DX_ENTRY.size, block_size, inode_seed))
        child += sum(counts)
    return b"".join(blocks)


def _child_hashes(tree: Tree, depth: int) -> Sequence[int]:
    """Return the first hash of every child of a level: of the leftmost leaf below it."""
    hashes = tree.hashes
    for counts in reversed(tree.levels[depth + 1 :]):
        starts = accumulate(counts[:-1], initial=0)
        hashes = [hashes[start] for start in starts]
    return hashes


def _finish(content: bytes, tail: int, block_size: int, inode_seed: int | None) -> bytes:
    """Fill up an index block; the checksum covers the entries in use and the tail, its own field as zero."""
    if inode_seed is None:
        return content.ljust(block_size, b"\0")
    checksum = crc32c(DX_TAIL.pack(0, 0), crc32c(content, inode_seed))
    return (content.ljust(tail, b"\0") + DX_TAIL.pack(0, checksum)).ljust(block_size, b"\0")
