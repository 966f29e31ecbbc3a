"""e2fsck notices one wrong byte in each structure that imgwriter writes: so its silence means something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imgwriter.ext4 import Plan
from imgwriter.ext4.demand import number_at
from imgwriter.ext4.format import EXT4_JOURNAL_INO, EXT4_RESIZE_INO, EXT4_ROOT_INO, INODE_SIZE
from tests import trees
from tests.compat.ext4_images import MiB, content, many, write
from tests.oracles import e2fsck
from tests.oracles.tools import attempt

pytestmark = pytest.mark.compat

BLOCK = 1024
FEATURES = "orphan_file"
HOLES = tuple((i * 2 * BLOCK, (i * 2 + 1) * BLOCK) for i in range(100))


def position(made: Plan, path: bytes) -> int:
    """Return a file's position in the demand."""
    return next(i for i, inode in enumerate(made.demand.inodes) if inode.path == path)


def inode(made: Plan, number: int) -> int:
    """Return the byte offset of an inode in the image."""
    group, index = divmod(number - 1, made.geometry.inodes_per_group)
    return made.geometry.tables.inode_tables[group] * BLOCK + index * INODE_SIZE


def of(path: bytes) -> Callable[[Plan], int]:
    return lambda made: inode(made, number_at(position(made, path)))


def directory(path: bytes, block: int) -> Callable[[Plan], int]:
    return lambda made: (made.allocation.starts[position(made, path)] + block) * BLOCK


def special(number: int) -> Callable[[Plan], int]:
    return lambda made: inode(made, number)


def journal(made: Plan) -> int:
    assert made.allocation.journal is not None
    return made.allocation.journal.pieces[0].start * BLOCK


def orphan(made: Plan) -> int:
    assert made.allocation.orphan is not None
    return made.allocation.orphan.pieces[0].start * BLOCK


def backup(made: Plan) -> int:
    return made.geometry.group_start(1) * BLOCK


STRUCTURES: dict[str, tuple[Callable[[Plan], int], int]] = {
    "superblock: s_free_blocks_count": (lambda made: 1024, 0x0C),
    "superblock: s_hash_seed": (lambda made: 1024, 0xEC),
    "superblock: checksum": (lambda made: 1024, 0x3FC),
    "group descriptor: bg_inode_table": (lambda made: 2 * BLOCK, 8),
    "group descriptor: bg_itable_unused": (lambda made: 2 * BLOCK, 0x1C),
    "group descriptor of the last group": (lambda made: 2 * BLOCK + 64 * (made.geometry.groups - 1), 0x0C),
    "block bitmap": (lambda made: made.geometry.tables.block_bitmaps[0] * BLOCK, 7),
    "block bitmap of the last group": (lambda made: made.geometry.tables.block_bitmaps[-1] * BLOCK, 1000),
    "inode bitmap": (lambda made: made.geometry.tables.inode_bitmaps[0] * BLOCK, 1),
    "inode: i_mode of the root": (special(EXT4_ROOT_INO), 0),
    "inode: i_size": (of(b"file"), 4),
    "inode: i_mtime": (of(b"file"), 0x10),
    "inode: i_block": (of(b"file"), 0x28 + 20),
    "inode: a checksum's high half": (of(b"file"), 0x82),
    "inode: extended attribute": (of(b"attributes"), 160 + 8),
    "inode: unused, number 9": (special(9), 0),
    "resize inode": (special(EXT4_RESIZE_INO), 4),
    "resize inode: double indirect block": (lambda made: made.allocation.resize_block * BLOCK, 4 * 9),
    "journal inode": (special(EXT4_JOURNAL_INO), 0x28 + 8),
    "journal superblock: h_magic": (journal, 0),
    "journal superblock: s_maxlen": (journal, 16),
    "orphan file": (orphan, 5),
    "orphan file: magic": (orphan, BLOCK - 8),
    "extent block: entry": (
        lambda made: made.allocation.mapped[position(made, b"holes")].map_blocks[0] * BLOCK,
        12 + 4,
    ),
    "extent block: checksum": (
        lambda made: made.allocation.mapped[position(made, b"holes")].map_blocks[0] * BLOCK,
        BLOCK - 4,
    ),
    "directory: inode of the first name": (directory(b"", 0), 24),
    "directory: rec_len of ..": (directory(b"", 0), 12 + 4),
    "directory: letter of a name": (directory(b"few", 0), 24 + 8),
    "directory: tail": (directory(b"few", 0), BLOCK - 5),
    "htree: root's hash": (directory(b"many", 0), 0x28 + 8),
    "htree: root's info": (directory(b"many", 0), 0x1D),
    "htree: leaf's file_type": (directory(b"many", 2), 7),
    "lost+found: empty block": (directory(b"lost+found", 1), 4),
    "extended attribute block: e_hash": (lambda made: made.allocation.xattr_blocks[0] * BLOCK, 32 + 12),
    "extended attribute block: value": (lambda made: made.allocation.xattr_blocks[0] * BLOCK, BLOCK - 1),
    "extended attribute block: h_refcount": (lambda made: made.allocation.xattr_blocks[0] * BLOCK, 4),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """An image with each structure, and where they stand."""
    image = tmp_path_factory.mktemp("sound") / "image"
    sparse = trees.file(content(200 * BLOCK))
    sparse.runs = HOLES
    entries = {
        b"attributes": trees.file(xattrs={b"user.a": b"12345678"}),
        b"block of attributes": trees.file(xattrs={b"user.large": bytes(range(250)) * 2}),
        b"few": many(3),
        b"file": trees.file(content(5000)),
        b"holes": sparse,
        b"many": many(300),
    }
    made = write(image, trees.inventory(entries), 24 * MiB, block_size=BLOCK, features=FEATURES)
    assert made.geometry.groups > 1
    e2fsck.check(image)
    return image, made


@pytest.mark.parametrize("name", STRUCTURES)
def test_one_wrong_byte_is_noticed(tmp_path: Path, sound: tuple[Path, Plan], name: str) -> None:
    image, made = sound
    where, offset = STRUCTURES[name]
    damaged = tmp_path / "damaged"
    data = bytearray(image.read_bytes())
    data[where(made) + offset] ^= 0x55
    damaged.write_bytes(data)
    result = e2fsck.raw(damaged)
    with pytest.raises(AssertionError):
        e2fsck.check(damaged)
    assert result.status & 12 or "? no" in result.text, result.text


@pytest.mark.parametrize(("what", "offset"), [("s_magic", 0x38), ("s_blocks_count", 4), ("s_uuid", 0x68)])
def test_the_backups_are_used_when_the_superblock_is_lost(
    tmp_path: Path, sound: tuple[Path, Plan], what: str, offset: int
) -> None:
    image, made = sound
    damaged = tmp_path / "damaged"
    data = bytearray(image.read_bytes())
    data[1024 + offset] ^= 0x55
    damaged.write_bytes(data)
    first = attempt("e2fsck", "-fy", damaged)
    assert first.status in (0, 1), first.text
    assert e2fsck.check(damaged).blocks == made.geometry.blocks


def test_a_backup_is_a_whole_superblock(tmp_path: Path, sound: tuple[Path, Plan]) -> None:
    image, made = sound
    start = backup(made) // BLOCK
    result = attempt("e2fsck", "-fn", "-b", str(start), "-B", str(BLOCK), image)
    assert "Pass 5" in result.text
    assert "superblock" not in result.out.replace("WARNING", "").lower(), result.text
