"""What a structure was whose magic number is damaged: told by all the rest of it.

A probe goes by the magic number alone, and takes an image or a file system that has lost it for nothing at
all. A checker that did so would have nothing to say about the worst of all damages.
"""

from __future__ import annotations

from imgwriter import qcow2, vdi, vhd
from imgwriter.ext4.checksum import crc32c
from imgwriter.readers.hostfile import HostFile
from imgwriter.units import KiB, div_ceil
from imgwriter.window import Window

_QCOW2_VERSIONS = (2, 3)
_JUMPS = (0xEB, 0xE9)
_FAT_TEXT_AT = (54, 82)
_EXT_START, _EXT_SIZE = 1024, 1024
_EXT_MAGIC_AT, _EXT_MAGIC = 56, b"\x53\xef"
_EXT_CHECKSUM_AT = 1020
_SIGNATURE = b"\x55\xaa"
_FAT_BACKUP = 6


def container(file: HostFile) -> str | None:
    """Return the format that a file seems to have been of, None where it seems to be a raw disk.

    Raises:
        SourceError: The file cannot be read.
    """
    start = file.read(0, min(file.size, 512), "first sector")
    end = file.read(max(file.size - 512, 0), min(file.size, 512), "last sector")
    if _resembles(start, 0, qcow2.MAGIC) and int.from_bytes(start[4:8], "big") in _QCOW2_VERSIONS:
        bits = int.from_bytes(start[20:24], "big")
        if qcow2.MIN_CLUSTER_BITS <= bits <= qcow2.MAX_CLUSTER_BITS:
            return "qcow2"
    version = vdi.VERSION.to_bytes(4, "little")
    if _resembles(start, 64, vdi.SIGNATURE.to_bytes(4, "little")) and start[68:72] == version:
        return "vdi"
    if _resembles(start, 0, vhd.FOOTER_COOKIE) or _resembles(end, 0, vhd.FOOTER_COOKIE):
        return "vpc"
    return None


def is_fat(window: Window) -> bool:
    """Return whether a volume begins like FAT, though its areas do not follow from its boot sector."""
    sector = window.read(0, min(window.size, 512), "boot sector")
    jump = len(sector) == 512 and sector[0] in _JUMPS
    named = any(sector[at : at + 3] == b"FAT" for at in _FAT_TEXT_AT)
    if named and (jump or sector[510:512] == _SIGNATURE):
        return True
    # FAT32's copy, where all of the first sector is lost.
    return any(_is_backup(window, _FAT_BACKUP * size) for size in (512, 4096))


def is_ext(window: Window) -> bool:
    """Return whether a volume has the superblock of ext4, ext3 or ext2, but for its magic number."""
    if window.size < _EXT_START + _EXT_SIZE:
        return False
    block = bytearray(window.read(_EXT_START, _EXT_SIZE, "ext4 superblock"))
    block[_EXT_MAGIC_AT : _EXT_MAGIC_AT + 2] = _EXT_MAGIC
    if crc32c(bytes(block[:_EXT_CHECKSUM_AT])) == int.from_bytes(block[_EXT_CHECKSUM_AT:], "little"):
        return True
    if _is_plausible(block, window.size):
        return True
    # The backup of group 1: where mke2fs has it, for each block size.
    return any(_has_backup(window, size) for size in (1 * KiB, 2 * KiB, 4 * KiB))


def _is_plausible(block: bytes | bytearray, size: int) -> bool:
    """Return whether the fields of a superblock without a checksum fit together, and into the volume.

    Spec: kernel Documentation/filesystems/ext4/super.rst (offsets).
    """
    inodes, blocks = (int.from_bytes(block[at : at + 4], "little") for at in (0, 4))
    first, log_size = (int.from_bytes(block[at : at + 4], "little") for at in (20, 24))
    per_group, inodes_per_group = (int.from_bytes(block[at : at + 4], "little") for at in (32, 40))
    revision = int.from_bytes(block[76:80], "little")
    if log_size > 6 or revision > 1 or not 0 < per_group <= 8 * KiB << log_size or not inodes_per_group:
        return False
    groups = div_ceil(max(blocks - first, 0), per_group)
    return (
        first == (1 if log_size == 0 else 0)
        and 0 < blocks * (KiB << log_size) <= size
        and inodes == groups * inodes_per_group
    )


def _is_backup(window: Window, offset: int) -> bool:
    if window.size < offset + 512:
        return False
    sector = window.read(offset, 512, "FAT backup boot sector")
    return sector[82:87] == b"FAT32" and sector[510:512] == _SIGNATURE and sector[0] in _JUMPS


def _has_backup(window: Window, block_size: int) -> bool:
    start = (8 * block_size + (1 if block_size == KiB else 0)) * block_size
    if window.size < start + _EXT_SIZE:
        return False
    block = window.read(start, 128, "ext4 superblock, backup")
    size = block_size.bit_length() - 11
    same = int.from_bytes(block[24:28], "little") == size and int.from_bytes(block[90:92], "little") == 1
    return same and block[_EXT_MAGIC_AT : _EXT_MAGIC_AT + 2] == _EXT_MAGIC


def _resembles(sector: bytes, at: int, magic: bytes) -> bool:
    """Return whether at most one byte of a magic number is another."""
    found = sector[at : at + len(magic)]
    return len(found) == len(magic) and sum(a != b for a, b in zip(found, magic, strict=True)) <= 1
