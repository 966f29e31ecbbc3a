"""What is said about a comparison: a text for people, a document for machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from imgwriter.columns import columns
from imgwriter.errors import show
from imgwriter.fuzz.compare.classify import (
    CATEGORIES,
    Group,
    Signature,
    by_parser,
    grouped,
    judge,
    summary,
    tally,
)
from imgwriter.fuzz.compare.session import Comparison
from imgwriter.fuzz.compare.values import Case, Expected, Part, View
from imgwriter.units import counted

_VERDICTS = {
    "accept": "the table is to be taken",
    "backup": "the backup is to be taken",
    "refuse": "there is no table to take",
    None: "open",
}
_MOST_PARTS = 4
"""Partitions that a line of the text shows."""

_LINE = 100
"""Characters that a line of the table has at most, but for names that leave no room for it."""
_GAP = 2
"""Spaces that columns() puts between two."""


def agrees(comparison: Comparison) -> bool:
    """Tell whether no parser disagrees anywhere."""
    return not _groups(comparison)


def _groups(comparison: Comparison) -> tuple[Group, ...]:
    return grouped(comparison.corpus.cases, comparison.views)


# --- For people ---


def text(comparison: Comparison, most_groups: int | None = None) -> str:
    """Return the report: counts, the smallest case of each thing that a parser does, groups of cases.

    Args:
        comparison: What was seen.
        most_groups: How many groups are shown; all when None.
    """
    groups = _groups(comparison)
    cases = comparison.corpus.cases
    disputed = sum(len(group.cases) for group in groups)
    lines = [
        f"{show(comparison.corpus.directory)}: {counted(len(cases), 'case')},"
        f" {disputed:,} with a disagreement",
        "",
    ]
    lines += _table(comparison)
    if comparison.missing:
        lines += ["", f"not installed, and left out: {', '.join(comparison.missing)}"]
    lines += _firsts(comparison)
    for number, group in enumerate(groups[:most_groups], start=1):
        lines += ["", *_group_lines(number, group, comparison)]
    if most_groups is not None and len(groups) > most_groups:
        lines += ["", f"{counted(len(groups) - most_groups, 'group')} more; --groups all shows all"]
    return "\n".join(lines)


def _firsts(comparison: Comparison) -> list[str]:
    """Return, for each parser and each thing that it does wrong, how often, and the smallest case."""
    cases = comparison.corpus.cases
    lines = []
    for (name, what), indices in by_parser(comparison.versions, cases, comparison.views).items():
        case = cases[indices[0]]
        about = case.deviations[0] if len(case.deviations) == 1 else case.name
        lines.append(f"{name} {what}, {len(indices):,}: such as {about}")
    return ["", *lines] if lines else []


def _table(comparison: Comparison) -> list[str]:
    """Return counts by parser, then who has which version, and what the words mean."""
    counts = tally(comparison.versions, comparison.corpus.cases, comparison.views)
    used = [word for word in CATEGORIES if any(of_one[word] for of_one in counts.values())]
    words = ["asked", "agrees", *(["open"] if any(c["open"] for c in counts.values()) else []), *used]
    names = ["parser", *comparison.versions]
    counted_by = [[word, *(f"{counts[name][word] or ''}" for name in comparison.versions)] for word in words]
    rows: list[str] = []
    for part in _fitting(counted_by, _LINE - max(map(len, names))):
        table = list(zip(names, *part, strict=True))
        rows += [*columns(table, right=range(1, len(table[0]))), ""]
    rows += _wrapped(f"{name} {version}" for name, version in comparison.versions.items())
    rows += ["", *(f"{word}: {CATEGORIES[word]}" for word in used)]
    return rows


def _fitting(wide: Sequence[Sequence[str]], room: int) -> Iterator[Sequence[Sequence[str]]]:
    """Yield columns in as many parts as it takes for each to have no more than ``room`` characters."""
    part: list[Sequence[str]] = []
    taken = 0
    for column in wide:
        width = _GAP + max(map(len, column))
        if part and taken + width > room:
            yield part
            part, taken = [], 0
        part.append(column)
        taken += width
    yield part


def _wrapped(items: Iterable[str]) -> list[str]:
    """Return items as lines, none of which is broken within an item."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(", ,") + len(item) <= _LINE:  # another may follow, after a comma
            lines[-1] += f", {item}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(item)
    return lines


def _group_lines(number: int, group: Group, comparison: Comparison) -> list[str]:
    cases = comparison.corpus.cases
    count = counted(len(group.cases), "case")
    lines = [f"{number}. {_who(group.signature)}: {count}"]
    case = cases[group.cases[0]]
    what = ", ".join(case.deviations)
    about = [f"   {case.name}" + (f"  {what}" if what else "")]
    if case.description:
        about.append(f"   {case.description}" + (f" ({case.section})" if case.section else ""))
    about.append(f"   {'expected':<12}{_expected(case.expected)}")
    of_case = comparison.views[group.cases[0]]
    disagreeing = dict(group.signature)
    for name, view in of_case.items():
        if name in disagreeing:
            about.append(f"   {name:<12}{_seen(view)}")
    agreeing = [n for n, v in of_case.items() if n not in disagreeing and v.state != "unasked"]
    if agreeing:
        about.append(f"   {'as expected' if not group.open else 'no answer':<12}{', '.join(agreeing)}")
    return lines + about


def _who(signature: Signature) -> str:
    """Return "refuses: parted, sfdisk; crash: mmls"."""
    by_word: dict[str, list[str]] = {}
    for name, word in signature:
        by_word.setdefault(word, []).append(name)
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in by_word.items())


def _expected(expected: Expected) -> str:
    parts = f"; {_parts(expected.partitions)}" if expected.partitions else ""
    return _VERDICTS[expected.verdict] + parts


def _seen(view: View) -> str:
    words = [summary(view)]
    if view.partitions:
        words.append(_parts(view.partitions))
    if view.wrote:
        words.append("wrote to the image")
    if view.said:
        words.append(f'"{view.said}"')
    return "; ".join(words)


def _parts(parts: Sequence[Part]) -> str:
    shown = [f"{'?' if p.number is None else p.number}: {p.start:,}+{p.size:,}" for p in parts[:_MOST_PARTS]]
    more = f" and {len(parts) - _MOST_PARTS:,} more" if len(parts) > _MOST_PARTS else ""
    return " ".join(shown) + more


# --- For machines ---


def document(comparison: Comparison) -> dict[str, Any]:
    """Return the document of ``--json``; docs/command-line.md describes it."""
    cases = comparison.corpus.cases
    counts = tally(comparison.versions, cases, comparison.views)
    return {
        "directory": show(comparison.corpus.directory),
        "kind": comparison.corpus.kind,
        "seed": comparison.corpus.seed,
        "parsers": [
            {"name": name, "version": version, "counts": dict(counts[name])}
            for name, version in comparison.versions.items()
        ],
        "missing": list(comparison.missing),
        "groups": [_group(group, cases) for group in _groups(comparison)],
        "cases": [_case(case, views) for case, views in zip(cases, comparison.views, strict=True)],
    }


def _group(group: Group, cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "open": group.open,
        "disagreements": [{"parser": name, "what": word} for name, word in group.signature],
        "smallest": cases[group.cases[0]].name,
        "cases": [cases[index].name for index in group.cases],
    }


def _case(case: Case, views: Mapping[str, View]) -> dict[str, Any]:
    expected = case.expected
    return {
        "file": case.name,
        "size": case.size,
        "sector_size": case.sector_size,
        "deviations": list(case.deviations),
        "section": case.section,
        "verdict": expected.verdict,
        "table": expected.kind,
        "partitions": _rows(expected.partitions),
        "views": {name: _view(view, expected) for name, view in views.items()},
    }


def _view(view: View, expected: Expected) -> dict[str, Any]:
    return {
        "state": view.state,
        "table": view.kind,
        "used": view.used,
        "partitions": _rows(view.partitions),
        "said": view.said,
        "wrote": view.wrote,
        "disagreement": judge(view, expected),
    }


def _rows(parts: Sequence[Part] | None) -> list[dict[str, int | None]] | None:
    if parts is None:
        return None
    return [{"number": p.number, "start": p.start, "size": p.size} for p in parts]
