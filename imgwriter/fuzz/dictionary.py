"""The words of the formats as a dictionary for AFL++ and libFuzzer.

A fuzzer that changes bytes at random finds "EFI PART" in some 2^64 tries. The words are those that the
writers' records and the readers compare with; numbers at the limits of fields come in both byte orders.

Spec: AFL++, dictionaries/README.md; LLVM, libFuzzer, "Dictionaries".
"""

from __future__ import annotations

from collections.abc import Iterator

from imgwriter import gpt, qcow2, vdi, vhd
from imgwriter.ext4 import format as ext4
from imgwriter.fat.structures import DOT, DOT_DOT, NO_LABEL
from imgwriter.fuzz.file_systems import fat32_volume

_NUMBERS_32 = (1, 2, 34, 91, 92, 93, 127, 128, 129, 512, 4096, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
_NUMBERS_64 = (1, 2, 33, 34, (1 << 63) - 1, 1 << 63, 1 << 55, (1 << 64) - 1)
_OS_TYPES = (0x05, 0x0C, 0x0F, 0x82, 0x83, 0x85, 0xEE, 0xEF)


def dictionary() -> str:
    """Return the dictionary's text: one line for each word, which has a name."""
    lines = ["# Partition tables, FAT, ext4, qcow2, VHD and VDI. Made by imgwriter fuzz dictionary."]
    seen = set()
    for name, word in _words():
        if word not in seen:
            seen.add(word)
            lines.append(f'{name}="{_escaped(word)}"')
    return "\n".join(lines)


def _words() -> Iterator[tuple[str, bytes]]:
    yield "mbr_signature", b"\x55\xaa"
    for os_type in _OS_TYPES:
        yield f"mbr_type_{os_type:02x}", bytes([0, 0, 2, 0, os_type])
    yield "gpt_signature", gpt.SIGNATURE
    yield "gpt_revision", gpt.REVISION.to_bytes(4, "little")
    for name in ("TYPE_ESP", "TYPE_BIOS_BOOT", "TYPE_LINUX_DATA", "TYPE_XBOOTLDR"):
        yield f"gpt_{name.lower()}", getattr(gpt, name).bytes_le
    yield from _fat()
    yield from _ext4()
    yield from _containers()
    for order in ("little", "big"):
        for number in _NUMBERS_32:
            yield f"u32_{order}_{number:x}", number.to_bytes(4, "big" if order == "big" else "little")
        for number in _NUMBERS_64:
            yield f"u64_{order}_{number:x}", number.to_bytes(8, "big" if order == "big" else "little")


def _fat() -> Iterator[tuple[str, bytes]]:
    volume = fat32_volume()
    for field in ("FSI_LeasSig", "FSI_StrucSig", "FSI_TrailSig"):
        yield f"fat_{field.lower()}", volume["fsinfo"].raw(field)
    for bits in (12, 16, 32):
        yield f"fat_type_{bits}", f"FAT{bits}   ".encode()
    yield "fat_jump", volume["boot"].raw("BS_jmpBoot")
    yield from (("fat_no_label", NO_LABEL), ("fat_dot", DOT), ("fat_dot_dot", DOT_DOT))


def _ext4() -> Iterator[tuple[str, bytes]]:
    yield "ext4_super_magic", ext4.EXT4_SUPER_MAGIC.to_bytes(2, "little")
    yield "ext4_extent_magic", ext4.EXTENT_MAGIC.to_bytes(2, "little")
    yield "ext4_orphan_magic", ext4.ORPHAN_TAIL.pack(ext4.EXT4_ORPHAN_BLOCK_MAGIC, 0)[:4]
    yield "jbd2_magic", ext4.JBD2_MAGIC_NUMBER.to_bytes(4, "big")


def _containers() -> Iterator[tuple[str, bytes]]:
    yield "qcow2_magic", qcow2.MAGIC
    for version in (2, 3):
        yield f"qcow2_version_{version}", qcow2.MAGIC + version.to_bytes(4, "big")
    for kind in qcow2.ExtensionType:
        yield f"qcow2_extension_{kind.name.lower()}", kind.to_bytes(4, "big")
    yield "vhd_footer", vhd.FOOTER_COOKIE
    yield "vhd_dynamic_header", vhd.DYNAMIC_HEADER_COOKIE
    yield "vdi_signature", vdi.SIGNATURE.to_bytes(4, "little")


def _escaped(word: bytes) -> str:
    """Return a word as both programs read it: printable ASCII, and all else as \\xNN."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'\\"' else f"\\x{byte:02x}" for byte in word
    )
