"""GRUB for a BIOS: boot.img in sector 0, and core.img in the gap behind it or in a BIOS boot partition.

::

    sector 0        embedded at LBA n                            loaded to
    ├─ boot.img ─┐  ├─ diskboot.img ─┼─ lzma_decompress.img ─┼─ LZMA ──────────────┤
    0x5c: n ─────┘  0x1f4: n+1, ────>  0x8: size of the LZMA     kernel.img, modules,
    0x66: 90 90     count, 0x0820      0xc: size of its content  prefix

boot.img loads the one sector at n, diskboot.img the sectors that it lists, the decompressor unpacks the
rest. All parts are of the tree's own GRUB. The LZMA stream has the parameters that the decompressor is built
for; it ends in a mark, which the decompressor, counting bytes, does not reach. Reed-Solomon codes are left
out, as with grub-install's --no-rs-codes: they would repair a core.img that other software has overwritten.

Spec: GRUB, include/grub/i386/pc/boot.h (offsets in boot.img and diskboot.img), include/grub/offsets.h (in the
decompressor, and the limits), util/mkimage.c (struct and parameters of the LZMA stream).
"""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass

from imgwriter.bootloader.grub import elf
from imgwriter.bootloader.grub.modules import Platform, objects
from imgwriter.bootloader.outcome import MBR_CODE_SIZE
from imgwriter.errors import CapacityError, FormatError
from imgwriter.units import align_up

SECTOR_SIZE = 512

_WORD = 4
# All that liblzma lets choose is chosen, so that no version's defaults show. The first row is what GRUB's
# decompressor knows (docs/adr/0012-grub-images.md).
_FILTERS = [
    {
        **{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2},
        **{"mode": lzma.MODE_NORMAL, "mf": lzma.MF_BT4, "nice_len": 64, "depth": 48},
    }
]

# boot.img
_KERNEL_SECTOR = struct.Struct("<Q")
_KERNEL_SECTOR_AT = 0x5C
_DRIVE_CHECK_AT = 0x66
_JUMP = b"\xeb\x05"
_NO_OPERATION = b"\x90\x90"

# diskboot.img: the one entry of its block list, at its end
_BLOCK_LIST = struct.Struct("<QHH")  # first sector, sectors, segment that they are loaded to
_BLOCK_LIST_AT = SECTOR_SIZE - _BLOCK_LIST.size
_SEGMENT = 0x820

# lzma_decompress.img
_SIZES = struct.Struct("<2I")  # compressed, uncompressed
_SIZES_AT = 8
_REACH = 0x78000 - elf.LINK_ADDRESS  # core.img ends below this address of real mode
_MEMORY = 0x68000 - elf.LINK_ADDRESS  # the kernel and its .bss


@dataclass(frozen=True, slots=True)
class Embedding:
    """Where core.img goes.

    Attributes:
        lba: Its first sector of 512 bytes.
        sectors: How many there are.
        name: What to call the place in messages.
    """

    lba: int
    sectors: int
    name: str


def payload(platform: Platform, modules: list[str], prefix: bytes) -> bytes:
    """Return what core.img unpacks to: GRUB's kernel, the modules and the prefix."""
    kernel, memory = elf.load_fixed(platform.file(b"kernel.img"), "GRUB's kernel.img")
    if memory > _MEMORY:
        raise FormatError(
            f"GRUB's kernel.img needs {memory:,} bytes of memory, {_MEMORY:,} are there; install GRUB in the"
            " tree again",
            "sh_size",
        )
    return kernel + objects(platform.modules(modules), prefix, _WORD)


def core_image(platform: Platform, content: bytes) -> bytes:
    """Return core.img that unpacks to ``content``, in whole sectors, as for LBA 1.

    Raises:
        SourceError: The tree's GRUB lacks a file.
        FormatError: One of its files is not what it is called.
        CapacityError: It is more than a BIOS can load.
    """
    start = bytearray(platform.file(b"diskboot.img"))
    decompressor = bytearray(platform.file(b"lzma_decompress.img"))
    if len(start) != SECTOR_SIZE or _BLOCK_LIST.unpack_from(start, _BLOCK_LIST_AT)[2] != _SEGMENT:
        raise FormatError("GRUB's diskboot.img has no block list at its end; install GRUB in the tree again")
    if len(decompressor) < _SIZES_AT + _SIZES.size:
        raise FormatError("GRUB's lzma_decompress.img is too short; install GRUB in the tree again")
    packed = lzma.compress(content, format=lzma.FORMAT_RAW, filters=_FILTERS)
    _SIZES.pack_into(decompressor, _SIZES_AT, len(packed), len(content))
    body = bytes(decompressor) + packed
    if len(body) > _REACH:
        raise CapacityError(
            f"GRUB's core image has {len(body):,} bytes, a BIOS loads {_REACH:,}; leave modules out of it",
            len(body),
            _REACH,
        )
    size = align_up(len(body), SECTOR_SIZE)
    _BLOCK_LIST.pack_into(start, _BLOCK_LIST_AT, 2, size // SECTOR_SIZE, _SEGMENT)
    return bytes(start) + body.ljust(size, b"\0")


def embedded(core: bytes, place: Embedding) -> bytes:
    """Return core.img as it stands at a place.

    Raises:
        CapacityError: The place is too small.
    """
    sectors = len(core) // SECTOR_SIZE
    if sectors > place.sectors:
        raise CapacityError(
            f"GRUB's core image has {sectors:,} sectors of {SECTOR_SIZE} bytes, {place.name} has"
            f" {place.sectors:,}; leave modules out of it, or use partition table 'legacy' or 'legacy+gpt'",
            sectors * SECTOR_SIZE,
            place.sectors * SECTOR_SIZE,
        )
    moved = bytearray(core)
    _BLOCK_LIST.pack_into(moved, _BLOCK_LIST_AT, place.lba + 1, sectors - 1, _SEGMENT)
    return bytes(moved)


def boot_code(platform: Platform, place: Embedding) -> bytes:
    """Return the boot code of sector 0, which loads core.img from its place.

    The check that a BIOS gave a hard disk's number is switched off, as grub-install does for hard disks: some
    give a wrong one.

    Raises:
        FormatError: boot.img is not what it is called.
    """
    code = bytearray(platform.file(b"boot.img"))
    if len(code) != SECTOR_SIZE or code[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + 2] != _JUMP:
        raise FormatError("GRUB's boot.img is not one that is known here; install GRUB in the tree again")
    _KERNEL_SECTOR.pack_into(code, _KERNEL_SECTOR_AT, place.lba)
    code[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + 2] = _NO_OPERATION
    return bytes(code[:MBR_CODE_SIZE])
