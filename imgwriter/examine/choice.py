"""Which file system of a disk is meant where nobody says.

The one that can hold a system's root: the ext4, ext3 or ext2; of several the largest, of equals the first.
On a disk without one: the only FAT. One that is damaged counts too, so that no other is taken in its place.

Of an image that is cut off a partition behind its end may have been the one that is meant; what is there can
be asked for by number.
"""

from __future__ import annotations

from imgwriter.errors import FormatError, SpecError
from imgwriter.examine.opening import EXT4, FAT, Area, FileSystem, OpenedDisk, with_table
from imgwriter.tables_reader.cut_off import CutOff, cut_off

_OTHERS = "attach the image to a system that knows it"


def choose(disk: OpenedDisk, number: int | None = None) -> tuple[Area, FileSystem]:
    """Return a file system, and the area that it is in.

    Args:
        disk: The image.
        number: Of the partition, 0 for a disk without a table; None to choose one.

    Raises:
        SpecError: There is no such partition, or several could be meant.
        FormatError: There is no file system that is read, or it is damaged.
    """
    missing = cut_off(disk.image.volume, disk.table)
    if missing is not None:
        disk = with_table(disk.path, disk.image, missing.table)
    area = _default(disk, missing) if number is None else disk.area(number)
    if area.file_system is not None:
        return area, area.file_system
    if area.error is not None:
        raise area.error
    if missing is not None and not area.kind and disk.lacks(area):
        raise FormatError(missing.message, area.name, area.start)
    what = f"holds {area.kind}, which is not read; {_OTHERS}"
    if not area.kind:
        what = "holds no file system that is known; see 'imgwriter inspect'"
    raise FormatError(f"{area.name} {what}", area.name, area.start)


def _default(disk: OpenedDisk, missing: CutOff | None) -> Area:
    if missing is not None and (not disk.areas or _lacks_the_root(disk)):
        readable = any(area.file_system is not None for area in disk.areas)
        hint = ", or say with --partition what of it to read" if readable else ""
        raise FormatError(missing.message + hint, "partition table", missing.finding.offset)
    for kind in (EXT4, FAT):
        areas = [area for area in disk.areas if area.kind == kind]
        if kind == FAT and len(areas) > 1:
            numbers = ", ".join(str(area.number) for area in areas)
            raise SpecError(f"partitions {numbers} all hold FAT; say which is meant with --partition")
        if areas:
            return max(areas, key=lambda area: area.size)
    if len(disk.areas) == 1:
        return disk.areas[0]
    if not disk.areas and disk.table.findings:
        raise FormatError(
            f"the disk's {disk.table.kind.upper()} is not one to take partitions from; 'imgwriter verify'"
            " says what is wrong, or is missing",
            "partition table",
            disk.table.findings[0].offset,
        )
    found = ", ".join(f"{area.name}: {area.kind or 'unknown'}" for area in disk.areas) or "no partition"
    raise FormatError(
        f"the disk has no file system that is read ({found}); see 'imgwriter inspect'", "disk", 0
    )


def _lacks_the_root(disk: OpenedDisk) -> bool:
    """Return whether there is too little of a partition to know what it holds: it may be the largest ext4."""
    there = max((area.size for area in disk.areas if area.kind == EXT4), default=0)
    lost = (area.partition for area in disk.areas if not area.kind and disk.lacks(area))
    return any(partition is not None and partition.size > there for partition in lost)
