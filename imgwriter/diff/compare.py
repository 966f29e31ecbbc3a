"""The whole comparison: two open disks in, a Comparison out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imgwriter.diff.changes import CLASSES, Change
from imgwriter.diff.explain import Sides, explain
from imgwriter.diff.ranges import Side, differing
from imgwriter.diff.sections import Section, match, plan_sections
from imgwriter.diff.sharing import shared_maps
from imgwriter.diff.summary import Summary, gather
from imgwriter.diff.trees import UNREAD, FileChange, compare_trees
from imgwriter.errors import SpecError
from imgwriter.examine.opening import Area, OpenedDisk, open_disk
from imgwriter.examine.owners import layer_of, owners

__all__ = ["Comparison", "compare_disks", "compare_images", "differ"]

EXAMPLES = 40
"""Structures that are kept of each field, where nothing else is asked for."""


@dataclass(frozen=True)
class Comparison:
    """In what two disks differ.

    Attributes:
        a, b: They.
        notes: What is told and is no difference: containers, how the comparison was made.
        differences: What has no bytes of its own: sizes, partitions that only one disk has.
        summary: The bytes that differ, by structure.
        trees: By layer, the files that differ; of areas that are compared by their trees.
        problems: What of the images could not be followed.
        ignore: The classes that are no difference.
        files: Whether only trees were compared.
    """

    a: OpenedDisk
    b: OpenedDisk
    notes: tuple[str, ...]
    differences: tuple[str, ...]
    summary: Summary
    trees: dict[str, tuple[FileChange, ...]]
    problems: tuple[str, ...]
    ignore: frozenset[str]
    files: bool = False

    @property
    def same(self) -> bool:
        """Whether nothing differs that counts."""
        files = (
            c for changes in self.trees.values() for c in changes if c.group not in self.ignore or not c.group
        )
        return not self.differences and self.summary.first is None and next(files, None) is None

    @property
    def unread(self) -> bool:
        """Whether trees that had to be compared could not be."""
        return any(c.what == UNREAD for changes in self.trees.values() for c in changes)


def compare_images(
    a: bytes,
    b: bytes,
    *,
    format_a: str | None = None,
    format_b: str | None = None,
    files: bool = False,
    ignore: Iterable[str] = (),
    examples: int = EXAMPLES,
) -> Comparison:
    """Compare two images.

    Args:
        a, b: Files, or block devices.
        format_a, format_b: Their containers; None to tell by the content.
        files: Compare only what the file systems hold, whatever their layout.
        ignore: Classes that are no difference: of "times", "identifiers", "checksums", "unused".
        examples: Structures that are kept of each field.

    Raises:
        SpecError: There is no such format or class.
        SourceError: An image cannot be read, or changed meanwhile.
        FormatError: A container is damaged.
    """
    ignored = frozenset(ignore)
    if unknown := ignored - set(CLASSES):
        raise SpecError(f"there is no class {min(unknown)!r} to ignore; use {', '.join(CLASSES)}")
    one, two = open_disk(a, format_a), open_disk(b, format_b)
    return compare_disks(one, two, files=files, ignore=ignored, examples=examples)


def differ(a: OpenedDisk, b: OpenedDisk) -> bool:
    """Return whether two disks have any byte that differs: the first ends the search.

    Raises:
        SourceError: An image cannot be read, or changed meanwhile.
    """
    one, two = a.image.volume, b.image.volume
    if one.size != two.size:
        return True
    return next(differing(Side(one), Side(two), 0, 0, one.size), None) is not None


def compare_disks(
    a: OpenedDisk,
    b: OpenedDisk,
    *,
    files: bool = False,
    ignore: frozenset[str] = frozenset(),
    examples: int = EXAMPLES,
) -> Comparison:
    """Compare two open disks; arguments and errors are those of :func:`compare_images`."""
    notes = list(_containers(a, b))
    if files:
        pairs = _file_systems(a, b)
        notes.append("only names, metadata and contents of file systems are compared")
        return Comparison(
            a, b, tuple(notes), tuple(_unmatched(a, b)), Summary(), _trees(pairs), (), ignore, True
        )
    if not differ(a, b):
        return Comparison(a, b, tuple(notes), (), Summary(), {}, (), ignore)
    plan = plan_sections(a, b)
    problems: list[str] = []
    changes = _changes(a, b, plan.sections, problems)
    summary = gather(changes, ignore, examples)
    trees = _trees(plan.trees)
    notes += plan.notes
    return Comparison(a, b, tuple(notes), plan.differences, summary, trees, tuple(problems), ignore)


def all_changes(a: OpenedDisk, b: OpenedDisk) -> Iterator[Change]:
    """Yield every change of the bytes of two disks."""
    yield from _changes(a, b, plan_sections(a, b).sections, [])


def _changes(
    a: OpenedDisk, b: OpenedDisk, sections: tuple[Section, ...], problems: list[str]
) -> Iterator[Change]:
    of_a, of_b = owners(a), owners(b)
    for name, found in (("A", of_a), ("B", of_b)):
        problems += [f"{name}: {problem}" for problem in found.problems]
    sides = Sides(Side(a.image.volume), Side(b.image.volume), *shared_maps(a, b, of_a.regions, of_b.regions))
    for section in sections:
        yield from explain(sides, *section)


def _containers(a: OpenedDisk, b: OpenedDisk) -> Iterator[str]:
    one, two = a.image, b.image
    if one.format != two.format:
        yield f"the containers are {one.format} and {two.format}"
        return
    for name in sorted(one.details.keys() | two.details.keys()):
        x, y = one.details.get(name), two.details.get(name)
        if x != y:
            yield f"of the containers, {name} is {x} and {y}"


def _file_systems(a: OpenedDisk, b: OpenedDisk) -> tuple[tuple[Area, Area], ...]:
    return tuple((x, y) for x, y in match(a, b) if x.file_system or y.file_system)


def _unmatched(a: OpenedDisk, b: OpenedDisk) -> Iterator[str]:
    matched = {id(area) for pair in match(a, b) for area in pair}
    for name, disk in (("A", a), ("B", b)):
        for area in disk.areas:
            if area.file_system is not None and id(area) not in matched:
                yield f"only {name} has {layer_of(area)}"


def _trees(pairs: Iterable[tuple[Area, Area]]) -> dict[str, tuple[FileChange, ...]]:
    return {layer_of(x): tuple(compare_trees(x, y)) for x, y in pairs}
