"""The tree of a file system that is read: from the root directory down, every inode once.

::

    directory ── map ──> blocks ── names ──> inode numbers ── table ──> InodeRecord ──> Inode
                                     └──────── a directory: read in its turn

What is not reached from the root is not there: inodes without a name, as a crash leaves them, among them.

Spec: kernel Documentation/filesystems/ext4/: directory.rst, ifork.rst ("Inline Data"), special_inodes.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping

from imgwriter.errors import FormatError, show
from imgwriter.ext4 import directory_reader
from imgwriter.ext4 import features as f
from imgwriter.ext4.checksum import inode_seed
from imgwriter.ext4.device import Device, Part, damaged
from imgwriter.ext4.format import (
    EXT4_COMPR_FL,
    EXT4_EA_INODE_FL,
    EXT4_ENCRYPT_FL,
    EXT4_INLINE_DATA_FL,
    EXT4_ROOT_INO,
)
from imgwriter.ext4.inode_reader import InodeReader, InodeRecord
from imgwriter.ext4.map_reader import LOGICAL_END, Claims, MapReader
from imgwriter.ext4.superblock_reader import SuperblockValues
from imgwriter.ext4.xattr_reader import XattrReader
from imgwriter.extent import Bytes
from imgwriter.filedata import Concatenated
from imgwriter.tree.inventory import Inode, Run
from imgwriter.units import SECTOR, div_ceil

_I_BLOCK_SIZE = 60
_INLINE_PARENT_SIZE = 4
"""Bytes of the parent's number, with which an inline directory begins."""
_XATTR_VALUE_MAX = 1 << 24
"""EXT4_XATTR_SIZE_MAX."""
_KINDS = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}
_NOT_READ = {EXT4_ENCRYPT_FL: ("encrypted", "encrypt"), EXT4_COMPR_FL: ("compressed", "compression")}


class Node(Inode):
    """An Inode with what its file system has besides.

    Attributes:
        number: Its inode number.
        ctime_ns: When it was last changed in any way, in nanoseconds since the epoch.
    """

    __slots__ = ("ctime_ns", "number")

    def __init__(self, record: InodeRecord, xattrs: Mapping[bytes, bytes], origin: str) -> None:
        super().__init__(record.mode, record.uid, record.gid, record.mtime_ns, xattrs=xattrs, origin=origin)
        self.number = record.number
        self.ctime_ns = record.ctime_ns


class TreeReader:
    """Reads the tree, each inode once: all of it, or those directories that are asked for.

    Args:
        origin: Where the inodes come from, for messages (``Inode.origin``).
        verify: Check every checksum on the way.
    """

    def __init__(self, device: Device, superblock: SuperblockValues, origin: str, verify: bool) -> None:
        self._device = device
        self._superblock = superblock
        self._origin = origin
        self._seed = superblock.seed if verify and superblock.metadata_csum else None
        self._claims = Claims(device)
        self._inodes = InodeReader(device, superblock, verify)
        self._maps = MapReader(device, superblock, self._claims, verify)
        self._xattrs = XattrReader(device, superblock, self._value, self._claims.structure, verify)
        self._values: dict[int, bytes] = {}
        self._found: dict[int, Inode] = {}
        self._contents: list[tuple[Inode, list[Part]]] = []
        self._unread: dict[Inode, tuple[InodeRecord, bytes | None]] = {}

    def read(self) -> Inode:
        """Return the root directory, with all that is below it.

        Raises:
            FormatError: A structure on the way is damaged, or a file is encrypted.
            SourceError: The volume cannot be read.
        """
        root = self.root()
        while self._unread:
            self.expand(next(reversed(self._unread)))
        self.settle()
        return root

    def root(self) -> Inode:
        """Return the root directory, without its entries.

        Raises:
            FormatError, SourceError: As :meth:`read`.
        """
        root = self._found.get(EXT4_ROOT_INO) or self._inode(EXT4_ROOT_INO)
        if root.entries is None:
            raise damaged("the root is no directory", f"ext4 inode {EXT4_ROOT_INO}", self._device.offset)
        return root

    def expand(self, directory: Inode) -> None:
        """Give a directory its entries, unless it has them: files without contents, directories unread.

        Raises:
            FormatError, SourceError: As :meth:`read`.
        """
        unread = self._unread.pop(directory, None)
        if unread is not None:
            self._read_directory(directory, *unread)

    def settle(self) -> None:
        """Give the files that were found by now their contents.

        Raises:
            FormatError: Two of them have a block in common.
        """
        self._claims.refuse_shared()
        # Now that no two files have a block in common, they have no more pieces than the Volume.
        for inode, parts in self._contents:
            inode.data = self._device.data(parts, inode.size)
        self._contents.clear()

    def record(self, inode: Inode) -> InodeRecord:
        """Return what stands in the inode of a file of this tree."""
        assert isinstance(inode, Node)
        return self._inodes.read(inode.number)

    def _read_directory(self, directory: Inode, record: InodeRecord, inline_data: bytes | None) -> None:
        entries = directory.entries
        assert entries is not None
        where = f"ext4 directory, inode {record.number}"
        found, number_of_inodes, first = self._found, self._superblock.inodes, self._superblock.first_inode
        dots = [] if inline_data is not None else [b".", b".."]
        for content, offset in self._directory_parts(record, inline_data):
            for name, number in directory_reader.names(content, number_of_inodes, record.number, offset):
                if name == b"." or name == b"..":
                    if name not in dots or entries:
                        message = f"the directory inode {record.number:,} has {show(name)!r} among its names"
                        raise damaged(message, where, offset)
                    dots.remove(name)
                    continue
                inode = found.get(number)
                if inode is None:
                    if number < first:
                        message = (
                            f"{show(name)!r} in inode {record.number:,} leads to reserved inode {number:,}"
                        )
                        raise damaged(message, where, offset)
                    inode = self._inode(number)
                elif inode.entries is not None:
                    message = f"the directory inode {number:,} has another name, {show(name)!r} in inode"
                    raise damaged(f"{message} {record.number:,}", where, offset)
                if name in entries:
                    message = f"the directory inode {record.number:,} has the name {show(name)!r} twice"
                    raise damaged(message, where, offset)
                entries[name] = inode

    def _directory_parts(self, record: InodeRecord, inline_data: bytes | None) -> Iterator[tuple[bytes, int]]:
        """Yield (bytes, their offset in the Volume) of each chain of entries of a directory."""
        if inline_data is not None:
            yield record.i_block[_INLINE_PARENT_SIZE:], record.offset
            yield inline_data, record.offset
            return
        block_size = self._superblock.block_size
        where = f"ext4 directory, inode {record.number}"
        count = div_ceil(record.size, block_size)
        end = 0
        for logical, start, length in self._maps.pieces(record):
            if logical != end:
                break
            for place in range(logical, min(logical + length, count)):
                block = start + place - logical
                self._claims.read(block, record.number, where)
                content, offset = self._device.block(block), self._device.block_offset(block)
                if self._seed is not None:
                    seed = inode_seed(self._seed, record.number, record.generation)
                    directory_reader.verify_block(content, seed, record, place, offset)
                yield content, offset
            end = logical + length
        if end < count:
            message = f"the directory inode {record.number:,} has no block {end:,}, of {count:,}"
            raise damaged(message, where, record.offset)

    def _inode(self, number: int) -> Inode:
        """Return the inode of that number, which no name has led to yet."""
        record = self._inodes.read(number)
        kind = stat.S_IFMT(record.mode)
        where = f"ext4 inode {number}"
        if kind not in _KINDS or not record.links or record.flags & EXT4_EA_INODE_FL:
            message = (
                f"inode {number:,} has a name, and mode {record.mode:#o}, {record.links} links and i_flags"
            )
            message += f" {record.flags:#x}"
            raise damaged(message, where, record.offset)
        for flag, (what, name) in _NOT_READ.items():
            if record.flags & flag:
                message = f"inode {number:,} is {what}, which is not read; copy its files where it is mounted"
                raise FormatError(message, f"{where}, feature {name}", record.offset)
        xattrs, inline_data = self._xattrs.read(record)
        if not record.flags & EXT4_INLINE_DATA_FL:
            inline_data = None
        elif inline_data is None:
            raise damaged(f"inode {number:,} has inline data without system.data", where, record.offset)
        inode = Node(record, xattrs, self._origin)
        if kind == stat.S_IFREG:
            self._set_content(inode, record, inline_data)
        elif kind == stat.S_IFDIR:
            self._unread[inode] = record, inline_data
        elif kind == stat.S_IFLNK:
            inode.target = self._target(record, inline_data)
            inode.size = len(inode.target)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            inode.rdev = _device_number(record.i_block)
        self._found[number] = inode
        return inode

    def _set_content(self, inode: Inode, record: InodeRecord, inline_data: bytes | None) -> None:
        inode.size = size = record.size
        block_size = self._superblock.block_size
        if size > LOGICAL_END * block_size:
            message = f"inode {record.number:,} has i_size {size:,}, more than {LOGICAL_END * block_size:,}"
            raise damaged(message, f"ext4 inode {record.number}, i_size", record.offset)
        if inline_data is not None:
            self._set_inline(inode, (record.i_block + inline_data)[:size])
            return
        runs: list[Run] = []
        parts: list[Part] = []
        for logical, start, length in self._maps.pieces(record):
            low, high = logical * block_size, min((logical + length) * block_size, size)
            if low >= high:
                break
            parts.append((low, start * block_size, high - low))
            if runs and runs[-1][1] == low:
                runs[-1] = runs[-1][0], high
            else:
                runs.append((low, high))
        if not parts:
            inode.runs = () if size else None
            return
        self._contents.append((inode, parts))
        inode.runs = None if runs == [(0, size)] else runs

    def _set_inline(self, inode: Inode, content: bytes) -> None:
        """Set the content of a file without blocks; mke2fs -d makes some larger than what is there."""
        if len(content) == inode.size:
            inode.data = Bytes(content) if content else None
        else:
            inode.data = Concatenated([(0, Bytes(content))], inode.size)
            inode.runs = ((0, len(content)),)

    def _target(self, record: InodeRecord, inline_data: bytes | None) -> bytes:
        """Return what a symlink points to. Spec: fs/ext4/inode.c, ext4_inode_is_fast_symlink()."""
        size = record.size
        where = f"ext4 inode {record.number}"
        attributes = self._superblock.cluster_size // SECTOR if record.file_acl else 0
        if inline_data is not None:
            target = (record.i_block + inline_data)[:size]
        elif record.sectors == attributes and size < _I_BLOCK_SIZE:
            target = record.i_block[:size]
        else:
            target = self._whole(record, self._superblock.block_size, where)
        target = target.partition(b"\0")[0]
        if not target:
            raise damaged(f"the symlink inode {record.number:,} points to nothing", where, record.offset)
        return target

    def _whole(self, record: InodeRecord, most: int, where: str) -> bytes:
        """Return the content of a small file, all of whose blocks are there."""
        block_size = self._superblock.block_size
        count = div_ceil(record.size, block_size)
        blocks: list[int] = []
        if record.size <= most:
            for logical, start, length in self._maps.pieces(record):
                if logical != len(blocks) or logical >= count:
                    break
                blocks.extend(range(start, start + min(length, count - logical)))
        if len(blocks) != count or not count:
            message = f"inode {record.number:,} has i_size {record.size:,}, and not {count:,} blocks for it"
            raise damaged(f"{message} (of {most:,} bytes at most)", where, record.offset)
        content = []
        for block in blocks:
            self._claims.read(block, record.number, where)
            content.append(self._device.block(block))
        return b"".join(content)[: record.size]

    def _value(self, number: int, size: int, owner: InodeRecord) -> bytes:
        """Return the value of an attribute that has an inode of its own; many may share it."""
        where = f"ext4 inode {owner.number}, extended attributes"
        if number > self._superblock.inodes or not self._superblock.features.has(f.Incompat.EA_INODE):
            message = f"a value of inode {owner.number:,} would be in inode {number:,}"
            raise damaged(message, f"{where}, e_value_inum", owner.offset)
        value = self._values.get(number)
        if value is None:
            record = self._inodes.read(number)
            if not record.flags & EXT4_EA_INODE_FL:
                message = f"inode {number:,} holds no value, but is said to by inode {owner.number:,}"
                raise damaged(message, where, record.offset)
            value = self._values[number] = self._whole(record, _XATTR_VALUE_MAX, f"ext4 inode {number}")
        if len(value) != size:
            message = f"a value of inode {owner.number:,} has e_value_size {size:,} and, in inode {number:,},"
            raise damaged(f"{message} {len(value):,} bytes", where, owner.offset)
        return value


def _device_number(i_block: bytes) -> tuple[int, int]:
    """Return (major, minor): of the old form where that is not zero, else of the new one.

    Spec: include/linux/kdev_t.h, old_decode_dev and new_decode_dev.
    """
    old = int.from_bytes(i_block[:4], "little")
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    new = int.from_bytes(i_block[4:8], "little")
    return (new & 0xFFF00) >> 8, (new & 0xFF) | (new >> 12 & 0xFFF00)
