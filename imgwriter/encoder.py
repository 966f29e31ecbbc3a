"""A disk in its container: which format module makes it, and of what size the disk must be for it.

::

    ContainerOptions, Volume ── encode ──> Volume     its every offset is known
                                     └──> Deferred   compressed: offsets follow from lengths
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import reduce
from typing import TypeAlias

from imgwriter import compression, qcow2, qcow2_compressed, vdi, vhd
from imgwriter.container import ContainerOptions
from imgwriter.deferred import Deferred
from imgwriter.extent import Volume
from imgwriter.filedata import Amount, amount
from imgwriter.identifiers import derive_uuid
from imgwriter.sink import WORKERS

Runs: TypeAlias = Sequence[tuple[int, int]]
"""Half-open intervals of bytes, sorted and disjoint."""


def disk_size(container: ContainerOptions, size: int) -> int:
    """Return the size that a disk of ``size`` bytes has in the container: it should be planned with that.

    Raises:
        SpecError: The container cannot have that size.
    """
    if container.format != "vpc":
        return size
    return vhd.checked_size(size) if container.force_size else vhd.rounded_size(size)


def encode(container: ContainerOptions, disk: Volume, seed: str, time: int) -> Volume | Deferred:
    """Return the file that holds ``disk``.

    Args:
        container: Which, and how.
        disk: Of a size from :func:`disk_size`.
        seed: What the container's identifiers derive from.
        time: Seconds since the epoch, for the container's time of creation.

    Raises:
        SpecError, CapacityError: The container cannot hold the disk.
    """
    match container.format:
        case "qcow2":
            return qcow2.encode(disk, _qcow2_options(container))
        case "qcow2-compressed":
            codec = compression.codec(container.compression or "zlib", container.compression_level)
            return qcow2_compressed.plan(disk, _qcow2_options(container), codec)
        case "vpc":
            return vhd.encode(
                disk,
                vhd.Parameters(
                    subformat=container.vhd_subformat or "dynamic",
                    force_size=container.force_size,
                    unique_id=derive_uuid(seed, "vhd unique id"),
                    timestamp=time,
                ),
            )
        case "vdi":
            return vdi.encode(
                disk,
                vdi.Parameters(
                    subformat=container.vdi_subformat or "dynamic",
                    uuid_image=derive_uuid(seed, "vdi image uuid"),
                    uuid_snapshot=derive_uuid(seed, "vdi snapshot uuid"),
                ),
            )
    return disk


def sift(container: ContainerOptions, disk: Volume) -> Deferred:
    """Return a plain qcow2 that leaves out clusters which turn out to be zero when they are read.

    Args and raises: As :func:`encode`.
    """
    return qcow2_compressed.plan(disk, _qcow2_options(container), None)


def workers(container: ContainerOptions, asked: int | None) -> int:
    """Return how many processes write the container: those asked for, or as many as pay."""
    if asked is not None:
        return asked
    if container.format == "qcow2-compressed":
        return len(os.sched_getaffinity(0))
    return WORKERS


def total(content: Volume | Deferred) -> Amount:
    """Return what writing ``content`` counts up to."""
    if isinstance(content, Volume):
        return amount(content.extents)
    return reduce(Amount.plus, map(content.weight, range(content.count)), Amount(0, 0))


def runs(content: Volume | Deferred, size: int) -> Runs:
    """Return where the file may hold other bytes than zeros.

    Args:
        content: What was written.
        size: Bytes of the file.
    """
    if isinstance(content, Volume):
        return [(e.start, e.end) for e in content.extents]
    return [(0, size)]


def _qcow2_options(container: ContainerOptions) -> qcow2.Options:
    return qcow2.Options(
        cluster_size=container.cluster_size or qcow2.DEFAULT_CLUSTER_SIZE,
        version=2 if container.qcow2_compat == "0.10" else 3,
    )
