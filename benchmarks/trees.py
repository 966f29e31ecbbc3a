"""Trees for the benchmark: the same names, sizes and bytes on every machine.

Usage: trees.py share|one_directory|many_files|store|existing DIR ENTRIES [MB]

A program of its own, so that what it needs of memory is not counted against those that are measured.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from pathlib import Path
from typing import NamedTuple

MB = 10**6
MTIME = 1_700_000_000

_SOURCE = 4 << 20
"""Bytes that the contents of files are cut from."""

_VOCABULARY = 20_000
_WORDS = [bytes(random.Random(n).choices(b"etaoinshrdlcumwfgypbvk", k=2 + n % 9)) for n in range(_VOCABULARY)]
_IN_NAMES = 2000
"""Words that names are made of."""


class Kind(NamedTuple):
    """Files of one kind.

    Attributes:
        suffix: Of their names.
        files: How many of all files are of this kind, in %.
        bytes: How many of all bytes are theirs, in %.
        repeats: How often their text repeats some words of its last 400, in % of what it says; None: noise.
    """

    suffix: str
    files: int
    bytes: int
    repeats: int | None


KINDS = (
    Kind(".gz", 60, 19, None),
    Kind(".xml", 2, 13, 36),
    Kind(".html", 3, 9, 11),
    Kind(".pm", 9, 31, 3),
    Kind(".mo", 26, 28, 0),
)
"""The files of /usr/share by how short zstd makes them at level 1, in pieces of 64 KiB: not shorter (60 % of
the files with 19 % of the bytes), to less than 20, 30 and 40 %, and to more. likeness.py compares."""


def share(top: Path, entries: int, size: int) -> None:
    """Make a tree like /usr/share: directories nested unevenly, mostly small files, some symlinks.

    The proportions are those of a Debian 12 with development packages: 3,304 directories, 3,867 symlinks
    and 47,005 files; of those names man/man1 holds 35 %, each of 44 bytes on average, and man/man3 5 %;
    half of the other directories hold two names or less. What files hold is in ``KINDS``.

    Args:
        top: The directory to make.
        entries: Names in all: 6 % directories, 7 % symlinks, the rest files.
        size: Bytes of all files together, nearly.
    """
    rng = random.Random(1)
    sources = [_source(rng, kind) for kind in KINDS]
    top.mkdir(parents=True)
    folders = [top]
    for number in range(entries * 6 // 100):
        folder = rng.choice(folders[-300:] if rng.random() < 0.7 else folders) / _name(rng, number, "")
        folder.mkdir()
        folders.append(folder)
    large, middling = rng.sample(folders, 2)

    def home() -> Path:
        chance = rng.random()
        return large if chance < 0.35 else middling if chance < 0.40 else rng.choice(folders)

    files = entries * 87 // 100
    # Most files are some KiB and most bytes are in few files, as in /usr/share.
    kinds = rng.choices(range(len(KINDS)), [kind.files for kind in KINDS], k=files)
    weights = [rng.lognormvariate(0, 1.8) for _ in kinds]
    sums = [0.0] * len(KINDS)
    for weight, of in zip(weights, kinds, strict=True):
        sums[of] += weight
    for number, (weight, of) in enumerate(zip(weights, kinds, strict=True)):
        kind = KINDS[of]
        length = int(size * kind.bytes / 100 * weight / sums[of])
        folder = home()
        words = (4, 7) if folder is large else (1, 3)
        _write(folder / _name(rng, number, kind.suffix, *words), sources[of], rng.randrange(1 << 20), length)
    for number in range(entries - len(folders) - files):
        (home() / f"link-{number}").symlink_to(f"../{_name(rng, number, '.txt')}")


def one_directory(top: Path, entries: int) -> None:
    """Make a directory of ``entries`` files of a few bytes."""
    (top / "many").mkdir(parents=True)
    for number in range(entries):
        (top / "many" / f"{number * 2_654_435_761 % (1 << 32):08x}-{number}").write_bytes(b"%d\n" % number)


def many_files(top: Path, entries: int) -> None:
    """Make ``entries`` files of up to 2 KiB, a thousand in each directory."""
    content = _text(random.Random(2), 3)
    for number in range(entries):
        folder = top / f"{number // 100_000:03d}" / f"{number // 1000 % 100:02d}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        start = number % 1_000_000
        (folder / f"file-{number:07d}").write_bytes(content[start : start + number * 7919 % 2048])


def store(top: Path, files: int, size: int) -> None:
    """Make a Nix store of paths with 50 files each, and ``top/closure``, the graph of their references.

    Args:
        top: The directory to make; the store is its nix/store.
        files: Files in all.
        size: Bytes of all files together, nearly.
    """
    rng = random.Random(3)
    text, noise = _text(rng, 3), rng.randbytes(_SOURCE)
    paths = files // 50
    names = [f"{number:032d}-{_name(rng, number, '')}" for number in range(paths)]
    weights = [rng.lognormvariate(0, 2.0) for _ in range(files)]
    scale = size / sum(weights)
    graph = []
    for number, name in enumerate(names):
        for index in range(50):
            folder = top / "nix" / "store" / name / ("bin", "lib", "share/doc", "share/man/man1")[index % 4]
            folder.mkdir(parents=True, exist_ok=True)
            length = int(weights[50 * number + index] * scale)
            _write(folder / f"file-{index}", rng.choice((text, noise)), rng.randrange(1 << 20), length)
        references = sorted(rng.sample(names[:number], min(number, 5)))
        graph += [f"/nix/store/{name}", "", str(len(references)), *(f"/nix/store/{r}" for r in references)]
    (top / "closure").write_text("\n".join(graph) + "\n")


def warm(top: Path) -> tuple[int, int]:
    """Read every file once, so that nobody is first; return how many entries and bytes there are."""
    count = size = 0
    for folder, folders, files in os.walk(top):
        count += len(folders) + len(files)
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                with open(path, "rb") as file:
                    while piece := file.read(1 << 20):
                        size += len(piece)
    return count, size


def _source(rng: random.Random, kind: Kind) -> bytes:
    return rng.randbytes(_SOURCE) if kind.repeats is None else _text(rng, kind.repeats)


def _text(rng: random.Random, repeats: int) -> bytes:
    """Return 4 MiB of words as often as Zipf's law has them, and passages again soon after they were said."""
    ranks = list(itertools.accumulate(1 / rank for rank in range(1, _VOCABULARY + 1)))
    words: list[bytes] = []
    size = 0
    while size < _SOURCE:
        if words and rng.random() * 100 < repeats:
            start = max(0, len(words) - rng.randint(1, 400))
            said = words[start : start + rng.randint(6, 12)]
        else:
            said = rng.choices(_WORDS, cum_weights=ranks)
        words += said
        size += sum(map(len, said)) + len(said)
    return b" ".join(words)[:_SOURCE]


def _name(rng: random.Random, number: int, suffix: str, least: int = 1, most: int = 3) -> str:
    """Return a name of ``least`` to ``most`` words; no other number gives the same."""
    words = rng.choices(_WORDS[:_IN_NAMES], k=rng.randint(least, most))
    return f"{b'-'.join(words).decode()}-{number}{suffix}"


def _write(path: Path, source: bytes, start: int, length: int) -> None:
    with path.open("wb") as file:
        file.write(source[start : start + length])
        for done in range(len(source) - start, length, len(source)):
            file.write(source[: length - done])
    os.utime(path, (MTIME, MTIME))


def main(kind: str, top: str, entries: str, megabytes: str = "0") -> None:
    """Make a tree (``existing``: take one that is there), read it once, and print "ENTRIES BYTES"."""
    folder = Path(top)
    if kind == "share":
        share(folder, int(entries), int(megabytes) * MB)
    elif kind == "one_directory":
        one_directory(folder, int(entries))
    elif kind == "many_files":
        many_files(folder, int(entries))
    elif kind == "store":
        store(folder, int(entries), int(megabytes) * MB)
    print(*warm(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
