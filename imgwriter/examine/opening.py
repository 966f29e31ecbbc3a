"""Open an image down to its file systems: the one way in for every command that looks at one.

::

    path ── readers.open_image ──> Image (its Volume)
            tables_reader.read_table ──> Table ── an Area for each partition ──> FileSystem

A disk without a table is one area, number 0, of the whole disk. What a file system is told by is its own
magic, never the partition's type. One that cannot be opened is no error of the disk's: it is kept with its
area, for whoever asks for that file system.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from imgwriter.errors import FormatError, SpecError
from imgwriter.ext4 import reader as ext4_reader
from imgwriter.fat import reader as fat_reader
from imgwriter.readers import Image, open_image
from imgwriter.tables_reader import Partition, Table, read_table
from imgwriter.window import Window

__all__ = ["Area", "FileSystem", "OpenedDisk", "open_disk"]

FileSystem: TypeAlias = ext4_reader.FileSystem | fat_reader.FileSystem

EXT4 = "ext4"
FAT = "fat"
UNKNOWN = ""

# (name, offset, magic): what is there is said, though it is not read. Offsets as libblkid's superblock probes
# have them; FAT's boot sector has no magic that others lack, so it is asked for last.
_EXT_MAGIC = (0x438, b"\x53\xef")
_MAGICS = (
    ("xfs", 0, b"XFSB"),
    ("squashfs", 0, b"hsqs"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("LVM2 physical volume", 0x218, b"LVM2 001"),
    ("exfat", 3, b"EXFAT   "),
    ("ntfs", 3, b"NTFS    "),
    ("erofs", 0x400, b"\xe2\xe1\xf5\xe0"),
    ("f2fs", 0x400, b"\x10\x20\xf5\xf2"),
    ("swap", 0xFF6, b"SWAPSPACE2"),
    ("iso9660", 0x8001, b"CD001"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
)


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a disk in which a file system may be.

    Attributes:
        number: The partition's; 0 is the whole of a disk without a table.
        start, size: Bytes of the disk.
        partition: As the table has it; None for number 0.
        kind: "ext4" (also ext3 and ext2), "fat", the name of another that is not read, or "" where nothing is
            known.
        file_system: It, opened; None where it is not read, or cannot be.
        error: Why it cannot be opened; None where it could.
    """

    number: int
    start: int
    size: int
    partition: Partition | None
    kind: str
    file_system: FileSystem | None = None
    error: FormatError | None = None

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return f"partition {self.number}" if self.number else "the disk"


@dataclass(frozen=True, slots=True)
class OpenedDisk:
    """An image that is open, with all that is known of its disk.

    Attributes:
        path: As it was given.
        image: The container, and the disk's bytes.
        table: Its partition table, with what is wrong with that.
        areas: By number; extended partitions, which only hold others, are not among them.
    """

    path: bytes
    image: Image
    table: Table
    areas: tuple[Area, ...]

    def lacks(self, area: Area) -> bool:
        """Return whether a part of a partition is behind the end of the disk."""
        return area.partition is not None and area.partition.end > self.image.volume.size

    def area(self, number: int) -> Area:
        """Return the area of a partition.

        Raises:
            SpecError: There is none of that number.
        """
        for area in self.areas:
            if area.number == number:
                return area
        numbers = ", ".join(str(area.number) for area in self.areas) or "none"
        raise SpecError(
            f"the disk has no partition {number}; those with room for a file system are: {numbers}"
        )


def open_disk(
    path: bytes, input_format: str | None = None, *, sector_size: int | None = None, verify: bool = False
) -> OpenedDisk:
    """Open an image, its table and its file systems; of the latter only superblocks and journals are read.

    Args:
        path: A file, or a block device.
        input_format: "raw", "qcow2", "vpc" or "vdi"; None to tell by the content.
        sector_size: Of the table, in bytes; None to tell by the content.
        verify: Whether checksums of ext4 are checked in all that is read.

    Raises:
        SpecError: There is no such format or sector size.
        SourceError: The image cannot be read.
        FormatError: The container is damaged.
    """
    image = open_image(path, input_format)
    return with_table(path, image, read_table(image.volume, sector_size), verify=verify)


def with_table(path: bytes, image: Image, table: Table, *, verify: bool = False) -> OpenedDisk:
    """Return an open image as a disk with the file systems of a table; see :func:`open_disk`."""
    if table.kind == "none":
        areas: tuple[Area, ...] = (_area(image, 0, 0, image.volume.size, None, verify),)
    else:
        areas = tuple(
            _area(image, p.number, p.start, p.size, p, verify)
            for p in table.partitions
            if p.role != "extended"
        )
    return OpenedDisk(path, image, table, areas)


def _area(
    image: Image, number: int, start: int, size: int, partition: Partition | None, verify: bool
) -> Area:
    volume = image.volume
    if start >= volume.size or size <= 0:
        error = FormatError(_beyond(volume.size, number, start), f"partition {number}", start)
        return Area(number, start, size, partition, UNKNOWN, error=error)
    # A partition may be cut off: what is left of it can be looked at all the same.
    size = min(size, volume.size - start)
    kind = identify(Window(volume, start, size))
    try:
        return Area(number, start, size, partition, kind, _open(image, kind, start, size, verify))
    except FormatError as error:
        return Area(number, start, size, partition, kind, error=error)


def _beyond(disk_size: int, number: int, start: int) -> str:
    if not disk_size:
        return "the disk has no bytes; get the whole of the image"
    return (
        f"partition {number} begins at {start:,}, and does not lie on the disk of {disk_size:,} bytes;"
        " get the whole of the image, or correct its table"
    )


def _open(image: Image, kind: str, start: int, size: int, verify: bool) -> FileSystem | None:
    if kind == EXT4:
        return ext4_reader.read_file_system(image.volume, start, size, verify=verify)
    if kind == FAT:
        return fat_reader.read_file_system(image.volume, start, size)
    return None


def identify(window: Window) -> str:
    """Return what file system is in a window, by its magic: as :attr:`Area.kind` has it."""

    def has(offset: int, magic: bytes) -> bool:
        end = offset + len(magic)
        return end <= window.size and window.read(offset, len(magic), "magic number") == magic

    if has(*_EXT_MAGIC):
        return EXT4
    for name, offset, magic in _MAGICS:
        if has(offset, magic):
            return name
    return FAT if fat_reader.looks_like_fat(window) else UNKNOWN
