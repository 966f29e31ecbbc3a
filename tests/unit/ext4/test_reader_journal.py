"""Journals of every form: what was committed counts, what was revoked does not, and damage is refused."""

from __future__ import annotations

import pytest

from imgwriter.errors import FormatError
from imgwriter.ext4.reader import FileSystem
from tests import trees
from tests.unit.ext4.images import SUPER, block_size, get, image, opened, put
from tests.unit.ext4.journals import VERSIONS, Log, Transaction, crc32_be, replayed, seal_superblock

BLOCK = 1024
MAGIC = b"\xc0\x3b\x39\x98"
MiB = 1 << 20


def empty(**asked: object) -> bytearray:
    """A file system with a journal of 1,024 blocks."""
    return image(trees.inventory({b"file": trees.file(b"content" * 400)}), 4 * MiB, block_size=BLOCK, **asked)


FREE = 3500
"""From this block on nothing is in use."""


def filled(letter: bytes) -> bytes:
    return letter * BLOCK


def whole(file_system: FileSystem) -> bytes:
    """Everything that the file system reads as."""
    return file_system.device.read(0, file_system.superblock.size)


def after(content: bytearray, transactions: list[Transaction]) -> bytes:
    """Return what has to be seen: the replay, but for the flag that the reader leaves as it is."""
    return replayed(content, transactions)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_form(version: str, wide: bool) -> None:
    content = empty()
    log = Log(content, version, wide)
    transactions = [
        Transaction([(FREE, filled(b"a")), (FREE + 1, filled(b"b")), (FREE + 2, filled(b"c"))]),
        Transaction([(FREE + 1, filled(b"B"))], revokes=[FREE + 2]),
        Transaction([(FREE + 3, MAGIC + filled(b"e")[4:])]),
        Transaction(revokes=[FREE + 3, 5]),
        Transaction([(FREE + 2, filled(b"C")), (FREE + 4, MAGIC + filled(b"f")[4:])]),
    ]
    for transaction in transactions:
        log.add(transaction)
    found = opened(content, verify=True)
    assert whole(found) == after(content, transactions)
    assert found.recovery is not None
    assert found.recovery.transactions == 5
    assert (found.recovery.blocks, found.recovery.revoked) == (7, 2)
    assert found.device.block(FREE + 4)[:6] == MAGIC + b"ff"
    assert found.device.read((FREE + 4) * BLOCK + 2, 4) == MAGIC[2:] + b"ff", "within the magic number"
    assert found.tree().entries is not None


def test_a_clean_file_system_needs_none() -> None:
    assert opened(empty()).recovery is None


def test_the_flag_alone_is_an_empty_log() -> None:
    content = empty()
    Log(content)
    put(content, Log(content, "none").base + 28, ">I", 0)
    recovery = opened(content).recovery
    assert recovery is not None and recovery[:2] == ({}, 0)


def test_without_the_flag_the_log_is_not_looked_at() -> None:
    """The kernel wipes such a log instead (jbd2_journal_wipe)."""
    content = empty()
    Log(content).add(Transaction([(FREE, filled(b"a"))]))
    put(content, SUPER + 0x60, "<I", get(content, SUPER + 0x60, "<I") & ~4)
    seal_superblock(content)
    assert opened(content).device.block(FREE) == bytes(BLOCK)


def test_the_log_is_a_ring() -> None:
    content = empty()
    log = Log(content, start=1022, length=1024)
    transactions = [
        Transaction([(FREE + n, filled(b"%d" % n)) for n in range(5)]),
        Transaction(revokes=[FREE + 1]),
    ]
    for transaction in transactions:
        log.add(transaction)
    assert log.position < 20
    assert whole(opened(content)) == after(content, transactions)


def test_sequence_numbers_wrap() -> None:
    content = empty()
    log = Log(content, sequence=0xFFFFFFFE)
    transactions = [
        Transaction([(FREE, filled(b"1"))]),
        Transaction([(FREE, filled(b"2")), (FREE + 1, filled(b"2"))]),
        Transaction([(FREE, filled(b"3"))], revokes=[FREE + 1]),
    ]
    for transaction in transactions:
        log.add(transaction)
    assert log.sequence == 1
    assert whole(opened(content)) == after(content, transactions)


def test_many_blocks_take_many_descriptors() -> None:
    content = empty()
    transaction = Transaction([(FREE + n, n.to_bytes(2, "big") * (BLOCK // 2)) for n in range(200)])
    Log(content).add(transaction)
    assert whole(opened(content)) == after(content, [transaction])


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_not_committed_never_happened(version: str) -> None:
    content = empty()
    log = Log(content, version)
    first = Transaction([(FREE, filled(b"a"))])
    log.add(first)
    log.begin(Transaction([(FREE, filled(b"b"))], revokes=[FREE]))
    assert whole(opened(content)) == after(content, [first])


def test_an_older_log_ends_it() -> None:
    """What the ring held before has other numbers, also where it is whole."""
    content = empty()
    old = Log(content, sequence=3)
    for letter in (b"x", b"y", b"z"):
        old.add(Transaction([(FREE + 9, filled(letter))]))
    log = Log(content, sequence=20)
    first = Transaction([(FREE, filled(b"a"))])
    log.add(first)
    assert whole(opened(content)) == after(content, [first])


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_an_older_log_of_the_same_number_is_told_by_its_time(version: str) -> None:
    """With lazily made journals: its checksum is wrong, and its commit earlier than the last."""
    content = empty()
    log = Log(content, version)
    first = Transaction([(FREE, filled(b"a"))], time=2000)
    log.add(first)
    at = log.offset(log.position)
    log.add(Transaction([(FREE, filled(b"b"))], time=1000))
    content[at + BLOCK - 1] ^= 1
    assert whole(opened(content)) == after(content, [first])


@pytest.mark.parametrize("kind", ["descriptor", "revoke", "commit", "data"])
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_damage_is_refused(version: str, kind: str) -> None:
    content = empty()
    log = Log(content, version)
    log.add(Transaction([(FREE, filled(b"a"))]))
    at = log.offset(log.position) + {"descriptor": 0, "data": 1, "revoke": 2, "commit": 3}[kind] * BLOCK
    log.add(Transaction([(FREE, filled(b"b"))], revokes=[FREE + 1]))
    opened(content)
    content[at + 100 if kind == "data" else at + 40] ^= 1
    with pytest.raises(FormatError, match="checksum") as error:
        opened(content)
    assert error.value.where == "ext4 journal"
    assert error.value.offset == at


def test_a_revoked_copy_may_be_damaged() -> None:
    content = empty()
    log = Log(content)
    log.add(Transaction([(FREE, filled(b"a"))]))
    log.add(Transaction(revokes=[FREE]))
    content[log.offset(2) + 7] ^= 1
    assert opened(content).device.block(FREE) == bytes(BLOCK)


def test_damage_in_a_transaction_that_has_one_sum() -> None:
    content = empty()
    log = Log(content, "v1")
    log.add(Transaction([(FREE, filled(b"a"))]))
    opened(content)
    content[log.offset(2) + 7] ^= 1
    with pytest.raises(FormatError, match="wrong checksum in its transaction 1"):
        opened(content)


def test_a_commit_without_a_sum_is_one() -> None:
    """h_chksum_type and h_chksum_size zero: written before the feature was set."""
    content = empty()
    log = Log(content, "v1")
    transaction = Transaction([(FREE, filled(b"a"))])
    log.add(transaction)
    put(content, log.offset(3) + 12, ">BB2xI", 0, 0, 0)
    assert whole(opened(content)) == after(content, [transaction])


def test_async_commits_end_the_log_where_one_is_wrong() -> None:
    content = empty()
    log = Log(content, "v1")
    first = Transaction([(FREE, filled(b"a"))])
    log.add(first)
    log.add(Transaction([(FREE, filled(b"b"))]))
    content[log.offset(5) + 7] ^= 1
    put(content, log.base + 40, ">I", get(content, log.base + 40, ">I") | 4)
    assert whole(opened(content)) == after(content, [first])


def test_a_commit_with_something_behind_its_fields() -> None:
    """Kernels before 5.19 summed the fields alone (jbd2_commit_block_csum_verify_partial)."""
    content = empty()
    log = Log(content)
    transaction = Transaction([(FREE, filled(b"a"))])
    log.add(transaction)
    content[log.offset(3) + 500] = 7
    assert whole(opened(content)) == after(content, [transaction])


SUPERBLOCK_DAMAGE = [
    (0, 1, "h_magic"),
    (4, 6, "h_blocktype"),
    (12, 4096, "s_blocksize"),
    (16, 1 << 20, "s_maxlen"),
    (20, 0, "s_first"),
    (28, 1024, "s_start"),
    (40, 1 << 9, "feature FEATURE_I9"),
    (36, 1 << 3, "feature FEATURE_C3"),
    (44, 1, "feature FEATURE_R0"),
]


@pytest.mark.parametrize(("at", "value", "words"), SUPERBLOCK_DAMAGE)
def test_a_superblock_that_cannot_be(at: int, value: int, words: str) -> None:
    content = empty()
    log = Log(content, "none")
    put(content, log.base + at, ">I", value)
    with pytest.raises(FormatError, match=words) as error:
        opened(content)
    assert error.value.offset == log.base


@pytest.mark.parametrize(("compat", "incompat"), [(0, 0x18), (1, 0x8), (1, 0x10)])
def test_several_kinds_of_checksums(compat: int, incompat: int) -> None:
    content = empty()
    log = Log(content, "none")
    put(content, log.base + 36, ">II", compat, incompat)
    with pytest.raises(FormatError, match="several kinds of checksums"):
        opened(content)


def test_a_superblock_with_a_wrong_checksum() -> None:
    content = empty()
    log = Log(content)
    content[log.base + 200] ^= 1
    with pytest.raises(FormatError, match="s_checksum"):
        opened(content)


def test_version_1_has_no_features() -> None:
    content = empty()
    log = Log(content, "none", wide=False)
    transaction = Transaction([(FREE, filled(b"a"))])
    log.add(transaction)
    put(content, log.base + 4, ">I", 3)
    put(content, log.base + 36, ">III", 77, 77, 77)
    assert whole(opened(content)) == after(content, [transaction])


def test_a_block_beyond_the_file_system() -> None:
    content = empty()
    blocks = get(content, SUPER + 4, "<I")
    Log(content).add(Transaction([(blocks - 1, filled(b"a"))]))
    opened(content)
    content = empty()
    Log(content).add(Transaction([(blocks, filled(b"a"))]))
    with pytest.raises(FormatError, match=f"block {blocks:,} of a file system of {blocks:,}"):
        opened(content)


def test_revoke_records_beyond_their_block() -> None:
    content = empty()
    log = Log(content, "none")
    log.add(Transaction([(FREE, filled(b"a"))], revokes=[FREE]))
    put(content, log.offset(3) + 12, ">I", BLOCK + 1)
    with pytest.raises(FormatError, match="r_count 1,025"):
        opened(content)


def test_a_log_without_a_commit_ends() -> None:
    """Every block is of the same transaction, all the way round."""
    content = empty()
    log = Log(content, "none")
    for position in range(1, log.length):
        at = log.offset(position)
        content[at : at + BLOCK] = bytes(BLOCK)
        put(content, at, ">III", 0xC03B3998, 5, 7)
    recovery = opened(content).recovery
    assert recovery is not None and recovery[:2] == ({}, 0)


def test_fast_commits_are_refused_by_name() -> None:
    content = empty()
    log = Log(content, "none")
    # The journal has 1,024 blocks: with 256 for fast commits it would be too short, and has none.
    put(content, log.base + 40, ">I", get(content, log.base + 40, ">I") | 0x20)
    transaction = Transaction([(FREE, filled(b"a"))])
    log.add(transaction)
    assert whole(opened(content)) == after(content, [transaction])


def large() -> tuple[bytearray, Log]:
    """A journal of 4,096 blocks, 256 of them for fast commits, with one transaction."""
    content = image(trees.inventory({}), 40 * MiB, block_size=BLOCK)
    log = Log(content, "none")
    assert log.length == 4096
    put(content, log.base + 40, ">I", get(content, log.base + 40, ">I") | 0x20)
    log.add(Transaction([(9000, filled(b"a"))]))
    return content, log


def test_fast_commits_after_the_last_transaction() -> None:
    content, log = large()
    at = log.offset(4096 - 256 + 1)
    put(content, at, "<HHII", 9, 8, 0, 7)
    assert opened(content).device.block(9000) == filled(b"a"), (
        "of a transaction that was committed in full since"
    )
    put(content, at, "<HHII", 9, 8, 0, 8)
    with pytest.raises(FormatError, match="fast commits for transaction 8") as error:
        opened(content)
    assert (error.value.where, error.value.offset) == ("ext4 journal, feature fast_commit", at)


def test_the_superblock_is_the_journals() -> None:
    content = empty()
    newer = bytearray(content[SUPER : SUPER + BLOCK])
    newer[0x78:0x88] = b"new".ljust(16, b"\0")
    put(newer, 0x60, "<I", get(newer, 0x60, "<I") | 4)
    moved = bytearray(SUPER) + newer
    seal_superblock(moved)
    Log(content).add(Transaction([(1, bytes(moved[SUPER:]))]))
    assert opened(content, verify=True).superblock.label == b"new"
    assert block_size(content) == BLOCK


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (0xE0, 0, "on another device"),
        (0xE0, 1 << 30, "s_journal_inum"),
        (0xE0, 2, "mode 0o40755"),
        (0xE0, 9, "0 links"),
    ],
)
def test_a_journal_that_is_none(at: int, value: int, words: str) -> None:
    content = empty()
    Log(content)
    put(content, SUPER + at, "<I", value)
    with pytest.raises(FormatError, match=words):
        opened(content)


def test_a_journal_without_blocks() -> None:
    content = empty()
    Log(content)
    put(content, SUPER + 0xE0, "<I", 11 + 1)
    with pytest.raises(FormatError, match="h_magic"):
        opened(content)


def test_the_sum_of_a_transaction_is_the_kernels() -> None:
    # crc32_be(~0, "123456789") without a final xor: CRC-32/MPEG-2 of the catalogue of parametrised CRCs.
    assert crc32_be(b"123456789", 0xFFFFFFFF) == 0x0376E6E7
