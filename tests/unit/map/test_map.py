"""Pictures as values and as text: bounded, well-formed, the same each time, and safe with any name."""

from __future__ import annotations

import json
import os
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from imgwriter.examine.opening import OpenedDisk, open_disk
from imgwriter.examine.owners import Kind, Region
from imgwriter.examine.owners.regions import tile
from imgwriter.map.bars import enlarged, to_scale
from imgwriter.map.data import page_data
from imgwriter.map.model import Part, map_disk
from imgwriter.map.page import make_page
from imgwriter.map.palette import OF_KIND, STYLES, Category
from imgwriter.map.runs import RUNS, rows_of, runs_of
from imgwriter.map.svg import STRONG, draw, short_size
from tests import trees
from tests.compat.ext4_images import MiB, write_structures
from tests.unit.diff.disks import ROOT, build_efi, changed, cli, opened
from tests.unit.ext4 import images

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_efi(tmp_path_factory.mktemp("map"))


def titles(picture: str) -> list[str]:
    return [title.text or "" for title in ElementTree.fromstring(picture).iter(f"{SVG}title")]


def test_the_picture_has_every_part_and_structure(disk: Path) -> None:
    found = titles(draw(map_disk(opened(disk))))
    starts = {title.splitlines()[0] for title in found}
    assert starts >= {
        "MBR", "GPT header, primary", "GPT entries, backup", "partition 1 (FAT)", "partition 2 (ext4)",
        "superblock", "boot sector", "etc/motd", "inode table, group 0",
    }  # fmt: skip
    assert any("EFI/a long name.efi" in title for title in found)
    assert f"superblock\n1 KiB at {ROOT + 1024:,}" in found


def test_pictures_are_the_same_each_time(disk: Path) -> None:
    assert draw(map_disk(opened(disk))) == draw(map_disk(opened(disk)))
    assert make_page(map_disk(opened(disk))) == make_page(map_disk(opened(disk)))


def test_the_page_needs_nothing_else(disk: Path) -> None:
    page = make_page(map_disk(opened(disk)))
    addresses = set(re.findall(r"https?://[^\"'\s)<]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"<link|@import|url\(|<img|<iframe", page)
    assert "default-src 'none'" in page


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> OpenedDisk:
    """A file system of 50,000 files in 500 directories; what is in the files stays holes."""
    names: dict[bytes, object] = {}
    content = trees.file(b"x" * 5000)
    for directory in range(500):
        names[b"d%03d" % directory] = trees.directory(
            {b"file-%03d" % n: trees.file(content.data.content) for n in range(100)}  # type: ignore[union-attr]
        )
    image = tmp_path_factory.mktemp("many") / "image"
    write_structures(image, trees.inventory(names), 600 * MiB)  # type: ignore[arg-type]
    return open_disk(os.fsencode(image))


def test_many_files_are_a_bounded_picture(many: OpenedDisk) -> None:
    drawn = map_disk(many)
    assert len(drawn.regions) > 50_000
    picture = draw(drawn)
    assert picture.count("<rect") < 2 * RUNS + 1000
    merged = next(title for title in titles(picture) if re.match(r"\d+ runs: d\d+/file", title))
    assert re.match(r"\d+ runs: (d\d+/file-\d+) … (d\d+/file-\d+)\n[\d.,]+ [KM]iB at [\d,]+$", merged)


def test_a_page_has_every_path_until_there_are_too_many(many: OpenedDisk) -> None:
    drawn = map_disk(many)
    data = page_data(drawn)
    assert not data["merged"]
    labels, before = [], ""
    for shared, rest in zip(data["labels"][::2], data["labels"][1::2], strict=True):
        before = before.encode("utf-16-le")[: 2 * shared].decode("utf-16-le") + rest
        labels.append(before)
    assert {"d000/file-000", "d499/file-099"} <= set(labels)
    assert sum(data["runs"][::3]) == drawn.size
    few = page_data(drawn, 1000)
    assert few["merged"] and len(few["runs"]) // 3 <= 2 * 1000 and sum(few["runs"][::3]) == drawn.size


def test_merging_keeps_every_byte(disk: Path) -> None:
    drawn = map_disk(opened(disk))
    for resolution in (1, 4096, 1 << 20, 1 << 30):
        runs = runs_of(drawn, ROOT, drawn.size, resolution)
        assert runs[0].start == ROOT and runs[-1].end == drawn.size
        assert all(a.end == b.start for a, b in pairwise(runs))
        assert len(runs) <= 2 * (drawn.size - ROOT) // resolution + 1
    (panel,) = (p for p in drawn.panels if p.area == 2)
    rows = rows_of(panel, runs_of(drawn, panel.start, panel.end, 4096))
    assert rows[0].start == panel.start and rows[-1].end == panel.end
    assert all(a.end == b.start for a, b in pairwise(rows))


# Names that mean something to XML, HTML, JavaScript or a terminal.
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"</title><script>", "</title><script>"),
        (b"]]>&lt;", "]]>&lt;"),
        (b"\"'><", "\"'><"),
        (b"\x00bell\x07"[1:], "bell\\x07"),
        ("\u202etxt.exe".encode(), "\\u202etxt.exe"),
        ("\u2028line".encode(), "\\u2028line"),
        (b"\xc3(", "\\xc3("),
        ("\ufffe".encode(), "\\ufffe"),
    ],
)
def test_hostile_names(tmp_path: Path, name: bytes, text: str) -> None:
    write_structures(tmp_path / "image", trees.inventory({name: trees.file(b"x" * 9000)}), 8 * MiB)
    drawn = map_disk(opened(tmp_path / "image"))
    picture = draw(drawn)
    assert any(title.splitlines()[0] == text for title in titles(picture))
    page = make_page(drawn)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None and text in "".join(map(str, json.loads(data[1])["labels"]))
    assert page.count("<script") == 2


def test_the_command_says_what_the_picture_notes(
    disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """s_log_block_size at 0x18: the file system cannot be followed."""
    assert cli("map", disk, "--svg", tmp_path / "a.svg") == 0
    assert capfd.readouterr().err == ""
    broken = changed(disk, tmp_path / "b", (ROOT + 1024 + 0x18, b"\xff"))
    assert cli("map", broken, "--svg", tmp_path / "b.svg") == 0
    said = capfd.readouterr().err
    assert said.startswith("imgwriter: note: ") and "s_log_block_size" in said


def test_damage_is_a_note(disk: Path, tmp_path: Path) -> None:
    broken = changed(disk, tmp_path / "b", (ROOT + 1024 + 0x18, b"\xff"))
    drawn = map_disk(opened(broken))
    assert any("s_log_block_size" in note for note in drawn.notes)
    (panel,) = (p for p in drawn.panels if p.area == 2)
    assert panel.totals == {Category.OPAQUE: panel.end - panel.start}
    assert "cannot be read" in panel.facts
    draw(drawn)


@pytest.mark.parametrize("size", [1, 511, 512, 4096, 1 << 20])
def test_a_disk_of_nothing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(size))
    drawn = map_disk(opened(path))
    assert ElementTree.fromstring(draw(drawn)).tag == f"{SVG}svg"
    assert sum(page_data(drawn)["runs"][::3]) == size


def test_every_kind_has_a_category_and_every_category_a_style() -> None:
    assert set(OF_KIND) == set(Kind)
    assert set(STYLES) == set(Category)


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour. Spec: WCAG 2.1, "relative luminance"."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("category", Category)
def test_text_can_be_read_on_its_colour(category: Category) -> None:
    """WCAG 2.1, 1.4.3: a contrast of 4.5 to 1."""
    for dark, ground, ink in ((False, "#ffffff", "#1c2026"), (True, "#15181c", "#e8ebef")):
        behind = STYLES[category].dark if dark else STYLES[category].light
        if category in (Category.GAP, Category.FREE):
            text = ink
        else:
            text = ground if category in STRONG else "#15181c"
        one, two = sorted((_luminance(behind), _luminance(text)))
        assert (two + 0.05) / (one + 0.05) >= 4.5, (dark, behind, text)


# --- Bars ---


def part(start: int, end: int, area: int | None = None) -> Part:
    return Part(start, end, Category.GAP, "part", "part", area)


def test_bars() -> None:
    parts = [part(0, 512), part(512, 1 << 30, 1), part(1 << 30, 1 << 40, 2)]
    true, large = to_scale(parts, 1 << 40, 1000), enlarged(parts, 1000, 80)
    assert true[2].x == pytest.approx(1000 / 1024)
    assert large[0].width == pytest.approx(80)
    assert large[0].width < large[1].width < large[2].width
    assert sum(span.width for span in large) == pytest.approx(1000)
    many = enlarged([part(n, n + 1) for n in range(100)], 1000, 80)
    assert [round(span.width, 6) for span in many] == [10.0] * 100
    assert enlarged([], 1000, 80) == []


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (8371200, "8.0 MiB"),
        (5 << 40, "5 TiB"),
    ],
)
def test_short_sizes(size: int, text: str) -> None:
    assert short_size(size) == text


# --- Regions ---


def region(start: int, end: int, kind: Kind, unit: int = 0) -> Region:
    return Region(start, end, kind, "layer", number=1, unit=unit, logical=0)


def test_an_earlier_rank_keeps_its_bytes() -> None:
    filler = Region(0, 0, Kind.UNUSED, "layer")
    tiled = tile(
        0, 100, filler,
        [region(10, 20, Kind.SUPERBLOCK), region(15, 30, Kind.DESCRIPTORS)],
        [region(0, 40, Kind.FILE), region(35, 60, Kind.FILE), region(90, 200, Kind.FILE)],
    )  # fmt: skip
    assert [(r.start, r.end, r.kind.name) for r in tiled] == [
        (0, 10, "FILE"), (10, 20, "SUPERBLOCK"), (20, 30, "DESCRIPTORS"), (30, 40, "FILE"), (40, 60, "FILE"),
        (60, 90, "UNUSED"), (90, 100, "FILE"),
    ]  # fmt: skip
    assert [r.logical for r in tiled if r.kind is Kind.FILE] == [0, 30, 5, 0]


def test_records_that_lost_their_beginning_are_none() -> None:
    filler = Region(0, 0, Kind.UNUSED, "layer")
    tiled = tile(0, 100, filler, [region(0, 10, Kind.MBR)], [region(0, 80, Kind.INODE_TABLE, unit=20)])
    assert [(r.start, r.end, r.unit) for r in tiled] == [(0, 10, 0), (10, 80, 0), (80, 100, 0)]
    tiled = tile(0, 100, filler, [region(0, 20, Kind.MBR)], [region(0, 80, Kind.INODE_TABLE, unit=20)])
    assert [(r.start, r.end, r.unit, r.number) for r in tiled[:2]] == [(0, 20, 0, 1), (20, 80, 20, 2)]


# --- The command ---


def test_the_command(disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli("map", disk, "--svg", tmp_path / "a.svg", "--html", tmp_path / "a.html") == 0
    assert (tmp_path / "a.svg").read_text() == draw(map_disk(opened(disk)))
    capfd.readouterr()
    assert cli("map", disk, "--svg", "-") == 0
    assert capfd.readouterr().out == (tmp_path / "a.svg").read_text()
    assert cli("map", disk) == 2
    assert cli("map", disk, "--svg", "-", "--html", "-") == 2
    assert cli("map", tmp_path / "missing", "--svg", tmp_path / "b") == 1
    assert cli("map", disk, "--svg", tmp_path / "no" / "b") == 1
    assert not (tmp_path / "b").exists()


def damaged_ext4(kind: str) -> bytearray:
    """Two groups, with blocks of 1 KiB, of which a structure is lost as debugfs would lose it."""
    entries = {b"dir": trees.directory({b"file": trees.file(b"x" * 5000)})}
    content = images.image(trees.inventory(entries), 12 * MiB, block_size=1024, features="^metadata_csum")
    at, size = {
        "sound": (0, 0),
        "group descriptors": (2048, 1024),
        "the root's inode": (images.inode_at(content, 2), 256),
        "the root's block": (images.first_block(content, 2), 1024),
        "a directory's block": (images.first_block(content, images.number_of(content, b"dir")), 1024),
    }[kind]
    content[at : at + size] = bytes(size)
    return content


NOTES = {
    "sound": (),
    "group descriptors": (
        "the descriptor of group 0 has a bitmap or an inode table outside the file system,"
        " and so have 1 more of 2",
    ),
    "the root's inode": ("inode 2, the root, is no directory",),
    "the root's block": ("the directory inode 2 has entries that cannot be followed, in 1 of 1 block",),
    "a directory's block": ("the directory inode 12 has entries that cannot be followed, in 1 of 1 block",),
}


@pytest.mark.parametrize("kind", NOTES)
def test_what_is_lost_of_an_ext4_is_said(kind: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(damaged_ext4(kind))
    drawn = map_disk(open_disk(os.fsencode(tmp_path / "image")))
    assert tuple(note.partition(";")[0] for note in drawn.notes) == NOTES[kind]
    for note in NOTES[kind]:
        assert note in draw(drawn)
        assert note in make_page(drawn)
