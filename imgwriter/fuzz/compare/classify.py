"""Where a parser disagrees: with what the specification wants, or, where that is open, with other parsers.

::

    verdict known    each View ── judge ──> one category, or none
    verdict open     all Views ── camps ──> who sees the same; more than one camp is a disagreement

A disagreement is a set of (parser, what it does) pairs. Cases with the same set are one group, of which the
smallest case is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from imgwriter.fuzz.compare.values import Case, Expected, Part, View

ACCEPTS = "accepts"
REFUSES = "refuses"
COPY = "copy"
PARTITIONS = "partitions"
KIND = "kind"
CRASH = "crash"
TIMEOUT = "timeout"
WRITES = "writes"

CATEGORIES: Mapping[str, str] = {
    ACCEPTS: "accepts what the specification refuses",
    REFUSES: "refuses what the specification accepts",
    COPY: "uses the other copy",
    PARTITIONS: "sees different partitions",
    KIND: "sees another kind of table",
    CRASH: "crashes",
    TIMEOUT: "does not end in time",
    WRITES: "writes to the image",
}
"""What a parser can do wrong, in the order of reports."""

Signature: TypeAlias = tuple[tuple[str, str], ...]
"""(parser, category) or, where the verdict is open, (parser, what it sees): sorted."""


class Group(NamedTuple):
    """Cases in which the same parsers do the same.

    Attributes:
        signature: Who does what.
        open: Whether the specification leaves it open, so that parsers disagree with each other only.
        cases: Indices of the cases, the smallest first.
    """

    signature: Signature
    open: bool
    cases: tuple[int, ...]


def judge(view: View, expected: Expected) -> str | None:
    """Return what is wrong with a view, or None where nothing is, or nothing can be said."""
    ill = _illness(view)
    if ill or view.state == "unasked" or expected.verdict is None:
        return ill
    if expected.verdict == "refuse" or expected.kind == "none":
        return ACCEPTS if view.state == "table" else None
    if view.state == "none":
        # Some cannot tell an empty table from none: they saw no partitions, and there are none.
        return None if view.partitions == expected.partitions == () else REFUSES
    if expected.kind and view.kind and view.kind != expected.kind:
        return KIND
    if not same_partitions(view.partitions, expected.partitions):
        return PARTITIONS
    used = "backup" if expected.verdict == "backup" else "primary"
    return COPY if view.used and view.kind == "gpt" and view.used != used else None


def _illness(view: View) -> str | None:
    if view.state == "crash":
        return CRASH
    if view.state == "timeout":
        return TIMEOUT
    return WRITES if view.wrote else None


def same_partitions(one: Sequence[Part] | None, other: Sequence[Part] | None) -> bool:
    """Tell whether two may have seen the same partitions: numbers count where both tell them."""
    if one is None or other is None:
        return True
    if any(part.number is None for part in (*one, *other)):
        return Counter((p.start, p.size) for p in one) == Counter((p.start, p.size) for p in other)
    return set(one) == set(other)


def same(one: View, other: View) -> bool:
    """Tell whether two may have seen the same."""
    if "none" in (one.state, other.state):
        return one.state == other.state or one.partitions == other.partitions == ()
    kinds = one.kind is None or other.kind is None or one.kind == other.kind
    copies = one.used is None or other.used is None or one.used == other.used
    return kinds and copies and same_partitions(one.partitions, other.partitions)


def camps(views: Mapping[str, View]) -> list[list[str]]:
    """Return the parsers that saw the same, the largest camp first; crashes and the like are in none.

    Who tells most stands for its camp: what is not told agrees with everything, so the order matters.
    """
    able = {name: view for name, view in views.items() if view.state in ("table", "none")}
    found: list[list[str]] = []
    for name in sorted(able, key=lambda each: (-_told(able[each]), each)):
        for camp in found:
            if same(able[camp[0]], able[name]):
                camp.append(name)
                break
        else:
            found.append([name])
    return sorted(found, key=lambda camp: (-len(camp), camp))


def _told(view: View) -> int:
    # A kind with partitions says more than "none", in which both are left out.
    return (
        (view.kind is not None)
        + (view.used is not None)
        + (view.partitions is not None)
        + (view.state == "table")
    )


def signature(views: Mapping[str, View], expected: Expected) -> Signature:
    """Return who does what in one case; empty where all agree."""
    if expected.verdict is not None:
        return tuple(
            sorted((name, wrong) for name, view in views.items() if (wrong := judge(view, expected)))
        )
    ill = {name: wrong for name, view in views.items() if (wrong := judge(view, expected))}
    found = camps(views)
    return tuple(sorted({**(_words(found, views) if len(found) > 1 else {}), **ill}.items()))


def _words(found: Sequence[Sequence[str]], views: Mapping[str, View]) -> dict[str, str]:
    """Return what each parser saw, in its own words; a letter tells camps with the same words apart."""
    words = {name: summary(views[name]) for camp in found for name in camp}
    in_camps = {word: [camp for camp in found if word in map(words.get, camp)] for word in words.values()}
    return {
        name: f"{words[name]} ({chr(ord('a') + in_camps[words[name]].index(camp))})"
        if len(in_camps[words[name]]) > 1
        else words[name]
        for camp in found
        for name in camp
    }


def summary(view: View) -> str:
    """Return a view in a few words."""
    if view.state != "table":
        return {"none": "no table", "crash": "crash", "timeout": "timeout"}.get(view.state, view.state)
    kind = {"gpt": "GPT", "mbr": "MBR"}.get(view.kind or "", view.kind or "a table")
    return f"{kind}, {view.used}" if view.used else kind


def grouped(cases: Sequence[Case], views: Sequence[Mapping[str, View]]) -> tuple[Group, ...]:
    """Return the groups of cases in which parsers disagree, those with a verdict and many cases first."""
    found: dict[tuple[bool, Signature], list[int]] = {}
    for index, (case, of_case) in enumerate(zip(cases, views, strict=True)):
        who = signature(of_case, case.expected)
        if who:
            found.setdefault((case.expected.verdict is None, who), []).append(index)
    groups = [
        Group(who, is_open, tuple(sorted(indices, key=lambda i: _smallness(cases[i]))))
        for (is_open, who), indices in found.items()
    ]
    return tuple(sorted(groups, key=lambda g: (g.open, -len(g.cases), g.signature)))


def by_parser(
    parsers: Iterable[str], cases: Sequence[Case], views: Sequence[Mapping[str, View]]
) -> dict[tuple[str, str], list[int]]:
    """Return the cases in which a parser does one of CATEGORIES, by both, the smallest case first."""
    found: dict[tuple[str, str], list[int]] = {(name, word): [] for name in parsers for word in CATEGORIES}
    for index, (case, of_case) in enumerate(zip(cases, views, strict=True)):
        for name, view in of_case.items():
            if wrong := judge(view, case.expected):
                found[name, wrong].append(index)
    return {who: sorted(some, key=lambda i: _smallness(cases[i])) for who, some in found.items() if some}


def _smallness(case: Case) -> tuple[int, int, str]:
    return len(case.deviations), case.size, case.name


def tally(
    parsers: Iterable[str], cases: Sequence[Case], views: Sequence[Mapping[str, View]]
) -> dict[str, Counter[str]]:
    """Return how often each parser did what: "asked", "agrees", "open" (no verdict), each of CATEGORIES."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in parsers}
    for case, of_case in zip(cases, views, strict=True):
        for name, view in of_case.items():
            if view.state == "unasked":
                continue
            found = judge(view, case.expected)
            counts[name]["asked"] += 1
            counts[name][found or ("agrees" if case.expected.verdict else "open")] += 1
    return counts
