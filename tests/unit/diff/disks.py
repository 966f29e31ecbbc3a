"""Disks to compare: one that is built once, and copies of it in which bytes are changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imgwriter import Content, ImageSpec, build_image
from imgwriter.cli import main
from imgwriter.diff.changes import Change
from imgwriter.diff.compare import all_changes
from imgwriter.examine.opening import OpenedDisk, open_disk

MiB = 1 << 20

ESP = 8 * MiB
"""Where the EFI system partition starts, as docs/formats/partition-tables.md has it."""
ROOT = 16 * MiB
"""Where it ends and the root starts."""


def tree(top: Path) -> Path:
    """Make a small tree with something of everything that a comparison names."""
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "motd").write_bytes(b"welcome\n" * 1000)
    (top / "etc" / "issue").write_bytes(b"issue\n")
    os.setxattr(top / "etc" / "issue", "user.note", b"small")
    os.setxattr(top / "etc" / "motd", "user.large", bytes(range(256)) * 2)
    (top / "link").symlink_to("etc/motd")
    (top / "target").symlink_to("x" * 100)
    (top / "many").mkdir()
    for number in range(300):
        (top / "many" / f"a name of some length {number:04}").touch()
    return top


def build_efi(base: Path, **asked: object) -> Path:
    """Build a GPT disk of 24 MiB or so: FAT with two files, and an ext4 root of the tree."""
    if not (base / "tree").exists():
        tree(base / "tree")
        (base / "loader.efi").write_bytes(b"MZ" + b"loader" * 500)
    contents = [Content(base / "loader.efi", path) for path in ("/EFI/a long name.efi", "/B.EFI")]
    given = {
        "partition_table": "efi",
        "boot_end": ROOT,
        "additional_space": 0,
        "esp_contents": contents,
        "output": base / "out",
        **asked,
    }
    spec = ImageSpec(trees=[base / "tree"], **given)  # type: ignore[arg-type]
    return Path(os.fsdecode(build_image(spec).path))


def cli(*words: str | Path) -> int:
    """Run the command line and return its exit status."""
    return main([str(word) for word in words])


def opened(path: Path) -> OpenedDisk:
    """Open an image."""
    return open_disk(os.fsencode(path))


def changed(source: Path, target: Path, *changes: tuple[int, bytes]) -> Path:
    """Return a copy of an image with bytes put at offsets."""
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        for offset, content in changes:
            file.seek(offset)
            file.write(content)
    return target


def changes_of(a: Path, b: Path) -> list[Change]:
    """Return every change between two images."""
    return list(all_changes(opened(a), opened(b)))


def names_of(a: Path, b: Path) -> set[str]:
    """Return what differs, as "subject, field"."""
    return {f"{c.subject}, {c.field}" if c.field else c.subject for c in changes_of(a, b)}


def differing_bytes(a: Path, b: Path) -> set[int]:
    """Return the offsets at which two files of one size differ."""
    one, two = a.read_bytes(), b.read_bytes()
    assert len(one) == len(two)
    found: set[int] = set()
    step = 4096
    for start in range(0, len(one), step):
        if one[start : start + step] != two[start : start + step]:
            found |= {n for n in range(start, min(start + step, len(one))) if one[n] != two[n]}
    return found


def explained_bytes(changes: list[Change]) -> list[int]:
    """Return the offsets that changes account for, each as often as one does."""
    return [n for change in changes for start, end in change.ranges() for n in range(start, end)]


@contextmanager
def patched(path: Path, changes: list[tuple[int, bytes]]) -> Iterator[None]:
    """Change bytes of a file for as long as the block runs."""
    with path.open("r+b") as file:
        before = []
        for offset, content in changes:
            file.seek(offset)
            before.append((offset, file.read(len(content))))
            file.seek(offset)
            file.write(content)
        file.flush()
        yield
        for offset, content in reversed(before):
            file.seek(offset)
            file.write(content)
