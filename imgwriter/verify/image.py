"""Verify a whole image, layer by layer, from the file inwards.

::

    file ── container ── partition table ── each partition's file system
            offsets of the file │ offsets of the disk in it

A layer that is damaged does not keep the next from being looked at, as long as there is a way to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from imgwriter.errors import FormatError, SpecError
from imgwriter.examine.file_systems import ext_type
from imgwriter.examine.opening import EXT4, FAT, Area, OpenedDisk, open_disk, with_table
from imgwriter.ext4.reader import FileSystem as Ext4
from imgwriter.filedata import Amount
from imgwriter.findings import Finding
from imgwriter.readers import READERS
from imgwriter.readers.hostfile import HostFile, open_file
from imgwriter.readers.probe import probe
from imgwriter.tables_reader.cut_off import cut_off
from imgwriter.verify import traces
from imgwriter.verify.containers import CHECKERS
from imgwriter.verify.ext4 import verify_ext4
from imgwriter.verify.fat import verify_fat
from imgwriter.verify.tables import BIOS_BOOT, FAT_TYPES, verify_table
from imgwriter.verify.values import Progress, Result
from imgwriter.window import Window

Check: TypeAlias = Callable[[], Result]

_ANYTHING = "anything; of file systems, ext4, ext3, ext2 and FAT are verified"
"""What is expected of an area in a note: that it was not looked into is no complaint about the image."""


class Layer(NamedTuple):
    """One layer, and what is said about it.

    Attributes:
        name: "container", "partition table", "partition 2", or "the disk" for a file system without a table.
        kind: Such as "qcow2", "gpt", "fat", "ext4", "ext3"; empty where nothing is known.
        result: Findings and notes.
    """

    name: str
    kind: str
    result: Result


class Report(NamedTuple):
    """What is said about an image.

    Attributes:
        path: As it was given.
        format: "raw", "qcow2", "vpc" or "vdi".
        size: Bytes of the disk; None where it cannot be read.
        layers: From the file inwards.
        error: Why the layers inside the container could not be looked at; empty where they were.
    """

    path: bytes
    format: str
    size: int | None
    layers: tuple[Layer, ...]
    error: str = ""

    @property
    def findings(self) -> int:
        """How many there are."""
        return sum(len(layer.result.findings) for layer in self.layers)

    @property
    def notes(self) -> int:
        """How many there are."""
        return sum(len(layer.result.notes) for layer in self.layers)


def verify_image(
    path: bytes,
    input_format: str | None = None,
    *,
    sector_size: int | None = None,
    partition: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check an image against the specifications of all that is in it.

    Args:
        path: A file, or a block device.
        input_format: "raw", "qcow2", "vpc" or "vdi"; None to tell by the content.
        sector_size: Of the table, in bytes; None to tell by the content.
        partition: Check this one's file system and nothing else; 0 for a disk without a table.
        progress: Called with what of a layer is done, and with all of it.

    Raises:
        SpecError: There is no such format, sector size or partition.
        SourceError: The image cannot be read.
        FormatError: Its container is one that is not read, such as VMDK.
    """
    if input_format is not None and input_format not in READERS:
        raise SpecError(f"input format {input_format!r} is not read; use one of {', '.join(READERS)}")
    file = open_file(path)
    chosen = input_format or _format(file)
    layers: list[Layer] = []
    if chosen in CHECKERS and partition is None:
        layers.append(Layer("container", chosen, CHECKERS[chosen](file, progress)))
    try:
        disk = open_disk(path, chosen, sector_size=sector_size, verify=True)
    except FormatError as error:
        return Report(path, chosen, None, tuple(layers), str(error))
    missing = cut_off(disk.image.volume, disk.table)
    finding = None
    if missing is not None:
        disk = with_table(path, disk.image, missing.table, verify=True)
        finding = missing.finding
    if partition is None:
        kind = disk.table.kind
        result = guarded("partition table", lambda: verify_table(disk, finding))
        layers.append(Layer("partition table", "" if kind == "none" else kind, result))
        layers += (_area(disk, area, progress, known_cut=finding is not None) for area in _areas(disk))
    else:
        area = disk.area(partition)
        layer = _area(disk, area, progress)
        # A file system that is not known, or of which nothing is there, does not say that itself.
        if finding is not None and _kind(disk, area) not in (EXT4, FAT) and disk.lacks(area):
            layer = layer._replace(result=Result((finding,), layer.result.notes))
        layers.append(layer)
    return Report(path, chosen, disk.image.volume.size, tuple(layers))


def _format(file: HostFile) -> str:
    found = probe(file)
    return (traces.container(file) or found) if found == "raw" else found


def guarded(structure: str, check: Check) -> Result:
    """Return what a check says; where it meets bytes that cannot be had, that is its one finding."""
    try:
        return check()
    except FormatError as error:
        where = error.where or structure
        finding = Finding(where, "", error.offset or 0, "bytes that can be read", str(error), "its container")
        return Result((finding,))


def _areas(disk: OpenedDisk) -> tuple[Area, ...]:
    """Return where file systems may be: a damaged boot sector looks like an MBR without records."""
    if disk.table.kind == "mbr" and not disk.table.partitions:
        whole = Area(0, 0, disk.image.volume.size, None, "")
        return (whole,) if _lost(disk, whole) else ()
    return disk.areas


def _area(disk: OpenedDisk, area: Area, progress: Progress | None, *, known_cut: bool = False) -> Layer:
    """Check what is in one partition, or on a disk without a table.

    Args:
        known_cut: That the disk is cut off was found already.
    """
    volume, start, size = disk.image.volume, area.start, area.size
    known = known_cut and disk.lacks(area)
    kind = _kind(disk, area)
    if kind == EXT4:
        told = _share_of(size, progress)
        result = guarded(area.name, lambda: verify_ext4(volume, start, size, told, known_cut=known))
    elif kind == FAT:
        inside = area.partition is not None
        result = guarded(
            area.name,
            lambda: verify_fat(volume, start, size, progress, in_partition=inside, known_cut=known),
        )
    else:
        result = Result(notes=tuple(_not_verified(area, kind)))
    fs = area.file_system
    return Layer(area.name, ext_type(fs.superblock.features) if isinstance(fs, Ext4) else kind, result)


def _kind(disk: OpenedDisk, area: Area) -> str:
    """Return what an area holds, or seems to; "ext4" for ext3 and ext2 too."""
    return area.kind or _lost(disk, area)


def _share_of(size: int, progress: Progress | None) -> Callable[[int, int], None] | None:
    """Return what tells shares of the work as shares of so many bytes."""
    if progress is None:
        return None
    return lambda done, total: progress(Amount(size * done // max(total, 1), 0), Amount(size, 0))


def _lost(disk: OpenedDisk, area: Area) -> str:
    """Return what an area seems to hold in which nothing is known."""
    volume = disk.image.volume
    if not 0 < area.size <= volume.size - area.start:
        return ""
    window = Window(volume, area.start, area.size)
    if traces.is_ext(window):
        return EXT4
    of_type = area.partition is not None and area.partition.type in FAT_TYPES
    begins = any(window.read(0, min(window.size, 512), "first sector"))
    return FAT if traces.is_fat(window) or (of_type and begins) else ""


def _not_verified(area: Area, kind: str) -> Iterator[Finding]:
    if kind:
        yield Finding(kind, "", area.start, _ANYTHING, f"{kind}, which is not verified", "")
    elif area.error is not None:
        yield Finding(area.name, "", area.start, "a place on the disk", str(area.error), "")
    elif area.partition is None or area.partition.type != BIOS_BOOT:
        yield Finding(area.name, "", area.start, _ANYTHING, "no file system that is known", "")
