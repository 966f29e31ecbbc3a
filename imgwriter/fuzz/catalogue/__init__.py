"""The catalogue of deviations: one thing wrong in each, by name, with what a correct reader makes of it.

One module for each structure; :data:`KINDS` has them by the kind of image, in a fixed order, which is that of
the files of a corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

from imgwriter.errors import SpecError
from imgwriter.fuzz.catalogue.ebr import chain_disk, ebr_deviations
from imgwriter.fuzz.catalogue.ext4 import ext4_deviations
from imgwriter.fuzz.catalogue.fat import fat_deviations
from imgwriter.fuzz.catalogue.gpt_array import array_deviations
from imgwriter.fuzz.catalogue.gpt_disk import disk_deviations, gpt_disk_4096
from imgwriter.fuzz.catalogue.gpt_entry import entry_deviations
from imgwriter.fuzz.catalogue.gpt_header import header_deviations
from imgwriter.fuzz.catalogue.gpt_protective import protective_deviations
from imgwriter.fuzz.catalogue.mbr import mbr_deviations, primary_disk
from imgwriter.fuzz.catalogue.qcow2 import qcow2_deviations
from imgwriter.fuzz.catalogue.vhd import vhd_deviations
from imgwriter.fuzz.containers import fixed_vhd_file, qcow2_file, vhd_file
from imgwriter.fuzz.deviation import Case, Deviation, case_of, valid_case
from imgwriter.fuzz.file_systems import ext4_volume, fat12_volume, fat32_volume
from imgwriter.fuzz.image import Image
from imgwriter.fuzz.tables import gpt_disk


def _mbr() -> Iterator[Deviation]:
    yield from mbr_deviations()
    yield from ebr_deviations()


def _gpt() -> Iterator[Deviation]:
    yield from header_deviations()
    yield from array_deviations()
    yield from entry_deviations()
    yield from protective_deviations()
    yield from disk_deviations()


_SOURCES: Mapping[str, Callable[[], Iterator[Deviation]]] = {
    "mbr": _mbr,
    "gpt": _gpt,
    "fat": fat_deviations,
    "ext4": ext4_deviations,
    "qcow2": qcow2_deviations,
    "vhd": vhd_deviations,
}

_VALID: Mapping[str, tuple[tuple[Callable[[], Image], str, str], ...]] = {
    "mbr": (
        (primary_disk, "an MBR with three partitions", "UEFI 2.10, 5.2.1"),
        (chain_disk, "an MBR with three logical partitions", "UEFI 2.10, 5.2.1"),
    ),
    "gpt": (
        (gpt_disk, "a GPT with three partitions", "UEFI 2.10, 5.3"),
        (gpt_disk_4096, "a GPT on a disk with sectors of 4,096 bytes", "UEFI 2.10, 5.3"),
    ),
    "fat": (
        (fat12_volume, "a FAT12 with a file", "FAT specification, 3"),
        (fat32_volume, "a FAT32 with a file", "FAT specification, 3"),
    ),
    "ext4": ((ext4_volume, "an ext4 with a file", "ext4/super.rst"),),
    "qcow2": ((qcow2_file, "a qcow2 of version 3", "docs/interop/qcow2.txt"),),
    "vhd": (
        (vhd_file, "a dynamic VHD", "VHD specification 1.0"),
        (fixed_vhd_file, "a fixed VHD", "VHD specification 1.0"),
    ),
}
"""What the deviations of a kind start from, with nothing wrong."""

KINDS = tuple(_SOURCES)
"""The kinds of image, in the order of the corpus."""


@cache
def deviations(kind: str) -> tuple[Deviation, ...]:
    """Return the deviations of a kind of image.

    Raises:
        SpecError: There is no such kind.
    """
    if kind not in _SOURCES:
        raise SpecError(f"there is no kind {kind!r} of image here; there are {', '.join(KINDS)}")
    return tuple(_SOURCES[kind]())


def deviation(name: str) -> Deviation:
    """Return a deviation by its name.

    Raises:
        SpecError: There is none.
    """
    kind = name.partition(".")[0]
    for found in deviations(kind):
        if found.name == name:
            return found
    raise SpecError(f"there is no deviation {name!r}; 'imgwriter fuzz corpus' lists them in its manifest")


def valid_cases(kind: str) -> list[Case]:
    """Return the images of a kind with nothing wrong."""
    return [valid_case(kind, make(), description, section) for make, description, section in _VALID[kind]]


def makers(kind: str) -> list[Callable[[], Case]]:
    """Return what makes the cases of a kind: those with nothing wrong, then one for each deviation."""
    right = [
        partial(valid_case, kind, make(), description, section) for make, description, section in _VALID[kind]
    ]
    return [*right, *(partial(case_of, d) for d in deviations(kind))]


def cases(kind: str) -> list[Case]:
    """Return the images of a kind with nothing wrong, then one for each deviation."""
    return [make() for make in makers(kind)]
