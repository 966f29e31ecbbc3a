"""What is chosen stays in its place; nothing else comes along."""

from __future__ import annotations

import pytest

from imgwriter.errors import SourceError
from tests import trees
from tests.unit.examine.images import selected, system


def names(*paths: bytes) -> set[bytes]:
    return {path for path, _ in selected(system(), *paths).walk() if path}


USR = {b"usr", b"usr/bin", b"usr/bin/nano", b"usr/bin/pico"}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([b"etc/passwd"], {b"etc", b"etc/passwd"}),
        ([b"/usr"], USR),
        ([b"usr/bin/nano", b"usr"], USR),
        ([b"usr", b"usr/bin/nano"], USR),
        ([b"usr/bin/nano", b"usr/bin/pico"], USR),
        ([b"usr/bin/nano", b"usr/bin/nano"], USR - {b"usr/bin/pico"}),
        # A symlink at the end is chosen itself, one on the way is gone through.
        ([b"bin"], {b"bin"}),
        ([b"bin/nano"], USR - {b"usr/bin/pico"}),
        ([b"bin/"], USR),
        ([b"etc/editor", b"linked"], {b"etc", b"etc/editor", b"linked"}),
    ],
)
def test_paths(paths: list[bytes], expected: set[bytes]) -> None:
    assert names(*paths) == expected


@pytest.mark.parametrize("paths", [(), (b"/",), (b"etc/passwd", b"/"), (b"/etc/..",)])
def test_everything(paths: tuple[bytes, ...]) -> None:
    inventory = selected(system(), *paths)
    assert inventory.names == trees.inventory(system()).names


def test_hard_links_of_what_is_chosen_stay_together() -> None:
    inventory = selected(system(), b"linked", b"usr/bin/pico")
    assert {path: inode.nlink for path, inode in inventory.walk()}[b"usr/bin/pico"] == 2
    alone = selected(system(), b"usr/bin/pico")
    assert {path: inode.nlink for path, inode in alone.walk()}[b"usr/bin/pico"] == 1


def test_directories_above_keep_what_they_are() -> None:
    entries = {b"d": trees.directory({b"f": trees.file(b"x"), b"g": trees.file()}, mode=0o2711, mtime_ns=5)}
    chosen = (selected(entries, b"d/f").root.entries or {})[b"d"]
    assert (chosen.mode & 0o7777, chosen.mtime_ns, list(chosen.entries or {})) == (0o2711, 5, [b"f"])


def test_contents_are_there() -> None:
    inode = (selected(system(), b"linked").root.entries or {})[b"linked"]
    assert inode.data is not None and b"".join(inode.data.chunks(0, 6)) == b"linked"


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(SourceError, match="has no 'shadow'"):
        selected(system(), b"etc/passwd", b"etc/shadow")
