"""Write a decided FAT volume down as extents.

::

    boot, FSInfo ─ FAT 1 ─ FAT 2 ─ root ─ directories (packed) ─ small files (packed) | large file | ...

The tables are made when they are read, from the list of where chains end: everything is contiguous, so an
entry is the next number, or the end mark. In no extent, since zero: the rest of the reserved sectors, the
tables beyond the last cluster in use, a cluster's rest behind its file, holes, and free clusters.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from imgwriter.errors import show
from imgwriter.extent import Bytes, Data, Extent, Generated, Volume, extent
from imgwriter.fat.content import Content, Directory
from imgwriter.fat.geometry import FATS, FIRST_CLUSTER, Geometry
from imgwriter.fat.names import Name
from imgwriter.fat.structures import (
    ATTR_ARCHIVE,
    ATTR_DIRECTORY,
    ATTR_READ_ONLY,
    ATTR_VOLUME_ID,
    BACKUP_SECTOR,
    DOT,
    DOT_DOT,
    FSINFO_SECTOR,
    MEDIA_FIXED,
    NO_LABEL,
    BootFields,
    Stamp,
    boot_sector,
    directory_entry,
    fsinfo_sector,
    stamp,
)
from imgwriter.filedata import PACK_LIMIT, Part, pack, part
from imgwriter.tree.inventory import Inode
from imgwriter.units import div_ceil

_OWNER_WRITE = 0o200
_ENTRY_BYTES = {16: 2, 32: 4}
_TYPECODE = {16: "H", 32: "I"}
# FAT32's entries have 28 bits; the upper four are left at zero, which is what they are where nothing is.
_END_MARK = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}


class Allocation(NamedTuple):
    """Who owns which clusters.

    Attributes:
        directories: First cluster of each directory, as in Content.directories; 0 for a fixed root.
        files: For each directory the first cluster of each of its names; 0 for what is empty or a directory.
        ends: The cluster after each chain, ascending: chains are contiguous and lie one after the other.
    """

    directories: Sequence[int]
    files: Sequence[Sequence[int]]
    ends: Sequence[int]

    @property
    def next_free(self) -> int:
        """The first cluster that nobody owns."""
        return self.ends[-1] if self.ends else FIRST_CLUSTER

    @property
    def used_clusters(self) -> int:
        """How many clusters are owned."""
        return self.next_free - FIRST_CLUSTER


class FileLabel(NamedTuple):
    """The path of one name of a file; made into text only when asked for."""

    directory: Inode
    name: bytes

    @property
    def path(self) -> bytes:
        """The path inside the file system, without a leading slash."""
        above = self.directory.path
        return above + b"/" + self.name if above else self.name

    def __str__(self) -> str:
        return show(self.path)


class DirectoryLabel(NamedTuple):
    """The label of a directory's entries."""

    inode: Inode

    def __str__(self) -> str:
        return f"directory {show(self.inode.path) or '/'}"


def encode(
    content: Content,
    geometry: Geometry,
    allocation: Allocation,
    *,
    size: int,
    label: bytes,
    volume_id: int,
    time_ns: int,
    hidden_sectors: int,
) -> Volume:
    """Return the volume of ``size`` bytes.

    Args:
        content, geometry, allocation: What was decided.
        size: Bytes of the volume.
        label: At most 11 ASCII characters, empty for none.
        volume_id: 32 bits.
        time_ns: The volume's own time, in nanoseconds since the epoch.
        hidden_sectors: Sectors before the volume on its disk.
    """
    padded = label.ljust(len(NO_LABEL)) if label else NO_LABEL
    boot = _boot_sector(geometry, padded, volume_id, hidden_sectors)
    extents = list(_reserved(geometry, allocation, boot))
    extents.extend(_tables(geometry, allocation))
    root_label = directory_entry(padded, ATTR_VOLUME_ID, stamp(time_ns), 0, 0) if label else b""
    times = [stamp(d.inode.mtime_ns) for d in content.directories]
    times[0] = stamp(time_ns)
    parts = _directory_parts(content, geometry, allocation, root_label, times)
    extents.extend(pack(parts, geometry.cluster_size))
    extents.extend(_files(content, geometry, allocation))
    return Volume(size, extents)


def _boot_sector(geometry: Geometry, label: bytes, volume_id: int, hidden_sectors: int) -> bytes:
    return boot_sector(
        BootFields(
            fat_type=geometry.fat_type.bits,
            sector_size=geometry.sector_size,
            cluster_size=geometry.cluster_size,
            reserved_sectors=geometry.reserved_sectors,
            fat_sectors=geometry.fat_sectors,
            total_sectors=geometry.total_sectors,
            hidden_sectors=hidden_sectors,
            root_entries=geometry.fat_type.root_entries,
            sectors_per_track=geometry.sectors_per_track,
            heads=geometry.heads,
            volume_id=volume_id,
            label=label,
        )
    )


def _reserved(geometry: Geometry, allocation: Allocation, boot: bytes) -> Iterator[Extent]:
    """Yield the boot sector, and on FAT32 the FSInfo sector and the backup of both."""
    yield extent(0, Bytes(boot), "FAT boot sector")
    if geometry.fat_type.bits != 32:
        return
    free = geometry.clusters - allocation.used_clusters
    info = fsinfo_sector(free, allocation.next_free if free else None)
    sector = geometry.sector_size
    yield extent(FSINFO_SECTOR * sector, Bytes(info), "FAT FSInfo")
    yield extent(BACKUP_SECTOR * sector, Bytes(boot), "FAT boot sector, backup")
    yield extent((BACKUP_SECTOR + FSINFO_SECTOR) * sector, Bytes(info), "FAT FSInfo, backup")


def _tables(geometry: Geometry, allocation: Allocation) -> Iterator[Extent]:
    bits = geometry.fat_type.bits
    data: Data
    if bits == 12:
        data = Bytes(_fat12(allocation))
    else:

        def produce(start: int, stop: int) -> bytes:
            return _fat_bytes(bits, allocation.ends, start, stop)

        data = Generated(allocation.next_free * _ENTRY_BYTES[bits], produce)
    for number in range(FATS):
        yield extent(geometry.fat_start(number), data, f"FAT {number + 1}")


def _fat_bytes(bits: int, ends: Sequence[int], start: int, stop: int) -> bytes:
    """Return bytes [start, stop) of a FAT16 or FAT32 table."""
    width = _ENTRY_BYTES[bits]
    first, last = start // width, div_ceil(stop, width)
    entries = _fat_entries(bits, ends, first, last)
    if sys.byteorder == "big":
        entries.byteswap()
    return entries.tobytes()[start - first * width : stop - first * width]


def _fat_entries(bits: int, ends: Sequence[int], first: int, last: int) -> array[int]:
    """Return FAT entries [first, last), all of them of clusters in use.

    Entry 0 holds the media byte; entry 1 an end mark, whose highest bits say: cleanly unmounted, no errors.
    """
    mark = _END_MARK[bits]
    entries = array(_TYPECODE.get(bits, "H"), range(first + 1, last + 1))
    for end in ends[bisect_left(ends, first + 1) : bisect_left(ends, last + 1)]:
        entries[end - 1 - first] = mark
    if first == 0:
        entries[0] = mark & ~0xFF | MEDIA_FIXED
    if first <= 1 < last:
        entries[1 - first] = mark
    return entries


def _fat12(allocation: Allocation) -> bytes:
    """Return the used part of a FAT12 table: two entries in three bytes."""
    entries = _fat_entries(12, allocation.ends, 0, allocation.next_free)
    if len(entries) % 2:
        entries.append(0)
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return b"".join([(low | high << 12).to_bytes(3, "little") for low, high in pairs])


def _directory_parts(
    content: Content, geometry: Geometry, allocation: Allocation, label: bytes, times: Sequence[Stamp]
) -> Iterator[Part]:
    """Yield every directory's entries, at its place."""
    for number, directory in enumerate(content.directories):
        cluster = allocation.directories[number]
        offset = geometry.cluster_offset(cluster) if cluster else geometry.root_start
        head = _dots(number, directory, allocation.directories, times) if number else label
        starts = [
            allocation.directories[content.numbers[id(inode)]] if inode.entries is not None else start
            for inode, start in zip(directory.inodes, allocation.files[number], strict=True)
        ]
        data = head + b"".join(map(_entry, directory.names, directory.inodes, starts))
        yield part(offset, Bytes(data), DirectoryLabel(directory.inode))


def _dots(number: int, directory: Directory, clusters: Sequence[int], times: Sequence[Stamp]) -> bytes:
    """Return the entries ``.`` and ``..``; the root is cluster 0 there, wherever it lies."""
    parent = directory.parent
    own = directory_entry(DOT, ATTR_DIRECTORY, times[number], clusters[number], 0)
    return own + directory_entry(DOT_DOT, ATTR_DIRECTORY, times[parent], clusters[parent] if parent else 0, 0)


def _entry(name: Name, inode: Inode, cluster: int) -> bytes:
    if inode.entries is not None:
        attributes = ATTR_DIRECTORY
    else:
        attributes = ATTR_ARCHIVE if inode.mode & _OWNER_WRITE else ATTR_ARCHIVE | ATTR_READ_ONLY
    size = inode.size if inode.entries is None else 0
    return directory_entry(name.short, attributes, stamp(inode.mtime_ns), cluster, size, name.long)


def _files(content: Content, geometry: Geometry, allocation: Allocation) -> Iterator[Extent]:
    """Yield the files' data: small files in packs, large ones and those with holes on their own."""
    small: list[Part] = []
    for directory, starts in zip(content.directories, allocation.files, strict=True):
        for name, inode, start in zip(directory.inode.entries or (), directory.inodes, starts, strict=True):
            if not start or inode.data is None:
                continue
            offset = geometry.cluster_offset(start)
            label = FileLabel(directory.inode, name)
            if inode.runs is None and inode.size <= PACK_LIMIT:
                small.append((offset, inode.size, inode.data, label))
                continue
            for low, high in inode.data_runs():
                yield Extent(offset + low, high - low, inode.data, low, label)
    yield from pack(small, geometry.cluster_size)
