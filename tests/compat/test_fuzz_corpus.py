"""The corpus before other people's readers: deviations are what they say, and verdicts are shared.

Where a reader differs from a verdict, it stands here by name, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dissect.volume import disk as dissect_disk

from imgwriter.fuzz.corpus import CorpusSpec, write_corpus
from tests.oracles import e2fsck, fsck_fat, mtools, qemu_img, sgdisk
from tests.oracles.loop_mount import mounted
from tests.oracles.tools import attempt, require_root, run

pytestmark = pytest.mark.compat


class Corpus:
    """A corpus in a folder: its files by what deviates in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_corpus(CorpusSpec("all", bytes(folder)))
        self.cases: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text())["cases"]

    def path(self, deviation: str) -> Path:
        return next(self.folder / c["file"] for c in self.cases if c["deviations"] == [deviation])

    def valid(self, kind: str) -> list[dict[str, Any]]:
        return [c for c in self.cases if not c["deviations"] and c["file"].startswith(kind)]

    def of(self, kind: str) -> Iterator[tuple[str, Path, str | None]]:
        for c in self.cases:
            if c["file"].startswith(kind) and c["deviations"]:
                yield c["deviations"][0], self.folder / c["file"], c["verdict"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus") / "all")


# --- What is right, by each format's own judge ---


def test_the_valid_gpt(corpus: Corpus) -> None:
    image = corpus.folder / corpus.valid("gpt")[0]["file"]
    sgdisk.verify(image)
    assert sgdisk_partitions(image) == [
        (p["number"], p["start"], p["size"]) for p in corpus.valid("gpt")[0]["partitions"]
    ]


def sgdisk_partitions(image: Path) -> list[tuple[int, int, int]]:
    rows = [line.split() for line in run("sgdisk", "-p", image).splitlines()]
    return [
        (int(row[0]), int(row[1]) * 512, (int(row[2]) - int(row[1]) + 1) * 512)
        for row in rows
        if len(row) > 5 and row[0].isdigit()
    ]


def test_the_valid_mbrs(corpus: Corpus) -> None:
    for case in corpus.valid("mbr"):
        found = sfdisk_partitions(corpus.folder / case["file"])
        assert found == [(p["number"], p["start"], p["size"]) for p in case["partitions"]]


def sfdisk_partitions(image: Path) -> list[tuple[int, int, int]]:
    text = run("sfdisk", "--json", image)
    # It says what it thinks of the table before the document, on the same stream.
    document, _ = json.JSONDecoder().raw_decode(text, text.index("{\n"))
    rows = document["partitiontable"].get("partitions", [])
    return [
        (int(row["node"].removeprefix(str(image))), row["start"] * 512, row["size"] * 512) for row in rows
    ]


def test_the_valid_file_systems(corpus: Corpus) -> None:
    for case in corpus.valid("fat"):
        fsck_fat.check(corpus.folder / case["file"])
        assert (
            "file" in mtools.run_on(corpus.folder / case["file"], "mdir")
            if hasattr(mtools, "run_on")
            else True
        )
    e2fsck.check(corpus.folder / corpus.valid("ext4")[0]["file"])


# --- GPT: sgdisk names the deviation, and no checksum where they are right ---

SGDISK = {
    "gpt.primary.my_lba.zero": ("main header's self-pointer doesn't point to itself", True),
    "gpt.primary.header_crc32.one_bit": ("Main header: ERROR", False),
    "gpt.primary.partition_entry_array_crc32.zero": ("Main partition table: ERROR", False),
    "gpt.backup.my_lba.zero": ("secondary header's self-pointer", True),
    "gpt.entry.overlap.one_sector": ("partitions 2 and 1 overlap", True),
    "gpt.entry.overlap.inside": ("overlap", True),
    "gpt.size.grown": ("doesn't reside at the end of the disk", True),
    "gpt.copies.no_primary_header": ("valid backup; regenerating main header", False),
}


@pytest.mark.parametrize("name", SGDISK)
def test_sgdisk_names_the_deviation(corpus: Corpus, name: str) -> None:
    words, sealed = SGDISK[name]
    text = " ".join(sgdisk.raw(corpus.path(name)).text.split())
    assert words in text
    assert ("CRCs don't match" not in text) == sealed


def test_entries_are_what_they_are_called(corpus: Corpus) -> None:
    def entry(name: str, number: int = 2) -> sgdisk.Partition:
        return sgdisk.partition(corpus.path(f"gpt.entry.{name}"), number)

    assert entry("starting_lba.first_usable", 1).first_lba == 34
    assert entry("ending_lba.at_start").last_lba == entry("ending_lba.at_start").first_lba == 128
    assert [entry(f"attributes.{n}").attributes for n in ("required", "legacy_bootable", "all")] == [
        1,
        4,
        2**64 - 1,
    ]
    assert entry("partition_name.full").name == "x" * 36
    assert entry("number.last", 128).first_lba == 600
    assert entry("partition_type_guid.ones").type_guid == "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"


@pytest.mark.parametrize("stride", [256, 512, 4096])
def test_wide_entries_are_read_by_dissect(corpus: Corpus, stride: int) -> None:
    """It takes SizeOfPartitionEntry as it is; sgdisk and Linux know 128 alone."""
    with open(corpus.path(f"gpt.both.size_of_partition_entry.{stride}"), "rb") as file:
        disk = dissect_disk.Disk(file)
        # Its sizes lack the last sector, of every GPT.
        places = [(p.number, p.offset) for p in disk.partitions]
        assert places == [(1, 64 * 512), (2, 128 * 512), (4, 320 * 512)]


# --- MBR: sfdisk has the same partitions ---

SFDISK_LIMIT = 60
"""sfdisk 2.38 lists no partition after the 60th."""


def test_sfdisk_sees_the_partitions_that_the_manifest_has(corpus: Corpus) -> None:
    """Of images that it takes for a DOS table: it knows loops, garbage and links that lead out."""
    compared, differing = 0, {}
    for case in corpus.cases:
        image = corpus.folder / case["file"]
        if case["table"] != "mbr" or case["partitions"] is None or case["size"] < 1 << 20:
            continue
        if attempt("sfdisk", "--json", image).status:
            continue
        compared += 1
        expected = [(p["number"], p["start"], p["size"]) for p in case["partitions"]]
        found, wanted = (
            {p for p in rows if p[0] <= SFDISK_LIMIT} for rows in (sfdisk_partitions(image), expected)
        )
        if found != wanted:
            differing[case["deviations"][0]] = (found, wanted)
    assert compared >= 60
    assert differing.keys() == SFDISK_DIFFERS.keys(), differing


_UNUSED = "lists records that have not both a type and sectors"
_UNSIGNED = "follows an EBR without 55 AA, and says that it will correct it"
_LOOP = "goes round and round until it has 60 partitions"

SFDISK_DIFFERS = {
    "mbr.boot_indicators.all_active": _UNUSED,
    "mbr.record3.size_in_lba.zero": _UNUSED,
    "mbr.record3.sectors.zero": _UNUSED,
    "mbr.record1.extended.zero": _UNUSED,
    "mbr.ebr2.record2.size_in_lba.zero": _UNUSED,
    "mbr.ebr1.signature.zero": _UNSIGNED,
    "mbr.ebr2.signature.zero": _UNSIGNED,
    "mbr.ebr2.signature.swapped": _UNSIGNED,
    "mbr.ebr1.record2.starting_lba.itself": _LOOP,
    "mbr.ebr2.record2.starting_lba.itself": _LOOP,
    "mbr.ebr2.record2.starting_lba.first": _LOOP,
    "mbr.ebr2.record2.starting_lba.own_ebr": _LOOP,
    "mbr.ebr3.record2.first": _LOOP,
    "mbr.ebr3.record2.second": _LOOP,
    "mbr.ebr2.two_partitions": "takes one partition of an EBR",
}
"""sfdisk 2.38; Linux and libblkid do none of it."""

# --- qcow2 and VHD: QEMU opens and reads what is accepted, and nothing that is refused ---

QEMU_DIFFERS = {
    "qcow2.header.l1_table_offset.beyond": "reads a table beyond the file as zeros",
    "qcow2.header.refcount_table_offset.beyond": "reads a table beyond the file as zeros",
    "qcow2.l1.entry0.beyond": "reads a table beyond the file as zeros",
    "qcow2.size.header_alone": "reads a table beyond the file as zeros",
    "qcow2.header3.header_length.odd": "does not ask for a multiple of 8, which the specification does",
    "vhd.copy.cookie.zero": "tells a dynamic disk by the copy at the start, and not by the footer",
    "vhd.copy.checksum.zero": "tells a dynamic disk by the copy at the start, and not by the footer",
    "vhd.footers.current_size.beyond_bat": "takes the geometry of a maker it does not know",
    "vhd.footers.current_size.largest": "takes the geometry of a maker it does not know",
    "vhd.footers.disk_type.none": "does not look at disk_type in the copy",
    "vhd.footers.disk_type.reserved": "does not look at disk_type in the copy",
    "vhd.footers.disk_type.differencing": "does not look at disk_type in the copy",
    "vhd.footers.disk_type.fixed": "does not look at disk_type in the copy",
    "vhd.header.checksum.zero": "does not check the dynamic header's checksum",
    "vhd.fixed.current_size.more": "takes the geometry of a maker it does not know",
}
"""QEMU 7.2."""


@pytest.mark.parametrize(("kind", "image_format"), [("qcow2", "qcow2"), ("vhd", "vpc")])
def test_qemu_comes_to_the_same_verdicts(
    corpus: Corpus, tmp_path: Path, kind: str, image_format: str
) -> None:
    differing = set()
    for name, image, verdict in corpus.of(kind):
        if verdict is None:
            continue
        target = tmp_path / "disk.raw"
        result = attempt("qemu-img", "convert", "-f", image_format, "-O", "raw", image, target)
        if (result.status == 0) != (verdict != "refuse"):
            differing.add(name)
    assert differing == {name for name in QEMU_DIFFERS if name.startswith(kind)}
    assert (
        qemu_img.info(corpus.folder / corpus.valid(kind)[0]["file"], image_format)["format"] == image_format
    )


# --- ext4: the kernel mounts what is accepted, and nothing that is refused ---


def test_the_kernel_comes_to_the_same_verdicts(corpus: Corpus, tmp_path: Path) -> None:
    require_root()
    image = corpus.folder / corpus.valid("ext4")[0]["file"]
    with mounted(image, tmp_path / "mnt") as folder:
        assert (folder / "file").read_bytes() == b"a file to find\n"
    differing = []
    for name, path, verdict in corpus.of("ext4"):
        if verdict is not None and _mounts(path, tmp_path / "mnt") != (verdict == "accept"):
            differing.append(name)
    assert differing == []


def _mounts(image: Path, folder: Path) -> bool:
    """Return whether the kernel mounts an image and lists its root."""
    if attempt("mount", "-t", "ext4", "-o", "loop,ro,noload", image, folder).status:
        return False
    try:
        return "file" in [path.name for path in folder.iterdir()]
    except OSError:
        return False
    finally:
        run("umount", folder)
