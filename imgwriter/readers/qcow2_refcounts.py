"""Whether a cluster of a qcow2 is in use: what tells a file that is cut off from an entry that is damaged.

::

    L2 entry ──────────────────────────────────> cluster behind the end of the file
                                                    │
    refcount table ──> refcount block ──> refcount ─┴─ 1 or more: it was there, the file is cut off
                                                       0: nothing was, the entry is damaged

The disk is read without refcounts. Only where a table leads behind the end of the file are they asked.

Spec: docs/interop/qcow2.txt, "Host cluster management".
"""

from __future__ import annotations

from imgwriter.qcow2 import REFT_OFFSET_MASK
from imgwriter.readers.hostfile import HostFile
from imgwriter.readers.qcow2_header import Header


def is_in_use(file: HostFile, header: Header, offset: int) -> bool:
    """Return whether the refcount of the cluster at an offset is not 0, or is behind the file's end itself.

    Raises:
        SourceError: The file cannot be read.
    """
    bits = header.refcount_bits
    number, index = divmod(offset >> header.cluster_bits, header.cluster_size * 8 // bits)
    if number >= header.refcount_table_clusters * header.cluster_size // 8:
        return False
    where = "qcow2 refcount table"
    entry = int.from_bytes(file.read(header.refcount_table_offset + 8 * number, 8, where))
    block = entry & REFT_OFFSET_MASK
    if not block or block % header.cluster_size:
        return False
    if block + header.cluster_size > file.size:
        return True
    at, size = block + index * bits // 8, max(bits // 8, 1)
    refcount = int.from_bytes(file.read(at, size, "qcow2 refcount block"))
    # Those of less than 8 bits begin in the lowest bits of a byte.
    return bool(refcount if bits >= 8 else refcount >> index * bits % 8 & (1 << bits) - 1)
