"""FAT12, FAT16 and FAT32 with long names, planned beforehand and described as one Volume.

::

    boot sector | FSInfo | backup | zeros | FAT 1 | FAT 2 | root (12, 16) | cluster 2 | cluster 3 | ...
    └──────────── reserved ─────────────┘                                 └ directories ┴ files, contiguous

:func:`plan` decides everything (type, cluster size, short names, every start cluster) and refuses
what does not fit; :meth:`Plan.volume` only encodes. The parts, each over the one before it:

- ``structures``: the records of the specification, on pyfatfs's classes, and DOS times;
- ``names``: which names FAT can hold, and their short forms;
- ``content``: an Inventory seen with FAT's eyes, and what it costs in clusters;
- ``geometry``: where the areas lie, for a type, a cluster size and a number of sectors;
- ``planner``: the choice between the possible geometries, and the allocation;
- ``encode``: the plan as extents.
"""

from imgwriter.fat.planner import Parameters, Plan, minimum_size, plan

__all__ = ["Parameters", "Plan", "minimum_size", "plan"]
