"""Read FAT12, FAT16 and FAT32: the tree as Inodes, its files' bytes where they lie.

::

    Volume ── Window ──> boot_reader ──> Layout ──┬─ chains.Table: clusters, each once ─┬──> reader.tree()
                                                  └─ directory_reader: names ───────────┘

Structures are read when the tree is asked for; files are not read, but become slices of the volume's extents.
Whatever is in a volume, the answer is a tree or a FormatError with structure and place, for work and memory
in proportion to the clusters that are really chained: docs/formats/fat-reading.md.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple, TypeAlias

from imgwriter.errors import FormatError, show
from imgwriter.extent import Volume
from imgwriter.fat.boot_reader import (
    BootSector,
    FsInfo,
    Layout,
    layout_of,
    looks_like_fat,
    read_boot_sector,
    read_fsinfo,
)
from imgwriter.fat.chains import Claims, Table
from imgwriter.fat.content import MAX_DIRECTORY_ENTRIES
from imgwriter.fat.directory_reader import CODE_PAGE, Named, named_entries, volume_label
from imgwriter.fat.encode import DirectoryLabel, FileLabel
from imgwriter.fat.structures import ATTR_DIRECTORY, ATTR_READ_ONLY, ENTRY_SIZE, NO_LABEL, moment
from imgwriter.tree.inventory import Inode
from imgwriter.window import Window

__all__ = [
    "BootSector",
    "Details",
    "FileSystem",
    "FsInfo",
    "Layout",
    "Node",
    "looks_like_fat",
    "read_file_system",
]

MAX_DEPTH = 2_048
"""Directories in directories: more have no path that Linux would take (PATH_MAX)."""

DIRECTORY_MODE = stat.S_IFDIR | 0o755
FILE_MODE = stat.S_IFREG | 0o644
_WRITE = 0o222
_PIECE = 4096
_WHERE = "FAT directory"
_REMEDY = "the file system is damaged: repair a copy with fsck.fat"

Report: TypeAlias = Callable[[FormatError], None]


class Details(NamedTuple):
    """What FAT has of a file besides an Inode's values.

    Attributes:
        attributes: DIR_Attr: read-only, hidden, system, directory, archive.
        short_name: The 11 bytes of DIR_Name; empty for the root.
        first_cluster: 0 where there is none.
        offset: Where the directory entry is, in bytes from the start of the disk; of the root: itself.
        created_ns, accessed_ns: Nanoseconds since the epoch.
    """

    attributes: int
    short_name: bytes
    first_cluster: int
    offset: int
    created_ns: int = 0
    accessed_ns: int = 0


class Node(Inode):
    """An Inode with what FAT has besides."""

    __slots__ = ("details",)

    def __init__(self, mode: int, mtime_ns: int, details: Details) -> None:
        super().__init__(mode, mtime_ns=mtime_ns)
        self.details = details


class Directory(NamedTuple):
    """A directory's bytes; ``places`` has the offset on the disk of each ``unit`` of them."""

    content: bytes
    unit: int
    places: Sequence[int]

    def place(self, position: int) -> int:
        """Return where a byte of the directory is on the disk."""
        return self.places[position // self.unit] + position % self.unit


def read_file_system(volume: Volume, offset: int = 0, size: int | None = None) -> FileSystem:
    """Open a FAT file system: read its boot sector and FSInfo, nothing else.

    Args:
        volume: The disk.
        offset: Where the file system begins, in bytes.
        size: Bytes that it may have, as of its partition; None for all that follow.

    Raises:
        FormatError: It is none, or its areas do not fit.
    """
    window = Window(volume, offset, size)
    boot = read_boot_sector(window)
    layout = layout_of(boot, window)
    return FileSystem(window, boot, layout, read_fsinfo(boot, layout, window))


class FileSystem:
    """A FAT file system that is open for reading.

    Attributes:
        window: The bytes that it may be in.
        boot: The boot sector's fields, its code, ``volume_id`` and ``label``.
        layout: Type, sizes and areas.
        fsinfo: FAT32's, where there is one.
        table: The FAT that counts.
    """

    __slots__ = ("boot", "fsinfo", "layout", "table", "window")

    def __init__(self, window: Window, boot: BootSector, layout: Layout, fsinfo: FsInfo | None) -> None:
        self.window = window
        self.boot = boot
        self.layout = layout
        self.fsinfo = fsinfo
        start = layout.fat_start + layout.active_fat * layout.fat_size
        self.table = Table(window, start, layout.bits, layout.clusters)

    @property
    def volume_id(self) -> int | None:
        """The serial number, None where there is none."""
        return self.boot.volume_id

    def label(self) -> str:
        """Return the volume label: the root directory's, else the boot sector's; empty where there is none.

        Raises:
            FormatError: The root directory cannot be read.
        """
        raw = volume_label(self.root_directory(Claims()).content)
        if raw is None:
            raw = self.boot.label or NO_LABEL
        return "" if raw == NO_LABEL else raw.decode(CODE_PAGE).rstrip(" ")

    def backup_boot(self) -> BootSector | None:
        """Return FAT32's copy of the boot sector, None where the first names no sector of the reserved."""
        offset = self.boot.number("BPB_BkBootSec") * self.layout.sector_size
        if not 0 < offset < self.layout.fat_start:
            return None
        return read_boot_sector(self.window, offset)

    def free(self) -> int:
        """Return the bytes of the free clusters, counted."""
        return self.table.free() * self.layout.cluster_size

    def tree(self, report: Report | None = None) -> Node:
        """Return the root directory with all that is in it.

        Modes are constants (0755, 0644, 0444 with the read-only attribute), owners 0, times UTC.

        Args:
            report: Called with each damage, in the order met; what is damaged is then left out: a file, or
                what a directory holds. None: the first damage is raised.

        Raises:
            FormatError: A chain has a loop, is shared, too short or leads nowhere; a directory is too large
                or too deep; a name is none, or stands twice.
        """
        return _Walk(self, report).tree()

    def root_directory(self, claims: Claims) -> Directory:
        """Return the root directory, whose clusters are added to ``claims``."""
        layout = self.layout
        if layout.bits == 32:
            offset = self.window.offset + layout.root_start
            return self.chained(layout.root_cluster, claims, "the root directory", offset)
        content = self.window.read(layout.root_start, layout.root_size, _WHERE)
        return Directory(content, max(layout.root_size, 1), (self.window.offset + layout.root_start,))

    def chained(self, first: int, claims: Claims, what: object, offset: int) -> Directory:
        """Return a directory that is made of clusters; arguments and errors are those of ``Table.chain``."""
        layout = self.layout
        runs = self.table.chain(first, claims, what, offset)
        size = sum(stop - start for start, stop in runs) * layout.cluster_size
        if size > max(MAX_DIRECTORY_ENTRIES * ENTRY_SIZE, layout.cluster_size):
            raise FormatError(
                f"{what} has {size:,} bytes, FAT allows {MAX_DIRECTORY_ENTRIES * ENTRY_SIZE:,}; {_REMEDY}",
                _WHERE,
                self.window.offset + layout.cluster_offset(first),
            )
        content, places = bytearray(), []
        for start, stop in runs:
            low, high = layout.cluster_offset(start), layout.cluster_offset(stop)
            places += [self.window.offset + at for at in range(low, high, layout.cluster_size)]
            self._read_entries(content, low, high)
        return Directory(bytes(content), layout.cluster_size, places)

    def _read_entries(self, content: bytearray, low: int, high: int) -> None:
        """Add the bytes of [low, high) to a directory's, as far as its end mark, if it has one."""
        while low < high and 0 not in content[-_PIECE::ENTRY_SIZE]:
            piece = self.window.read(low, min(_PIECE, high - low), _WHERE)
            content += piece
            low += len(piece)


class _Walk:
    """One reading of the tree, in which every cluster is met once."""

    def __init__(self, file_system: FileSystem, report: Report | None) -> None:
        self.file_system = file_system
        self.window = file_system.window
        self.layout = file_system.layout
        self.report = report
        self.claims = Claims()

    def tree(self) -> Node:
        """Return the root with everything below."""
        layout = self.layout
        start = layout.cluster_offset(layout.root_cluster) if layout.bits == 32 else layout.root_start
        root = Node(
            DIRECTORY_MODE, 0, Details(ATTR_DIRECTORY, b"", layout.root_cluster, self.window.offset + start)
        )
        pending = [(root, 0)]
        while pending:
            node, depth = pending.pop()
            try:
                directory = self._contents(node, depth)
            except FormatError as error:
                self._say(error)
                continue
            children = self._add_children(node, directory)
            pending.extend((child, depth + 1) for child in reversed(children))
        return root

    def _say(self, error: FormatError) -> None:
        if self.report is None:
            raise error
        self.report(error)

    def _contents(self, node: Node, depth: int) -> Directory:
        if depth == 0:
            return self.file_system.root_directory(self.claims)
        label = DirectoryLabel(node)
        if depth > MAX_DEPTH:
            raise FormatError(
                f"{label} is more than {MAX_DEPTH:,} directories deep; {_REMEDY}", _WHERE, node.details.offset
            )
        return self.file_system.chained(node.details.first_cluster, self.claims, label, node.details.offset)

    def _add_children(self, node: Node, directory: Directory) -> list[Node]:
        """Give a directory its entries; return those that are directories."""
        entries = node.entries
        assert entries is not None
        children = []
        for named in named_entries(directory.content):
            offset = directory.place(named.position)
            try:
                _check_name(node, entries, named.name, offset)
                child = self._child(node, named, offset)
            except FormatError as error:
                self._say(error)
                continue
            child.parent, child.name = node, named.name
            entries[named.name] = child
            if child.entries is not None:
                children.append(child)
        return children

    def _child(self, directory: Node, named: Named, offset: int) -> Node:
        entry = named.entry
        # Other types have something of OS/2's in the upper half.
        upper = entry.fst_clus_hi if self.layout.bits == 32 else 0
        first = upper << 16 | entry.fst_clus_lo
        details = Details(
            entry.attributes,
            entry.name,
            first,
            offset,
            moment(entry.crt_date, entry.crt_time, entry.crt_time_tenth),
            moment(entry.lst_acc_date, 0),
        )
        mtime_ns = moment(entry.wrt_date, entry.wrt_time)
        if entry.attributes & ATTR_DIRECTORY:
            return Node(DIRECTORY_MODE, mtime_ns, details)
        mode = FILE_MODE & ~_WRITE if entry.attributes & ATTR_READ_ONLY else FILE_MODE
        node = Node(mode, mtime_ns, details)
        self._give_data(node, entry.file_size, FileLabel(directory, named.name))
        return node

    def _give_data(self, node: Node, size: int, label: FileLabel) -> None:
        """Find where a file's bytes are. A chain may be longer than the file, as fallocate leaves it."""
        first, offset = node.details.first_cluster, node.details.offset
        if not first and not size:
            return
        step = self.layout.cluster_size
        runs = self.file_system.table.chain(first, self.claims, label, offset)
        held = sum(stop - start for start, stop in runs) * step
        if held < size:
            raise FormatError(
                f"{label}: the file has {size:,} bytes, its chain {held:,}; {_REMEDY}",
                "DIR_FileSize",
                offset + 28,
            )
        if size:
            places = [(self.layout.cluster_offset(start), (stop - start) * step) for start, stop in runs]
            node.size, node.data = size, self.window.data(places, size)


def _check_name(directory: Node, entries: Container[bytes], name: bytes, offset: int) -> None:
    """Refuse what no directory can hold; a long name that is such was passed over for the short one."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        where = DirectoryLabel(directory)
        raise FormatError(f"{where} has an entry named {show(name)!r}; {_REMEDY}", "DIR_Name", offset)
    if name in entries:
        raise FormatError(
            f"{FileLabel(directory, name)}: the name stands twice; {_REMEDY}", "DIR_Name", offset
        )
