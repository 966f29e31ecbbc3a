"""Each parser of ``imgwriter fuzz compare``: its adapter says what it saw, on tables by sgdisk and sfdisk.

What a whole table holds is told by who made it. Of damage each parser has to say what it is known to say, as
it was seen in the versions of Debian 12: gdisk 1.0.9, parted 3.5, util-linux 2.38.1, GRUB 2.06, The Sleuth
Kit 4.11.1, Linux 6.1; and in dissect.volume 3.18.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from imgwriter.fuzz.compare import dissect, kernel, own
from imgwriter.fuzz.compare.corpus import read_corpus
from imgwriter.fuzz.compare.finding import Parsers, find_parsers
from imgwriter.fuzz.compare.parsers import PROGRAMS
from imgwriter.fuzz.compare.session import Comparison, compare
from imgwriter.fuzz.compare.values import Part, View
from imgwriter.guest.busybox import find_busybox
from imgwriter.guest.kernel import find_kernel
from imgwriter.units import MiB
from imgwriter.vm import run_guest
from tests.oracles.tools import CACHE, attempt, require, require_file

pytestmark = pytest.mark.compat

SIZE = 8 * MiB
LAST = SIZE // 512 - 1

GPT = (Part(MiB, MiB, 1), Part(2 * MiB, 2 * MiB, 2), Part(5 * MiB, MiB // 2, 9))
MBR = (Part(MiB, MiB, 1), Part(3 * MiB, MiB, 5), Part(5 * MiB, 512, 6))
"""Without the extended partition, number 2."""

TELL_COPY = ("imgwriter", "sgdisk", "parted", "sfdisk", "mmls")
TELL_KIND_ALONE = ("blkid",)
UNNUMBERED = ("dissect", "mmls")


def gpt_image(path: Path) -> Path:
    """Return a GPT by sgdisk with the partitions of GPT."""
    path.write_bytes(bytes(SIZE))
    words = ("-n1:2048:4095", "-c1:one", "-n2:4096:8191", "-n9:10240:11263", "-t9:ef00")
    assert attempt("sgdisk", "-a1", *words, path).status == 0
    return path


def mbr_image(path: Path) -> Path:
    """Return an MBR by sfdisk with the partitions of MBR."""
    path.write_bytes(bytes(SIZE))
    script = (
        "label: dos\nstart=2048,size=2048\nstart=4096,size=8192,type=5\n"
        "start=6144,size=2048\nstart=10240,size=1\n"
    )
    assert attempt("sfdisk", "-q", path, stdin=script.encode()).status == 0
    return path


def patched(path: Path, lba: int, offset: int, value: bytes, *, seal: bool = True) -> Path:
    """Change bytes of the GPT header at an LBA, and make its checksum right again (UEFI 2.10, 5.3.2)."""
    with path.open("r+b") as file:
        file.seek(lba * 512)
        header = bytearray(file.read(512))
        header[offset : offset + len(value)] = value
        if seal:
            header[16:20] = bytes(4)
            header[16:20] = struct.pack("<I", zlib.crc32(header[:92]))
        file.seek(lba * 512)
        file.write(header)
    return path


@functools.cache
def parsers() -> Parsers:
    for program in PROGRAMS:
        require(program.program)
    return find_parsers(PROGRAMS)


def seen(folder: Path, with_guest: bool = False) -> Mapping[str, Mapping[str, View]]:
    """Return what each parser saw of each image of a folder, by image."""
    asked = find_parsers((), tuple(kernel.NAMES), guests()) if with_guest else parsers()
    found = compare(read_corpus(bytes(folder)), asked, jobs=2, timeout=60.0)
    return {case.name: views for case, views in zip(found.corpus.cases, found.views, strict=True)}


def guests() -> tuple[kernel.Guest, ...]:
    folder = require_file(CACHE / "guest" / ".ready").parent
    require("qemu-system-x86_64")
    (file,) = folder.glob("boot/vmlinuz-*")
    found = find_kernel(None, kernel=bytes(file), modules=bytes(folder / "lib/modules"))
    return kernel.guests(found, find_busybox(None, "x86_64").content, run_guest, timeout=900.0)


def nobody_wrote(comparison: Comparison) -> bool:
    return not any(view.wrote for views in comparison.views for view in views.values())


def test_all_are_asked_and_say_their_versions():
    versions = parsers().versions
    assert list(versions) == [own.NAME, *(p.name for p in PROGRAMS), dissect.NAME]
    assert all(re.match(r"\d+\.\d+", version) for version in versions.values()), versions
    assert not parsers().missing


def check_whole(views: Mapping[str, View], kind: str, parts: tuple[Part, ...]) -> None:
    for name, view in views.items():
        if name == "fdisk":  # asked where sfdisk cannot be
            assert view.state == "unasked"
            continue
        assert (view.state, view.kind) == ("table", kind), name
        assert view.used == ("primary" if kind == "gpt" and name in TELL_COPY else None), name
        if name in TELL_KIND_ALONE:
            assert view.partitions is None
        elif name in UNNUMBERED and kind == "mbr":
            assert view.partitions is not None
            assert {(p.start, p.size) for p in view.partitions} == {(p.start, p.size) for p in parts}, name
        else:
            assert view.partitions == parts, name


def test_whole_tables(tmp_path: Path):
    gpt_image(tmp_path / "gpt")
    mbr_image(tmp_path / "mbr")
    views = seen(tmp_path)
    check_whole(views["gpt"], "gpt", GPT)
    check_whole(views["mbr"], "mbr", MBR)


def test_sectors_of_4096_bytes(tmp_path: Path):
    path = tmp_path / "gpt"
    path.write_bytes(bytes(SIZE))
    words = ("-s", "mklabel", "gpt", "mkpart", "a", "1MiB", "2MiB", "mkpart", "b", "3MiB", "4MiB")
    assert attempt("parted", path, *words, env={"PARTED_SECTOR_SIZE": "4096"}).status == 0
    found = compare(read_corpus(bytes(tmp_path), 4096), parsers(), jobs=2, timeout=60.0)
    (views,) = found.views
    parts = (Part(MiB, MiB, 1), Part(3 * MiB, MiB, 2))
    unasked = {name for name, view in views.items() if view.state == "unasked"}
    assert unasked == {"sgdisk", "sfdisk", "blkid", "grub"}
    for name in views.keys() - unasked:
        assert (views[name].kind, views[name].partitions) == ("gpt", parts), name


def test_disks_without_a_table(tmp_path: Path):
    (tmp_path / "zeros").write_bytes(bytes(SIZE))
    (tmp_path / "ext4").write_bytes(bytes(SIZE))
    assert attempt("mke2fs", "-q", "-t", "ext4", tmp_path / "ext4").status == 0
    patched(gpt_image(tmp_path / "protective"), 1, 0, b"X", seal=False)
    patched(tmp_path / "protective", LAST, 0, b"X", seal=False)
    for image, views in seen(tmp_path).items():
        assert {name for name, view in views.items() if view.state == "table"} == set(), image
        assert {name for name, view in views.items() if view.state == "unasked"} == {"fdisk"}


def test_a_damaged_primary_is_objected_to(tmp_path: Path):
    """The checksum does not fit: all but those that do not look at it use the backup."""
    patched(gpt_image(tmp_path / "gpt"), 1, 40, b"\x01", seal=False)
    (views,) = seen(tmp_path).values()
    used = {name: view.used for name, view in views.items() if view.used}
    assert used == {
        "imgwriter": "backup", "sgdisk": "backup", "parted": "backup", "sfdisk": "backup", "mmls": "primary",
    }  # fmt: skip
    for name in ("imgwriter", "sgdisk", "parted", "sfdisk"):
        assert re.search("checksum|crc|corrupt|invalid", views[name].said, re.IGNORECASE), views[name]
    assert all(view.partitions in (GPT, None) for view in views.values() if view.state == "table")


def test_a_damaged_backup_is_not_used(tmp_path: Path):
    patched(gpt_image(tmp_path / "gpt"), LAST, 40, b"\x01", seal=False)
    (views,) = seen(tmp_path).values()
    assert {views[name].used for name in TELL_COPY} == {"primary"}


def test_a_header_that_is_elsewhere(tmp_path: Path):
    """MyLBA is 0 in both copies: "check the MyLBA entry" is a test that a reader has to make."""
    patched(gpt_image(tmp_path / "gpt"), 1, 24, bytes(8))
    patched(tmp_path / "gpt", LAST, 24, bytes(8))
    (views,) = seen(tmp_path).values()
    states = {name: view.state for name, view in views.items()}
    refused = {"imgwriter", "parted", "sfdisk", "partx", "blkid"}
    assert {name for name, state in states.items() if state == "none"} == refused
    assert {name for name, state in states.items() if state == "table"} == {
        "sgdisk",
        "grub",
        "mmls",
        "dissect",
    }


def test_parted_dies_of_a_table_without_entries(tmp_path: Path):
    patched(gpt_image(tmp_path / "gpt"), 1, 80, bytes(4))
    (views,) = seen(tmp_path).values()
    assert views["parted"].state == "crash" and "signal 6" in views["parted"].said


def test_sgdisk_counts_to_the_end_of_a_partition_that_has_none(tmp_path: Path):
    """Entry 1 ends at the largest LBA: sgdisk 1.0.9 goes through all of them."""
    patched(gpt_image(tmp_path / "gpt"), 1, 48, b"\xff" * 8)
    asked = find_parsers(PROGRAMS, ("sgdisk",))
    (views,) = compare(read_corpus(bytes(tmp_path)), asked, jobs=1, timeout=2.0).views
    assert views["sgdisk"].state == "timeout"


def test_dissect_goes_on_behind_an_image_that_it_does_not_end_with(tmp_path: Path):
    """4,294,967,295 entries of 0 bytes are the first one, again and again."""
    for name in ("a", "c"):
        gpt_image(tmp_path / name)
    patched(gpt_image(tmp_path / "b"), 1, 80, b"\xff" * 4 + bytes(4))
    cases = read_corpus(bytes(tmp_path)).cases
    views = dissect.views(cases, timeout=3.0)
    assert views[1].state in ("timeout", "crash")  # whichever comes first: its time or its memory is over
    assert views[0] == views[2] and views[0].partitions == GPT


def test_no_parser_of_those_that_are_known_writes(tmp_path: Path):
    for number, (lba, offset) in enumerate([(1, 0), (1, 88), (LAST, 0), (LAST, 24)]):
        patched(gpt_image(tmp_path / f"{number}"), lba, offset, b"\x01\x01")
    assert nobody_wrote(compare(read_corpus(bytes(tmp_path)), parsers(), jobs=2, timeout=60.0))


@pytest.mark.guest
def test_the_kernel(tmp_path: Path):
    gpt_image(tmp_path / "gpt")
    mbr_image(tmp_path / "mbr")
    (tmp_path / "zeros").write_bytes(bytes(SIZE))
    patched(gpt_image(tmp_path / "primary"), 1, 40, b"\x01", seal=False)
    patched(gpt_image(tmp_path / "backup"), LAST, 40, b"\x01", seal=False)
    views = seen(tmp_path, with_guest=True)
    whole = View("table", None, None, GPT)
    none = View("none", partitions=())
    # "gpt" on its command line is what makes the kernel look at a backup: kernel-parameters.txt.
    for name, of_primary in (("linux", none), ("linux-gpt", whole)):
        assert views["gpt"][name] == views["backup"][name] == whole
        assert views["primary"][name] == of_primary
        assert views["zeros"][name] == none
        assert views["mbr"][name] == View("table", None, None, MBR)


@pytest.mark.guest
def test_the_kernel_and_sectors_of_4096_bytes(tmp_path: Path):
    path = tmp_path / "gpt"
    path.write_bytes(bytes(SIZE))
    words = ("-s", "mklabel", "gpt", "mkpart", "a", "1MiB", "2MiB")
    assert attempt("parted", path, *words, env={"PARTED_SECTOR_SIZE": "4096"}).status == 0
    # More than there are targets; the last is asked as a disk of the sectors that it has not.
    cases = [*read_corpus(bytes(tmp_path), 4096).cases * 256, *read_corpus(bytes(tmp_path), 512).cases]
    views = guests()[0].views(cases)
    assert views[:-1] == [View("table", None, None, (Part(MiB, MiB, 1),))] * 256
    assert views[-1] == View("none", partitions=())
