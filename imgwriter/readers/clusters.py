"""Clusters of a qcow2 that lie scattered in the file, or compressed: read when they are asked for.

::

    guest   │ cluster 7 │ cluster 8 │ cluster 9 │      one Data, up to CHUNK bytes
                  │           │           └──── compressed: some sectors, inflated to a cluster
                  │           └──────────────── compressed
                  └──────────────────────────── plain: a cluster anywhere in the file

What is known of each is its L2 entry: 8 bytes, and 4 more where some clusters are there in part only.

Spec: docs/interop/qcow2.txt, "L2 table entry", "Compressed Clusters Descriptor".
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterator
from typing import TypeAlias

import zstandard

from imgwriter.errors import FormatError
from imgwriter.extent import CHUNK, Buffer
from imgwriter.qcow2 import OFLAG_COMPRESSED, CompressionType, compressed_place
from imgwriter.readers.hostfile import CUT_OFF, HostFile
from imgwriter.units import SECTOR

ALL_PARTS = (1 << 32) - 1
"""The bitmap of a cluster all of which is there."""

Decompress: TypeAlias = Callable[[bytes, int], bytes]
"""Called with the bytes from a compressed cluster's offset on, and the size of a cluster; returns what they
give, at most a cluster. Raises zlib.error or zstandard.ZstdError."""


def inflate(content: bytes, size: int) -> bytes:
    """Return up to ``size`` bytes of a raw deflate stream.

    QEMU writes with a window of 4 KiB and reads with any, since it inflates a cluster into one buffer.
    """
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size)


def decompress_zstd(content: bytes, size: int) -> bytes:
    """Return up to ``size`` bytes of a zstd frame; what its header says about its size allocates nothing."""
    with zstandard.ZstdDecompressor().stream_reader(content) as reader:
        return reader.read(size)


_DECOMPRESS: dict[CompressionType, Decompress] = {
    CompressionType.ZLIB: inflate,
    CompressionType.ZSTD: decompress_zstd,
}


class Decoder:
    """The clusters of one image: the file, the cluster size and the compression.

    Keeps the last cluster that was decompressed, for a caller that asks for it in parts.
    """

    __slots__ = ("_last", "cluster_bits", "decompress", "file")

    def __init__(self, file: HostFile, cluster_bits: int, compression: CompressionType) -> None:
        self.file = file
        self.cluster_bits = cluster_bits
        self.decompress = _DECOMPRESS[compression]
        self._last: tuple[int, bytes] = (0, b"")

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill ``view`` from the file at ``offset``, with zeros beyond its end.

        Raises:
            SourceError: The file cannot be read, or changed meanwhile.
        """
        count = max(min(len(view), self.file.size - offset), 0)
        self.file.slice(offset, count).read_into(view[:count])
        view[count:] = bytes(len(view) - count)

    def cluster(self, entry: int) -> bytes:
        """Return the bytes of a compressed cluster.

        Raises:
            FormatError: It is damaged.
            SourceError: The file cannot be read, or changed meanwhile.
        """
        last, content = self._last
        if last == entry:
            return content
        offset, stop = compressed_place(entry, self.cluster_bits)
        size = 1 << self.cluster_bits
        where = "qcow2 compressed cluster"
        stored = self.file.read(offset, min(stop, self.file.size) - offset, where)
        try:
            content, why = self.decompress(stored, size), "its data ends early"
        except (zlib.error, zstandard.ZstdError) as error:
            content, why = b"", str(error)
        if len(content) != size:
            remedy = CUT_OFF if stop > self.file.size else "the image is damaged: get it anew"
            raise FormatError(
                f"the compressed cluster at {offset:,} of the file does not give {size:,} bytes: {why};"
                f" {remedy}",
                where,
                offset,
            )
        self._last = entry, content
        return content


class Clusters:
    """Adjacent guest clusters; the last may be cut short by the end of the disk.

    Args:
        decoder: The image's.
        entries: For each cluster the L2 entry of a compressed one, the offset of a plain one, or 0: zeros.
        length: Bytes of the guest.
        parts: For each cluster the bitmap of those of its 32 parts that are there, from the least significant
            bit on; the others are zeros. None where all are.
    """

    __slots__ = ("decoder", "entries", "length", "parts")

    def __init__(
        self, decoder: Decoder, entries: array[int], length: int, parts: array[int] | None = None
    ) -> None:
        self.decoder = decoder
        self.entries = entries
        self.length = length
        self.parts = parts

    def __len__(self) -> int:
        return self.length

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        view = memoryview(bytearray(min(CHUNK, max(stop - start, 0))))
        for low in range(start, stop, CHUNK):
            high = min(low + CHUNK, stop)
            self._fill(view[: high - low], low)
            yield view[: high - low]

    def surely_not_zero(self, start: int, stop: int) -> bool:
        """Return whether [start, stop) touches a compressed cluster that is too long for zeros.

        Deflate makes zeros 159 times shorter even with its fixed codes, zstd more. Nothing is read.
        """
        bits = self.decoder.cluster_bits
        longest = (1 << bits) // 128 + 2 * SECTOR
        for entry in self.entries[start >> bits : ((stop - 1) >> bits) + 1]:
            if entry & OFLAG_COMPRESSED:
                offset, end = compressed_place(entry, bits)
                if end - offset > longest:
                    return True
        return False

    def _fill(self, view: memoryview, start: int) -> None:
        bits, entries = self.decoder.cluster_bits, self.entries
        position, stop = start, start + len(view)
        while position < stop:
            index = position >> bits
            within = position - (index << bits)
            entry = entries[index]
            plain = entry and not entry & OFLAG_COMPRESSED
            count = rising(entries, index, 1 << bits) if plain else 1
            end = min((index + count) << bits, stop)
            part = view[position - start : end - start]
            if plain:
                self.decoder.read_into(part, entry + within)
            elif entry:
                part[:] = self.decoder.cluster(entry)[within : within + len(part)]
            else:
                part[:] = bytes(len(part))
            position = end
        if self.parts is not None:
            self._clear(view, start, self.parts)

    def _clear(self, view: memoryview, start: int, parts: array[int]) -> None:
        """Make zeros of the parts that are not there."""
        bits = self.decoder.cluster_bits
        size = (1 << bits) // 32
        for index in range(start >> bits, ((start + len(view) - 1) >> bits) + 1):
            origin = (index << bits) - start
            for low, high in bit_runs(~parts[index] & ALL_PARTS):
                clear(view, origin + low * size, origin + high * size)


def rising(entries: array[int], first: int, step: int) -> int:
    """Return how many entries from ``first`` on follow each other at ``step``: compared many at a time."""
    stop, size = first + 1, 1
    while size:
        size = min(size, len(entries) - stop)
        start = entries[first] + (stop - first) * step
        if size and entries[stop : stop + size] == array("Q", range(start, start + size * step, step)):
            stop += size
            size *= 2
        else:
            size //= 2
    return stop - first


def bit_runs(bits: int) -> list[tuple[int, int]]:
    """Return the runs of ones in 32 bits, from the least significant on: [low, high) each."""
    edges = bits ^ (bits << 1)
    places = [index for index in range(33) if edges >> index & 1]
    return list(zip(places[::2], places[1::2], strict=True))


def clear(view: memoryview, low: int, high: int) -> None:
    """Make zeros of those of the bytes [low, high) that are in ``view``."""
    low, high = max(low, 0), min(high, len(view))
    if low < high:
        view[low:high] = bytes(high - low)
