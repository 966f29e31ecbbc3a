"""The sections that decide, as findings name them.

All are of the kernel's Documentation/filesystems/ext4; what they leave open is as the code does it.
"""

from __future__ import annotations

SUPER = "ext4/super.rst"
BLOCKGROUP = "ext4/blockgroup.rst"
GROUP_DESC = "ext4/group_descr.rst"
BITMAPS = "ext4/bitmaps.rst"
CHECKSUMS = "ext4/checksums.rst"
INODES = "ext4/inodes.rst"
IFORK = "ext4/ifork.rst"
DIRECTORY = "ext4/directory.rst"
HTREE = "ext4/directory.rst, Hash Tree Directories"
ATTRIBUTES = "ext4/attributes.rst"
EA_INODE = "ext4/eainode.rst"
INLINE_DATA = "ext4/inlinedata.rst"
JOURNAL = "ext4/journal.rst"
ORPHAN = "ext4/orphan.rst"
SPECIAL = "ext4/special_inodes.rst"
MMP = "ext4/mmp.rst"
BIGALLOC = "ext4/bigalloc.rst"
