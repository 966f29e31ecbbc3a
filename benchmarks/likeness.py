"""What the files of trees are like, side by side: how many there are, and how short a compressor makes them.

Usage: likeness.py DIR ...
"""

from __future__ import annotations

import os
import statistics
import sys
import zlib
from pathlib import Path

import zstandard

_CLUSTER = 64 << 10
_BOUNDS = (0.20, 0.30, 0.40, 0.85)
"""Of what zstd makes of a file, divided by the file: the classes that trees.KINDS are of."""

_compress = zstandard.ZstdCompressor(level=1, write_checksum=False).compress


def compare(top: Path) -> None:
    """Print the classes of a tree's files."""
    sizes: list[list[int]] = [[] for _ in range(len(_BOUNDS) + 1)]
    packed = [[0, 0] for _ in sizes]
    for folder, _, names in os.walk(top):
        for path in (Path(folder, name) for name in names):
            # Firmware for virtual machines is padded to its flash: four fifths of it is one byte.
            if path.is_symlink() or not path.stat().st_size or path.suffix == ".fd":
                continue
            content = path.read_bytes()
            pieces = [content[at : at + _CLUSTER] for at in range(0, len(content), _CLUSTER)]
            by_zstd = sum(min(len(_compress(piece)), len(piece)) for piece in pieces)
            of = sum(by_zstd >= bound * len(content) for bound in _BOUNDS)
            sizes[of].append(len(content))
            packed[of][0] += by_zstd
            packed[of][1] += sum(map(_deflated, pieces))
    files, total = sum(map(len, sizes)), sum(map(sum, sizes))
    print(f"{top}: {files:,} files, {total / 10**6:,.0f} MB")
    print(f"{'zstd makes it':>16}{'files':>9}{'bytes':>9}{'median':>9}{'mean':>9}{'zstd':>8}{'zlib':>8}")
    names = [f"less than {bound:.0%}" for bound in _BOUNDS] + ["more"]
    for name, each, (by_zstd, by_zlib) in zip(names, sizes, packed, strict=True):
        if each:
            size = sum(each)
            print(
                f"{name:>16}{len(each) / files:9.1%}{size / total:9.1%}{statistics.median(each):9,.0f}"
                f"{size / len(each):9,.0f}{by_zstd / size:8.3f}{by_zlib / size:8.3f}"
            )


def _deflated(piece: bytes) -> int:
    """Return what QEMU makes of a cluster's piece: raw deflate at zlib's own level, in a window of 4 KiB."""
    stream = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -12)
    return min(len(stream.compress(piece)) + len(stream.flush()), len(piece))


if __name__ == "__main__":
    for word in sys.argv[1:]:
        compare(Path(word))
