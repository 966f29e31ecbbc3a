"""Read disk images: raw, qcow2, VHD ("vpc" to QEMU) and VDI become the Volume of the disk in them.

::

    path ── hostfile ──> open file ── probe ──> format ── raw, qcow2, vhd, vdi ──> Image: a Volume, lazily

Only tables are read here. The disk's bytes are slices of the file, or are decompressed when they are asked
for.

An image comes from anywhere. Whatever is in it, the answer is a disk or a FormatError, for work and memory in
proportion to the tables that are really there: see docs/formats/reading.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from imgwriter.errors import SpecError
from imgwriter.extent import Volume
from imgwriter.readers import qcow2, raw, vdi, vhd
from imgwriter.readers.hostfile import HostFile, open_file
from imgwriter.readers.probe import probe

__all__ = ["Image", "open_image"]

Reader: TypeAlias = Callable[[HostFile], tuple[Volume, Mapping[str, str | int]]]

READERS: dict[str, Reader] = {"raw": raw.read, "qcow2": qcow2.read, "vpc": vhd.read, "vdi": vdi.read}
"""By QEMU's names of the formats."""


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image that is open for reading.

    Attributes:
        format: "raw", "qcow2", "vpc" or "vdi".
        volume: The disk in it. Its extents read the file when they are asked to, and raise SourceChangedError
            when that is not any more what it was, FormatError when a compressed cluster is damaged.
        details: For a report: such as version, cluster_size (bytes) and compression of a qcow2, subformat and
            block_size of the others.
    """

    format: str
    volume: Volume
    details: Mapping[str, str | int]


def open_image(path: bytes, input_format: str | None = None) -> Image:
    """Open a disk image.

    Args:
        path: A file, or a block device.
        input_format: What it is, whatever it looks like; None to tell by its content.

    Raises:
        SpecError: There is no such format.
        SourceError: The path cannot be opened or read, or is no file.
        FormatError: The image is damaged, is not of the format asked for, or needs what is not read (a
            backing file, a key); ``where`` and ``offset`` say which field.
    """
    if input_format is not None and input_format not in READERS:
        raise SpecError(f"input format {input_format!r} is not read; use one of {', '.join(READERS)}")
    file = open_file(path)
    chosen = input_format or probe(file)
    volume, details = READERS[chosen](file)
    return Image(chosen, volume, details)
