"""ELF files and kernels as small as their specifications allow, made by hand.

Spec: System V ABI, "Object Files" (ELF64); the kernel's Documentation/arch/x86/boot.rst and
Documentation/arch/arm64/booting.rst.
"""

from __future__ import annotations

import struct

X86_64, AARCH64, RISCV = 62, 183, 243
PT_LOAD, PT_INTERP, PT_NOTE = 1, 3, 4
SHT_PROGBITS, SHT_STRTAB = 1, 3


def elf(machine: int = X86_64, programs: tuple[int, ...] = (), modinfo: bytes | None = None) -> bytes:
    """Return an ELF file: program headers of these types, and a section .modinfo where there is one."""
    names = b"\0.modinfo\0.shstrtab\0"
    sections = [(0, 0, b"")]
    if modinfo is not None:
        sections += [(1, SHT_PROGBITS, modinfo), (10, SHT_STRTAB, names)]
    headers_at = 64 + 56 * len(programs)
    body_at = headers_at + 64 * len(sections)
    table = b""
    body = b""
    for name, kind, content in sections:
        # sh_name sh_type sh_flags sh_addr sh_offset sh_size sh_link sh_info sh_addralign sh_entsize
        offset = body_at + len(body)
        table += struct.pack("<2I4Q2I2Q", name, kind, 0, 0, offset, len(content), 0, 0, 1, 0)
        body += content
    header = b"\x7fELF" + bytes([2, 1, 1, 0, 0]) + bytes(7)
    # e_type e_machine e_version e_entry e_phoff e_shoff e_flags
    header += struct.pack("<2HI3QI", 1, machine, 1, 0, 64, headers_at, 0)
    # e_ehsize e_phentsize e_phnum e_shentsize e_shnum e_shstrndx
    header += struct.pack("<6H", 64, 56, len(programs), 64, len(sections), len(sections) - 1)
    return header + b"".join(struct.pack("<I52x", kind) for kind in programs) + table + body


def module(*strings: str) -> bytes:
    """Return a kernel module that says these of itself: "depends=a,b"."""
    return elf(modinfo=b"".join(text.encode() + b"\0" for text in strings))


def bzimage(version: str = "6.1.0-9-amd64", flags: int = 1, protocol: int = 0x20F) -> bytes:
    """Return the head of a kernel for x86: its boot protocol's header, and its version."""
    image = bytearray(0x1000)
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    struct.pack_into("<H", image, 0x20E, 0x300 if version else 0)  # kernel_version, less 0x200
    struct.pack_into("<H", image, 0x236, flags)  # xloadflags
    text = f"{version} (builder@host) #1 SMP".encode() + b"\0"
    image[0x500 : 0x500 + len(text)] = text
    return bytes(image)


def arm64_image() -> bytes:
    """Return the head of a kernel for 64-bit Arm."""
    image = bytearray(0x100)
    image[0x38:0x3C] = b"ARM\x64"
    return bytes(image)
