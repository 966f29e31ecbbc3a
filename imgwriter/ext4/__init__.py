"""A native ext4 (ext3, ext2) writer: an inventory becomes a Volume, without mkfs.

::

    Inventory ── demand.survey ──> Demand ┐
    size ── geometry.plan_geometry ──> Geometry ┤── allocation.allocate ──> Allocation ── encode ──> Volume

Read in this order: ``format`` (the records), ``features``, ``params``, ``geometry`` (arithmetic of the
groups), ``demand`` (what a tree needs), ``allocation`` (who owns which block), then the structures:
``groups``, ``superblock``, ``inodes``, ``extent_tree``, ``block_map``, ``directory``, ``htree``,
``dirhash``, ``xattr``, ``journal``, ``resize_inode``; ``encode`` puts them into a Volume; ``plan`` is
the entry.
"""

from imgwriter.ext4.demand import Demand, survey
from imgwriter.ext4.params import Parameters
from imgwriter.ext4.plan import Plan, minimum_size, minimum_size_of, plan, plan_demand

__all__ = [
    "Demand",
    "Parameters",
    "Plan",
    "minimum_size",
    "minimum_size_of",
    "plan",
    "plan_demand",
    "survey",
]
