"""The map in a real browser: it shows what is there, answers mouse and keyboard, and runs nothing of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgwriter import Content, ImageSpec, build_image
from tests.oracles import chromium, debugfs
from tests.oracles.chromium import Page
from tests.unit.diff.disks import ROOT, cli, tree

pytestmark = pytest.mark.compat

HOSTILE = (
    b"<script>document.title='taken'<",
    b'"><img src=x onerror="document.title=\'taken\'">',
    b"]]><b>&amp;",
    b"\x01\x1b[31m\nline",
    "\u202egnp.exe".encode(),
    b"\xff\xfe no text",
    "\U0001f600 smile".encode(),
)
"""Names that a browser, a terminal or a reader could take for something else."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("map")
    top = tree(base / "tree")
    (top / "hostile").mkdir()
    for name in HOSTILE:
        (Path(os.fsdecode(os.fsencode(top / "hostile") + b"/" + name))).write_bytes(b"x" * 5000)
    for directory in range(20):
        (top / f"d{directory:02}").mkdir()
        for number in range(50):
            (top / f"d{directory:02}" / f"file-{number:02}").write_bytes(bytes([number]) * (500 * number))
    (base / "loader").write_bytes(b"MZ" * 5000)
    spec = ImageSpec(
        trees=[top],
        partition_table="efi",
        additional_space=20 << 20,
        boot_end=ROOT,
        output=base / "out",
        esp_contents=[Content(base / "loader", "/EFI/BOOT/BOOTX64.EFI")],
    )
    return Path(os.fsdecode(build_image(spec).path))


@pytest.fixture(scope="module")
def page(disk: Path) -> Path:
    path = disk.with_suffix(".html")
    assert cli("map", disk, "--html", path, "--svg", path.with_suffix(".svg")) == 0
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium.browser() as opened:
        yield opened


@pytest.fixture
def shown(browser: Page, page: Path) -> Iterator[Page]:
    browser.complaints.clear()
    browser.open(page.as_uri())
    yield browser
    assert browser.complaints == []
    # Nothing is fetched: neither at the start nor by anything that was done.
    assert browser.requests == [page.as_uri()]


def search(page: Page, words: str) -> None:
    page.value("document.getElementById('search').focus()")
    page.type(words)


def test_the_largest_partition_is_shown_first(shown: Page) -> None:
    assert shown.text("h1") == "nixos.img"
    assert shown.text("#where").startswith("Partition 2 (ext4): ")
    assert 100 < shown.value("document.querySelectorAll('#map .run').length") < 4000
    legend = shown.text("#legend")
    for name in ("inode tables", "journal", "directories", "files in one piece", "unused"):
        assert name in legend


def test_hovering_says_what_a_run_is(shown: Page) -> None:
    shown.hover("#map .journal")
    assert re.match(r"journal, <journal>\njournal, .* MiB at [\d,]+$", shown.text("#tip"))
    assert shown.value("document.getElementById('tip').hidden") is False
    shown.hover("#search")
    assert shown.value("document.getElementById('tip').hidden") is True


def test_a_path_is_found_where_debugfs_has_it(shown: Page, disk: Path) -> None:
    search(shown, "d07/file-4")
    assert shown.value("document.querySelectorAll('#found button').length") == 10
    shown.value("document.querySelectorAll('#found button')[9].click()")
    assert shown.text("#about h2") == "d07/file-49"
    assert shown.value("document.querySelectorAll('#map .hit').length") >= 1
    block = int(debugfs.request(disk, "blocks /d07/file-49", ROOT).split()[0])
    assert f"at{ROOT + block * 4096:,}" in shown.text("#about dl")
    assert shown.value("document.getElementById('map').classList.contains('dimmed')") is True


def test_what_has_no_name_is_said(shown: Page) -> None:
    search(shown, "no such file anywhere")
    assert shown.text("#found") == "nothing has that name"


def test_hostile_names_are_text(shown: Page) -> None:
    search(shown, "hostile/")
    assert set(shown.value("[...document.querySelectorAll('#found button')].map(b => b.textContent)")) == {
        "hostile/<script>document.title='taken'<",
        'hostile/"><img src=x onerror="document.title=\'taken\'">',
        "hostile/]]><b>&amp;",
        "hostile/\\x01\\x1b[31m\\nline",
        "hostile/\\u202egnp.exe",
        "hostile/\\xff\\xfe no text",
        "hostile/\U0001f600 smile",
    }
    for number in range(7):
        shown.value(f"document.querySelectorAll('#found button')[{number}].click()")
    shown.hover("#map .hit")
    assert shown.text("title") == "nixos.img: map"
    assert shown.value("document.querySelectorAll('img, #found script, #about script').length") == 0


def test_zooming_by_button_and_back(shown: Page) -> None:
    before = shown.text("#where")
    shown.click("#in")
    inside = shown.text("#where")
    assert inside != before
    shown.click("#back")
    assert shown.text("#where") == before
    shown.click("#whole")
    assert shown.text("#where").startswith("The whole disk: ")
    assert shown.value("document.getElementById('out').disabled") is True


def test_a_partition_is_opened_from_the_bars(shown: Page) -> None:
    boxes = shown.value("[...document.querySelectorAll('#disk rect[tabindex]')].map(b => b.ariaLabel)")
    names = [label.splitlines()[0] for label in boxes]
    assert names == [
        "MBR", "GPT header, primary", "GPT entries, primary", "gap", "partition 1 (FAT)",
        "partition 2 (ext4)", "gap", "GPT entries, backup", "GPT header, backup",
    ]  # fmt: skip
    shown.value("document.querySelectorAll('#disk rect[tabindex]')[4].focus()")
    shown.press("Enter", 13)
    assert shown.text("#where").startswith("Partition 1 (FAT): ")
    assert "bitmaps, FATs" in shown.text("#legend")
    search(shown, "bootx64")
    shown.press("Enter", 13)
    assert shown.text("#about h2") == "EFI/BOOT/BOOTX64.EFI"


def test_files_are_found_before_what_belongs_to_them(shown: Page) -> None:
    """etc/motd has a block of attributes, which stands before it on the disk and in the alphabet."""
    search(shown, "etc/motd")
    assert shown.value("[...document.querySelectorAll('#found button')].map(b => b.textContent)") == [
        "etc/motd",
        "extended attributes, etc/motd",
    ]


def test_the_keyboard_reaches_everything(shown: Page) -> None:
    shown.value("document.getElementById('map').focus()")
    shown.press("ArrowRight", 39)
    first = shown.text("#about")
    shown.press("ArrowRight", 39)
    assert shown.text("#about") != first
    shown.press("ArrowLeft", 37)
    assert shown.text("#about") == first
    before = shown.text("#where")
    shown.press("ArrowDown", 40)
    assert shown.value("document.querySelectorAll('#map .sel').length") == 1
    shown.press("Enter", 13)
    assert shown.text("#where") != before
    shown.press("Escape", 27)
    assert shown.text("#where") == before
    shown.press("Home", 36)
    assert shown.text("#where").startswith("The whole disk: ")


def test_one_category_alone(shown: Page) -> None:
    shown.value(
        "[...document.querySelectorAll('#legend button')]"
        ".find(b => b.textContent.startsWith('journal')).click()"
    )
    assert shown.value("document.querySelectorAll('#legend button[aria-pressed=true]').length") == 1
    lit = shown.value("[...document.querySelectorAll('#map .lit')].map(r => r.classList.contains('journal'))")
    assert lit and all(lit)


@pytest.mark.parametrize("dark", [False, True])
def test_text_of_the_picture_does_not_overlap(browser: Page, page: Path, dark: bool) -> None:
    """As it is laid out by a browser with the fonts that it has; and it stands out from what is behind it."""
    browser.open(page.with_suffix(".svg").as_uri(), dark=dark)
    boxes = browser.value(
        "[...document.querySelectorAll('text')].map(t => { const b = t.getBBox();"
        " return [b.x, b.y + 2, b.x + b.width, b.y + b.height - 2, t.textContent]; })"
    )
    assert len(boxes) > 30
    for i, one in enumerate(boxes):
        assert one[0] >= 0 and one[2] <= 1200, one
        for two in boxes[i + 1 :]:
            apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
            assert apart, (one, two)


def test_without_scripts_the_page_is_the_picture(browser: Page, page: Path) -> None:
    browser.open(page.as_uri(), scripts=False)
    assert browser.value("document.querySelector('main').hidden") is True
    assert browser.value("document.querySelectorAll('noscript svg text').length") > 30
