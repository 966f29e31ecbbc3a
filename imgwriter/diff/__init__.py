"""Compare two images and explain in which structures they differ.

::

    two OpenedDisks ── sections ──> what stands beside what
                          │ ranges: which bytes differ, a MiB at a time
                          │ owners: whose they are, on either side
                          └─ explain ──> Change: structure, field, both values ── summary ──> text, JSON
                       └─ trees: where the layouts cannot be compared, names and contents are

Differing bytes are found first, in chunks; two equal images cost one reading. Then every differing byte is
attributed to exactly one structure, by the owner maps of both sides. Where both have the same record in the
same place, its fields are named; where they have different things there, that is what is said.

Containers are no difference: a disk in a qcow2 may equal one in a raw file.
"""
