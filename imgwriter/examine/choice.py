"""Which file system of a disk is meant where nobody says.

The one that can hold a system's root: the ext4, ext3 or ext2; of several the largest, of equals the first.
On a disk without one: the only FAT. One that is damaged counts too, so that no other is taken in its place.
"""

from __future__ import annotations

from imgwriter.errors import FormatError, SpecError
from imgwriter.examine.opening import EXT4, FAT, Area, FileSystem, OpenedDisk

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
    area = _default(disk) if number is None else disk.area(number)
    if area.file_system is not None:
        return area, area.file_system
    if area.error is not None:
        raise area.error
    what = f"holds {area.kind}, which is not read; {_OTHERS}"
    if not area.kind:
        what = "holds no file system that is known; see 'imgwriter inspect'"
    raise FormatError(f"{area.name} {what}", area.name, area.start)


def _default(disk: OpenedDisk) -> Area:
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
