"""(being written) public API:

class XattrPlan(NamedTuple):
    inline: bytes   # goes to the inode at 128 + extra_isize: magic, entries and values, exactly the space to the inode's end; b"" when nothing is inline
    block: bytes | None  # content of the xattr block, refcount and checksum zero; inodes with equal content share it
    
class XattrPlanner:
    def __init__(self, *, block_size: int, inode_size: int = 256, extra_isize: int = 32) -> None
    def plan(self, xattrs: Mapping[bytes, bytes], path: bytes = b"") -> XattrPlan   # cached by content

def finish_block(content: bytes, refcount: int, block_number: int, fs_seed: int | None) -> bytes
EXT4_XATTR_REFCOUNT_MAX = 1024
"""
