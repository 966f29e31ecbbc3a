"""The documentation: its links lead somewhere, its command lines are understood, its Python runs."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgwriter import commands

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))

_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def _anchors(page: Path) -> set[str]:
    """Return what GitHub makes of the headings: lower case, without punctuation, spaces as dashes."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if path.startswith("https:"):
            continue
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target), link


def _command_lines(page: Path) -> Iterator[str]:
    """Yield what can be typed: the indented lines, and those of a console."""
    for line in page.read_text().splitlines():
        if match := re.match(r"(?: {4}|\$ )((?:.*\| )?imgwriter .*)", line):
            yield match[1]


SHOWN = [(page.name, line) for page in PAGES for line in _command_lines(page)]


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{page}: {line}" for page, line in SHOWN])
def test_command_lines_are_understood(page: str, line: str) -> None:
    """A synopsis (brackets, three dots as a word, capitals) is none."""
    words = shlex.split(line, comments=True)
    words = words[words.index("imgwriter") + 1 :]
    for end in ("|", "&&", ">"):
        words = words[: words.index(end)] if end in words else words
    if re.search(r"(?<![\w'/])[\[(]|\.\.\.( |$)| (IMAGE|DIR|IN|A)\b", " ".join(words)):
        return
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            _, unknown = commands.make_parser().parse_known_args(words)
        except SystemExit:
            unknown = [said.getvalue()]
    assert unknown == []


def test_there_are_command_lines() -> None:
    """The pattern above finds those that a reader sees first."""
    assert {"README.md", "command-line.md", "fuzzing.md", "boot.md"} <= {page for page, _ in SHOWN}
    assert len(SHOWN) > 60


PROGRAMS = [
    (page, code)
    for page in PAGES
    for language, code in _FENCED.findall(page.read_text())
    if language == "python"
]


@pytest.mark.parametrize(
    ("page", "code"), PROGRAMS, ids=[f"{page.name}: {code.splitlines()[0]}" for page, code in PROGRAMS]
)
def test_python_runs(page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with the files that the pages speak of."""
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    (tmp_path / "motd").write_text("hello\n")
    (tmp_path / "image.toml").write_text('tree = "rootfs"\n')
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, page.name, "exec"), {})
