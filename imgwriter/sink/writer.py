"""Write extents into a Target: collect what is computed, read what is packed, move what is in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from imgwriter.errors import PlanInvariantError
from imgwriter.extent import Buffer, Extent
from imgwriter.filedata import FILE_BACKED, Packed, files_ended
from imgwriter.sink.target import IOV_MAX, Abilities, Target

Count: TypeAlias = Callable[[int, int], None]
"""Called with the bytes and the files written since the last call."""


def write_all(fd: int, name: str, extents: Iterable[Iterable[Extent]], count: Count) -> None:
    """Write runs of extents, one run after the other.

    Raises:
        OutputError: The file cannot be written.
        SourceError: A source cannot be read, or (SourceChangedError) is not what was scanned.
    """
    meter = _Meter(count)
    target = Target(fd, name, Abilities(), meter.add)
    try:
        writer = _ExtentWriter(target, meter)
        for run in extents:
            writer.run(run)
    finally:
        target.close()
    meter.add(0)


class _Meter:
    """Counts files along with the bytes: a call of its own for each would go through a pipe."""

    def __init__(self, count: Count) -> None:
        self.files = 0
        self._count = count

    def add(self, size: int) -> None:
        files, self.files = self.files, 0
        if size or files:
            self._count(size, files)


class _ExtentWriter:
    """One worker's way of writing extents, with its buffers."""

    def __init__(self, target: Target, meter: _Meter) -> None:
        self.target = target
        self.meter = meter
        self.buffer = memoryview(b"")
        self.pending: list[Buffer] = []
        self.pending_start = 0
        self.pending_end = 0

    def run(self, extents: Iterable[Extent]) -> None:
        """Write all of the extents."""
        for e in extents:
            if isinstance(e.data, FILE_BACKED):
                self.target.copy(e.data, e.data_start, e.length, e.start)
            elif isinstance(e.data, Packed) and e.length == e.data.length:
                self._write_packed(e.data, e.start)
            else:
                self._write_chunks(e)
            self.meter.files += files_ended(e)
        self._flush()

    def _write_packed(self, data: Packed, start: int) -> None:
        if len(self.buffer) < data.length:
            self.buffer = memoryview(bytearray(data.length))
        view = self.buffer[: data.length]
        data.read_into(view)
        self.target.write((view,), start)
        self.target.check(data.length)

    def _write_chunks(self, e: Extent) -> None:
        """Collect what one piece holds; write longer data piece by piece, as a piece lives till the next."""
        position = e.start
        for piece in e.data.chunks(e.data_start, e.data_start + e.length):
            if len(piece) > e.end - position:
                raise PlanInvariantError(f"{e.label} gave more than its {e.length} bytes")
            self._append(piece, position)
            position += len(piece)
            if len(piece) < e.length:
                self._flush()
        if position != e.end:
            raise PlanInvariantError(f"{e.label} gave {position - e.start} of its {e.length} bytes")

    def _append(self, piece: Buffer, start: int) -> None:
        if start != self.pending_end or len(self.pending) == IOV_MAX:
            self._flush()
        if not self.pending:
            self.pending_start = start
        self.pending.append(piece)
        self.pending_end = start + len(piece)

    def _flush(self) -> None:
        if self.pending:
            self.target.write(self.pending, self.pending_start)
            self.target.check(self.pending_end - self.pending_start)
            self.pending = []
