"""What a comparison is asked to be, and how it is done from beginning to end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from imgwriter.errors import SpecError
from imgwriter.fuzz.compare import kernel
from imgwriter.fuzz.compare.corpus import read_corpus
from imgwriter.fuzz.compare.finding import find_parsers
from imgwriter.fuzz.compare.parsers import PROGRAMS
from imgwriter.fuzz.compare.parsers.template import program_of
from imgwriter.fuzz.compare.session import DEFAULT_TIMEOUT, Comparison, Progress, compare
from imgwriter.guest.busybox import find_busybox
from imgwriter.guest.kernel import find_kernel
from imgwriter.spec.boot import DEFAULT_VM_TIMEOUT


@dataclass(frozen=True, slots=True)
class Request:
    """One comparison.

    Attributes:
        directory: The corpus, or a folder of raw images.
        parsers: Names of those that are asked; None for all that are installed.
        templates: Further ones, ``NAME=COMMAND``.
        jobs: Programs at a time; None for one a core.
        timeout: Seconds for one parser and one image; None for DEFAULT_TIMEOUT.
        sector_size: Bytes; of images without a manifest.
        vm_kernel: Path of the kernel of a guest; None for no guest.
        vm_modules, vm_busybox, vm_qemu: Paths of what it needs; None for the host's.
        vm_timeout: Seconds for a guest.

    Raises:
        SpecError: A time is none.
    """

    directory: bytes
    parsers: tuple[str, ...] | None = None
    templates: tuple[str, ...] = ()
    jobs: int | None = None
    timeout: float | None = None
    sector_size: int = 512
    vm_kernel: bytes | None = None
    vm_modules: bytes | None = None
    vm_busybox: bytes | None = None
    vm_qemu: bytes | None = None
    vm_timeout: float | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout <= 86_400:
            raise SpecError(f"a parser may take some seconds, not {self.timeout}; correct --timeout")


def run_request(request: Request, progress: Progress = lambda done, total: None) -> Comparison:
    """Do a comparison.

    Args:
        request: What it is.
        progress: Called in the calling thread with how many answers are there, and how many there will be.

    Raises:
        SpecError: A parser that is asked for by name is not known or not installed.
        SourceError: The corpus, an image or the kernel cannot be read.
        FormatError: The manifest is damaged.
        GuestError: The guest cannot be run.
        OutputError: There is no room for a copy of an image.
    """
    corpus = read_corpus(request.directory, request.sector_size)
    templates = [program_of(text) for text in request.templates]
    parsers = find_parsers(PROGRAMS, request.parsers, _guests(request), templates)
    jobs = request.jobs or os.cpu_count() or 1
    return compare(corpus, parsers, jobs=jobs, timeout=request.timeout or DEFAULT_TIMEOUT, progress=progress)


def _guests(request: Request) -> Sequence[kernel.Guest]:
    if request.vm_kernel is None:
        return ()
    # asyncio and qemu.qmp: only where a guest is run.
    from imgwriter.vm import run_guest

    found = find_kernel(None, kernel=request.vm_kernel, modules=request.vm_modules)
    busybox = find_busybox(None, found.architecture, request.vm_busybox)
    timeout = request.vm_timeout or DEFAULT_VM_TIMEOUT
    return kernel.guests(found, busybox.content, run_guest, timeout=timeout, qemu=request.vm_qemu)
