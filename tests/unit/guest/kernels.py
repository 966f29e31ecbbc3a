"""Kernels that decompress themselves, made by hand around any payload.

Spec: the kernel's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header", and
drivers/firmware/efi/libstub/zboot-header.S; Xen's include/public/elfnote.h.
"""

from __future__ import annotations

import struct

from tests.unit.guest.elves import PT_LOAD, PT_NOTE, X86_64, bzimage, elf

PHYS32_ENTRY = 18
ENTRY = struct.pack("<Q", 0x1000A30)
SETUP = 0x1000
"""Bytes before the protected-mode code: seven sectors of setup, and the boot sector."""


def note(name: bytes = b"Xen\0", kind: int = PHYS32_ENTRY, content: bytes = ENTRY, padding: int = 4) -> bytes:
    """Return an ELF note: namesz, descsz, type, and both padded."""
    padded = b"".join(part + bytes(-len(part) % padding) for part in (name, content))
    return struct.pack("<3I", len(name), len(content), kind) + padded


def vmlinux(
    notes: bytes | None = None,
    machine: int = X86_64,
    align: int = 4,
    body: bytes = b"",
    address: int = 16 << 20,
    size: int = 1 << 20,
) -> bytes:
    """Return an ELF file with a segment of notes, as a kernel has one, and ``body`` behind it.

    Args:
        notes: The segment.
        machine: e_machine.
        align: p_align of the notes.
        body: What follows.
        address, size: p_paddr and p_memsz of a segment that is loaded.
    """
    notes = note() if notes is None else notes
    content = bytearray(elf(machine, (PT_LOAD, PT_NOTE)))
    # The first program header: p_paddr; p_memsz.
    struct.pack_into("<Q", content, 64 + 24, address)
    struct.pack_into("<Q", content, 64 + 40, size)
    # The second program header: p_offset; p_filesz, p_memsz, p_align.
    struct.pack_into("<Q", content, 64 + 56 + 8, len(content))
    struct.pack_into("<3Q", content, 64 + 56 + 32, len(notes), len(notes), align)
    return bytes(content) + notes + body


def sized(compressed: bytes, size: int) -> bytes:
    """Return what the kernel's build makes of a compressed file: its size stands behind it."""
    return compressed + struct.pack("<I", size)


def x86_kernel(
    payload: bytes,
    *,
    before: int = 0x40,
    after: int = 0x80,
    protocol: int = 0x20F,
    version: str = "6.1.0-9-amd64",
) -> bytes:
    """Return a bzImage: setup, code, the payload, code. The code is none that would run."""
    image = bytearray(bzimage(version, protocol=protocol)[:SETUP])
    image[0x1F1] = SETUP // 512 - 1  # setup_sects
    struct.pack_into("<2I", image, 0x248, before, len(payload))  # payload_offset, payload_length
    return bytes(image) + b"\x90" * before + payload + b"\xcc" * after


def arm64_image(size: int = 0x2000) -> bytes:
    """Return an Image for 64-bit Arm: image_size at 16, its magic at 0x38."""
    image = bytearray(bytes(range(256)) * (size // 256))
    struct.pack_into("<Q", image, 16, size)
    image[0x38:0x3C] = b"ARM\x64"
    return bytes(image)


def zboot_kernel(payload: bytes, compression: bytes = b"gzip", machine: int = 0xAA64) -> bytes:
    """Return a zboot: the header of a PE file that says where the payload is, and in it the payload.

    Args:
        payload: With its size behind it, but for gzip: payload size does not count that.
        compression: As the kernel's build calls it: gzip, xzkern, zstd22, lzma, lz4, lzo.
        machine: The PE header's Machine.
    """
    head = bytearray(0x1000)
    size = len(payload) - (0 if compression == b"gzip" else 4)
    # MZ_MAGIC, image type, payload offset, payload size, reserved, compression type
    struct.pack_into("<4s4s2I8x32s", head, 0, b"MZ\0\0", b"zimg", len(head), size, compression)
    struct.pack_into("<2I", head, 0x38, 0x818223CD, 0x40)  # LINUX_PE_MAGIC, PE header offset
    struct.pack_into("<4s2H", head, 0x40, b"PE\0\0", machine, 2)
    return bytes(head) + payload + bytes(0x200)
