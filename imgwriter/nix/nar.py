"""NAR: what Nix sees of a file, a directory or a symlink, in one way only; so that it has a hash.

::

    nix-archive-1
    ( type directory
      entry ( name bin node ( type directory ... ) )
      entry ( name hello node ( type regular [executable ""] contents BYTES ) )
      entry ( name link node ( type symlink target bin/hello ) )     names sorted by their bytes
    )                                                                 each word a string of wire

Owners, times, modes but for the owner's x bit, hard links, holes and xattrs are not in it. What is read
has what Nix gives to everything in its store: 0444 or 0555, 0:0, one second after the epoch.

Reading is strict: nothing is accepted but what Nix itself would have written, and a name, target or depth
that Linux cannot have is refused.

Spec: Eelco Dolstra, "The Purely Functional Software Deployment Model", figure 5.2; Nix manual, "Nix Archive
(NAR) format"; src/libutil/archive.cc.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from imgwriter.errors import SourceError, show
from imgwriter.extent import CHUNK, Buffer
from imgwriter.filedata import FILE_BACKED
from imgwriter.nix.wire import ALIGNMENT, Input, Sum, number, open_input, string
from imgwriter.tree.inventory import Inode
from imgwriter.tree.lookup import kind

MAX_NAME = 255
"""Bytes in a name. Spec: Linux, include/uapi/linux/limits.h, NAME_MAX."""

MAX_TARGET = 4095
"""Bytes in a symlink's target. Spec: the same, PATH_MAX, which counts a NUL."""

MAX_DEPTH = 2048
"""Directories in one another: a path of PATH_MAX bytes has no more names."""

MTIME_NS = 1_000_000_000
"""The mtime of everything in a store. Spec: Nix, src/libstore/local-store.cc, mtimeStore."""

_FILE, _EXECUTABLE = stat.S_IFREG | 0o444, stat.S_IFREG | 0o555
_DIRECTORY, _SYMLINK = stat.S_IFDIR | 0o555, stat.S_IFLNK | 0o777
_OWNER_EXECUTES = 0o100


def _strings(*words: bytes) -> bytes:
    return b"".join(map(string, words))


MAGIC = string(b"nix-archive-1")
_OPEN_FILE = _strings(b"(", b"type", b"regular", b"contents")
_OPEN_EXECUTABLE = _strings(b"(", b"type", b"regular", b"executable", b"", b"contents")
_OPEN_DIRECTORY = _strings(b"(", b"type", b"directory")
_OPEN_SYMLINK = _strings(b"(", b"type", b"symlink", b"target")
_CLOSE = string(b")")
_OPEN_ENTRY = _strings(b"entry", b"(", b"name")
_NODE = string(b"node")
_CLOSE_ENTRY = _CLOSE + _CLOSE  # the node's and the entry's
_NODES = (_OPEN_FILE, _OPEN_EXECUTABLE, _OPEN_DIRECTORY, _OPEN_SYMLINK)


class Archive(NamedTuple):
    """What a NAR holds.

    Attributes:
        root: A file, directory or symlink; contents keep the NAR's file or the spool open.
        sum: SHA-256 and size of the NAR.
    """

    root: Inode
    sum: Sum


def read(source: bytes | BinaryIO, *, spool_directory: bytes | None = None, origin: str = "") -> Archive:
    """Read a NAR, and nothing behind it.

    Args:
        source: Its path, ``-`` for standard input, or a binary stream, which need not be seekable.
        spool_directory: Where the contents of a stream are kept until the image is written; None: where
            temporary files go.
        origin: What to call it in messages; ``NAR PATH`` when empty.

    Raises:
        SourceError: It cannot be read, or is not what Nix writes; the message has the offset.
        SourceChangedError: It changed meanwhile.
        OutputError: The spool cannot be written.
    """
    if not origin:
        origin = f"NAR {show(source)}" if isinstance(source, bytes) else "the NAR"
    with open_input(source, origin, spool_directory) as stream:
        archive = NarReader(stream).read()
        if not stream.at_end():
            raise stream.refused("something follows the NAR's end")
        stream.finish()
    return archive


class NarReader:
    """Reads NARs that are parts of a stream. The stream's ``finish()`` makes their contents readable.

    Args:
        stream: What they are in.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: Input) -> None:
        self._stream = stream

    def read(self) -> Archive:
        """Read the NAR that comes next, and move past it.

        Raises:
            SourceError: It is not what Nix writes; the message has the offset.
            OutputError: The spool cannot be written.
        """
        stream = self._stream
        stream.begin_sum()
        self._expect(MAGIC)
        root = self._node(b"the root")
        if root.entries is not None:
            self._fill(root)
        else:
            self._expect(_CLOSE)
        return Archive(root, stream.end_sum())

    def _fill(self, root: Inode) -> None:
        """Read a directory's entries, and theirs, up to what closes it."""
        stream = self._stream
        skip = stream.skip
        above: list[tuple[Inode, bytes]] = []  # each with the name in it that is being read
        here, before = root, b""
        while True:
            entries = here.entries
            assert entries is not None
            if skip(_OPEN_ENTRY):
                before = self._name(before)
                inode = entries[before] = self._node(before)
                if inode.entries is None:
                    self._expect(_CLOSE_ENTRY)
                    continue
                above.append((here, before))
                here, before = inode, b""
                if len(above) == MAX_DEPTH:
                    raise stream.refused(f"more than {MAX_DEPTH:,} directories in one another")
                continue
            closing = _CLOSE_ENTRY if above else _CLOSE
            if not skip(closing):
                raise stream.unexpected(_OPEN_ENTRY, closing)
            if not above:
                return
            here, before = above.pop()

    def _name(self, before: bytes) -> bytes:
        """Return the name of the entry that comes next, which is behind ``before`` in order."""
        stream = self._stream
        at = stream.position
        name = stream.string("a name", MAX_NAME)
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
            raise stream.refused(f"'{show(name)}' is no name for a file", at)
        if name <= before:
            raise stream.refused(f"'{show(name)}' stands behind '{show(before)}', out of order", at)
        self._expect(_NODE)
        return name

    def _node(self, name: bytes) -> Inode:
        """Read a node up to its ``)``, or a directory up to its entries."""
        stream = self._stream
        skip, origin = stream.skip, stream.origin
        if skip(_OPEN_FILE):
            mode = _FILE
        elif skip(_OPEN_EXECUTABLE):
            mode = _EXECUTABLE
        elif skip(_OPEN_DIRECTORY):
            return Inode(_DIRECTORY, mtime_ns=MTIME_NS, origin=origin)
        elif skip(_OPEN_SYMLINK):
            return self._symlink(name)
        else:
            raise stream.unexpected(*_NODES)
        data = stream.contents(f"the contents of '{show(name)}'")
        size = 0 if data is None else data.length
        return Inode(mode, mtime_ns=MTIME_NS, size=size, data=data, origin=origin)

    def _symlink(self, name: bytes) -> Inode:
        stream = self._stream
        at = stream.position
        target = stream.string(f"the target of '{show(name)}'", MAX_TARGET)
        if not target or b"\0" in target:
            raise stream.refused(f"'{show(target)}' is no target for the symlink '{show(name)}'", at)
        return Inode(_SYMLINK, mtime_ns=MTIME_NS, size=len(target), target=target, origin=stream.origin)

    def _expect(self, strings: bytes) -> None:
        if not self._stream.skip(strings):
            raise self._stream.unexpected(strings)


def nar_hash(root: Inode) -> Sum:
    """Return SHA-256 and size of the NAR of a tree, all of which is read.

    Raises:
        SourceError: A file in it cannot be read, or is a device, FIFO or socket, which Nix does not know.
        SourceChangedError: It is not the one that was scanned any more.
    """
    digest = hashlib.sha256()
    size = 0
    for piece in chunks(root):
        digest.update(piece)
        size += len(piece)
    return Sum(digest.digest(), size)


def chunks(root: Inode) -> Iterator[Buffer]:
    """Yield the NAR of a tree in pieces of at most CHUNK bytes, each valid until the next is asked for.

    Raises:
        SourceError: As :func:`nar_hash`.
    """
    return _Writer().pieces(root)


_BUFFER = 128 << 10  # small enough to stay in the cache until it is hashed
_PACKED = 128 << 10  # files up to here are read into the buffer
_SLACK = 128 << 10  # room for a name and a target, of any source, between two looks at what is left
_ZEROS = bytes(CHUNK)
_LAST = (b"", None)  # behind a directory's entries


class _Writer:
    """The state of one NAR: small pieces gather in a buffer, which is given away when it is full."""

    __slots__ = ("_buffer", "_end", "_names")

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_BUFFER + _PACKED + _SLACK))
        self._end = 0
        self._names: list[bytes] = []  # of what is being written, from the root on

    def pieces(self, root: Inode) -> Iterator[Buffer]:
        """Yield the NAR of ``root``."""
        self._put(MAGIC)
        yield from self._node(root)
        stack = [] if root.entries is None else [iter(sorted(root.entries.items()))]
        while stack:
            if self._end > _BUFFER:
                yield self._flush()
            name, inode = next(stack[-1], _LAST)
            if inode is None:
                stack.pop()
                if stack:
                    self._put(_CLOSE_ENTRY)
                    self._names.pop()
                continue
            self._names.append(name)
            self._put(b"%b%b%b" % (_OPEN_ENTRY, string(name), _NODE))
            yield from self._node(inode)
            if inode.entries is None:
                self._put(_CLOSE_ENTRY)
                self._names.pop()
            else:
                stack.append(iter(sorted(inode.entries.items())))
        self._put(_CLOSE)
        yield self._flush()

    def _node(self, inode: Inode) -> Iterator[Buffer]:
        """Write a node without its entries and its ``)``; yield what must not wait."""
        type_ = inode.mode & 0o170000
        if type_ == stat.S_IFREG:
            return self._file(inode)
        if type_ == stat.S_IFLNK:
            self._put(_OPEN_SYMLINK + string(inode.target))
        elif type_ == stat.S_IFDIR:
            self._put(_OPEN_DIRECTORY)
        else:
            path = b"/".join(self._names)
            where = f"{inode.origin}: {show(path)}" if inode.origin else show(path)
            raise SourceError(
                f"{where} is a {kind(inode)}, and Nix stores only files, directories and symlinks; remove it",
                path,
            )
        return iter(())

    def _file(self, inode: Inode) -> Iterator[Buffer]:
        size, data = inode.size, inode.data
        self._put((_OPEN_EXECUTABLE if inode.mode & _OWNER_EXECUTES else _OPEN_FILE) + number(size))
        if size > _PACKED or data is None or inode.runs is not None:
            yield self._flush()
            yield from _contents(inode)
        elif isinstance(data, FILE_BACKED):
            end = self._end + size
            data.read_into(self._buffer[self._end : end])
            self._end = end
        else:
            self._put(b"".join(data.chunks(0, size)))
        self._put(bytes(-size % ALIGNMENT))

    def _put(self, content: bytes) -> None:
        end = self._end + len(content)
        self._buffer[self._end : end] = content
        self._end = end

    def _flush(self) -> Buffer:
        piece = self._buffer[: self._end]
        self._end = 0
        return piece


def _contents(inode: Inode) -> Iterator[Buffer]:
    """Yield a file's bytes, zeros where it has holes."""
    position = 0
    for start, stop in inode.data_runs():
        yield from _zeros(start - position)
        assert inode.data is not None
        yield from inode.data.chunks(start, stop)
        position = stop
    yield from _zeros(inode.size - position)


def _zeros(count: int) -> Iterator[Buffer]:
    for offset in range(0, count, CHUNK):
        yield memoryview(_ZEROS)[: min(CHUNK, count - offset)]
