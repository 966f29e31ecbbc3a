"""What a file system says of itself, as a document: the ext family by its superblock, FAT by its boot sector.

Names of values are those of dumpe2fs and the specifications. Counts of ext4 are the superblock's own, which a
kernel brings up to date when it unmounts; those of FAT are counted.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from imgwriter.examine.listing import time_text
from imgwriter.examine.opening import FileSystem
from imgwriter.ext4 import features as f
from imgwriter.ext4 import reader as ext4_reader
from imgwriter.ext4.format import EXT4_VALID_FS
from imgwriter.fat import reader as fat_reader

Document = dict[str, Any]
"""A JSON object."""

_ERROR_FS = 2
"""s_state: errors were detected. Spec: super.rst."""
_NEVER = 0xFFFF
"""s_max_mnt_count: -1, mounts are not counted."""

_OF_EXT3 = f.Features(
    f.Compat(~0),
    f.Incompat.FILETYPE | f.Incompat.RECOVER | f.Incompat.META_BG,
    f.RoCompat.SPARSE_SUPER | f.RoCompat.LARGE_FILE,
)
"""What ext3 and ext2 may have; any other incompatible or read-only feature makes an ext4.

Spec: Linux, fs/ext4/ext4.h, EXT3_FEATURE_INCOMPAT_SUPP and EXT3_FEATURE_RO_COMPAT_SUPP.
"""

_FAT_CLEAN = {16: 0x8000, 32: 0x0800_0000}
"""ClnShutBitMask, in the entry of cluster 1. Spec: FAT specification, 4.2."""
_LINUX_DIRTY = 1
"""In BS_Reserved1. Spec: Linux, fs/fat/fat.h, FAT_STATE_DIRTY."""


def document(file_system: FileSystem) -> Document:
    """Return what a file system says of itself.

    Raises:
        FormatError: It is damaged.
        SourceError: It cannot be read.
    """
    if isinstance(file_system, ext4_reader.FileSystem):
        return _ext4(file_system)
    return _fat(file_system)


def _ext4(file_system: ext4_reader.FileSystem) -> Document:
    sb = file_system.superblock
    fields = sb.fields
    high = sb.features.has(f.Incompat.BIT64)

    def blocks(name: str) -> int:
        return int(fields[f"{name}_lo"] | (fields[f"{name}_hi"] << 32 if high else 0)) * sb.block_size

    free = blocks("s_free_blocks_count")
    recovery = file_system.recovery
    return {
        "type": ext_type(sb.features),
        "label": sb.label.decode("utf-8", "backslashreplace") or None,
        "uuid": str(UUID(bytes=sb.uuid)),
        "size": sb.size,
        "used": sb.size - free,
        "free": free,
        "reserved": blocks("s_r_blocks_count"),
        "block_size": sb.block_size,
        "cluster_size": sb.cluster_size,
        "inodes": sb.inodes,
        "free_inodes": fields["s_free_inodes_count"],
        "inode_size": sb.inode_size,
        "features": list(sb.feature_names),
        "state": _ext_state(fields["s_state"]),
        "needs_recovery": recovery is not None,
        "journal_transactions": None if recovery is None else recovery.transactions,
        "errors": fields["s_error_count"],
        "mounts": fields["s_mnt_count"],
        "max_mounts": None if fields["s_max_mnt_count"] in (0, _NEVER) else fields["s_max_mnt_count"],
        "last_mounted": fields["s_last_mounted"].partition(b"\0")[0].decode("utf-8", "backslashreplace")
        or None,
        "created": _time(fields, "s_mkfs_time"),
        "mounted": _time(fields, "s_mtime"),
        "written": _time(fields, "s_wtime"),
        "checked": _time(fields, "s_lastcheck"),
        "boot_code": any(file_system.boot_code),
    }


def ext_type(features: f.Features) -> str:
    """Return which of the three it is, as libblkid tells them apart."""
    more = features.incompat & ~_OF_EXT3.incompat or features.ro_compat & ~_OF_EXT3.ro_compat
    if more:
        return "ext4"
    return "ext3" if features.has(f.Compat.HAS_JOURNAL) else "ext2"


def _ext_state(state: int) -> str:
    clean = "clean" if state & EXT4_VALID_FS else "not clean"
    return f"{clean} with errors" if state & _ERROR_FS else clean


def _time(fields: Any, name: str) -> str | None:
    seconds = fields[name] | fields[f"{name}_hi"] << 32
    return time_text(seconds) if seconds else None


def _fat(file_system: fat_reader.FileSystem) -> Document:
    layout = file_system.layout
    number = file_system.volume_id
    free = file_system.free()
    room = layout.clusters * layout.cluster_size
    label = file_system.label()
    return {
        "type": f"FAT{layout.bits}",
        "label": label or None,
        "uuid": None if number is None else f"{number >> 16:04X}-{number & 0xFFFF:04X}",
        "size": layout.size,
        "used": room - free,
        "free": free,
        "sector_size": layout.sector_size,
        "cluster_size": layout.cluster_size,
        "clusters": layout.clusters,
        "fats": layout.fats,
        "state": "clean" if _fat_clean(file_system) else "not clean",
        "needs_recovery": False,
        "boot_code": any(file_system.boot.code),
    }


def _fat_clean(file_system: fat_reader.FileSystem) -> bool:
    if file_system.boot.number("BS_Reserved1") & _LINUX_DIRTY:
        return False
    mask = _FAT_CLEAN.get(file_system.layout.bits, 0)
    return file_system.table.entry(1) & mask == mask
