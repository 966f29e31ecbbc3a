"""debugfs: reads an ext2/3/4 file system without the kernel.

debugfs exits 0 even when it did not understand a request, and says so on standard error: an empty
standard error, but for its banner, is part of every check here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.oracles.e2fsck import at
from tests.oracles.tools import Result, attempt


class Stat(NamedTuple):
    """What ``debugfs stat`` says of an inode.

    Times are nanoseconds since the epoch. ``blocks`` counts sectors of 512 bytes. ``text`` is all of it.
    """

    inode: int
    type: str
    mode: int
    flags: int
    uid: int
    gid: int
    size: int
    links: int
    blocks: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    crtime_ns: int | None
    target: str | None
    device: tuple[int, int] | None
    text: str


class Leaf(NamedTuple):
    """One leaf ext4_extent, as ``debugfs dump_extents -l`` prints it."""

    logical_block: int
    start_block: int
    block_count: int
    uninitialised: bool


def raw(image: Path, request: str, offset: int = 0, write: bool = False) -> Result:
    """Run one request and return what debugfs said."""
    options = ["-w"] if write else []
    return attempt("debugfs", *options, "-R", request, at(image, offset))


def request(image: Path, text: str, offset: int = 0, write: bool = False) -> str:
    """Run one request, assert that debugfs had nothing to complain about, and return its output."""
    result = raw(image, text, offset, write)
    complaints = [line for line in result.err.splitlines() if not re.match(r"debugfs \d", line)]
    assert result.status == 0 and not complaints, result.text
    # Most complaints go to standard error; a few, such as those of stat, to standard output.
    assert "File not found by ext2_lookup" not in result.out, result.text
    return result.out


def stat(image: Path, path: str, offset: int = 0) -> Stat:
    """Return what debugfs knows of ``path`` (or ``<NUMBER>``)."""
    text = request(image, f'stat "{path}"' if not path.startswith("<") else f"stat {path}", offset)
    head = _search(r"Inode: (\d+)\s+Type: (.*?)\s+Mode:\s+(\d+)\s+Flags: (\w+)", text)
    owner = _search(r"User:\s*(\d+)\s+Group:\s*(\d+)(?:\s+Project:\s*\d+)?\s+Size: (\d+)", text)
    links = _search(r"Links: (\d+)\s+Blockcount: (\d+)", text)
    target = re.search(r'(?m)^Fast link dest: "(.*)"$', text)
    device = re.search(r"Device major/minor number: (\d+):(\d+)", text)
    times = {name: _time(text, name) for name in ("mtime", "atime", "ctime", "crtime")}
    return Stat(
        int(head[1]),
        head[2],
        int(head[3], 8),
        int(head[4], 16),
        int(owner[1]),
        int(owner[2]),
        int(owner[3]),
        int(links[1]),
        int(links[2]),
        times["mtime"] or 0,
        times["atime"] or 0,
        times["ctime"] or 0,
        times["crtime"],
        target[1] if target else None,
        (int(device[1]), int(device[2])) if device else None,
        text,
    )


def _search(pattern: str, text: str) -> re.Match[str]:
    match = re.search(pattern, text)
    assert match, text
    return match


def _time(text: str, name: str) -> int | None:
    """Return nanoseconds. Spec: kernel Documentation/filesystems/ext4/inodes.rst, Inode Timestamps."""
    match = re.search(rf"(?m)^\s*{name}: 0x([0-9a-f]+)(?::([0-9a-f]+))?", text)
    if match is None:
        return None
    seconds, extra = int(match[1], 16), int(match[2] or "0", 16)
    if seconds >= 1 << 31:
        seconds -= 1 << 32
    return (seconds + ((extra & 3) << 32)) * 10**9 + (extra >> 2)


def cat(image: Path, path: str, offset: int = 0) -> bytes:
    """Return a file's content."""
    return request(image, f'cat "{path}"', offset).encode("utf-8", "surrogateescape")


def xattr(image: Path, path: str, name: str, offset: int = 0) -> bytes:
    """Return an extended attribute's value (``ea_get -x``: hexadecimal, any bytes)."""
    text = request(image, f'ea_get -x "{path}" {name}', offset)
    match = re.fullmatch(r".*? = ((?:[0-9a-f]{2} ?)*)\s*", text, re.DOTALL)
    assert match, text
    return bytes.fromhex(match[1])


def listing(image: Path, path: str, offset: int = 0) -> dict[str, int]:
    """Return {name: inode number} of a directory, ``.`` and ``..`` included (``ls -p``)."""
    text = request(image, f'ls -p "{path}"', offset)
    rows = (line.split("/") for line in text.splitlines() if line.startswith("/"))
    return {row[5]: int(row[1]) for row in rows if int(row[1])}


def rdump(image: Path, path: str, target: Path, offset: int = 0) -> None:
    """Copy a tree out of the image: contents, and, as root, owners and modes."""
    request(image, f'rdump "{path}" "{target}"', offset)


def extents(image: Path, path: str, offset: int = 0) -> list[Leaf]:
    """Return the leaves of a file's extent tree."""
    text = request(image, f'dump_extents -l "{path}"', offset)
    # Level Entries Logical Physical Length Flags:  0/ 1   1/  2     0 -     9   1234 -   1243     10 Uninit
    rows = re.findall(
        r"(?m)^\s*\d+/\s*\d+\s+\d+/\s*\d+\s+(\d+)\s*-\s*\d+\s+(\d+)\s*-\s*\d+\s+(\d+)(.*)$", text
    )
    return [Leaf(int(a), int(b), int(c), "Uninit" in flags) for a, b, c, flags in rows]


def htree(image: Path, path: str, offset: int = 0) -> str:
    """Return ``htree_dump``'s text of an indexed directory."""
    text = request(image, f'htree_dump "{path}"', offset)
    assert "Not a hash-indexed directory" not in text, text
    return text
