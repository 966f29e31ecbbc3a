"""Compare what two file systems hold, whatever their layout: names, metadata, contents."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from imgwriter.diff.changes import TIMES
from imgwriter.diff.contents import listed
from imgwriter.diff.ranges import xor
from imgwriter.errors import FormatError, quoted, show
from imgwriter.examine.opening import Area
from imgwriter.ext4.reader import FileSystem as Ext4
from imgwriter.extent import Data
from imgwriter.fat.reader import FileSystem as Fat
from imgwriter.filedata import Concatenated
from imgwriter.tree.inventory import Inode
from imgwriter.units import counted

ONLY_A, ONLY_B, CHANGED, UNREAD = "only in A", "only in B", "changed", "not compared"

_BLOCK = 1 << 20


class FileChange(NamedTuple):
    """A file that is not the same on both sides.

    Attributes:
        path: Without a leading slash.
        what: ONLY_A, ONLY_B, CHANGED, or UNREAD: it could not be compared.
        details: In what, such as "mode 0o644 -> 0o755".
        group: The class that it may be ignored as, or "": where nothing else differs.
    """

    path: bytes
    what: str
    details: tuple[str, ...]
    group: str = ""

    def __str__(self) -> str:
        path = show(self.path) or "/"
        return f"{path}: {'; '.join(self.details)}" if self.details else path


def compare_trees(a: Area, b: Area) -> Iterator[FileChange]:
    """Yield the files in which two file systems differ, by path.

    Directories that only one side has are told by themselves, without what is in them.

    Raises:
        SourceError: An image cannot be read.
    """
    try:
        one, two = _tree(a), _tree(b)
    except FormatError as error:
        yield FileChange(b"", UNREAD, (str(error),))
        return
    if one is None or two is None:
        yield FileChange(b"", UNREAD, ("the file system is not read",))
        return
    pending: list[tuple[bytes, Inode, Inode]] = [(b"", one, two)]
    seen: set[tuple[int, int]] = set()
    while pending:
        path, x, y = pending.pop()
        change = _compare(path, x, y, seen)
        if change is not None:
            yield change
        if x.entries is None or y.entries is None:
            continue
        prefix = path + b"/" if path else b""
        for name in sorted(x.entries.keys() - y.entries.keys()):
            yield FileChange(prefix + name, ONLY_A, _below(x.entries[name]))
        for name in sorted(y.entries.keys() - x.entries.keys()):
            yield FileChange(prefix + name, ONLY_B, _below(y.entries[name]))
        both = sorted(x.entries.keys() & y.entries.keys(), reverse=True)
        pending += [(prefix + name, x.entries[name], y.entries[name]) for name in both]


def _tree(area: Area) -> Inode | None:
    if area.error is not None:
        raise area.error
    fs = area.file_system
    return fs.tree() if isinstance(fs, Ext4 | Fat) else None


def _below(inode: Inode) -> tuple[str, ...]:
    if inode.entries is None:
        return ()
    count = 0
    pending = [inode]
    while pending:
        entries = pending.pop().entries or {}
        count += len(entries)
        pending += [child for child in entries.values() if child.entries is not None]
    return (f"a directory with {counted(count, 'name')}",)


def _compare(path: bytes, x: Inode, y: Inode, seen: set[tuple[int, int]]) -> FileChange | None:
    details = list(_metadata(x, y))
    if (id(x), id(y)) not in seen:
        seen.add((id(x), id(y)))  # a hard link's content is compared once
        try:
            details += _content(x, y)
        except FormatError as error:
            details.append(str(error))
    times = x.mtime_ns != y.mtime_ns
    group = TIMES if times and not details else ""
    if times:
        details.append(f"mtime {_moment(x.mtime_ns)} -> {_moment(y.mtime_ns)}")
    return FileChange(path, CHANGED, tuple(details), group) if details else None


def _metadata(x: Inode, y: Inode) -> Iterator[str]:
    if stat.S_IFMT(x.mode) != stat.S_IFMT(y.mode):
        yield f"type {_type(x)} -> {_type(y)}"
    if stat.S_IMODE(x.mode) != stat.S_IMODE(y.mode):
        yield f"mode {stat.S_IMODE(x.mode):#o} -> {stat.S_IMODE(y.mode):#o}"
    for name, mine, other in (("uid", x.uid, y.uid), ("gid", x.gid, y.gid)):
        if mine != other:
            yield f"{name} {mine} -> {other}"
    if x.target != y.target:
        yield f"target {quoted(x.target)} -> {quoted(y.target)}"
    if x.rdev != y.rdev:
        yield f"device {x.rdev} -> {y.rdev}"
    one, two = dict(x.xattrs), dict(y.xattrs)
    names = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    if names:
        yield f"attributes {listed(show(name) for name in names)}"


def _content(x: Inode, y: Inode) -> Iterator[str]:
    if not stat.S_ISREG(x.mode) or not stat.S_ISREG(y.mode):
        return
    if x.size != y.size:
        yield f"size {x.size:,} -> {y.size:,}"
    first, count = -1, 0
    common = min(x.size, y.size)
    for start, length in _blocks(_stored(x.data) + _stored(y.data), common):
        one, two = _read(x.data, start, length), _read(y.data, start, length)
        if one != two:
            difference = xor(one, two)
            count += length - difference.count(0)
            if first < 0:
                first = start + length - len(difference.lstrip(b"\0"))
    if count:
        yield f"content from byte {first:,} on, {counted(count, 'byte differs', 'bytes differ')}"


def _stored(data: Data | None) -> list[tuple[int, int]]:
    """Return what of a file is anything but a hole: a hole may be of any size, and is not read."""
    if data is None:
        return []
    if isinstance(data, Concatenated):
        return [(offset, offset + len(piece)) for offset, piece in data.pieces]
    return [(0, len(data))]


def _blocks(intervals: list[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Yield (start, length) of pieces that cover the intervals up to ``end``, each byte once."""
    position = 0
    for low, high in sorted(intervals):
        position = max(position, low)
        while position < min(high, end):
            length = min(_BLOCK, min(high, end) - position)
            yield position, length
            position += length


def _read(data: Data | None, start: int, length: int) -> bytes:
    if data is None:
        return bytes(length)
    stop = min(start + length, len(data))
    content = b"".join(bytes(chunk) for chunk in data.chunks(start, stop)) if start < stop else b""
    return content.ljust(length, b"\0")


def _type(inode: Inode) -> str:
    return {
        stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "FIFO",
        stat.S_IFCHR: "character device", stat.S_IFBLK: "block device", stat.S_IFSOCK: "socket",
    }.get(stat.S_IFMT(inode.mode), "unknown")  # fmt: skip


def _moment(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{rest:09}" if rest else "")
