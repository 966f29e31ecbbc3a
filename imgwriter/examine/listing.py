"""What ``imgwriter ls`` says of files: a row for people, a document for machines.

Rows and documents are made from the same :class:`Entry`. Sizes are bytes, times UTC. A name is bytes; as text
it is UTF-8, and where that is not all of it the document has the bytes as well.
"""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from imgwriter.columns import columns
from imgwriter.examine.browse import Browser, Found
from imgwriter.ext4.inode_reader import InodeRecord
from imgwriter.fat.reader import Node as FatNode
from imgwriter.tree.inventory import Inode

Document = dict[str, Any]
"""A JSON object."""

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
_DEVICES = ("character device", "block device")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECOND = 10**9
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Entry(NamedTuple):
    """A file under one of its names.

    Attributes:
        path: From the root, without a leading slash.
        name: What to call it in a row.
        inode: The file.
        record: What ext4 has of it besides; None on FAT.
    """

    path: bytes
    name: bytes
    inode: Inode
    record: InodeRecord | None

    @property
    def links(self) -> int:
        """Names that it has, as the file system counts them."""
        return 1 if self.record is None else self.record.links

    @property
    def size(self) -> int:
        """Bytes of the file; of a directory those of its entries, 0 on FAT."""
        if self.inode.entries is not None and self.record is not None:
            return self.record.size
        return self.inode.size


class Listing(NamedTuple):
    """Files that are shown together.

    Attributes:
        title: The directory that they are in; None for those that were asked for themselves.
        entries: By the bytes of their names.
    """

    title: bytes | None
    entries: Sequence[Entry]


def listings(
    browser: Browser, paths: Sequence[bytes], *, long: bool, itself: bool, recursive: bool
) -> Iterator[Listing]:
    """Yield what ls shows: files that were asked for, then each directory's entries.

    Args:
        browser: The file system.
        paths: What to show, in this order.
        long: Whether a symlink at the end of a path is shown itself, as ``ls -l`` does.
        itself: Show directories themselves, as ``ls -d`` does.
        recursive: Show what is in directories below, too.

    Raises:
        SourceError: A path is not there.
        FormatError: The file system is damaged.
    """
    found = [(path, browser.find(path, follow=not (long or itself))) for path in paths]
    files = [(path, each) for path, each in found if itself or each.inode.entries is None]
    if files:
        yield Listing(None, [_entry(browser, each.path, path, each.inode) for path, each in files])
    for path, each in found:
        if not itself and each.inode.entries is not None:
            yield from _directories(browser, path, each, recursive)


def _directories(browser: Browser, title: bytes, top: Found, recursive: bool) -> Iterator[Listing]:
    pending = [(title, top.path, top.inode)]
    while pending:
        title, path, directory = pending.pop()
        below = sorted(browser.entries(directory).items())
        yield Listing(title, [_entry(browser, _join(path, name), name, inode) for name, inode in below])
        if recursive:
            pending += [
                (_join(title, name), _join(path, name), inode)
                for name, inode in reversed(below)
                if inode.entries is not None
            ]


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" * (directory[-1:] not in (b"", b"/")) + name


def _entry(browser: Browser, path: bytes, name: bytes, inode: Inode) -> Entry:
    record = None if browser.reader is None else browser.reader.record(inode)
    return Entry(path, name, inode, record)


def text(listing: Listing, *, long: bool, titled: bool) -> list[str]:
    """Return the lines of a listing.

    Args:
        listing: What to show.
        long: Mode, links, owner, size and time before the name.
        titled: Whether the directory's path stands above.
    """
    lines = [f"{_shown(listing.title)}:"] if titled and listing.title is not None else []
    if not long:
        return lines + [_shown(entry.name) for entry in listing.entries]
    return lines + columns([_row(entry) for entry in listing.entries], right=(1, 2, 3, 4))


def _shown(name: bytes) -> str:
    r"""Return a name as no other is shown: as in C, byte by byte, and a backslash of its own is two.

    >>> _shown(b"a\nb"), _shown(rb"a\nb"), _shown(b"\x85"), _shown(b"\xc2\x85")
    ('a\\nb', 'a\\\\nb', '\\x85', '\\xc2\\x85')
    """
    text = name.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return _ESCAPES.get(character) or "".join(f"\\x{byte:02x}" for byte in character.encode())


def _row(entry: Entry) -> Sequence[str]:
    inode = entry.inode
    size = f"{inode.rdev[0]}, {inode.rdev[1]}" if kind_of(inode) in _DEVICES else str(entry.size)
    name = _shown(entry.name)
    if stat.S_ISLNK(inode.mode):
        name += f" -> {_shown(inode.target)}"
    mark = "+" if any(key.startswith(b"system.posix_acl") for key in inode.xattrs) else ""
    return (
        stat.filemode(inode.mode) + mark,
        str(entry.links),
        str(inode.uid),
        str(inode.gid),
        size,
        time_text(inode.mtime_ns // _NANOSECOND),
        name,
    )


def document(entry: Entry) -> Document:
    """Return all that is known of a file but its contents."""
    inode = entry.inode
    found: Document = {
        **_text("path", b"/" + entry.path),
        "type": kind_of(inode),
        "mode": f"{stat.S_IMODE(inode.mode):04o}",
        "uid": inode.uid,
        "gid": inode.gid,
        "links": entry.links,
        "size": entry.size,
        "mtime": time_text(inode.mtime_ns // _NANOSECOND),
        "mtime_ns": inode.mtime_ns,
    }
    if entry.record is not None:
        found["inode"] = entry.record.number
        found["ctime_ns"] = entry.record.ctime_ns
        found["flags"] = entry.record.flags
    if stat.S_ISREG(inode.mode):
        found["runs"] = None if inode.runs is None else [list(run) for run in inode.runs]
    if stat.S_ISLNK(inode.mode):
        found |= _text("target", inode.target)
    if found["type"] in _DEVICES:
        found["device"] = list(inode.rdev)
    found["xattrs"] = {
        name.decode("utf-8", "backslashreplace"): base64.b64encode(value).decode()
        for name, value in sorted(inode.xattrs.items())
    }
    if isinstance(inode, FatNode):
        found["attributes"] = inode.details.attributes
        found["short_name"] = inode.details.short_name.decode("cp437")
        found["created_ns"] = inode.details.created_ns
    return found


def json_lines(listing: Listing) -> list[str]:
    """Return a line of JSON for each entry."""
    return [json.dumps(document(entry)) for entry in listing.entries]


def kind_of(inode: Inode) -> str:
    """Return what a file is: "file", "directory", "symlink", ..."""
    return _KINDS[stat.S_IFMT(inode.mode)]


def time_text(seconds: int) -> str:
    """Return a time in UTC as ISO 8601 has it; for years that it has no form for, the seconds."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"@{seconds}"


def _text(key: str, value: bytes) -> Document:
    """Return bytes as text, and as base64 where they are no UTF-8."""
    try:
        return {key: value.decode("utf-8")}
    except UnicodeDecodeError:
        lossy = value.decode("utf-8", "replace")
        return {key: lossy, f"{key}_base64": base64.b64encode(value).decode()}
