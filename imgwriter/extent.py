"""Everything that occupies bytes is a Volume: a size and a sorted run of disjoint extents.

::

    0            start             start+length                    size
    ├── zeros ───┼──── extent 0 ────┼─── zeros ───┼─ extent 1 ─┼─ ... ─┤

Bytes in no extent are zero, and are never written. File systems, partition tables and whole disks
are Volumes; :func:`compose` puts one into another. An extent's bytes are a :class:`Data`, which
knows its length without producing its bytes: a plan of 16 TiB is a few objects.

Invariants (checked when a Volume is made): extents are sorted by ``start``, do not overlap, are not
empty, and end at or before ``size``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from imgwriter.errors import PlanInvariantError

Buffer: TypeAlias = bytes | bytearray | memoryview

CHUNK = 4 << 20
"""Bytes that a Data produces at a time, at most: large enough that system calls do not count."""


class Data(Protocol):
    """A run of bytes that knows its length without producing its bytes."""

    def __len__(self) -> int: ...

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        """Yield the bytes of [start, stop) in order, in pieces of at most CHUNK bytes.

        A piece is valid until the next one is asked for.
        """
        ...


class Bytes:
    """Bytes that are already in memory."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __len__(self) -> int:
        return len(self.content)

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        view = memoryview(self.content)
        for offset in range(start, stop, CHUNK):
            yield view[offset : min(offset + CHUNK, stop)]


class Generated:
    """Bytes made when they are asked for, by a pure function of the interval.

    Args:
        length: Bytes in all.
        produce: Called with (start, stop); returns exactly stop - start bytes, the same every time.
    """

    __slots__ = ("length", "produce")

    def __init__(self, length: int, produce: Callable[[int, int], Buffer]) -> None:
        self.length = length
        self.produce = produce

    def __len__(self) -> int:
        return self.length

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        for offset in range(start, stop, CHUNK):
            end = min(offset + CHUNK, stop)
            piece = self.produce(offset, end)
            if len(piece) != end - offset:
                raise PlanInvariantError(f"generated data gave {len(piece)} of {end - offset} bytes")
            yield piece


class Extent(NamedTuple):
    """A half-open run [start, start + length) of a Volume, with its bytes.

    The bytes are ``data[data_start : data_start + length]``. ``label`` says what they are: ``str()``
    of it is a phrase such as "inode table, group 3" or a path; it is formatted only when asked for.
    """

    start: int
    length: int
    data: Data
    data_start: int
    label: object

    @property
    def end(self) -> int:
        """The offset of the first byte after the extent."""
        return self.start + self.length


def extent(start: int, data: Data, label: object) -> Extent:
    """Return the extent that holds all of ``data`` at ``start``."""
    return Extent(start, len(data), data, 0, label)


class Volume:
    """A size in bytes and the extents that are not zero, sorted and disjoint."""

    __slots__ = ("extents", "size")

    def __init__(self, size: int, extents: Iterable[Extent]) -> None:
        self.size = size
        self.extents: Sequence[Extent] = sorted((e for e in extents if e.length), key=lambda e: e.start)
        end = 0
        before: object = "the start of the volume"
        for e in self.extents:
            if e.start < end:
                raise PlanInvariantError(f"{e.label} at {e.start} overlaps {before}, which ends at {end}")
            end, before = e.end, e.label
        if end > size:
            raise PlanInvariantError(f"{before} ends at {end}, beyond the volume's size {size}")

    @property
    def allocated(self) -> int:
        """Bytes that are in some extent."""
        return sum(e.length for e in self.extents)

    def read(self, start: int, length: int) -> bytes:
        """Return the bytes of [start, start + length); for tests and small structures."""
        result = bytearray(length)
        stop = start + length
        for e in self.extents:
            low, high = max(e.start, start), min(e.end, stop)
            if low < high:
                position = low - start
                shift = e.data_start - e.start
                # A piece is valid until the next one is asked for.
                for piece in e.data.chunks(low + shift, high + shift):
                    result[position : position + len(piece)] = piece
                    position += len(piece)
        return bytes(result)


def compose(size: int, parts: Iterable[tuple[int, Volume]]) -> Volume:
    """Return the Volume of ``size`` bytes that holds each part at its offset.

    Args:
        size: Bytes of the result.
        parts: (offset in bytes, Volume), in any order.

    Raises:
        PlanInvariantError: Two extents overlap, or one ends beyond ``size``; the message has both labels.
    """
    return Volume(
        size,
        (e._replace(start=offset + e.start) if offset else e for offset, v in parts for e in v.extents),
    )


class Patch(NamedTuple):
    """Bytes that take the place of a Volume's own.

    Attributes:
        start: Offset of the first one.
        content: The bytes.
        label: What they are, as an Extent's.
    """

    start: int
    content: bytes
    label: object

    @property
    def end(self) -> int:
        """The offset of the first byte after it."""
        return self.start + len(self.content)


def overlay(volume: Volume, patches: Iterable[Patch]) -> Volume:
    """Return the Volume with the patches' bytes in place of what it has there.

    Args:
        volume: Any.
        patches: Disjoint, in any order; inside the volume.

    Raises:
        PlanInvariantError: Two patches overlap, or one ends beyond the volume.
    """
    ordered = sorted((p for p in patches if p.content), key=lambda p: p.start)
    kept: list[Extent] = []
    pending = list(reversed(volume.extents))
    for patch in ordered:
        while pending and pending[-1].end <= patch.start:
            kept.append(pending.pop())
        while pending and pending[-1].start < patch.end:
            e = pending.pop()
            if e.start < patch.start:
                kept.append(e._replace(length=patch.start - e.start))
            if e.end > patch.end:
                behind = patch.end - e.start
                pending.append(Extent(patch.end, e.length - behind, e.data, e.data_start + behind, e.label))
    kept += reversed(pending)
    return Volume(volume.size, [*kept, *(extent(p.start, Bytes(p.content), p.label) for p in ordered)])
