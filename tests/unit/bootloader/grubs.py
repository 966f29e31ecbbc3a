"""A GRUB as small as its formats allow, made by hand: kernels, modules, and the images around them.

Spec: System V ABI, "Object Files"; its supplement for AMD64, "Relocation"; GRUB, include/grub/i386/pc/boot.h
and include/grub/offsets.h for the fields in boot.img, diskboot.img and the decompressor.
"""

from __future__ import annotations

import lzma
import struct
from typing import NamedTuple

from imgwriter.tree.inventory import Inode
from tests.unit.tree.graph import Shape, tree

PROGBITS, SYMTAB, STRTAB, RELA, NOBITS = 1, 2, 3, 4, 8
WRITE, ALLOC, EXEC = 1, 2, 4
R_64, R_PC32, R_PLT32 = 1, 2, 4
UNDEFINED, ABSOLUTE = 0, 0xFFF1


class Part(NamedTuple):
    """A section: ``size`` where it has no content."""

    kind: int
    flags: int
    content: bytes = b""
    address: int = 0
    link: int = 0
    info: int = 0
    align: int = 1
    size: int = 0


def elf32(*parts: Part) -> bytes:
    """Return a 32-bit ELF file of these sections, behind the empty first one."""
    return _elf(1, "<10I", 52, parts)


def elf64(*parts: Part) -> bytes:
    """Return a 64-bit ELF file of these sections, behind the empty first one."""
    return _elf(2, "<2I4Q2I2Q", 64, parts)


def _elf(width: int, section: str, header_size: int, parts: tuple[Part, ...]) -> bytes:
    body, table = b"", bytes(struct.calcsize(section))
    for part in parts:
        offset = 64 + len(body)
        size = part.size or len(part.content)
        # sh_name sh_type sh_flags sh_addr sh_offset sh_size sh_link sh_info sh_addralign sh_entsize
        place = (0, part.kind, part.flags, part.address, offset, size)
        table += struct.pack(section, *place, part.link, part.info, part.align, 0)
        body += part.content
    header = b"\x7fELF" + bytes([width, 1, 1]) + bytes(9)
    # e_type e_machine e_version e_entry e_phoff e_shoff e_flags
    header += struct.pack("<2HI3II" if width == 1 else "<2HI3QI", 1, 0, 1, 0, 0, 64 + len(body), 0)
    # e_ehsize e_phentsize e_phnum e_shentsize e_shnum e_shstrndx
    header += struct.pack("<6H", header_size, 0, 0, struct.calcsize(section), len(parts) + 1, 0)
    return header.ljust(64, b"\0") + body + table


def symbol(section: int, value: int, name: int = 0) -> bytes:
    """Return an entry of a table of symbols."""
    return struct.pack("<IBBHQQ", name, 0, 0, section, value, 0)


def rela(offset: int, kind: int, symbol: int, addend: int = 0) -> bytes:
    """Return a relocation."""
    return struct.pack("<QQq", offset, symbol << 32 | kind, addend)


TEXT, DATA = b"\x90" * 16, bytes(range(32))


def pc_kernel() -> bytes:
    """Return a kernel for i386-pc: code at 0x9000, a gap, data, and 64 bytes of .bss."""
    return elf32(
        Part(PROGBITS, ALLOC | EXEC, TEXT, address=0x9000),
        Part(PROGBITS, ALLOC | WRITE, DATA, address=0x9020),
        Part(NOBITS, ALLOC | WRITE, address=0x9040, size=64),
        Part(STRTAB, 0, b"\0.shstrtab\0"),
    )


def efi_kernel(*relocations: bytes, symbols: bytes | None = None, code: bytes = TEXT) -> bytes:
    """Return a kernel for x86_64-efi: sections 1 code, 2 data, 3 .bss; symbols 1 _start, 2 data, 3 .bss."""
    named = symbol(UNDEFINED, 0) + symbol(1, 4, 1) + symbol(2, 8) + symbol(3, 4)
    return elf64(
        Part(PROGBITS, ALLOC | EXEC, code),
        Part(PROGBITS, ALLOC | WRITE, DATA, align=32),
        Part(NOBITS, ALLOC | WRITE, size=5000, align=64),
        Part(SYMTAB, 0, named if symbols is None else symbols, link=5),
        Part(STRTAB, 0, b"\0_start\0"),
        Part(RELA, 0, b"".join(relocations), link=4, info=2),
    )


def boot_img() -> bytes:
    """Return a boot.img: a jump over the drive's check at 0x66."""
    image = bytearray(b"\xeb\x63\x90".ljust(512, b"\x11"))
    image[0x66:0x68] = b"\xeb\x05"
    return bytes(image)


def diskboot_img() -> bytes:
    """Return a diskboot.img: one entry in its block list, loaded to segment 0x820."""
    return bytes(500) + struct.pack("<QHH", 2, 0, 0x820)


FILES: dict[str, Shape] = {
    "moddep.lst": b"biosdisk:\npart_msdos:\npart_gpt:\next2: fshelp\nfshelp:\nnormal: extcmd ext2\nextcmd:\n",
    "command.lst": b"linux: linux\n",
    "fdt.lst": b"no file of a running GRUB",
    **{f"{name}.mod": name.encode() for name in ("biosdisk", "part_msdos", "part_gpt", "ext2", "fshelp")},
    "normal.mod": b"normal",
    "extcmd.mod": b"extcmd",
}


def pc_files() -> dict[str, Shape]:
    """Return the files of GRUB for i386-pc."""
    images: dict[str, Shape] = {
        "kernel.img": pc_kernel(),
        "boot.img": boot_img(),
        "diskboot.img": diskboot_img(),
    }
    return {**FILES, **images, "lzma_decompress.img": bytes(range(64))}


def efi_files() -> dict[str, Shape]:
    """Return the files of GRUB for x86_64-efi."""
    return {**FILES, "kernel.img": efi_kernel(rela(0, R_64, 1))}


def debian(**more: Shape) -> Inode:
    """Return a Debian with a kernel, an initramfs, GRUB and systemd-boot."""
    loader: Shape = {"systemd-bootx64.efi": b"MZ systemd-boot"}
    shape: dict[str, Shape] = {
        "boot": {"vmlinuz-6.1.0-9-amd64": b"kernel", "initrd.img-6.1.0-9-amd64": b"initramfs"},
        "etc": {"os-release": b'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_ID="12"\n'},
        "usr": {
            "lib": {
                "grub": {"i386-pc": pc_files(), "x86_64-efi": efi_files()},
                "systemd": {"boot": {"efi": loader}},
            }
        },
        **more,
    }
    return tree(shape)


def unpack(core: bytes) -> bytes:
    """Return what a core.img with the decompressor of :func:`pc_files` unpacks to."""
    filters = [{"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 16}]
    (packed,) = struct.unpack_from("<I", core, 512 + 8)
    return lzma.decompress(core[576 : 576 + packed], lzma.FORMAT_RAW, filters=filters)
