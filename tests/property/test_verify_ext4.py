"""Single bits and whole runs of an ext4 file system changed at random: found, and never more than findings.

Every structure with a checksum loses a bit, many times: each time there must be a finding. CI takes 300 bits;
``IMGWRITER_FLIPS=10000`` takes as many as it says.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgwriter.errors import FormatError
from imgwriter.ext4 import Plan, minimum_size, plan
from imgwriter.ext4.demand import number_at
from imgwriter.ext4.format import INODE_SIZE
from imgwriter.extent import Bytes, Volume, extent
from imgwriter.verify.ext4 import verify_ext4
from imgwriter.verify.values import Result
from tests import trees
from tests.compat.ext4_images import content, everything, many
from tests.unit.ext4.images import get, put, volume
from tests.unit.ext4.support import parameters

pytestmark = pytest.mark.property

FLIPS = int(os.environ.get("IMGWRITER_FLIPS") or 300)
KINDS = (
    (1024, "orphan_file"),
    (1024, "^64bit,metadata_csum_seed"),
    (2048, "orphan_file,large_dir"),
    (4096, "^resize_inode"),
)
SIZE = 12 << 20


def verify(image: bytes | bytearray) -> Result:
    return verify_ext4(volume(image), 0, len(image))


@cache
def made(block_size: int, features: str) -> tuple[bytes, Plan]:
    """Return a file system with each structure that has a checksum, and where they are."""
    sparse = trees.file(content(200 * block_size))
    sparse.runs = tuple((i * 2 * block_size, (i * 2 + 1) * block_size) for i in range(100))
    entries = {
        b"attributes": trees.file(xattrs={b"user.a": b"12345678"}),
        b"block of attributes": trees.file(xattrs={b"user.large": bytes(range(250)) * 2}),
        b"few": many(3),
        b"file": trees.file(content(5000)),
        b"link": trees.symlink(b"l" * 20),
        b"many": many(100 * block_size // 1024, 60),
        b"sparse": sparse,
    }
    tree = trees.inventory(entries)
    wanted = parameters(block_size=block_size, features=features)
    planned = plan(tree, wanted, max(SIZE, minimum_size(tree, wanted)))
    image = planned.volume()
    return image.read(0, image.size), planned


def structures(made: Plan) -> Iterator[list[tuple[int, int]]]:
    """Yield the bytes [start, stop) that checksums cover, a list for each kind of structure.

    Left out: journals, which have none until a kernel writes one, and what follows the last descriptor, the
    last inode in use and the last entry of an htree's index, which no checksum covers and nobody reads.
    """
    geometry, allocation = made.geometry, made.allocation
    block = geometry.block_size
    groups = [g for g in range(geometry.groups) if geometry.has_super(g)]
    backups = [geometry.group_start(g) * block for g in groups if g]
    yield [(1024, 2048)]
    if backups:
        yield [(at, at + 1024) for at in backups]
    size = geometry.desc_size * geometry.groups
    yield [(at, at + size) for at in ((geometry.group_start(g) + 1) * block for g in groups)]
    full = [g for g in range(geometry.groups) if g == 0 or g == geometry.groups - 1]
    yield [(b * block, (b + 1) * block) for b in (geometry.tables.block_bitmaps[g] for g in full)]
    yield [(geometry.tables.inode_bitmaps[0] * block, (geometry.tables.inode_bitmaps[0] + 1) * block)]
    table = geometry.tables.inode_tables[0] * block
    yield [(table, table + INODE_SIZE * min(made.demand.last_inode, geometry.inodes_per_group))]
    maps = [m for mapped in allocation.mapped.values() for m in mapped.map_blocks]
    # Header, as many entries as fit, and the tail: with blocks of 2 KiB four bytes are left.
    covered = 12 + (block - 12) // 12 * 12 + 4
    yield [(m * block, m * block + covered) for m in maps]
    paths = [i.path for i in made.demand.inodes]
    yield [run for p in (b"", b"few", b"lost+found") for run in _directory(made, paths.index(p), block)]
    yield _directory(made, paths.index(b"many"), block, leaves=True)
    yield [(b * block, (b + 1) * block) for b in allocation.xattr_blocks]
    if allocation.orphan:
        yield [(p.start * block, (p.start + p.length) * block) for p in allocation.orphan.pieces]


def _directory(made: Plan, position: int, block: int, leaves: bool = False) -> list[tuple[int, int]]:
    """Return where a directory's blocks are: the first, or of an indexed one those after its root."""
    mapped = made.allocation.mapped.get(position)
    if mapped is None:
        start = made.allocation.starts[position]
        numbers = list(range(start, start + made.demand.blocks[position]))
    else:
        numbers = [n for p in mapped.pieces for n in range(p.start, p.start + p.length)]
    return [(n * block, (n + 1) * block) for n in (numbers[1:] if leaves else numbers[:1])]


def is_found(image: bytearray) -> bool:
    """Return whether there are findings; a superblock without a backup may not be one at all."""
    try:
        return bool(verify(image).findings)
    except FormatError:
        return True


@pytest.mark.parametrize(("block_size", "features"), KINDS)
def test_a_bit_of_any_structure_is_found(block_size: int, features: str) -> None:
    image, planned = made(block_size, features)
    assert verify(image) == Result()
    kinds = list(structures(planned))
    rng = random.Random(f"{block_size} {features}")
    damaged = bytearray(image)
    for _ in range(FLIPS // len(KINDS)):
        start, stop = rng.choice(rng.choice(kinds))
        at, bit = rng.randrange(start, stop), rng.randrange(8)
        damaged[at] ^= 1 << bit
        assert is_found(damaged), f"bit {bit} at {at} (of {start} to {stop})"
        damaged[at] ^= 1 << bit
    assert damaged == image


@cache
def _any(fs_type: str, features: str) -> bytes:
    wanted = parameters(block_size=1024, fs_type=fs_type, features=features)
    entries = everything(1024) | {b"index": many(40, 60), b"large": trees.file(content(70_000))}
    tree = trees.inventory(entries)
    image = plan(tree, wanted, minimum_size(tree, wanted)).volume()
    return image.read(0, image.size)


ANY = (("ext4", ""), ("ext4", "^metadata_csum,^64bit"), ("ext2", ""), ("ext3", "orphan_file"))


@given(
    which=st.sampled_from(ANY),
    changes=st.lists(
        st.tuples(
            st.integers(0, (1 << 24) - 1), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), st.integers(1, 8)
        ),
        min_size=1,
        max_size=40,
    ),
)
def test_any_damage_ends_in_findings_or_a_format_error(
    which: tuple[str, str], changes: list[tuple[int, int, int]]
) -> None:
    """Half of the changes hit the first 64 KiB, where superblock, descriptors and bitmaps are."""
    image = bytearray(_any(*which))
    for place, value, length in changes:
        at = place // 2 % ((1 << 16) if place % 2 else len(image))
        image[at : at + length] = bytes([value]) * length
    try:
        verify(image[: len(_any(*which))])
    except FormatError as error:
        assert error.offset is not None


@pytest.mark.parametrize(("fs_type", "features"), ANY[1:3])
def test_every_word_of_the_superblock_at_its_limits(fs_type: str, features: str) -> None:
    """The words up to the reserved ones, each as one, and as the largest signed and unsigned number."""
    image = _any(fs_type, features)
    for at in range(1024, 1024 + 0x284, 4):
        for value in (1, 0x7FFFFFFF, 0xFFFFFFFF):
            damaged = bytearray(image)
            put(damaged, at, "<I", value)
            try:
                verify(damaged)
            except FormatError as error:
                assert error.where


def test_a_huge_sparse_file_system_costs_what_is_stored() -> None:
    """A superblock alone says 16 TiB of groups of 256 blocks, on a disk of 16 TiB that has nothing else."""
    superblock = bytearray(_any("ext4", "^metadata_csum,^64bit,^resize_inode")[1024:2048])
    blocks = (1 << 32) - 1
    groups = -(-(blocks - 1) // 256)
    put(superblock, 0x00, "<I", 8 * groups)
    put(superblock, 0x04, "<I", blocks)
    put(superblock, 0x20, "<I", 256)
    put(superblock, 0x24, "<I", 256)
    put(superblock, 0x28, "<I", 8)
    for sparse_super in (0, 1):
        put(superblock, 0x64, "<I", get(superblock, 0x64, "<I") & ~1 | sparse_super)
        disk = Volume(1 << 42, [extent(1024, Bytes(bytes(superblock)), "superblock")])
        result = verify_ext4(disk, 0, disk.size)
        assert any(f.structure.startswith("ext4 group descriptors 0 to") for f in result.findings)
        assert len(result.findings) < 1000


def test_numbers_of_the_demand_are_the_inodes() -> None:
    """What the ranges above rest on: the last inode in use is the demand's."""
    image, planned = made(*KINDS[0])
    last = planned.demand.last_inode
    assert last >= number_at(len(planned.demand.inodes) - 1)
    table = planned.geometry.tables.inode_tables[0] * 1024
    assert any(image[table + (last - 1) * INODE_SIZE :][:INODE_SIZE])
    assert not any(image[table + last * INODE_SIZE :][:INODE_SIZE])
