"""The plan of a whole disk: where the table and each partition stand, and their identifiers.

::

    0        1 MiB    8 MiB          boot end                     last MiB      disk size
    ├─ table ┼────────┼─ ESP or boot ┼─ root ───────────────────────┼─ backup GPT ─┤

:func:`plan` turns a request into a :class:`Layout`, a pure value; :meth:`Layout.table_volume` encodes the
table; :func:`compose_disk` puts the file systems in. :func:`disk_size_for` is the inverse of plan: it makes
``disk_size = "auto"`` closed form. The parts, each over the one before it:

- ``layout``: the values, and how they become bytes;
- ``kinds``: the tables of tables: which partitions each kind has;
- ``boundaries``: where they begin and end, before the disk's size is known;
- ``planner``: the layout of a disk of a size, and what is refused.

There are two sets of tables. "seed" is make-disk-image.nix as its author first wrote it: the root ends
1 MiB before the disk's end. Its own tables are legacy, efi and none; the other four kinds are laid out in
the same way. "nixpkgs" is what current nixpkgs makes of the same kinds, quirks included, for those whose
images must not change. docs/formats/partition-tables.md has both, in LBAs.

Invariants: partitions are disjoint, on MiB boundaries (nixpkgs' hybrid partition 2 alone is not) and,
in a GPT, within the usable LBAs; the order of numbers is not the order of places.
"""

from imgwriter.disk.kinds import NIXPKGS_ROOT_GUID, root_number
from imgwriter.disk.layout import DiskIdentifiers, Layout, Partition, Role, Scheme, compose_disk
from imgwriter.disk.planner import disk_size_for, plan

__all__ = [
    "NIXPKGS_ROOT_GUID",
    "DiskIdentifiers",
    "Layout",
    "Partition",
    "Role",
    "Scheme",
    "compose_disk",
    "disk_size_for",
    "plan",
    "root_number",
]
