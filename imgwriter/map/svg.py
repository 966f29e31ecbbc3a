"""The picture: one SVG that needs nothing else, with a <title> on all that is drawn.

::

    heading
    disk, to scale  ─┐
    disk, enlarged  ─┘ bars
    partition 1      heading, a bar of what its bytes are, rows of runs
    partition 2      ...
    legend

Coordinates are user units, about a pixel each. Text that does not fit is left to the titles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from imgwriter.map.bars import Span, enlarged, to_scale
from imgwriter.map.model import DiskMap, Panel, Part
from imgwriter.map.palette import STYLES, Category, colours
from imgwriter.map.runs import RUNS, Row, Run, beginning, rows_of, runs_of
from imgwriter.units import GiB, KiB, MiB, TiB, format_size

WIDTH = 1200
_MARGIN = 24
_INNER = WIDTH - 2 * _MARGIN
_LABELS = 76
"""Of a row's label, left of it."""
_ROW, _ROW_STEP = 13, 16
_LEAST_PART = 80
_CHARACTER = 6.4
"""Width of a character at 11 units, about."""
_THINNEST = 0.75

STYLE = """\
svg{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.page{fill:var(--ground)}text{fill:var(--ink)}
.h1{font-size:19px;font-weight:600}.h2{font-size:14px;font-weight:600}.dim{fill:var(--dim)}
.end{text-anchor:end}.edge{fill:none;stroke:var(--line)}.link{fill:var(--line);opacity:.35}
.on{fill:var(--ground)}.ink{fill:#15181c}
.part{fill:var(--part);stroke:var(--ground)}.sep{stroke:var(--ground);stroke-width:.4}
"""

_GROUNDS = (
    "--ground:#ffffff;--ink:#1c2026;--dim:#5a6270;--line:#c3c9d2;--part:#c9dcf1",
    "--ground:#15181c;--ink:#e8ebef;--dim:#a0a8b4;--line:#4a515b;--part:#2c4a6b",
)


def variables(dark: bool) -> str:
    """Return CSS declarations of all colours, on a light or on a dark ground."""
    return f"{_GROUNDS[dark]};{colours(dark)}"


def fills() -> str:
    """Return CSS rules that give each category its colour."""
    rules = [f".{category}{{fill:var(--{category})}}" for category in Category]
    rules += [f".file.t{n}{{fill:var(--file{n})}}" for n in range(3)]
    return "\n".join(rules)


def draw(drawn: DiskMap) -> str:
    """Return the picture of a disk."""
    body: list[str] = []
    y = _MARGIN + 16.0
    body.append(_text(_MARGIN, y, drawn.title, "h1"))
    y += 18
    body.append(_text(_MARGIN, y, drawn.facts, "dim"))
    for note in drawn.notes:
        y += 16
        body.append(_text(_MARGIN, y, _fitted(f"note: {note}", _INNER), "dim"))
    y += 18
    body += _disk(drawn, y)
    y += _DISK_HEIGHT
    for panel in drawn.panels:
        y += 30
        lines, height = _panel(drawn, panel, y)
        body += lines
        y += height
    y += 26
    lines, height = _legend(drawn, y)
    body += lines
    y += height + _MARGIN
    style = (
        f"<style>:root{{{variables(False)}}}\n@media(prefers-color-scheme:dark){{:root{{{variables(True)}}}}}\n"
        f"{STYLE}{fills()}</style>"
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}"'
        f' height="{y:.0f}" role="img" aria-label="{_attribute("Map of " + drawn.title)}">'
    )
    page = f'<rect class="page" width="{WIDTH}" height="{y:.0f}"/>'
    return "\n".join([head, style, page, *body, "</svg>", ""])


_BAR, _LARGE, _BETWEEN, _SMALL = 22, 46, 26, 34
_DISK_HEIGHT = _BAR + _LARGE + _BETWEEN + 4
_BEGINNING = 12


def _disk(drawn: DiskMap, y: float) -> Iterator[str]:
    true = to_scale(drawn.parts, drawn.size, _INNER)
    large = enlarged(drawn.parts, _INNER, _LEAST_PART)
    low, high = y + _BAR, y + _BAR + _BETWEEN
    for part, one, two in zip(drawn.parts, true, large, strict=True):
        x1, x2 = _MARGIN + one.x, _MARGIN + one.x + max(one.width, _THINNEST)
        x3, x4 = _MARGIN + two.x, _MARGIN + two.x + two.width
        if part.area is not None:
            yield f'<path class="link" d="M{x1:.1f} {low}L{x2:.1f} {low}L{x4:.1f} {high}L{x3:.1f} {high}Z"/>'
        yield _rect(x1, y, x2 - x1, _BAR, _class(part), _title(part))
    yield f'<rect class="edge" x="{_MARGIN}" y="{y}" width="{_INNER}" height="{_BAR}"/>'
    yield from _boxes(drawn.parts, large, high, _LARGE)


def _class(part: Part) -> str:
    return "part" if part.area is not None else str(part.category)


def _title(part: Part) -> str:
    return f"{part.name}\n{format_size(part.size)} at {part.start:,}"


def disk_bars(drawn: DiskMap) -> str:
    """Return the bars of the disk alone; ``data-start`` and ``data-end`` of a box are bytes of the disk."""
    lines = "\n".join(_disk(drawn, 0))
    box = f"{_MARGIN} 0 {_INNER} {_DISK_HEIGHT}"
    return f'<svg id="disk" viewBox="{box}" role="group" aria-label="The disk">\n{lines}\n</svg>'


def _boxes(parts: Sequence[Part], spans: Sequence[Span], y: float, height: float) -> Iterator[str]:
    """Yield parts as boxes with their names and sizes, as far as there is room for these."""
    first = y + height / 2 - 3
    for part, span in zip(parts, spans, strict=True):
        x = _MARGIN + span.x
        place = f' data-start="{part.start}" data-end="{part.end}"'
        yield _rect(x + 0.5, y, max(span.width - 1, _THINNEST), height, _class(part), _title(part), place)
        name = part.name if _CHARACTER * len(part.name) < span.width - 8 else part.short
        ink = _ink(part.category) if part.area is None else ""
        for line, text in enumerate((name, short_size(part.size))):
            fitted = _fitted(text, span.width - 8)
            if fitted:
                yield _text(x + 5, first + 14 * line, fitted, ink or ("dim" if line else ""))


def _ink(category: Category) -> str:
    """Return the class of text on a colour: the ground's, which is light on light pages, or dark on both."""
    if category in (Category.GAP, Category.FREE):
        return ""
    return "on" if category in STRONG else "ink"


STRONG = frozenset({Category.TABLE, Category.SUPER, Category.MAPPING, Category.FRAGMENT})
"""Colours of light pages that want light text."""


def _panel(drawn: DiskMap, panel: Panel, y: float) -> tuple[list[str], float]:
    lines = [
        _text(_MARGIN, y, panel.title, "h2"),
        _text(_MARGIN + 8.6 * len(panel.title) + 12, y, panel.facts, "dim"),
    ]
    top = y
    y += 10
    lines += _usage(panel, y)
    y += 14
    first = beginning(drawn, panel, _BEGINNING)
    if len(first) > 1:
        lines += _boxes(first, enlarged(first, _INNER, _INNER / len(first)), y, _SMALL)
        y += _SMALL + 8
    size = panel.end - panel.start
    least = 2 * panel.row // (_INNER - _LABELS)  # what is under two units wide
    runs = runs_of(drawn, panel.start, panel.end, max(size * len(drawn.panels) // RUNS, least, 1))
    rows = rows_of(panel, runs)
    lines += _rows(panel, rows, runs, y)
    return lines, y + len(rows) * _ROW_STEP - top


def _usage(panel: Panel, y: float) -> Iterator[str]:
    """Yield a bar of what the bytes are, to scale but for what would be too thin to see."""
    size = panel.end - panel.start
    x = float(_MARGIN)
    for category in Category:
        count = panel.totals.get(category, 0)
        if count:
            width = _INNER * count / size
            title = f"{STYLES[category].name}: {format_size(count)}, {count / size:.1%}"
            yield _rect(x, y, max(width, _THINNEST), 8, str(category), title)
            x += width


def _rows(panel: Panel, rows: list[Row], runs: list[Run], y: float) -> Iterator[str]:
    left, width = _MARGIN + _LABELS, _INNER - _LABELS
    index = 0
    for number, row in enumerate(rows):
        top = y + number * _ROW_STEP
        yield _text(left - 8, top + 10, _row_label(panel, row), "dim end")
        factor = width / (panel.row * row.rows)
        while index < len(runs) and runs[index].start < row.end:
            run = runs[index]
            low, high = max(run.start, row.start), min(run.end, row.end)
            if low < high:
                x, wide = left + (low - row.start) * factor, max((high - low) * factor, _THINNEST)
                yield _rect(x, top, wide, _ROW, _run_class(run), run.text)
            if run.end > row.end:
                break  # it goes on in the next row
            index += 1
        if row.rows > 1:
            run = runs[min(index, len(runs) - 1)]
            what = f"{row.rows} rows, {format_size(row.end - row.start)}: {STYLES[run.category].name}"
            yield _text(left + 8, top + 10, what, _ink(run.category) or "dim")


def _row_label(panel: Panel, row: Row) -> str:
    number = (row.start - panel.start) // panel.row
    return f"group {number * panel.row_groups}" if panel.row_groups else short_size(row.start - panel.start)


def short_size(size: int) -> str:
    """Return a size in few characters, rounded."""
    for unit, name in ((TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if size >= unit:
            return (
                f"{size / unit:.1f} {name}"
                if size < 100 * unit and size % unit
                else f"{size / unit:,.0f} {name}"
            )
    return f"{size:,} B"


def _run_class(run: Run) -> str:
    if run.category is Category.FILE:
        return f"file t{run.tint} sep"
    return f"{run.category} sep" if run.category is Category.FRAGMENT else str(run.category)


def _legend(drawn: DiskMap, y: float) -> tuple[list[str], float]:
    present = {category for panel in drawn.panels for category in panel.totals}
    present |= {part.category for part in drawn.parts if part.area is None}
    lines = []
    x, line = float(_MARGIN), 0
    for category in Category:
        if category not in present:
            continue
        name = STYLES[category].name
        width = 20 + _CHARACTER * len(name) + 16
        if x + width > WIDTH - _MARGIN:
            x, line = float(_MARGIN), line + 1
        top = y + 20 * line
        lines.append(f'<rect class="{category}" x="{x:.1f}" y="{top:.1f}" width="13" height="13"/>')
        lines.append(f'<rect class="edge" x="{x:.1f}" y="{top:.1f}" width="13" height="13"/>')
        lines.append(_text(x + 19, top + 10.5, name, ""))
        x += width
    return lines, 20.0 * (line + 1)


def _rect(x: float, y: float, width: float, height: float, kind: str, title: str, more: str = "") -> str:
    return (
        f'<rect class="{kind}" x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height}"{more}>'
        f"<title>{escape(title)}</title></rect>"
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _fitted(text: str, width: float) -> str:
    """Return as much of a text as has room, or nothing where that says nothing."""
    room = int(width / _CHARACTER)
    if len(text) <= room:
        return text
    return text[: room - 1] + "…" if room >= 4 else ""


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})
