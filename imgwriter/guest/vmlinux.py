"""Take the kernel out of a file that decompresses itself: it takes an emulated machine four times as long.

::

    bzImage (x86-64)    ┌ setup ┬ code ┬──────── payload ────────┬ code ┐
                        0       │      payload_offset ─ payload_length
                                (setup_sects + 1) * 512, from where payload_offset counts
    zboot (64-bit Arm)  ┌ "MZ" "zimg" offset, size ... compression ... PE header ┬ payload ┬ code ┐

    payload             gzip | xz | zstd | bzip2 | lzma, and behind all but gzip: the size of what is in it
       │
       └──> vmlinux: ELF, whose note says where QEMU enters it (PVH)  |  Image

A bzImage that holds nothing of use here (LZ4, no such note, too much for the memory, damage) stays what it
is: it knows best how to start, or what to say. Nothing that QEMU loads for Arm decompresses itself: there a
damaged zboot is an error.

Spec: the kernel's Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header";
drivers/firmware/efi/libstub/zboot-header.S; Xen's include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY.
"""

from __future__ import annotations

import io
import lzma
import struct
from typing import NamedTuple

from imgwriter.errors import FormatError, SourceError, show
from imgwriter.extent import Bytes, Data
from imgwriter.guest.elf import Elf
from imgwriter.guest.request import GuestRequest
from imgwriter.tree.compression import opened

MAX_KERNEL = 512 << 20
"""Bytes of a kernel, compressed or not: Debian's for x86-64 have 60 MiB when they are not."""

_NAME = "the guest's kernel"

_SETUP_SECTS = 0x1F1
_HEADER_MAGIC = 0x202
_PAYLOAD = struct.Struct("<2I")  # payload_offset, payload_length
_PAYLOAD_AT = 0x248
_PAYLOAD_PROTOCOL = 0x208  # the first that has them
_PHYS32_ENTRY = (b"Xen", 18)

_TABLES = 1 << 20  # bytes of ACPI's tables, and more

_SIZE = 4  # bytes of the size behind a payload
_GZIP, _LZMA = b"\x1f\x8b", b"\x5d\0\0"  # LZMA alone has no magic: it begins with lc=3, lp=0, pb=2

_ZBOOT = struct.Struct("<2s2x4s2I8x32s4xI")
"""MZ_MAGIC, image type, payload offset, payload size, compression type, LINUX_PE_MAGIC, PE header offset"""
_PE = struct.Struct("<4sH")  # "PE", Machine
_PE_MACHINES = {0x8664: "x86_64", 0xAA64: "aarch64"}
_ZBOOT_COMPRESSIONS = (b"gzip", b"xz", b"zstd", b"lzma")  # the kernel's names begin so: "xzkern", "zstd22"
ARM64_MAGIC = slice(0x38, 0x3C)
"""Where an Image for 64-bit Arm has "ARM\\x64". Spec: Documentation/arch/arm64/booting.rst."""


class Zboot(NamedTuple):
    """The header of a kernel that is an EFI program which decompresses another.

    Attributes:
        offset, size: Where in the file the payload is, in bytes.
        compression: Its name, as the header has it.
        machine: "x86_64" or "aarch64", else None.
    """

    offset: int
    size: int
    compression: bytes
    machine: str | None

    @property
    def can_be_read(self) -> bool:
        """Whether the payload is in a form that is read here."""
        return self.compression.startswith(_ZBOOT_COMPRESSIONS)


def zboot(head: bytes) -> Zboot | None:
    """Return the zboot header of a kernel, from its first bytes; None where it has none."""
    if len(head) < _ZBOOT.size:
        return None
    magic, kind, offset, size, compression, pe_header = _ZBOOT.unpack_from(head)
    if (magic, kind) != (b"MZ", b"zimg"):
        return None
    machine = None
    if pe_header + _PE.size <= len(head):
        signature, number = _PE.unpack_from(head, pe_header)
        machine = _PE_MACHINES.get(number) if signature == b"PE\0\0" else None
    return Zboot(offset, size, compression.partition(b"\0")[0], machine)


def loadable(request: GuestRequest, accelerator: str) -> Data:
    """Return the kernel as QEMU is to load it.

    Firmware that is in flash starts the file as it is. So does a processor that is not emulated: there it
    decompresses a bzImage as fast as this program would.

    Args:
        request: The guest.
        accelerator: "tcg" or "kvm".

    Raises:
        SourceError: The kernel's file cannot be read.
        FormatError: A zboot's payload is damaged.
    """
    kernel = request.kernel
    if request.flash is not None or len(kernel) > MAX_KERNEL:
        return kernel
    if request.architecture == "aarch64":
        content = _content(kernel)
        header = zboot(content)
        return kernel if header is None else Bytes(_image(content, header))
    if accelerator == "tcg":
        # QEMU puts the initramfs at the end of the memory, below its own tables.
        plain = vmlinux(_content(kernel), request.memory - len(request.initramfs) - _TABLES)
        return kernel if plain is None else Bytes(plain)
    return kernel


def _content(kernel: Data) -> bytes:
    return b"".join(bytes(piece) for piece in kernel.chunks(0, len(kernel)))


def vmlinux(bzimage: bytes, room: int) -> bytes | None:
    """Return the ELF file in a bzImage; None where there is none that QEMU could enter.

    Args:
        bzimage: The kernel's file.
        room: Where the memory for it ends, in bytes. A kernel that reaches further would hang without a word,
            and a bzImage finds out.
    """
    try:
        plain = _decompressed(_payload(bzimage))
        elf = Elf(plain, _NAME)
        return plain if _has_entry(elf) and elf.end <= room else None
    except (FormatError, SourceError):
        return None


def _payload(bzimage: bytes) -> bytes:
    """Return the payload of a bzImage; b"" where it has none."""
    if len(bzimage) < _PAYLOAD_AT + _PAYLOAD.size:
        return b""
    magic, protocol = struct.unpack_from("<4sH", bzimage, _HEADER_MAGIC)
    if magic != b"HdrS" or protocol < _PAYLOAD_PROTOCOL:
        return b""
    sectors = bzimage[_SETUP_SECTS] or 4  # as the specification has it, for kernels of old
    offset, length = _PAYLOAD.unpack_from(bzimage, _PAYLOAD_AT)
    start = (sectors + 1) * 512 + offset
    return bzimage[start : start + length] if start + length <= len(bzimage) else b""


def _has_entry(elf: Elf) -> bool:
    return elf.machine == "x86_64" and _PHYS32_ENTRY in elf.notes()


def _image(content: bytes, header: Zboot) -> bytes:
    """Return the Image in a zboot for 64-bit Arm."""
    end = header.offset + header.size + (0 if header.compression == b"gzip" else _SIZE)
    if end > len(content):
        raise FormatError(
            f"{_NAME} has {len(content)} bytes, but its payload of {header.size} begins at {header.offset};"
            " get a whole copy of it",
            "payload size",
            12,
        )
    plain = _decompressed(content[header.offset : end])
    if plain[ARM64_MAGIC] != b"ARM\x64":
        raise FormatError(
            f"{_NAME} holds, compressed by {show(header.compression)}, no Image for 64-bit Arm;"
            " get a whole copy of it",
            "payload",
            header.offset,
        )
    return plain


def _decompressed(payload: bytes) -> bytes:
    """Return what a payload holds; in what form, its first bytes say, and how much, its last four.

    Raises:
        FormatError: It is damaged, or holds more than MAX_KERNEL bytes.
        SourceError: It is in a form that is known but not read here, or needs too much memory.
    """
    size = int.from_bytes(payload[-_SIZE:], "little")
    if size > MAX_KERNEL:
        raise _damaged(f"holds a kernel of {size} bytes, of which {MAX_KERNEL} are taken")
    # In gzip's own form the size is the end; elsewhere it stands behind.
    compressed = payload if payload.startswith(_GZIP) else payload[:-_SIZE]
    # One byte more than there may be, so that also what follows the last one is looked at: a checksum.
    if compressed.startswith(_LZMA):
        plain = _from_lzma(compressed, size + 1)
    else:
        plain = opened(io.BytesIO(compressed), _NAME).read(size + 1)
    if len(plain) != size:
        raise _damaged(f"holds other than the {size} bytes that it says it holds")
    return plain


def _from_lzma(compressed: bytes, limit: int) -> bytes:
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MAX_KERNEL).decompress(compressed, limit)
    except (lzma.LZMAError, MemoryError) as error:
        raise _damaged(f"is damaged ({str(error) or 'too much memory'})") from None


def _damaged(how: str) -> FormatError:
    return FormatError(f"{_NAME}: its payload {how}; get a whole copy of it", "payload")
