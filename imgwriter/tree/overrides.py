"""The overrides file: modes, owners, devices and more, for those who are not root.

Two forms, told apart by their content: it is mtree when the first line that says anything is ``/set``,
``/unset``, or has a ``keyword=value`` (or the file begins with ``#mtree``); else it is a device table.

mtree (mtree(5) of NetBSD and libarchive)::

    #mtree
    /set uid=0 gid=0
    ./etc/shadow    mode=0640 gname=shadow
    ./dev/console   type=char device=native,5,1 mode=0600
    ./bin/sh        type=link link=dash

Keywords: type (file dir link char block fifo socket), mode (octal), uid, gid, uname, gname (the image's
own names), device (MAJOR,MINOR with or without a format's name before, or one hexadecimal or decimal
number as in Linux's dev_t), link, time (seconds, with a fraction), optional (no error where it does not
exist). Those that only describe what a file holds (size, digests, nlink, ...) are read over. ``/set``
gives defaults, ``/unset`` takes them back; a name without a slash is in the directory of the last such
``type=dir`` entry, which ``..`` leaves again; ``\\`` and three octal digits are a byte, a ``\\`` at a line's
end continues it.

Device table (Buildroot's makedevs; genext2fs -D, which takes count for the end when start is not 0)::

    # path     type mode uid gid major minor start inc count
    /dev       d    755  0   0   -     -     -     -   -
    /dev/tty   c    666  0   5   4     0     0     1   10

Types: f file, d directory, r directory and all beneath it, c and b devices, p FIFO, s socket. Columns at
the end may be missing; ``-`` is no value: mode and owner then stay (of new things: 0755 for directories,
0644 else, 0:0). With ``count``, names get the numbers start, start+1, ... and minors grow by inc.

An entry changes what is there, if it is of that type, or makes it; files and what is beneath ``r`` must be
there. Directories on the way are made, symlinks on the way are followed inside the image.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from imgwriter.errors import SourceError, SpecError, show
from imgwriter.tree.accounts import Accounts
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import KINDS, Lookup, kind, split
from imgwriter.tree.rules import MAX_ID, NANOSECOND

_PERMISSIONS = 0o7777
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_SHOWN = 40
"""Bytes of a word in a message."""

MAX_MAJOR, MAX_MINOR = 0xFFF, 0xFFFFF
"""Spec: Linux, include/linux/kdev_t.h: dev_t has 12 bits of major and 20 of minor."""


@dataclass(frozen=True, slots=True)
class Override:
    """One thing as it shall be; None leaves it as it is.

    Attributes:
        names: The path inside the image.
        line: Where it stands in the file.
        type: An S_IF constant; None: whatever is there.
        mode: Twelve bits.
        uid, gid: Numbers, or names of the image's own.
        rdev: (major, minor).
        target: Of a symlink.
        mtime_ns: Nanoseconds since the epoch.
        optional: It need not exist.
        recursive: Mode and owner are for all beneath, too.
    """

    names: tuple[bytes, ...]
    line: int
    type: int | None = None
    mode: int | None = None
    uid: int | str | None = None
    gid: int | str | None = None
    rdev: tuple[int, int] | None = None
    target: bytes | None = None
    mtime_ns: int | None = None
    optional: bool = False
    recursive: bool = False


def parse(text: bytes, source: str) -> list[Override]:
    """Return the entries of an overrides file, in its order.

    Args:
        text: The whole file.
        source: What to call it in messages.

    Raises:
        SpecError: A line is not understood; the message has its number.
    """
    lines = list(_lines(text))
    parse_lines = _Mtree(source).run if _is_mtree(text, lines) else _Table(source).run
    return list(parse_lines(lines))


def apply(root: Inode, overrides: list[Override], source: str, time: int) -> None:
    """Change the tree of ``root``, in place, as the entries say, one after the other.

    Args:
        root: The tree's root.
        overrides: From :func:`parse`.
        source: What to call the file in messages.
        time: Seconds since the epoch for what is made and has no time of its own.

    Raises:
        SourceError: Something is of another type, or not there, or its owner is unknown.
    """
    accounts = Accounts(root)
    for override in overrides:
        try:
            _apply(root, override, accounts, source, time)
        except SourceError as error:
            raise SourceError(f"{source}, line {override.line}: {error}", error.path) from None


def _apply(root: Inode, override: Override, accounts: Accounts, source: str, time: int) -> None:
    inode = _existing(root, override)
    if inode is None:
        if override.optional:
            return
        inode = _make(root, override, source, time)
    uid = accounts.uid(override.uid) if isinstance(override.uid, str) else override.uid
    gid = accounts.gid(override.gid) if isinstance(override.gid, str) else override.gid
    for each in _all_beneath(inode) if override.recursive else (inode,):
        _set(each, override, uid, gid)
    if inode.implicit:
        # It is described now; what the entry does not say is that of a made directory.
        inode.implicit = False
        inode.mtime_ns = time * NANOSECOND if override.mtime_ns is None else override.mtime_ns


def _existing(root: Inode, override: Override) -> Inode | None:
    """Return what stands at the entry's path, itself not followed, if anything."""
    path = b"/".join(override.names)
    inode: Inode | None = root
    if override.names:
        try:
            holder = Lookup(root).follow(list(override.names[:-1]))
        except SourceError:
            return None  # where it cannot be made either, making it says why
        inode = (holder.entries or {}).get(override.names[-1])
    if inode is not None and override.type not in (None, stat.S_IFMT(inode.mode)):
        raise SourceError(
            f"{show(path)} is a {kind(inode)} ({inode.origin}), not a {KINDS[override.type or 0]}; "
            "correct the type, or exclude it",
            path,
        )
    return inode


def _make(root: Inode, override: Override, source: str, time: int) -> Inode:
    path = b"/".join(override.names)
    if override.type in (None, stat.S_IFREG) or override.recursive:
        raise SourceError(
            f"{show(path)} is not in the tree; correct the path, or add the file to a tree", path
        )
    assert override.type is not None
    permissions = {stat.S_IFDIR: 0o755, stat.S_IFLNK: 0o777}.get(override.type, 0o644)
    inode = Inode(override.type | permissions, mtime_ns=time * NANOSECOND, origin=source)
    if override.type in _DEVICES and override.rdev is None:
        raise SourceError(
            f"{show(path)} is a new {KINDS[override.type]} and needs its numbers; add them", path
        )
    if override.type == stat.S_IFLNK and not override.target:
        raise SourceError(f"{show(path)} is a new symlink and needs a target; add link=", path)
    holder = Lookup(root).make_directories(list(override.names[:-1]), source)
    assert holder.entries is not None
    holder.entries[override.names[-1]] = inode
    return inode


def _set(inode: Inode, override: Override, uid: int | None, gid: int | None) -> None:
    if override.mode is not None and not stat.S_ISLNK(inode.mode):  # symlinks have 0777 everywhere
        inode.mode = stat.S_IFMT(inode.mode) | override.mode
    inode.uid = inode.uid if uid is None else uid
    inode.gid = inode.gid if gid is None else gid
    if override.rdev is not None and stat.S_IFMT(inode.mode) in _DEVICES:
        inode.rdev = override.rdev
    if override.target is not None and stat.S_ISLNK(inode.mode):
        inode.target, inode.size = override.target, len(override.target)
    if override.mtime_ns is not None:
        inode.mtime_ns = override.mtime_ns


def _all_beneath(inode: Inode) -> Iterator[Inode]:
    stack = [inode]
    while stack:
        each = stack.pop()
        yield each
        stack.extend((each.entries or {}).values())


# Reading the two forms.

_Line = tuple[int, list[bytes]]
"""A line's number and its words."""


def _lines(text: bytes) -> Iterator[_Line]:
    """Yield the lines that say something; one that ends in a backslash goes on in the next."""
    begun: list[bytes] = []
    first = 0
    for number, line in enumerate(text.split(b"\n"), 1):
        first = first if begun else number
        stripped = line.strip()
        if stripped.endswith(b"\\") and not stripped.startswith(b"#"):
            begun.append(stripped[:-1])
            continue
        words = b" ".join([*begun, stripped]).split()
        begun = []
        if words and not words[0].startswith(b"#"):
            yield first, words
    if words := b" ".join(begun).split():
        yield first, words


def _is_mtree(text: bytes, lines: list[_Line]) -> bool:
    if text.startswith(b"#mtree"):
        return True
    if not lines:
        return False
    words = lines[0][1]
    return words[0] in (b"/set", b"/unset") or any(b"=" in word for word in words[1:])


def _unescape(word: bytes) -> bytes:
    """Return a word with ``\\ooo`` (vis(3)) and ``\\s``, ``\\t``, ``\\n``, ``\\\\``, ``\\#`` undone."""
    simple = {b"s": b" ", b"t": b"\t", b"n": b"\n"}

    def byte(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes([int(match[1], 8)])
        return simple.get(match[2], match[2])

    return re.sub(rb"\\(?:([0-3][0-7]{2})|(.))", byte, word, flags=re.DOTALL)


def _quoted(word: bytes) -> str:
    """Return a word for a message; the start of a long one: a file of another kind may be one word."""
    return f"'{show(word)}'" if len(word) <= _SHOWN else f"'{show(word[:_SHOWN])}...'"


class _Parser:
    """What both forms share: messages with line numbers, and numbers."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.line = 0

    def error(self, what: str) -> SpecError:
        return SpecError(f"{self.source}, line {self.line}: {what}")

    def number(self, word: bytes, what: str, limit: int, base: int = 10) -> int:
        try:
            if not word[:1].isalnum():
                raise ValueError
            value = int(word, base)
        except ValueError:
            raise self.error(f"{what} {_quoted(word)} is not a number; correct it") from None
        if value > limit:
            raise self.error(f"{what} {_quoted(word)} is more than {limit:,}; correct it")
        return value

    def names(self, word: bytes) -> tuple[bytes, ...]:
        try:
            return tuple(split(_unescape(word)))
        except SourceError as error:
            raise self.error(str(error)) from None


class _Table(_Parser):
    """The device table."""

    TYPES: ClassVar = {
        b"f": stat.S_IFREG,
        b"d": stat.S_IFDIR,
        b"r": stat.S_IFDIR,
        b"c": stat.S_IFCHR,
        b"b": stat.S_IFBLK,
        b"p": stat.S_IFIFO,
        b"s": stat.S_IFSOCK,
    }

    def run(self, lines: list[_Line]) -> Iterator[Override]:
        for self.line, words in lines:
            yield from self._row(words)

    def _row(self, words: list[bytes]) -> Iterator[Override]:
        if not 2 <= len(words) <= 10:
            raise self.error(
                "a row has path, type, mode, uid, gid, major, minor, start, inc, count; correct it"
            )
        path, letter, mode, uid, gid, major, minor, start, inc, count = words + [b"-"] * (10 - len(words))
        if letter not in self.TYPES:
            raise self.error(f"type {_quoted(letter)} is none of f d r c b p s; correct it")
        override = Override(
            self.names(path),
            self.line,
            self.TYPES[letter],
            self._value(mode, "mode", _PERMISSIONS, 8),
            self._value(uid, "uid", MAX_ID),
            self._value(gid, "gid", MAX_ID),
            recursive=letter == b"r",
        )
        if letter not in b"cb":
            yield override
            return
        first = self._value(start, "start", MAX_MINOR) or 0
        step = self._value(inc, "inc", MAX_MINOR) or 0
        how_many = self._value(count, "count", MAX_MINOR) or 0
        rdev = self._value(major, "major", MAX_MAJOR), self._value(minor, "minor", MAX_MINOR)
        if not how_many:
            yield replace(override, rdev=_device(*rdev))
            return
        if (rdev[1] or 0) + (how_many - 1) * step > MAX_MINOR:
            raise self.error(f"the last minor is more than {MAX_MINOR:,}; correct it")
        for i in range(how_many):
            names = (*override.names[:-1], override.names[-1] + b"%d" % (first + i))
            yield replace(override, names=names, rdev=_device(*rdev, i * step))

    def _value(self, word: bytes, what: str, limit: int, base: int = 10) -> int | None:
        return None if word == b"-" else self.number(word, what, limit, base)


def _device(major: int | None, minor: int | None, further: int = 0) -> tuple[int, int] | None:
    """Return a device's numbers, or None where there are none: it keeps its own."""
    if major is None and minor is None:
        return None
    return major or 0, (minor or 0) + further


@dataclass(slots=True)
class _Keywords:
    """The keywords in force for an entry, undigested."""

    values: dict[bytes, bytes] = field(default_factory=dict)

    def set(self, words: list[bytes]) -> None:
        """Add keywords, which win over earlier ones; a name also over an earlier number."""
        given = {keyword: value for keyword, _, value in (word.partition(b"=") for word in words)}
        for name, number in ((b"uname", b"uid"), (b"gname", b"gid")):
            if name in given:
                self.values.pop(number, None)
        self.values.update(given)

    def unset(self, words: list[bytes]) -> None:
        for keyword in list(self.values) if b"all" in words else words:
            self.values.pop(keyword, None)


class _Mtree(_Parser):
    """mtree."""

    TYPES: ClassVar = {
        b"file": stat.S_IFREG,
        b"dir": stat.S_IFDIR,
        b"link": stat.S_IFLNK,
        b"char": stat.S_IFCHR,
        b"block": stat.S_IFBLK,
        b"fifo": stat.S_IFIFO,
        b"socket": stat.S_IFSOCK,
    }
    KNOWN = frozenset(b"type mode uid gid uname gname device link time optional".split())
    DESCRIBING = frozenset(
        b"size nlink inode cksum contents content md5 md5digest rmd160 rmd160digest ripemd160digest sha1 "
        b"sha1digest sha256 sha256digest sha384 sha384digest sha512 sha512digest resdevice nochange".split()
    )
    """Keywords that say what a file is, not how it shall be."""

    def run(self, lines: list[_Line]) -> Iterator[Override]:
        defaults = _Keywords()
        inside: list[tuple[bytes, ...]] = [()]
        for self.line, (first, *words) in lines:
            if first == b"/set":
                self._check(words)
                defaults.set(words)
            elif first == b"/unset":
                defaults.unset(words)
            elif first == b"..":
                if len(inside) == 1:
                    raise self.error("'..' leaves the top; remove it")
                inside.pop()
            else:
                self._check(words)
                keywords = _Keywords(dict(defaults.values))
                keywords.set(words)
                relative = b"/" not in first
                names = inside[-1] + self.names(first) if relative else self.names(first)
                override = self._entry(names, keywords.values)
                if relative and override.type == stat.S_IFDIR:
                    inside.append(names)
                yield override

    def _check(self, words: list[bytes]) -> None:
        for word in words:
            keyword, equals, _ = word.partition(b"=")
            if keyword not in self.KNOWN and keyword not in self.DESCRIBING:
                raise self.error(f"keyword {_quoted(keyword)} is not known; remove it")
            if not equals and keyword not in (b"optional", b"nochange"):
                raise self.error(f"keyword '{show(keyword)}' needs a value; write {show(keyword)}=VALUE")

    def _entry(self, names: tuple[bytes, ...], values: dict[bytes, bytes]) -> Override:
        kind_word = values.get(b"type")
        if kind_word is not None and kind_word not in self.TYPES:
            raise self.error(
                f"type {_quoted(kind_word)} is none of file dir link char block fifo socket; correct it"
            )
        mode, link, time = values.get(b"mode"), values.get(b"link"), values.get(b"time")
        device = values.get(b"device")
        return Override(
            names,
            self.line,
            None if kind_word is None else self.TYPES[kind_word],
            None if mode is None else self.number(mode, "mode", _PERMISSIONS, 8),
            self._who(values, b"uid", b"uname"),
            self._who(values, b"gid", b"gname"),
            None if device is None else self._device(device),
            None if link is None else _unescape(link),
            None if time is None else self._time(time),
            optional=b"optional" in values,
        )

    def _who(self, values: dict[bytes, bytes], number: bytes, name: bytes) -> int | str | None:
        """A number decides over a name, as in libarchive's own mtree files, which have both."""
        if number in values:
            return self.number(values[number], number.decode(), MAX_ID)
        return _unescape(values[name]).decode("utf-8", "surrogateescape") if name in values else None

    def _device(self, word: bytes) -> tuple[int, int]:
        parts = word.split(b",")
        if len(parts) == 1:
            number = self.number(word, "device", 0xFFFF_FFFF, 0)
            # Spec: Linux, include/linux/kdev_t.h, new_decode_dev().
            return number >> 8 & MAX_MAJOR, number & 0xFF | number >> 12 & 0xFFF00
        if not parts[0][:1].isdigit():
            parts = parts[1:]
        if len(parts) != 2:
            raise self.error(f"device {_quoted(word)} is not native,MAJOR,MINOR; correct it")
        return self.number(parts[0], "major", MAX_MAJOR, 0), self.number(parts[1], "minor", MAX_MINOR, 0)

    def _time(self, word: bytes) -> int:
        match = re.fullmatch(rb"(-?[0-9]{1,12})(?:\.([0-9]{0,9}))?", word)
        if not match:
            raise self.error(f"time {_quoted(word)} is not SECONDS.NANOSECONDS; correct it")
        # mtree(5): what is behind the point is a count of nanoseconds, not a fraction.
        return int(match[1]) * NANOSECOND + int(match[2] or 0)
