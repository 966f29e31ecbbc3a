"""The journal: an empty one is its superblock; the blocks after it are never read before written.

::

    inode 8   | journal superblock | s_maxlen - 1 blocks that nothing has been logged to |

Spec: kernel Documentation/filesystems/ext4/journal.rst, "Super Block".
"""

from __future__ import annotations

from imgwriter.ext4.format import JBD2_MAGIC_NUMBER, JBD2_SUPERBLOCK_V2, JournalSuperblock


def journal_superblock(blocks: int, block_size: int, uuid: bytes) -> bytes:
    """Return the first block of an empty journal.

    Args:
        blocks: Length of the journal.
        block_size: Bytes in a block.
        uuid: The file system's, which mke2fs 1.47.0 puts there too.

    Left at zero: h_sequence and s_errno (nothing happened), s_start (empty: nothing to replay), the
    feature words (the kernel sets its own at the first mount).
    """
    fields = {
        "h_magic": JBD2_MAGIC_NUMBER,
        "h_blocktype": JBD2_SUPERBLOCK_V2,
        "h_sequence": 0,
        "s_blocksize": block_size,
        "s_maxlen": blocks,
        "s_first": 1,
        "s_sequence": 1,
        "s_start": 0,
        "s_errno": 0,
        "s_feature_compat": 0,
        "s_feature_incompat": 0,
        "s_feature_ro_compat": 0,
        "s_uuid": uuid,
        "s_nr_users": 1,
    }
    return bytes(JournalSuperblock.build(fields)).ljust(block_size, b"\0")
