"""The superblock against the one that mke2fs 1.47.0 wrote for the same request."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgwriter.errors import SpecError
from imgwriter.ext4 import plan
from imgwriter.ext4.format import (
    GROUP_DESC_32,
    GROUP_DESC_64,
    INODE,
    SUPERBLOCK_SIZE,
    JournalSuperblock,
    Superblock,
)
from imgwriter.ext4.journal import journal_superblock
from imgwriter.units import MiB
from tests import trees
from tests.unit.ext4.support import UUID, parameters

VECTOR = Path(__file__).parents[2] / "vectors" / "mke2fs-superblock.hex"


def test_sizes_of_the_records() -> None:
    # Spec: super.rst 1,024 bytes; group_descr.rst 32 and 64; inodes.rst 160 with i_extra_isize 32.
    assert Superblock.sizeof() == SUPERBLOCK_SIZE == 1024
    assert GROUP_DESC_32.size == 32
    assert GROUP_DESC_64.size == 64
    assert INODE.size == 160
    assert JournalSuperblock.sizeof() == 1024


def test_equals_mke2fs() -> None:
    theirs = Superblock.parse(bytes.fromhex(VECTOR.read_text()))
    made = plan(trees.inventory(), parameters(), 1000 * MiB)
    ours = Superblock.parse(made.volume().read(1024, 1024))
    different = {name for name in theirs if name != "_io" and theirs[name] != ours[name]}
    # s_kbytes_written is a statistic of mke2fs's own writes, s_jnl_blocks says where the journal stands
    # (mke2fs: in the middle); the checksum covers both.
    assert different == {"s_kbytes_written", "s_jnl_blocks", "s_checksum"}
    assert ours.s_jnl_blocks[60:] == theirs.s_jnl_blocks[60:], "the journal's size"


@pytest.mark.parametrize("group", [1, 3, 5, 7])
def test_backups(group: int) -> None:
    made = plan(trees.inventory(), parameters(), 1000 * MiB)
    volume = made.volume()
    backup = Superblock.parse(volume.read(made.geometry.group_start(group) * 4096, 1024))
    primary = Superblock.parse(volume.read(1024, 1024))
    different = {name for name in primary if name != "_io" and primary[name] != backup[name]}
    assert different == {"s_block_group_nr", "s_state", "s_checksum"}
    assert backup.s_block_group_nr == group
    assert backup.s_state == 0
    descriptors = made.geometry.groups * 64
    at = (made.geometry.group_start(group) + 1) * 4096
    assert volume.read(at, descriptors) == volume.read(4096, descriptors)


def test_label_and_time() -> None:
    made = plan(trees.inventory(), parameters(label=b"0123456789abcdef", time=(1 << 32) + 5), 64 * MiB)
    fields = Superblock.parse(made.volume().read(1024, 1024))
    assert fields.s_volume_name == b"0123456789abcdef"
    assert (fields.s_wtime, fields.s_wtime_hi) == (5, 1)
    assert fields.s_mtime <= fields.s_lastcheck, "else resize2fs asks for a check first"


def test_journal_superblock() -> None:
    # The first block of inode 8 as mke2fs 1.47.0 wrote it: 4,096 blocks of 4 KiB.
    words = "c03b3998000000040000000000001000000010000000000100000001" + "00" * 20
    assert journal_superblock(4096, 4096, UUID).hex().startswith(words + UUID.hex() + "00000001")
    assert len(journal_superblock(1024, 1024, UUID)) == 1024


def test_time_ends_with_that_of_an_inode() -> None:
    # Spec: inodes.rst, "Inode Timestamps": 2446-05-10 is the last day, also for lost+found and the journal.
    last = (1 << 31) + 3 * (1 << 32) - 1
    assert parameters(time=last).time == last
    with pytest.raises(SpecError, match="2446"):
        parameters(time=last + 1)
