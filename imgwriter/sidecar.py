"""Files that go beside an image: its checksum, its block map, its manifest.

All three are text, made from the image's Volume; the first two also read the image that was
written, so that they vouch for what is on the disk. What the Volume knows to be zeros is hashed
without being read. Nothing here writes: the texts go through ``sink``.

The manifest has one JSON object a line, in the order of the offsets:

``offset``, ``length``
    Where in the image, in bytes. The bytes in no line are zeros.
``path`` and ``path_offset``
    The file inside the image that these bytes belong to, and their place in it. A backslash is
    written as two, a byte that is not part of UTF-8 as a backslash, ``x`` and two hex digits: so
    every name can be had back (:func:`escape` and :func:`unescape`). JSON's own escapes come on
    top. An extent has a path when its label is bytes, or has an attribute ``path`` that is.
``label``
    Instead of a path: what the bytes are, e.g. ``inode table, group 3``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator

from imgwriter.errors import OutputError, show
from imgwriter.extent import CHUNK, Extent, Volume
from imgwriter.filedata import HostPath, Packed
from imgwriter.units import div_ceil, format_size

BMAP_BLOCK = 4096
"""Bytes in a block of a block map: what bmaptool itself finds on common file systems."""

_BMAP = """<?xml version="1.0" ?>
<!-- This file contains the block map for an image file, which is basically a list of
     useful (mapped) block numbers in the image file. In other words, it lists only
     those blocks which contain data (boot sector, partition table, file-system
     metadata, files, directories, extents, etc). These blocks have to be copied to
     the target device. The other blocks do not contain any useful data and do not
     have to be copied to the target device. -->
<bmap version="2.0">
    <!-- Image size in bytes: {text} -->
    <ImageSize> {size} </ImageSize>
    <!-- Size of a block in bytes -->
    <BlockSize> {block} </BlockSize>
    <!-- Count of blocks in the image file -->
    <BlocksCount> {blocks} </BlocksCount>
    <!-- Count of mapped blocks -->
    <MappedBlocksCount> {mapped} </MappedBlocksCount>
    <!-- Type of checksum used in this file -->
    <ChecksumType> sha256 </ChecksumType>
    <!-- The checksum of this bmap file. When it is calculated, the value of
         the checksum has to be zero (all ASCII "0" symbols). -->
    <BmapFileChecksum> {checksum} </BmapFileChecksum>
    <!-- The block map: ranges of blocks, both ends included, or a single block. -->
    <BlockMap>
{ranges}    </BlockMap>
</bmap>
"""

_NO_CHECKSUM = "0" * hashlib.sha256().digest_size * 2
_ZEROS = memoryview(bytes(1 << 20))
_ESCAPED = re.compile(rb"\\(\\|x([0-9a-f]{2}))")


def sha256(size: int, runs: Iterable[tuple[int, int]], image: HostPath, fd: int | None = None) -> str:
    """Return the line that ``sha256sum`` prints for the image in its own directory.

    Args:
        size: Bytes of the image.
        runs: Half-open, sorted and disjoint; what is in none of them is zero, and is not read.
        image: Where it was written, or will be.
        fd: A descriptor of it, where it has no name yet; None: it is opened.

    Raises:
        OutputError: The image cannot be read.
    """
    digest = hashlib.sha256()
    position = 0
    with _Image(image, fd) as opened:
        for start, end in runs:
            _update_zeros(digest, start - position)
            opened.update(digest, start, end)
            position = end
    _update_zeros(digest, size - position)
    # As sha256sum: a name with a newline or a backslash is escaped, and the line says so.
    name = os.path.basename(os.fsdecode(image))
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest.hexdigest()}  {escaped}\n"


def digest(line: str) -> str:
    """Return the checksum that a line of :func:`sha256` begins with."""
    return line.lstrip("\\").split()[0]


def bmap(volume: Volume, image: HostPath, fd: int | None = None) -> str:
    """Return the block map of an image, with which bmaptool writes it without its holes.

    A block with any byte of an extent is mapped, and adjacent ones are one range.
    Spec: bmap format 2.0, as bmap-tools 3.6 describes it at the top of the files it makes.

    Args:
        volume: What was written.
        image: Where it was written, or will be.
        fd: A descriptor of it, where it has no name yet; None: it is opened.

    Raises:
        OutputError: The image cannot be read.
    """
    ranges = block_ranges(volume.extents, BMAP_BLOCK)
    lines = []
    with _Image(image, fd) as opened:
        for start, stop in ranges:
            digest = hashlib.sha256()
            opened.update(digest, start * BMAP_BLOCK, min(stop * BMAP_BLOCK, volume.size))
            numbers = f"{start}-{stop - 1}" if stop - start > 1 else f"{start}"
            lines.append(f'        <Range chksum="{digest.hexdigest()}"> {numbers} </Range>\n')
    text = _BMAP.format(
        text=format_size(volume.size),
        size=volume.size,
        block=BMAP_BLOCK,
        blocks=div_ceil(volume.size, BMAP_BLOCK),
        mapped=sum(stop - start for start, stop in ranges),
        checksum=_NO_CHECKSUM,
        ranges="".join(lines),
    )
    return text.replace(_NO_CHECKSUM, hashlib.sha256(text.encode()).hexdigest(), 1)


def manifest(volume: Volume) -> str:
    """Return one line of JSON for each run of bytes in the image; see the module's docstring."""
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in _entries(volume.extents))


def block_ranges(extents: Iterable[Extent], block: int) -> list[tuple[int, int]]:
    """Return the half-open ranges of blocks that hold a byte of an extent, sorted and not adjacent.

    Args:
        extents: Sorted and disjoint.
        block: Bytes in a block.
    """
    ranges: list[tuple[int, int]] = []
    for e in extents:
        start, stop = e.start // block, div_ceil(e.end, block)
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], stop)
        else:
            ranges.append((start, stop))
    return ranges


def escape(path: bytes) -> str:
    """Return any bytes as text that :func:`unescape` turns into the same bytes."""
    return path.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def unescape(text: str) -> bytes:
    """Return the bytes that :func:`escape` was given."""
    return _ESCAPED.sub(lambda m: bytes.fromhex(m[2].decode()) if m[2] else b"\\", text.encode())


def _entries(extents: Iterable[Extent]) -> Iterator[dict[str, int | str]]:
    for e in extents:
        if not isinstance(e.data, Packed):
            yield _entry(e.start, e.length, e.data_start, e.label)
            continue
        shift = e.start - e.data_start - e.data.start
        for offset, length, _, label in e.data.parts:
            start = max(offset + shift, e.start)
            end = min(offset + length + shift, e.end)
            if start < end:
                yield _entry(start, end - start, start - shift - offset, label)


def _entry(offset: int, length: int, path_offset: int, label: object) -> dict[str, int | str]:
    entry: dict[str, int | str] = {"offset": offset, "length": length}
    path = label if isinstance(label, bytes) else getattr(label, "path", None)
    if isinstance(path, bytes):
        return entry | {"path": escape(path), "path_offset": path_offset}
    return entry | {"label": str(label)}


class _Image:
    """An image open for reading."""

    def __init__(self, path: HostPath, fd: int | None) -> None:
        self.path = path
        self.given = fd
        self.buffer = memoryview(bytearray(CHUNK))

    def __enter__(self) -> _Image:
        try:
            if self.given is None:
                self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            else:
                self.fd = os.dup(self.given)
        except OSError as error:
            raise self._error(error.strerror) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def update(self, digest: hashlib._Hash, start: int, stop: int) -> None:
        """Hash the bytes of [start, stop)."""
        while start < stop:
            try:
                count = os.preadv(self.fd, (self.buffer[: stop - start],), start)
            except OSError as error:
                raise self._error(error.strerror) from error
            if count == 0:
                raise self._error("it is shorter than it was written")
            digest.update(self.buffer[:count])
            start += count

    def _error(self, why: str | None) -> OutputError:
        name = os.fsdecode(self.path)
        return OutputError(
            f"{show(os.fsencode(name))}: cannot be read back: {why}; build again with nothing else using it",
            name,
        )


def _update_zeros(digest: hashlib._Hash, count: int) -> None:
    while count > 0:
        digest.update(_ZEROS[:count])
        count -= len(_ZEROS)
