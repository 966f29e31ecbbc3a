"""A raw disk: the file is the disk, byte by byte, of any size.

Its holes stay holes: what SEEK_DATA and SEEK_HOLE show becomes the extents.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from imgwriter.extent import Extent, Volume
from imgwriter.readers.hostfile import HostFile

MOST_EXTENTS = 1 << 18
"""After so many runs the rest of the file is one: a file of terabytes with a hole in every other block would
take more memory for its map than it is worth. The bytes are the same, holes read as zeros."""


def read(file: HostFile) -> tuple[Volume, Mapping[str, str | int]]:
    """Return the disk that a raw file is; there are no details.

    Raises:
        SourceError: The file cannot be read.
    """
    return Volume(file.size, data_extents(file, file.size)), {}


def data_extents(file: HostFile, size: int) -> list[Extent]:
    """Return the first ``size`` bytes of a file in extents that skip its holes."""
    extents: list[Extent] = []
    position = 0
    while position < size:
        start, stop = position, size
        if len(extents) < MOST_EXTENTS:
            start, stop = _next_data(file, position, size)
        if start >= size:
            break
        extents.append(file.extent(start, start, stop - start, "guest disk"))
        position = stop
    return extents


def _next_data(file: HostFile, position: int, size: int) -> tuple[int, int]:
    """Return the first run of data at or after ``position``, as far as the file system can tell."""
    fd = file.shared.fd
    try:
        start = os.lseek(fd, position, os.SEEK_DATA)
        return start, min(os.lseek(fd, start, os.SEEK_HOLE), size)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no data from here on
            return size, size
        return position, size  # EINVAL: this file system, or device, cannot tell
