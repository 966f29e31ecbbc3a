"""From one container to another: read, leave out zeros, encode, write.

::

    the image ── readers ──> Volume ── zeros ──> Volume ── encoder.encode ── sink ──> the file
                 its disk              without zeros       in its container

The disk is the same in both, byte for byte; where the new container has no such size, zeros follow it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from imgwriter import encoder, readers, sidecar, sink
from imgwriter.container import FORMATS, SPOOLED, SUFFIXES, ContainerOptions
from imgwriter.deferred import Deferred
from imgwriter.errors import FormatError, SpecError, show
from imgwriter.extent import Volume
from imgwriter.filedata import Amount, HandleSlice, HostPath
from imgwriter.identifiers import DEFAULT_SEED
from imgwriter.qcow2 import DEFAULT_CLUSTER_SIZE
from imgwriter.readers import Image
from imgwriter.sink.tally import Tally
from imgwriter.tables_reader import read_table
from imgwriter.units import SECTOR, MiB, align_up
from imgwriter.zeros import BLOCK, drop_zeros

Progress: TypeAlias = Callable[[Amount, Amount], None]
"""Called with (what is done, all of it): bytes read to look for zeros, and bytes written; no files."""

INPUT_FORMATS = ("raw", "qcow2", "vpc", "vdi")
STANDARD_OUTPUT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertSpec(ContainerOptions):
    """A conversion, as it is asked for; the new container is described by :class:`ContainerOptions`.

    Attributes:
        source: The image to read.
        output: The file to write, replaced when it is there; "-" for standard output.
        input_format: One of :data:`INPUT_FORMATS`, or None to tell by the content.
        seed: What the new container's identifiers derive from, or None for the usual one.
        time: Seconds since the epoch that the new container says it was made.
        sha256: Whether to write the checksum beside the image.
        sync: Whether to wait until the image is on the disk.
        workers: How many processes write or compress, or None for as many as pay.

    Raises:
        SpecError: The request contradicts itself.
    """

    source: HostPath
    output: HostPath
    input_format: str | None = None
    seed: str | None = None
    time: int = 1
    sha256: bool = False
    sync: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        ContainerOptions.__post_init__(self)
        if os.fsencode(self.source) == b"-":
            raise SpecError("an image is read from any place, a pipe only in order; save it to a file first")
        if self.input_format is not None and self.input_format not in INPUT_FORMATS:
            raise SpecError(
                f"input format {self.input_format!r} is not read by imgwriter;"
                f" use one of {', '.join(INPUT_FORMATS)}"
            )
        if self.workers is not None and self.workers < 1:
            raise SpecError(f"workers: {self.workers} is not a positive number; give one")
        if self.streams and (self.sha256 or self.sync):
            raise SpecError(
                "the image goes to standard output, where nothing is beside it; leave checksum and sync out"
            )

    @property
    def streams(self) -> bool:
        """Whether the image goes to standard output."""
        return os.fsencode(self.output) == b"-"


def format_of(output: HostPath) -> str:
    """Return the format that a file's name asks for.

    Raises:
        SpecError: It asks for none.
    """
    name = os.fsencode(output)
    suffixes = {".raw": "raw", ".vpc": "vpc"} | {SUFFIXES[f]: f for f in reversed(FORMATS)}
    for suffix, name_of_format in suffixes.items():
        if name.endswith(suffix.encode()):
            return name_of_format
    raise SpecError(
        f"{show(name)} does not say in its name what it is to be; name a format: {', '.join(FORMATS)}"
    )


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion that is planned: the image is open, and its structure was read.

    Attributes:
        spec: What was asked for.
        image: What is read.
        size: Bytes of the disk in the new container.
        leaves_backup: Whether the disk has a GPT, whose backup stands at its end, and grows in a VHD.
    """

    spec: ConvertSpec
    image: Image
    size: int
    leaves_backup: bool = False

    @property
    def warnings(self) -> list[str]:
        """What one might not expect."""
        spooled = self.spec.streams and self.spec.format == "qcow2-compressed"
        return [*self._growth(), *([SPOOLED] if spooled else [])]

    def _growth(self) -> list[str]:
        grown = self.size - self.image.volume.size
        if not grown:
            return []
        if self.spec.format != "vpc":
            return [f"the disk is no multiple of {SECTOR} bytes: {grown:,} zeros follow it"]
        remedy = (
            "fill a raw image up to it before"
            if self.image.volume.size % MiB
            else "--force-size keeps the size"
        )
        what = "the backup GPT is not at its end any more" if self.leaves_backup else "zeros follow it"
        return [f"the disk grows by {grown:,} bytes to what a VHD's cylinders can say: {what}; {remedy}"]


@dataclass(frozen=True, slots=True)
class Converted:
    """An image that was converted.

    Attributes:
        conversion: What was done.
        size: Bytes of the file.
        allocated: Bytes of it that were written; the others are zeros, and holes where they can be.
        sha256: Its checksum in hexadecimal, where it was asked for.
        seconds: How long it took.
    """

    conversion: Conversion
    size: int
    allocated: int
    sha256: str | None
    seconds: float


def plan_conversion(spec: ConvertSpec) -> Conversion:
    """Read the structure of the image and decide the rest; write nothing.

    Raises:
        SourceError: The image cannot be read.
        FormatError: It is damaged, or not of the format that was asked for.
        SpecError: The new container cannot hold its disk.
    """
    with _named(spec):
        image = readers.open_image(os.fsencode(spec.source), spec.input_format)
    size = image.volume.size
    if spec.force_size and size % MiB:
        raise SpecError(
            f"the disk has {size:,} bytes, and a forced size is whole MiB; leave it out, or fill a raw image"
            f" up before: truncate -s {align_up(size, MiB)}"
        )
    if spec.format != "raw":
        size = encoder.disk_size(spec, align_up(size, SECTOR))
    grows = spec.format == "vpc" and size > image.volume.size
    with _named(spec):
        leaves_backup = grows and _has_gpt(image.volume)
    return Conversion(spec, image, size, leaves_backup)


def _has_gpt(disk: Volume) -> bool:
    """Return whether a GPT counts, and is there: a protective record alone leads to none."""
    table = read_table(disk)
    return table.kind == "gpt" and any(copy.header is not None for copy in table.copies)


@contextmanager
def _named(spec: ConvertSpec) -> Iterator[None]:
    """Say which image is damaged: a script may have several."""
    try:
        yield
    except FormatError as error:
        path = show(os.fsencode(spec.source))
        raise FormatError(f"{path}: {error}", error.where, error.offset) from None


def convert_image(conversion: Conversion, progress: Progress | None = None) -> Converted:
    """Write the new image, replacing one that is there, or change nothing.

    Args:
        conversion: From :func:`plan_conversion`.
        progress: Called a few times a second while the image is written, in this thread.

    Raises:
        OutputError: A file cannot be written.
        SourceError: The image cannot be read, or changed meanwhile.
        FormatError: A part of it that holds content is damaged.
    """
    with _named(conversion.spec):
        return _converted(conversion, progress)


def _converted(conversion: Conversion, progress: Progress | None) -> Converted:
    """Open all that is written, and fill it: each file gets its name when all are finished."""
    started = time.monotonic()
    spec = conversion.spec
    output = os.fsencode(spec.output)
    targets = [output, output + b".sha256"][: 1 + spec.sha256]
    with sink.replacing_all([] if spec.streams else targets, sync=spec.sync) as opened:
        written, checksum = _fill(conversion, opened, progress)
    return Converted(conversion, written.size, written.allocated, checksum, time.monotonic() - started)


def _fill(
    conversion: Conversion, opened: Sequence[int], progress: Progress | None
) -> tuple[sink.Written, str | None]:
    """Write the image into the first file and its checksum into the second; return both."""
    spec = conversion.spec
    output = os.fsencode(spec.output)
    read, content = _content(conversion, progress)
    total = Amount(read + encoder.total(content).bytes, 0)

    def tell(done: Amount) -> None:
        if progress is not None:
            progress(Amount(read + done.bytes, 0), total)

    # A plain qcow2 is copied: two processes take as long as one, since one at a time may write into a file.
    workers = 1 if spec.format == "qcow2" else encoder.workers(spec, spec.workers)
    if spec.streams:
        return sink.stream(content, STANDARD_OUTPUT, progress=tell, workers=workers), None
    image = opened[0]
    written = sink.write_to(image, content, name=os.fsdecode(output), progress=tell, workers=workers)
    if not spec.sha256:
        return written, None
    line = sidecar.sha256(written.size, encoder.runs(content, written.size), output, image)
    sink.write_bytes_to(opened[1], os.fsencode(line), name=os.fsdecode(output) + ".sha256")
    return written, sidecar.digest(line)


def _content(conversion: Conversion, progress: Progress | None) -> tuple[int, Volume | Deferred]:
    """Return the bytes that were read by now, and the new file.

    A compressed qcow2 leaves zeros out as it is written; for the others they are looked for here. A plain one
    does without where that saves reading or decompressing everything twice, but for a pipe, where each offset
    has to be known.
    """
    spec = conversion.spec
    disk = Volume(conversion.size, conversion.image.volume.extents)
    cluster_size = spec.cluster_size or DEFAULT_CLUSTER_SIZE
    if spec.format == "qcow2" and not spec.streams and (cluster_size < BLOCK or not _lies_plain(disk)):
        return 0, encoder.sift(spec, disk)
    read = 0
    if spec.format != "qcow2-compressed":
        read = disk.allocated
        block = cluster_size if spec.format == "qcow2" else BLOCK
        disk = drop_zeros(disk, block, _reading(read, progress))
    seed = DEFAULT_SEED if spec.seed is None else spec.seed
    return read, encoder.encode(spec, disk, seed, spec.time)


def _lies_plain(disk: Volume) -> bool:
    """Return whether the disk's bytes are there in the image's file, to be looked at where one likes."""
    return all(isinstance(e.data, HandleSlice) for e in disk.extents)


def _reading(size: int, progress: Progress | None) -> Callable[[int], None]:
    """Return what counts bytes that are read, of ``size``, as the first half of the work."""
    tally = Tally(None if progress is None else lambda done: progress(done, Amount(2 * size, 0)))
    return lambda count: tally.add(count, 0)
