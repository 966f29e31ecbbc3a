"""Single bits flipped in every structure that has a checksum or a second copy: each is found, or is harmless.

What is harmless stands below with its reason; a bit that is missed and not in that list fails the test. Some
hundred bits in CI, always the same; IMGWRITER_FLIPS=10000 asks for as many.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from imgwriter.verify.image import verify_image
from tests.building import build
from tests.unit.readers.images import KiB, MiB, dynamic_vhd, footer, vdi
from tests.unit.verify.test_qcow2 import BLOCK, CLUSTER, L1_AT, L2_AT, Image
from tests.unit.verify.volumes import LONG_SHORT, FatVolume

pytestmark = pytest.mark.property

FLIPS = int(os.environ.get("IMGWRITER_FLIPS", "600"))

IDENTITY: Any = {"cylinder": 3, "heads": 4, "sectors_per_track": 17, "unique_id": b"u" * 16}


class Harmless(NamedTuple):
    """Bits of the bytes [low, high) that change nothing that is said anywhere else, and why."""

    low: int
    high: int
    mask: int
    why: str


class Subject(NamedTuple):
    """An image, where its structures are, and what of them is harmless."""

    image: bytes
    size: int
    ranges: Sequence[tuple[int, int]]
    harmless: Sequence[Harmless] = ()
    image_format: str | None = None


def gpt(folder: Path) -> Subject:
    """Both headers with the rest of their sectors, both arrays, the protective record."""
    (folder / "tree").mkdir()
    size = 32 * MiB
    path = build(
        folder / "tree", folder, "--partition-table", "efi", "--disk-size", "32MiB", "--boot-end", "10MiB"
    )
    image = bytearray(path.read_bytes())
    image[34 * 512 : -33 * 512] = bytes(size - 67 * 512)
    ranges = [(446 + 4, 446 + 5), (446 + 8, 512), (512, 1536), (size - 33 * 512, size - 33 * 512 + 512)]
    return Subject(bytes(image), size, [*ranges, (size - 512, size)])


def dynamic(_folder: Path) -> Subject:
    """Footer, copy, dynamic header, BAT."""
    image = dynamic_vhd([4, 133], 128 * KiB, header={"block_size": 64 * KiB}, length=262 * 512, **IDENTITY)
    return Subject(bytes(image), len(image), [(0, 1536 + 8), (len(image) - 512, len(image))])


def fixed(_folder: Path) -> Subject:
    image = bytes(128 * KiB) + footer(128 * KiB, **IDENTITY)
    return Subject(image, len(image), [(128 * KiB, len(image))])


def fat32(_folder: Path) -> Subject:
    """Boot sector and its copy, FSInfo, FATs, the parts of a long name that its checksum covers."""
    volume = FatVolume(32)
    short = volume.entry_at(LONG_SHORT)
    state = "the state of the volume: a note"
    ranges = [(0, 512), (512, 1024), (6 * 512, 7 * 512), (volume.fat_at, volume.fat_at + 64)]
    ranges += [(volume.fat_at + volume.fat_size, volume.fat_at + volume.fat_size + 64)]
    ranges += [(short, short + 11), (short - 64 + 13, short - 64 + 14), (short - 32 + 13, short - 32 + 14)]
    harmless = [
        Harmless(65, 66, 3, state),
        Harmless(6 * 512 + 65, 6 * 512 + 66, 0xFF, "the copy's state is not kept"),
        Harmless(512 + 492, 512 + 496, 0xFF, "FSI_Nxt_Free is a hint: any cluster will do"),
    ]
    return Subject(bytes(volume.image), volume.size, ranges, harmless, "raw")


def qcow2(_folder: Path) -> Subject:
    """Header, L1 and L2 entries, refcounts, compressed data is left out: it has no checksum of its own."""
    image = Image().image
    ranges = [(0, 112), (CLUSTER, CLUSTER + 8), (L1_AT, L1_AT + 8), (L2_AT, L2_AT + 16), (BLOCK, BLOCK + 16)]
    unused = "says nothing where there is no backing file, no snapshot"
    harmless = [
        Harmless(7, 8, 1, "version 2: the same tables, and no feature of version 3 in use"),
        Harmless(16, 20, 0xFF, unused),
        Harmless(24, 32, 0xFF, "the disk's size, within what the L1 table covers"),
        Harmless(36, 40, 0xFF, "more L1 entries, that are 0"),
        Harmless(64, 72, 0xFF, f"{unused}, within the file"),
        Harmless(80, 96, 0xFF, "features that may be ignored: known, or a note"),
        Harmless(100, 104, 0xFF, "a longer header: a note"),
        Harmless(L2_AT + 7, L2_AT + 8, 1, "the zero flag: a cluster that reads as zeros and keeps its place"),
        Harmless(L2_AT + 15, L2_AT + 16, 1, "the same"),
        Harmless(BLOCK, BLOCK + 16, 0xFF, "a refcount too high: a leak, which is a note"),
    ]
    return Subject(bytes(image), len(image), ranges, harmless)


def vdi_header(_folder: Path) -> Subject:
    """The header has no checksum: what says something that can be checked is checked."""
    image = vdi([0, 1], 2 * MiB, length=1024 + 2 * MiB)
    text = "text, UUIDs and geometry that nothing reads"
    harmless = [
        Harmless(0, 64, 0xFF, text),
        Harmless(72, 76, 0xFF, "a header that is larger"),
        Harmless(80, 340, 0xFF, "flags and a description"),
        Harmless(348, 360, 0xFF, text),
        Harmless(364, 376, 0xFF, "the disk's size, within its last block"),
        Harmless(392, 512, 0xFF, text),
    ]
    return Subject(bytes(image), len(image), [(0, 512 + 8)], harmless)


SUBJECTS: Sequence[Callable[[Path], Subject]] = (gpt, dynamic, fixed, fat32, qcow2, vdi_header)
SEALED = (gpt, dynamic, fixed)
"""Of these nothing is harmless: every bit is under a checksum, or has but one value."""


def is_harmless(subject: Subject, at: int, bit: int) -> bool:
    return any(h.low <= at < h.high and h.mask >> bit & 1 for h in subject.harmless)


@pytest.mark.parametrize("make", SUBJECTS, ids=lambda make: make.__name__)
def test_every_flipped_bit_is_found_or_harmless(make: Callable[[Path], Subject], tmp_path: Path) -> None:
    subject = make(tmp_path)
    assert not (make in SEALED and subject.harmless)
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(subject.size)
        # Zeros stay holes: most of a disk.
        for at in range(0, len(subject.image), 4096):
            if any(piece := subject.image[at : at + 4096]):
                file.seek(at)
                file.write(piece)
    assert verify_image(bytes(path), subject.image_format).findings == 0
    places = [at for low, high in subject.ranges for at in range(low, high)]
    chance = random.Random(make.__name__)
    missed = []
    with path.open("r+b") as file:
        for _ in range(max(FLIPS // len(SUBJECTS), 1)):
            at, bit = chance.choice(places), chance.randrange(8)
            file.seek(at)
            file.write(bytes([subject.image[at] ^ 1 << bit]))
            file.flush()
            report = verify_image(bytes(path), subject.image_format)
            # What keeps the disk from being read ends with status 2: that is seen, too.
            if not (report.findings or report.error) and not is_harmless(subject, at, bit):
                missed.append((at, bit))
            file.seek(at)
            file.write(subject.image[at : at + 1])
            file.flush()
    assert not missed
