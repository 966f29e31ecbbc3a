"""A plan becomes a Volume: every structure at its place, file data by reference.

Nothing is decided here. Inode tables and directories are made when they are written, so that they
are never all in memory and their making can run beside the copying of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from imgwriter.errors import show
from imgwriter.ext4 import features as f
from imgwriter.ext4.allocation import Allocation, Mapped
from imgwriter.ext4.checksum import crc32c, inode_seed
from imgwriter.ext4.checksum import fs_seed as seed_of
from imgwriter.ext4.demand import Demand, directory_entries, number_at
from imgwriter.ext4.directory import empty_block, encode_directory
from imgwriter.ext4.format import (
    EXT4_JOURNAL_INO,
    EXT4_ORPHAN_BLOCK_MAGIC,
    INODE_SIZE,
    ORPHAN_TAIL,
    SUPERBLOCK_OFFSET,
)
from imgwriter.ext4.geometry import Geometry
from imgwriter.ext4.groups import Groups, plan_groups, runs_of
from imgwriter.ext4.inodes import InodeEncoder, SpecialInode, special_inodes
from imgwriter.ext4.journal import journal_superblock
from imgwriter.ext4.resize_inode import plan_resize_inode
from imgwriter.ext4.superblock import SuperblockEncoder
from imgwriter.ext4.xattr import finish_block
from imgwriter.extent import CHUNK, Buffer, Bytes, Data, Extent, Generated, Volume, extent
from imgwriter.filedata import PACK_LIMIT, Part, pack, part
from imgwriter.tree.inventory import Inode
from imgwriter.units import align_up

_FILE_TYPES = {
    0o100000: 1,
    0o040000: 2,
    0o020000: 3,
    0o060000: 4,
    0o010000: 5,
    0o140000: 6,
    0o120000: 7,
}
"""EXT4_FT_* by the type bits of i_mode."""


def encode(demand: Demand, geometry: Geometry, allocation: Allocation, size: int) -> Volume:
    """Return the file system as a Volume of ``size`` bytes."""
    return _Encoder(demand, geometry, allocation).volume(size)


class _Encoder:
    def __init__(self, demand: Demand, geometry: Geometry, allocation: Allocation) -> None:
        self.demand = demand
        self.geometry = geometry
        self.allocation = allocation
        self.block_size = geometry.block_size
        self.uuid = demand.parameters.uuid
        csum = geometry.features.has(f.RoCompat.METADATA_CSUM)
        self.fs_seed = seed_of(self.uuid) if csum else None

    def volume(self, size: int) -> Volume:
        return Volume(size, self._extents())

    def _extents(self) -> Iterator[Extent]:
        geometry, allocation = self.geometry, self.allocation
        groups = plan_groups(self.demand, geometry, allocation, self.fs_seed)
        resize: SpecialInode | None = None
        if allocation.resize_block:
            resize, blocks = plan_resize_inode(geometry, allocation.resize_block)
            yield from self._blocks(blocks, "resize inode")
        specials, blocks = special_inodes(self.demand, geometry, allocation, resize, self.fs_seed)
        inodes = InodeEncoder(self.demand, geometry, allocation, specials, self.fs_seed)
        yield from self._blocks(blocks + inodes.map_blocks(), "extent trees")
        yield from self._supers(groups, specials.get(EXT4_JOURNAL_INO))
        yield from self._blocks(groups.bitmaps, "bitmaps")
        yield from self._inode_tables(inodes)
        if allocation.journal:
            superblock = journal_superblock(
                sum(p.length for p in allocation.journal.pieces), self.block_size, self.uuid
            )
            yield self._at(allocation.journal.pieces[0].start, Bytes(superblock), "journal superblock")
        if allocation.orphan:
            yield from self._blocks(self._orphan_blocks(allocation.orphan), "orphan file")
        yield from self._blocks(self._xattr_blocks(), "extended attributes")
        yield from self._directories()
        yield from self._files()

    def _at(self, block: int, data: Data, label: object) -> Extent:
        return extent(block * self.block_size, data, label)

    def _blocks(self, blocks: list[tuple[int, bytes]], label: str) -> Iterator[Extent]:
        for first, content in runs_of(blocks):
            yield self._at(first, Bytes(content), label)

    def _supers(self, groups: Groups, journal: SpecialInode | None) -> Iterator[Extent]:
        geometry = self.geometry
        encoder = SuperblockEncoder(self.demand, geometry, self.allocation, groups, journal, self.fs_seed)
        descriptors = Bytes(groups.descriptors)
        for group in sorted(geometry.backup_groups | {0}):
            start = geometry.group_start(group) * self.block_size
            at = SUPERBLOCK_OFFSET if group == 0 else start
            which = "backup " if group else ""
            yield extent(at, Bytes(encoder.encode(group)), f"{which}superblock, group {group}")
            table = (geometry.group_start(group) + 1) * self.block_size
            yield extent(table, descriptors, f"{which}group descriptors, group {group}")

    def _inode_tables(self, inodes: InodeEncoder) -> Iterator[Extent]:
        per_group = self.geometry.inodes_per_group
        for group, block in enumerate(self.geometry.tables.inode_tables):
            used = self.demand.last_inode - group * per_group
            if used <= 0:
                return
            length = align_up(min(used, per_group) * INODE_SIZE, self.block_size)
            yield self._at(
                block, Generated(length, _table_producer(inodes, group)), f"inode table, group {group}"
            )

    def _orphan_blocks(self, orphan: Mapped) -> list[tuple[int, bytes]]:
        number = self.demand.last_inode
        body = bytes(self.block_size - ORPHAN_TAIL.size)
        blocks = []
        for _, start, count in orphan.pieces:
            for block in range(start, start + count):
                checksum = 0
                if self.fs_seed is not None:
                    seed = crc32c(block.to_bytes(8, "little"), inode_seed(self.fs_seed, number))
                    checksum = crc32c(body, seed)
                blocks.append((block, body + ORPHAN_TAIL.pack(EXT4_ORPHAN_BLOCK_MAGIC, checksum)))
        return blocks

    def _xattr_blocks(self) -> list[tuple[int, bytes]]:
        numbers = self.allocation.xattr_blocks
        return [
            (number, finish_block(shared.content, shared.refcount, number, self.fs_seed))
            for number, shared in zip(numbers, self.demand.xattr_blocks, strict=True)
        ]

    def _directories(self) -> Iterator[Extent]:
        """Yield every directory: neighbours packed into one extent, those in pieces on their own."""
        size = self.block_size
        parts: list[Part] = []
        for index, position in enumerate(self.demand.directories):
            data = _DirectoryData(self.demand, index, self.fs_seed)
            label = _DirectoryLabel(self.demand.inodes[position])
            start = self.allocation.starts[position]
            if start:
                parts.append(part(start * size, data, label))
                continue
            for logical, at, count in self.allocation.mapped[position].pieces:
                yield Extent(at * size, count * size, data, logical * size, label)
        yield from pack(parts, size)

    def _files(self) -> Iterator[Extent]:
        """Yield every file's data: short neighbours packed into one extent, long ones on their own."""
        size = self.block_size
        small: list[Part] = []
        mapped = self.allocation.mapped
        # One turn a file of the tree: nothing here is called that need not be.
        for position, (start, inode) in enumerate(
            zip(self.allocation.starts, self.demand.inodes, strict=True)
        ):
            if start:
                data = inode.data
                if data is None:
                    if inode.entries is None:
                        small.append((start * size, len(inode.target), Bytes(inode.target), inode))
                elif inode.size <= PACK_LIMIT:
                    small.append((start * size, inode.size, data, inode))
                else:
                    yield Extent(start * size, inode.size, data, 0, inode)
            elif position in mapped and inode.entries is None:
                data = inode.data if inode.data is not None else Bytes(inode.target)
                yield from self._file_pieces(mapped[position], inode, data)
        yield from pack(small, size)

    def _file_pieces(self, mapped: Mapped, inode: Inode, data: Data) -> Iterator[Extent]:
        """Yield the data runs of a file in pieces, without the bytes of its holes."""
        runs = inode.data_runs() if inode.data is not None else ((0, len(data)),)
        size = self.block_size
        index = 0
        for logical, start, count in mapped.pieces:
            low, high = logical * size, (logical + count) * size
            while index < len(runs) and runs[index][1] <= low:
                index += 1
            # By index: a slice for each of a million pieces would copy a million runs.
            following = index
            while following < len(runs) and runs[following][0] < high:
                first, last = max(runs[following][0], low), min(runs[following][1], high)
                yield Extent(start * size + first - low, last - first, data, first, inode)
                following += 1


class _DirectoryLabel:
    __slots__ = ("inode",)

    def __init__(self, inode: Inode) -> None:
        self.inode = inode

    def __str__(self) -> str:
        return f"directory {show(self.inode.path) or '/'}"


class _DirectoryData:
    """A directory's blocks, encoded when they are written."""

    __slots__ = ("demand", "fs_seed", "index")

    def __init__(self, demand: Demand, index: int, fs_seed: int | None) -> None:
        self.demand = demand
        self.index = index
        self.fs_seed = fs_seed

    def __len__(self) -> int:
        demand = self.demand
        return demand.blocks[demand.directories[self.index]] * demand.parameters.block_size

    def chunks(self, start: int, stop: int) -> Iterator[Buffer]:
        content = self.encode()
        for low, high in pairwise([*range(start, stop, CHUNK), stop]):
            yield memoryview(content)[low:high]

    def encode(self) -> bytes:
        """Return all blocks."""
        demand = self.demand
        position = demand.directories[self.index]
        inode = demand.inodes[position]
        number = number_at(position)
        parent = inode.parent if inode.parent is not None else inode
        children = directory_entries(demand, position).values()
        numbers = demand.numbers
        seed = 0 if self.fs_seed is None else inode_seed(self.fs_seed, number)
        content = encode_directory(
            demand.directory_plans[self.index],
            demand.directory_format,
            [numbers[child.index] for child in children],
            [_FILE_TYPES[child.mode & 0o170000] for child in children],
            self_inode=number,
            parent_inode=numbers[parent.index],
            inode_seed=seed,
        )
        missing = demand.blocks[position] - demand.directory_plans[self.index].blocks
        return content + empty_block(demand.directory_format, seed) * missing


def _table_producer(inodes: InodeEncoder, group: int) -> Callable[[int, int], Buffer]:
    return lambda start, stop: inodes.table(group, start, stop)
