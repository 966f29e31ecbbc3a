"""ext4's laws on random trees and sizes, read back by a reader that knows the specification alone.

The reader walks superblock, descriptors, inodes, extents or block pointers, and directories; it shares no
code with the writer, and counts every block that anything owns.
"""

from __future__ import annotations

import stat
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import CapacityError, SpecError
from imgwriter.ext4 import Parameters, minimum_size, plan
from imgwriter.extent import Volume, extent
from imgwriter.tree.inventory import Inode, Inventory
from tests import trees
from tests.unit.ext4.support import parameters

pytestmark = pytest.mark.property

KiB, MiB = 1 << 10, 1 << 20

FEATURES = {
    "ext4": (
        "",
        "^metadata_csum",
        "^64bit",
        "^flex_bg",
        "^extent,^64bit",
        "^resize_inode",
        "^sparse_super,^resize_inode",
        "orphan_file",
        "^has_journal,^dir_index",
    ),
    "ext3": ("", "^dir_index", "extent"),
    "ext2": ("", "^sparse_super,^resize_inode"),
}


@st.composite
def requests(draw: st.DrawFn) -> Parameters:
    """Draw what is asked of a file system."""
    fs_type = draw(st.sampled_from(sorted(FEATURES)))
    asked: dict[str, Any] = {
        "fs_type": fs_type,
        "block_size": draw(st.sampled_from((1024, 2048, 4096))),
        "features": draw(st.sampled_from(FEATURES[fs_type])),
        "inode_ratio": draw(st.sampled_from((None, None, 1024, 64 * KiB, 64 * MiB))),
        "inodes": draw(st.sampled_from((None, None, 1, 100, 1000, 60_000))),
    }
    return parameters(**asked)


# --- trees ---

NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
XATTRS = st.dictionaries(
    st.sampled_from((b"user.a", b"user.bb", b"trusted.c", b"security.d")), st.binary(max_size=150), max_size=3
)
PATTERN = bytes(i % 251 for i in range(5020))
LENGTHS = st.one_of(
    st.integers(0, 9000), st.sampled_from((0, 1, 1023, 1024, 4095, 4096, 4097, 12 * 1024, 300_000))
)


@st.composite
def regular(draw: st.DrawFn) -> Inode:
    """Draw a regular file, with holes or without."""
    length = draw(LENGTHS)
    inode = trees.file((PATTERN * (length // len(PATTERN) + 1))[:length])
    if length and draw(st.booleans()):
        cuts = sorted(draw(st.sets(st.integers(0, length), max_size=20)))
        inode.runs = tuple(zip(cuts[::2], cuts[1::2], strict=False))
    inode.xattrs = draw(XATTRS)
    return inode


LEAVES = st.one_of(
    regular(),
    st.binary(min_size=1, max_size=1023).filter(lambda target: b"\0" not in target).map(trees.symlink),
    st.tuples(
        st.sampled_from((stat.S_IFCHR, stat.S_IFBLK)), st.integers(0, 4095), st.integers(0, 0xFFFFF)
    ).map(lambda node: trees.device(*node)),
    st.integers(0, 700).map(lambda n: trees.directory({b"%0100d" % i: trees.file() for i in range(n)})),
)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Draw a tree; some inodes have several names."""
    branch = st.recursive(
        LEAVES, lambda below: st.dictionaries(NAMES, below, max_size=6).map(trees.directory)
    )
    # Hypothesis also draws the constants of the code: a file called lost+found is refused at the top.
    names = NAMES.filter(lambda name: name != b"lost+found")
    top = draw(st.dictionaries(names, regular(), max_size=5)) | {b"tree": draw(branch)}
    files = [inode for inode in top.values() if inode.entries is None]
    for index, inode in enumerate(files[:2]):
        top[b"another name %d" % index] = inode
    return trees.inventory(top)


# --- the reader ---


class Reader:
    """Reads an ext2, ext3 or ext4 file system and counts what owns its blocks.

    Spec: kernel Documentation/filesystems/ext4: super.rst, group_descr.rst, inodes.rst, ifork.rst,
    directory.rst.
    """

    def __init__(self, volume: Volume) -> None:
        raw = volume.read(0, min(volume.size, 16 * MiB))
        self.volume, self.cache, self.cached = volume, raw, len(raw)
        sb = raw[1024:2048]
        words = struct.unpack("<14I", sb[:56])
        self.inodes_count, self.blocks_count, _, self.free_blocks, self.free_inodes, self.first = words[:6]
        self.size = 1024 << words[6]
        self.per_group, self.inodes_per_group = words[8], words[10]
        self.compat, self.incompat, self.ro_compat = struct.unpack("<III", sb[0x5C:0x68])
        self.reserved_gdt = struct.unpack("<H", sb[0xCE:0xD0])[0]
        self.desc_size = struct.unpack("<H", sb[0xFE:0x100])[0] if self.incompat & 0x80 else 32
        self.groups = -(-(self.blocks_count - self.first) // self.per_group)
        self.owners: Counter[int] = Counter()
        table = self.read((self.first + 1) * self.size, self.groups * self.desc_size)
        self.descriptors = [
            struct.unpack("<IIIHHHH", table[i : i + 20]) for i in range(0, len(table), self.desc_size)
        ]

    def read(self, start: int, length: int) -> bytes:
        if start + length <= self.cached:
            return self.cache[start : start + length]
        return self.volume.read(start, length)

    def block(self, number: int) -> bytes:
        return self.read(number * self.size, self.size)

    def has_backup(self, group: int) -> bool:
        if group < 2 or not self.ro_compat & 1:
            return True
        for base in (3, 5, 7):
            power = base
            while power < group:
                power *= base
            if power == group:
                return True
        return False

    def own_metadata(self) -> None:
        desc_blocks = -(-self.groups * self.desc_size // self.size)
        table_blocks = self.inodes_per_group * 256 // self.size
        for group, (block_bitmap, inode_bitmap, table, *_) in enumerate(self.descriptors):
            start = self.first + group * self.per_group
            if self.has_backup(group):
                # The reserved blocks are the resize inode's where there is one.
                self.owners.update(range(start, start + 1 + desc_blocks))
            self.owners.update((block_bitmap, inode_bitmap))
            self.owners.update(range(table, table + table_blocks))

    def inode(self, number: int) -> bytes:
        group, index = divmod(number - 1, self.inodes_per_group)
        return self.read(self.descriptors[group][2] * self.size + index * 256, 256)

    def mapping(self, raw: bytes) -> dict[int, int]:
        """Return {logical block: block}, and count mapping blocks as owned."""
        flags = struct.unpack("<I", raw[32:36])[0]
        result: dict[int, int] = {}
        if flags & 0x80000:
            self.extents(raw[40:100], result)
            return result
        pointers = struct.unpack("<15I", raw[40:100])
        result = {i: p for i, p in enumerate(pointers[:12]) if p}
        base = 12
        for level in (1, 2, 3):
            self.pointers(pointers[11 + level], level, base, result)
            base += (self.size // 4) ** level
        return result

    def extents(self, node: bytes, result: dict[int, int]) -> None:
        magic, entries, most, depth = struct.unpack("<HHHH", node[:8])
        assert magic == 0xF30A
        assert entries <= most
        for at in range(12, 12 + 12 * entries, 12):
            if depth:
                _, low, high = struct.unpack("<IIH", node[at : at + 10])
                self.owners[low | high << 32] += 1
                self.extents(self.block(low | high << 32), result)
            else:
                logical, count, high, low = struct.unpack("<IHHI", node[at : at + 12])
                assert 0 < count <= 32768
                assert logical not in result
                result.update({logical + i: (low | high << 32) + i for i in range(count)})

    def pointers(self, number: int, level: int, base: int, result: dict[int, int]) -> None:
        if not number:
            return
        self.owners[number] += 1
        span = (self.size // 4) ** (level - 1)
        for index, pointer in enumerate(struct.unpack(f"<{self.size // 4}I", self.block(number))):
            if pointer and level > 1:
                self.pointers(pointer, level - 1, base + index * span, result)
            elif pointer:
                result[base + index] = pointer

    def content(self, number: int) -> bytes:
        """Return a file's bytes, its blocks counted as owned."""
        raw = self.inode(number)
        mapping = self.mapping(raw)
        self.owners.update(mapping.values())
        size = struct.unpack("<I", raw[4:8])[0] | struct.unpack("<I", raw[108:112])[0] << 32
        hole = bytes(self.size)
        if not mapping:
            return bytes(size)
        blocks = (self.block(mapping[i]) if i in mapping else hole for i in range(-(-size // self.size)))
        return b"".join(blocks)[:size]

    def own(self, number: int) -> None:
        """Count what a special inode owns, without reading it."""
        self.owners.update(self.mapping(self.inode(number)).values())

    def entries(self, number: int) -> dict[bytes, tuple[int, int]]:
        """Return {name: (inode, file_type)} of a directory, linear or not: an htree's nodes look empty."""
        content, result = self.content(number), {}
        for block in range(0, len(content), self.size):
            at = block
            while at < block + self.size:
                inode, length, name_len, kind = struct.unpack("<IHBB", content[at : at + 8])
                assert length >= 8 + name_len
                assert length % 4 == 0
                if inode:
                    name = content[at + 8 : at + 8 + name_len]
                    assert name not in result
                    result[name] = (inode, kind)
                at += length
            assert at == block + self.size
        return result


def bitmap_of(used: list[int], count: int, size: int) -> bytes:
    """Return a bitmap of ``size`` bytes: the ``used`` bits, and all from ``count`` on."""
    digits = bytearray(b"0" * count + b"1" * (size * 8 - count))
    for bit in used:
        digits[bit] = 0x31
    return int(digits[::-1], 2).to_bytes(size, "little")


def bits(bitmap: bytes, count: int) -> int:
    """Return how many of the first ``count`` bits are set."""
    return (int.from_bytes(bitmap, "little") & ((1 << count) - 1)).bit_count()


KIND = {0o100000: 1, 0o040000: 2, 0o020000: 3, 0o060000: 4, 0o010000: 5, 0o140000: 6, 0o120000: 7}


def walk(reader: Reader, tree: Inventory) -> set[int]:
    """Compare every name, type, link count and content with the tree; return the inodes in use."""
    links: Counter[int] = Counter()
    numbers: dict[int, Inode] = {2: tree.root}
    attribute_blocks: Counter[int] = Counter()
    pending: list[tuple[int, int, Inode | None]] = [(2, 2, tree.root)]
    while pending:
        number, parent, inode = pending.pop()
        entries = reader.entries(number)
        assert entries.pop(b".") == (number, 2)
        assert entries.pop(b"..") == (parent, 2)
        links.update((number, parent))
        wanted = dict(inode.entries or {}) if inode else {}
        if inode is tree.root:
            pending.append((11, 2, wanted.pop(b"lost+found", None)))
            assert entries.pop(b"lost+found") == (11, 2)
        assert entries.keys() == wanted.keys()
        for name, child in wanted.items():
            found, kind = entries[name]
            assert kind == KIND[child.mode & 0o170000]
            links[found] += 1
            if child.entries is not None:
                pending.append((found, number, child))
            assert numbers.setdefault(found, child) is child
    assert len({id(inode) for inode in numbers.values()}) == len(numbers), "one number an inode"
    for number, inode in numbers.items():
        raw = reader.inode(number)
        mode, count, acl = struct.unpack("<H", raw[:2])[0], struct.unpack("<H", raw[26:28])[0], raw[104:108]
        assert mode == inode.mode
        assert count == links[number], number
        attribute_blocks[int.from_bytes(acl, "little")] += 1
        if stat.S_ISREG(mode):
            assert reader.content(number) == whole(inode)
        elif stat.S_ISLNK(mode):
            target = raw[40 : 40 + len(inode.target)] if len(inode.target) < 60 else reader.content(number)
            assert target == inode.target
    del attribute_blocks[0]
    for block, references in attribute_blocks.items():
        magic, refcount = struct.unpack("<II", reader.block(block)[:8])
        assert (magic, refcount) == (0xEA020000, references)
        reader.owners[block] += 1
    return {*numbers, 11}


def whole(inode: Inode) -> bytes:
    """Return a file's bytes: data in its runs, zeros in its holes."""
    result = bytearray(inode.size)
    if inode.data is not None:
        for start, end in inode.data_runs():
            result[start:end] = b"".join(bytes(chunk) for chunk in inode.data.chunks(start, end))
    return bytes(result)


def own_special(reader: Reader) -> set[int]:
    """Count what the resize inode, the journal and the orphan file own; return the numbers in use."""
    if reader.compat & 0x10:
        raw = reader.inode(7)
        mapping = reader.mapping(raw)  # the reserved blocks of group 0 are its pointers, the copies its data
        reader.owners.update(mapping.values())
    if reader.compat & 0x4:
        reader.own(8)
    if reader.compat & 0x1000:
        number = struct.unpack("<I", reader.read(1024 + 0x280, 4))[0]
        reader.own(number)
        return {number}
    return set()


def check(volume: Volume, tree: Inventory) -> None:
    """Assert the laws of one image."""
    reader = Reader(volume)
    reader.own_metadata()
    used = walk(reader, tree) | own_special(reader) | set(range(1, 11))
    assert max(reader.owners.values()) == 1, "no block has two owners"
    assert reader.free_blocks == reader.blocks_count - reader.first - len(reader.owners)
    assert reader.free_inodes == reader.inodes_count - len(used)
    assert used == set(range(1, len(used) + 1))
    lazy = reader.ro_compat & 0x400
    total_blocks = total_inodes = 0
    for group, descriptor in enumerate(reader.descriptors):
        block_bitmap, inode_bitmap, _, free_blocks, free_inodes, _, flags = descriptor
        start = reader.first + group * reader.per_group
        count = min(reader.per_group, reader.blocks_count - start)
        mine = [b - start for b in reader.owners if start <= b < start + count]
        assert free_blocks == count - len(mine)
        total_blocks += free_blocks
        total_inodes += free_inodes
        if flags & 2:
            assert lazy
        else:
            assert reader.block(block_bitmap) == bitmap_of(mine, count, reader.size)
        if flags & 1:
            assert lazy
            assert free_inodes == reader.inodes_per_group
        else:
            content = reader.block(inode_bitmap)
            assert bits(content, reader.inodes_per_group) == reader.inodes_per_group - free_inodes
    assert total_blocks == reader.free_blocks
    assert total_inodes == reader.free_inodes


@given(inventories(), requests(), st.sampled_from((0, 0, 1, 5, 100, 9000)))
def test_every_block_has_one_owner_and_every_name_its_inode(
    tree: Inventory, asked: Parameters, more: int
) -> None:
    size = minimum_size(tree, asked) + more * asked.block_size
    made = plan(tree, asked, size)
    check(made.volume(), tree)


@given(inventories(), requests(), st.one_of(st.integers(0, 3 * MiB), st.sampled_from((30 * MiB, 500 * MiB))))
def test_the_minimum_is_exact(tree: Inventory, asked: Parameters, spare: int) -> None:
    size = minimum_size(tree, asked, spare)
    assert size % asked.block_size == 0
    assert plan(tree, asked, size).free >= spare
    try:
        less = plan(tree, asked, size - asked.block_size)
    except (CapacityError, SpecError):
        return
    assert less.free < spare


@given(st.integers(400 * MiB, 530 * MiB), st.sampled_from((1024, 4096)))
def test_the_minimum_is_exact_around_512_mebibytes(length: int, block_size: int) -> None:
    tree = trees.inventory({b"f": trees.zeros(length)})
    asked = parameters(block_size=block_size)
    size = minimum_size(tree, asked)
    plan(tree, asked, size)
    with pytest.raises(CapacityError):
        plan(tree, asked, size - block_size)


@given(inventories(), requests(), st.data())
def test_damage_is_noticed(tree: Inventory, asked: Parameters, data: st.DataObject) -> None:
    """The reader is a judge: a block that two own, or that no bitmap knows, is an error."""
    made = plan(tree, asked, minimum_size(tree, asked) + 300 * asked.block_size)
    volume = made.volume()
    content = bytearray(volume.read(0, min(volume.size, 64 * MiB)))
    bitmap = made.geometry.tables.block_bitmaps[0] * asked.block_size
    byte = data.draw(st.integers(0, made.geometry.blocks_per_group // 8 - 1))
    content[bitmap + byte] ^= 1 << data.draw(st.integers(0, 7))
    damaged = trees.file(bytes(content))
    assert damaged.data is not None
    with pytest.raises(AssertionError):
        check(Volume(volume.size, [extent(0, damaged.data, "all")]), tree)
